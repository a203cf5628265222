"""Where the numbers in shapes2d.py come from: outlines fitted to the published animation.

    python -m data_prep.calibrate_shapes2d dsprites.gif        (about a minute)

Only pixels near an outline say anything about it. For each of them its margin is the distance of
its centre from the drawn outline, positive when the pixel is on the right side; numbers are fitted
by making every margin at least 0.0005 pixel, and tested on frames left out.
"""

import argparse
import csv
import hashlib
import sys
from functools import partial
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from data_prep import shapes2d
from data_prep.commands import folder, run
from data_prep.dsprites import read_animation

BAND = 0.04  # pixels: margins are taken within this distance of the outline of shapes2d.py
CORNERS = (32, 64, 80, 96, 100, 112, 120, 128, 149, 150, 151, 180, 200, 256, 360)


def labelled_frames(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Classes (254, 5) and images (254, 64, 64) of the frames that look different (258 labels)."""
    table = Path(__file__).with_name("shapes2d_frames.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    label = {row["sha256"]: [int(row[name]) for name in shapes2d.FACTORS] for row in rows}
    images = {hashlib.sha256(frame.tobytes()).hexdigest(): frame for frame in read_animation(path)}
    if images.keys() != label.keys():
        known = f"{len(images.keys() & label.keys())} of the {len(label)} published frames"
        raise ValueError(f"{known} are in {path}")
    return np.array([label[key] for key in images]), np.stack(list(images.values()))


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


def report(path: Path, say) -> None:
    """Say how the frames of the animation at `path` bear out the numbers of shapes2d.py."""
    classes, images = labelled_frames(path)
    frames = [(classes[classes[:, 0] == s], images[classes[:, 0] == s]) for s in range(3)]
    for shape, name in enumerate(shapes2d.SHAPES):
        wrong = wrong_pixels(shapes2d.outline(shape), *frames[shape])
        near = Margins(shape, *frames[shape])(shapes2d.outline(shape))
        say(f"{name}: {wrong} pixels wrong, the nearest of {len(near)} at {near.min():.5f} pixel")
    for grid in (16, 32, 64, 128, 256, 512, 1024, 4096, 2**20):
        wrong = [wrong_pixels(shapes2d.outline(s), *frames[s], grid) for s in range(3)]
        say(f"corners rounded to 1/{grid} pixel: {wrong} pixels wrong (square, ellipse, heart)")

    ellipse, heart = shapes2d.ellipse, shapes2d.heart
    for what, shape, outline, value, step in (
        ("half-side", 0, shapes2d.square, 9.6, 1e-4),
        ("stretch", 1, lambda v: ellipse(9.6 * v, 9.6 / v), 1.33, 1e-5),
        ("heart's width", 2, lambda v: heart(width=v), 16.0, 1e-4),
        ("heart's height", 2, lambda v: heart(height=v), 14.5, 2e-4),
        ("heart's offset", 2, lambda v: heart(offset=v), 0.15, 1e-5),
    ):
        ends = [value, value]
        for k, move in enumerate((-step, step)):
            while wrong_pixels(outline(ends[k] + move), *frames[shape]) == 0:
                ends[k] += move
        say(f"the frames allow a {what} of {ends[0]:.6g} to {ends[1]:.6g}")

    for shape, start in ((1, (12.8, 7.2)), (2, (15.9, 14.4, 0.155))):
        half = half_of(frames[shape][0])
        halves = [tuple(part[half == k] for part in frames[shape]) for k in (0, 1)]
        margins, name = Margins(shape, *halves[0]), shapes2d.SHAPES[shape]
        for corners in CORNERS:
            outline = partial(getattr(shapes2d, name), corners=corners)
            found = fit(outline, start, margins)
            wrong = [wrong_pixels(outline(*found), *part) for part in halves]
            fitted = f"{name} of {corners} corners: {np.round(found, 4).tolist()}"
            say(f"{fitted} fitted on half of the frames; {wrong} pixels wrong there, in the rest")


def main(argv: list[str] | None = None) -> int:
    about = "Fit the outlines of 2D Shapes to the published animation."
    parser = argparse.ArgumentParser(prog="data_prep.calibrate_shapes2d", description=about)
    parser.add_argument("animation", type=folder, help="dsprites.gif of deepmind/dsprites-dataset")
    path = parser.parse_args(argv).animation
    return run("calibrate_shapes2d", lambda say: report(path, say))


if __name__ == "__main__":
    sys.exit(main())
