"""The stand-in faces: same seed, same bytes; attributes seen where and as often as is said."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep import packed
from data_prep.standins import draw_faces, faces

K, NUISANCES = len(faces.ATTRIBUTES), tuple(faces.NUISANCES)
TABLE_2 = (
    "Arched_Eyebrows", "Attractive", "Bangs", "Black_Hair", "Blond_Hair", "Heavy_Makeup", "Male",
    "Mouth_Slightly_Open", "No_Beard", "Wavy_Hair", "Wearing_Hat", "Wearing_Lipstick",
)  # fmt: skip
HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")

# Where an attribute is seen: (depth, half-width, top, bottom) of a box in the face's units. As the
# head turns, the box moves by depth * yaw to the right and depth * pitch down. `Attractive` is seen
# nowhere.
REGIONS = {
    "Arched_Eyebrows": (0.8, 0.95, -0.7, -0.15), "Bald": (0, 1.45, -1.75, 2.2),
    "Bangs": (0, 1.35, -1.25, 0.45), "Big_Nose": (1.05, 0.45, -0.35, 0.7),
    "Black_Hair": (0, 1.45, -1.75, 2.2), "Blond_Hair": (0, 1.45, -1.75, 2.2),
    "Brown_Hair": (0, 1.45, -1.75, 2.2), "Bushy_Eyebrows": (0.8, 0.95, -0.7, -0.15),
    "Eyeglasses": (0.85, 1.25, -0.55, 0.35), "Goatee": (0.9, 0.4, 0.75, 1.5),
    "Gray_Hair": (0, 1.45, -1.75, 2.2), "Heavy_Makeup": (0.8, 1.1, -0.55, 0.75),
    "Male": (0, 2.1, -1.75, 2.3), "Mouth_Slightly_Open": (0.92, 0.5, 0.5, 1.1),
    "Mustache": (0.98, 0.5, 0.45, 0.85), "Narrow_Eyes": (0.8, 0.85, -0.4, 0.1),
    "No_Beard": (0, 1.1, 0.0, 1.5), "Pale_Skin": (0, 1.4, -1.25, 2.2),
    "Smiling": (0.92, 0.6, 0.45, 1.25), "Wavy_Hair": (0, 1.5, -1.85, 2.2),
    "Wearing_Hat": (0, 1.8, -2.0, -0.05), "Wearing_Lipstick": (0.92, 0.5, 0.55, 1.0),
    "Young": (0.8, 0.75, -1.0, 1.05),
}  # fmt: skip

# sha256 of the first 64 faces of seed 0. Exact, not within a grey level: pixels are made by
# operations that IEEE 754 rounds in one way (NumPy 1.26.4 and 2.4.6, with and without vector
# instructions, gave these bytes). If a newer NumPy draws other random numbers, the first of the two
# tells so; if only the second changes, the drawing did, and VERSION must go up.
LABELS_SHA256 = "3ff103004065f065941cef0960d4db5ddd6ef60cb714f5254a9c5a7c4a27b345"
PIXELS_SHA256 = "d6f29b66610faee7841f0a19f220f9d9ec6927f6513a8bf0c3ef8634c92238fa"


@pytest.fixture(scope="module")
def many() -> dict[str, np.ndarray]:
    """The attributes of 50,000 faces by name."""
    return dict(zip(faces.ATTRIBUTES, faces.sample(50_000, 0)[0].T.astype(bool)))


def plain(count: int, **attributes) -> np.ndarray:
    """Attributes (count, K) of young, shaven people with nothing else, but for those given."""
    rows = np.zeros((count, K), np.int16)
    for name, value in {"Young": 1, "No_Beard": 1, **attributes}.items():
        rows[:, faces.ATTRIBUTES.index(name)] = value
    return rows


def middling(count: int = 1, **nuisances) -> np.ndarray:
    """Nuisances (count, M) in the middle of their ranges, but for those given."""
    values = {name: (low + high) / 2 for name, (low, high) in faces.NUISANCES.items()} | nuisances
    return np.stack(
        [np.broadcast_to(np.float32(values[name]), count) for name in NUISANCES], axis=1
    )


def where(image, u: float, v: float, row: np.ndarray) -> np.ndarray:
    """The colour (3,) of the pixel nearest to (u, v) of an untilted face."""
    x, y, scale = (row[NUISANCES.index(name)] for name in ("x", "y", "scale"))
    return image[:, round(float(y + scale * v)), round(float(x + scale * u))].astype(int)


# --- labels ---------------------------------------------------------------------------------------


def test_names_of_table_2_are_there_and_all_are_in_order():
    assert set(TABLE_2) <= set(faces.ATTRIBUTES)
    assert list(faces.ATTRIBUTES) == sorted(faces.ATTRIBUTES)  # CelebA's order is the alphabet's
    assert sorted(name for name, *_ in faces.MODEL) == sorted(faces.ATTRIBUTES) and K == 24


def test_model_only_looks_back():
    known = set(NUISANCES)
    for name, _, _, weights in faces.MODEL:
        assert set(weights) <= known, name
        known.add(name)


def test_seed_gives_the_same_faces_and_a_larger_count_begins_with_them():
    few, more, other = faces.sample(50, 3), faces.sample(9000, 3), faces.sample(50, 4)
    for a, b, c in zip(few, more, other):
        np.testing.assert_array_equal(a, b[:50])
        assert (a != c).any()
    assert (
        few[0].dtype == np.int16
        and few[1].dtype == np.float32
        and set(np.unique(more[0])) == {0, 1}
    )


def test_nuisances_fill_their_ranges_evenly():
    low, high = np.array(list(faces.NUISANCES.values())).T
    place = (faces.sample(20_000, 1)[1] - low) / (high - low)
    assert place.min() > -1e-6 and place.max() < 1 + 1e-6
    for share in (0.1, 0.5, 0.9):  # 5 standard deviations of a share are at most 0.018
        np.testing.assert_allclose((place < share).mean(axis=0), share, atol=0.018)


def test_labels_follow_the_model(many):
    """Each attribute against its logistic: the mean of (label - chance) times each parent is 0."""
    nuisances = faces.sample(50_000, 0)[1].astype(float)
    low, high = np.array(list(faces.NUISANCES.values())).T
    known = dict(zip(NUISANCES, (2 * (nuisances - low) / (high - low) - 1).T)) | {
        k: v.astype(float) for k, v in many.items()
    }
    for name, _, logit, weights in faces.MODEL:
        chance = 1 / (
            1 + np.exp(-(logit + sum(w * known[parent] for parent, w in weights.items())))
        )
        for parent in (np.ones(50_000), *(known[p] for p in weights)):
            off = ((many[name] - chance) * parent).mean()
            assert (
                abs(off) <= 5 * np.sqrt((chance * (1 - chance) * parent**2).mean() / 50_000) + 1e-12
            ), name


def test_shares_are_unequal_and_plausible(many):
    for name, percent, _, _ in faces.MODEL:
        assert abs(100 * many[name].mean() - percent) < 0.5 + 1.1, (
            name
        )  # rounding, and 5 standard deviations
    assert abs(many["Male"].mean() - 0.42) < 0.02
    assert abs(many["No_Beard"].mean() - 0.83) < 0.02
    assert abs(many["Wearing_Hat"].mean() - 0.05) < 0.01


@pytest.mark.parametrize(
    ("one", "other", "sign"),
    [
        ("Male", "Heavy_Makeup", -1), ("Male", "Wearing_Lipstick", -1),
        ("Male", "Arched_Eyebrows", -1), ("Male", "No_Beard", -1), ("Male", "Wavy_Hair", -1),
        ("Male", "Bangs", -1), ("Male", "Blond_Hair", -1), ("Male", "Wearing_Hat", 1),
        ("Male", "Big_Nose", 1), ("Male", "Bushy_Eyebrows", 1),
        ("Heavy_Makeup", "Wearing_Lipstick", 1), ("Smiling", "Mouth_Slightly_Open", 1),
        ("Young", "Gray_Hair", -1), ("Young", "Attractive", 1), ("Young", "Bald", -1),
        ("Heavy_Makeup", "Attractive", 1), ("Big_Nose", "Attractive", -1),
        ("Eyeglasses", "Attractive", -1),
    ],
)  # fmt: skip
def test_correlations_have_their_sign(many, one, other, sign):
    assert sign * np.corrcoef(many[one], many[other])[0, 1] > 0.02


def test_what_excludes_what(many):
    assert sum(many[name].astype(int) for name in HAIR).max() == 1
    never = [("Bald", h) for h in (*HAIR, "Bangs", "Wavy_Hair")] + [("Wearing_Hat", "Bangs")]
    never += [("No_Beard", "Goatee"), ("No_Beard", "Mustache")]
    for one, other in never:
        assert not (many[one] & many[other]).any(), (one, other)
    assert many["No_Beard"][~many["Male"]].all() and not many["Bald"][~many["Male"]].any()


def test_attractive_is_an_opinion_and_not_a_function(many):
    """People with the same other attributes are judged both ways."""
    others = np.stack([values for name, values in many.items() if name != "Attractive"], axis=1)
    group = np.unique(others, axis=0, return_inverse=True)[1].reshape(-1)
    share = np.bincount(group, many["Attractive"]) / np.bincount(group)
    large = np.bincount(group) >= 100
    assert large.sum() >= 10 and (share[large] > 0.02).all() and (share[large] < 0.98).all()
    assert np.ptp(share[large]) > 0.3


# --- pictures -------------------------------------------------------------------------------------


def test_first_faces_have_their_checksum():
    attributes, nuisances = faces.sample(64, 0)
    labels = attributes.astype("<i2").tobytes() + nuisances.astype("<f4").tobytes()
    assert hashlib.sha256(labels).hexdigest() == LABELS_SHA256
    assert (
        hashlib.sha256(faces.render(attributes, nuisances).tobytes()).hexdigest() == PIXELS_SHA256
    )


@pytest.mark.parametrize("chunk", [1, 7, 300])
def test_batch_size_does_not_matter(chunk, monkeypatch):
    attributes, nuisances = faces.sample(150, 2)
    expected = faces.render(attributes, nuisances)
    assert expected.shape == (150, 3, 64, 64) and expected.dtype == np.uint8
    np.testing.assert_array_equal(faces.render(attributes[::-1], nuisances[::-1])[::-1], expected)
    monkeypatch.setattr(draw_faces, "CHUNK", chunk)
    np.testing.assert_array_equal(faces.render(attributes, nuisances), expected)


def coordinates(nuisances, depth: float) -> tuple[np.ndarray, np.ndarray]:
    """u and v (N, 64, 64) of the pixels, from what lies `depth` in front, with real angles."""
    get = dict(zip(NUISANCES, nuisances.astype(float).T[:, :, None, None]))
    y, x = np.mgrid[:64, :64]
    turned = (
        ((x - get["x"]) + 1j * (y - get["y"])) * np.exp(-2j * np.arctan(get["tilt"])) / get["scale"]
    )
    return turned.real - depth * get["yaw"], turned.imag - depth * get["pitch"]


@pytest.fixture(scope="module")
def unflipped() -> list[np.ndarray]:
    """60 faces of women and of men, drawn once for all flips."""
    return [
        faces.render(plain(60, Male=male), faces.sample(60, 5)[1]).astype(int) for male in (0, 1)
    ]


@pytest.mark.parametrize("name", faces.ATTRIBUTES)
@pytest.mark.parametrize("male", [0, 1])
def test_attribute_is_seen_in_its_region_and_nowhere_else(unflipped, name, male):
    """Flip it alone on 60 random faces: some pixels change well, and none outside the region."""
    nuisances, flipped = faces.sample(60, 5)[1], plain(60, Male=male)
    flipped[:, faces.ATTRIBUTES.index(name)] ^= 1
    change = np.abs(faces.render(flipped, nuisances) - unflipped[male]).max(axis=1)
    if name == "Attractive":
        assert name not in REGIONS and change.max() == 0
        return
    depth, half, top, bottom = REGIONS[name]
    u, v = coordinates(nuisances, depth)
    inside = (np.abs(u) <= half) & (top <= v) & (v <= bottom)
    assert change[~inside].max(initial=0) == 0
    assert ((change > 12).sum(axis=(1, 2)) >= 8).all()  # every face shows it


def test_colours_that_are_known():
    """Background, hat and the order of the hair's shades, read off single pixels."""
    row = middling(
        back_red=0.8, back_green=0.2, back_blue=0.5, hat_red=0.1, hat_green=0.6, hat_blue=0.2
    )
    image = faces.render(plain(1, Wearing_Hat=1), row)[0]
    # Half way between (0.8, 0.2, 0.5) and its mean grey 0.5, without a gradient in the middle of
    # the ranges.
    np.testing.assert_allclose(image[:, 0, 0], np.array([0.65, 0.35, 0.5]) * 255, atol=1)
    crown = where(image, 0, -1.2, row[0])
    assert crown[1] > 2 * crown[2] > 2 * crown[0]
    lightness = {
        name: where(
            faces.render(plain(1, **{name: 1}), middling())[0], 0.1, -1.3, middling()[0]
        ).sum()
        for name in HAIR
    }
    assert (
        lightness["Black_Hair"]
        < 0.6 * lightness["Brown_Hair"]
        < 0.6 * min(lightness["Blond_Hair"], lightness["Gray_Hair"])
    )
    blond = where(faces.render(plain(1, Blond_Hair=1), middling())[0], 0.1, -1.3, middling()[0])
    gray = where(faces.render(plain(1, Gray_Hair=1), middling())[0], 0.1, -1.3, middling()[0])
    assert blond[0] - blond[2] > 40 and abs(gray[0] - gray[2]) < 15


