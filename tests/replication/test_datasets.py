"""Packed images come out of their files as they went in; a damaged file is refused."""

import hashlib
import io
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from small import ATTRIBUTES, CHAIRS, GRID, chairs, faces

from data_prep import shapes2d
from replication import datasets as data


def describe(folder, stem, change):
    """The description `stem`, altered by whoever knows how to sign it."""
    path = folder / f"{stem}.json"
    facts = json.loads(path.read_text())
    facts.pop("checksum")
    change(facts)
    checksum = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(facts | {"checksum": checksum}))


def test_images_and_factors_are_those_rendered(data_dir):
    loaded = data.load("shapes2d", data_dir)
    indices = torch.tensor([0, 1, 77, 1_000, 1_535])
    classes = np.array(list(itertools.product(*GRID.values())))[indices]
    images = loaded.images(indices).view(-1, 64, 64).numpy()
    assert np.array_equal(images, shapes2d.render(classes).astype(np.float32))
    positions = [[GRID[name].index(c) for name, c in zip(GRID, row)] for row in classes]
    assert loaded.factors(indices).tolist() == positions
    assert loaded.factor_names == tuple(GRID)
    assert loaded.discrete == (True, False, False, False, False)
    assert (loaded.name, loaded.source) == ("2D Shapes", "rendered")
    assert (loaded.channels, loaded.held_out) == (1, None)


