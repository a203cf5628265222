"""The stand-in chairs, by known answers and a slow ray caster; the set and its files."""

import errno
import io
import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_prep import packed
from data_prep.standins import chairs as standin_chairs
from data_prep.standins import perspective
from data_prep.standins.chairs import AZIMUTHS, ELEVATIONS, faces, model, render
from data_prep.standins.perspective import FOCAL, SIDE, draw, project, ring, swept

BLACK = (0, 0, 0)


def angles(*degrees: float) -> np.ndarray:
    return np.array(degrees, dtype=float)


def box(low, high) -> np.ndarray:
    """The six faces of a box, the last of them its top."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    return swept(
        np.array(
            [[(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)] for z in (z0, z1)], dtype=float
        )
    )


def in_one_colour(quads: np.ndarray, colour) -> np.ndarray:
    return np.full((len(quads), 3), colour, dtype=np.uint8)


# --- projection -----------------------------------------------------------------------------------


def test_a_point_projected_by_hand():
    # From azimuth 90 and elevation 30 the camera is at (3.4641, 0, 2): right is (0, 1, 0), up
    # (-0.5, 0, 0.8660), away (-0.8660, 0, -0.5). (0.2, 0.3, 0.4) is 0.3 to the right, -0.1 + 0.3464
    # up, and 4 - 0.1732 - 0.2 away.
    x, y = project(np.array([0.2, 0.3, 0.4]), angles(90), angles(30))
    assert pytest.approx(371.806, abs=1e-3) == FOCAL  # 96 sqrt(15)
    assert x == pytest.approx(96 + 371.806 * 0.3 / 3.6268, abs=1e-2)
    assert y == pytest.approx(96 - 371.806 * 0.24641 / 3.6268, abs=1e-2)


def test_the_centre_stays_and_the_sphere_fills_the_picture():
    azimuth, elevation = angles(0, 77, 200, 359), angles(0, 20, 30, -50)
    np.testing.assert_allclose(project(np.zeros(3), azimuth, elevation), SIDE / 2)
    sphere = np.random.default_rng(0).normal(size=(200_000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    for place in project(sphere, azimuth, elevation):
        assert place.min() >= 0 and place.max() <= SIDE
        assert place.min() == pytest.approx(0, abs=0.5) and place.max() == pytest.approx(
            SIDE, abs=0.5
        )


def test_the_camera_goes_round_counter_clockwise_and_looks_down():
    places = np.diag([0.5, 0.5, 0.5])  # a red box on the x axis, a green one on y, a blue one on z
    quads = np.concatenate([box(place - 0.1, place + 0.1) for place in places])
    colours = np.repeat(
        np.array([(200, 0, 0), (0, 200, 0), (0, 0, 200)], dtype=np.uint8), 6, axis=0
    )
    pictures = draw(quads, colours, angles(0, 90), angles(20, 20)).astype(int)

    def place(picture, channel):  # (column, row) from the middle
        others = np.delete(picture, channel, axis=2).max(axis=2)
        return np.argwhere(picture[..., channel] > 20 + others).mean(axis=0)[::-1] - 31.5

    front, side = pictures
    assert (
        place(front, 0)[0] > 10 and abs(place(front, 1)[0]) < 1
    )  # +x is to the right, +y behind the middle
    assert place(front, 1)[1] < -2  # and, as the camera looks down, higher
    assert place(side, 1)[0] > 10 and abs(place(side, 0)[0]) < 1  # seen from +x, +y is to the right
    assert place(side, 0)[1] > 2  # and +x near, so lower
    assert place(front, 2)[1] < -10 and place(side, 2)[1] < -10  # +z is up


# --- silhouettes and hidden surfaces --------------------------------------------------------------


def test_a_cube_from_the_front_is_a_square_of_known_size():
    # Half-side 0.5, front face 3.5 away: 371.806 * 0.5 / 3.5 = 53.115 samples either side of 96,
    # which holds the 106 sample centres 43.5 to 148.5. Pixels 15 to 48 are covered in full, 14 and
    # 49 by two samples of three.
    quads = box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))
    picture = draw(quads, in_one_colour(quads, BLACK), angles(0), angles(0))[0]
    cover = np.zeros(64)
    cover[15:49], cover[14], cover[49] = 1, 2 / 3, 2 / 3
    assert cover.sum() * 3 == pytest.approx(106)
    expected = np.rint(255 * (1 - np.outer(cover, cover)))
    np.testing.assert_array_equal(picture, np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize(("azimuth", "elevation"), [(33, 20), (45, 30), (250, -40)])
def test_the_silhouette_of_a_cube_is_the_hull_of_its_corners(azimuth, elevation):
    from scipy.spatial import ConvexHull

    quads = box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))
    x, y = project(quads.reshape(-1, 3), angles(azimuth), angles(elevation))
    hull = ConvexHull(
        np.stack([x[0], y[0]], axis=1)
    ).equations  # outward normal and offset of each side
    row, column = np.mgrid[:SIDE, :SIDE] + 0.5
    inside = (
        hull[:, 0, None, None] * column + hull[:, 1, None, None] * row + hull[:, 2, None, None] <= 0
    ).all(axis=0)
    cover = inside.reshape(64, 3, 64, 3).sum(axis=(1, 3))
    picture = draw(quads, in_one_colour(quads, BLACK), angles(azimuth), angles(elevation))[0]
    np.testing.assert_array_equal(picture[..., 0], np.rint(255 * (9 - cover) / 9))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_near_hides_far_whatever_the_order(order):
    parts = box((-0.2, -0.5, -0.2), (0.2, -0.4, 0.2)), box((-0.4, 0.4, -0.4), (0.4, 0.5, 0.4))
    colours = in_one_colour(parts[0], (200, 0, 0)), in_one_colour(parts[1], (0, 0, 200))
    quads, colours = (
        np.concatenate([parts[k] for k in order]),
        np.concatenate([colours[k] for k in order]),
    )
    front, rear = draw(quads, colours, angles(0, 180), angles(0, 0))
    red, blue = front[..., 0] > 60, front[..., 2] > 60
    assert (
        red[32, 32] and not blue[32, 32]
    )  # the near, small one covers the middle of the far, large one
    assert blue[32, 22] and not red[32, 22]  # which sticks out around it
    assert (rear[..., 0] > 60).sum() == (
        rear.min(axis=2) > 60
    ).sum()  # from behind no red is to be seen, only white


VIEWS = [(0, 58, 20), (4, 151, 30), (9, 290, 20), (26, 12, 30), (40, 222, 30)]


def ray_cast(
    quads: np.ndarray, colours: np.ndarray, azimuth: float, elevation: float
) -> np.ndarray:
    """One picture, slowly: a ray a sample, against the planes through the eye and each edge."""
    a, e = math.radians(azimuth), math.radians(elevation)
    turn = np.array(
        [(math.cos(a), math.sin(a), 0), (-math.sin(a), math.cos(a), 0), (0, 0, 1)]
    )  # chair to turntable
    tip = np.array(
        [(1, 0, 0), (0, math.cos(e), -math.sin(e)), (0, math.sin(e), math.cos(e))]
    )  # to right, away, up
    corners = quads @ (tip @ turn).T + (0, 4, 0)
    row, column = np.mgrid[:SIDE, :SIDE].reshape(2, -1) + 0.5
    ray = np.stack(
        [(column - SIDE / 2) / FOCAL, np.ones(SIDE**2), (SIDE / 2 - row) / FOCAL]
    )  # (3, samples)
    nearest, seen = np.full(SIDE**2, np.inf), np.full((SIDE**2, 3), 255.0)
    for quad, turned, colour in zip(corners, quads @ turn.T, colours):
        normal = np.cross(quad[1] - quad[0], quad[2] - quad[0])
        if normal @ quad[0] >= 0:
            continue
        inside = (np.cross(quad, np.roll(quad, -1, axis=0)) @ ray <= 0).all(axis=0)
        distance = (normal @ quad[0]) / (normal @ ray[:, inside])
        light, level = perspective.AMBIENT, np.cross(turned[1] - turned[0], turned[2] - turned[0])
        for (right, towards, up), bright in perspective.LIGHTS:
            direction = np.array([right, -towards, up])
            light += bright * max(
                0.0, level @ direction / np.linalg.norm(level) / np.linalg.norm(direction)
            )
        at = np.flatnonzero(inside)[distance < nearest[inside]]
        nearest[at], seen[at] = (
            distance[distance < nearest[inside]],
            np.round(light * colour.astype(float)),
        )
    return np.rint(seen.reshape(64, 3, 64, 3, 3).mean(axis=(1, 3)))


@pytest.mark.parametrize(("chair", "azimuth", "elevation"), VIEWS)
def test_chairs_are_what_a_ray_caster_sees(chair, azimuth, elevation):
    drawn = render(model(chair), azimuth, elevation).astype(int)
    difference = np.abs(drawn - ray_cast(*faces(model(chair)), azimuth, elevation)).max(axis=2)
    assert (drawn < 255).any(axis=2).sum() > 300  # there is something to see
    assert (
        difference > 1
    ).sum() <= 2  # none where this was written; a sample may lie on an edge to the last bit


# --- light ----------------------------------------------------------------------------------------


def test_light_from_above_by_hand(monkeypatch):
    monkeypatch.setattr(perspective, "AMBIENT", 0.4)
    monkeypatch.setattr(perspective, "LIGHTS", (((0, 0, 2), 0.5),))
    quads = box((-0.5, -0.5, -0.3), (0.5, 0.5, 0.3))
    picture = draw(quads, in_one_colour(quads, (100, 200, 50)), angles(0), angles(30))[0]
    seen = Counter(map(tuple, picture.reshape(-1, 3).tolist()))
    assert {colour for colour, _ in seen.most_common(3)} == {
        (255, 255, 255),
        (90, 180, 45),
        (40, 80, 20),
    }
    assert picture[20, 32].tolist() == [90, 180, 45] and picture[40, 32].tolist() == [
        40,
        80,
        20,
    ]  # top and front


def test_light_stands_still_while_the_chair_turns():
    quads = box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))  # looks the same after each quarter turn
    pictures = draw(
        quads,
        in_one_colour(quads, (150, 150, 150)),
        angles(30, 120, 210, 300),
        angles(20, 20, 20, 20),
    )
    assert np.abs(pictures.astype(int) - pictures[0]).max() <= 29  # a sample of nine at an edge
    assert (pictures != pictures[0]).any(axis=3).sum() < 20


def test_no_chair_melts_into_the_white():
    for chair in range(300):
        quads, colours = faces(model(chair))
        assert (
            perspective._lit(quads, colours, angles(*AZIMUTHS))[:, 1:].min(axis=2).max() <= 245
        ), chair


# --- models ---------------------------------------------------------------------------------------


def test_every_kind_of_part_turns_up_and_every_chair_is_another():
    chairs = [model(k) for k in range(200)]
    assert {c.seat for c in chairs} == {"square", "round"}
    assert {c.back for c in chairs} == {"none", "panel", "rails", "spindles"}
    assert {c.arms for c in chairs} == {"none", "bars", "panels"}
    assert {c.legs for c in chairs} == {"straight", "splayed", "sled", "pedestal"}
    assert len({repr(chair) for chair in chairs}) == 200
    assert len({render(c, 30, 20).tobytes() for c in chairs[:60]}) == 60


def test_faces_are_flat_closed_and_inside_the_sphere():
    for chair in range(300):
        quads, colours = faces(model(chair))
        assert colours.shape == (len(quads), 3) and len(quads) <= 2046  # what `draw` can tell apart
        normals = np.cross(quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1])
        assert (np.linalg.norm(normals, axis=1) > 1e-6).all(), chair
        away = ((quads - quads[:, :1]) * normals[:, None]).sum(axis=2) / np.linalg.norm(
            normals, axis=1
        )[:, None]
        assert np.abs(away).max() < 1e-12, chair
        assert np.linalg.norm(quads, axis=2).max() == pytest.approx(1)
        # Closed: each edge is gone along as often one way as the other.
        corners = [tuple(corner) for corner in np.round(quads.reshape(-1, 3), 9).tolist()]
        edges = Counter(
            (corners[4 * k + j], corners[4 * k + (j + 1) % 4])
            for k in range(len(quads))
            for j in range(4)
        )
        assert all(edges[b, a] == count for (a, b), count in edges.items()), chair


def test_a_prism_has_its_volume_either_way_round():
    for turned in (1, -1):
        hexagon = ring(6)[::turned]
        quads = swept(np.stack([np.column_stack([hexagon, np.full(6, z)]) for z in (0.0, 2.0)]))
        a, b, c, d = quads.transpose(1, 0, 2)
        volume = (a * (np.cross(b, c) + np.cross(c, d))).sum() / 6
        assert volume == pytest.approx(
            2 * math.sqrt(3) / 2
        )  # a hexagon of width 1 has area sqrt(3) / 2


@pytest.mark.parametrize("chair", range(12))
def test_a_chair_is_its_mirror_image_from_the_other_side(chair, monkeypatch):
    monkeypatch.setattr(perspective, "LIGHTS", (((0, 0.6, 0.66), 0.6),))
    one, other = (
        render(model(chair), angles(40, 155), 30),
        render(model(chair), angles(-40, -155), 30),
    )
    difference = np.abs(one.astype(int) - other[:, :, ::-1]).max(axis=3)
    assert (difference > 1).sum() <= 2  # none where this was written


def test_the_views_of_a_chair_all_differ():
    azimuth, elevation = np.meshgrid(AZIMUTHS, ELEVATIONS, indexing="ij")
    pictures = render(model(0), azimuth, elevation)
    assert pictures.shape == (31, 2, 64, 64, 3) and pictures.dtype == np.uint8
    assert len({picture.tobytes() for picture in pictures.reshape(62, -1)}) == 62
    assert AZIMUTHS[0] == 0 and np.allclose(np.diff(AZIMUTHS), 360 / 31) and ELEVATIONS == (20, 30)


def test_a_picture_does_not_depend_on_what_else_is_drawn():
    azimuth = np.array(AZIMUTHS)
    together = render(model(3), azimuth, 20)
    for k in (0, 7, 8, 30):
        np.testing.assert_array_equal(render(model(3), azimuth[k], 20), together[k])
    assert render(model(3), np.empty(0), 20).shape == (0, 64, 64, 3)


def test_a_chair_depends_on_its_number_and_seed_alone():
    assert model(5, 1) == model(5, 1) and model(5, 1) != model(5, 2) and model(5, 1) != model(6, 1)
    assert model(np.int64(5), np.int64(1)) == model(5, 1)
    few, many = standin_chairs.packed_pieces(2, 7), standin_chairs.packed_pieces(9, 7)
    assert [next(few), next(few)] == [next(many), next(many)]
    assert next(few, None) is None


@pytest.mark.parametrize("bad", [-1, 1.0, "1", True, None])
def test_bad_chairs_and_seeds_are_refused(bad):
    with pytest.raises(ValueError, match="the chair must be a whole number not below 0"):
        model(bad)
    with pytest.raises(ValueError, match="the seed must be a whole number not below 0"):
        model(0, bad)


def test_bad_angles_are_refused():
    with pytest.raises(ValueError, match="finite"):
        render(model(0), float("nan"), 20)


# --- the set and its files ------------------------------------------------------------------------


@pytest.mark.parametrize(("chairs", "held_out"), [(2, 1), (10, 1), (200, 20), (1393, 139)])
def test_a_tenth_of_the_chairs_is_held_out_whole(chairs, held_out):
    factors, test = standin_chairs.labels(chairs)
    assert factors.shape == (chairs * 62, 3) and test.shape == (chairs * 62,)
    training, testing = set(factors[~test, 0].tolist()), set(factors[test, 0].tolist())
    assert not training & testing and len(training | testing) == chairs and len(testing) == held_out
    assert test.sum() == 62 * held_out
    assert factors[[0, 1, 2, 61, 62]].tolist() == [
        [0, 0, 0],
        [0, 0, 1],
        [0, 1, 0],
        [0, 30, 1],
        [1, 0, 0],
    ]


def test_command_writes_the_set_then_nothing(tmp_path, capsys):
    command = ["--out", str(tmp_path / "data"), "--chairs", "3", "--seed", "4"]
    assert standin_chairs.main(command) == 0
    out = tmp_path / "data"
    names = ["standin_chairs.json", "standin_chairs.labels.npz", "standin_chairs.rgb"]
    assert sorted(os.listdir(out)) == names and packed.read_whole(out, "standin_chairs")
    info = json.loads((out / names[0]).read_text())
    told = {
        "name": "stand-in chairs (for 3D Chairs)",
        "source": "stand-in",
        "version": standin_chairs.VERSION,
        "seed": 4,
    }
    assert told | {"images": 186, "channels": 3, "height": 64, "width": 64} == {
        key: info[key] for key in (*told, "images", "channels", "height", "width")
    }
    assert [(f["name"], len(f["values"]), f["discrete"]) for f in info["factors"]] == [
        ("chair", 3, True),
        ("azimuth", 31, False),
        ("elevation", 2, True),
    ]
    assert info["factors"][1]["values"] == list(AZIMUTHS) and info["factors"][2]["values"] == [
        20,
        30,
    ]

    pixels = np.fromfile(out / names[2], dtype=np.uint8).reshape(
        3, 31, 2, 3, 64, 64
    )  # planes, as packed.py says
    for chair, azimuth, elevation in ((0, 0, 0), (1, 12, 1), (2, 30, 0)):
        picture = render(model(chair, 4), AZIMUTHS[azimuth], ELEVATIONS[elevation])
        np.testing.assert_array_equal(pixels[chair, azimuth, elevation], picture.transpose(2, 0, 1))
    with np.load(io.BytesIO((out / names[1]).read_bytes())) as labels:
        assert labels["factors"].dtype == np.int16 and labels["test"].dtype == bool
        np.testing.assert_array_equal(labels["factors"], standin_chairs.labels(3)[0])
        np.testing.assert_array_equal(labels["test"], standin_chairs.labels(3)[1])

    before = {name: ((out / name).stat().st_mtime_ns, (out / name).read_bytes()) for name in names}
    capsys.readouterr()
    assert standin_chairs.main(command) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {
        name: ((out / name).stat().st_mtime_ns, (out / name).read_bytes()) for name in names
    } == before


def count_drawn(monkeypatch) -> list:
    drawn, real = [], standin_chairs.model
    monkeypatch.setattr(
        standin_chairs, "model", lambda chair, seed: drawn.append(chair) or real(chair, seed)
    )
    return drawn


@pytest.mark.parametrize(
    "change", ["seed", "chairs", "version", "pixels", "labels", "no labels", "no json", "half json"]
)
def test_another_or_a_damaged_set_is_drawn_again(tmp_path, change, monkeypatch):
    standin_chairs.write_all(tmp_path, 2, 0)
    drawn = count_drawn(monkeypatch)
    pixels, labels, sidecar = (
        tmp_path / f"standin_chairs.{end}" for end in ("rgb", "labels.npz", "json")
    )
    chairs, seed = 3 if change == "chairs" else 2, 1 if change == "seed" else 0
    if change == "version":
        monkeypatch.setattr(standin_chairs, "VERSION", standin_chairs.VERSION + 1)
    elif change in ("pixels", "labels"):
        path = pixels if change == "pixels" else labels
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    elif change == "half json":
        sidecar.write_text(sidecar.read_text()[:99])
    elif change.startswith("no "):
        (labels if change == "no labels" else sidecar).unlink()
    standin_chairs.write_all(tmp_path, chairs, seed)
    assert drawn == list(range(chairs)) and packed.read_whole(tmp_path, "standin_chairs")
    info = json.loads(sidecar.read_text())
    assert (info["images"], info["seed"], info["version"]) == (
        62 * chairs,
        seed,
        standin_chairs.VERSION,
    )
    standin_chairs.write_all(tmp_path, chairs, seed)
    assert len(drawn) == chairs


@pytest.mark.parametrize(
    "options", [["--chairs", "1"], ["--chairs", "0"], ["--chairs", "32768"], ["--seed", "-1"]]
)
def test_bad_counts_are_refused_before_work_starts(tmp_path, options, capsys, monkeypatch):
    drawn = count_drawn(monkeypatch)
    assert standin_chairs.main(["--out", str(tmp_path), *options]) == 1
    complaint = capsys.readouterr().err
    assert (
        complaint.count("\n") == 1
        and complaint.startswith("data_prep.standins.chairs: the ")
        and options[1] in complaint
    )
    assert os.listdir(tmp_path) == [] and drawn == []
    with pytest.raises(ValueError, match="whole number from 2 to 32,767, found 2.5"):
        standin_chairs.write_all(tmp_path, 2.5)


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch, capsys):
    def interrupted(chair, seed):
        if chair == 1:
            raise KeyboardInterrupt
        return model(chair, seed)

    monkeypatch.setattr(standin_chairs, "model", interrupted)
    assert standin_chairs.main(["--out", str(tmp_path), "--chairs", "2"]) == 130
    assert "nothing was kept" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, capsys):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packed.os, "fsync", full)
    assert standin_chairs.main(["--out", str(tmp_path), "--chairs", "2"]) == 1
    complaint = capsys.readouterr().err
    assert (
        complaint.count("\n") == 1
        and "No space left" in complaint
        and "standin_chairs.rgb" in complaint
    )
    assert os.listdir(tmp_path) == []


def test_a_killed_write_is_not_taken_for_the_set(tmp_path):
    script = "import os, signal\nfrom data_prep.standins import chairs as s\nreal = s.model\n"
    script += "kill = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
    script += "s.model = lambda chair, seed: kill() if chair else real(chair, seed)\n"
    script += f"s.main(['--out', {str(tmp_path)!r}, '--chairs', '2'])\n"
    environment = os.environ | {"PYTHONPATH": str(Path(standin_chairs.__file__).parents[2])}
    assert (
        subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True
        ).returncode
        == -9
    )
    assert "standin_chairs.json" not in os.listdir(tmp_path)
    with pytest.raises(ValueError, match="standin_chairs.json is missing"):
        packed.read_whole(tmp_path, "standin_chairs")
    standin_chairs.write_all(tmp_path, 2)
    assert packed.read_whole(tmp_path, "standin_chairs") and len(os.listdir(tmp_path)) == 3