def test_lipstick_is_red_and_pale_is_light_and_skin_goes_from_light_to_dark():
    lip = [
        where(faces.render(plain(1, Wearing_Lipstick=on), middling())[0], 0.15, 0.72, middling()[0])
        for on in (0, 1)
    ]
    assert lip[1][0] - lip[1][1] > 1.5 * (lip[0][0] - lip[0][1]) > 0
    row = middling(5, skin=np.linspace(0, 1, 5))
    cheek = [where(image, 0.4, 0.4, middling()[0]).sum() for image in faces.render(plain(5), row)]
    assert (np.diff(cheek) < -10).all()
    pale = [
        where(image, 0.4, 0.4, middling()[0]).sum()
        for image in faces.render(plain(5, Pale_Skin=1), row)
    ]
    assert (np.array(pale) > cheek).all()


def test_mirrored_face_is_the_mirror_image():
    """Bald heads have no parting: mirrored pose, light and gaze must mirror the picture."""
    nuisances = faces.sample(40, 6)[1]
    nuisances[:, NUISANCES.index("crooked")] = 0
    attributes = faces.sample(40, 7)[0]
    for name, value in {"Bald": 1, "Wearing_Hat": 0, "Eyeglasses": 0, "No_Beard": 1}.items():
        attributes[:, faces.ATTRIBUTES.index(name)] = value
    mirrored = nuisances.copy()
    for name in ("yaw", "tilt", "light_x", "gradient_x", "gaze"):
        mirrored[:, NUISANCES.index(name)] *= -1
    x = NUISANCES.index("x")
    mirrored[:, x] = 63 - nuisances[:, x]
    difference = faces.render(attributes, mirrored)[..., ::-1].astype(int) - faces.render(
        attributes, nuisances
    )
    assert np.abs(difference).max() <= 3  # of 255: sums of rounded numbers in another order


