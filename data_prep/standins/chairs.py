"""Stand-in chairs: drawn 64x64 colour images to use where the 3D Chairs data set is not at hand.

    python -m data_prep.standins.chairs --out data [--chairs 200] [--seed 0]     (10 s, 152 MB)

As in the real set (Aubry, Maturana, Efros, Russell, Sivic, CVPR 2014) each chair is seen from 31
azimuths at 2 elevations, on white; but the chairs are made up: seats, backs, arms and legs of bars,
panels and prisms, their kinds, sizes and colours random. Numbers got with them say nothing about
the real ones. Three factors make an image, in this order (chair slowest, elevation fastest):

    chair           as many as asked for; number k of a seed is the same chair whatever the number
    azimuth    31   evenly spaced; at 0 the chair faces the camera, which then goes round
                    counter-clockwise seen from above
    elevation   2   20 and 30 degrees

All views of a tenth of the chairs are held out. Models are in metres: x to the sitter's left (right
in the picture from the front), y to the back, z up. For the picture a chair is moved and scaled
into the unit sphere, which perspective.py draws from a fixed distance (the real set's is not known
here). The same seed gives the same bytes on one machine.
"""

import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from jaxtyping import Float, UInt8

from data_prep.commands import draw_command, whole_number
from data_prep.packed import HEIGHT, WIDTH, factors_of, labels_file, write_packed
from data_prep.standins.perspective import bar, draw, ring, swept

STEM = "standin_chairs"
VERSION = 1  # raise it whenever the pictures change
AZIMUTHS = tuple(360 * k / 31 for k in range(31))
ELEVATIONS = (20.0, 30.0)
TEST_SHARE, SPLIT_SEED = 0.1, 0  # one split for every seed
MOST_CHAIRS = 32_767  # classes are stored in 16 bits

WOODS = (
    (196, 154, 108), (160, 110, 66), (122, 78, 44), (100, 64, 44), (216, 180, 132), (146, 84, 52),
    (76, 56, 46),
)  # fmt: skip
METALS = ((150, 154, 160), (104, 108, 114), (70, 72, 78), (176, 178, 182))
FABRICS = (
    (170, 44, 44), (44, 84, 148), (54, 118, 82), (206, 160, 52), (118, 66, 126), (66, 68, 78),
    (196, 100, 50), (64, 140, 152), (150, 140, 128), (190, 120, 136), (112, 84, 66),
    (200, 190, 170),
)  # fmt: skip
SEAT, FRAME = 0, 1  # whose colour a part has
CORNERS = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])  # x and y: right front, right rear, ...
Parts = Iterator[tuple[int, Float[np.ndarray, "faces 4 3"]]]


