"""How a set of 64x64 images lies on disk, and how it is written so that nothing half-done is taken for whole.

    <stem>.bits         binary images, 512 bytes each: np.packbits(image, bitorder="big"), that is 64 rows of 8 bytes,
                        the leftmost pixel in the highest bit
    <stem>.rgb          or colour images, 12,288 bytes each: planes red, green, blue of 64 rows of 64 bytes
    <stem>.labels.npz   of a set whose images do not enumerate their factors: `factors` (N, K) int16, the class of each
                        factor, and `test` (N,) bool, the images held out
    <stem>.json         what they are: name, source, images, height, width, channels, factors, bytes, sha256 (and
                        labels_sha256)

The pixels go to a `.part`, are synced, checked and renamed, the labels likewise; the JSON is written last and removed
first, so a set is complete exactly when its JSON is there and agrees with the files beside it. `write_packed` starts anew
each time; `write_images`, for sets that take minutes, goes on from the pieces that an interrupted call left.
"""

import errno
import hashlib
import io
import json
import os
import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int16

HEIGHT = WIDTH = 64
BYTES_PER_IMAGE = HEIGHT * WIDTH // 8
BYTES_PER_RGB = 3 * HEIGHT * WIDTH
CHUNK = 256  # colour images packed at a time: 3 MB, a third of a second's work, lost at most per process when killed
SAY_EVERY = 5.0  # seconds between lines of progress


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()


def packed_problem(out: Path, stem: str, sha256: str | None = None) -> str | None:
    """None if the set `stem` under `out` is whole and is what its JSON says; otherwise one line that says what is wrong.

    Reads all of it (under a second for the 737,280 images of 2D Shapes). With `sha256`, its pixels must also have that
    checksum.
    """
    sidecar = out / f"{stem}.json"
    if not sidecar.is_file():
        pixels = next(
            (p for p in (out / f"{stem}.bits", out / f"{stem}.rgb") if p.is_file()), sidecar
        )
        return f"{sidecar if pixels.is_file() else out / f'{stem}.bits'} is missing"
    try:
        info = json.loads(sidecar.read_text())
        size, digest, labels = info["bytes"], info["sha256"], info.get("labels_sha256")
        pixels = out / f"{stem}.{'rgb' if info.get('channels', 1) == 3 else 'bits'}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{sidecar} is damaged ({error!r})"
    if not pixels.is_file():
        return f"{pixels} is missing"
    if pixels.stat().st_size != size:
        return f"{pixels} has {pixels.stat().st_size:,} bytes, {size:,} expected"
    expected = {pixels: digest if sha256 is None else sha256} | (
        {out / f"{stem}.labels.npz": labels} if labels else {}
    )
    for path, wanted in expected.items():
        if not path.is_file():
            return f"{path} is missing"
        if (actual := sha256_of(path)) != wanted:
            return f"{path} has been altered (sha256 {actual[:12]}..., expected {wanted[:12]}...)"
    return None


def labels_file(
    factors: Int16[np.ndarray, "images factors"], test: Bool[np.ndarray, " images"]
) -> bytes:
    """The content of <stem>.labels.npz; the same bytes for the same labels."""
    buffer = io.BytesIO()
    np.savez(buffer, factors=factors.astype(np.int16), test=test.astype(bool))
    return buffer.getvalue()


def write_synced(path: Path, content: bytes) -> None:
    """Write `path` by way of a .part that is synced and renamed."""
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


def _size(info: dict) -> int:
    return info["images"] * (BYTES_PER_RGB if info.get("channels", 1) == 3 else BYTES_PER_IMAGE)


def _check_room(pixels: Path, needed: int) -> None:
    free = shutil.disk_usage(pixels.parent).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"{needed / 1e6:,.0f} MB are needed for {pixels} and {free / 1e6:,.0f} MB are free",
        )


def _complete(
    part: Path, info: dict, written: int, digest: str, sha256: str | None, labels: bytes | None
) -> dict:
    """Check what was written to <pixels>.part, then name it, with its labels before it and its JSON after it."""
    pixels = part.with_suffix("")
    if written != _size(info):
        raise ValueError(f"{written:,} bytes were made for {pixels}, {_size(info):,} expected")
    if sha256 is not None and digest != sha256:
        raise ValueError(f"the images made for {pixels} have sha256 {digest}, {sha256} expected")
    info = {**info, "height": HEIGHT, "width": WIDTH, "bytes": written, "sha256": digest}
    pixels.with_suffix(".json").unlink(missing_ok=True)
    if labels is not None:
        info["labels_sha256"] = hashlib.sha256(labels).hexdigest()
        write_synced(pixels.with_suffix(".labels.npz"), labels)
    os.replace(part, pixels)
    write_synced(pixels.with_suffix(".json"), (json.dumps(info, indent=1) + "\n").encode())
    return info


def write_packed(
    out: Path,
    stem: str,
    pieces: Iterable[bytes],
    info: dict,
    sha256: str | None = None,
    labels: bytes | None = None,
) -> dict:
    """Write packed images, their labels if they have any, and their JSON under `out`; return what the JSON says.

    `pieces` are bytes of whole packed images in order; `info` holds at least `images`, and `channels` (3) for colour
    images; `labels` is what `labels_file` makes. Raises OSError if the disk has no room (nothing is left behind) and
    ValueError if the bytes written are too few, too many, or not those of `sha256`.
    """
    out.mkdir(parents=True, exist_ok=True)
    pixels = out / f"{stem}.{'rgb' if info.get('channels', 1) == 3 else 'bits'}"
    part = pixels.with_name(pixels.name + ".part")
    part.unlink(missing_ok=True)
    _check_room(pixels, _size(info))
    digest, written = hashlib.sha256(), 0
    try:
        with open(part, "wb") as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                written += len(piece)
            file.flush()
            os.fsync(file.fileno())
        return _complete(part, info, written, digest.hexdigest(), sha256, labels)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(
                error.errno, f"cannot write {pixels}, nothing of it was kept: {error.strerror}"
            ) from error
        raise


