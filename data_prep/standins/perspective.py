"""Solids, and how they are seen in perspective: hidden surfaces, light, 64x64 pictures on white.

A solid is its faces: convex, flat quadrilaterals (F, 4, 3), corners counter-clockwise from outside;
x to the right in the picture from azimuth 0, y away, z up. The camera looks at the origin in true
perspective, from a fixed distance at which the unit sphere just fills the picture, and goes round
counter-clockwise seen from above. Hidden surfaces are settled by a depth buffer at 3x3 samples a
pixel, then the samples are averaged. The light stands still while the solid turns.
"""

import math

import numpy as np
from jaxtyping import Float, UInt8

from data_prep.packed import HEIGHT, WIDTH

DISTANCE = 4.0  # of the camera from the origin, in radii of the sphere that it sees
SAMPLES = 3  # by 3 in a pixel
SIDE = SAMPLES * WIDTH
FOCAL = SIDE / 2 * math.sqrt(DISTANCE**2 - 1)  # in samples: the sphere just fills the picture
# The light, and a weak one without which the dark side would be flat: direction (to the picture's
# right, horizontally towards the camera, up) and brightness.
AMBIENT, LIGHTS = 0.40, (((-0.45, 0.60, 0.66), 0.60), ((0.85, 0.50, 0.10), 0.16))
FACE_BITS = 11  # of a depth buffer's entry; the other 20 are the depth
VIEWS_AT_ONCE = 8  # keeps the work within the processor's cache


def swept(sections: Float[np.ndarray, "sections corners 3"]) -> Float[np.ndarray, "faces 4 3"]:
    """The solid between convex outlines with an even number of corners: its sides and two ends."""
    turned = np.roll(sections, -1, axis=1)
    sides = np.stack([sections[:-1], turned[:-1], turned[1:], sections[1:]], axis=2)
    fan = np.array([(0, k, k + 1, k + 2) for k in range(1, sections.shape[1] - 1, 2)])
    ends = sections[0][fan][:, ::-1], sections[-1][fan]
    quads = np.concatenate([sides.reshape(-1, 4, 3), *ends])
    a, b, c, d = quads.transpose(1, 0, 2)
    volume = (a * (np.cross(b, c) + np.cross(c, d))).sum()
    return quads if volume > 0 else quads[:, ::-1]


def ring(sides: int) -> np.ndarray:
    """A regular outline (sides, 2), flat sides at distance 1/2."""
    turns = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    return np.stack([np.cos(turns), np.sin(turns)], axis=1) * (0.5 / math.cos(math.pi / sides))


def bar(start, end, thick: float, wide: float = 0, sides: int = 4, shrink: float = 1) -> np.ndarray:
    """A bar between two points, `wide` (0: as thick) across; `shrink` is the size at its end."""
    start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    along, length = end - start, math.dist(start, end)
    across, other = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])  # upright: the section lies level
    if abs(along[2]) <= 0.5 * length:
        across = np.array([along[1], -along[0], 0]) / math.hypot(along[0], along[1])
        other = np.cross(across, along) / length
    outline = ring(sides) * (wide or thick, thick)
    section = outline[:, :1] * across + outline[:, 1:] * other
    return swept(np.stack([start + section, end + shrink * section]))


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums of products over the last axis, in one order on every machine (BLAS chooses its own)."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _normals(quads: np.ndarray) -> np.ndarray:
    return np.cross(quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1])


def camera(azimuth: np.ndarray, elevation: np.ndarray) -> Float[np.ndarray, "3 views 3"]:
    """Unit vectors to the picture's right, to its top, away from the camera; angles in degrees."""
    a, e = np.radians(azimuth), np.radians(elevation)
    sin, cos, zero = np.sin(a), np.cos(a), np.zeros_like(a)
    up, away = np.sin(e), np.cos(e)
    axes = [(cos, sin, zero), (-sin * up, cos * up, away), (-sin * away, cos * away, -up)]
    return np.array(axes).transpose(0, 2, 1)


def project(points: np.ndarray, azimuth: np.ndarray, elevation: np.ndarray) -> list[np.ndarray]:
    """Where points (..., 3) fall: x to the right and y down, (views, ...), in samples."""
    axes = camera(azimuth, elevation)
    right, up, away = axes.reshape(3, len(azimuth), *[1] * (points.ndim - 1), 3)
    scale = FOCAL / (DISTANCE + _dot(points, away))
    return [SIDE / 2 + scale * _dot(points, right), SIDE / 2 - scale * _dot(points, up)]


