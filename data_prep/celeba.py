"""CelebA, when it is at hand: checked, cropped, shrunk to 64x64 and packed, with its 40 attributes.

    python -m data_prep.celeba --path celeba --out data  (a folder, or the zip, the lists beside it)
    python -m data_prep.celeba --download --out data     (into data/celeba first; can be continued)

Liu, Luo, Wang, Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015; for non-commercial
research only. Wanted are img_align_celeba.zip (202,599 JPEGs of 178x218), list_attr_celeba.txt and
list_eval_partition.txt, laid out as torchvision, the official site or Kaggle do (docs/data.md).

The published files have known checksums and must have them; a folder or lists as .csv have none, so
counts, names and image sizes are checked and the JSON says "unverified edition". Images keep their
order; held out is the official test partition (19,962 images, 9.9 %; the paper's split is about
90/10). The download has not been tried against Google's servers.
"""

import hashlib
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pandas
from jaxtyping import Int16

from data_prep import archives, commands
from data_prep.packed import factors_of, labels_file

STEM = "celeba"
IMAGES, TEST_IMAGES, SIZE = 202_599, 19_962, (178, 218)
ZIP, ATTRIBUTE_LIST, PARTITION_LIST = (
    "img_align_celeba.zip", "list_attr_celeba", "list_eval_partition",
)  # fmt: skip
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

# The paper says "cropped" and no more. This is the central square of 148x148, the commonest choice
# in public VAE code at 64x64 (torchvision's CenterCrop(148)): it loses 15 pixels on each side and
# 35 above and below, but no hair, hat or chin that an attribute speaks of; 128x128 would.
CROP = (15, 35, 163, 183)
# The whole set is 1.4 GB; the longest member is Kaggle's list of landmarks or attributes, 25 MB.
LIMITS = archives.Limits(members=250_000, total=4_000_000_000, member=64_000_000)

_IN_ORDER = """
5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair
Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair
Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face
Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair
Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young
"""
ATTRIBUTES = tuple(_IN_ORDER.split())
# The two lists: their columns, and the numbers that may stand for the classes 0, 1, ...
LISTS = {
    ATTRIBUTE_LIST: (ATTRIBUTES, ((-1, 1), (0, 1))),
    PARTITION_LIST: (("partition",), ((0, 1, 2),)),
}


def image_name(number: int) -> str:
    """The name of an image, counted from 0: 000001.jpg is the first."""
    return f"{number + 1:06d}.jpg"


def read_list(
    where: str, content: bytes, stem: str, images: int
) -> Int16[np.ndarray, "images columns"]:
    """The list `stem` as a table of classes, one row an image, the columns in our order.

    `where` names it in messages and tells by its end, .csv or .txt, how it is laid out. A .csv has
    a line of titles and is as Kaggle, pandas or a spreadsheet write it: quoted or not, with other
    columns or not, 1 or 1.0 or TRUE. The .txt has spaces; that of the attributes opens with the
    number of images and the titles. Raises ValueError, naming the line, at what is not so.
    """
    if content.lstrip()[:1] == b"<":
        raise ValueError(f"{where} is a web page, not the list: delete it and download the list")
    columns, ways = LISTS[stem]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not a text file ({error}): download it again") from error
    opening = [*text.split("\n", 2), ""]
    if where.endswith(".csv"):
        heads, form = 1, {"sep": max(",;\t", key=opening[0].count)}
    else:
        heads = 2 if stem == ATTRIBUTE_LIST else 0  # how many images, and the titles
        names = ["image", *(opening[1].split() if heads else columns)]
        form = {"sep": r"\s+", "header": None, "skiprows": heads, "names": names}
    try:  # with more cells than titles, columns are out of place, and refused below
        table = pandas.read_csv(io.StringIO(text), **form)
    except ValueError as error:
        raise ValueError(f"{where} is no such list ({error}): another layout") from error
    for column in columns:
        if column not in table or f"{column}.1" in table:  # pandas' name for a second one
            raise ValueError(f"{where} has not one column titled {column!r}: another layout")
    first, wanted = image_name(0), [image_name(number) for number in range(images)]
    names = next((table[c] for c in table if table[c].iloc[0] == first), table.iloc[:, 0])
    for line, (name, right) in enumerate(zip_longest(names, wanted), start=heads + 1):
        if name != right:
            about = f"line {line} is about {name}, {right} expected"
            why = "cut short, another layout, or another edition"
            raise ValueError(f"{where} names {len(names):,} of {images:,} images; {about}: {why}")
    cells = table[list(columns)]
    numbers = cells.apply(pandas.to_numeric, errors="coerce").to_numpy(float)
    way = max(ways, key=lambda way: np.isin(numbers, way).sum())
    for row, column in np.argwhere(~np.isin(numbers, way))[:1]:
        found = f"line {row + heads + 1} holds {str(cells.iloc[row, column])[:40]!r}"
        known = " or ".join(map(str, way))
        raise ValueError(f"{where} {found} as {columns[column]}, {known} expected: another layout")
    return np.searchsorted(way, numbers).astype(np.int16)


