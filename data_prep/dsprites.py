"""The published 2D Shapes file (dSprites), when it is at hand: checked, packed, and compared with the drawn set.

    python -m data_prep.dsprites --path dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz --out data
    python -m data_prep.dsprites --download --out data       (an interrupted download is continued)

Matthey, Higgins, Hassabis, Lerchner, "dSprites: Disentanglement testing Sprites dataset", 2017; Apache License 2.0.
Only the plain arrays `imgs` and `latents_classes` are read, never the pickled metadata, and the images are streamed,
so the 3 GB that they unpack to are never in memory.
"""

import argparse
import hashlib
import json
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from data_prep import archives, shapes2d
from data_prep.packed import BYTES_PER_IMAGE, HEIGHT, WIDTH, packed_problem, write_packed

FILE_NAME = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
URL = f"https://github.com/deepmind/dsprites-dataset/raw/master/{FILE_NAME}"
MD5 = "7da33b31b13a06f4b04a70402ce90c2e"
SHA1 = "3e0a46a9238e425f46a6ef9e9bdfd7cedb35d50f"
STEM = "dsprites"
CHUNK = 1024  # images at a time

_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(
    axis=1, dtype=np.uint8
)  # set bits in a byte


def check_archive(path: Path, md5: str = MD5, sha1: str = SHA1) -> None:
    """Raise FileNotFoundError or ValueError, in one line, unless `path` is the published file byte for byte."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    digests = hashlib.md5(usedforsecurity=False), hashlib.sha1(usedforsecurity=False)
    with open(path, "rb") as file:
        start = file.read(512)
        file.seek(0)
        while piece := file.read(1 << 22):
            for digest in digests:
                digest.update(piece)
    if (digests[0].hexdigest(), digests[1].hexdigest()) == (md5, sha1):
        return
    if start.lstrip()[:1] == b"<":
        why = "it is a web page, not the data: download the raw file"
    elif start[:4] != b"PK\x03\x04":
        why = "it is not an npz archive"
    elif not zipfile.is_zipfile(path):
        why = f"it is cut short at {path.stat().st_size:,} bytes: download it again"
    else:
        why = f"its sha1 is {digests[1].hexdigest()}, not {sha1}: altered, or another edition"
    raise ValueError(f"{path} is not the published dSprites file: {why}")


def _open_member(archive: zipfile.ZipFile, name: str):
    try:
        return archive.open(f"{name}.npy")
    except KeyError:
        raise ValueError(f"the archive holds no array {name}") from None


def _check_labels(archive: zipfile.ZipFile, images: int) -> None:
    with _open_member(archive, "latents_classes") as member:
        try:
            labels = np.lib.format.read_array(member, allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"latents_classes cannot be read: {error}") from error
    if labels.shape != (images, 6) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"latents_classes is {labels.shape} {labels.dtype}, expected ({images}, 6) integers"
        )
    wrong = (labels[:, 0] != 0) | (labels[:, 1:] != shapes2d.classes_of(np.arange(images))).any(
        axis=1
    )
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"the images are not in the published order: number {first} is labelled {labels[first].tolist()}"
        )


def _pieces(archive: zipfile.ZipFile, images: int, say) -> Iterator[bytes]:
    with _open_member(archive, "imgs") as member:
        version = np.lib.format.read_magic(member)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, by_columns, dtype = read_header(member)
        if shape != (images, HEIGHT, WIDTH) or dtype != np.uint8 or by_columns:
            raise ValueError(
                f"imgs is {shape} {dtype}, expected ({images}, {HEIGHT}, {WIDTH}) uint8 in C order"
            )
        for first in range(0, images, CHUNK):
            count = min(CHUNK, images - first)
            pixels = np.frombuffer(member.read(count * HEIGHT * WIDTH), dtype=np.uint8)
            if pixels.size != count * HEIGHT * WIDTH:
                raise ValueError(
                    f"imgs is cut short in image {first + pixels.size // (HEIGHT * WIDTH)}"
                )
            if pixels.max() > 1:
                raise ValueError(
                    f"imgs holds the value {pixels.max()} near image {first}; pixels are 0 or 1"
                )
            yield np.packbits(pixels.reshape(count, -1), axis=1).tobytes()
            if first and first % (180 * CHUNK) == 0:
                say(f"  {first:,} of {images:,} images")


def pack_archive(
    path: Path,
    out: Path,
    md5: str = MD5,
    sha1: str = SHA1,
    images: int = shapes2d.N_IMAGES,
    say=lambda line: None,
) -> None:
    """Check the published archive and write it to `out` as dsprites.bits and dsprites.json, unless that was done.

    Raises FileNotFoundError, OSError or ValueError with one line; nothing half-written is left. The last arguments
    exist so that a small archive can stand in for the real one in tests.
    """
    check_archive(path, md5, sha1)
    if (
        packed_problem(out, STEM) is None
        and json.loads((out / f"{STEM}.json").read_text()).get("archive_sha1") == sha1
    ):
        say(f"{out / STEM}.bits is already there and whole; nothing to do")
        return
    start = time.perf_counter()
    say(f"packing {path} into {out / STEM}.bits")
    info = {
        "name": "2D Shapes",
        "source": "official",
        "archive_sha1": sha1,
        "images": images,
        "factors": [
            {"name": n, "values": list(shapes2d.FACTOR_VALUES[n])} for n in shapes2d.FACTORS
        ],
    }
    try:
        with zipfile.ZipFile(path) as archive:
            _check_labels(archive, images)
            info = write_packed(out, STEM, _pieces(archive, images, say), info)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    say(
        f"wrote {info['bytes']:,} bytes in {time.perf_counter() - start:.1f} s, sha256 {info['sha256']}"
    )


def compare(out: Path) -> dict:
    """How many images of dsprites.bits under `out` equal the drawn ones.

    Returns {"images", "equal", "pixels" (that differ, in all), "worst" (most in one image), "worst_index",
    "by_shape": {"square": {"images", "equal", "pixels"}, ...}}. Raises ValueError if the packed file is missing or altered.
    """
    if problem := packed_problem(out, STEM):
        raise ValueError(problem)
    official = np.memmap(out / f"{STEM}.bits", dtype=np.uint8, mode="r").reshape(
        -1, BYTES_PER_IMAGE
    )
    result = {"images": 0, "equal": 0, "pixels": 0, "worst": 0, "worst_index": None}
    by_shape = {name: {"images": 0, "equal": 0, "pixels": 0} for name in shapes2d.SHAPES}
    first = 0
    for piece in shapes2d.packed_pieces():
        drawn = np.frombuffer(piece, dtype=np.uint8).reshape(-1, BYTES_PER_IMAGE)[
            : len(official) - first
        ]
        if not len(drawn):
            break
        difference = _ONES[drawn ^ official[first : first + len(drawn)]].sum(axis=1, dtype=np.int64)
        shape = by_shape[shapes2d.SHAPES[first * len(shapes2d.SHAPES) // shapes2d.N_IMAGES]]
        for counts in (result, shape):
            counts["images"] += len(drawn)
            counts["equal"] += int((difference == 0).sum())
            counts["pixels"] += int(difference.sum())
        if difference.max() > result["worst"]:
            result["worst"], result["worst_index"] = (
                int(difference.max()),
                first + int(difference.argmax()),
            )
        first += len(drawn)
    return {**result, "by_shape": by_shape}


def download(
    path: Path, url: str = URL, md5: str = MD5, sha1: str = SHA1, say=lambda line: None
) -> None:
    """Fetch the published archive to `path`, continuing an earlier `.part`; checked before it gets its name.

    Raises OSError when the server cannot be reached or the connection breaks (what came is kept), ValueError when
    what came is not the published file (it is deleted).
    """
    archives.download(path, url, lambda file: check_archive(file, md5, sha1), say)


def read_animation(path: Path) -> UInt8[np.ndarray, "frames 64 64"]:
    """The frames of the animation in the dSprites repository (dsprites.gif): 320 native images, pixels 0 or 1.

    The dark colour is 0 and the bright one is 1. Raises FileNotFoundError or ValueError if `path` is not such an animation.
    """
    from PIL import Image, ImageSequence, UnidentifiedImageError

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with Image.open(path) as animation:
            frames = np.stack(
                [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(animation)]
            )
    except (UnidentifiedImageError, EOFError, SyntaxError, OSError) as error:
        raise ValueError(f"{path} is not an animation that can be read: {error}") from error
    if frames.shape[1:] != (HEIGHT, WIDTH):
        raise ValueError(
            f"the frames of {path} are {frames.shape[2]} by {frames.shape[1]} pixels, 64 by 64 expected"
        )
    shades = np.unique(frames)
    if len(shades) != 2:
        raise ValueError(f"the frames of {path} have {len(shades)} shades of grey, two expected")
    return (frames == shades[1]).astype(np.uint8)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="data_prep.dsprites", description="Check and pack the published dSprites file."
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--path", type=Path, help=f"the file {FILE_NAME}")
    which.add_argument(
        "--download",
        action="store_true",
        help="fetch it into --out first, continuing if interrupted",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("data"), help="folder to write to (default: data)"
    )
    arguments = parser.parse_args(argv)
    path = arguments.path or arguments.out / FILE_NAME

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        if arguments.download:
            download(path, say=say)
        pack_archive(path, arguments.out, say=say)
        counts = compare(arguments.out)
        say(
            f"{counts['equal']:,} of {counts['images']:,} images equal the drawn ones to the last pixel"
        )
    except (OSError, ValueError) as error:
        print(f"data_prep.dsprites: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "data_prep.dsprites: interrupted; a download is continued by the same command",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