def _nth(counts: np.ndarray) -> np.ndarray:
    """0, 1, ... up to each of the counts, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def _seen(quads: np.ndarray, azimuth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Which face each sample sees, (V, SIDE, SIDE): 0 for none, else its number + 1."""
    right, up, away = camera(azimuth, elevation)
    normals = _normals(quads)
    # (V, F), negative where seen from outside
    beyond = _dot(normals, quads[:, 0]) + DISTANCE * _dot(normals, away[:, None])
    view, face = np.nonzero(beyond < -1e-9)
    x, y = (corners[view, face] for corners in project(quads, azimuth, elevation))  # (Q, 4)

    # 1 / depth is linear on the picture: at_0 + by_x X + by_y Y, scaled to whole numbers of 20
    # bits, 0 at the sphere's far end.
    nearest, farthest = 1 / (DISTANCE - 1), 1 / (DISTANCE + 1)
    steps = (2 ** (31 - FACE_BITS) - 1) / (nearest - farthest)
    normal = steps * normals[face] / beyond[view, face][:, None]
    by_x, by_y = _dot(normal, right[view]) / FOCAL, -_dot(normal, up[view]) / FOCAL
    at_0 = _dot(normal, away[view]) - SIDE / 2 * (by_x + by_y) - steps * farthest

    # The rows of sample centres that each edge crosses, its upper end included, its lower end not.
    # Each row of a face is a span between two edges; those that go down are on the left.
    next_x, next_y = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    first = np.ceil(np.minimum(y, next_y) - 0.5).astype(np.int64)
    count = np.ceil(np.maximum(y, next_y) - 0.5).astype(np.int64) - first
    top = first.min(axis=1)
    rows = (first + count).max(axis=1) - top
    base = np.cumsum(rows) - rows - top  # where a face's spans begin, were it to begin in row 0
    quad, edge = np.nonzero(count)
    slope = (next_x - x)[quad, edge] / (next_y - y)[quad, edge]
    start = x[quad, edge] + (first[quad, edge] + 0.5 - y[quad, edge]) * slope
    crossed = count[quad, edge]
    nth = _nth(crossed)
    column = np.ceil(np.repeat(start, crossed) + nth * np.repeat(slope, crossed) - 0.5)
    end = np.repeat((next_y <= y)[quad, edge].astype(np.int64), crossed)  # 0 left, 1 right
    ends = np.zeros((2, rows.sum()), dtype=np.int64)
    ends[end, np.repeat(base[quad] + first[quad, edge], crossed) + nth] = column

    # From spans to samples; the nearest face at each sample stays.
    length = np.maximum(ends[1] - ends[0], 0)
    row = np.arange(len(length)) - np.repeat(base, rows)
    along = np.repeat(by_x, rows)
    depth = np.repeat(at_0, rows) + np.repeat(by_y, rows) * (row + 0.5) + along * (ends[0] + 0.5)
    target = (np.repeat(view, rows) * SIDE + row) * SIDE + ends[0]
    nth = _nth(length)
    nearness = (np.repeat(depth, length) + np.repeat(along, length) * nth).astype(np.int32)
    entry = (nearness << FACE_BITS) + np.repeat(np.repeat(face.astype(np.int32) + 1, rows), length)
    buffer = np.zeros(len(azimuth) * SIDE * SIDE, dtype=np.int32)
    np.maximum.at(buffer, np.repeat(target, length) + nth, entry)
    return buffer.reshape(-1, SIDE, SIDE) & ((1 << FACE_BITS) - 1)


def _lit(quads: np.ndarray, colours: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """The colours (V, F + 1, 3) of no face, white, and of the faces in the light, by Lambert."""
    normals = _normals(quads)
    normals = normals / np.sqrt(_dot(normals, normals))[:, None]
    right, _, away = camera(azimuth, np.zeros_like(azimuth))
    shade = AMBIENT
    for (to_right, towards, up), bright in LIGHTS:
        ray = to_right * right - towards * away + up * np.array([0, 0, 1])
        falls = _dot(normals, ray[:, None]) / math.hypot(to_right, towards, up)
        shade = shade + bright * np.maximum(falls, 0)
    lit = np.minimum(np.rint(shade[..., None] * colours), 255).astype(np.int64)
    return np.concatenate([np.full((len(azimuth), 1, 3), 255), lit], axis=1)


def draw(quads, colours, azimuth, elevation) -> UInt8[np.ndarray, "views 64 64 3"]:
    """Pictures of faces (F, 4, 3) in the unit sphere, from angles in degrees (V,).

    Each has its colour, (F, 3) uint8, and is seen from outside alone; there may be 2,046 of them.
    """
    pictures = np.empty((len(azimuth), HEIGHT, WIDTH, 3), dtype=np.uint8)
    shifts = np.array([32, 16, 0])  # three channels side by side in an integer, summed at once
    for start in range(0, len(azimuth), VIEWS_AT_ONCE):
        some = slice(start, start + VIEWS_AT_ONCE)
        tables = (_lit(quads, colours, azimuth[some]) << shifts).sum(axis=2)
        seen = _seen(quads, azimuth[some], elevation[some])
        for picture, table, faces in zip(pictures[some], tables, seen):
            total = table[faces]
            total = sum(total[k::SAMPLES] for k in range(SAMPLES))
            total = sum(total[:, k::SAMPLES] for k in range(SAMPLES))
            sums = total[..., None] >> shifts & 0xFFFF
            picture[:] = (sums + SAMPLES**2 // 2) // SAMPLES**2
    return pictures
