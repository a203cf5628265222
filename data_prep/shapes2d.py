"""2D Shapes, drawn from scratch: 737,280 binary 64x64 images of one shape each.

    python -m data_prep.shapes2d --out data        (about 3 s, 378 MB on disk, 0.1 GB of memory)

Five factors make an image, in this order (shape slowest, posY fastest):

    shape         3   square, ellipse, heart
    scale         6   0.5 to 1
    orientation  40   0 to 2 pi, both ends, so the first and the last are the same picture;
                      counter-clockwise on screen
    posX         32   0 to 1, left to right; the centre is at 15.5 + 32 posX pixels
    posY         32   0 to 1, top to bottom; the centre is at 15.5 + 32 posY pixels

The geometry was recovered from the animation that the makers of the data published: 320 frames
under 258 distinct labels. All come out equal to the last pixel (tests/data_prep/test_shapes2d.py).
Pixel centres are integers, x to the right, y down; lengths are at scale 1, in pixels from the
sprite's centre:

    square   half-side 9.6
    ellipse  semi-axes 9.6 * 1.33 and 9.6 / 1.33, as a polygon of 100 corners
    heart    x =  9.6 * 16 sin(t)^3 / 16, the well-known curve, as a polygon of 150 corners evenly
             y = -9.6 * ((13 cos t - 5 cos 2t - 2 cos 3t - cos 4t) / 14.5 + 0.15)  spaced in t

A corner is rounded to 1/256 pixel once it is turned, scaled and moved, as graphics hardware does. A
pixel is on when its centre is inside the polygon; a centre exactly on an edge belongs to it on the
left and at the top, and not on the right and at the bottom. After the rounding all is integer
arithmetic, so every machine draws the same bits.

Notebook 01 shows how these numbers were found, and fits them again with frames left out; the tests
hold how far each can be moved before a frame is wrong. In about 4,000 of all images a pixel centre
lies on an edge or within 1/65536 pixel of it: there the left-and-top rule is graphics hardware's
convention, not a finding, for no frame has one nearer than 0.0007 pixel.
"""

import math
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8

from data_prep.commands import draw_command
from data_prep.packed import BYTES_PER_IMAGE, HEIGHT, WIDTH, factors_of, write_packed

SHAPES = ("square", "ellipse", "heart")
FACTOR_VALUES = {
    "shape": (1.0, 2.0, 3.0),
    "scale": tuple(np.linspace(0.5, 1.0, 6).tolist()),
    "orientation": tuple(np.linspace(0.0, 2.0 * math.pi, 40).tolist()),
    "posX": tuple(np.linspace(0.0, 1.0, 32).tolist()),
    "posY": tuple(np.linspace(0.0, 1.0, 32).tolist()),
}
FACTORS, FACTOR_SIZES = tuple(FACTOR_VALUES), tuple(map(len, FACTOR_VALUES.values()))
N_IMAGES = math.prod(FACTOR_SIZES)
STEM = "shapes2d"
SHA256 = "a633ec1c60535b2cb0ddce1eff200fe7d64356ac276023214a64274c9db8e6ee"  # of the packed set

SUBPIXELS = 256  # corners are rounded to 1/256 pixel
CENTRE, TRAVEL = 15.5, 32.0  # of the sprite's centre, in pixels: CENTRE + TRAVEL * pos
RADIUS = 9.6  # the square's half-side, the ellipse's mean radius, the heart's half-width
STRETCH = 1.33  # of the ellipse

# _FROM_COLUMN[c]: a row of 64 pixels as an integer, leftmost pixel in the highest bit, on from
# column c to the right end
_FROM_COLUMN = np.array([(1 << (WIDTH - c)) - 1 for c in range(WIDTH + 1)], dtype=np.uint64)


def square(half_side: float = RADIUS) -> np.ndarray:
    """Corners (4, 2) of the square, pixels at scale 1 about its centre, x right and y down."""
    return half_side * np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])


