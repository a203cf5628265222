"""Packed images come out as they went in, with the right factors, and a damaged file is refused by name."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from small import GRID

from data_prep import shapes2d
from dipvae_src import data


def test_images_and_factors_are_those_rendered(data_dir):
    loaded = data.load("shapes2d", data_dir)
    indices = torch.tensor([0, 1, 77, 1_000, 1_535])
    classes = np.array(list(itertools.product(*GRID.values())))[indices]
    assert np.array_equal(loaded.images(indices).view(-1, 64, 64).numpy(), shapes2d.render(classes).astype(np.float32))
    positions = [[GRID[name].index(c) for name, c in zip(GRID, row)] for row in classes]
    assert loaded.factors(indices).tolist() == positions
    assert loaded.factor_names == tuple(GRID) and loaded.discrete == (True, False, False, False, False)
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
    with pytest.raises(ValueError, match="shapes2d.json, which describes shapes2d.bits, is damaged .*; delete both and run `make data`"):
        data.load("shapes2d", tmp_path)


def test_absent_and_unknown_data_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `make data` first"):
        data.load("shapes2d", tmp_path)
    with pytest.raises(ValueError, match="unknown data set 'celeb'; known: shapes2d"):
        data.load("celeb", tmp_path)
