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
itself and with the files beside it. A lock on the folder keeps a second writer waiting.
"""

import fcntl
import hashlib
import io
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int16

HEIGHT = WIDTH = 64
BYTES_PER_IMAGE, BYTES_PER_RGB = HEIGHT * WIDTH // 8, 3 * HEIGHT * WIDTH
BYTES_EACH = {1: BYTES_PER_IMAGE, 3: BYTES_PER_RGB}  # by channels
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


def _paths(out: Path, stem: str) -> tuple[Path, Path | None, Path]:
    """Where the pixels, the labels of colour images, and the JSON of a set lie."""
    in_colour = SETS[stem][1] == 3
    pixels = out / f"{stem}.{'rgb' if in_colour else 'bits'}"
    return pixels, out / f"{stem}.labels.npz" if in_colour else None, out / f"{stem}.json"


# --- what is whole --------------------------------------------------------------------------------


def read_whole(out: Path, stem: str) -> dict:
    """What the JSON of a set says; ValueError, naming file and field, unless it is whole.

    Reads all of it (under a second for the 737,280 images of 2D Shapes).
    """
    pixels, labels, sidecar = _paths(out, stem)
    for path in (sidecar, pixels, labels):
        if path and not path.exists():
            raise ValueError(f"{path} is missing")
    try:
        info = json.loads(sidecar.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        wrong = getattr(error, "strerror", None) or error
        raise ValueError(f"{sidecar} cannot be read ({wrong})") from error
    if not isinstance(info, dict) or info.get("checksum") != checksum_of(info):
        raise ValueError(f"{sidecar} is altered: field 'checksum' does not fit the others")
    _check_fields(info, stem, sidecar)
    _check_digest(pixels, info["sha256"])
    if labels:
        _check_digest(labels, info["labels_sha256"])
        _check_labels(labels.read_bytes(), info, labels)
    return info


def checksum_of(info: dict) -> str:
    """Hex sha256 of all that a JSON file says but its own "checksum"."""
    others = {key: value for key, value in info.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def _check_digest(path: Path, wanted: str) -> None:
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from error
    if found != wanted:
        raise ValueError(f"{path} is altered (sha256 {found[:12]}..., not {wanted[:12]}...)")


def _check_fields(info: dict, stem: str, sidecar: Path) -> None:
    """Raise ValueError, naming the field, unless all this can be said of the set `stem`."""
    source, channels, factors = SETS[stem]
    images = info.get("images")
    counted = type(images) is int and images > 0
    right = {
        "source": source, "channels": channels, "height": HEIGHT, "width": WIDTH,
        "images": images if counted else "a whole number above 0",
        "bytes": images * BYTES_EACH[channels] if counted else 0,
    }  # fmt: skip
    for field in ("name", "sha256", "labels_sha256")[: 3 if channels == 3 else 2]:
        is_text = isinstance(info.get(field), str) and info[field]
        right[field] = info[field] if is_text else "a text"
    right["factors"] = info.get("factors")
    if not _are_factors(right["factors"], images, stem):
        values = f"of sizes {SHAPES2D}" if channels == 1 else "of different values"
        rule = f"{factors} (name: discrete) in this order, {values}"
        right["factors"] = rule if factors else "discrete attributes, each once, of values [0, 1]"
    for field, value in right.items():
        if (found := info.get(field, 1 if field == "channels" else None)) != value:
            raise ValueError(f"{sidecar}: field {field!r} is {found!r:.60}, {value} expected")


def _are_factors(factors: object, images: int, stem: str) -> bool:
    """Whether a description of so many images may list these factors for the set `stem`."""
    try:
        kinds = [(factor["name"], factor["discrete"]) for factor in factors]
        values = [factor["values"] for factor in factors]
        numbers = [number for of in values for number in of]
        sizes = [len(set(of)) for of in values]
    except (TypeError, KeyError):
        return False
    wanted = SETS[stem][2] or {str(name): True for name, _ in kinds}
    if (
        json.dumps(kinds) != json.dumps(list(wanted.items()))  # as text, True and 1 are two
        or not all(type(number) in (int, float) and abs(number) < 1e300 for number in numbers)
        or not all(len(of) == size > 0 for of, size in zip(values, sizes))
    ):
        return False
    if not SETS[stem][2]:
        return values != [] and all(of == [0, 1] for of in values)
    # All of 2D Shapes; in tests its first images, or a coarser grid.
    most = list(SHAPES2D.values())
    first_ones = sizes == most and images < math.prod(most)
    fit = all(size <= limit for size, limit in zip(sizes, most)) and images == math.prod(sizes)
    return SETS[stem][1] == 3 or first_ones or fit


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
    factors = np.ascontiguousarray(factors, np.int16)  # stored by rows
    np.savez(buffer, factors=factors, test=test.astype(bool))
    return buffer.getvalue()


def factors_of(values: dict[str, Iterable], stem: str) -> list[dict]:
    """What a description says of factors, from the values of each by name."""
    discrete = SETS[stem][2]
    return [
        {"name": name, "values": list(of), "discrete": discrete.get(name, True)}
        for name, of in values.items()
    ]


# --- writing --------------------------------------------------------------------------------------


def write_packed(
    out: Path, stem: str, pieces: Iterable[bytes] | Callable[[int], Iterable[bytes]], info: dict,
    sha256: str | None = None, labels: bytes | None = None, say=lambda line: None,
) -> dict:  # fmt: skip
    """Write the set `stem` under `out`, unless it is there, whole and the same; what its JSON says.

    `pieces` are the bytes of whole packed images in order (a generator: it is not started where
    nothing is to do). A set that takes minutes gives a function in their place, which is called
    with the number of the first image wanted and gives pieces of CHUNK images (`in_order`): what a
    killed or interrupted call wrote is then gone on from, if all is the same.

    `info`: name, source, images, factors, `channels` (3) for colour images, and all else that the
    pixels depend on ("software" is history: another makes no other set). `labels`: of
    `labels_file`. Raises ValueError, keeping nothing, if facts, labels, bytes or `sha256` cannot be
    right, and what `pieces` raises; OSError if the disk is full or the like.
    """
    pixels, labels_path, sidecar = _paths(out, stem)
    size = info["images"] * BYTES_EACH[SETS[stem][1]]
    wanted = {**info, "height": HEIGHT, "width": WIDTH, "bytes": size, "sha256": sha256 or ""}
    if labels_path:
        wanted["labels_sha256"] = hashlib.sha256(labels).hexdigest()
        _check_labels(labels, info, labels_path)
    _check_fields({**wanted, "sha256": "?"}, stem, sidecar)
    out.mkdir(parents=True, exist_ok=True)
    with alone(out, say), naming(pixels):
        problem = _difference(out, stem, wanted)
        if problem is None:
            say(f"{pixels} is already there and whole; nothing to do")
            return json.loads(sidecar.read_bytes())
        if sidecar.exists():
            say(f"{problem}: it is made again")
        return _write(out, stem, pieces, wanted, labels, say)


def _difference(out: Path, stem: str, wanted: dict) -> str | None:
    """None if there is a whole set that agrees with `wanted`; else what is wrong or different."""
    try:
        there = read_whole(out, stem)
    except ValueError as error:
        return str(error)
    for field, value in json.loads(json.dumps(wanted)).items():
        if field != "software" and value not in ("", there.get(field)):
            return f"{out / stem}.json describes another set ({field!r} differs)"
    return None


def _write(out: Path, stem: str, pieces, wanted: dict, labels: bytes | None, say) -> dict:
    """Write pixels, labels and JSON; the JSON's facts."""
    pixels, labels_path, sidecar = _paths(out, stem)
    # The name says what it will be, so that only the same set goes on from it.
    part = part_of(pixels.with_name(f"{pixels.name}.{checksum_of(wanted)[:16]}"))
    _remove_parts(out, stem, keep=part)
    try:
        digest = _write_pixels(part, pieces, wanted, pixels, say)
        if wanted["sha256"] not in ("", digest):
            found = f"have sha256 {digest}, {wanted['sha256']} expected"
            raise ValueError(f"the images made for {pixels} {found}")
        wanted["sha256"] = digest
        wanted["checksum"] = checksum_of(wanted)
        sidecar.unlink(missing_ok=True)
        if labels_path:
            _write_whole(labels_path, labels)
        os.replace(part, pixels)
        _write_whole(sidecar, (json.dumps(wanted, indent=1) + "\n").encode())
    except BaseException as error:
        if isinstance(error, ValueError) or not callable(pieces):
            _remove_parts(out, stem)
        raise
    return wanted


