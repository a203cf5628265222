"""The drawn set: every published frame to the pixel, its checksum, its order, bad input."""

import csv
import errno
import hashlib
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_prep import packed, shapes2d

FRAMES = Path(shapes2d.__file__).with_name("shapes2d_frames.csv")

# Frames that are not exact, as {classes: pixels that differ}. There are none; a frame named here
# must also be in the CSV.
NOT_EXACT: dict[tuple[int, ...], int] = {}

# Measured on the whole set: images that look the same under different labels count once.
DISTINCT = {"square": 236_996, "ellipse": 239_094, "heart": 239_616}


@pytest.fixture(scope="module")
def whole_set() -> np.ndarray:
    """All 737,280 images, packed: (737280, 512) uint8."""
    pieces = np.empty((720, 1024 * packed.BYTES_PER_IMAGE), dtype=np.uint8)
    for place, piece in enumerate(shapes2d.packed_pieces()):
        pieces[place] = np.frombuffer(piece, dtype=np.uint8)
    return pieces.reshape(shapes2d.N_IMAGES, packed.BYTES_PER_IMAGE)


def read_frames() -> list[dict]:
    with open(FRAMES, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_published_frame_is_drawn_to_the_pixel():
    frames = read_frames()
    classes = np.array([[int(row[name]) for name in shapes2d.FACTORS] for row in frames])
    assert len(np.unique(classes, axis=0)) == 258
    drawn = shapes2d.render(classes)
    wrong = [
        tuple(label)
        for label, image, row in zip(classes.tolist(), drawn, frames)
        if hashlib.sha256(image.tobytes()).hexdigest() != row["sha256"]
    ]
    assert wrong == sorted(NOT_EXACT)
    assert {
        tuple(c): int(r["differs"]) for c, r in zip(classes.tolist(), frames) if r["differs"] != "0"
    } == NOT_EXACT


def test_frames_cover_each_shape_scale_orientation_and_position():
    frames = read_frames()
    for name, size in zip(shapes2d.FACTORS, shapes2d.FACTOR_SIZES):
        assert {int(row[name]) for row in frames} == set(range(size)), name


def test_whole_set_has_its_checksum(whole_set):
    assert hashlib.sha256(whole_set).hexdigest() == shapes2d.SHA256


def test_render_agrees_with_the_whole_set(whole_set):
    index = np.random.default_rng(0).integers(shapes2d.N_IMAGES, size=3000)
    drawn = shapes2d.render(shapes2d.classes_of(index))
    assert drawn.shape == (3000, 64, 64) and drawn.dtype == np.uint8
    np.testing.assert_array_equal(
        drawn, np.unpackbits(whole_set[index], axis=1).reshape(-1, 64, 64)
    )


def test_number_of_distinct_images(whole_set):
    everything = set()
    for number, (name, count) in enumerate(DISTINCT.items()):
        images = whole_set[number * 245_760 : (number + 1) * 245_760]
        found = {hashlib.blake2b(image, digest_size=16).digest() for image in images}
        assert len(found) == count, name
        everything |= found
    assert len(everything) == sum(DISTINCT.values()) == 715_706


def slow_picture(shape: int, scale: int, orientation: int, pos_x: int, pos_y: int) -> np.ndarray:
    """One image by exact fractions: count the crossings left of or at each pixel's centre."""
    outline = (shapes2d.square, shapes2d.ellipse, shapes2d.heart)[shape]()
    x, y = shapes2d.placed(outline, scale, orientation, np.array([pos_x]), np.array([pos_y]))
    corners = [(Fraction(int(a), 256), Fraction(int(b), 256)) for a, b in zip(x[0], y[0])]
    picture = np.zeros((64, 64), dtype=np.uint8)
    for row in range(64):
        crossings = [
            x0 + (row - y0) * (x1 - x0) / (y1 - y0)
            for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1])
            if (y0 <= row) != (y1 <= row)
        ]
        for column in range(64):
            picture[row, column] = sum(crossing <= column for crossing in crossings) % 2
    return picture


@pytest.mark.parametrize("shape", range(3))
def test_fill_against_exact_fractions(shape):
    generator = np.random.default_rng(shape)
    classes = np.column_stack(
        [np.full(12, shape), *(generator.integers(n, size=12) for n in shapes2d.FACTOR_SIZES[1:])]
    )
    for label, image in zip(classes, shapes2d.render(classes)):
        np.testing.assert_array_equal(image, slow_picture(*label), err_msg=str(label))


def test_edges_through_pixel_centres_belong_to_the_left_and_the_top():
    x, y = np.array([[2, 6, 6, 2]]) * 256, np.array([[3, 3, 8, 8]]) * 256
    rows = shapes2d.fill(x, y)[0, 0]
    picture = np.unpackbits(rows.astype(">u8").view(np.uint8)).reshape(64, 64)
    expected = np.zeros((64, 64), dtype=np.uint8)
    expected[3:8, 2:6] = 1
    np.testing.assert_array_equal(picture, expected)


