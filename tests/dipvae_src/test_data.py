"""Packed images come out as they went in, with the right factors, and a damaged file is refused by name."""

import hashlib
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from small import ATTRIBUTES, CHAIRS, GRID, chairs, faces

from data_prep import packed, shapes2d
from dipvae_src import data


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
    shutil.copy(tmp_path / "shapes2d.bits", tmp_path / "dsprites.bits")
    facts = json.loads((tmp_path / "shapes2d.json").read_text()) | {"source": "official"}
    (tmp_path / "dsprites.json").write_text(json.dumps(facts))
    assert data.load("shapes2d", tmp_path).source == "official"


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


def rewrite(folder, factors, test):
    """Labels of another kind, with the description that goes with them."""
    content = packed.labels_file(factors, test)
    (folder / "faces.labels.npz").write_bytes(content)
    facts = json.loads((folder / "faces.json").read_text()) | {
        "labels_sha256": hashlib.sha256(content).hexdigest()
    }
    (folder / "faces.json").write_text(json.dumps(facts))


def flip(path):
    path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda f: flip(f / "faces.labels.npz"),
            "faces.labels.npz is altered: .*; delete faces.* there and run `make data` again",
        ),
        (lambda f: (f / "faces.labels.npz").unlink(), "faces.labels.npz is missing"),
        (
            lambda f: rewrite(f, faces()[1][:, 1:], faces()[2]),
            r"holds \(480, 13\) labels, not \(480, 14\)",
        ),
        (
            lambda f: rewrite(f, faces()[1][1:], faces()[2][1:]),
            r"holds \(479, 14\) labels, not \(480, 14\)",
        ),
        (
            lambda f: rewrite(f, faces()[1], np.zeros(480, bool)),
            "holds out none or all of the images",
        ),
        (
            lambda f: rewrite(f, faces()[1], np.ones(480, bool)),
            "holds out none or all of the images",
        ),
        (lambda f: flip(f / "faces.rgb"), "faces.rgb is altered"),
        (
            lambda f: (f / "faces.rgb").write_bytes(bytes(12_288)),
            "faces.rgb has 12,288 bytes, not 5,898,240",
        ),
    ],
    ids=[
        "altered",
        "missing",
        "attribute less",
        "image less",
        "none held out",
        "all held out",
        "pixels altered",
        "truncated",
    ],
)
def test_damaged_labels_and_colours_are_refused_by_name(data_dir, tmp_path, damage, words):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    damage(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        data.load("celeba", tmp_path)


def test_official_faces_are_used_where_they_are(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    for end in (".rgb", ".labels.npz"):
        shutil.copy(tmp_path / f"faces{end}", tmp_path / f"celeba{end}")
    facts = json.loads((tmp_path / "faces.json").read_text()) | {
        "name": "CelebA",
        "source": "official",
    }
    (tmp_path / "celeba.json").write_text(json.dumps(facts))
    loaded = data.load("celeba", tmp_path)
    assert (loaded.name, loaded.source) == ("CelebA", "official")


# --- what is refused ---


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda bits: bits.write_bytes(bits.read_bytes()[:-512]), "785,920 bytes, not 786,432"),
        (lambda bits: bits.write_bytes(b"\xff" + bits.read_bytes()[1:]), "is altered"),
        (lambda bits: bits.unlink(), "is missing though"),
    ],
    ids=["truncated", "altered", "missing"],
)
def test_damaged_file_is_refused(data_dir, tmp_path, damage, words):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "shapes2d.bits")
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        data.load("shapes2d", tmp_path)


@pytest.mark.parametrize("text", ["", "{}", '{"images": 1536, "height": 64, "width": 64}', "[1]"])
def test_damaged_description_is_refused_by_name(data_dir, tmp_path, text):
    shutil.copytree(data_dir, tmp_path, dirs_exist_ok=True)
    (tmp_path / "shapes2d.json").write_text(text)
    with pytest.raises(
        ValueError,
        match="shapes2d.json, which describes shapes2d.bits, is damaged .*; delete shapes2d.* there and run `make data` again",
    ):
        data.load("shapes2d", tmp_path)


def test_absent_and_unknown_data_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `make data` first"):
        data.load("shapes2d", tmp_path)
    with pytest.raises(
        ValueError, match="unknown data set 'celeb'; known: shapes2d, celeba, chairs"
    ):
        data.load("celeb", tmp_path)
