"""A packed data set, made by hand: its images, their factors, and which of them train."""

import numpy as np
import pytest
import torch

from dipvae_src.data import Packed

RNG = np.random.default_rng(0)
BINARY = RNG.integers(0, 2, (60, 64, 64), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (60, 3, 64, 64), dtype=np.uint8)
LABELS = RNG.integers(0, 2, (60, 3)).astype(np.int16)
HELD_OUT = np.arange(60) % 4 == 0
ABOUT = dict(name="60", source="rendered", identity="0" * 64, factor_names=("a", "b", "c"))


@pytest.fixture
def binary() -> Packed:
    bits = torch.from_numpy(np.packbits(BINARY.reshape(60, -1), axis=1))
    pixels = [[int(digit) for digit in f"{byte:08b}"] for byte in range(256)]
    table, discrete = torch.tensor(pixels, dtype=torch.float32), (True, False, False)
    return Packed(**ABOUT, factor_sizes=(3, 4, 5), discrete=discrete, bits=bits, table=table)


@pytest.fixture
def colour() -> Packed:
    return Packed(
        **ABOUT, factor_sizes=(2, 2, 2), discrete=(True,) * 3, table=None, labels=LABELS,
        bits=torch.from_numpy(COLOUR.reshape(60, -1)), held_out=torch.from_numpy(HELD_OUT),
    )  # fmt: skip


ROWS = torch.tensor([59, 0, 7, 7])


def test_images_are_those_packed_by_row_or_by_plane(binary, colour):
    assert (binary.channels, binary.pixels, colour.channels, colour.pixels) == (1, 4096, 3, 12_288)
    assert np.array_equal(binary.images(ROWS).numpy(), BINARY[ROWS].reshape(4, -1))
    brightness = COLOUR[ROWS].reshape(4, -1).astype(np.float32) / np.float32(255)
    assert np.array_equal(colour.images(ROWS).numpy(), brightness)
    assert binary.images(ROWS).dtype == colour.images(ROWS).dtype == torch.float32


def test_factors_are_enumerated_the_last_fastest_or_labelled(binary, colour):
    assert binary.factors(ROWS).tolist() == [[2, 3, 4], [0, 0, 0], [0, 1, 2], [0, 1, 2]]
    assert np.array_equal(colour.factors(ROWS), LABELS[ROWS])
    assert binary.factors(ROWS).dtype == colour.factors(ROWS).dtype == np.int64


def test_the_split_is_a_random_tenth_or_the_one_that_the_data_name(binary, colour):
    """A partition, shuffled, and the same each time."""
    for packed in (binary, colour):
        train, test = packed.split()
        assert sorted(torch.cat([train, test]).tolist()) == list(range(60))
        assert train.tolist() != sorted(train.tolist()) and test.tolist() != sorted(test.tolist())
        again = packed.split()
        assert torch.equal(train, again[0]) and torch.equal(test, again[1])
    assert len(binary.split()[1]) == 6
    assert sorted(colour.split()[1].tolist()) == np.flatnonzero(HELD_OUT).tolist()
