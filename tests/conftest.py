"""Small data sets for the tests: real 2D Shapes images on a coarse grid, small colour images."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from small import ATTRIBUTES, CHAIRS, GRID, chairs, faces

from data_prep import packed, shapes2d
from dipvae_src.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    """A folder with 1,536 shapes, 480 faces and 320 chairs, packed as `make data` leaves them."""
    out = tmp_path_factory.mktemp("data")
    images = shapes2d.render(np.array(list(itertools.product(*GRID.values()))))
    bits = np.packbits(images.reshape(len(images), -1), axis=1)
    factors = [
        {"name": name, "values": list(values), "discrete": name == "shape"}
        for name, values in GRID.items()
    ]
    about = {"name": "2D Shapes", "source": "rendered", "images": len(images), "factors": factors}
    packed.write_packed(out, "shapes2d", [bits.tobytes()], about)

    binary = [{"name": name, "values": [0, 1], "discrete": True} for name in ATTRIBUTES]
    views = [
        {"name": name, "values": list(values), "discrete": name != "azimuth"}
        for name, values in CHAIRS.items()
    ]
    for stem, name, factors, (images, classes, test) in (
        ("faces", "small faces (for CelebA)", binary, faces()),
        ("standin_chairs", "small chairs (for 3D Chairs)", views, chairs()),
    ):  # fmt: skip
        about = {
            "name": name,
            "source": "stand-in",
            "images": len(images),
            "channels": 3,
            "factors": factors,
        }
        packed.write_packed(
            out, stem, [images.tobytes()], about, labels=packed.labels_file(classes, test)
        )
    return out


@pytest.fixture
def tiny() -> Settings:
    """An experiment of a second."""
    return Settings(
        "dip-vae-ii", lambda_od=5.0, lambda_d=5.0, lambda_3=200.0, width=16, steps=12,
        batch_size=32, learning_rate=1e-3, test_images=150, zdiff_train=100, zdiff_test=50,
    )  # fmt: skip


@pytest.fixture
def tiny_colour() -> Settings:
    """The same with a convolutional network, on the small faces."""
    return Settings(
        "dip-vae-i", lambda_od=2.0, lambda_d=100.0, data="celeba", network="conv", filters=2,
        width=8, latents=12, steps=4, batch_size=32, learning_rate=1e-3, test_images=100,
        zdiff_train=100,
        zdiff_test=50,
    )  # fmt: skip
