"""Drawn faces that stand in for CelebA where it is not at hand: 64x64 in colour, 24 attributes.

    python -m data_prep.standins.faces --out data [--images 20000] [--seed 0]    (20 s, 246 MB)

Everything made for CelebA can run and be checked on them anywhere. They are not CelebA: its
attributes' names and order are used, and nothing else of it. Shares and correlations are plausible
numbers of our own, and no score on these faces says anything about CelebA.

A face is its attributes (0 or 1) and its nuisances (continuous, each uniform between its bounds):
pose, size, light, skin, background, hair, ... Attributes are drawn one after the other, each a
logistic function of those before it and of a few nuisances. Every attribute is seen in the picture
but `Attractive`, which has no shape: it is, as in life, a noisy opinion about the others.

faces.toml has the numbers; draw_faces.py turns faces into pixels. The same seed gives the same
bytes on every machine, as long as NumPy's `Generator.random` draws the same.
"""

import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from data_prep.commands import draw_command, whole_number
from data_prep.packed import factors_of, labels_file, write_packed
from data_prep.standins.draw_faces import draw

VERSION = 1  # goes up whenever a face or a label changes
STEM, NAME = "faces", "stand-in faces (for CelebA)"
MOST_IMAGES = 1_000_000
TEST_SHARE, SPLIT_SEED = 0.1, 0  # the held-out images are the same for every seed

with open(Path(__file__).with_name("faces.toml"), "rb") as file:
    _TABLES = tomllib.load(file)
NUISANCES = _TABLES["nuisances"]  # name: [least, most]
# (attribute, percent of the faces that come out with it, logit where all it depends on is 0 or in
# the middle, {what it depends on: weight}), each after all that it depends on
MODEL = tuple(
    (name, of.pop("percent"), of.pop("logit"), of) for name, of in _TABLES["attributes"].items()
)
ATTRIBUTES = tuple(sorted(name for name, *_ in MODEL))  # CelebA's order is the alphabet's


def sample(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw attributes (count, 24), int16 0 or 1, and nuisances (count, 41), float32.

    Columns are in the order of ATTRIBUTES and of NUISANCES. The first faces of a larger count are
    those of a smaller one. Raises ValueError unless 1 <= count <= 1,000,000 and seed >= 0, both
    whole numbers.
    """
    count = whole_number(count, "the number of images", 1, MOST_IMAGES)
    draws = np.random.default_rng([whole_number(seed, "the seed", 0), VERSION])
    low, high = np.array(list(NUISANCES.values())).T
    attributes = np.empty((count, len(ATTRIBUTES)), np.int16)
    nuisances = np.empty((count, len(NUISANCES)), np.float32)
    for first in range(0, count, 8192):
        u = draws.random((min(8192, count - first), len(NUISANCES) + len(MODEL)))
        mine = slice(first, first + len(u))
        nuisances[mine] = low + (high - low) * u[:, : len(NUISANCES)]
        known = dict(zip(NUISANCES, 2 * u.T - 1))
        for (name, _, logit, weights), chance in zip(MODEL, u.T[len(NUISANCES) :]):
            logit = logit + sum(weight * known[other] for other, weight in weights.items())
            known[name] = chance < 1 / (1 + np.exp(-logit))
            attributes[mine, ATTRIBUTES.index(name)] = known[name]
    return attributes, nuisances


def render(attributes, nuisances) -> UInt8[np.ndarray, "n 3 64 64"]:
    """Draw faces, planes red, green, blue of 64 rows, 0 to 255, from what `sample` gives.

    Any attributes (N, 24) and nuisances (N, 41) can be combined, also as `sample` never does.
    Raises ValueError if a shape is wrong, an attribute neither 0 nor 1, or a nuisance out of its
    bounds.
    """
    attributes, nuisances = np.asarray(attributes), np.asarray(nuisances, np.float32)
    low, high = np.float32(list(NUISANCES.values())).T
    for what, values, names in (
        ("attributes", attributes, ATTRIBUTES), ("nuisances", nuisances, tuple(NUISANCES)),
    ):  # fmt: skip
        if values.shape != (shape := (*attributes.shape[:1], len(names))):
            raise ValueError(f"{what} must have shape {shape}, not {values.shape}")
        binary = names == ATTRIBUTES
        fits = (values == 0) | (values == 1) if binary else (low <= values) & (values <= high)
        for row, column in np.argwhere(~fits)[:1]:
            bounds = "be 0 or 1" if binary else f"lie in {low[column]:g} to {high[column]:g}"
            found = f"found {values[row, column]:g} in row {row}"
            raise ValueError(f"{names[column]} must {bounds}, {found}")
    return draw(dict(zip((*ATTRIBUTES, *NUISANCES), (*attributes.T, *nuisances.T))))


def held_out(images: int) -> Bool[np.ndarray, " images"]:
    """Which images test: a random 10 %, the same for the same number of images."""
    order = np.argsort(np.random.default_rng(SPLIT_SEED).random(images), kind="stable")
    return np.isin(np.arange(images), order[: round(TEST_SHARE * images)])


def packed_pieces(attributes: np.ndarray, nuisances: np.ndarray) -> Iterator[bytes]:
    """The pixels of these faces, 256 at a time."""
    for first in range(0, len(attributes), 256):
        yield render(attributes[first : first + 256], nuisances[first : first + 256]).tobytes()


def write_all(out: Path, images: int = 20_000, seed: int = 0, say=lambda line: None) -> None:
    """Write faces.rgb, faces.labels.npz and faces.json under `out`, unless these faces are there.

    Raises ValueError unless 10 <= images <= 1,000,000 and seed >= 0; else as `write_packed`.
    """
    images = whole_number(images, "the number of images", 10, MOST_IMAGES)
    attributes, nuisances = sample(images, seed)
    info = {
        "name": NAME, "source": "stand-in", "version": VERSION, "seed": int(seed),
        "images": images, "channels": 3,
        "factors": factors_of(dict.fromkeys(ATTRIBUTES, (0, 1)), STEM),
    }  # fmt: skip
    labels = labels_file(attributes, held_out(images))
    write_packed(out, STEM, packed_pieces(attributes, nuisances), info, labels=labels, say=say)


ABOUT = "Draw faces that stand in for CelebA."
main = partial(draw_command, "standins.faces", ABOUT, write_all, images=20_000, seed=0)

if __name__ == "__main__":
    sys.exit(main())
