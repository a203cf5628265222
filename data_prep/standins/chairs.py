"""Stand-in chairs: drawn 64x64 colour images to use where the 3D Chairs data set is not at hand.

    python -m data_prep.standins.chairs --out data [--chairs 200] [--seed 0]     (12,400 images, 10 s, 152 MB)

The real set (Aubry, Maturana, Efros, Russell, Sivic, CVPR 2014) is 1,393 chair models, each seen from 31 azimuths at 2
elevations, on white. Here the views are the same in number and the chairs are made up: seats, backs, arms and legs of bars,
panels and prisms, their kinds, sizes and colours random. They are not those chairs, and numbers got with them say nothing
about those.

Three factors make an image, in this order (chair slowest, elevation fastest):

    chair           as many as asked for; number k of a seed is the same chair however many are drawn
    azimuth    31   evenly spaced; at 0 the chair faces the camera, which then goes round counter-clockwise seen from above
    elevation   2   20 and 30 degrees

All views of a tenth of the chairs are held out (`test` among the labels). The same seed gives the same bytes on one machine.

Models are in metres: x to the sitter's left (right in the picture from the front), y to the back, z up. For the picture a
chair is moved and scaled into the unit sphere, which data_prep.standins.perspective draws from a fixed distance (the real set's is not
known here).
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from data_prep.packed import HEIGHT, WIDTH, labels_file
from data_prep.standins.common import whole_number, write_once
from data_prep.standins.perspective import bar, draw, ring, swept

STEM = "standin_chairs"
VERSION = 1  # raise it whenever the pictures change
AZIMUTHS = tuple(360 * k / 31 for k in range(31))
ELEVATIONS = (20.0, 30.0)
TEST_SHARE, SPLIT_SEED = 0.1, 0  # one split for every seed
MOST_CHAIRS = 32_767  # classes are stored in 16 bits

WOODS = (
    (196, 154, 108),
    (160, 110, 66),
    (122, 78, 44),
    (100, 64, 44),
    (216, 180, 132),
    (146, 84, 52),
    (76, 56, 46),
)
METALS = ((150, 154, 160), (104, 108, 114), (70, 72, 78), (176, 178, 182))
FABRICS = (
    (170, 44, 44), (44, 84, 148), (54, 118, 82), (206, 160, 52), (118, 66, 126), (66, 68, 78),
    (196, 100, 50), (64, 140, 152), (150, 140, 128), (190, 120, 136), (112, 84, 66), (200, 190, 170),
)  # fmt: skip


@dataclass(frozen=True)
class Chair:
    """What makes one chair; lengths in metres."""

    seat: str  # square or round
    width: float
    depth: float
    height: float  # of the seat's upper side
    thickness: float
    taper: float  # by what share the seat is narrower at the back
    back: str  # none, panel, rails (slats across) or spindles (slats upright)
    back_height: float  # above the seat
    back_width: float
    tilt: float  # degrees that the back leans
    curve: float  # how far the back's sides come forward of its middle
    crown: float  # how far its upper corners lie below its middle
    gap: float  # between seat and panel
    slats: int
    arms: str  # none, bars or panels
    arm_height: float  # above the seat
    legs: str  # straight, splayed, sled or pedestal
    leg: float  # how thick
    splay: float  # how far the feet stand out
    stretchers: bool
    sides: int  # of a leg's section: 4 or 8
    seat_colour: tuple[int, int, int]
    frame_colour: tuple[int, int, int]


def model(chair: int, seed: int = 0) -> Chair:
    """The parameters of chair number `chair`; ValueError unless both are whole numbers from 0."""
    generator = np.random.default_rng(
        [whole_number(seed, "the seed", 0), whole_number(chair, "the chair", 0)]
    )

    def between(low: float, high: float) -> float:
        return low + (high - low) * generator.random()

    def one_of(*choices):
        return choices[int(generator.random() * len(choices))]

    def shade(colours) -> tuple[int, int, int]:
        bright = between(0.88, 1.12)
        return tuple(
            min(235, round(bright * channel + between(-8, 8))) for channel in one_of(*colours)
        )

    seat = one_of("square", "square", "square", "round")
    back = one_of("none", "panel", "panel", "panel", "rails", "rails", "spindles", "spindles")
    legs = one_of("straight", "straight", "splayed", "splayed", "sled", "pedestal")
    arms = (
        "none"
        if back == "none" or seat == "round"
        else one_of("none", "none", "bars", "bars", "panels")
    )
    stool, armchair = back == "none", arms == "panels"
    width = between(0.30, 0.42) if stool else between(0.42, 0.60)
    depth = width if stool or seat == "round" else between(0.42, 0.54)
    padded = armchair or between(0, 1) < 0.4
    taper = 0.0 if seat == "round" or stool or armchair else one_of(0.0, between(0.08, 0.22))
    frame = shade(METALS if legs in ("sled", "pedestal") or between(0, 1) < 0.25 else WOODS)
    return Chair(
        seat=seat, width=width, depth=depth,
        height=between(0.42, 0.70) if stool else between(0.34, 0.40) if armchair else between(0.40, 0.50),
        thickness=between(0.08, 0.14) if padded else between(0.03, 0.05),
        taper=taper,
        back="panel" if armchair else back,
        back_height=between(0.32, 0.66), back_width=width * (0.74 if seat == "round" else 0.98 - taper), tilt=between(3, 16),
        curve=0.16 * depth if seat == "round" else one_of(0.0, between(0.03, 0.10)),
        crown=one_of(0.0, between(0.02, 0.14)),
        gap=0.0 if armchair else one_of(0.0, between(0.08, 0.20)),
        slats=one_of(2, 3, 4, 5),
        arms=arms, arm_height=between(0.18, 0.26),
        legs=legs, leg=between(0.028, 0.055), splay=between(0.05, 0.12) if legs == "splayed" else 0.0,
        stretchers=bool(between(0, 1) < 0.45), sides=one_of(4, 8),
        seat_colour=shade(FABRICS) if padded or legs == "pedestal" else one_of(frame, shade(WOODS), shade(FABRICS)),
        frame_colour=frame,
    )  # fmt: skip


def _seat(c: Chair) -> np.ndarray:
    if c.seat == "round":
        outline = ring(20)
    else:  # a square with its corners cut a little
        corner = np.array([(0.44, -0.5), (0.5, -0.44)])
        outline = np.concatenate([corner, corner[::-1] * (1, -1), -corner, corner[::-1] * (-1, 1)])
    x = outline[:, 0] * (1 - c.taper * (outline[:, 1] + 0.5)) * c.width
    bevel = min(0.02, 0.3 * c.thickness)
    outline = np.column_stack([x, c.depth * outline[:, 1], np.ones(len(x))])
    levels = (
        (c.height - c.thickness, 1),
        (c.height - bevel, 1),
        (c.height, 1 - 2 * bevel / c.width),
    )
    return swept(np.stack([outline * (size, size, z) for z, size in levels]))


def _legs(c: Chair) -> list[np.ndarray]:
    under, parts = c.height - c.thickness / 2, []
    if c.legs == "pedestal":
        parts.append(bar((0, 0, under), (0, 0, 0.07), 0.06, sides=8))
        for turn in 2 * math.pi * (np.arange(5) + 0.25) / 5:
            x, y = 0.29 * math.cos(turn), 0.29 * math.sin(turn)
            parts += [
                bar((0, 0, 0.10), (x, y, 0.06), 0.04),
                bar((x, y, 0.07), (x, y, 0), 0.05, sides=8),
            ]
        return parts
    inset = c.leg / 2 + 0.015
    x, y = (
        (0.35 * c.width, 0.35 * c.depth)
        if c.seat == "round"
        else (c.width / 2 - inset, c.depth / 2 - inset)
    )
    rear = x * (1 - c.taper)
    tops = {
        (i, j): np.array([i * (x if j < 0 else rear), j * y, under])
        for i in (-1, 1)
        for j in (-1, 1)
    }
    if c.legs == "sled":
        foot = {
            key: np.array([key[0] * x, key[1] * (c.depth / 2 - 0.02), c.leg / 2]) for key in tops
        }
        for i in (-1, 1):
            parts.append(bar(foot[i, -1], foot[i, 1], c.leg, sides=c.sides))
    else:
        foot = {
            key: np.array([top[0] + key[0] * c.splay, top[1] + key[1] * c.splay, 0])
            for key, top in tops.items()
        }
    shrink = 0.65 if c.legs == "splayed" else 1.0
    parts += [bar(tops[key], foot[key], c.leg, sides=c.sides, shrink=shrink) for key in tops]
    if c.stretchers and c.legs != "sled":
        low = {key: tops[key] + 0.62 * (foot[key] - tops[key]) for key in tops}
        middle = {i: (low[i, -1] + low[i, 1]) / 2 for i in (-1, 1)}
        pairs = [(low[-1, -1], low[-1, 1]), (low[1, -1], low[1, 1]), (middle[-1], middle[1])]
        parts += [bar(a, b, 0.6 * c.leg) for a, b in pairs]
    return parts


def _on_back(c: Chair, x: float, z: float) -> np.ndarray:
    """The point of the back's middle surface at x and z: it leans, and its sides come forward."""
    y = (
        c.depth / 2
        - 0.03
        - c.curve * (2 * x / c.back_width) ** 2
        + math.tan(math.radians(c.tilt)) * (z - c.height)
    )
    return np.array([x, y, z])