def _folders(path: Path) -> Iterator[Path]:
    """`path` and its folders, three deep; those with images are not searched for more."""
    for top, names, files in os.walk(path, followlinks=True):
        yield Path(top)
        deep = len(Path(top).relative_to(path).parts) == 3
        names[:] = [] if deep or image_name(0) in files else sorted(names)


def _first(folders: list[Path], *names: str) -> Path | None:
    """The first of the names that is in one of the folders."""
    paths = (folder / name for name in names for folder in folders)
    return next((path for path in paths if path.is_file()), None)


def find_images(path: Path) -> Path:
    """The published zip (preferred, for its checksum), images or Kaggle's zip in a folder.

    What is no folder is returned as it is. Raises FileNotFoundError if none is there.
    """
    if not path.is_dir():
        return path
    folders = list(_folders(path))
    found = _first(folders, ZIP, image_name(0), "archive.zip", "celeba-dataset.zip")
    if found is None:
        wanted = f"neither {ZIP} nor a folder with {image_name(0)}"
        raise FileNotFoundError(f"{path.absolute()} holds {wanted}: get the zip from {HOME}")
    return found.parent if found.name == image_name(0) else found


def _list_file(path: Path, source: archives.Source, stem: str) -> tuple[str, str, bytes]:
    """Name, name for messages, and content of a list: in the images' zip, or near `path`."""
    names = f"{stem}.txt", f"{stem}.csv"
    within = {name.rsplit("/")[-1]: name for name in source.files} if source.kind == "zip" else {}
    for name in names:
        if name in within:
            return name, f"{source.path}: {within[name]}", source.read(within[name])
    folders = list(_folders(path)) if path.is_dir() else [path.parent]
    here = folders[0].absolute()
    for above in list(here.resolve().parents)[:2]:  # the images alone, or Img/, may be given
        folders += [above, above / "Anno", above / "Eval"]
    file = _first(folders, *names)
    if file is None:
        where = f"{here}, nor above it or in ../Anno or ../Eval"
        raise FileNotFoundError(f"there is no {stem}.txt (or .csv) in {where}: get it from {HOME}")
    return file.name, str(file), archives.read_file(file.stat().st_size, file, LIMITS)


def _named_images(source: archives.Source, count: int) -> list[str]:
    """The member of each image in order; ValueError unless they are 1 to `count`, each once."""
    named = sorted((name.rsplit("/")[-1], name) for name in source.files)
    found = [(base, name) for base, name in named if re.fullmatch(r"\d{6}\.jpg", base)]
    wanted = [image_name(number) for number in range(count)]
    if [base for base, _ in found] != wanted:
        missing = sorted(set(wanted) - {base for base, _ in found})
        # Where none is missing, the first that is out of step is there twice, or a stranger.
        extra = [name for (base, name), other in zip(found, [*wanted, None]) if base != other]
        odd = f"{missing[0]} is missing" if missing else f"{extra[0]} is one too many"
        holds = f"{len(found):,} images, the lists name {count:,}: {odd}"
        why = "cut short while copying or unpacking, or two sets in one?"
        raise ValueError(f"{source.path} holds {holds}; {why}")
    return [name for _, name in found]