def test_no_corner_is_near_a_rounding_tie():
    """A corner within 1e-9 of half a step could be rounded otherwise by another machine's sine."""
    nearest = 1.0
    for shape in (shapes2d.square(), shapes2d.ellipse(), shapes2d.heart()):
        for turn in shapes2d.FACTOR_VALUES["orientation"]:
            cos, sin = np.cos(turn), np.sin(turn)
            own = np.concatenate(
                [cos * shape[:, 0] + sin * shape[:, 1], cos * shape[:, 1] - sin * shape[:, 0]]
            )
            sizes = np.array(shapes2d.FACTOR_VALUES["scale"])[:, None, None]
            centres = 15.5 + 32 * np.array(shapes2d.FACTOR_VALUES["posX"])[:, None]
            steps = 256 * (centres + sizes * own) % 1
            nearest = min(nearest, np.abs(steps - 0.5).min())
    assert nearest > 1e-8


def test_first_and_last_orientation_are_the_same_picture():
    classes = np.array([(s, z, o, 7, 21) for s in range(3) for z in range(6) for o in (0, 39)])
    drawn = shapes2d.render(classes)
    np.testing.assert_array_equal(drawn[::2], drawn[1::2])


def test_area_grows_with_the_square_of_the_scale_and_position_moves_it():
    areas = shapes2d.render(np.array([(1, z, 5, 16, 16) for z in range(6)])).sum(axis=(1, 2))
    sizes = np.array(shapes2d.FACTOR_VALUES["scale"])
    np.testing.assert_allclose(areas, np.pi * 9.6**2 * sizes**2, rtol=0.04)
    corners = shapes2d.render(np.array([(0, 5, 0, x, y) for x in (0, 31) for y in (0, 31)]))
    centres = [tuple(np.argwhere(image)[:, ::-1].mean(axis=0)) for image in corners]
    assert centres == [(15.5, 15.5), (15.5, 47.5), (47.5, 15.5), (47.5, 47.5)]  # (x right, y down)


def test_order_of_the_official_file():
    assert shapes2d.N_IMAGES == 737_280
    assert shapes2d.classes_of(np.array([0, 1, 32, 1024, 40960, 245760, 737279])).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 1, 0],
        [0, 0, 1, 0, 0],
        [0, 1, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [2, 5, 39, 31, 31],
    ]
    index = np.arange(0, shapes2d.N_IMAGES, 97)
    np.testing.assert_array_equal(shapes2d.index_of(shapes2d.classes_of(index)), index)


def test_no_images_at_all():
    assert shapes2d.render(np.empty((0, 5), dtype=int)).shape == (0, 64, 64)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (np.zeros((2, 6), dtype=int), r"integers \(N, 5\), not \(2, 6\) int64"),
        (np.zeros(5, dtype=int), r"integers \(N, 5\), not \(5,\) int64"),
        (np.zeros((2, 5)), r"integers \(N, 5\), not \(2, 5\) float64"),
        (np.zeros((2, 5), dtype=bool), r"integers \(N, 5\), not \(2, 5\) bool"),
        ([[3, 0, 0, 0, 0]], "shape must lie in 0 to 2"),
        ([[0, 0, 40, 0, 0]], "orientation must lie in 0 to 39, found 40"),
        ([[0, 0, 0, 0, -1]], "posY must lie in 0 to 31, found -1"),
    ],
)
def test_bad_classes_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        shapes2d.render(classes)


@pytest.mark.parametrize("index", [[-1], [737280], [0.5], [[0]]])
def test_bad_index_is_refused(index):
    with pytest.raises(ValueError, match="index must"):
        shapes2d.classes_of(np.array(index))


# --- writing --------------------------------------------------------------------------------------


@pytest.fixture
def small_set(monkeypatch):
    """The first 2,048 images in place of all of them, so that writing takes no time."""
    pieces = []
    for piece, _ in zip(shapes2d.packed_pieces(), range(2)):
        pieces.append(piece)
    monkeypatch.setattr(shapes2d, "N_IMAGES", 2048)
    monkeypatch.setattr(shapes2d, "SHA256", hashlib.sha256(b"".join(pieces)).hexdigest())
    monkeypatch.setattr(shapes2d, "packed_pieces", lambda: iter(pieces))
    return b"".join(pieces)