def test_moving_a_face_moves_its_pixels():
    attributes, nuisances = faces.sample(40, 8)
    nuisances[:, [NUISANCES.index("gradient_x"), NUISANCES.index("gradient_y")]] = 0
    at = [NUISANCES.index("x"), NUISANCES.index("y")]
    nuisances[:, at] = 30.25, 32.5
    moved = nuisances.copy()
    moved[:, at] = 33.25, 34.5
    difference = (
        faces.render(attributes, moved)[:, :, 2:, 3:].astype(int)
        - faces.render(attributes, nuisances)[:, :, :-2, :-3]
    )
    assert np.abs(difference).max() <= 3


def test_no_faces_at_all():
    assert faces.render(plain(0), middling(0)).shape == (0, 3, 64, 64)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "seed", "message"),
    [
        (0, 0, "number of images must be a whole number from 1 to 1,000,000, found 0"),
        (1_000_001, 0, "found 1000001"),
        (10.0, 0, "found 10.0"),
        (True, 0, "found True"),
        ("10", 0, "found '10'"),
        (10, -1, "the seed must be a whole number not below 0, found -1"),
        (10, 0.5, "the seed must .* found 0.5"),
        (10, None, "the seed must .* found None"),
    ],
)
def test_bad_counts_and_seeds_are_refused(count, seed, message):
    with pytest.raises(ValueError, match=message):
        faces.sample(count, seed)