def test_official_file_is_used_where_it_is(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    rendered = data.load("shapes2d", tmp_path)
    for end in (".bits", ".json"):
        shutil.copy(tmp_path / f"shapes2d{end}", tmp_path / f"dsprites{end}")
    describe(tmp_path, "dsprites", lambda facts: facts.update(source="official"))
    official = data.load("shapes2d", tmp_path)
    assert (official.source, rendered.source) == ("official", "rendered")
    assert official.identity != rendered.identity


def test_identity_is_that_of_pixels_labels_and_meaning_and_of_no_more(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    first = data.load("celeba", tmp_path).identity
    assert len(first) == 64 and first == data.load("celeba", tmp_path).identity
    describe(tmp_path, "faces", lambda facts: facts.update(software="another"))
    assert data.load("celeba", tmp_path).identity == first
    seen = {first}
    rewrite(tmp_path, 1 - faces()[1], faces()[2])
    seen.add(data.load("celeba", tmp_path).identity)
    for change in (
        lambda facts: facts.update(name="other"),
        lambda facts: facts["factors"].reverse(),
        lambda facts: facts["factors"][0].update(name="Bald"),
    ):
        describe(tmp_path, "faces", change)
        seen.add(data.load("celeba", tmp_path).identity)
    assert len(seen) == 5


# --- colour images, with their labels ---


@pytest.mark.parametrize(
    ("name", "made", "factors"), [("celeba", faces, ATTRIBUTES), ("chairs", chairs, CHAIRS)]
)
def test_colour_images_are_their_bytes_and_labels_come_with_them(data_dir, name, made, factors):
    loaded, (images, classes, held_out) = data.load(name, data_dir), made()
    assert (loaded.channels, loaded.pixels, loaded.source) == (3, 12_288, "stand-in")
    rows = torch.tensor([3, 0, len(images) - 1])
    brightness = images[rows].reshape(3, -1).astype(np.float32) / np.float32(255)
    assert np.array_equal(loaded.images(rows).numpy(), brightness)
    assert len(loaded.bits) == len(images)
    assert np.array_equal(loaded.factors(rows), classes[rows])
    assert loaded.factor_names == tuple(factors)
    assert loaded.discrete == tuple(factor != "azimuth" for factor in factors)
    assert loaded.held_out.tolist() == held_out.tolist()


def test_sizes_of_colour_factors_are_the_numbers_of_their_values(data_dir):
    assert data.load("celeba", data_dir).factor_sizes == (2,) * 14
    assert data.load("chairs", data_dir).factor_sizes == (20, 8, 2)


def rewrite(folder, factors, test, **arrays):
    """Labels of another kind, with the description that goes with them."""
    buffer = io.BytesIO()
    given = {"factors": factors, "test": test} | arrays
    np.savez(buffer, **{name: array for name, array in given.items() if array is not None})
    (folder / "faces.labels.npz").write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    describe(folder, "faces", lambda facts: facts.update(labels_sha256=digest))


def relabel(change):
    """Damage: the labels (480, 14) as `change` leaves them, or returns them."""

    def damage(folder):
        labels = faces()[1].copy()
        changed = change(labels)
        rewrite(folder, labels if changed is None else changed, faces()[2])

    return damage


def flip(path):
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def at(labels, value):
    labels[7, 2] = value


FACTOR, MASK = "labels.npz: array 'factors'", "labels.npz: array 'test'"
UNREADABLE = "labels.npz: arrays 'factors' and 'test' cannot be read"
LABELS = {
    "altered": (lambda f: flip(f / "faces.labels.npz"), "labels.npz is altered"),
    "missing": (lambda f: (f / "faces.labels.npz").unlink(), "labels.npz is missing"),
    "attribute less": (
        relabel(lambda y: y[:, 1:]), rf"{FACTOR} is \(480, 13\) int16, \(480, 14\) int16 expected"
    ),
    "image less": (
        relabel(lambda y: y[1:]), rf"{FACTOR} is \(479, 14\) int16, \(480, 14\) int16 expected"
    ),
    "floats": (
        relabel(lambda y: np.where(y == 0, np.nan, y)), rf"{FACTOR} is \(480, 14\) float64, "
    ),
    "objects": (relabel(lambda y: y.astype(object)), UNREADABLE),
    "beyond": (
        relabel(lambda y: at(y, 2)), f"{FACTOR} has class 2 of Wearing_Hat for image 7, 0 to 1 exp"
    ),
    "negative": (relabel(lambda y: at(y, -1)), f"{FACTOR} has class -1 of Wearing_Hat for image 7"),
    "none held out": (
        lambda f: rewrite(f, faces()[1], np.zeros(480, bool)), f"{MASK} holds out none or all"
    ),
    "all held out": (
        lambda f: rewrite(f, faces()[1], np.ones(480, bool)), f"{MASK} holds out none or all"
    ),
    "mask of numbers": (
        lambda f: rewrite(f, faces()[1], faces()[2].astype(int)),
        rf"{MASK} is \(480,\) int64, \(480,\) bool expected",
    ),
    "mask too short": (
        lambda f: rewrite(f, faces()[1], faces()[2][1:]),
        rf"{MASK} is \(479,\) bool, \(480,\) bool expected",
    ),
    "no mask": (lambda f: rewrite(f, faces()[1], None), UNREADABLE),
    "pixels altered": (lambda f: flip(f / "faces.rgb"), "rgb is altered"),
    "truncated": (lambda f: (f / "faces.rgb").write_bytes(bytes(12_288)), "rgb is altered"),
}  # fmt: skip


@pytest.mark.parametrize("case", LABELS)
def test_damaged_labels_and_colours_are_refused_by_name(data_dir, tmp_path, case):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    damage, words = LABELS[case]
    damage(tmp_path)
    with pytest.raises(ValueError, match=f"^{tmp_path}/faces.{words}") as refused:
        data.load("celeba", tmp_path)
    assert "; delete faces.* there and run `make data` again" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_official_faces_are_used_where_they_are(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    for end in (".rgb", ".labels.npz", ".json"):
        shutil.copy(tmp_path / f"faces{end}", tmp_path / f"celeba{end}")
    describe(tmp_path, "celeba", lambda facts: facts.update(name="CelebA", source="official"))
    loaded = data.load("celeba", tmp_path)
    assert (loaded.name, loaded.source) == ("CelebA", "official")


# --- what is refused ---


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda bits: bits.write_bytes(bits.read_bytes()[:-512]), "is altered"),
        (lambda bits: bits.write_bytes(b"\xff" + bits.read_bytes()[1:]), "is altered"),
        (lambda bits: bits.unlink(), "is missing"),
        (lambda bits: (bits.unlink(), bits.mkdir()), "cannot be read .Is a directory."),
    ],
    ids=["truncated", "altered", "missing", "folder"],
)
def test_damaged_file_is_refused(data_dir, tmp_path, damage, words):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "shapes2d.bits")
    with pytest.raises(ValueError, match=f"^{tmp_path}/shapes2d.bits {words}.*; delete shapes2d"):
        data.load("shapes2d", tmp_path)


def factor(index, **change):
    return lambda facts: facts["factors"][index].update(change)