def model(chair: int, seed: int = 0) -> SimpleNamespace:
    """What makes a chair, lengths in metres; ValueError unless both are whole numbers from 0."""
    seed, chair = whole_number(seed, "the seed", 0), whole_number(chair, "the chair", 0)
    draws = np.random.default_rng([seed, chair])

    def between(low: float, high: float) -> float:
        return low + (high - low) * draws.random()

    def one_of(*choices):
        return choices[int(draws.random() * len(choices))]

    def shade(colours) -> tuple[int, int, int]:
        bright = between(0.88, 1.12)
        return tuple(min(235, round(bright * c + between(-8, 8))) for c in one_of(*colours))

    seat = one_of("square", "square", "square", "round")
    back = one_of("none", "panel", "panel", "panel", "rails", "rails", "spindles", "spindles")
    legs = one_of("straight", "straight", "splayed", "splayed", "sled", "pedestal")
    stool, is_round = back == "none", seat == "round"
    arms = "none"
    if not (stool or is_round):
        arms = one_of("none", "none", "bars", "bars", "panels")
    armchair = arms == "panels"
    width = between(0.30, 0.42) if stool else between(0.42, 0.60)
    depth = width if stool or is_round else between(0.42, 0.54)
    padded = armchair or between(0, 1) < 0.4
    taper = 0.0 if is_round or stool or armchair else one_of(0.0, between(0.08, 0.22))
    frame = shade(METALS if legs in ("sled", "pedestal") or between(0, 1) < 0.25 else WOODS)
    return SimpleNamespace(
        seat=seat, width=width, depth=depth,
        height=between(*((0.42, 0.70) if stool else (0.34, 0.40) if armchair else (0.40, 0.50))),
        thickness=between(0.08, 0.14) if padded else between(0.03, 0.05),
        taper=taper,  # by what share the seat is narrower at the back
        back="panel" if armchair else back,  # rails are slats across, spindles slats upright
        back_height=between(0.32, 0.66),  # above the seat
        back_width=width * (0.74 if is_round else 0.98 - taper),
        tilt=between(3, 16),  # degrees that the back leans
        curve=0.16 * depth if is_round else one_of(0.0, between(0.03, 0.10)),  # sides come forward
        crown=one_of(0.0, between(0.02, 0.14)),  # how far its upper corners lie below its middle
        gap=0.0 if armchair else one_of(0.0, between(0.08, 0.20)),  # between seat and panel
        slats=one_of(2, 3, 4, 5),
        arms=arms, arm_height=between(0.18, 0.26),  # above the seat
        legs=legs, leg=between(0.028, 0.055),  # how thick
        splay=between(0.05, 0.12) if legs == "splayed" else 0.0,  # how far the feet stand out
        stretchers=bool(between(0, 1) < 0.45),
        sides=one_of(4, 8),  # of a leg's section
        seat_colour=shade(FABRICS) if padded or legs == "pedestal"
        else one_of(frame, shade(WOODS), shade(FABRICS)),
        frame_colour=frame,
    )  # fmt: skip


def _seat(c) -> Parts:
    """A disc or a square with its corners cut a little, its upper edge bevelled."""
    cut = np.array([(0.44, -0.5), (0.5, -0.44)])
    square = np.concatenate([cut, cut[::-1] * (1, -1), -cut, cut[::-1] * (-1, 1)])
    outline = ring(20) if c.seat == "round" else square
    x = outline[:, 0] * (1 - c.taper * (outline[:, 1] + 0.5)) * c.width
    bevel = min(0.02, 0.3 * c.thickness)
    outline = np.column_stack([x, c.depth * outline[:, 1], np.ones(len(x))])
    heights = c.height - c.thickness, c.height - bevel, c.height
    sizes = 1, 1, 1 - 2 * bevel / c.width
    yield SEAT, swept(np.stack([outline * (k, k, z) for z, k in zip(heights, sizes)]))


def _legs(c) -> Parts:
    """A column with five feet, or four legs, on two runners if a sled, maybe with stretchers."""
    under = c.height - c.thickness / 2
    if c.legs == "pedestal":
        yield FRAME, bar((0, 0, under), (0, 0, 0.07), 0.06, sides=8)
        for turn in 2 * math.pi * (np.arange(5) + 0.25) / 5:
            x, y = 0.29 * math.cos(turn), 0.29 * math.sin(turn)
            yield FRAME, bar((0, 0, 0.10), (x, y, 0.06), 0.04)
            yield FRAME, bar((x, y, 0.07), (x, y, 0), 0.05, sides=8)
        return
    x, y = 0.35 * c.width, 0.35 * c.depth
    if c.seat != "round":
        inset = c.leg / 2 + 0.015
        x, y = c.width / 2 - inset, c.depth / 2 - inset
    across, along = CORNERS.T
    wide = np.where(along < 0, x, x * (1 - c.taper))
    tops = np.column_stack([across * wide, along * y, np.full(4, under)])
    feet = np.column_stack([tops[:, :2] + c.splay * CORNERS, np.zeros(4)])
    if c.legs == "sled":
        feet = np.column_stack([x * across, (c.depth / 2 - 0.02) * along, np.full(4, c.leg / 2)])
        for a, b in (feet[:2], feet[2:]):
            yield FRAME, bar(a, b, c.leg, sides=c.sides)
    for top, foot in zip(tops, feet):
        shrink = 0.65 if c.legs == "splayed" else 1.0
        yield FRAME, bar(top, foot, c.leg, sides=c.sides, shrink=shrink)
    if c.stretchers and c.legs != "sled":
        low = tops + 0.62 * (feet - tops)
        for a, b in (low[:2], low[2:], (low[::2] + low[1::2]) / 2):
            yield FRAME, bar(a, b, 0.6 * c.leg)


