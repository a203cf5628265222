"""3D Chairs, when it is at hand: checked, cropped, shrunk to 64x64 and packed, with chair, azimuth and elevation as labels.

    python -m data_prep.chairs --path rendered_chairs.tar --out data      (or the unpacked folder rendered_chairs)
    python -m data_prep.chairs --download --out data                      (an interrupted call is continued)

Aubry, Maturana, Efros, Russell, Sivic, "Seeing 3D chairs", CVPR 2014: 1,393 chairs, each seen from 31 azimuths and 2
elevations, 86,366 PNGs of 600x600. The views are read from the names:

    rendered_chairs/<chair>/renders/image_001_p020_t011_r096.png      p elevation, t azimuth in degrees; r distance

The tar is read in place, never unpacked. No checksum of it was published: its own SHA-256 goes into the JSON, and counts,
names and image sizes are checked. The images lie by chair (sorted by name), then azimuth, then elevation, the last fastest.
Held out are all views of a tenth of the chairs (the paper holds out chair models): the first in the order of the SHA-256 of
their names, which is as good as random and the same everywhere.

The download has not been tried against its server.
"""

import functools
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import PIL

from data_prep import archives, commands
from data_prep.packed import in_order, labels_file, write_packed

STEM = "chairs"
CHAIRS, AZIMUTHS, ELEVATIONS, SIZE = 1_393, 31, 2, (600, 600)
TEST_SHARE = 0.1
TAR = "rendered_chairs.tar"
URL = f"https://www.di.ens.fr/willow/research/seeing3Dchairs/data/{TAR}"

# The paper leaves the crop open. The chairs stand in the middle of wide white borders; the central 400x400, a common
# choice in public VAE code at 64x64, leaves them half as large again as the whole picture would.
CROP = (100, 100, 500, 500)
RESIZE = "PIL bilinear (triangle filter, antialiased) to 64x64"
# 89,000 members with the folders; a picture of 600x600 is 1.1 MB when not compressed at all.
LIMITS = archives.Limits(members=120_000, total=20_000_000_000, member=8_000_000)

_VIEW = re.compile(r"(?:.*/)?([^/]+)/renders/image_\d+_p(\d{3})_t(\d{3})_r\d+\.png")


def views(
    where: Path, names: Iterable[str], chairs: int, azimuths: int, elevations: int
) -> tuple[list[str], list[int], list[int], list[str]]:
    """Sorted names of the chairs, azimuths and elevations (degrees), and the file of each image, the last factor fastest.

    Files that are not views are passed over. Raises ValueError unless every chair is there in every view, once.
    """
    found: dict[str, dict[tuple[int, int], str]] = {}
    for name in names:
        if match := _VIEW.fullmatch(name):
            chair, view = match[1], (int(match[3]), int(match[2]))
            if view in found.setdefault(chair, {}):
                raise ValueError(
                    f"{where} holds one view twice: {found[chair][view]} and {name}; take a fresh copy"
                )
            found[chair][view] = name
    if len(found) != chairs:
        raise ValueError(
            f"{where} holds views of {len(found):,} chairs, {chairs:,} expected: cut short, or another archive; {TAR} is at {URL}"
        )
    counts = Counter(view for chair in found.values() for view in chair)
    common = {view for view, count in counts.items() if 2 * count > chairs}
    angles = (
        sorted({azimuth for azimuth, _ in common}),
        sorted({elevation for _, elevation in common}),
    )
    for chair, there in sorted(found.items()):
        odd = common.symmetric_difference(there)
        if odd:
            azimuth, elevation = min(odd)
            has = (
                "has a view that other chairs lack"
                if (azimuth, elevation) in there
                else "lacks a view"
            )
            raise ValueError(
                f"{where}: chair {chair} {has}, p{elevation:03d} t{azimuth:03d}; take a fresh copy"
            )
    if (len(angles[0]), len(angles[1])) != (azimuths, elevations) or len(
        common
    ) != azimuths * elevations:
        seen = f"{len(common)} views ({len(angles[0])} azimuths, {len(angles[1])} elevations)"
        raise ValueError(
            f"{where} has {seen}, {azimuths} azimuths by {elevations} elevations expected: another archive"
        )
    files = [found[chair][a, e] for chair in sorted(found) for a in angles[0] for e in angles[1]]
    return sorted(found), *angles, files


