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
BYTES_PER_IMAGE, BYTES_PER_RGB = HEIGHT * WIDTH // 8, 3 * HEIGHT * WIDTH
CHUNK = 256  # colour images packed at a time: 3 MB, a third of a second's work
SAY_EVERY = 5.0  # seconds between lines of progress
SHAPES2D = {"shape": 3, "scale": 6, "orientation": 40, "posX": 32, "posY": 32}  # all its sizes
# The factors of each data set in their order, and whether each is discrete; {}: attributes, 0 or 1.
SHAPES = {name: name == "shape" for name in SHAPES2D}
CHAIRS = {"chair": True, "azimuth": False, "elevation": True}
SETS = {  # source, channels and factors, by stem
    "dsprites": ("official", 1, SHAPES), "shapes2d": ("rendered", 1, SHAPES),
    "celeba": ("official", 3, {}), "faces": ("stand-in", 3, {}),
    "chairs": ("official", 3, CHAIRS), "standin_chairs": ("stand-in", 3, CHAIRS),
}  # fmt: skip


# --- what is whole --------------------------------------------------------------------------------


def packed_problem(out: Path, stem: str, sha256: str | None = None) -> str | None:
    """None if the set `stem` under `out` is whole and as its JSON says; else one line, why not.

    Reads all of it (under a second for the 737,280 images of 2D Shapes). With `sha256`, its pixels
    must also have that checksum.
    """
    try:
        read_whole(out, stem, sha256)
    except ValueError as error:
        return f"{error}; `make data` makes it again"
    return None


def read_whole(out: Path, stem: str, sha256: str | None = None) -> dict:
    """What the JSON of a set says; ValueError, naming file and field, unless it is whole."""
    pixels, labels, sidecar = _paths(out, stem)
    for path in (sidecar, pixels, labels)[: 3 if SETS[stem][1] == 3 else 2]:
        if not path.exists():
            raise ValueError(f"{path} is missing")
    try:
        info = json.loads(sidecar.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        wrong = getattr(error, "strerror", None) or error
        raise ValueError(f"{sidecar} cannot be read ({wrong})") from error
    if not isinstance(info, dict) or info.get("checksum") != checksum_of(info):
        raise ValueError(f"{sidecar} is altered: field 'checksum' does not fit the others")
    _check_fields(info, stem, sidecar)
    digests = {pixels: sha256 or info["sha256"], labels: info.get("labels_sha256")}
    for path, wanted in digests.items():
        if wanted is None:
            continue
        try:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror})") from error
        if found != wanted:
            raise ValueError(f"{path} is altered (sha256 {found[:12]}..., not {wanted[:12]}...)")
    if SETS[stem][1] == 3:
        _check_labels(labels.read_bytes(), info, labels)
    return info


def _paths(out: Path, stem: str) -> tuple[Path, Path, Path]:
    """Where the pixels, the labels (if any) and the JSON of a set lie."""
    pixels = out / f"{stem}.{'rgb' if SETS[stem][1] == 3 else 'bits'}"
    return pixels, out / f"{stem}.labels.npz", out / f"{stem}.json"


