"""How a set of 64x64 images lies on disk, and how it is written: nothing half-done passes as whole.

    <stem>.bits         binary images, 512 bytes each: np.packbits(image, bitorder="big"), that is
                        64 rows of 8 bytes, the leftmost pixel in the highest bit. They enumerate
                        the combinations of their factors, the last fastest
    <stem>.rgb          or colour images, 12,288 bytes each: planes red, green, blue of 64 rows of
                        64 bytes
    <stem>.labels.npz   of colour images: `factors` (N, K) int16, the class of each factor, and
                        `test` (N,) bool, the images held out
    <stem>.json         what they are: name, source, images, factors, height, width, channels,
                        bytes, sha256, labels_sha256, and the checksum of all that

The pixels go to a `.part`, are synced, checked and renamed, the labels likewise; the JSON is
written last and removed first, so a set is complete exactly when its JSON is there and agrees with
itself and with the files beside it. <stem>.journal.part is there while a set is written: the lock
that keeps a second writer waiting, and for a set that takes minutes, what the `.part` will be.
"""

import errno
import hashlib
import io
import json
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int16

try:
    import fcntl
except ImportError:  # a platform without: two writers at once are not kept apart
    fcntl = None

HEIGHT = WIDTH = 64
BYTES_PER_IMAGE = HEIGHT * WIDTH // 8
BYTES_PER_RGB = 3 * HEIGHT * WIDTH
CHUNK = 256  # colour images packed at a time: 3 MB, a third of a second's work
SAY_EVERY = 5.0  # seconds between lines of progress
SETS = {  # source and channels, by stem
    "dsprites": ("official", 1), "shapes2d": ("rendered", 1), "celeba": ("official", 3),
    "faces": ("stand-in", 3), "chairs": ("official", 3), "standin_chairs": ("stand-in", 3),
}  # fmt: skip
SHAPES2D = {"shape": 3, "scale": 6, "orientation": 40, "posX": 32, "posY": 32}


# --- what is whole --------------------------------------------------------------------------------


def packed_problem(out: Path, stem: str, sha256: str | None = None) -> str | None:
    """None if the set `stem` under `out` is whole and as its JSON says; else one line, why not.

    Reads all of it (under a second for the 737,280 images of 2D Shapes). With `sha256`, its pixels
    must also have that checksum.
    """
    try:
        check_files(out, stem, read_description(out, stem), sha256)
    except (OSError, ValueError) as error:
        return f"{error}; `make data` makes it again"
    return None


def read_description(out: Path, stem: str) -> dict:
    """What <stem>.json says; FileNotFoundError or ValueError, naming file and field, if damaged."""
    path = out / f"{stem}.json"
    try:
        info = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    if not isinstance(info, dict) or info.get("checksum") != checksum_of(info):
        raise ValueError(f"{path} is altered: field 'checksum' does not fit the others")
    check_description(info, stem, path)
    return info


