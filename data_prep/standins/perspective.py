"""Solids, and how they are seen in perspective: hidden surfaces, light, 64x64 colour pictures on white.

    from data_prep.standins.perspective import bar, draw, swept        (data_prep.standins.chairs draws chairs with it)

A solid is its faces: convex, flat quadrilaterals (F, 4, 3), corners counter-clockwise seen from outside; x to the right in the
picture from azimuth 0, y away, z up. The camera looks at the origin in true perspective, from a fixed distance at which the
unit sphere just fills the picture, and goes round counter-clockwise seen from above. Hidden surfaces are settled by a depth
buffer at 3x3 samples a pixel, then the samples are averaged. The light stands still while the solid turns.
"""

import math

import numpy as np
from jaxtyping import Float, UInt8

from data_prep.packed import HEIGHT, WIDTH

DISTANCE = 4.0  # of the camera from the origin, in radii of the sphere that it sees
SAMPLES = 3  # by 3 in a pixel
SIDE = SAMPLES * WIDTH
FOCAL = SIDE / 2 * math.sqrt(DISTANCE**2 - 1)  # in samples: the sphere just fills the picture
AMBIENT = 0.40
# The light, and a weak one without which the dark side would be flat: direction (to the picture's right, horizontally towards
# the camera, up) and brightness.
LIGHTS = (((-0.45, 0.60, 0.66), 0.60), ((0.85, 0.50, 0.10), 0.16))
FACE_BITS = 11  # of a depth buffer's entry; the other 20 are the depth
VIEWS_AT_ONCE = 8  # keeps the work within the processor's cache


# --- solids -------------------------------------------------------------------------------------------------------


def swept(sections: Float[np.ndarray, "sections corners 3"]) -> Float[np.ndarray, "faces 4 3"]:
    """The solid between convex outlines of an even number of corners: its sides and its two ends."""
    count = sections.shape[1]
    following = np.roll(sections, -1, axis=1)
    sides = np.stack([sections[:-1], following[:-1], following[1:], sections[1:]], axis=2).reshape(
        -1, 4, 3
    )
    fan = np.array([(0, k, k + 1, k + 2) for k in range(1, count - 1, 2)])
    quads = np.concatenate([sides, sections[0][fan][:, ::-1], sections[-1][fan]])
    a, b, c, d = quads.transpose(1, 0, 2)
    volume = (a * (np.cross(b, c) + np.cross(c, d))).sum()
    return quads if volume > 0 else quads[:, ::-1]


def ring(sides: int) -> np.ndarray:
    """A regular outline (sides, 2), flat sides at distance 1/2."""
    turns = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    return np.stack([np.cos(turns), np.sin(turns)], axis=1) * (0.5 / math.cos(math.pi / sides))


def bar(
    start, end, thick: float, wide: float | None = None, sides: int = 4, shrink: float = 1.0
) -> np.ndarray:
    """A bar between two points; `wide` is its horizontal width (as thick where not given), `shrink` the size at its end."""
    start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    along = end - start
    if abs(along[2]) > 0.5 * math.dist(start, end):  # upright: the section lies level
        across, other = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    else:
        across = np.array([along[1], -along[0], 0]) / math.hypot(along[0], along[1])
        other = np.cross(across, along) / math.dist(start, end)
    outline = ring(sides) * (wide or thick, thick)
    section = outline[:, :1] * across + outline[:, 1:] * other
    return swept(np.stack([start + section, end + shrink * section]))


# --- pictures -----------------------------------------------------------------------------------------------------


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums of products over the last axis, in one order on every machine (BLAS would choose its own)."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def camera(azimuth: np.ndarray, elevation: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors to the picture's right, to its top and away from the camera, (V, 3) each, for angles in degrees (V,)."""
    a, e = np.radians(azimuth), np.radians(elevation)
    sin, cos, zero = np.sin(a), np.cos(a), np.zeros_like(a)
    right = np.stack([cos, sin, zero], axis=1)
    up = np.stack([-sin * np.sin(e), cos * np.sin(e), np.cos(e)], axis=1)
    away = np.stack([-sin * np.cos(e), cos * np.cos(e), -np.sin(e)], axis=1)
    return right, up, away


