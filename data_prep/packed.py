"""How a set of 64x64 binary images lies on disk, and how it is written so that nothing half-done is taken for whole.

    <stem>.bits   512 bytes an image, images in order: np.packbits(image, bitorder="big"), that is 64 rows of
                  8 bytes, the leftmost pixel in the highest bit
    <stem>.json   what the bits are: name, source, images, height, width, factors, bytes, sha256

The bits go to `<stem>.bits.part`, are synced, checked and renamed; the JSON is written last and removed first, so a set
is complete exactly when its JSON is there and agrees with the file beside it.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

HEIGHT = WIDTH = 64
BYTES_PER_IMAGE = HEIGHT * WIDTH // 8


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()


def packed_problem(out: Path, stem: str, sha256: str | None = None) -> str | None:
    """None if `<stem>.bits` under `out` is whole and is what its JSON says; otherwise one line that says what is wrong.

    Reads the whole file (under a second for 737,280 images). With `sha256`, the set must also have that checksum.
    """
    bits, sidecar = out / f"{stem}.bits", out / f"{stem}.json"
    for path in (bits, sidecar):
        if not path.is_file():
            return f"{path} is missing"
    try:
        info = json.loads(sidecar.read_text())
        size, digest = info["bytes"], info["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        return f"{sidecar} is damaged ({error!r})"
    if bits.stat().st_size != size:
        return f"{bits} has {bits.stat().st_size:,} bytes, {size:,} expected"
    actual = sha256_of(bits)
    if actual != digest or (sha256 is not None and actual != sha256):
        return f"{bits} has been altered (sha256 {actual[:12]}..., expected {(sha256 or digest)[:12]}...)"
    return None


def write_packed(out: Path, stem: str, pieces: Iterable[bytes], info: dict, sha256: str | None = None) -> dict:
    """Write packed images and their JSON under `out`; return what the JSON says.

    `pieces` are bytes of whole packed images in order; `info` holds at least `images`. Raises OSError if the disk has
    no room (nothing is left behind) and ValueError if the bytes written are too few, too many, or not those of `sha256`.
    """
    size = info["images"] * BYTES_PER_IMAGE
    out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out).free
    bits, part, sidecar = out / f"{stem}.bits", out / f"{stem}.bits.part", out / f"{stem}.json"
    part.unlink(missing_ok=True)
    if free < size:
        raise OSError(errno.ENOSPC, f"{size / 1e6:,.0f} MB are needed for {bits} and {free / 1e6:,.0f} MB are free")
    digest, written = hashlib.sha256(), 0
    try:
        with open(part, "wb") as file:
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                written += len(piece)
            file.flush()
            os.fsync(file.fileno())
        if written != size:
            raise ValueError(f"{written:,} bytes were made for {bits}, {size:,} expected")
        if sha256 is not None and digest.hexdigest() != sha256:
            raise ValueError(f"the images made for {bits} have sha256 {digest.hexdigest()}, {sha256} expected")
        info = {**info, "height": HEIGHT, "width": WIDTH, "bytes": written, "sha256": digest.hexdigest()}
        sidecar.unlink(missing_ok=True)
        os.replace(part, bits)
        text = sidecar.with_suffix(".json.part")
        with open(text, "w") as file:
            file.write(json.dumps(info, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(text, sidecar)
    except BaseException as error:
        part.unlink(missing_ok=True)
        sidecar.with_suffix(".json.part").unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, f"cannot write {bits}, nothing of it was kept: {error.strerror}") from error
        raise
    return info
