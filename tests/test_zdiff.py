"""Z-diff on a perfect and on a useless code, and the pairs it is made from.

python -m pytest tests/test_zdiff.py
"""

import warnings

import numpy as np
import pytest

from dipvae_src.sap import sap_score
from dipvae_src.zdiff import _mean_differences, z_diff_score

SMALL = dict(pairs=16, train=1_000, test=1_000)


def factors(n=20_000, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(k, size=n) for k in (3, 6, 40, 32, 32)], axis=1)


def standardised(y):
    return (y - y.mean(axis=0)) / y.std(axis=0)


def test_perfect_code_scores_a_hundred_without_warnings():
    y = factors()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        z = z_diff_score(standardised(y), y, seed=0)
    assert z.accuracy > 99.9
    assert (z.chance, z.pairs, z.train, z.test, z.seed) == (20, 64, 10_000, 5_000, 0)


def test_useless_codes_score_chance():
    y = factors()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        noise = z_diff_score(np.random.default_rng(1).normal(size=(20_000, 10)), y, pairs=16, train=5_000, test=5_000)
        nothing = z_diff_score(np.zeros((20_000, 10)), y, **SMALL)
    assert noise.accuracy == pytest.approx(20, abs=3)
    assert nothing.accuracy == pytest.approx(20, abs=5)


def test_mixing_two_factors_in_two_latents_costs_z_diff_nothing_and_sap_much():
    y = factors()
    code = standardised(y)
    turn = np.radians(30)
    mixed = code.copy()
    mixed[:, 3] = np.cos(turn) * code[:, 3] - np.sin(turn) * code[:, 4]
    mixed[:, 4] = np.sin(turn) * code[:, 3] + np.cos(turn) * code[:, 4]
    assert z_diff_score(mixed, y).accuracy > 99
    # R^2 is cos^2 = 3/4 and sin^2 = 1/4 for these two factors.
    assert sap_score(mixed, y, [False] * 5).gaps[3:] == pytest.approx([0.5, 0.5], abs=0.03)


def test_repeatable_by_seed():
    y = factors(2_000)
    z = standardised(y) + np.random.default_rng(0).normal(size=y.shape)
    small = dict(pairs=4, train=500, test=500)
    assert z_diff_score(z, y, seed=3, **small) == z_diff_score(z, y, seed=3, **small)
    assert z_diff_score(z, y, seed=3, **small).accuracy != z_diff_score(z, y, seed=4, **small).accuracy


def test_pairs_share_the_value_and_nothing_else():
    y = factors()
    vectors = _mean_differences(y.astype(float), y[:, 2], 2, 200, 64, np.random.default_rng(0))
    assert not vectors[:, 2].any()
    # E|a - b| of two independent uniform draws from 0 .. k-1 is (k^2 - 1) / (3 k).
    for j, k in ((0, 3), (1, 6), (3, 32), (4, 32)):
        assert vectors[:, j].mean() == pytest.approx((k * k - 1) / (3 * k), rel=0.03)


def test_a_pair_is_two_different_rows_of_one_group():
    values = np.array([0, 1, 0, 1, 1])
    rows = np.array([[0.0], [10.0], [1.0], [20.0], [40.0]])
    differences = _mean_differences(rows, values, 0, 5_000, 1, np.random.default_rng(0))[:, 0]
    seen, counts = np.unique(differences, return_counts=True)
    assert list(seen) == [1, 10, 20, 30]  # never 0 (a row with itself), never 9, 19, 39 (across groups)
    # The first row is uniform over all five: 2/5 of the pairs from group 0, 1/5 each from the three pairs of group 1.
    assert counts / 5_000 == pytest.approx([0.4, 0.2, 0.2, 0.2], abs=0.03)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(latents=[[0.0]]), "latents must be a NumPy array"),
        (dict(latents=np.zeros(100)), "latents must have shape"),
        (dict(latents=np.zeros((99, 2))), "99 rows and factors 100"),
        (dict(latents=np.full((100, 2), np.nan)), "nan at row 0, column 0"),
        (dict(factors=np.zeros((100, 2), dtype=int)), "factor 0 is constant"),
        (dict(factors=np.arange(200.0).reshape(100, 2)), "integer classes"),
        (dict(factors=np.arange(100)[:, None] % 2), "one column"),
        (dict(factors=np.arange(200).reshape(100, 2)), "factor 0 takes the value 0 in one row only"),
        (dict(pairs=0), "pairs is a whole number, at least 1"),
        (dict(train=1), "train is a whole number, at least 2"),
        (dict(test=0), "test is a whole number, at least 1"),
        (dict(test=10.0), "test is a whole number"),
    ],
)
def test_bad_input_is_refused(change, message):
    rng = np.random.default_rng(0)
    arguments = dict(latents=rng.normal(size=(100, 2)), factors=rng.integers(3, size=(100, 2)), **SMALL) | change
    with pytest.raises(ValueError, match=message):
        z_diff_score(arguments.pop("latents"), arguments.pop("factors"), **arguments)