def project(
    points: np.ndarray, azimuth: np.ndarray, elevation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where points (..., 3) fall in views (V,): x to the right and y down, (V, ...), in samples from the upper left corner."""
    right, up, away = (
        axis.reshape(-1, *[1] * (points.ndim - 1), 3) for axis in camera(azimuth, elevation)
    )
    scale = FOCAL / (DISTANCE + _dot(points, away))
    return SIDE / 2 + scale * _dot(points, right), SIDE / 2 - scale * _dot(points, up)


def _depth_buffer(quads: np.ndarray, azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Which face each sample sees, (V, SIDE, SIDE): 0 for none, else its number + 1."""
    right, up, away = camera(azimuth, elevation)
    normals = np.cross(quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1])
    beyond = _dot(normals, quads[:, 0]) + DISTANCE * _dot(
        normals, away[:, None]
    )  # (V, F), negative where seen from outside
    view, face = np.nonzero(beyond < -1e-9)
    x, y = (corners[view, face] for corners in project(quads, azimuth, elevation))  # (Q, 4)

    # 1 / depth is linear on the picture: at_0 + by_x X + by_y Y, scaled to whole numbers of 20 bits, 0 at the sphere's far end.
    nearest, farthest = 1 / (DISTANCE - 1), 1 / (DISTANCE + 1)
    steps = (2 ** (31 - FACE_BITS) - 1) / (nearest - farthest)
    normal = steps * normals[face] / beyond[view, face][:, None]
    by_x, by_y = _dot(normal, right[view]) / FOCAL, -_dot(normal, up[view]) / FOCAL
    at_0 = _dot(normal, away[view]) - SIDE / 2 * (by_x + by_y) - steps * farthest

    # The rows of sample centres that each edge crosses, its upper end included and its lower end not.
    next_x, next_y = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    first = np.ceil(np.minimum(y, next_y) - 0.5).astype(np.int64)
    count = np.ceil(np.maximum(y, next_y) - 0.5).astype(np.int64) - first
    top = first.min(axis=1)
    rows = (first + count).max(axis=1) - top
    base = np.cumsum(rows) - rows  # of each face's spans, one a row
    quad, edge = np.nonzero(count)
    repeats = count[quad, edge]
    nth = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    slope = (next_x - x)[quad, edge] / (next_y - y)[quad, edge]
    start_x = x[quad, edge] + (first[quad, edge] + 0.5 - y[quad, edge]) * slope
    column = np.ceil(np.repeat(start_x, repeats) + nth * np.repeat(slope, repeats) - 0.5).astype(
        np.int64
    )
    place = np.repeat(base[quad] + first[quad, edge] - top[quad], repeats) + nth
    left = np.repeat(
        (next_y > y)[quad, edge], repeats
    )  # counter-clockwise corners: the edges that go down are on the left
    ends = np.zeros((2, rows.sum()), dtype=np.int64)
    ends[np.where(left, 0, 1), place] = column

    # From spans to samples; the nearest face at each sample stays.
    length = np.maximum(ends[1] - ends[0], 0)
    row = np.arange(len(length)) - np.repeat(base - top, rows)
    along = np.repeat(by_x, rows)
    depth = np.repeat(at_0, rows) + np.repeat(by_y, rows) * (row + 0.5) + along * (ends[0] + 0.5)
    target = (np.repeat(view, rows) * SIDE + row) * SIDE + ends[0]
    offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    nearness = (np.repeat(depth, length) + np.repeat(along, length) * offset).astype(np.int32)
    entry = (nearness << FACE_BITS) + np.repeat(np.repeat(face.astype(np.int32) + 1, rows), length)
    buffer = np.zeros(len(azimuth) * SIDE * SIDE, dtype=np.int32)
    np.maximum.at(buffer, np.repeat(target, length) + offset, entry)
    return buffer.reshape(-1, SIDE, SIDE) & ((1 << FACE_BITS) - 1)


def _lit(quads: np.ndarray, colours: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """The colours (V, F + 1, 3) of no face (white) and of the faces, as the light falls in views from `azimuth` (V,)."""
    normals = np.cross(quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1])
    normals = normals / np.sqrt(_dot(normals, normals))[:, None]
    right, _, away = camera(azimuth, np.zeros_like(azimuth))
    shade = AMBIENT
    for direction, bright in LIGHTS:
        ray = direction[0] * right - direction[1] * away + direction[2] * np.array([0, 0, 1])
        shade = shade + bright * np.maximum(
            _dot(normals, ray[:, None]) / math.hypot(*direction), 0
        )  # (V, F), Lambert's law
    lit = np.minimum(np.rint(shade[..., None] * colours), 255).astype(np.int64)
    return np.concatenate([np.full((len(azimuth), 1, 3), 255), lit], axis=1)


def draw(
    quads: Float[np.ndarray, "faces 4 3"],
    colours: UInt8[np.ndarray, "faces 3"],
    azimuth: Float[np.ndarray, " views"],
    elevation: Float[np.ndarray, " views"],
) -> UInt8[np.ndarray, "views 64 64 3"]:
    """Pictures of faces in the unit sphere, seen from angles in degrees, (V,) each.

    A face is flat and convex, its corners counter-clockwise from outside; from inside it is not seen. Raises ValueError for
    faces beyond the unit sphere, and for more than 2,046.
    """
    if len(quads) > (1 << FACE_BITS) - 2:
        raise ValueError(
            f"{len(quads):,} faces are too many, at most {(1 << FACE_BITS) - 2:,} can be drawn"
        )
    if not (quads**2).sum(axis=2).max() < 1 + 1e-9:
        raise ValueError("the faces reach beyond the unit sphere, which is what the camera sees")
    pictures = np.empty((len(azimuth), HEIGHT, WIDTH, 3), dtype=np.uint8)
    for start in range(0, len(azimuth), VIEWS_AT_ONCE):
        some = slice(start, start + VIEWS_AT_ONCE)
        lit = _lit(quads, colours, azimuth[some])
        # Three channels side by side in one integer, so that they are looked up and summed at once.
        lit = lit[..., 0] << 32 | lit[..., 1] << 16 | lit[..., 2]
        for picture, seen, table in zip(
            pictures[some], _depth_buffer(quads, azimuth[some], elevation[some]), lit
        ):
            samples = table[seen]
            samples = sum(samples[k::SAMPLES] for k in range(SAMPLES))
            samples = sum(samples[:, k::SAMPLES] for k in range(SAMPLES))
            for channel in range(3):
                total = samples >> (32 - 16 * channel) & 0xFFFF
                picture[..., channel] = (total + SAMPLES**2 // 2) // SAMPLES**2
    return pictures
