"""The published 2D Shapes file (dSprites), where at hand: checked, packed, compared with ours.

    python -m data_prep.dsprites --path dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz --out data
    python -m data_prep.dsprites --download --out data  (an interrupted download is continued)

Matthey, Higgins, Hassabis, Lerchner, "dSprites: Disentanglement testing Sprites dataset", 2017;
Apache License 2.0. Only the plain arrays `imgs` and `latents_classes` are read, never the pickled
metadata, and the images are streamed, so the 3 GB that they unpack to are never in memory.
"""

import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from data_prep import archives, commands, shapes2d
from data_prep.packed import BYTES_PER_IMAGE, HEIGHT, WIDTH, read_whole, write_packed

FILE_NAME = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
URL = f"https://github.com/deepmind/dsprites-dataset/raw/master/{FILE_NAME}"
SHA1 = "3e0a46a9238e425f46a6ef9e9bdfd7cedb35d50f"
STEM = "dsprites"
CHUNK = 1024  # images at a time
LIMITS = archives.Limits(members=100, total=10**10, member=10**10, ratio=1000)


def check_archive(path: Path, sha1: str = SHA1) -> None:
    """Raise OSError or ValueError unless `path` is the published file byte for byte."""
    digest = archives.checksum(path, "sha1")
    if digest != sha1:
        archives.check(path, LIMITS)  # says so if it is a web page, cut short, ...
        why = f"its sha1 is {digest}, not {sha1}: altered, or another edition"
        raise ValueError(f"{path} is not the published dSprites file: {why}")


def _pieces(path: Path, images: int) -> Iterator[bytes]:
    """The images, packed, once labels and images are seen to be of the form and order expected."""
    classes = np.pad(shapes2d.classes_of(np.arange(images)), ((0, 0), (1, 0)))  # colour: 0
    with np.load(path) as archive:
        labels = archive["latents_classes"]
        if not np.array_equal(labels, classes):
            found = f"{labels.shape} {labels.dtype}"
            raise ValueError(f"latents_classes ({found}) does not count the images up in order")
        with archive.zip.open("imgs.npy") as file:
            np.lib.format.read_magic(file)
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
            if shape != (images, HEIGHT, WIDTH) or dtype != np.uint8 or by_columns:
                expected = f"expected ({images}, {HEIGHT}, {WIDTH}) uint8 in C order"
                raise ValueError(f"imgs is {shape} {dtype}, {expected}")
            while content := file.read(CHUNK * HEIGHT * WIDTH):
                pixels = np.frombuffer(content, np.uint8)
                if pixels.max() > 1:
                    raise ValueError(f"imgs holds the value {pixels.max()}; pixels are 0 or 1")
                yield np.packbits(pixels).tobytes()


def pack(
    path: Path, out: Path, sha1: str = SHA1, images: int = shapes2d.N_IMAGES, say=lambda line: None
) -> None:
    """Check the published archive and write it to `out` as dsprites.bits and dsprites.json.

    Raises OSError or ValueError with one line; nothing half-written is left. The checksum and
    number of images are there for small archives in its place, in tests.
    """
    check_archive(path, sha1)
    facts = {"name": "2D Shapes", "source": "official", "archive_sha1": sha1, "images": images}
    facts["factors"] = shapes2d.factors()
    try:
        write_packed(out, STEM, _pieces(path, images), facts, say=say)
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    counts = compare(out)
    equal = f"{counts['equal']:,} of {counts['images']:,} images"
    say(f"{equal} equal the drawn ones to the last pixel")


def compare(out: Path) -> dict:
    """How many images of dsprites.bits under `out` equal the drawn ones.

    Returns {"images", "equal", "pixels" (that differ, in all), "worst" (most in one image),
    "worst_index", "by_shape": {"square": {"images", "equal", "pixels"}, ...}}. Raises ValueError if
    the packed file is missing or altered.
    """
    read_whole(out, STEM)
    official = np.memmap(out / f"{STEM}.bits", np.uint8, "r").reshape(-1, BYTES_PER_IMAGE)
    differ = []  # pixels, of each image
    for first, piece in zip(range(0, len(official), CHUNK), shapes2d.packed_pieces()):
        some = official[first : first + CHUNK]
        drawn = np.frombuffer(piece, np.uint8).reshape(-1, BYTES_PER_IMAGE)[: len(some)]
        differ.append(np.count_nonzero(np.unpackbits(some ^ drawn, axis=1), axis=1))
    differ = np.concatenate(differ)

    def counts(of: np.ndarray) -> dict:
        return {"images": len(of), "equal": int((of == 0).sum()), "pixels": int(of.sum())}

    each = shapes2d.N_IMAGES // len(shapes2d.SHAPES)
    shapes = zip(shapes2d.SHAPES, np.split(differ, [each, 2 * each]))
    worst = {"worst": int(differ.max()), "worst_index": int(differ.argmax())}
    return counts(differ) | worst | {"by_shape": {name: counts(of) for name, of in shapes}}


def download(path: Path, url: str = URL, sha1: str = SHA1, say=lambda line: None) -> None:
    """Fetch the published archive to `path` and check it; raises as `archives.download`."""
    archives.download(path, url, lambda file: check_archive(file, sha1), say)


def read_animation(path: Path) -> UInt8[np.ndarray, "frames 64 64"]:
    """The frames of the animation in the dSprites repository (dsprites.gif): 320, pixels 0 or 1.

    The dark colour is 0 and the bright one is 1. Raises ValueError if `path` is not such an
    animation.
    """
    from PIL import Image, ImageSequence

    try:
        with Image.open(path) as animation:
            frames = np.stack([f.convert("L") for f in ImageSequence.Iterator(animation)])
    except (EOFError, SyntaxError, OSError) as error:
        raise ValueError(f"{path} is not an animation that can be read: {error}") from error
    shades = np.unique(frames)
    if frames.shape[1:] != (HEIGHT, WIDTH) or len(shades) != 2:
        found = f"{frames.shape[2]} by {frames.shape[1]} pixels in {len(shades)} shades of grey"
        raise ValueError(f"the frames of {path} are {found}, {WIDTH} by {HEIGHT} in two expected")
    return (frames == shades[1]).astype(np.uint8)


def main(argv: list[str] | None = None) -> int:
    path_help = f"the file {FILE_NAME}"
    title = "the published dSprites file"
    return commands.pack_command("dsprites", title, path_help, FILE_NAME, download, pack, argv)


if __name__ == "__main__":
    sys.exit(main())