def _md5_of(content: bytes, published: str | None) -> str:
    """The md5 of a list; the published one also where an editor changed the ends of its lines."""
    lines = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    forms = (content, lines, lines.replace(b"\n", b"\r\n"))
    sums = [hashlib.md5(form, usedforsecurity=False).hexdigest() for form in forms]
    return published if published in sums else sums[0]


def _check_md5(what: str, actual: str, wanted: str) -> None:
    if actual != wanted:
        wrong = f"its md5 is {actual}, not {wanted}; cut short, altered or another edition"
        own = "an edition of your own goes through with its images in a folder and .csv lists"
        raise ValueError(f"{what} is not the published file: {wrong}: download it again ({own})")


def pack(
    path: Path, out: Path, crop: archives.Box = CROP, processes: int | None = None,
    images: int = IMAGES, test_images: int = TEST_IMAGES, md5: Mapping[str, str] = MD5,
    say=lambda line: None,
) -> dict:  # fmt: skip
    """Check CelebA at `path` and write it to `out`, unless that was done; what its JSON says.

    Raises FileNotFoundError, OSError or ValueError with one line; an interrupted call is continued
    by the next. The arguments from `images` on let a small set stand in for the real one in tests.
    """
    place = find_images(path)
    say(f"checking {place} and the lists that belong to it")
    with archives.opened(place, LIMITS) as source:
        files, tables = {}, {}
        for stem in LISTS:
            name, where, content = _list_file(path, source, stem)
            tables[stem] = read_list(where, content, stem, images)
            files[name] = {"md5": _md5_of(content, md5.get(name)), "published": name in md5}
            if name in md5:
                _check_md5(where, files[name]["md5"], md5[name])
        test = tables[PARTITION_LIST][:, 0] == 2
        if test.sum() != test_images:
            found = f"{test.sum():,} images into the test set (2)"
            raise ValueError(f"{where} puts {found}, {test_images:,} expected")
        names = _named_images(source, images)
        proof = source.proof("md5")
        files[place.name] = {**proof, "published": proof.get("md5") == md5[ZIP]}
        if place.name == ZIP:
            _check_md5(str(place), proof.get("md5"), md5[ZIP])
        unverified = ", ".join(name for name, facts in files.items() if not facts["published"])
        edition = "published"
        if unverified:
            edition = f"unverified edition: no published checksum for {unverified}"
            say(f"{edition}; counts, names and image sizes are checked instead")
        facts = {
            "name": "CelebA", "factors": factors_of(dict.fromkeys(ATTRIBUTES, (0, 1)), STEM),
            "held_out": f"the official test partition, {test_images:,} images",
            "edition": edition, "files": files,
        }  # fmt: skip
        labels = labels_file(tables[ATTRIBUTE_LIST], test)
        return archives.pack_images(
            out, STEM, source, names, labels, facts, "JPEG", SIZE, crop, processes, say
        )


def download(
    folder: Path, url: str = URL, md5: Mapping[str, str] = MD5, say=lambda line: None
) -> None:
    """Fetch the three published files into `folder`, small ones first, each checked before named.

    Raises OSError or ValueError, which also say how to place the files by hand.
    """
    for name, drive_id in DRIVE.items():

        def check(file: Path, name=name) -> None:
            _check_md5(str(file), archives.checksum(file, "md5"), md5[name])

        try:
            archives.download(folder / name, url.format(drive_id), check, say)
        except (archives.NotFetched, ValueError) as error:
            remedy = f"try tomorrow, or fetch {name} in a browser from {HOME}, put it into {folder}"
            quota = f"If Google's quota for the day is spent, {remedy} and give the same command"
            raise OSError(f"{error}. {quota}") from error


def main(argv: list[str] | None = None) -> int:
    where = f"folder with the images and lists, or {ZIP} with the lists beside it"
    return commands.pack_command(
        "celeba", "CelebA", where, "celeba", download, pack, argv, SIZE, CROP
    )


if __name__ == "__main__":
    sys.exit(main())