def checksum_of(info: dict) -> str:
    """Hex sha256 of all that a JSON file says but its own "checksum"."""
    others = {key: value for key, value in info.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def check_description(info: dict, stem: str, path: Path) -> None:
    """Raise ValueError, naming the field, unless this can be said of the set `stem`."""
    source, channels = SETS[stem]
    images, factors = info.get("images"), info.get("factors")
    if type(images) is not int or images < 1:
        raise ValueError(f"{path}: field 'images' is {images!r}, a whole number expected")
    size = images * (BYTES_PER_RGB if channels == 3 else BYTES_PER_IMAGE)
    fixed = {
        "source": source,
        "height": HEIGHT,
        "width": WIDTH,
        "channels": channels,
        "bytes": size,
    }
    for field, right in fixed.items():
        if (found := info.get(field, 1 if field == "channels" else None)) != right:
            raise ValueError(f"{path}: field {field!r} is {found!r}, {right!r} expected")
    for field in ("name", "sha256", *(["labels_sha256"] if channels == 3 else [])):
        if not isinstance(info.get(field), str):
            raise ValueError(f"{path}: field {field!r} is {info.get(field)!r}, a text expected")
    try:
        sizes = {factor["name"]: len(set(factor["values"])) for factor in factors}
        sound = len(sizes) == len(factors) > 0 and all(
            len(factor["values"]) == sizes[factor["name"]] > 0
            and all(type(v) in (int, float) and math.isfinite(v) for v in factor["values"])
            and type(factor.get("discrete", factor["name"] == "shape")) is bool
            for factor in factors
        )
    except (TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        right = "different names, each with different numbers as values, discrete or not"
        raise ValueError(f"{path}: field 'factors' is {factors!r:.60}..., {right} expected")
    # All of 2D Shapes; in tests its first images, or a coarser grid.
    fits = images == math.prod(sizes.values()) or (sizes == SHAPES2D and images < 737_280)
    if channels == 1 and (list(sizes), fits) != (list(SHAPES2D), True):
        right = ", ".join(f"{name} ({size})" for name, size in SHAPES2D.items())
        raise ValueError(f"{path}: field 'factors' has {sizes}, {right} expected")


def check_labels(content: bytes, info: dict, path: Path) -> None:
    """Raise ValueError, naming the array, unless this can be the .labels.npz of a set."""
    sizes = np.array([len(factor["values"]) for factor in info["factors"]])
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            factors, test = arrays["factors"], arrays["test"]
    except Exception as error:  # numpy and zipfile raise half a dozen kinds
        raise ValueError(f"{path}: arrays 'factors' and 'test' cannot be read ({error})") from error
    for name, array, shape, kind in (
        ("factors", factors, (info["images"], len(sizes)), np.int16),
        ("test", test, (info["images"],), np.bool_),
    ):
        if array.shape != shape or array.dtype != kind:
            found = f"{array.shape} {array.dtype}"
            raise ValueError(f"{path}: array {name!r} is {found}, {shape} {kind.__name__} expected")
    if len(odd := np.argwhere((factors < 0) | (factors >= sizes))):
        i, k = odd[0]
        wrong = f"class {factors[i, k]} of {info['factors'][k]['name']} for image {i}"
        raise ValueError(f"{path}: array 'factors' has {wrong}, 0 to {sizes[k] - 1} expected")
    if not 0 < test.sum() < len(test):
        raise ValueError(f"{path}: array 'test' holds out none or all of the images")


def check_files(out: Path, stem: str, info: dict, sha256: str | None = None) -> None:
    """Raise FileNotFoundError or ValueError unless pixels and labels are as `info` says."""
    pixels, labels = pixels_of(out, stem), out / f"{stem}.labels.npz"
    wanted = {pixels: sha256 or info["sha256"]}
    wanted |= {labels: info["labels_sha256"]} if SETS[stem][1] == 3 else {}
    for path, digest in wanted.items():
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing")
        if path == pixels and (size := path.stat().st_size) != info["bytes"]:
            raise ValueError(f"{path} has {size:,} bytes, {info['bytes']:,} expected")
        with open(path, "rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != digest:
            raise ValueError(f"{path} is altered (sha256 {actual[:12]}..., not {digest[:12]}...)")
        if path == labels:
            check_labels(path.read_bytes(), info, path)


def pixels_of(out: Path, stem: str) -> Path:
    """The file of the pixels of the set `stem` under `out`."""
    return out / f"{stem}.{'rgb' if SETS[stem][1] == 3 else 'bits'}"


def labels_file(
    factors: Int16[np.ndarray, "images factors"], test: Bool[np.ndarray, " images"]
) -> bytes:
    """The content of <stem>.labels.npz; the same bytes for the same labels."""
    buffer = io.BytesIO()
    np.savez(buffer, factors=factors.astype(np.int16), test=test.astype(bool))
    return buffer.getvalue()


# --- writing --------------------------------------------------------------------------------------


def write_packed(
    out: Path, stem: str, pieces: Iterable[bytes] | Callable[[int], Iterable[bytes]], info: dict,
    sha256: str | None = None, labels: bytes | None = None, say=lambda line: None,
) -> dict:  # fmt: skip
    """Write the set `stem` under `out`, unless it is there, whole and the same; what its JSON says.

    All sets, drawn or packed, are written by `write_packed(..., say=say)`, which says what it does
    and how far it is. `pieces` are the bytes of whole packed images in order (a generator: it is
    not started where nothing is to do). A set that takes minutes gives a function in their place,
    which is called with the number of the first image wanted and gives pieces of CHUNK images
    (`in_order`): what a killed or interrupted call wrote is then gone on from, if all is the same.

    `info`: name, source, images, factors, `channels` (3) for colour images, and all else that the
    pixels depend on ("software" is history: another makes no other set). `labels`: of
    `labels_file`. Raises ValueError, keeping nothing, if facts, labels, bytes or `sha256` cannot be
    right, and what `pieces` raises; OSError if the disk is full or the like.
    """
    pixels = pixels_of(out, stem)
    size = info["images"] * (BYTES_PER_RGB if SETS[stem][1] == 3 else BYTES_PER_IMAGE)
    wanted = {**info, "height": HEIGHT, "width": WIDTH, "bytes": size, "sha256": sha256 or ""}
    if labels is not None:
        wanted["labels_sha256"] = hashlib.sha256(labels).hexdigest()
        check_labels(labels, info, out / f"{stem}.labels.npz")
    check_description(wanted, stem, out / f"{stem}.json")
    there, problem = _there(out, stem, wanted)
    if there is None:
        if (out / f"{stem}.json").exists():
            say(f"{problem}: it is made again")
        with writing(pixels, callable(pieces)):
            out.mkdir(parents=True, exist_ok=True)
            _check_room(pixels, size)
            with alone(out / f"{stem}.journal.part", say) as journal:
                there, _ = _there(out, stem, wanted)  # by another process, while this one waited
                if there is None:
                    return _write(pixels, pieces, wanted, labels, journal, say)
    say(f"{pixels} is already there and whole; nothing to do")
    return there


def _there(out: Path, stem: str, wanted: dict) -> tuple[dict | None, str]:
    """What the JSON of a whole set says if it agrees with `wanted`; else None, and why not."""
    try:
        there = read_description(out, stem)
        for field, value in json.loads(json.dumps(wanted)).items():
            if field != "software" and value not in ("", there.get(field)):
                return None, f"{out / stem}.json describes another set ({field!r} differs)"
        check_files(out, stem, there)
    except (OSError, ValueError) as error:
        return None, str(error)
    return there, ""


def _write(pixels: Path, pieces, wanted: dict, labels: bytes | None, journal, say) -> dict:
    """Write pixels, labels and JSON while `journal` is held; the JSON's facts."""
    part, goes_on, begun = (
        pixels.with_name(pixels.name + ".part"),
        callable(pieces),
        time.monotonic(),
    )
    images, each = wanted["images"], wanted["bytes"] // wanted["images"]
    try:
        with open(part, "a+b") as file:
            file.truncate(_kept(part, journal, wanted) if goes_on else 0)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256")
            first = file.tell() // each
            going_on = f", going on from image {first:,}" if first else ""
            say(f"writing {images:,} images into {pixels}{going_on}")
            made = pieces(first) if goes_on else pieces
            for piece in _told(made, first, images, each, say):
                file.write(piece)
                digest.update(piece)
                if goes_on:
                    file.flush()
                    os.fsync(file.fileno())
            file.flush()
            os.fsync(file.fileno())
            written = file.tell()
        if written != wanted["bytes"]:
            right = f"{wanted['bytes']:,} expected"
            raise ValueError(f"{written:,} bytes were made for {pixels}, {right}")
        if wanted["sha256"] not in ("", digest.hexdigest()):
            found = f"have sha256 {digest.hexdigest()}, {wanted['sha256']} expected"
            raise ValueError(f"the images made for {pixels} {found}")
        wanted["sha256"] = digest.hexdigest()
        wanted["checksum"] = checksum_of(wanted)
        pixels.with_suffix(".json").unlink(missing_ok=True)
        if labels is not None:
            _write_whole(pixels.with_suffix(".labels.npz"), labels)
        os.replace(part, pixels)
        _write_whole(pixels.with_suffix(".json"), (json.dumps(wanted, indent=1) + "\n").encode())
        journal.truncate(0)
    except BaseException as error:
        if isinstance(error, ValueError) or not goes_on:
            part.unlink(missing_ok=True)
            journal.truncate(0)
        raise
    took = time.monotonic() - begun
    rate = f"{(images - first) / max(took, 1e-9):,.0f} images a second"
    say(f"wrote {written:,} bytes in {took:.1f} s ({rate}), sha256 {wanted['sha256']}")
    return wanted


def _kept(part: Path, journal, wanted: dict) -> int:
    """How many bytes of `part` are to be gone on from; `journal` then says what they belong to."""
    head, chunk = json.dumps(wanted, sort_keys=True).encode(), CHUNK * BYTES_PER_RGB
    journal.seek(0)
    if (
        journal.read() == head
    ):  # each piece was synced before the next, so all but the last are good
        return max(part.stat().st_size // chunk - 1, 0) * chunk
    os.truncate(part, 0)
    journal.truncate(0)
    journal.write(head)
    journal.flush()
    return 0


def _told(pieces: Iterable[bytes], first: int, images: int, each: int, say) -> Iterator[bytes]:
    """The pieces as they come, with a line of progress now and then."""
    done, begun = first, time.monotonic()
    shown = begun
    for piece in pieces:
        yield piece
        done, now = done + len(piece) // each, time.monotonic()
        if now - shown >= SAY_EVERY:
            shown, rate = now, (done - first) / (now - begun)
            left = (images - done) / rate / 60
            speed = f"{rate:,.0f} a second, {left:.1f} minutes left"
            say(f"  {done:,} of {images:,} images, {speed}")


def _write_whole(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def writing(path: Path, goes_on: bool = False) -> Iterator[None]:
    """Turn an error of the system's into a sentence with the file and the remedy."""
    try:
        yield
    except OSError as error:
        if error.strerror is None:  # a sentence already
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        where = error.filename2 or error.filename or path
        remedy = "make room" if full else "put that right"
        then = "goes on from there" if goes_on else "starts anew, for nothing of it was kept"
        wrong = f"cannot write {where} ({error.strerror}); {remedy}, and the same command {then}"
        sentence = OSError(wrong)
        sentence.errno = error.errno
        raise sentence from error


def _check_room(pixels: Path, needed: int) -> None:
    part = pixels.with_name(pixels.name + ".part")
    needed -= part.stat().st_size if part.is_file() else 0
    free = shutil.disk_usage(pixels.parent).free
    if free < needed:
        wrong = f"{needed / 1e6:,.0f} MB are needed for {pixels} and {free / 1e6:,.0f} MB are free"
        raise OSError(f"{wrong}; make room and give the same command again")


@contextmanager
def alone(path: Path, say: Callable[[str], None]) -> Iterator[io.BufferedRandom]:
    """`path`, open to read and append, for one process at a time; removed at the end if empty.

    A second process says so and waits until the first has ended, or was killed. Where the platform
    or the file system has no locks, nothing waits.
    """
    while True:
        with open(path, "a+b") as file:
            _lock(file, path, say)
            if not _is_still(file, path):  # whoever had it has removed or renamed it
                continue
            try:
                yield file
            finally:
                if _is_still(file, path) and not os.fstat(file.fileno()).st_size:
                    path.unlink()
            return


def _lock(file: io.BufferedRandom, path: Path, say: Callable[[str], None]) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another process is at work on {path}; waiting for it to end")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # a file system without locks
        pass


def _is_still(file: io.BufferedRandom, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def in_order(
    read: Callable[[int], object],
    work: Callable[[list], bytes],
    images: int,
    at_a_time: int | None = None,
) -> Callable[[int], Iterator[bytes]]:
    """For `write_packed`: pieces of CHUNK images, so many made at a time (None: one a core).

    `read(i)`, called in order, gives what `work` needs for image i; `work` gives the bytes of a
    list of them. Threads suffice, since Pillow decodes and resizes without holding Python's lock.
    """
    if at_a_time is None:
        has = hasattr(os, "sched_getaffinity")
        at_a_time = len(os.sched_getaffinity(0)) if has else os.cpu_count() or 1

    def pieces(first: int) -> Iterator[bytes]:
        with ThreadPoolExecutor(at_a_time) as pool:
            waiting = deque()
            for start in range(first, images, CHUNK):
                task = [read(i) for i in range(start, min(start + CHUNK, images))]
                waiting.append(pool.submit(work, task))
                if len(waiting) == 2 * at_a_time:  # no more are held in memory
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    return pieces
