"""Where the numbers in shapes2d.py come from: outlines held against frames, and fitted to them.

Notebook 01 does so. Only pixels near an outline say anything about it. For each of them its margin
is the distance of its centre from the drawn outline, positive when the pixel is on the right side;
numbers are fitted by making every margin at least 0.0005 pixel, and tested on frames left out.

Frames are classes (frames, 5) and images (frames, 64, 64), all of one shape.
"""

import numpy as np
from scipy.optimize import minimize

from data_prep import shapes2d

BAND = 0.04  # pixels: margins are taken within this distance of the outline of shapes2d.py


def wrong_pixels(outline, classes, images, grid: int = shapes2d.SUBPIXELS) -> int:
    """Pixels of all frames that differ from the outline drawn with corners at 1/grid pixel."""
    wrong = 0
    for (_, scale, orientation, x, y), image in zip(classes, images):
        rows = shapes2d.fill(*shapes2d.placed(outline, scale, orientation, [x], [y], grid), grid)
        drawn = np.unpackbits(rows.astype(">u8").view(np.uint8))
        wrong += int((drawn != image.ravel()).sum())
    return wrong


def signed_distance(x: np.ndarray, y: np.ndarray, px: np.ndarray, py: np.ndarray) -> np.ndarray:
    """Distance (points,) from polygons of corners x, y (points or 1, corners), positive inside."""
    edge_x, edge_y = np.roll(x, -1, axis=1) - x, np.roll(y, -1, axis=1) - y
    from_x, from_y = px[:, None] - x, py[:, None] - y
    length = edge_x**2 + edge_y**2
    along = np.clip((from_x * edge_x + from_y * edge_y) / np.where(length > 0, length, 1), 0, 1)
    distance = np.hypot(from_x - along * edge_x, from_y - along * edge_y).min(axis=1)
    crossed = (from_y < 0) != (from_y < edge_y)
    right = from_x < from_y * edge_x / np.where(edge_y == 0, 1, edge_y)
    return np.where((crossed & right).sum(axis=1) % 2 == 1, distance, -distance)


class Margins:
    """Called with an outline: the margins of all pixels near the outline of shapes2d.py.

    `frame`, `px` and `py` say in which of the images and where each of them is.
    """

    def __init__(self, shape: int, classes: np.ndarray, images: np.ndarray):
        self.classes = classes
        py, px = np.indices((64, 64)).reshape(2, -1)
        x, y = self.corners(shapes2d.outline(shape))
        near = [np.abs(signed_distance(x[[k]], y[[k]], px, py)) < BAND for k in range(len(x))]
        self.frame, at = np.nonzero(near)
        self.px, self.py = px[at], py[at]
        self.sign = 2.0 * images[self.frame, self.py, self.px] - 1

    def corners(self, outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and y (frames, corners) of the outline in each frame, in pixels."""
        places = [shapes2d.placed(outline, s, o, [x], [y]) for _, s, o, x, y in self.classes]
        return tuple(np.concatenate(part) / shapes2d.SUBPIXELS for part in zip(*places))

    def __call__(self, outline: np.ndarray) -> np.ndarray:
        x, y = (part[self.frame] for part in self.corners(outline))
        return self.sign * signed_distance(x, y, self.px, self.py)


def half_of(classes: np.ndarray) -> np.ndarray:
    """0 or 1 for each frame; mirror images, which say the same thing twice, are in one half."""
    _, _, orientation, x, y = classes.T
    return (np.minimum(orientation, 39 - orientation) + np.minimum(x, 31 - x) + y) % 2


def fit(outline, start, margins: Margins) -> np.ndarray:
    """The numbers that bring every margin of `outline(*numbers)` to 0.0005 pixel, or near it."""
    best = np.asarray(start)
    for step in (0.01, -0.003, 0.001, -0.0003):
        simplex = np.vstack([best, best * (1 + step * np.eye(len(best)))])
        options = {"initial_simplex": simplex, "maxfev": 80, "fatol": 1e-6}
        shortfall = lambda numbers: np.maximum(0.0005 - margins(outline(*numbers)), 0).sum()
        best = minimize(shortfall, best, method="Nelder-Mead", options=options).x
    return best