def _slab(c: Chair, low: float, high: float, thick: float, crown: float = 0.0) -> np.ndarray:
    """A part of the back between two heights, as wide as the back."""
    sections = []
    for x in np.linspace(-c.back_width / 2, c.back_width / 2, 9 if c.curve or crown else 2):
        top = high - crown * (2 * x / c.back_width) ** 2
        half = np.array([0, thick / 2, 0])
        bottom_point, top_point = _on_back(c, x, low), _on_back(c, x, top)
        sections.append(
            [bottom_point - half, bottom_point + half, top_point + half, top_point - half]
        )
    return swept(np.array(sections))


def _back(c: Chair) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The back's parts in the seat's colour and those in the frame's."""
    if c.back == "none":
        return [], []
    root, top = c.height - 0.02, c.height + c.back_height

    def post(x: float, high: float) -> np.ndarray:
        return bar(_on_back(c, x, root), _on_back(c, x, high), 0.8 * c.leg, sides=c.sides)

    if c.back == "panel":
        foot, thick = c.height + c.gap if c.gap else root, 0.07 if c.thickness > 0.06 else 0.025
        panel = _slab(c, foot, top, thick, min(c.crown, (top - foot) / 2))
        return [panel], [
            post(s * 0.34 * c.back_width, foot + 0.04) for s in (-1, 1)
        ] if c.gap else []
    edge = (
        c.back_width / 2 - 0.3 * c.leg
    )  # posts stand out beyond rails, above and aside: no two faces in one plane
    posts = [post(s * edge, top - c.crown / 2 + 0.012) for s in (-1, 1)]
    if c.back == "rails":
        pitch = 0.72 * c.back_height / c.slats
        low = [top - (k + 0.6) * pitch for k in range(c.slats)]
        return [
            _slab(c, z, z + 0.6 * pitch, 0.02, 0 if k else min(c.crown, pitch) / 2)
            for k, z in enumerate(low)
        ], posts
    upright = np.linspace(-edge, edge, c.slats + 4)[1:-1]
    spindles = [
        bar(_on_back(c, x, root), _on_back(c, x, top - 0.04 - c.crown / 2), 0.018, 0.022)
        for x in upright
    ]
    return [], [*posts, *spindles, _slab(c, top - 0.08 - c.crown / 2, top, 0.03, c.crown / 2)]


