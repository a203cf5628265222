"""CelebA, when it is at hand: checked, cropped, shrunk to 64x64 and packed, with its 40 attributes as labels.

    python -m data_prep.celeba --path celeba --out data       (a folder, or the zip with the two lists beside it)
    python -m data_prep.celeba --download --out data          (into data/celeba first; an interrupted call is continued)

Liu, Luo, Wang, Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015; for non-commercial research only. Wanted are
img_align_celeba.zip (202,599 JPEGs of 178x218), list_attr_celeba.txt and list_eval_partition.txt. Known layouts, with the
images zipped or unpacked:

    torchvision   celeba/ with the three files (or a folder img_align_celeba/)
    official      Img/img_align_celeba.zip, Anno/list_attr_celeba.txt, Eval/list_eval_partition.txt
    Kaggle        archive.zip, or img_align_celeba/img_align_celeba/ with list_attr_celeba.csv, list_eval_partition.csv

The published files have known checksums and must have them; a folder or Kaggle's edition has none, so its counts, names and
image sizes are checked and its JSON says "unverified edition". Images keep their order; held out is the official test
partition (19,962 images, 9.9 %; the paper's split is about 90/10).

The addresses of --download are those that torchvision uses. Google limits how often a file is fetched in a day and then
answers with a web page, which is reported; the download itself has not been tried against Google's servers.
"""

import functools
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import PIL
from jaxtyping import Int16

from data_prep import archives, commands
from data_prep.packed import in_order, labels_file, write_packed

STEM = "celeba"
IMAGES, TEST_IMAGES, SIZE = 202_599, 19_962, (178, 218)
ZIP, ATTRIBUTE_LIST, PARTITION_LIST = (
    "img_align_celeba.zip",
    "list_attr_celeba",
    "list_eval_partition",
)
MD5 = {
    ZIP: "00d2c5bc6d35e252742224ab0c1e8fcb",
    f"{ATTRIBUTE_LIST}.txt": "75e246fa4810816ffd6ee81facbd244c",
    f"{PARTITION_LIST}.txt": "d32c9cbf5e040fd4025c592c306e6668",
}
DRIVE = {
    f"{PARTITION_LIST}.txt": "0B7EVK8r0v71pY0NSMzRuSXJEVkk",
    f"{ATTRIBUTE_LIST}.txt": "0B7EVK8r0v71pblRyaVFSWGxPY0U",
    ZIP: "0B7EVK8r0v71pZjFTYXZWM3FlRnM",
}
URL = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"
HOME = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"

# The paper says "cropped" and no more. This is the central square of 148x148, the commonest choice in public VAE code at
# 64x64 (torchvision's CenterCrop(148)): it loses a strip of 15 pixels on each side and of 35 above and below, but no
# hair, hat or chin that an attribute speaks of; 128x128 would cut into hair.
CROP = (15, 35, 163, 183)
RESIZE = "PIL bilinear (triangle filter, antialiased) to 64x64"
# The whole set is 1.4 GB; the longest member is Kaggle's list of landmarks or attributes, about 25 MB.
LIMITS = archives.Limits(members=250_000, total=4_000_000_000, member=64_000_000)

# fmt: off
ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses", "Goatee",
    "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard",
    "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair",
    "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)
# fmt: on


def image_name(number: int) -> str:
    """The name of an image, counted from 0: 000001.jpg is the first."""
    return f"{number + 1:06d}.jpg"


# --- the lists ----------------------------------------------------------------------------------------------------


