"""SAP on codes whose score is known, and its discrete optimum against exhaustive search.

python -m pytest tests/dipvae_src/test_sap.py
"""

import warnings
from itertools import combinations, product

import numpy as np
import pytest

from dipvae_src.sap import best_thresholds, sap_score


def shapes2d_factors(n, seed=0):
    """Shape, scale, orientation, x and y of 2D Shapes, uniform and independent."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(k, size=n) for k in (3, 6, 40, 32, 32)], axis=1)


SHAPES2D = [True, False, False, False, False]


def balanced_accuracy(predicted, classes):
    return np.mean([np.mean(predicted[classes == c] == c) for c in np.unique(classes)])


def exhaustive(latent, classes, max_thresholds):
    """Every placement of thresholds between distinct values, every class in every interval."""
    values, names = np.unique(latent), np.unique(classes)
    between = (values[1:] + values[:-1]) / 2
    best = 0.0
    for count in range(min(max_thresholds, len(between)) + 1):
        for cuts in combinations(between, count):
            interval = np.searchsorted(cuts, latent)
            for labels in product(names, repeat=count + 1):
                best = max(best, balanced_accuracy(np.array(labels)[interval], classes))
    return best


def one_discrete(latent, classes):
    """S of one latent for one discrete factor; the second latent is there as a gap needs two."""
    latents = np.stack([latent, np.arange(len(latent))], axis=1).astype(float)
    return sap_score(latents, classes[:, None], [True], inactive_below=0).matrix[0, 0]


# --- known answers


def test_identity_code_of_continuous_factors_scores_one():
    factors = np.random.default_rng(0).normal(size=(20_000, 5))
    sap = sap_score(factors, factors, [False] * 5)
    assert sap.score == pytest.approx(1, abs=2e-3)
    assert np.diag(sap.matrix) == pytest.approx(np.ones(5), abs=1e-12)
    assert sap.active.all()


def test_zero_code_scores_zero():
    factors = shapes2d_factors(500)
    for inactive_below in (0.01, 0):
        sap = sap_score(np.full((500, 10), 0.1), factors, SHAPES2D, inactive_below)
        assert sap.score == 0
        assert not sap.matrix.any() and not sap.active.any()


def test_duplicated_code_scores_zero():
    factors = shapes2d_factors(2_000)
    sap = sap_score(np.tile(factors, 2).astype(float), factors, SHAPES2D)
    assert sap.score == 0
    assert sap.matrix.max(axis=0) == pytest.approx(np.ones(5), abs=1e-12)


def test_perfect_code_of_2d_shapes_loses_a_third_on_shape_only_to_active_spare_latents():
    factors = shapes2d_factors(50_000)
    code = (factors - factors.mean(axis=0)) / factors.std(axis=0)
    noise = np.random.default_rng(1).normal(size=(50_000, 5))
    spare_on = sap_score(np.hstack([code, noise]), factors, SHAPES2D)
    assert spare_on.gaps[0] == pytest.approx(
        2 / 3, abs=0.01
    )  # any active latent has at least 1/3 on three classes
    assert spare_on.gaps[1:] == pytest.approx(np.ones(4), abs=1e-3)
    assert spare_on.score == pytest.approx(1 - 1 / 15, abs=3e-3)

    # Latents off: only the second best of the five used ones is left, and that still has 1/3.
    spare_off = sap_score(np.hstack([code, 0.05 * noise]), factors, SHAPES2D)
    assert list(spare_off.active) == [True] * 5 + [False] * 5
    assert not spare_off.matrix[5:].any()
    assert spare_off.score == pytest.approx(1 - 1 / 15, abs=3e-3)


def test_rotated_pair_has_no_gap():
    rng = np.random.default_rng(0)
    factors = rng.choice([-1.0, 1.0], size=(4_000, 2))
    factors = np.vstack(
        [factors, -factors, factors * [1, -1], factors * [-1, 1]]
    )  # exactly uncorrelated
    turn = np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
    sap = sap_score(factors @ turn, factors, [False, False])
    assert sap.matrix == pytest.approx(np.full((2, 2), 0.5))
    assert sap.score == pytest.approx(0, abs=1e-12)


def test_continuous_entries_are_r_squared_of_the_regression():
    rng = np.random.default_rng(0)
    latents, factors = rng.normal(size=(300, 3)), rng.normal(size=(300, 2))
    factors[:, 0] += latents[:, 1]
    sap = sap_score(latents, factors, [False, False])
    for i in range(3):
        for j in range(2):
            design = np.stack([np.ones(300), latents[:, i]], axis=1)
            left = np.linalg.lstsq(design, factors[:, j], rcond=None)[1][0]
            assert sap.matrix[i, j] == pytest.approx(
                1 - left / (300 * factors[:, j].var()), abs=1e-12
            )
    ordered = np.sort(sap.matrix, axis=0)
    assert sap.gaps == pytest.approx(ordered[-1] - ordered[-2])
    assert sap.score == pytest.approx(sap.gaps.mean())


# --- invariances


def test_order_sign_shift_and_scale_of_latents_do_not_matter():
    factors = shapes2d_factors(3_000)
    rng = np.random.default_rng(2)
    latents = factors @ rng.normal(size=(5, 6)) + rng.normal(size=(3_000, 6))
    truth = sap_score(latents, factors, SHAPES2D)
    order = rng.permutation(6)
    for changed in (
        latents[:, order],
        latents + rng.normal(size=6),
        latents * [4, 0.5, 8, 2, 16, 1],
        -latents,
    ):
        sap = sap_score(changed, factors, SHAPES2D)
        assert sap.score == pytest.approx(truth.score, abs=1e-10)
        assert sap.gaps == pytest.approx(truth.gaps, abs=1e-10)
    assert sap_score(latents[:, order], factors, SHAPES2D).matrix == pytest.approx(
        truth.matrix[order], abs=1e-10
    )
    shuffled = rng.permutation(3_000)
    assert sap_score(latents[shuffled], factors[shuffled], SHAPES2D).matrix == pytest.approx(
        truth.matrix, abs=1e-10
    )


def test_names_of_the_classes_do_not_matter():
    factors = shapes2d_factors(1_000)[:, :1]
    latents = np.random.default_rng(3).normal(size=(1_000, 2)) + factors
    renamed = np.array([7.5, -2.0, 100.0])[factors]
    assert sap_score(latents, renamed, [True]).matrix == pytest.approx(
        sap_score(latents, factors, [True]).matrix
    )


# Two latents and a continuous factor: R^2 1 and 0.2, a gap of 0.8, in whatever numbers they come.
Z, RAMP = np.array([[0.0, 1], [1, 0], [2, 1], [3, 0]]), np.arange(4)[:, None]
LONG = np.longdouble
needs_long = pytest.mark.skipif(
    np.finfo(LONG).max == np.finfo(float).max, reason="long doubles are doubles here"
)


@pytest.mark.parametrize(
    ("latents", "factor"),
    [
        (Z, RAMP + 2**60),
        (Z, RAMP - 2**62),
        (Z, RAMP.astype(np.uint64) + np.uint64(2**63)),
        (Z, RAMP * 1e200),
        (Z, RAMP * 1e300),
        (Z, RAMP * 1e-200),
        (Z, RAMP * 5e-324),
        (Z, RAMP + 1e15),
        (Z, RAMP * 2.0**-40 + 1),
        (Z * 1e200, RAMP),
        (Z * 5e307, RAMP),
        (Z * 1e-200, RAMP),
        (Z + 1e15, RAMP),
        (Z.astype(np.int64) + 2**60, RAMP),
        (Z.astype(bool) * Z, RAMP.astype(np.int8)),
        pytest.param(Z * LONG("1e4000"), RAMP, marks=needs_long),
        pytest.param(Z, RAMP * LONG("1e4000"), marks=needs_long),
        pytest.param(Z, RAMP * LONG(2) ** -62 + 1, marks=needs_long),
    ],
)
def test_no_scale_or_offset_of_a_number_type_changes_the_score(latents, factor):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sap = sap_score(latents, factor, [False], inactive_below=0)
    assert sap.score == pytest.approx(0.8, abs=1e-12)
    assert sap.matrix[:, 0] == pytest.approx([1, 0.2], abs=1e-12)


def test_the_widest_ranges_give_finite_scores():
    for factor in (np.array([-(2**63), 0, 1, 2**63 - 1]), np.array([-1.7e308, 0, 1, 1.7e308])):
        sap = sap_score(Z, factor[:, None], [False])
        assert sap.matrix[0, 0] == pytest.approx(0.9, abs=1e-12)  # of (-1, 0, 0, 1) on the ramp


def test_activity_is_told_by_the_variance_in_the_latents_own_units():
    assert sap_score(Z * 1e200, RAMP, [False]).active.all()
    assert not sap_score(Z * 1e-200, RAMP, [False]).active.any()
    assert sap_score(Z * 1e-200, RAMP, [False]).score == 0


def test_powers_of_two_change_no_bit():
    rng = np.random.default_rng(0)
    latents, factors = rng.normal(size=(500, 4)), rng.normal(size=(500, 2))
    plain = sap_score(latents, factors, [False, False], inactive_below=0)
    for power in (-600, -3, 5, 900):
        scaled = sap_score(np.ldexp(latents, power), factors, [False, False], inactive_below=0)
        assert scaled.matrix.tobytes() == plain.matrix.tobytes()


@pytest.mark.parametrize(
    "latent",
    [
        np.arange(4) + 2**60,
        np.arange(4) * 1e300,
        np.array([-1.7e308, -1e308, 1e308, 1.7e308]),
        np.arange(4) * 5e-324,
        np.arange(4, dtype=np.uint64) + np.uint64(2**64 - 4),
        pytest.param(np.arange(4) * LONG("1e4000"), marks=needs_long),
    ],
)
def test_thresholds_part_all_that_a_number_type_parts(latent):
    classes = np.array([0, 1, 0, 2])
    accuracy, thresholds, labels = best_thresholds(latent, classes, 3)
    assert accuracy == 1 and np.isfinite(thresholds).all()
    assert list(labels[np.searchsorted(thresholds, latent)]) == list(classes)
    two = np.stack([latent, latent[::-1]], axis=1)
    assert sap_score(two, classes[:, None], [True], 0).matrix[0, 0] == pytest.approx(5 / 6)


# --- the discrete optimum


@pytest.mark.parametrize(
    "latent, classes, expected",
    [
        ([0, 1, 2, 3], [0, 0, 1, 1], 1),  # one cut parts them
        (
            [0, 0, 0, 0, 1],
            [0, 0, 1, 1, 0],
            2 / 3,
        ),  # equal values stay together: 1 in {0}, 0 at 1: (1/3 + 1) / 2
        ([0, 1, 2, 3], [0, 1, 0, 1], 3 / 4),  # one threshold for two classes: three of four right
        ([0, 1, 2, 3], [0, 1, 1, 0], 3 / 4),
        # Imbalanced: 1 of class 1 among 4 of class 0. Plain accuracy would say "all 0" (4/5);
        # balanced: 0 is right 3 of 4 times, 1 always, so (3/4 + 1) / 2.
        ([0, 1, 2, 3, 4], [0, 0, 0, 1, 0], 7 / 8),
        (
            [0, 1, 2, 3, 4, 5],
            [0, 1, 2, 0, 1, 2],
            2 / 3,
        ),  # say 0 | 1 | 2 from there on: (1/2 + 1/2 + 1) / 3
        (
            [5, 5, 5, 5, 5, 6],
            [0, 1, 2, 0, 1, 2],
            1 / 2,
        ),  # 5: all of class 0; 6: half of class 2; (1 + 1/2) / 3
    ],
)
def test_discrete_entries_by_hand(latent, classes, expected):
    assert one_discrete(np.array(latent), np.array(classes)) == pytest.approx(expected)


@pytest.mark.parametrize("n_classes, samples, repeats", [(2, 12, 40), (3, 10, 40), (4, 8, 15)])
def test_discrete_optimum_equals_exhaustive_search(n_classes, samples, repeats):
    rng = np.random.default_rng(n_classes)
    seen = set()
    for repeat in range(repeats):
        weights = rng.dirichlet(np.ones(n_classes))  # imbalanced, at times strongly
        classes = np.append(
            np.arange(n_classes), rng.choice(n_classes, p=weights, size=samples - n_classes)
        )
        latent = (
            rng.normal(size=samples) if repeat % 2 else rng.integers(5, size=samples).astype(float)
        )  # or with ties
        if np.ptp(latent) == 0:
            continue
        truth = exhaustive(latent, classes, n_classes - 1)
        assert one_discrete(latent, classes) == pytest.approx(truth, abs=1e-12)
        seen.add(round(truth, 6))
    assert len(seen) > 5  # the cases were not all alike


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_thresholds_reach_the_optimum_they_report(n_classes):
    rng = np.random.default_rng(n_classes)
    for max_thresholds in range(4):
        for _ in range(10):
            classes = (
                np.append(np.arange(n_classes), rng.integers(n_classes, size=8 - n_classes)) + 3
            )
            latent = rng.integers(6, size=8) / 4
            accuracy, thresholds, labels = best_thresholds(latent, classes, max_thresholds)
            assert accuracy == pytest.approx(exhaustive(latent, classes, max_thresholds), abs=1e-12)
            assert len(labels) == len(thresholds) + 1 <= max_thresholds + 1
            assert balanced_accuracy(
                labels[np.searchsorted(thresholds, latent)], classes
            ) == pytest.approx(accuracy)
            assert (np.diff(thresholds) > 0).all() and (labels[1:] != labels[:-1]).all()
            if len(thresholds):  # no threshold too many
                assert exhaustive(latent, classes, len(thresholds) - 1) < accuracy - 1e-9


def test_threshold_between_neighbouring_floats_still_parts_them():
    low = 1.0 + np.finfo(float).eps  # the midpoint of these two rounds up, to the higher one
    latent = np.array([low, np.nextafter(low, 2)])
    accuracy, thresholds, labels = best_thresholds(latent, np.array([0, 1]))
    assert accuracy == 1
    assert list(labels[np.searchsorted(thresholds, latent)]) == [0, 1]


def test_useless_latent_has_the_chance_level():
    rng = np.random.default_rng(0)
    classes = np.arange(30_000) % 3
    assert one_discrete(rng.normal(size=30_000), classes) == pytest.approx(1 / 3, abs=0.01)


# --- inactive latents


def test_variance_decides_which_latent_is_inactive():
    rng = np.random.default_rng(0)
    column = rng.normal(size=5_000)
    column = (column - column.mean()) / column.std()
    factors = column[:, None]
    latents = np.stack([column * 0.11, column * 0.09], axis=1)  # variances 0.0121 and 0.0081
    assert sap_score(latents, factors, [False]).score == pytest.approx(1)
    assert list(sap_score(latents, factors, [False]).active) == [True, False]
    assert sap_score(latents, factors, [False], inactive_below=0.008).score == pytest.approx(
        0, abs=1e-12
    )
    assert sap_score(latents, factors, [False], inactive_below=0.02).score == 0


# --- bad input


def good():
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 3)), rng.integers(3, size=(50, 2)), [True, False]


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda z, y, d: (z.tolist(), y, d),
            "latents must be a NumPy array of shape .samples, latents.; got list",
        ),
        (lambda z, y, d: (z, None, d), "factors must be a NumPy array"),
        (
            lambda z, y, d: (np.ma.masked_array(z), y, d),
            "got MaskedArray: leave out the rows with masked entries and give its .data",
        ),
        (lambda z, y, d: (z, np.ma.masked_array(y), d), "factors must be .* got MaskedArray"),
        (lambda z, y, d: (np.asmatrix(z), y, d), r"got matrix: give np.asarray\(latents\)"),
        (lambda z, y, d: (z[:, 0], y, d), r"latents must have shape .* got shape \(50,\)"),
        (lambda z, y, d: (z, y[:, 0], d), "factors must have shape"),
        (lambda z, y, d: (z[:49], y, d), "49 rows and factors 50"),
        (lambda z, y, d: (z.T, y, d), "3 rows and factors 50"),
        (lambda z, y, d: (z[:1], y[:1], d), "1 samples cannot be scored"),
        (lambda z, y, d: (z[:0], y[:0], d), "0 samples cannot be scored"),
        (lambda z, y, d: (z[:, :1], y, d), "at least 2"),
        (lambda z, y, d: (z, y[:, :0], []), "no columns"),
        (
            lambda z, y, d: (np.where(z == z[4, 1], np.nan, z), y, d),
            "latents holds nan at row 4, column 1",
        ),
        (
            lambda z, y, d: (np.where(z == z[4, 1], np.inf, z), y, d),
            "latents holds inf at row 4, column 1",
        ),
        (lambda z, y, d: (z, np.where(y == 2, np.nan, y), d), "factors holds nan"),
        (lambda z, y, d: (z.astype(complex), y, d), "real numbers; got dtype complex128"),
        (lambda z, y, d: (z, y.astype(str), d), "factors must hold real numbers"),
        (lambda z, y, d: (z, y * [1, 0], d), r"factor 1 is constant \(always 0\)"),
        (lambda z, y, d: (z, y * [0, 1], d), "factor 0 is constant"),
        (lambda z, y, d: (z, y, d + [True]), "discrete must be 2 booleans"),
        (lambda z, y, d: (z, y, True), "discrete must be 2 booleans"),
        (lambda z, y, d: (z, y, [0, 1]), "discrete must be 2 booleans"),
        (
            lambda z, y, d: (np.tile(z, (9, 1)), np.arange(900).reshape(450, 2), d),
            "factor 0 takes 450 distinct values; more than 128",
        ),
    ],
)
def test_bad_codes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        sap_score(*change(*good()))


@pytest.mark.parametrize("inactive_below", [-0.1, np.nan, np.inf, "0.01", None])
def test_bad_inactive_below_is_refused(inactive_below):
    with pytest.raises(ValueError, match="inactive_below is a variance"):
        sap_score(*good(), inactive_below)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([1.0, 2.0], np.array([0, 1])), "latent must be a NumPy array"),
        (
            (np.ones((2, 2)), np.array([0, 1])),
            "latent must have shape .samples,.; got shape .2, 2.",
        ),
        ((np.array([1.0, np.nan]), np.array([0, 1])), "latent holds nan at row 1; every"),
        ((np.array([1.0, 2.0]), np.array([1, 1])), "constant"),
        ((np.ma.array([1.0, 2.0]), np.array([0, 1])), "MaskedArray: leave out"),
        ((np.array([1.0, 2.0]), np.array([0, 1]), "1"), "max_thresholds is a whole number"),
        ((np.array([1.0, 2.0]), np.array([0, 1]), -1), "max_thresholds is a whole number"),
        ((np.array([1.0, 2.0]), np.array([0, 1]), 1.5), "max_thresholds is a whole number"),
        ((np.arange(200.0), np.arange(200)), "200 distinct values"),
    ],
)
def test_bad_input_of_best_thresholds_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        best_thresholds(*arguments)