def ellipse(a: float = RADIUS * STRETCH, b: float = RADIUS / STRETCH, corners=100) -> np.ndarray:
    """Corners (corners, 2) of the ellipse with semi-axes a and b, the first on the right end."""
    t = 2 * np.pi * np.arange(corners) / corners
    return np.column_stack([a * np.cos(t), b * np.sin(t)])


def heart(width=16.0, height=14.5, offset=0.15, corners=150) -> np.ndarray:
    """Corners (corners, 2) of the heart, the first at the cleft; the curve's y points up."""
    t = 2 * np.pi * np.arange(corners) / corners
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return RADIUS * np.column_stack([x / width, -(y / height + offset)])


@cache
def outline(shape: int) -> np.ndarray:
    """Corners (corners, 2) of the square, the ellipse or the heart."""
    return (square, ellipse, heart)[shape]()


def placed(
    corners: np.ndarray, scale: int, orientation: int, pos_x, pos_y, grid: int = SUBPIXELS
) -> tuple[np.ndarray, np.ndarray]:
    """The corners on the picture in whole steps of 1/grid pixel, int64: turn, scale, move, round.

    All arguments but `corners` are classes. x (len(pos_x), corners) depends on posX alone, and
    y (len(pos_y), corners) on posY alone.
    """
    turn, size = FACTOR_VALUES["orientation"][orientation], FACTOR_VALUES["scale"][scale]
    cos, sin = size * math.cos(turn), size * math.sin(turn)
    x, y = corners.T

    def rounded(offset: np.ndarray, positions) -> np.ndarray:
        centre = CENTRE + TRAVEL * np.array(FACTOR_VALUES["posX"])[positions]  # as posY
        return np.floor(grid * (centre[:, None] + offset) + 0.5).astype(np.int64)

    return rounded(cos * x + sin * y, pos_x), rounded(-sin * x + cos * y, pos_y)