def _arms(c: Chair) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The arms' parts in the seat's colour and those in the frame's."""
    soft, hard = [], []
    level = c.height + c.arm_height
    for s in (-1, 1):
        if c.arms == "panels":
            inner, outer = c.width / 2 - 0.01, c.width / 2 + 0.07
            front, rear, low = (
                -c.depth / 2,
                _on_back(c, c.back_width / 2, level)[1],
                c.height - c.thickness - 0.03,
            )
            outline = np.array(
                [(inner, front, 1), (outer, front, 1), (outer, rear, 1), (inner, rear, 1)]
            )
            soft.append(swept(np.stack([outline * (s, 1, z) for z in (low, level)])))
        elif c.arms == "bars":
            x, y = s * (c.width / 2 - 0.01), -0.32 * c.depth
            hard.append(
                bar(_on_back(c, s * c.back_width / 2, level), (x, y - 0.03, level), 0.03, 0.05)
            )
            hard.append(
                bar((x, y, c.height - c.thickness / 2), (x, y, level), 0.032, sides=c.sides)
            )
    return soft, hard


def faces(c: Chair) -> tuple[Float[np.ndarray, "faces 4 3"], UInt8[np.ndarray, "faces 3"]]:
    """A chair's faces, moved and scaled so that the unit sphere just holds it, and their colours."""
    (back_soft, back_hard), (arms_soft, arms_hard) = _back(c), _arms(c)
    soft, hard = [_seat(c), *back_soft, *arms_soft], [*_legs(c), *back_hard, *arms_hard]
    quads = np.concatenate(soft + hard)
    colours = np.full((len(quads), 3), c.frame_colour, dtype=np.uint8)
    colours[: sum(map(len, soft))] = c.seat_colour
    corners = quads.reshape(-1, 3)
    quads = quads - (corners.min(axis=0) + corners.max(axis=0)) / 2
    return quads / np.sqrt((quads**2).sum(axis=2)).max(), colours


