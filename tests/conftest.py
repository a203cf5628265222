"""A small data set for the tests: real 2D Shapes images, on a coarse grid of the factors."""

import dataclasses
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from small import GRID

from data_prep import packed, shapes2d
from dipvae_src import experiments

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    """A folder with 1,536 packed images as `make data` would leave them."""
    out = tmp_path_factory.mktemp("data")
    images = shapes2d.render(np.array(list(itertools.product(*GRID.values()))))
    bits = np.packbits(images.reshape(len(images), -1), axis=1)
    factors = [{"name": name, "values": list(values)} for name, values in GRID.items()]
    about = {"name": "2D Shapes", "source": "rendered", "images": len(images), "factors": factors}
    packed.write_packed(out, "shapes2d", [bits.tobytes()], about)
    return out


@pytest.fixture
def tiny() -> experiments.Settings:
    """An experiment of a second."""
    settings = experiments.dip_vae_ii(5, width=16, steps=12, batch_size=32, learning_rate=1e-3, test_images=150)
    return dataclasses.replace(settings, zdiff_train=100, zdiff_test=50)