def _ceil_div(a: np.ndarray, b) -> np.ndarray:
    return -(-a // b)


def fill(x: np.ndarray, y: np.ndarray, grid: int = SUBPIXELS) -> np.ndarray:
    """Fill polygons: every x (X, corners) with every y (Y, corners), whole steps of 1/grid pixel.

    Returns rows (X, Y, 64) uint64, one bit a pixel. On each row of pixel centres the outline is
    crossed an even number of times; each crossing flips all pixels to its right, so the exclusive
    or of the crossings is the row (also where the heart has two spans).
    """
    next_x, next_y = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    # The rows first <= row < last that an edge crosses: its upper end included, its lower end not.
    first = _ceil_div(np.minimum(y, next_y), grid)
    count = _ceil_div(np.maximum(y, next_y), grid) - first
    which, edge = np.nonzero(count)  # which y, which edge
    repeats = count[which, edge]
    nth = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    which, edge = np.repeat(which, repeats), np.repeat(edge, repeats)
    row = first[which, edge] + nth
    order = np.argsort(which * HEIGHT + row, kind="stable")
    which, edge, row = which[order], edge[order], row[order]

    # Where edge (x0, y0)-(x1, y1) crosses the row: x0 + (row - y0)(x1 - x0)/(y1 - y0), then the
    # first pixel at or right of it.
    y0, rise = y[which, edge], next_y[which, edge] - y[which, edge]
    x0, run = x[:, edge], next_x[:, edge] - x[:, edge]
    column = _ceil_div(x0 * rise + (row * grid - y0) * run, rise * grid)
    target = which * HEIGHT + row
    starts = np.flatnonzero(np.diff(target, prepend=-1))
    rows = np.zeros((len(x), len(y) * HEIGHT), dtype=np.uint64)
    rows[:, target[starts]] = np.bitwise_xor.reduceat(_FROM_COLUMN[column], starts, axis=1)
    return rows.reshape(len(x), len(y), HEIGHT)


def _packed(shape: int, scale: int, orientation: int, pos_x, pos_y) -> np.ndarray:
    """The pictures at every posX by every posY, packed: (X, Y, 512) uint8."""
    rows = fill(*placed(outline(shape), scale, orientation, pos_x, pos_y))
    return rows.astype(">u8").view(np.uint8).reshape(len(pos_x), len(pos_y), BYTES_PER_IMAGE)


def _checked(values: np.ndarray, what: str, **sizes: int) -> np.ndarray:
    """`values` as int64; ValueError unless integers (N, K), from 0 and below the K sizes."""
    if values.shape[1:] != (len(sizes),) or not np.issubdtype(values.dtype, np.integer):
        found = f"{values.shape} {values.dtype}"
        raise ValueError(f"{what} must be integers (N, {len(sizes)}), not {found}")
    for (name, size), column in zip(sizes.items(), values.T):
        if column.size and not (column.min() >= 0 and column.max() < size):
            found = f"found {column.min()} to {column.max()}"
            raise ValueError(f"{name} must lie in 0 to {size - 1}, {found}")
    return values.astype(np.int64)


def classes_of(index: Integer[np.ndarray, " n"]) -> Integer[np.ndarray, "n 5"]:
    """The classes (shape, scale, orientation, posX, posY) of the images at these places.

    Places are in the official order, 0 to 737,279. Raises ValueError for others, and unless
    `index` is (N,) and integer.
    """
    index = _checked(np.asarray(index)[..., None], "index", index=N_IMAGES)[:, 0]
    return np.stack(np.unravel_index(index, FACTOR_SIZES), axis=1)


def index_of(latents_classes: Integer[np.ndarray, "n 5"]) -> Integer[np.ndarray, " n"]:
    """The places in the official order of the images with these classes; undoes `classes_of`.

    Raises ValueError if `latents_classes` is not (N, 5), not integer, or a class out of its range.
    """
    sizes = dict(zip(FACTORS, FACTOR_SIZES))
    classes = _checked(np.asarray(latents_classes), "latents_classes", **sizes)
    return np.ravel_multi_index(tuple(classes.T), FACTOR_SIZES)


def render(latents_classes: Integer[np.ndarray, "n 5"]) -> UInt8[np.ndarray, "n 64 64"]:
    """Draw images, pixels 0 or 1, from classes in the order of FACTORS; raises as `index_of`."""
    index = index_of(latents_classes)
    positions = FACTOR_SIZES[3] * FACTOR_SIZES[4]
    images = np.empty((len(index), BYTES_PER_IMAGE), dtype=np.uint8)
    order = np.argsort(index, kind="stable")
    sprites, starts = np.unique(index[order] // positions, return_index=True)
    for sprite, members in zip(sprites, np.split(order, starts[1:])):
        pos_x, pos_y = np.divmod(index[members] % positions, FACTOR_SIZES[4])
        some_x, at_x = np.unique(pos_x, return_inverse=True)
        some_y, at_y = np.unique(pos_y, return_inverse=True)
        drawn = _packed(*np.unravel_index(sprite, FACTOR_SIZES[:3]), some_x, some_y)
        images[members] = drawn[at_x, at_y]
    return np.unpackbits(images, axis=1).reshape(-1, HEIGHT, WIDTH)


def packed_pieces() -> Iterator[bytes]:
    """The whole set in order, 1,024 packed images (one shape, scale and orientation) at a time."""
    for sprite in np.ndindex(FACTOR_SIZES[:3]):
        yield _packed(*sprite, *map(np.arange, FACTOR_SIZES[3:])).tobytes()


def factors() -> list[dict]:
    """What the description of a packed set says of the factors."""
    return factors_of(FACTOR_VALUES, STEM)


def write_all(out: Path, say=lambda line: None) -> None:
    """Write shapes2d.bits and shapes2d.json under `out`, unless they are there and whole.

    Raises what `write_packed` raises: OSError (no room, no permission), or ValueError should this
    machine draw other bits than those expected.
    """
    facts = {"name": "2D Shapes", "source": "rendered", "images": N_IMAGES, "factors": factors()}
    write_packed(out, STEM, packed_pieces(), facts, SHA256, say=say)


main = partial(draw_command, "shapes2d", "Draw 2D Shapes and store it bit-packed.", write_all)

if __name__ == "__main__":
    sys.exit(main())
