"""Packed images come out as they went in, their factors right; a damaged file is refused."""

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
from dipvae_src import data


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
    assert np.array_equal(
        loaded.images(indices).view(-1, 64, 64).numpy(), shapes2d.render(classes).astype(np.float32)
    )
    positions = [[GRID[name].index(c) for name, c in zip(GRID, row)] for row in classes]
    assert loaded.factors(indices).tolist() == positions
    assert loaded.factor_names == tuple(GRID) and loaded.discrete == (
        True,
        False,
        False,
        False,
        False,
    )
    assert (loaded.name, loaded.source) == ("2D Shapes", "rendered")


def test_split_is_a_partition_that_never_changes(data_dir):
    train, test = data.load("shapes2d", data_dir).split()
    assert len(test) == round(0.1 * 1_536)
    assert sorted(torch.cat([train, test]).tolist()) == list(range(1_536))
    again = data.load("shapes2d", data_dir).split()
    assert torch.equal(train, again[0]) and torch.equal(test, again[1])
    assert test.tolist() != sorted(test.tolist())


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
    loaded, (images, classes, _) = data.load(name, data_dir), made()
    assert (loaded.channels, loaded.pixels, loaded.source) == (3, 12_288, "stand-in")
    rows = torch.tensor([3, 0, len(images) - 1])
    assert np.array_equal(
        loaded.images(rows).numpy(),
        images[rows].reshape(3, -1).astype(np.float32) / np.float32(255),
    )
    assert loaded.images(rows).max() <= 1 and len(loaded.bits) == len(images)
    assert (
        np.array_equal(loaded.factors(rows), classes[rows])
        and loaded.factors(rows).dtype == np.int64
    )
    assert loaded.factor_names == tuple(factors)
    assert loaded.discrete == tuple(factor != "azimuth" for factor in factors)


def test_sizes_of_colour_factors_are_the_numbers_of_their_values(data_dir):
    assert data.load("celeba", data_dir).factor_sizes == (2,) * 14 and data.load(
        "chairs", data_dir
    ).factor_sizes == (20, 8, 2)


@pytest.mark.parametrize(("name", "made"), [("celeba", faces), ("chairs", chairs)])
def test_the_split_is_the_one_that_the_data_name(data_dir, name, made):
    held_out = made()[2]
    train, test = data.load(name, data_dir).split()
    assert (
        sorted(test.tolist()) == np.flatnonzero(held_out).tolist()
        and sorted(train.tolist()) == np.flatnonzero(~held_out).tolist()
    )
    assert test.tolist() != sorted(test.tolist()) and train.tolist() != sorted(train.tolist())
    again = data.load(name, data_dir).split()
    assert torch.equal(train, again[0]) and torch.equal(test, again[1])


def test_binary_images_have_one_channel(data_dir):
    loaded = data.load("shapes2d", data_dir)
    assert (loaded.channels, loaded.pixels) == (1, 4_096)


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


SHAPE = r"factors must be int16 of shape \(480, 14\), not int16 of shape"
LABELS = {
    "altered": (lambda f: flip(f / "faces.labels.npz"), "faces.labels.npz is altered"),
    "missing": (lambda f: (f / "faces.labels.npz").unlink(), "faces.labels.npz is missing"),
    "attribute less": (relabel(lambda y: y[:, 1:]), rf"{SHAPE} \(480, 13\)"),
    "image less": (relabel(lambda y: y[1:]), rf"{SHAPE} \(479, 14\)"),
    "floats": (relabel(lambda y: np.where(y == 0, np.nan, y)), "not float64"),
    "objects": (relabel(lambda y: y.astype(object)), r"must hold the arrays factors \(int16\)"),
    "beyond": (relabel(lambda y: at(y, 2)), "class 2 at image 7, factor 2, not 0 to 1"),
    "negative": (relabel(lambda y: at(y, -1)), "class -1 at image 7, factor 2"),
    "none held out": (
        lambda f: rewrite(f, faces()[1], np.zeros(480, bool)), "test holds out none or all"
    ),
    "all held out": (
        lambda f: rewrite(f, faces()[1], np.ones(480, bool)), "test holds out none or all"
    ),
    "mask of numbers": (
        lambda f: rewrite(f, faces()[1], faces()[2].astype(int)), "test must be bool of shape"
    ),
    "mask too short": (lambda f: rewrite(f, faces()[1], faces()[2][1:]), "test must be bool"),
    "no mask": (lambda f: rewrite(f, faces()[1], None), "must hold the arrays .* 'test"),
    "pixels altered": (lambda f: flip(f / "faces.rgb"), "faces.rgb is altered"),
    "truncated": (
        lambda f: (f / "faces.rgb").write_bytes(bytes(12_288)), "12,288 bytes, not 5,898,240"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LABELS)
def test_damaged_labels_and_colours_are_refused_by_name(data_dir, tmp_path, case):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    damage, words = LABELS[case]
    damage(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=words) as refused:
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
        (lambda bits: bits.write_bytes(bits.read_bytes()[:-512]), "785,920 bytes, not 786,432"),
        (lambda bits: bits.write_bytes(b"\xff" + bits.read_bytes()[1:]), "is altered"),
        (lambda bits: bits.unlink(), "shapes2d.bits is missing; delete"),
    ],
    ids=["truncated", "altered", "missing"],
)
def test_damaged_file_is_refused(data_dir, tmp_path, damage, words):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "shapes2d.bits")
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        data.load("shapes2d", tmp_path)