def _write_pixels(part: Path, pieces, wanted: dict, pixels: Path, say) -> str:
    """Write the bytes of all images to `part`, or go on from what is there; their sha256."""
    goes_on, images, size = callable(pieces), wanted["images"], wanted["bytes"]
    kept, chunk = 0, CHUNK * size // images
    if goes_on and part.exists():  # each piece was synced before the next: all but the last is good
        kept = max(part.stat().st_size // chunk - 1, 0) * chunk
    first, free = kept * images // size, shutil.disk_usage(part.parent).free
    if free < size - kept:
        room = f"{(size - kept) / 1e6:,.0f} MB are needed for {pixels}"
        free = f"{free / 1e6:,.0f} MB are free"
        raise OSError(f"{room}, {free}; make room and give the same command again")
    with open(part, "a+b") as file:
        file.truncate(kept)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256")
        going_on = f", going on from image {first:,}" if first else ""
        say(f"writing {images:,} images into {pixels}{going_on}")
        begun = shown = time.monotonic()
        for piece in pieces(first) if goes_on else pieces:
            file.write(piece)
            digest.update(piece)
            if goes_on:
                _sync(file)
            now = time.monotonic()
            if now - shown >= SAY_EVERY:
                shown, done = now, file.tell() * images // size
                rate = (done - first) / (now - begun)
                left = f"{(images - done) / rate / 60:.1f} minutes left"
                say(f"  {done:,} of {images:,} images, {rate:,.0f} a second, {left}")
        _sync(file)
        written = file.tell()
    if written != size:
        raise ValueError(f"{written:,} bytes were made for {pixels}, {size:,} expected")
    took = time.monotonic() - begun
    rate = f"{(images - first) / max(took, 1e-9):,.0f} images a second"
    say(f"wrote {written:,} bytes in {took:.1f} s ({rate}), sha256 {digest.hexdigest()}")
    return digest.hexdigest()


def _remove_parts(out: Path, stem: str, keep: Path | None = None) -> None:
    for left in out.glob(f"{stem}.*part"):
        if left != keep:
            left.unlink()


def part_of(path: Path) -> Path:
    """What a file is called until it is whole."""
    return path.with_name(path.name + ".part")


def _sync(file: io.BufferedWriter) -> None:
    file.flush()
    os.fsync(file.fileno())


def _write_whole(path: Path, content: bytes) -> None:
    with open(part_of(path), "wb") as file:
        file.write(content)
        _sync(file)
    os.replace(part_of(path), path)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let errors of the system's that name no file, as of a full disk, name this one."""
    try:
        yield
    except OSError as error:
        if error.strerror and not error.filename:
            error.filename = str(path)
        raise


@contextmanager
def alone(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Let one process at a time write into `folder`.

    A second one says so and waits until the first has ended, or was killed. Where the file system
    has no locks, nothing waits.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another process is at work in {folder}; waiting for it to end")
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(handle)


def in_order(
    read: Callable[[int], object], work: Callable[[list], bytes], images: int, at_a_time=None
) -> Callable[[int], Iterator[bytes]]:
    """For `write_packed`: pieces of CHUNK images, so many made at a time (None: one a core).

    `read(i)`, called in order, gives what `work` needs for image i; `work` gives the bytes of a
    list of them. Threads suffice, since Pillow decodes and resizes without holding Python's lock.
    """
    if at_a_time is None:
        limited = hasattr(os, "sched_getaffinity")
        at_a_time = len(os.sched_getaffinity(0)) if limited else os.cpu_count() or 1

    def pieces(first: int) -> Iterator[bytes]:
        several = 2 * at_a_time * CHUNK  # no more images are held in memory
        with ThreadPoolExecutor(at_a_time) as pool:
            for begin in range(first, images, several):
                end = min(begin + several, images)
                starts = range(begin, end, CHUNK)
                tasks = ([read(i) for i in range(k, min(k + CHUNK, end))] for k in starts)
                yield from pool.map(work, tasks)

    return pieces