def read_list(
    where: str, content: bytes, columns: Sequence[str], values: Mapping[str, int], images: int
) -> Int16[np.ndarray, "images columns"]:
    """A list of CelebA as a table: one row an image, cells by way of `values`.

    `where` names it in messages and tells by its end, .csv or .txt, how it is laid out: the CSV lists have a line of
    titles; of the text lists, the attributes have the count and the titles, the partition nothing. Raises ValueError at
    the first thing that is not as published.
    """
    if content.lstrip()[:1] == b"<":
        raise ValueError(
            f"{where} is a web page, not the list: delete it and download the list itself"
        )
    try:
        lines = content.decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not a text file ({error}): download it again") from error
    commas = where.endswith(".csv")

    def cells(
        line: str,
    ) -> list[str]:  # of one line at a time: all at once would take half a gigabyte
        return [cell.strip() for cell in line.split(",")] if commas else line.split()

    heads = 1 if commas else 2 if len(columns) > 1 else 0
    if heads:
        titles = cells(lines[heads - 1])[1 if commas else 0 :] if len(lines) >= heads else []
        if titles != list(columns):
            odd = [title for title in titles if title not in columns] or [
                t for t in columns if t not in titles
            ]
            why = (
                f", the first odd or missing one is {odd[0][:40]!r}" if odd else " in another order"
            )
            raise ValueError(
                f"{where} has {len(titles)} titles, {len(columns)} expected{why}: another edition, or damaged"
            )
    if heads == 2 and lines[0].strip() != str(images):
        raise ValueError(
            f"{where} line 1 gives the number of images as {lines[0].strip()[:40]!r}, {images} expected"
        )
    if len(lines) - heads != images:
        raise ValueError(
            f"{where} has {len(lines) - heads:,} rows, {images:,} expected: cut short, or another edition"
        )
    table = np.empty((images, len(columns)), dtype=np.int16)
    for number, row in enumerate(map(cells, lines[heads:])):
        line = f"{where} line {number + heads + 1}"
        if len(row) != 1 + len(columns):
            raise ValueError(
                f"{line} has {len(row) - 1} values, {len(columns)} expected: damaged; download it again"
            )
        if row[0] != image_name(number):
            raise ValueError(
                f"{line} is about {row[0][:40]!r}, {image_name(number)} is due: damaged; download it again"
            )
        try:
            table[number] = [values[cell] for cell in row[1:]]
        except KeyError as error:
            known = ", ".join(values)
            raise ValueError(
                f"{line} holds the value {error}, only {known} are known: damaged; download it again"
            ) from None
    return table


# --- where things lie ---------------------------------------------------------------------------------------------


def _folders(path: Path, depth: int = 3) -> Iterator[Path]:
    """`path` and its folders; those with images are not searched for more."""
    yield path
    if depth and not (path / image_name(0)).is_file():
        for folder in sorted(entry.path for entry in os.scandir(path) if entry.is_dir()):
            yield from _folders(Path(folder), depth - 1)


def find_images(path: Path) -> Path:
    """The published zip (preferred, for its checksum), folder of images or Kaggle's zip at `path`; FileNotFoundError if none."""
    if not path.is_dir():
        if not path.is_file():
            raise FileNotFoundError(f"there is no file or folder {path}")
        return path
    folders = list(_folders(path))
    unpacked = [folder for folder in folders if (folder / image_name(0)).is_file()]
    zips = [
        [folder / name for folder in folders] for name in (ZIP, "archive.zip", "celeba-dataset.zip")
    ]
    for candidate in (*zips[0], *unpacked, *zips[1], *zips[2]):
        if candidate.exists():
            return candidate
    raise FileNotFoundError(
        f"{path} holds neither {ZIP} nor a folder with {image_name(0)}: get the zip from {HOME}"
    )


def _read_list_file(
    path: Path, source: archives.Source, images: Path, stem: str
) -> tuple[str, str, bytes]:
    """Name, name for messages, and content of a list: inside the images' zip, or beside what `path` means."""
    for end in (".txt", ".csv"):
        for name in source.files if source.kind == "zip" else ():
            if name.rsplit("/")[-1] == stem + end:
                return stem + end, f"{images}: {name}", source.read(name)
    folders = list(_folders(path)) if path.is_dir() else [path.parent]
    if (
        path.is_dir() and images == path
    ):  # the folder of images itself was meant: the lists may lie beside it
        folders += list(path.resolve().parents)[:2]
    for file in (folder / (stem + end) for end in (".txt", ".csv") for folder in folders):
        if file.is_file():
            if file.stat().st_size > LIMITS.member:
                raise ValueError(
                    f"{file} is refused: {file.stat().st_size:,} bytes are too many for this list"
                )
            return file.name, str(file), file.read_bytes()
    raise FileNotFoundError(
        f"there is no {stem}.txt (or .csv) in {folders[0]}: get it from {HOME} and put it there"
    )


def _named_images(images: Path, source: archives.Source, count: int) -> list[str]:
    """The member of each image in order; raises ValueError unless they are the images 1 to `count`, each once."""
    found: dict[str, str] = {}
    for name in source.files:
        base = name.rsplit("/")[-1]
        if re.fullmatch(r"\d{6}\.jpg", base):
            if base in found:
                raise ValueError(
                    f"{images} holds {base} twice, as {found[base]} and {name}: pass one set of images"
                )
            found[base] = name
    wanted = [image_name(number) for number in range(count)]
    missing = [base for base in wanted if base not in found]
    if missing:
        raise ValueError(
            f"{images} lacks {len(missing):,} of the {count:,} images that the lists name, {missing[0]} first: "
            "cut short while copying or unpacking? Take the zip itself"
        )
    if len(found) > count:
        extra = min(set(found) - set(wanted))
        raise ValueError(
            f"{images} holds {len(found):,} images, the lists name {count:,}: {extra} is not one of them"
        )
    return [found[base] for base in wanted]