def test_bad_attributes_and_nuisances_are_refused():
    good, bad = plain(3), plain(3)
    bad[1, faces.ATTRIBUTES.index("Male")] = -1  # as CelebA's own file says it
    for attributes, nuisances, message in [
        (bad, middling(3), "Male must be 0 or 1, found -1 in row 1"),
        (good[:, 1:], middling(3), r"attributes must have shape \(3, 24\), not \(3, 23\)"),
        (good, middling(3)[:, 1:], rf"nuisances must have shape \(3, {len(NUISANCES)}\)"),
        (good, middling(2), r"nuisances must have shape \(3, 41\), not \(2, 41\)"),
        (good, middling(3, yaw=[0, 0, 0.5]), "yaw must lie in -0.4 to 0.4, found 0.5 in row 2"),
        (good, middling(3, skin=np.nan), "skin must lie in 0 to 1, found nan in row 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            faces.render(attributes, nuisances)


# --- writing --------------------------------------------------------------------------------------


def test_tenth_is_held_out_at_random():
    test = faces.held_out(20_000)
    assert test.sum() == 2000 and test.dtype == bool
    np.testing.assert_array_equal(test, faces.held_out(20_000))
    assert abs(test[:10_000].sum() - 1000) < 110  # 5 standard deviations
    assert faces.held_out(10).sum() == 1


def test_command_writes_images_labels_and_json_then_nothing(tmp_path, capsys):
    call = ["--out", str(tmp_path / "data"), "--images", "300", "--seed", "5"]
    assert faces.main(call) == 0
    attributes, nuisances = faces.sample(300, 5)
    pixels = faces.render(attributes, nuisances).tobytes()
    assert (tmp_path / "data/faces.rgb").read_bytes() == pixels
    labels = np.load(tmp_path / "data/faces.labels.npz")
    np.testing.assert_array_equal(labels["factors"], attributes)
    np.testing.assert_array_equal(labels["test"], faces.held_out(300))
    info = json.loads((tmp_path / "data/faces.json").read_text())
    assert info.pop("checksum") == packed.checksum_of(info)
    assert info == {
        "name": "stand-in faces (for CelebA)",
        "source": "stand-in",
        "version": faces.VERSION,
        "seed": 5,
        "images": 300,
        "channels": 3,
        "factors": [
            {"name": name, "values": [0, 1], "discrete": True} for name in faces.ATTRIBUTES
        ],
        "height": 64,
        "width": 64,
        "bytes": 300 * 3 * 64 * 64,
        "sha256": hashlib.sha256(pixels).hexdigest(),
        "labels_sha256": hashlib.sha256(
            (tmp_path / "data/faces.labels.npz").read_bytes()
        ).hexdigest(),
    }
    assert sorted(os.listdir(tmp_path / "data")) == ["faces.json", "faces.labels.npz", "faces.rgb"]
    before = (tmp_path / "data/faces.rgb").stat().st_mtime_ns
    capsys.readouterr()
    assert faces.main(call) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (tmp_path / "data/faces.rgb").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change", ["seed", "images", "version", "split", "pixels", "labels", "no labels", "half json"]
)
def test_set_that_is_another_or_damaged_is_made_again(tmp_path, change, monkeypatch):
    faces.write_all(tmp_path, 20, 0)
    paths = pixels, labels, sidecar = [
        tmp_path / f"faces.{end}" for end in ("rgb", "labels.npz", "json")
    ]
    before = [path.read_bytes() for path in paths]
    wanted = {"images": 20, "seed": 0}
    if change in wanted:
        wanted[change] += 1
    elif change == "version":
        monkeypatch.setattr(faces, "VERSION", faces.VERSION + 1)
    elif change == "split":
        monkeypatch.setattr(faces, "SPLIT_SEED", 1)
    elif change == "no labels":
        labels.unlink()
    elif change == "half json":
        sidecar.write_bytes(before[2][:50])
    else:
        path = pixels if change == "pixels" else labels
        path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    lines = []
    faces.write_all(tmp_path, **wanted, say=lines.append)
    assert any(line.startswith("writing") for line in lines)
    assert packed.read_whole(tmp_path, "faces")
    assert ([path.read_bytes() for path in paths] == before) == (
        change in ("pixels", "labels", "no labels", "half json")
    )
    faces.write_all(tmp_path, **wanted, say=lines.append)
    assert "nothing to do" in lines[-1]


def test_full_disk_while_writing_leaves_nothing(tmp_path, monkeypatch, capsys):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packed.os, "fsync", full)
    assert faces.main(["--out", str(tmp_path), "--images", "20"]) == 1
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1 and "No space left" in complaint and "faces.rgb" in complaint
    assert os.listdir(tmp_path) == []