def render(chair: Chair, azimuth_degrees, elevation_degrees) -> UInt8[np.ndarray, "*views 64 64 3"]:
    """Pictures of one chair from any angles, numbers or arrays that broadcast to `views`; ValueError if one is not finite."""
    azimuth, elevation = np.broadcast_arrays(
        np.asarray(azimuth_degrees, float), np.asarray(elevation_degrees, float)
    )
    if not (np.isfinite(azimuth).all() and np.isfinite(elevation).all()):
        raise ValueError("azimuth and elevation must be finite numbers of degrees")
    return draw(*faces(chair), azimuth.ravel(), elevation.ravel()).reshape(
        *azimuth.shape, HEIGHT, WIDTH, 3
    )


# --- the set -------------------------------------------------------------------------------------------------------


def labels(chairs: int) -> tuple[np.ndarray, np.ndarray]:
    """The classes (N, 3) of all images in order, and which of them test (N,): all views of a tenth of the chairs."""
    sizes = chairs, len(AZIMUTHS), len(ELEVATIONS)
    factors = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1)
    held_out = np.random.default_rng(SPLIT_SEED).permutation(chairs)[
        : max(1, round(TEST_SHARE * chairs))
    ]
    return factors, np.isin(factors[:, 0], held_out)


def packed_pieces(chairs: int, seed: int, say=lambda line: None) -> Iterator[bytes]:
    """The whole set in order, the 62 images of one chair at a time."""
    azimuth, elevation = np.meshgrid(AZIMUTHS, ELEVATIONS, indexing="ij")
    for chair in range(chairs):
        if chair and chair % 50 == 0:
            say(f"  {chair:,} of {chairs:,} chairs")
        pictures = render(model(chair, seed), azimuth.ravel(), elevation.ravel())
        yield pictures.transpose(0, 3, 1, 2).tobytes()


def write_all(out: Path, chairs: int = 200, seed: int = 0, say=lambda line: None) -> None:
    """Write standin_chairs.rgb, .labels.npz and .json under `out` unless they are there, whole and these chairs.

    Raises ValueError for a bad count or seed, OSError (no room, no permission); neither leaves half a file behind.
    """
    chairs, seed = (
        whole_number(chairs, "the number of chairs", 2, MOST_CHAIRS),
        whole_number(seed, "the seed", 0),
    )
    info = {
        "name": "stand-in chairs (for 3D Chairs)", "source": "stand-in", "version": VERSION, "seed": seed,
        "images": chairs * len(AZIMUTHS) * len(ELEVATIONS), "channels": 3,
        "factors": [
            {"name": "chair", "values": list(range(chairs)), "discrete": True},
            {"name": "azimuth", "values": list(AZIMUTHS), "discrete": False},
            {"name": "elevation", "values": list(ELEVATIONS), "discrete": True},
        ],
    }  # fmt: skip
    write_once(out, STEM, packed_pieces(chairs, seed, say), info, labels_file(*labels(chairs)), say)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="data_prep.standins.chairs", description="Draw chairs that stand in for 3D Chairs."
    )
    parser.add_argument(
        "--out", type=Path, default=Path("data"), help="folder to write to (default: data)"
    )
    parser.add_argument(
        "--chairs", type=int, default=200, help="how many chairs, 62 images each (default: 200)"
    )
    parser.add_argument("--seed", type=int, default=0, help="which chairs (default: 0)")
    arguments = parser.parse_args(argv)
    try:
        write_all(
            arguments.out, arguments.chairs, arguments.seed, lambda line: print(line, flush=True)
        )
    except (OSError, ValueError) as error:
        print(f"data_prep.standins.chairs: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("data_prep.standins.chairs: interrupted; nothing was kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
