"""Where the numbers in shapes2d.py come from: fit the outlines to the published animation, and test them on frames left out.

    python -m data_prep.calibrate_shapes2d dsprites.gif        (about a minute; needs the published animation)

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
CORNERS = (32, 64, 80, 96, 100, 112, 120, 128, 149, 150, 151, 180, 200, 256, 360)


def labelled_frames(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Classes (254, 5) and images (254, 64, 64) of the frames that look different (258 labels), known by their hash."""
    with open(Path(__file__).with_name("shapes2d_frames.csv"), newline="") as file:
        label = {
            row["sha256"]: [int(row[name]) for name in shapes2d.FACTORS]
            for row in csv.DictReader(file)
        }
    images = {hashlib.sha256(frame.tobytes()).hexdigest(): frame for frame in read_animation(path)}
    if images.keys() != label.keys():
        raise ValueError(
            f"{len(images.keys() & label.keys())} of the {len(label)} published frames are in {path}"
        )
    return np.array([label[key] for key in images]), np.stack(list(images.values()))


def wrong_pixels(
    outline: np.ndarray, classes: np.ndarray, images: np.ndarray, grid: int = shapes2d.SUBPIXELS
) -> int:
    """Pixels of all frames that differ from `outline` as shapes2d draws it, corners rounded to 1/grid pixel."""
    wrong = 0
    for (_, scale, orientation, *pos), image in zip(classes, images):
        x, y = shapes2d.placed(outline, scale, orientation, *(np.array([p]) for p in pos), grid)
        drawn = shapes2d.fill(x, y, grid).astype(">u8").view(np.uint8)
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
            x, y = self.corners(
                (shapes2d.square, shapes2d.ellipse, shapes2d.heart)[shape](), number
            )
            near = np.abs(signed_distance(x[None], y[None], points_x, points_y)) < BAND
            self.frame += [number] * int(near.sum())
            self.px, self.py = (
                np.append(self.px, points_x[near]),
                np.append(self.py, points_y[near]),
            )
            self.sign = np.append(self.sign, 2.0 * image.ravel()[near] - 1)

    def corners(self, outline: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
        _, scale, orientation, *pos = self.classes[number]
        x, y = shapes2d.placed(outline, scale, orientation, *(np.array([p]) for p in pos))
        return x[0] / shapes2d.SUBPIXELS, y[0] / shapes2d.SUBPIXELS

    def __call__(self, outline: np.ndarray) -> np.ndarray:
        x, y = zip(*(self.corners(outline, number) for number in range(len(self.classes))))
        return self.sign * signed_distance(
            np.array(x)[self.frame], np.array(y)[self.frame], self.px, self.py
        )


def half_of(classes: np.ndarray) -> np.ndarray:
    """0 or 1 for each frame, so that left-right mirror images, which say the same thing twice, are in the same half."""
    _, _, orientation, x, y = classes.T
    return (np.minimum(orientation, 39 - orientation) + np.minimum(x, 31 - x) + y) % 2


def fit(outline, start, margins: Margins) -> np.ndarray:
    """The numbers that bring every margin of `outline(*numbers)` to 0.0005 pixel, or as near as Nelder-Mead gets."""
    best = np.asarray(start)
    for step in (0.01, -0.003, 0.001, -0.0003):
        simplex = np.vstack([best, best * (1 + step * np.eye(len(best)))])
        options = {"initial_simplex": simplex, "maxfev": 80, "fatol": 1e-6}
        shortfall = lambda numbers: np.maximum(0.0005 - margins(outline(*numbers)), 0).sum()  # noqa: E731
        best = minimize(shortfall, best, method="Nelder-Mead", options=options).x
    return best


def allowed(outline, value: float, step: float, frames) -> tuple[float, float]:
    """How far `value` can be moved down and up, in steps, before a pixel of the frames goes wrong."""
    low = high = value
    while wrong_pixels(outline(low - step), *frames) == 0:
        low -= step
    while wrong_pixels(outline(high + step), *frames) == 0:
        high += step
    return round(low, 6), round(high, 6)


def main(path: Path) -> None:
    all_classes, all_images = labelled_frames(path)
    frames = [
        (all_classes[all_classes[:, 0] == s], all_images[all_classes[:, 0] == s]) for s in range(3)
    ]
    outlines = (shapes2d.square, shapes2d.ellipse, shapes2d.heart)

    print("The round numbers of shapes2d.py")
    for shape, (classes, images) in enumerate(frames):
        margins = Margins(shape, classes, images)(outlines[shape]())
        wrong = wrong_pixels(outlines[shape](), classes, images)
        print(f"  {shapes2d.SHAPES[shape]}: {wrong} pixels wrong in {len(images)} frames;", end="")
        print(
            f" {len(margins)} lie within {BAND} pixel of the outline, the nearest at {margins.min():.5f}"
        )
    print("\nWrong pixels (square, ellipse, heart) when corners are rounded to 1/grid pixel")
    for grid in (16, 32, 64, 128, 256, 512, 1024, 4096, 2**20):
        print(f"  1/{grid}: {[wrong_pixels(outlines[s](), *frames[s], grid) for s in range(3)]}")

    print("\nWhat the frames allow, one number moved at a time")
    print("  half-side    ", allowed(shapes2d.square, 9.6, 1e-4, frames[0]))
    print(
        "  stretch      ",
        allowed(lambda s: shapes2d.ellipse(9.6 * s, 9.6 / s), 1.33, 1e-5, frames[1]),
    )
    print("  heart, width ", allowed(lambda v: shapes2d.heart(width=v), 16.0, 1e-4, frames[2]))
    print("  heart, height", allowed(lambda v: shapes2d.heart(height=v), 14.5, 2e-4, frames[2]))
    print("  heart, offset", allowed(lambda v: shapes2d.heart(offset=v), 0.15, 1e-5, frames[2]))

    starts = {1: (12.8, 7.2), 2: (15.9, 14.4, 0.155)}
    for shape, numbers in starts.items():
        print(
            f"\n{shapes2d.SHAPES[shape]}: {len(numbers)} numbers fitted on half of the frames; pixels wrong there, in the rest"
        )
        second = half_of(frames[shape][0])
        halves = [tuple(part[second == half] for part in frames[shape]) for half in (0, 1)]
        margins = Margins(shape, *halves[0])
        for corners in CORNERS:
            found = fit(lambda *free: outlines[shape](*free, corners), numbers, margins)
            wrong = [wrong_pixels(outlines[shape](*found, corners), *half) for half in halves]
            print(
                f"  {corners:3} corners: {wrong[0]:3} {wrong[1]:3}   {np.round(found, 4).tolist()}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="data_prep.calibrate_shapes2d", description="Fit the outlines of 2D Shapes."
    )
    parser.add_argument(
        "animation", type=Path, help="dsprites.gif from the repository deepmind/dsprites-dataset"
    )
    try:
        main(parser.parse_args().animation)
    except (OSError, ValueError) as error:
        sys.exit(f"data_prep.calibrate_shapes2d: {error}")
