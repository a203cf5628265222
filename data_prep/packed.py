"""How a set of 64x64 images lies on disk, and how it is written so that nothing half-done is taken for whole.

    <stem>.bits         binary images, 512 bytes each: np.packbits(image, bitorder="big"), that is 64 rows of 8 bytes,
                        the leftmost pixel in the highest bit
    <stem>.rgb          or colour images, 12,288 bytes each: planes red, green, blue of 64 rows of 64 bytes
    <stem>.labels.npz   of a set whose images do not enumerate their factors: `factors` (N, K) int16, the class of each
                        factor, and `test` (N,) bool, the images held out
    <stem>.json         what they are: name, source, images, height, width, channels, factors, bytes, sha256 (and
                        labels_sha256)

The pixels go to a `.part`, are synced, checked and renamed, the labels likewise; the JSON is written last and removed
first, so a set is complete exactly when its JSON is there and agrees with the files beside it.
"""

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int16

HEIGHT = WIDTH = 64
BYTES_PER_IMAGE = HEIGHT * WIDTH // 8
BYTES_PER_RGB = 3 * HEIGHT * WIDTH


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
        pixels = next((p for p in (out / f"{stem}.bits", out / f"{stem}.rgb") if p.is_file()), sidecar)
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
    expected = {pixels: digest if sha256 is None else sha256} | ({out / f"{stem}.labels.npz": labels} if labels else {})
    for path, wanted in expected.items():
        if not path.is_file():
            return f"{path} is missing"
        if (actual := sha256_of(path)) != wanted:
            return f"{path} has been altered (sha256 {actual[:12]}..., expected {wanted[:12]}...)"
    return None


def labels_file(factors: Int16[np.ndarray, "images factors"], test: Bool[np.ndarray, " images"]) -> bytes:
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


def write_packed(
    out: Path, stem: str, pieces: Iterable[bytes], info: dict, sha256: str | None = None, labels: bytes | None = None
) -> dict:
    """Write packed images, their labels if they have any, and their JSON under `out`; return what the JSON says.

    `pieces` are bytes of whole packed images in order; `info` holds at least `images`, and `channels` (3) for colour
    images; `labels` is what `labels_file` makes. Raises OSError if the disk has no room (nothing is left behind) and
    ValueError if the bytes written are too few, too many, or not those of `sha256`.
    """
    channels = info.get("channels", 1)
    size = info["images"] * (BYTES_PER_RGB if channels == 3 else BYTES_PER_IMAGE)
    out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out).free
    pixels, sidecar = out / f"{stem}.{'rgb' if channels == 3 else 'bits'}", out / f"{stem}.json"
    part = pixels.with_name(pixels.name + ".part")
    part.unlink(missing_ok=True)
    if free < size:
        raise OSError(errno.ENOSPC, f"{size / 1e6:,.0f} MB are needed for {pixels} and {free / 1e6:,.0f} MB are free")
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
            raise ValueError(f"{written:,} bytes were made for {pixels}, {size:,} expected")
        if sha256 is not None and digest.hexdigest() != sha256:
            raise ValueError(f"the images made for {pixels} have sha256 {digest.hexdigest()}, {sha256} expected")
        info = {**info, "height": HEIGHT, "width": WIDTH, "bytes": written, "sha256": digest.hexdigest()}
        sidecar.unlink(missing_ok=True)
        os.replace(part, pixels)
        if labels is not None:
            info["labels_sha256"] = hashlib.sha256(labels).hexdigest()
            write_synced(out / f"{stem}.labels.npz", labels)
        write_synced(sidecar, (json.dumps(info, indent=1) + "\n").encode())
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, f"cannot write {pixels}, nothing of it was kept: {error.strerror}") from error
        raise
    return info