def _check_md5(what: str, actual: str, wanted: str) -> None:
    if actual != wanted:
        raise ValueError(
            f"{what} is not the published file: its md5 is {actual}, not {wanted}; cut short, altered or another edition: "
            "download it again (an edition of your own goes through with its images unpacked in a folder and .csv lists)"
        )


# --- packing ------------------------------------------------------------------------------------------------------


def pack(
    path: Path,
    out: Path,
    crop: archives.Box = CROP,
    processes: int | None = None,
    images: int = IMAGES,
    test_images: int = TEST_IMAGES,
    md5: Mapping[str, str] = MD5,
    say=lambda line: None,
) -> dict:
    """Check CelebA at `path` and write it to `out` as celeba.rgb, celeba.labels.npz and celeba.json, unless that was done.

    Returns what the JSON says. Raises FileNotFoundError, OSError or ValueError with one line; an interrupted call is
    continued by the next (data_prep.packed). The arguments from `images` on let a small set stand in for the real one in tests.
    """
    place = find_images(path)
    say(f"checking {place} and the lists that belong to it")
    with archives.opened(place, LIMITS) as source:
        files, tables = {}, []
        for stem, columns, values in (
            (ATTRIBUTE_LIST, ATTRIBUTES, {"-1": 0, "1": 1}),
            (PARTITION_LIST, ("partition",), {"0": 0, "1": 1, "2": 2}),
        ):
            name, where, content = _read_list_file(path, source, place, stem)
            tables.append(read_list(where, content, columns, values, images))
            files[name] = {
                "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
                "published": name in md5,
            }
            if name in md5:
                _check_md5(where, files[name]["md5"], md5[name])
        factors, test = tables[0], tables[1][:, 0] == 2
        if test.sum() != test_images:
            raise ValueError(
                f"{where} puts {test.sum():,} images into the test set (2), {test_images:,} expected"
            )
        names = _named_images(place, source, images)
        if source.kind == "folder":
            files[place.name] = {"listing_sha256": source.listing, "published": False}
        else:
            files[place.name] = {"md5": archives.checksum(place, "md5"), "published": False}
            files[place.name]["published"] = files[place.name]["md5"] == md5[ZIP]
            if place.name == ZIP:
                _check_md5(str(place), files[place.name]["md5"], md5[ZIP])
        unverified = [name for name, facts in files.items() if not facts["published"]]
        edition = "published"
        if unverified:
            edition = f"unverified edition: no published checksum for {', '.join(unverified)}"
            say(f"{edition}; counts, names and image sizes are checked instead")
        info = {
            "name": "CelebA",
            "source": "official",
            "images": images,
            "factors": [{"name": name, "values": [0, 1], "discrete": True} for name in ATTRIBUTES],
            "held_out": f"the official test partition, {test_images:,} images",
            "edition": edition,
            "files": files,
            "layout": f"{source.kind}, {names[0]}",
            "crop": list(crop),
            "resize": RESIZE,
            "software": f"Pillow {PIL.__version__}",
            "channels": 3,
        }
        pieces = in_order(
            lambda i: (f"{place}: {names[i]}", source.read(names[i])),
            functools.partial(archives.decode_all, kind="JPEG", size=SIZE, box=tuple(crop)),
            images,
            processes,
        )
        return write_packed(out, STEM, pieces, info, labels=labels_file(factors, test), say=say)


def download(
    folder: Path, url: str = URL, md5: Mapping[str, str] = MD5, say=lambda line: None
) -> None:
    """Fetch the three published files into `folder`, the small ones first; each is checked before it gets its name.

    Raises OSError or ValueError, which also say how to place the files by hand.
    """
    for name, drive_id in DRIVE.items():

        def check(file: Path, name=name) -> None:
            _check_md5(str(file), archives.checksum(file, "md5"), md5[name])

        try:
            archives.download(folder / name, url.format(drive_id), check, say)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:  # of this machine, such as a full disk
                raise
            raise OSError(
                f"{error}. If Google's quota for the day is spent, try tomorrow, or fetch {name} in a browser from {HOME}, "
                f"put it into {folder} and give the same command"
            ) from error


def main(argv: list[str] | None = None) -> int:
    where = f"folder with the images and lists, or {ZIP} with the lists beside it"
    return commands.pack_command(
        "celeba", "CelebA", where, "celeba", SIZE, CROP, download, pack, argv
    )


if __name__ == "__main__":
    sys.exit(main())