def _on_back(c, x: float, z: float) -> np.ndarray:
    """The point of the back's middle surface at x and z: it leans, and its sides come forward."""
    leans = math.tan(math.radians(c.tilt)) * (z - c.height)
    return np.array([x, c.depth / 2 - 0.03 - c.curve * (2 * x / c.back_width) ** 2 + leans, z])


def _slab(c, low: float, high: float, thick: float, crown: float = 0.0) -> np.ndarray:
    """A part of the back between two heights, as wide as the back."""
    half, sections = np.array([0, thick / 2, 0]), []
    for x in np.linspace(-c.back_width / 2, c.back_width / 2, 9 if c.curve or crown else 2):
        a, b = _on_back(c, x, low), _on_back(c, x, high - crown * (2 * x / c.back_width) ** 2)
        sections.append([a - half, a + half, b + half, b - half])
    return swept(np.array(sections))


def _back(c) -> Parts:
    """A panel, on two posts if there is a gap, or two posts with rails or spindles between them."""
    root, top = c.height - 0.02, c.height + c.back_height
    edge, until = 0.34 * c.back_width, c.height + c.gap + 0.04
    if c.back == "panel":
        foot, thick = c.height + c.gap if c.gap else root, 0.07 if c.thickness > 0.06 else 0.025
        yield SEAT, _slab(c, foot, top, thick, min(c.crown, (top - foot) / 2))
    else:  # posts stand out beyond rails, above and aside: no two faces in one plane
        edge, until = c.back_width / 2 - 0.3 * c.leg, top - c.crown / 2 + 0.012
    if c.back in ("rails", "spindles") or c.back == "panel" and c.gap:
        for x in (-edge, edge):
            ends = _on_back(c, x, root), _on_back(c, x, until)
            yield FRAME, bar(*ends, 0.8 * c.leg, sides=c.sides)
    if c.back == "rails":
        pitch = 0.72 * c.back_height / c.slats
        for k in range(c.slats):
            z, crown = top - (k + 0.6) * pitch, 0 if k else min(c.crown, pitch) / 2
            yield SEAT, _slab(c, z, z + 0.6 * pitch, 0.02, crown)
    if c.back == "spindles":
        for x in np.linspace(-edge, edge, c.slats + 4)[1:-1]:
            ends = _on_back(c, x, root), _on_back(c, x, top - 0.04 - c.crown / 2)
            yield FRAME, bar(*ends, 0.018, 0.022)
        yield FRAME, _slab(c, top - 0.08 - c.crown / 2, top, 0.03, c.crown / 2)


def _arms(c) -> Parts:
    """Panels from the floor's height up, or bars, each on a post."""
    level, rear = c.height + c.arm_height, c.back_width / 2
    for s in (-1, 1) if c.arms != "none" else ():
        if c.arms == "panels":
            (_, end, _), low = _on_back(c, rear, level), c.height - c.thickness - 0.03
            inner, outer, front = c.width / 2 - 0.01, c.width / 2 + 0.07, -c.depth / 2
            outline = np.array([(inner, front), (outer, front), (outer, end), (inner, end)])
            outline = np.column_stack([s * outline[:, 0], outline[:, 1], np.ones(4)])
            yield SEAT, swept(np.stack([outline * (1, 1, z) for z in (low, level)]))
        else:
            x, y = s * (c.width / 2 - 0.01), -0.32 * c.depth
            yield FRAME, bar(_on_back(c, s * rear, level), (x, y - 0.03, level), 0.03, 0.05)
            foot = x, y, c.height - c.thickness / 2
            yield FRAME, bar(foot, (x, y, level), 0.032, sides=c.sides)


