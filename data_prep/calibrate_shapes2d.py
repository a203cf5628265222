"""Where the numbers in shapes2d.py come from: fit the outlines to the published animation, and test them on frames left out.

    python -m data_prep.calibrate_shapes2d dsprites.gif        (about 2 minutes; needs the published animation)

Only pixels near an outline say anything about it. For each of them `margin` is the distance of its centre from the drawn outline,
positive when the pixel is on the right side; numbers are fitted by making every margin at least 0.0005 pixel.
"""

import argparse
import csv
import hashlib
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from data_prep import shapes2d
from data_prep.dsprites import read_animation

BAND = 0.04  # pixels: margins are taken within this distance of the outline of shapes2d.py
CORNERS = (32, 48, 64, 80, 96, 100, 120, 128, 144, 149, 150, 151, 160, 180, 200, 256, 300, 360)


def labelled_frames(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Classes (258, 5) and images (258, 64, 64) of the distinct frames, recognised by their hashes in shapes2d_frames.csv."""
    with open(Path(__file__).with_name("shapes2d_frames.csv"), newline="") as file:
        label = {row["sha256"]: [int(row[name]) for name in shapes2d.FACTORS] for row in csv.DictReader(file)}
    images = {hashlib.sha256(frame.tobytes()).hexdigest(): frame for frame in read_animation(path)}
    if images.keys() != label.keys():
        raise ValueError(f"{len(images.keys() & label.keys())} of the {len(label)} published frames are in {path}")
    return np.array([label[key] for key in images]), np.stack(list(images.values()))


def wrong_pixels(outline: np.ndarray, classes: np.ndarray, images: np.ndarray) -> int:
    """Pixels of all frames that differ from `outline` as shapes2d draws it."""
    wrong = 0
    for (_, scale, orientation, *pos), image in zip(classes, images):
        x, y = shapes2d.placed(outline, scale, orientation, *(np.array([p]) for p in pos))
        drawn = shapes2d.fill(x, y).astype(">u8").view(np.uint8)
        wrong += int((np.unpackbits(drawn) != image.ravel()).sum())
    return wrong


def signed_distance(x: np.ndarray, y: np.ndarray, px: np.ndarray, py: np.ndarray) -> np.ndarray:
    """Distance (points,) of the points from the polygon with corners x, y (points or 1, corners), positive inside."""
    edge_x, edge_y = np.roll(x, -1, axis=1) - x, np.roll(y, -1, axis=1) - y
    from_x, from_y = px[:, None] - x, py[:, None] - y
    length = edge_x**2 + edge_y**2
    along = np.clip((from_x * edge_x + from_y * edge_y) / np.where(length > 0, length, 1), 0, 1)
    distance = np.hypot(from_x - along * edge_x, from_y - along * edge_y).min(axis=1)
    crossed = (from_y < 0) != (from_y < edge_y)
    right = from_x < from_y * edge_x / np.where(edge_y == 0, 1, edge_y)
    return np.where((crossed & right).sum(axis=1) % 2 == 1, distance, -distance)


class Margins:
    """Calling it with an outline gives the margin, in pixels, of every published pixel near the outline of shapes2d.py."""

    def __init__(self, shape: int, classes: np.ndarray, images: np.ndarray):
        self.classes, self.frame, self.px, self.py, self.sign = classes, [], [], [], []
        points_y, points_x = np.indices((64, 64)).reshape(2, -1)
        for number, image in enumerate(images):
            x, y = self.corners((shapes2d.square, shapes2d.ellipse, shapes2d.heart)[shape](), number)
            near = np.abs(signed_distance(x[None], y[None], points_x, points_y)) < BAND
            self.frame += [number] * int(near.sum())
            self.px, self.py = np.append(self.px, points_x[near]), np.append(self.py, points_y[near])
            self.sign = np.append(self.sign, 2.0 * image.ravel()[near] - 1)

    def corners(self, outline: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        _, scale, orientation, *pos = self.classes[number]
        x, y = shapes2d.placed(outline, scale, orientation, *(np.array([p]) for p in pos))
        return x[0] / shapes2d.SUBPIXELS, y[0] / shapes2d.SUBPIXELS

    def __call__(self, outline: np.ndarray) -> np.ndarray:
        x, y = zip(*(self.corners(outline, number) for number in range(len(self.classes))))
        return self.sign * signed_distance(np.array(x)[self.frame], np.array(y)[self.frame], self.px, self.py)


def fit(outline, start, margins: Margins) -> np.ndarray:
    """The numbers that bring every margin of `outline(*numbers)` to 0.0005 pixel, or as near as Nelder-Mead gets."""
    best = np.asarray(start)
    for step in (1e-3, -3e-4, 1e-4):
        simplex = np.vstack([best, best * (1 + step * np.eye(len(best)))])
        options = {"initial_simplex": simplex, "maxfev": 60, "fatol": 1e-6}
        shortfall = lambda numbers: np.maximum(0.0005 - margins(outline(*numbers)), 0).sum()  # noqa: E731
        best = minimize(shortfall, best, method="Nelder-Mead", options=options).x
    return best


def main(path: Path) -> None:
    all_classes, all_images = labelled_frames(path)
    frames = [(all_classes[all_classes[:, 0] == s], all_images[all_classes[:, 0] == s]) for s in range(3)]
    for shape, (classes, images) in enumerate(frames):
        outline = (shapes2d.square, shapes2d.ellipse, shapes2d.heart)[shape]()
        margins = Margins(shape, classes, images)(outline)
        print(f"{shapes2d.SHAPES[shape]}: {wrong_pixels(outline, classes, images)} of {images.size:,} pixels wrong in {len(images)} frames;")
        print(f"  {len(margins)} pixels within {BAND} of the outline, the nearest at {margins.min():.5f}")

    fits = [h for h in np.arange(9.59, 9.61, 0.0005) if wrong_pixels(shapes2d.square(h), *frames[0]) == 0]
    print(f"square: half-sides with nothing wrong: {fits[0]:.4f} to {fits[-1]:.4f}")

    halves = [[(c[half::2], i[half::2]) for half in (0, 1)] for c, i in frames]
    starts = {1: (12.78, 7.22), 2: (0.6, 0.6623, -1.44)}
    for shape, make in ((1, shapes2d.ellipse), (2, shapes2d.heart)):
        print(f"{shapes2d.SHAPES[shape]}: fitted on every second frame; wrong pixels there and in the other frames")
        margins = Margins(shape, *halves[shape][0])
        for corners in CORNERS:
            found = fit(lambda *numbers: make(*numbers, corners), starts[shape], margins)
            wrong = [wrong_pixels(make(*found, corners), *half) for half in halves[shape]]
            print(f"  {corners:3} corners: {wrong[0]:3} {wrong[1]:3}   {np.round(found, 5).tolist()}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="data_prep.calibrate_shapes2d", description="Fit the outlines of 2D Shapes.")
    parser.add_argument("animation", type=Path, help="dsprites.gif from the repository deepmind/dsprites-dataset")
    try:
        main(parser.parse_args().animation)
    except (OSError, ValueError) as error:
        sys.exit(f"data_prep.calibrate_shapes2d: {error}")