def checksum_of(info: dict) -> str:
    """Hex sha256 of all that a JSON file says but its own "checksum"."""
    others = {key: value for key, value in info.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def _check_fields(info: dict, stem: str, sidecar: Path) -> None:
    """Raise ValueError, naming the field, unless all this can be said of the set `stem`."""
    source, channels, discrete = SETS[stem]
    images, each = info.get("images"), BYTES_PER_RGB if channels == 3 else BYTES_PER_IMAGE
    counted = type(images) is int and images > 0
    right = {"source": source, "channels": channels, "height": HEIGHT, "width": WIDTH}
    right["images"] = images if counted else "a whole number above 0"
    right["bytes"] = images * each if counted else 0
    for field in ("name", "sha256", *(["labels_sha256"] if channels == 3 else [])):
        text = info.get(field)
        right[field] = text if text and isinstance(text, str) else "a text"
    right["factors"] = info.get("factors")
    if not _are_factors(right["factors"], images, stem):
        values = f"of sizes {SHAPES2D}" if channels == 1 else "of different values"
        rule = f"{discrete} (name: discrete) in this order, {values}"
        right["factors"] = rule if discrete else "discrete attributes, each once, of values [0, 1]"
    for field, value in right.items():
        if (found := info.get(field, 1 if field == "channels" else None)) != value:
            raise ValueError(f"{sidecar}: field {field!r} is {found!r:.60}, {value} expected")


def _are_factors(factors: object, images: int, stem: str) -> bool:
    """Whether a description of so many images may list these factors for the set `stem`."""
    _, channels, discrete = SETS[stem]
    try:
        values = {factor["name"]: factor["values"] for factor in factors}
        kinds = [(factor["name"], factor["discrete"]) for factor in factors]
        sizes = {name: len(set(of)) for name, of in values.items()}
        numbers = [number for of in values.values() for number in of]
        if not (
            kinds and kinds == list((discrete or dict.fromkeys(values, True)).items())
            and all(type(name) is str and type(kind) is bool for name, kind in kinds)
            and all(type(n) in (int, float) and math.isfinite(n) for n in numbers)
            and all(len(of) == sizes[name] > 0 for name, of in values.items())
        ):  # fmt: skip
            return False
    except (TypeError, KeyError, AttributeError, OverflowError):
        return False
    if channels == 3:
        return bool(discrete) or all(of == [0, 1] for of in values.values())
    # All of 2D Shapes; in tests its first images, or a coarser grid.
    first_ones = sizes == SHAPES2D and images < math.prod(sizes.values())
    fit = all(sizes[name] <= most for name, most in SHAPES2D.items())
    return first_ones or fit and images == math.prod(sizes.values())


def _check_labels(content: bytes, info: dict, path: Path) -> None:
    """Raise ValueError, naming the array, unless this can be the .labels.npz of a set."""
    sizes = np.array([len(factor["values"]) for factor in info["factors"]])
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            factors, test = arrays["factors"], arrays["test"]
    except Exception as error:  # numpy and zipfile raise half a dozen kinds
        raise ValueError(f"{path}: arrays 'factors' and 'test' cannot be read ({error})") from error
    count = info["images"]
    for name, array, right in (
        ("factors", factors, f"{(count, len(sizes))} int16"), ("test", test, f"{(count,)} bool"),
    ):  # fmt: skip
        if (found := f"{array.shape} {array.dtype}") != right:
            raise ValueError(f"{path}: array {name!r} is {found}, {right} expected")
    for i, k in np.argwhere((factors < 0) | (factors >= sizes))[:1]:
        wrong = f"class {factors[i, k]} of {info['factors'][k]['name']} for image {i}"
        raise ValueError(f"{path}: array 'factors' has {wrong}, 0 to {sizes[k] - 1} expected")
    if not 0 < test.sum() < len(test):
        raise ValueError(f"{path}: array 'test' holds out none or all of the images")


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
    pixels, labels_path, sidecar = _paths(out, stem)
    size = info["images"] * (BYTES_PER_RGB if SETS[stem][1] == 3 else BYTES_PER_IMAGE)
    wanted = {**info, "height": HEIGHT, "width": WIDTH, "bytes": size, "sha256": sha256 or ""}
    if labels is not None:
        wanted["labels_sha256"] = hashlib.sha256(labels).hexdigest()
        _check_labels(labels, info, labels_path)
    _check_fields({**wanted, "sha256": "?"}, stem, sidecar)
    there, problem = _there(out, stem, wanted)
    if there is None:
        if sidecar.exists():
            say(f"{problem}: it is made again")
        with writing(pixels, callable(pieces)):
            out.mkdir(parents=True, exist_ok=True)
            free, needed = shutil.disk_usage(out).free, size - _length(part_of(pixels))
            if free < needed:
                room = f"{needed / 1e6:,.0f} MB are needed for {pixels}"
                free = f"{free / 1e6:,.0f} MB are free"
                raise OSError(f"{room}, {free}; make room and give the same command again")
            with alone(out / f"{stem}.journal.part", say) as journal:
                there, _ = _there(out, stem, wanted)  # by another process, while this one waited
                if there is None:
                    return _write(pixels, pieces, wanted, labels, journal, say)
    say(f"{pixels} is already there and whole; nothing to do")
    return there


def _there(out: Path, stem: str, wanted: dict) -> tuple[dict | None, str]:
    """What the JSON of a whole set says if it agrees with `wanted`; else None, and why not."""
    try:
        there = read_whole(out, stem)
    except ValueError as error:
        return None, str(error)
    for field, value in json.loads(json.dumps(wanted)).items():
        if field != "software" and value not in ("", there.get(field)):
            return None, f"{out / stem}.json describes another set ({field!r} differs)"
    return there, ""


def _write(pixels: Path, pieces, wanted: dict, labels: bytes | None, journal, say) -> dict:
    """Write pixels, labels and JSON while `journal` is held; the JSON's facts."""
    part, goes_on, begun = part_of(pixels), callable(pieces), time.monotonic()
    images, each = wanted["images"], wanted["bytes"] // wanted["images"]
    labels_path, sidecar = pixels.with_suffix(".labels.npz"), pixels.with_suffix(".json")
    try:
        with open(part, "a+b") as file:
            file.truncate(_kept(part, journal, wanted) if goes_on else 0)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256")
            first = file.tell() // each
            going_on = f", going on from image {first:,}" if first else ""
            say(f"writing {images:,} images into {pixels}{going_on}")
            for piece in _told(pieces(first) if goes_on else pieces, first, images, each, say):
                file.write(piece)
                digest.update(piece)
                if goes_on:
                    file.flush()
                    os.fsync(file.fileno())
            written = file.tell()
            file.flush()
            os.fsync(file.fileno())
        if written != wanted["bytes"]:
            made = f"{written:,} bytes were made for {pixels}"
            raise ValueError(f"{made}, {wanted['bytes']:,} expected")
        if wanted["sha256"] not in ("", digest.hexdigest()):
            found = f"have sha256 {digest.hexdigest()}, {wanted['sha256']} expected"
            raise ValueError(f"the images made for {pixels} {found}")
        wanted["sha256"] = digest.hexdigest()
        wanted["checksum"] = checksum_of(wanted)
        sidecar.unlink(missing_ok=True)
        if labels is not None:
            _write_whole(labels_path, labels)
        os.replace(part, pixels)
        _write_whole(sidecar, (json.dumps(wanted, indent=1) + "\n").encode())
        journal.truncate(0)
    except BaseException as error:
        if isinstance(error, ValueError) or not goes_on:
            journal.truncate(0)
            for left in (part, part_of(labels_path), part_of(sidecar)):
                left.unlink(missing_ok=True)
        raise
    took = time.monotonic() - begun
    rate = f"{(images - first) / max(took, 1e-9):,.0f} images a second"
    say(f"wrote {written:,} bytes in {took:.1f} s ({rate}), sha256 {wanted['sha256']}")
    return wanted


def _kept(part: Path, journal, wanted: dict) -> int:
    """How many bytes of `part` are to be gone on from; `journal` then says what they belong to."""
    head, chunk = json.dumps(wanted, sort_keys=True).encode(), CHUNK * BYTES_PER_RGB
    journal.seek(0)
    if journal.read() == head:  # each piece was synced before the next: all but the last are good
        return max(_length(part) // chunk - 1, 0) * chunk
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
            speed = f"{rate:,.0f} a second, {(images - done) / rate / 60:.1f} minutes left"
            say(f"  {done:,} of {images:,} images, {speed}")


def part_of(path: Path) -> Path:
    """What a file is called until it is whole."""
    return path.with_name(path.name + ".part")


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _write_whole(path: Path, content: bytes) -> None:
    with open(part_of(path), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part_of(path), path)


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


@contextmanager
def alone(path: Path, say: Callable[[str], None]) -> Iterator[io.BufferedRandom]:
    """`path`, open to read and append, for one process at a time; removed at the end if empty.

    A second process says so and waits until the first has ended, or was killed. Where the platform
    or the file system has no locks, nothing waits.
    """

    def is_still_there() -> bool:
        return path.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(path))

    while True:
        with open(path, "a+b") as file:
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another process is at work on {path}; waiting for it to end")
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                pass
            if not is_still_there():  # whoever had it has removed or renamed it
                continue
            try:
                yield file
            finally:
                if is_still_there() and _length(path) == 0:
                    path.unlink()
            return


def in_order(
    read: Callable[[int], object], work: Callable[[list], bytes], images: int, at_a_time=None
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
