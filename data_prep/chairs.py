"""3D Chairs, when it is at hand: checked, cropped, shrunk to 64x64 and packed, with its views.

    python -m data_prep.chairs --path rendered_chairs.tar --out data  (or the folder in it)
    python -m data_prep.chairs --download --out data                  (can be continued)

Aubry, Maturana, Efros, Russell, Sivic, "Seeing 3D chairs", CVPR 2014: 1,393 chairs, each seen from
31 azimuths and 2 elevations, 86,366 PNGs of 600x600. The views are read from the names:

    rendered_chairs/<chair>/renders/image_001_p020_t011_r096.png   p elevation, t azimuth in degrees

The tar is read in place, never unpacked. No checksum of it was published: its own SHA-256 goes into
the JSON, and counts, names and image sizes are checked. The images lie by chair (sorted by name),
then azimuth, then elevation, the last fastest. Held out are all views of a tenth of the chairs (the
paper holds out chair models): the first in the order of the SHA-256 of their names, which is as
good as random and the same everywhere.
"""

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data_prep import archives, commands
from data_prep.packed import factors_of, labels_file

STEM = "chairs"
CHAIRS, AZIMUTHS, ELEVATIONS, SIZE = 1_393, 31, 2, (600, 600)
TEST_SHARE = 0.1
TAR = "rendered_chairs.tar"
URL = f"https://www.di.ens.fr/willow/research/seeing3Dchairs/data/{TAR}"

# The paper leaves the crop open. The chairs stand in the middle of wide white borders; the central
# 400x400, a common choice in public VAE code at 64x64, leaves them half as large again.
CROP = (100, 100, 500, 500)
# 89,000 members with the folders; a picture of 600x600 is 1.1 MB when not compressed at all.
LIMITS = archives.Limits(members=120_000, total=20_000_000_000, member=8_000_000)

_VIEW = re.compile(
    r"(?:.*/)?(?P<chair>[^/]+)/renders/image_\d+_p(?P<elevation>\d{3})_t(?P<azimuth>\d{3})_r\d+\.png"
)


def views(
    where: Path, names: Iterable[str], chairs: int, azimuths: int, elevations: int
) -> tuple[list[str], list[int], list[int], list[str]]:
    """Sorted chairs, azimuths and elevations (degrees), and each image's file, the last fastest.

    Files that are not views are passed over. Raises ValueError unless every chair is there in every
    view, once.
    """
    found: dict[tuple[str, int, int], str] = {}
    for name in names:
        if match := _VIEW.fullmatch(name):
            view = match["chair"], int(match["azimuth"]), int(match["elevation"])
            if view in found:
                both = f"{found[view]} and {name}"
                raise ValueError(f"{where} holds one view twice: {both}; take a fresh copy")
            found[view] = name
    known = sorted({chair for chair, *_ in found})
    if len(known) != chairs:
        right = f"{chairs:,} expected: cut short, or another archive; {TAR} is at {URL}"
        raise ValueError(f"{where} holds views of {len(known):,} chairs, {right}")
    counts = Counter(view[1:] for view in found)
    common = {angles for angles, count in counts.items() if 2 * count > chairs}
    odd = {(chair, *angles) for chair in known for angles in common}.symmetric_difference(found)
    for view in sorted(odd)[:1]:
        has = "has a view that other chairs lack" if view in found else "lacks a view"
        named = f"chair {view[0]} {has}, p{view[2]:03d} t{view[1]:03d}"
        raise ValueError(f"{where}: {named}; take a fresh copy")
    values = [sorted(set(of)) for of in zip(*common)]
    sizes = [len(of) for of in values]
    if sizes != [azimuths, elevations] or len(common) != azimuths * elevations:
        seen = f"{len(common)} views ({sizes[0]} azimuths, {sizes[1]} elevations)"
        right = f"{azimuths} azimuths by {elevations} elevations expected: another archive"
        raise ValueError(f"{where} has {seen}, {right}")
    return known, *values, [found[view] for view in sorted(found)]


def held_out(chairs: list[str], share: float = TEST_SHARE) -> set[str]:
    """The chairs that test: the first `share` of them in the order of their names' SHA-256."""
    order = sorted(chairs, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return set(order[: round(share * len(chairs))])


def pack(
    path: Path, out: Path, crop: archives.Box = CROP, processes: int | None = None,
    chairs: int = CHAIRS, azimuths: int = AZIMUTHS, elevations: int = ELEVATIONS,
    say=lambda line: None,
) -> dict:  # fmt: skip
    """Check 3D Chairs at `path` and write it to `out`, unless that was done; what its JSON says.

    Raises FileNotFoundError, OSError or ValueError with one line; an interrupted call is continued
    by the next. The arguments from `chairs` on let a small set stand in for the real one in tests.
    """
    say(f"checking {path}")
    with archives.opened(path, LIMITS) as source:
        names, *angles, files = views(path, source.files, chairs, azimuths, elevations)
        edition = "unverified edition: no checksum was published"
        say(f"{edition}; counts, names and image sizes are checked instead")
        classes = np.unravel_index(np.arange(len(files)), (chairs, azimuths, elevations))
        test_chairs = held_out(names)
        values = {"chair": range(chairs), "azimuth": angles[0], "elevation": angles[1]}
        facts = {
            "name": "3D Chairs",
            "factors": factors_of(values, STEM),
            "held_out": f"all views of {len(test_chairs)} of {chairs} chairs, the first by the"
            " SHA-256 of their names",
            "edition": edition,
            "files": {path.name: {**source.proof("sha256"), "published": False}},
            "chairs": names,
        }  # fmt: skip
        test = np.isin(names, list(test_chairs))[classes[0]]
        labels = labels_file(np.stack(classes, axis=1), test)
        return archives.pack_images(
            out, STEM, source, files, labels, facts, "PNG", SIZE, crop, processes, say
        )


def download(path: Path, url: str = URL, say=lambda line: None) -> None:
    """Fetch the tar to `path`, named once it can be listed; raises as `archives.download`."""
    archives.download(path, url, lambda file: archives.check(file, LIMITS), say)


def main(argv: list[str] | None = None) -> int:
    where = f"the file {TAR}, or the folder that it unpacks to"
    return commands.pack_command(
        "chairs", "3D Chairs", where, TAR, download, pack, argv, SIZE, CROP
    )


if __name__ == "__main__":
    sys.exit(main())