def test_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch, capsys):
    drawn = []

    def interrupt(*arguments):
        if drawn:
            raise KeyboardInterrupt
        drawn.append(1)
        return np.zeros((256, 3, 64, 64), np.uint8)

    monkeypatch.setattr(faces, "render", interrupt)
    assert faces.main(["--out", str(tmp_path), "--images", "600"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert drawn and os.listdir(tmp_path) == []


def test_killed_drawing_leaves_no_whole_set(tmp_path):
    script = "import os, signal\nimport numpy as np\nfrom data_prep.standins import faces\n"
    script += "draw, calls = faces.render, []\ndef render(*given):\n    calls.append(1)\n"
    script += (
        "    return draw(*given) if len(calls) == 1 else os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    script += (
        f"faces.render = render\nfaces.main(['--out', {str(tmp_path)!r}, '--images', '600'])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(faces.__file__).parents[2])}
    assert (
        subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True
        ).returncode
        == -9
    )
    assert "faces.json" not in os.listdir(tmp_path)
    with pytest.raises(ValueError, match="faces.json is missing"):
        packed.read_whole(tmp_path, "faces")
    faces.write_all(tmp_path, 20, 0)
    assert sorted(os.listdir(tmp_path)) == ["faces.json", "faces.labels.npz", "faces.rgb"]


@pytest.mark.parametrize(
    ("option", "value"), [("--images", "9"), ("--images", "1000001"), ("--seed", "-1")]
)
def test_command_line_refuses_bad_numbers_before_work(tmp_path, option, value, capsys):
    assert faces.main(["--out", str(tmp_path / "data"), option, value]) == 1
    complaint = capsys.readouterr().err
    assert (
        complaint.startswith("data_prep.standins.faces: ")
        and value in complaint
        and complaint.count("\n") == 1
    )
    assert not (tmp_path / "data").exists()
