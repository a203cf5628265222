"""Intervals, seeds that it would take and ratios of variances, by hand and by trial."""

import math

import numpy as np
import pytest
from scipy import stats

from replication.show.statistics import MOST_SEEDS, interval, variance_ratio


def test_interval_by_hand():
    # n = 3, s = 1, t(0.975, 2) = 4.3027: half 4.3027 / sqrt(3)
    found = interval(np.array([1.0, 2.0, 3.0]))
    assert (found.mean, found.deviation, found.n) == (2.0, 1.0, 3)
    assert (found.low, found.high) == pytest.approx((-0.4841, 4.4841), abs=1e-4)
    one = interval(np.array([7.0]))
    assert one.mean == 7.0 and one.n == 1 and one.half == math.inf and one.sign == 0


def test_interval_of_paired_differences_against_scipy():
    a, b = np.array([1.0, 2.0, 4.0, 4.5]), np.array([0.5, 0.6, 0.9, 4.0])
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    found = interval(a - b)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("values", "sign"),
    [((1.0, 2.0, 3.0), 0), ((2.0, 2.1, 2.2), 1), ((-2.0, -2.1, -2.2), -1), ((0.0, 0.0), 0)],
)
def test_the_sign_is_told_by_the_whole_interval(values, sign):
    assert interval(np.array(values)).sign == sign


@pytest.mark.parametrize("values", [(), (1.0, math.nan), (math.inf, 1.0)])
def test_what_has_no_mean_is_refused(values):
    with pytest.raises(ValueError, match="a mean over seeds needs finite values"):
        interval(np.array(values))


@pytest.mark.parametrize(
    ("values", "seeds"),
    [
        # s = 1, mean 2: t(0.975, 2) / sqrt(3) = 2.48 is too wide, t(0.975, 3) / sqrt(4) = 1.59 not
        ((1.0, 2.0, 3.0), 4),
        ((-1.0, -2.0, -3.0), 4),
        # s = 1, mean 0.5: t(0.975, 16) / sqrt(17) = 0.514, t(0.975, 17) / sqrt(18) = 0.497
        ((-0.5, 0.5, 1.5), 18),
        ((-1.0, 1.0), None),  # no mean difference
        ((-0.99, 0.01, 1.01), None),  # some 38,000 seeds
        ((5.0,), None),  # one seed tells no deviation
    ],
)
def test_seeds_to_decide_by_hand(values, seeds):
    assert interval(np.array(values)).seeds_to_decide() == seeds


def test_seeds_to_decide_are_counted_as_far_as_is_said():
    # s = sqrt(2), so half is 1.96 * 1.414 / sqrt(1000) = 0.0877 at 1,000 seeds
    assert interval(np.array([-0.91, 1.09])).seeds_to_decide() in range(800, MOST_SEEDS + 1)
    assert interval(np.array([-0.92, 1.08])).seeds_to_decide() is None


# --- Bonett's interval ---


def test_variance_ratio_by_hand():
    """Of 1..5 and its double: medians 3 and 6, fourth powers about them 34 and 544, kurtosis
    10 (34 + 544) / (10 + 40)^2 = 2.312; error^2 = 2 (2.312 - 2 / 5) / 4 = 0.956, so the interval is
    0.25 exp(-+1.95996 * 0.97775).
    """
    five = np.arange(1.0, 6.0)
    found = variance_ratio(five, 2 * five)
    assert found.ratio == 0.25 and found.n == (5, 5)
    assert (found.low, found.high) == pytest.approx((0.03679, 1.69907), rel=1e-3)
    other = variance_ratio(2 * five, five)
    assert (other.low, other.high) == pytest.approx((1 / found.high, 1 / found.low))


def test_variance_ratio_of_unequal_samples_by_hand():
    """1..5 and 0..5: of six values two are cut from each end, their mean is 2.5. Fourth powers 34
    and 88.375, kurtosis 11 * 122.375 / (10 + 17.5)^2 = 1.78, error^2 = 1.38 / 4 + 1.28 / 5 = 0.601;
    correction (5 / 3.04004) / (6 / 4.04004) = 1.10745.
    """
    found = variance_ratio(np.arange(1.0, 6.0), np.arange(6.0))
    centre, half = 1.10745 * 2.5 / 3.5, 1.95996 * math.sqrt(0.601)
    assert found.ratio == pytest.approx(2.5 / 3.5)
    expected = centre * math.exp(-half), centre * math.exp(half)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-4)


def test_the_ratio_has_no_unit():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=20), rng.exponential(size=20)
    found, scaled = variance_ratio(a, b), variance_ratio(1e-3 * a + 7, 1e-3 * b - 1)
    assert (scaled.low, scaled.high) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize("values", [np.arange(4.0), np.ones(9)])
def test_few_or_equal_values_have_no_ratio(values):
    others = np.arange(9.0)
    assert variance_ratio(values, others) is None and variance_ratio(others, values) is None


@pytest.mark.parametrize(
    ("draw", "true"),
    [
        (lambda rng: (rng.normal(size=20), rng.normal(size=20)), 1.0),
        (lambda rng: (rng.normal(size=20), 3 * rng.normal(size=10)), 1 / 9),
        (lambda rng: (rng.exponential(size=20), rng.exponential(size=20)), 1.0),
        (lambda rng: (rng.uniform(size=20), 2 * rng.uniform(size=20)), 0.25),
    ],
    ids=["normal", "unequal", "skewed", "uniform"],
)
def test_the_interval_holds_the_true_ratio_as_often_as_it_says(draw, true):
    rng, held = np.random.default_rng(1), 0
    for _ in range(1_000):
        found = variance_ratio(*draw(rng))
        held += found.low <= true <= found.high
    assert 0.91 <= held / 1_000 <= 1.0
    if true == 1.0:
        assert held / 1_000 <= 0.98  # and is no wider than it has to be


def test_it_tells_apart_what_differs():
    """At twenty seeds a variance of a tenth is seen nearly always, an equal one hardly ever."""
    rng, told = np.random.default_rng(2), {0.1: 0, 1.0: 0}
    for variance in told:
        for _ in range(300):
            a, b = math.sqrt(variance) * rng.normal(size=20), rng.normal(size=20)
            told[variance] += variance_ratio(a, b).high < 1
    assert told[0.1] > 250 and told[1.0] < 20