def test_command_writes_bits_and_json_then_nothing(tmp_path, small_set, capsys):
    assert shapes2d.main(["--out", str(tmp_path / "data")]) == 0
    bits, sidecar = tmp_path / "data/shapes2d.bits", tmp_path / "data/shapes2d.json"
    assert bits.read_bytes() == small_set
    info = json.loads(sidecar.read_text())
    assert {
        k: info[k] for k in ("name", "source", "images", "height", "width", "bytes", "sha256")
    } == {
        "name": "2D Shapes",
        "source": "rendered",
        "images": 2048,
        "height": 64,
        "width": 64,
        "bytes": 2048 * 512,
        "sha256": hashlib.sha256(small_set).hexdigest(),
    }
    assert [(f["name"], len(f["values"])) for f in info["factors"]] == list(
        zip(shapes2d.FACTORS, (3, 6, 40, 32, 32))
    )
    assert sorted(os.listdir(tmp_path / "data")) == ["shapes2d.bits", "shapes2d.json"]
    before = bits.stat().st_mtime_ns
    capsys.readouterr()
    assert shapes2d.main(["--out", str(tmp_path / "data")]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert bits.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["truncate", "flip", "no json", "half json", "old json"])
def test_damaged_files_are_found_and_made_again(tmp_path, small_set, damage, capsys):
    assert shapes2d.main(["--out", str(tmp_path)]) == 0
    bits, sidecar = tmp_path / "shapes2d.bits", tmp_path / "shapes2d.json"
    if damage == "truncate":
        bits.write_bytes(small_set[:-512])
    elif damage == "flip":
        bits.write_bytes(bytes([small_set[0] ^ 1]) + small_set[1:])
    elif damage == "no json":
        sidecar.unlink()
    elif damage == "half json":
        sidecar.write_text(sidecar.read_text()[:50])
    else:  # another rendering, whole in itself
        bits.write_bytes(small_set[::-1])
        info = json.loads(sidecar.read_text()) | {
            "sha256": hashlib.sha256(small_set[::-1]).hexdigest()
        }
        sidecar.write_text(json.dumps(info))
    with pytest.raises(ValueError, match="shapes2d.json|shapes2d.bits"):
        packed.read_whole(tmp_path, "shapes2d")
    assert shapes2d.main(["--out", str(tmp_path)]) == 0
    assert packed.read_whole(tmp_path, "shapes2d")["sha256"] == shapes2d.SHA256
    assert bits.read_bytes() == small_set


def refuse_to_write(monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packed.os, "fsync", full)


def test_full_disk_while_writing_leaves_nothing(tmp_path, small_set, monkeypatch, capsys):
    refuse_to_write(monkeypatch)
    assert shapes2d.main(["--out", str(tmp_path)]) == 1
    complaint = capsys.readouterr().err
    assert (
        complaint.count("\n") == 1 and "No space left" in complaint and "shapes2d.bits" in complaint
    )
    assert os.listdir(tmp_path) == []


def test_full_disk_is_seen_before_work_starts(tmp_path, small_set, monkeypatch, capsys):
    def drawing():
        pytest.fail("work was started")
        yield b""

    monkeypatch.setattr(packed.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**5))
    monkeypatch.setattr(shapes2d, "packed_pieces", drawing)
    assert shapes2d.main(["--out", str(tmp_path)]) == 1
    complaint = capsys.readouterr().err
    assert (
        complaint.count("\n") == 1
        and "1 MB are needed" in complaint
        and "0 MB are free" in complaint
    )
    assert os.listdir(tmp_path) == []


def test_images_that_are_not_those_expected_are_not_kept(tmp_path, small_set, monkeypatch, capsys):
    monkeypatch.setattr(shapes2d, "packed_pieces", lambda: iter([small_set[::-1]]))
    assert shapes2d.main(["--out", str(tmp_path)]) == 1
    assert "sha256" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_interrupted_writing_leaves_no_whole_set(tmp_path):
    """Kill the command while it writes: what is left must not pass for the data."""
    script = "import os, signal\nfrom data_prep import shapes2d\n"
    script += "first = next(shapes2d.packed_pieces())\n"
    script += "def pieces():\n    yield first\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    script += f"shapes2d.packed_pieces = pieces\nshapes2d.main(['--out', {str(tmp_path)!r}])\n"
    environment = os.environ | {"PYTHONPATH": str(FRAMES.parent.parent)}
    assert (
        subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True
        ).returncode
        == -9
    )
    assert "shapes2d.json" not in os.listdir(tmp_path)
    with pytest.raises(ValueError, match="shapes2d.json is missing"):
        packed.read_whole(tmp_path, "shapes2d")


def test_command_line_with_a_folder_that_is_a_file(tmp_path, capsys):
    (tmp_path / "data").write_text("in the way")
    assert shapes2d.main(["--out", str(tmp_path / "data")]) == 1
    assert capsys.readouterr().err.startswith("data_prep.shapes2d: ")