def factor(index, **change):
    return lambda facts: facts["factors"][index].update(change)


FACTORS = r"factors \(name: discrete\) must be .*'shape': True, 'scale': False"
DESCRIPTIONS = {
    "source": (lambda facts: facts.update(source="official"), "source must be rendered, not 'offi"),
    "sides": (lambda facts: facts.update(height=32, width=128), "height must be 64, not 32"),
    "channels": (lambda facts: facts.update(channels=3), "channels must be 1, not 3"),
    "name": (lambda facts: facts.update(name=3), "name must be a text, not 3"),
    "images": (lambda facts: facts.update(images=-5), "images must be a whole number above 0"),
    "number": (lambda facts: facts.update(images=1536.0), "images must be .*, not 1536.0"),
    "digest": (lambda facts: facts.update(sha256=None), "sha256 must be 64 hex digits, not None"),
    "reversed": (lambda facts: facts["factors"].reverse(), FACTORS),
    "renamed": (factor(3, name="x"), FACTORS),
    "doubled": (lambda facts: facts["factors"].append(facts["factors"][0]), FACTORS),
    "named twice": (factor(1, name="shape"), FACTORS),
    "discrete flipped": (factor(1, discrete=True), FACTORS),
    "discrete in words": (factor(0, discrete="no"), "factors must be a list of objects"),
    "a value short": (
        lambda facts: facts["factors"][4]["values"].pop(),
        r"factors of \[3, 2, 4, 8, 7\] values do not enumerate 1,536 images",
    ),
    "a value twice": (factor(1, values=[1, 1]), "factors must be a list of objects"),
    "values in words": (factor(1, values="ab"), "factors must be a list of objects"),
    "no factors": (lambda facts: facts.update(factors=[]), "factors must be a list of objects"),
    "no list": (lambda facts: facts.update(factors=7), "factors must be a list of objects"),
    "numbers": (lambda facts: facts.update(factors=[1]), "factors must be a list of objects"),
}


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


def test_factors_of_the_full_size_are_those_of_the_paper(data_dir, tmp_path):
    """Right product and names are not enough there: 6 shapes of 3 sizes are another data set."""
    sizes = (6, 3, 40, 32, 32)
    listed = [
        {"name": name, "values": list(range(size)), "discrete": name == "shape"}
        for name, size in zip(GRID, sizes)
    ]
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    describe(tmp_path, "shapes2d", lambda facts: facts.update(images=737_280, factors=listed))
    with pytest.raises(ValueError, match="do not enumerate 737,280 images"):
        data.load("shapes2d", tmp_path)


@pytest.mark.parametrize(
    ("name", "stem", "change", "words"),
    [
        ("celeba", "faces", factor(2, values=[0, 1, 2]), "factors must have the values 0 and 1"),
        ("celeba", "faces", factor(2, discrete=False), "'Wearing_Hat': True"),
        ("celeba", "faces", lambda facts: facts.pop("channels"), "channels must be 3, not 1"),
        ("celeba", "faces", lambda facts: facts.pop("labels_sha256"), "labels_sha256 must be"),
        ("chairs", "standin_chairs", factor(1, discrete=True), "'azimuth': False"),
    ],
)
def test_descriptions_of_colour_images_are_read_as_strictly(
    data_dir, tmp_path, name, stem, change, words
):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    describe(tmp_path, stem, change)
    with pytest.raises(ValueError, match=words):
        data.load(name, tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is damaged: it is no JSON"),
        ("[" * 100_000, "is damaged: it is no JSON"),
        ("[1]", "checksum is missing"),
        ("{}", "checksum is missing"),
        ('{"images": 1536, "checksum": "0"}', "damaged or altered: its checksum does not fit"),
        (None, "shapes2d.json cannot be read .Is a directory."),
    ],
)
def test_damaged_description_is_refused_by_name(data_dir, tmp_path, text, words):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "shapes2d.json"
    path.unlink()
    if text is None:
        path.mkdir()
    else:
        path.write_text(text)
    with pytest.raises((ValueError, OSError), match=words) as refused:
        data.load("shapes2d", tmp_path)
    assert str(path) in str(refused.value)
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
            with pytest.raises(ValueError, match="shapes2d.json is damaged"):
                data.load("shapes2d", tmp_path)


def test_absent_and_unknown_data_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"shapes2d in {tmp_path}; run `make data` first"):
        data.load("shapes2d", tmp_path)
    with pytest.raises(
        ValueError, match="unknown data set 'celeb'; known: shapes2d, celeba, chairs"
    ):
        data.load("celeb", tmp_path)