def write_images(
    out: Path,
    stem: str,
    read: Callable[[int], object],
    work: Callable[[list], bytes],
    info: dict,
    labels: bytes,
    processes: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict:
    """Pack colour images with several processes (None: one a core), going on where an interrupted call stopped.

    `read(i)`, called here and in order, gives what `work` needs for image i; `work`, called elsewhere on a list of
    them, gives their bytes. `info` must name all that the bytes depend on. Nothing is done where a set with the same
    `info` (but for "software") and labels is whole. Pieces of CHUNK images go to the `.part`, and the checksum of each
    to <stem>.journal.part, which opens with `info`; the next call keeps the pieces that are still as the journal says, if
    `info` and labels are the same. Raises OSError when the disk is full (what is packed is kept), and what `read` and
    `work` raise; at a ValueError, which says that the input is wrong, nothing is kept.
    """
    out.mkdir(parents=True, exist_ok=True)
    pixels, images = out / f"{stem}.rgb", info["images"]
    part, journal = out / f"{stem}.rgb.part", out / f"{stem}.journal.part"
    info = {**info, "channels": 3}
    identity = {**info, "labels_sha256": hashlib.sha256(labels).hexdigest()}
    if _same(out / f"{stem}.json", identity) and packed_problem(out, stem) is None:
        say(f"{pixels} is already there and whole; nothing to do")
        return json.loads((out / f"{stem}.json").read_text())
    _check_room(pixels, _size(info) + len(labels) - (part.stat().st_size if part.exists() else 0))
    digest, written = _kept(part, journal, json.dumps(identity, sort_keys=True))
    first = written // BYTES_PER_RGB
    say(
        f"packing {images:,} images into {pixels}"
        + (f", going on from image {first:,}" if first else "")
    )
    tasks = (
        [read(i) for i in range(start, min(start + CHUNK, images))]
        for start in range(first, images, CHUNK)
    )
    begun = shown = time.monotonic()
    try:
        with (
            closing(_made(work, tasks, processes or cores())) as pieces,
            open(
                part, "ab", buffering=0
            ) as file,  # no buffers, which would write again, and fail again, when closed
            open(journal, "ab", buffering=0) as notes,
        ):
            for piece in pieces:
                with _writing(part):
                    rest = memoryview(piece)
                    while rest:
                        rest = rest[file.write(rest) :]
                    notes.write(_line(piece))
                digest.update(piece)
                written += len(piece)
                done, now = written // BYTES_PER_RGB, time.monotonic()
                if now - shown >= SAY_EVERY:
                    shown, rate = now, (done - first) / (now - begun)
                    left = (images - done) / rate / 60
                    say(
                        f"  {done:,} of {images:,} images, {rate:,.0f} a second, {left:.1f} minutes left"
                    )
            with _writing(part):
                os.fsync(file.fileno())
        with _writing(part):
            info = _complete(part, info, written, digest.hexdigest(), None, labels)
    except ValueError:
        part.unlink(missing_ok=True)
        journal.unlink(missing_ok=True)
        raise
    journal.unlink(missing_ok=True)
    took = time.monotonic() - begun
    rate = (images - first) / max(took, 1e-9)
    say(
        f"wrote {info['bytes']:,} bytes in {took:.1f} s ({rate:,.0f} images a second), sha256 {info['sha256']}"
    )
    return info


@contextmanager
def _writing(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        wrong = f"cannot write {part} ({error.strerror}); make room, and the same command goes on from there"
        raise OSError(error.errno, wrong) from error


def _line(piece: bytes) -> bytes:
    return f"{len(piece)} {hashlib.sha256(piece).hexdigest()}\n".encode()


def _same(sidecar: Path, identity: dict) -> bool:
    """Whether the JSON of a packed set says the same as `identity`; "software" is history, not identity."""
    try:
        there, here = json.loads(sidecar.read_text()), json.loads(json.dumps(identity))
        return all(there.get(key) == value for key, value in here.items() if key != "software")
    except (OSError, ValueError, AttributeError):
        return False


def _kept(part: Path, journal: Path, head: str) -> tuple:
    """The digest so far and the length of the pieces that an interrupted call left whole; both files are cut to them."""
    digest, written, lines = hashlib.sha256(), 0, [head.encode() + b"\n"]
    there = (
        journal.read_bytes().splitlines(keepends=True)
        if journal.is_file() and part.is_file()
        else []
    )
    if there[:1] == lines:
        with open(part, "rb") as file:
            for line in there[1:]:
                piece = file.read(CHUNK * BYTES_PER_RGB)
                if not piece or line != _line(piece):
                    break
                digest.update(piece)
                written += len(piece)
                lines.append(line)
    with open(part, "ab") as file:
        file.truncate(written)
    journal.write_bytes(b"".join(lines))
    return digest, written


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _made(work: Callable, tasks: Iterable, processes: int) -> Iterator[bytes]:
    """`work` of every task, in order, by so many processes; no more than two tasks a process are held at a time."""
    if processes == 1:
        yield from map(work, tasks)
        return
    pool = ProcessPoolExecutor(processes, initializer=_begin_worker)
    try:
        waiting = deque()
        for task in tasks:
            waiting.append(pool.submit(work, task))
            if len(waiting) == 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise OSError(
            "a packing process was killed (out of memory?); the same command goes on from there"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end soon after it: a killed parent cannot stop its processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
