"""Z-diff on a perfect and on a useless code, and the pairs it is made from.

python -m pytest tests/dipvae_src/test_zdiff.py
"""

import hashlib
import itertools
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
    assert (z.chance, z.pairs, z.train, z.test, z.seed, z.balanced) == (
        20,
        64,
        10_000,
        5_000,
        0,
        False,
    )


def test_useless_codes_score_chance():
    y = factors()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        noise = z_diff_score(
            np.random.default_rng(1).normal(size=(20_000, 10)), y, pairs=16, train=5_000, test=5_000
        )
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
    assert (
        z_diff_score(z, y, seed=3, **small).accuracy != z_diff_score(z, y, seed=4, **small).accuracy
    )


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
    assert list(seen) == [
        1,
        10,
        20,
        30,
    ]  # never 0 (a row with itself), never 9, 19, 39 (across groups)
    # The first row is uniform over all five: 2/5 of the pairs from group 0, 1/5 each from the three
    # pairs of group 1.
    assert counts / 5_000 == pytest.approx([0.4, 0.2, 0.2, 0.2], abs=0.03)


# --- scale and offset


@pytest.mark.parametrize(("scale", "accuracy"), [(1, 100), (0.03, 100), (0.01, 59.5)])
def test_score_depends_on_the_scale_of_the_latents_as_the_docstring_says(scale, accuracy):
    y = factors()
    assert z_diff_score(standardised(y) * scale, y).accuracy == pytest.approx(accuracy, abs=0.5)


CORNERS = np.array(list(itertools.product([0, 1], repeat=3)))  # the 8 classes of (2, 2, 2)
FEW = dict(pairs=1, train=20, test=20)


def test_score_does_not_depend_on_offsets_of_latents_or_factors():
    plain = z_diff_score(CORNERS, CORNERS, **FEW)
    for latents in (CORNERS + 2**60, CORNERS - 2**62, CORNERS + 1e15, CORNERS * 1e20):
        assert z_diff_score(latents, CORNERS, **FEW) == plain
    assert z_diff_score(CORNERS, CORNERS + 2**60, **FEW) == plain


@pytest.mark.parametrize(
    "latents",
    [
        CORNERS * 1e78,  # LIBLINEAR would never return
        CORNERS * 1.7e308,
        np.where(CORNERS, 1.7e308, -1.7e308),
        CORNERS * np.longdouble("1e300"),
    ],
)
def test_numbers_that_the_classifier_cannot_take_are_refused(latents):
    with pytest.raises(ValueError, match="latents reach .*; beyond 1e[+]30 .*: divide them by"):
        z_diff_score(latents, CORNERS, **FEW)


def test_numbers_too_small_for_the_classifier_score_chance():
    for scale in (1e-30, 1e-200, 5e-324):
        assert z_diff_score(CORNERS * scale, CORNERS, **FEW).accuracy <= 65
        y = factors(2_000)
        assert z_diff_score(y * scale, y, **SMALL).accuracy == pytest.approx(20, abs=5)


# --- balanced pairs


def test_without_balanced_the_pairs_are_those_of_the_version_before_it():
    y = factors(2_000)
    vectors = _mean_differences(y.astype(float), y[:, 0], 0, 600, 16, np.random.default_rng(7))
    assert vectors[0].tolist() == [
        0.0,
        2.5,
        16.5625,
        11.5,
        9.4375,
    ]  # sixteenths, so exact everywhere
    assert hashlib.sha256(vectors.tobytes()).hexdigest()[:16] == "2fb19c5f9e682c03"
    z = standardised(y) + np.random.default_rng(0).normal(size=y.shape)
    old = z_diff_score(z, y, pairs=4, train=500, test=500, seed=3)
    assert old.accuracy == pytest.approx(
        44.8, abs=0.41
    )  # two vectors of the 500, for another machine's rounding
    assert old == z_diff_score(z, y, pairs=4, train=500, test=500, seed=3, balanced=False)


def test_half_of_the_balanced_pairs_share_a_rare_value():
    # Two of 100 rows have the value, and only they differ: a pair's difference is 1 if it is
    # theirs, else 0.
    values, rows = np.zeros(100, dtype=int), np.zeros((100, 1))
    values[[30, 60]], rows[60] = 1, 1.0
    share = {
        balanced: _mean_differences(
            rows, values, 0, 5_000, 1, np.random.default_rng(0), balanced
        ).mean()
        for balanced in (False, True)
    }
    assert share[False] == pytest.approx(0.02, abs=0.01) and share[True] == pytest.approx(
        0.5, abs=0.03
    )


def test_a_balanced_pair_is_two_different_rows_of_one_group_all_alike():
    values = np.array([0, 1, 0, 1, 1])
    rows = np.array([[0.0], [10.0], [1.0], [20.0], [40.0]])
    differences = _mean_differences(
        rows, values, 0, 6_000, 1, np.random.default_rng(0), balanced=True
    )[:, 0]
    seen, counts = np.unique(differences, return_counts=True)
    # Half from the one pair of group 0, a sixth from each of the three pairs of group 1.
    assert list(seen) == [1, 10, 20, 30] and counts / 6_000 == pytest.approx(
        [1 / 2, 1 / 6, 1 / 6, 1 / 6], abs=0.03
    )


def test_balanced_changes_nothing_where_classes_are_balanced():
    y = factors(5_000)
    z = standardised(y) + np.random.default_rng(0).normal(size=y.shape)
    plain, balanced = (z_diff_score(z, y, **SMALL, balanced=b) for b in (False, True))
    assert (
        balanced.balanced
        and plain.accuracy == pytest.approx(balanced.accuracy, abs=5)
        and 40 < plain.accuracy < 95
    )


def test_balanced_tells_rare_attributes_apart():
    rng = np.random.default_rng(0)
    has = (rng.random((20_000, 4)) < 0.02).astype(int)
    # Within the few images that have it an attribute's latent stands still; among the others it
    # moves like all the rest.
    latents = np.where(has == 1, 0.0, rng.normal(size=has.shape))
    plain, balanced = (
        z_diff_score(latents, has, pairs=64, train=1_000, test=1_000, balanced=b)
        for b in (False, True)
    )
    assert balanced.accuracy > 95 and plain.accuracy < 50


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
        (
            dict(factors=np.arange(200).reshape(100, 2)),
            "factor 0 takes the value 0 in one row only",
        ),
        (dict(pairs=0), "pairs is a whole number, at least 1"),
        (dict(train=1), "train is a whole number, at least 2"),
        (dict(test=0), "test is a whole number, at least 1"),
        (dict(test=10.0), "test is a whole number"),
        (dict(seed=-1), "seed is a whole number, at least 0; got -1"),
        (dict(latents=np.ma.zeros((100, 2))), "MaskedArray: leave out the rows"),
        (dict(latents=np.asmatrix(np.zeros((100, 2)))), "matrix: give np.asarray"),
        (dict(balanced=1), "balanced is True or False; got 1"),
    ],
)
def test_bad_input_is_refused(change, message):
    rng = np.random.default_rng(0)
    arguments = (
        dict(latents=rng.normal(size=(100, 2)), factors=rng.integers(3, size=(100, 2)), **SMALL)
        | change
    )
    with pytest.raises(ValueError, match=message):
        z_diff_score(arguments.pop("latents"), arguments.pop("factors"), **arguments)