def faces(chair) -> tuple[Float[np.ndarray, "faces 4 3"], UInt8[np.ndarray, "faces 3"]]:
    """Faces and colours of what `model` gives, scaled so that the unit sphere just holds it."""
    parts = [part for make in (_seat, _legs, _back, _arms) for part in make(chair)]
    parts.sort(key=lambda part: part[0])
    quads = np.concatenate([solid for _, solid in parts])
    whose = np.repeat([of for of, _ in parts], [len(solid) for _, solid in parts])
    corners = quads.reshape(-1, 3)
    quads = quads - (corners.min(axis=0) + corners.max(axis=0)) / 2
    colours = np.array([chair.seat_colour, chair.frame_colour], dtype=np.uint8)[whose]
    return quads / np.sqrt((quads**2).sum(axis=2)).max(), colours


def render(chair, azimuth_degrees, elevation_degrees) -> UInt8[np.ndarray, "*views 64 64 3"]:
    """Pictures of what `model` gives from any angles, numbers or arrays that broadcast to `views`.

    Raises ValueError if an angle is not finite.
    """
    angles = np.array(np.broadcast_arrays(azimuth_degrees, elevation_degrees), dtype=float)
    if not np.isfinite(angles).all():
        raise ValueError("azimuth and elevation must be finite numbers of degrees")
    pictures = draw(*faces(chair), *angles.reshape(2, -1))
    return pictures.reshape(*angles.shape[1:], HEIGHT, WIDTH, 3)


def labels(chairs: int) -> tuple[np.ndarray, np.ndarray]:
    """The classes (N, 3) of all images in order, and which of them test (N,): a tenth's views."""
    factors = np.argwhere(np.ones((chairs, len(AZIMUTHS), len(ELEVATIONS))))
    order = np.random.default_rng(SPLIT_SEED).permutation(chairs)
    return factors, np.isin(factors[:, 0], order[: max(1, round(TEST_SHARE * chairs))])


def packed_pieces(chairs: int, seed: int) -> Iterator[bytes]:
    """The whole set in order, the 62 images of one chair at a time."""
    azimuth, elevation = np.meshgrid(AZIMUTHS, ELEVATIONS, indexing="ij")
    for chair in range(chairs):
        pictures = render(model(chair, seed), azimuth.ravel(), elevation.ravel())
        yield pictures.transpose(0, 3, 1, 2).tobytes()


def write_all(out: Path, chairs: int = 200, seed: int = 0, say=lambda line: None) -> None:
    """Write standin_chairs.rgb, .labels.npz and .json under `out`, unless these chairs are there.

    Raises ValueError for a bad count or seed, and what `write_packed` raises.
    """
    chairs = whole_number(chairs, "the number of chairs", 2, MOST_CHAIRS)
    values = {"chair": range(chairs), "azimuth": AZIMUTHS, "elevation": ELEVATIONS}
    info = {
        "name": "stand-in chairs (for 3D Chairs)", "source": "stand-in", "version": VERSION,
        "seed": whole_number(seed, "the seed", 0), "channels": 3,
        "images": chairs * len(AZIMUTHS) * len(ELEVATIONS),
        "factors": factors_of(values, STEM),
    }  # fmt: skip
    content = labels_file(*labels(chairs))
    write_packed(out, STEM, packed_pieces(chairs, seed), info, labels=content, say=say)


ABOUT = "Draw chairs that stand in for 3D Chairs, 62 images each."
main = partial(draw_command, "standins.chairs", ABOUT, write_all, chairs=200, seed=0)

if __name__ == "__main__":
    sys.exit(main())