def held_out(chairs: list[str], share: float = TEST_SHARE) -> set[str]:
    """The chairs that test: the first `share` of them in the order of the SHA-256 of their names."""
    order = sorted(chairs, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return set(order[: round(share * len(chairs))])


def pack(
    path: Path,
    out: Path,
    crop: archives.Box = CROP,
    processes: int | None = None,
    chairs: int = CHAIRS,
    azimuths: int = AZIMUTHS,
    elevations: int = ELEVATIONS,
    say=lambda line: None,
) -> dict:
    """Check 3D Chairs at `path` and write it to `out` as chairs.rgb, chairs.labels.npz and chairs.json, unless that was done.

    Returns what the JSON says. Raises FileNotFoundError, OSError or ValueError with one line; an interrupted call is
    continued by the next (data_prep.packed). The arguments from `chairs` on let a small set stand in for the real one in tests.
    """
    say(f"checking {path}")
    with archives.opened(path, LIMITS) as source:
        names, azimuth_values, elevation_values, files = views(
            path, source.files, chairs, azimuths, elevations
        )
        if source.kind == "folder":
            proof = {"listing_sha256": source.listing}
        else:
            proof = {"sha256": archives.checksum(path, "sha256")}
        say(
            "unverified edition: no checksum was published; counts, names and image sizes are checked instead"
        )
        classes = np.unravel_index(np.arange(len(files)), (chairs, azimuths, elevations))
        test_chairs = held_out(names)
        info = {
            "name": "3D Chairs",
            "source": "official",
            "images": len(files),
            "factors": [
                {"name": "chair", "values": list(range(chairs)), "discrete": True},
                {"name": "azimuth", "values": azimuth_values, "discrete": False},
                {"name": "elevation", "values": elevation_values, "discrete": True},
            ],
            "held_out": f"all views of {len(test_chairs)} of {chairs} chairs, the first by the SHA-256 of their names",
            "edition": "unverified edition: no checksum was published",
            "files": {path.name: {**proof, "published": False}},
            "layout": f"{source.kind}, {files[0]}",
            "crop": list(crop),
            "resize": RESIZE,
            "software": f"Pillow {PIL.__version__}",
            "chairs": names,
            "channels": 3,
        }
        pieces = in_order(
            lambda i: (f"{path}: {files[i]}", source.read(files[i])),
            functools.partial(archives.decode_all, kind="PNG", size=SIZE, box=tuple(crop)),
            len(files),
            processes,
        )
        test = np.isin(names, list(test_chairs))[classes[0]]
        labels = labels_file(np.stack(classes, axis=1), test)
        return write_packed(out, STEM, pieces, info, labels=labels, say=say)


def download(path: Path, url: str = URL, say=lambda line: None) -> None:
    """Fetch the tar to `path`, continuing an earlier part; it gets its name once it can be listed to its end.

    Raises OSError when the server cannot be reached or the connection breaks (what came is kept), ValueError when what
    came is not a tar archive (it is deleted).
    """

    def check(file: Path) -> None:
        with archives.opened(file, LIMITS):
            pass

    archives.download(path, url, check, say)


def main(argv: list[str] | None = None) -> int:
    where = f"the file {TAR}, or the folder that it unpacks to"
    return commands.pack_command(
        "chairs", "3D Chairs", where, TAR, SIZE, CROP, download, pack, argv
    )


if __name__ == "__main__":
    sys.exit(main())