FACTORS = "field 'factors' is .*, {'shape': True, .* .name: discrete. in this order, of sizes"
DESCRIPTIONS = {
    "source": (lambda f: f.update(source="official"), "'source' is 'official', rendered expected"),
    "sides": (lambda f: f.update(height=32, width=128), "field 'height' is 32, 64 expected"),
    "channels": (lambda f: f.update(channels=3), "field 'channels' is 3, 1 expected"),
    "name": (lambda f: f.update(name=3), "field 'name' is 3, a text expected"),
    "images": (lambda f: f.update(images=-5), "'images' is -5, a whole number above 0 expected"),
    "number": (lambda f: f.update(images=1536.0), "'images' is 1536.0, a whole number above 0"),
    "bytes": (lambda f: f.update(bytes=512), "field 'bytes' is 512, 786432 expected"),
    "digest": (lambda f: f.update(sha256=None), "field 'sha256' is None, a text expected"),
    "reversed": (lambda f: f["factors"].reverse(), FACTORS),
    "renamed": (factor(3, name="x"), FACTORS),
    "doubled": (lambda f: f["factors"].append(f["factors"][0]), FACTORS),
    "named twice": (factor(1, name="shape"), FACTORS),
    "discrete flipped": (factor(1, discrete=True), FACTORS),
    "discrete in words": (factor(0, discrete="no"), FACTORS),
    "discrete as a number": (factor(0, discrete=1), FACTORS),
    "discrete left out": (lambda f: f["factors"][0].pop("discrete"), FACTORS),
    "a value short": (lambda f: f["factors"][4]["values"].pop(), FACTORS),
    "a value twice": (factor(1, values=[1, 1]), FACTORS),
    "values in words": (factor(1, values="ab"), FACTORS),
    "no factors": (lambda f: f.update(factors=[]), FACTORS),
    "no list": (lambda f: f.update(factors=7), FACTORS),
    "numbers": (lambda f: f.update(factors=[1]), FACTORS),
}  # fmt: skip


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_a_description_of_something_else_is_refused_field_by_field(data_dir, tmp_path, case):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    change, words = DESCRIPTIONS[case]
    describe(tmp_path, "shapes2d", change)
    with pytest.raises(ValueError, match=words) as refused:
        data.load("shapes2d", tmp_path)
    said = str(refused.value)
    assert f"{tmp_path}/shapes2d.json: " in said and "\n" not in said
    assert "; delete shapes2d.* there and run `make data` again" in said


ATTRIBUTE = r"field 'factors' is .*, discrete attributes, each once, of values \[0, 1\] expected"
VIEWS = "field 'factors' is .*, {'chair': True, 'azimuth': False, 'elevation': True} .* expected"


@pytest.mark.parametrize(
    ("name", "stem", "change", "words"),
    [
        ("celeba", "faces", factor(2, values=[0, 1, 2]), ATTRIBUTE),
        ("celeba", "faces", factor(2, values=[1, 0]), ATTRIBUTE),
        ("celeba", "faces", factor(2, discrete=False), ATTRIBUTE),
        ("celeba", "faces", factor(2, name="Smiling"), ATTRIBUTE),
        ("celeba", "faces", factor(2, name=3), ATTRIBUTE),
        ("celeba", "faces", lambda f: f.update(source="official"), "'source' is 'official', stan"),
        ("celeba", "faces", lambda f: f.pop("channels"), "field 'channels' is 1, 3 expected"),
        ("celeba", "faces", lambda f: f.pop("labels_sha256"), "field 'labels_sha256' is None, a t"),
        ("chairs", "standin_chairs", factor(1, discrete=True), VIEWS),
        ("chairs", "standin_chairs", factor(0, name="seat"), VIEWS),
        ("chairs", "standin_chairs", factor(2, values=[20, 20]), VIEWS),
        ("chairs", "standin_chairs", lambda f: f["factors"].reverse(), VIEWS),
    ],
)
def test_descriptions_of_colour_images_are_read_as_strictly(
    data_dir, tmp_path, name, stem, change, words
):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    describe(tmp_path, stem, change)
    with pytest.raises(ValueError, match=f"{stem}.json: .*{words}.*; delete {stem}"):
        data.load(name, tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"cannot be read \(Expecting value"),
        (b"[" * 100_000, r"cannot be read \(maximum recursion"),
        (b"\xff", r"cannot be read \('utf-8' codec"),
        (b"[1]", "is altered: field 'checksum' does not fit"),
        (b'"checksum"', "is altered: field 'checksum' does not fit"),
        (b"{}", "is altered: field 'checksum' does not fit"),
        (b'{"images": 1536, "checksum": "0"}', "is altered: field 'checksum' does not fit"),
        (None, r"cannot be read \(Is a directory\)"),
    ],
)
def test_damaged_description_is_refused_by_name(data_dir, tmp_path, content, words):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "shapes2d.json"
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path} {words}") as refused:
        data.load("shapes2d", tmp_path)
    assert "; delete shapes2d.* there and run `make data` again" in str(refused.value)


def test_one_flipped_bit_of_a_description_is_seen(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "shapes2d.json"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place, bit in zip(rng.integers(len(whole), size=60), rng.integers(8, size=60)):
        altered = bytearray(whole)
        altered[place] ^= 1 << bit
        try:
            same = json.loads(altered) == json.loads(whole)
        except ValueError:
            same = False
        path.write_bytes(altered)
        if not same:  # white space may change
            with pytest.raises(ValueError, match="shapes2d.json (is altered|cannot be read)"):
                data.load("shapes2d", tmp_path)


def test_absent_and_unknown_data_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"shapes2d in {tmp_path}; run `make data` first"):
        data.load("shapes2d", tmp_path)
    with pytest.raises(
        ValueError, match="unknown data set 'celeb'; known: shapes2d, celeba, chairs"
    ):
        data.load("celeb", tmp_path)
