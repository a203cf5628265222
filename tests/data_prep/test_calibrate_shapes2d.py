"""How far each number of shapes2d.py can be moved before a published frame is wrong."""

import csv
from pathlib import Path

import numpy as np
import pytest

from data_prep import calibrate_shapes2d as calibrate
from data_prep import shapes2d


@pytest.fixture(scope="module")
def frames() -> list[tuple[np.ndarray, np.ndarray]]:
    """Classes and images of the published frames of each shape, known by their hashes."""
    path = Path(shapes2d.__file__).with_name("shapes2d_frames.csv")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    classes = np.array([[int(row[name]) for name in shapes2d.FACTORS] for row in rows])
    return [(of := classes[classes[:, 0] == s], shapes2d.render(of)) for s in range(3)]


def scaled(stretch: float) -> np.ndarray:
    return shapes2d.ellipse(9.6 * stretch, 9.6 / stretch)


@pytest.mark.parametrize(
    ("shape", "outline", "numbers"),
    [
        (0, shapes2d.square, (9.597, 9.5975, 9.6006, 9.601)),
        (1, scaled, (1.3296, 1.3297, 1.33, 1.33005)),
        (2, lambda width: shapes2d.heart(width=width), (15.999, 16, 16.001, 16.002)),
        (2, lambda height: shapes2d.heart(height=height), (14.49, 14.492, 14.5, 14.501)),
        (2, lambda offset: shapes2d.heart(offset=offset), (0.1498, 0.14985, 0.15, 0.15005)),
        (1, lambda corners: shapes2d.ellipse(corners=corners), (99, 100, 112, 113)),
        (2, lambda corners: shapes2d.heart(corners=corners), (149, 150, 150, 151)),
    ],
    ids=["half-side", "stretch", "width", "height", "offset", "ellipse corners", "heart corners"],
)
def test_each_number_is_held_by_the_frames(frames, shape, outline, numbers):
    """Within these bounds no pixel of any frame is wrong, and beyond them some are."""
    found = [calibrate.wrong_pixels(outline(number), *frames[shape]) > 0 for number in numbers]
    assert found == [True, False, False, True]


@pytest.mark.parametrize(
    ("grid", "wrong"), [(16, [40, 58, 163]), (128, [0, 6, 18]), (256, [0, 0, 0]), (512, [0, 4, 4])]
)
def test_corners_are_rounded_to_1_256_pixel(frames, grid, wrong):
    outlines = map(shapes2d.outline, range(3))
    assert [calibrate.wrong_pixels(o, *f, grid) for o, f in zip(outlines, frames)] == wrong


def test_margins_are_positive_for_the_right_outline_alone(frames):
    margins = calibrate.Margins(0, *frames[0])
    assert len(margins(shapes2d.square())) > 200
    assert margins(shapes2d.square()).min() > 0 > margins(shapes2d.square(9.7)).min()


def test_signed_distance_of_a_square():
    x, y = np.array([[0.0, 4, 4, 0]]), np.array([[0.0, 0, 4, 4]])
    points = np.array([[2, 1], [2, -3], [7, 8], [3.5, 2], [-1, 2]], dtype=float)
    np.testing.assert_allclose(calibrate.signed_distance(x, y, *points.T), [1, -3, -5, 0.5, -1])
