"""Table 2 on data worked out by hand, and its exact bias against slow searches and a linear
programme.

python -m pytest tests/dipvae_src/test_attributes.py
"""

import warnings

import numpy as np
import pytest
from scipy import optimize
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from dipvae_src.attributes import _hinge_bias, predict_attributes


def hinge(b, scores, has):
    y = np.where(has, 1, -1)
    return np.maximum(0, 1 - y * (scores + b)).mean()


def random_problem(seed, n=60):
    """Scores and labels that overlap in all ways; some on a coarse grid, so that kinks coincide."""
    rng = np.random.default_rng(seed)
    has = rng.random(n) < rng.uniform(0.05, 0.95)
    has[:2] = [True, False]
    scores = rng.choice([0.1, 1, 5]) * rng.normal(size=n) + rng.uniform(0, 4) * has + rng.normal()
    return (scores.round() if seed % 3 == 0 else scores), has


def random_data(seed=0, n=400, m=300):
    rng = np.random.default_rng(seed)
    mu = rng.normal(size=(n + m, 4))
    noisy = mu @ rng.normal(size=(4, 3)) + rng.normal(size=(n + m, 3))
    has = (noisy > [0, 1, -2]).astype(np.int64)
    return mu[:n], has[:n], mu[n:], has[n:]


# --- by hand


def test_one_latent_by_hand():
    # w = 2 - 0 = 2, scores 0 0 4 4; kinks y - s are -1 -1 -3 -3; two samples have it: the middle of
    # the second and third is -2.
    found = predict_attributes(
        np.array([[0.0], [0.0], [2.0], [2.0]]), np.array([[0], [0], [1], [1]]),
        np.array([[0.9], [1.1], [1.2], [5.0]]), np.array([[0], [0], [1], [1]]),
    )  # fmt: skip
    assert found.direction == [[2.0]] and found.bias == [-2.0] and found.single_latent == [0]
    assert found.accuracy == found.single_accuracy == [75.0]  # 1.1 scores 0.2
    assert found.balanced == found.single_balanced == [75.0] and found.majority == [50.0]


def test_two_latents_by_hand_and_the_larger_kept():
    # w = (2, -4) for the first attribute: scores 2a - 4b. The second attribute is the first
    # negated.
    train = np.array([[1.0, 3.0], [-1.0, 1.0], [1.0, -1.0], [3.0, -3.0]])
    has = np.array([[0, 1], [0, 1], [1, 0], [1, 0]])
    test = np.array([[9.0, 0.9], [0.0, 1.0], [0.0, -1.0], [-9.0, -0.9], [1.0, 1.0]])
    test_has = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [0, 1]])
    found = predict_attributes(train, has, test, test_has)
    assert found.direction.tolist() == [[2.0, -4.0], [-2.0, 4.0]]
    # Scores -10 -6 6 18, kinks 9 5 -5 -17, two have it: the middle of -5 and 5.
    assert found.bias.tolist() == [0.0, 0.0]
    # Test scores 14.4 -4 4 -14.4 -2: all but the fourth rightly.
    assert found.accuracy.tolist() == [80.0, 80.0]
    assert found.balanced == pytest.approx([50 * (2 / 3 + 1)] * 2)
    assert found.majority.tolist() == [60.0, 60.0]
    # Alone, -4b: scores -12 -4 4 12, bias 0 by symmetry. Test -3.6 -4 4 3.6 -4: all but the first
    # rightly.
    assert found.single_latent.tolist() == [1, 1] and found.single_accuracy.tolist() == [80.0, 80.0]


def test_scores_small_beside_the_margin_name_the_majority_and_larger_ones_do_not():
    mu, has = np.array([[0.0], [0.0], [0.0], [0.1]]), np.array([[0], [0], [0], [1]])
    small, large = (
        predict_attributes(mu, has, mu, has),
        predict_attributes(100 * mu, has, 100 * mu, has),
    )
    # Scores 0 0 0 0.01, kinks -1 -1 -1 0.99, one has it: the middle of the first two is -1.
    assert (
        small.bias == [-1.0]
        and small.accuracy == small.majority == [75.0]
        and small.balanced == [50.0]
    )
    # Scores 0 0 0 100, kinks -99 -1 -1 -1: the middle of -99 and -1.
    assert large.bias == [-50.0] and large.accuracy == [100.0] and large.majority == [75.0]


def test_a_score_of_exactly_nought_is_a_no():
    mu, has = np.array([[0.0], [2.0]]), np.array([[False], [True]])  # w = 2, bias -2
    found = predict_attributes(mu, has, np.array([[1.0], [1.0]]), has)
    assert found.accuracy == [50.0]


# --- the bias is exact


def test_bias_is_the_middle_of_all_minimisers_by_trying_every_kink():
    for seed in range(60):
        scores, has = random_problem(seed)
        kinks = (
            np.where(has, 1, -1) - scores
        )  # a piecewise linear function is least at a kink, or between two such
        losses = np.array([hinge(b, scores, has) for b in kinks])
        best = kinks[losses <= losses.min() + 1e-12]
        assert _hinge_bias(scores, has) == pytest.approx((best.min() + best.max()) / 2, abs=1e-12)


def test_bias_reaches_the_minimum_of_a_linear_programme_of_a_search_and_of_a_grid():
    for seed in range(12):
        scores, has = random_problem(seed)
        y, n = np.where(has, 1.0, -1.0), len(scores)
        # Minimise mean(x) over x >= 0 and b, where x >= 1 - y (s + b); the variables are x, then b.
        programme = optimize.linprog(
            np.append(np.full(n, 1 / n), 0), A_ub=-np.column_stack([np.eye(n), y]),
            b_ub=y * scores - 1, bounds=[(0, None)] * n + [(None, None)], method="highs",
        )  # fmt: skip
        reached = hinge(_hinge_bias(scores, has), scores, has)
        assert reached == pytest.approx(programme.fun, abs=1e-9)
        ends = (-scores.max() - 2, 2 - scores.min())
        search = optimize.minimize_scalar(
            hinge, bounds=ends, args=(scores, has), method="bounded", options={"xatol": 1e-9}
        )
        assert reached <= search.fun + 1e-12 and reached == pytest.approx(search.fun, abs=1e-6)
        assert reached <= min(hinge(b, scores, has) for b in np.linspace(*ends, 1_000)) + 1e-12


# --- properties


def test_directions_are_differences_of_means_and_scores_as_scikit_learn_has_them():
    mu, has, test_mu, test_has = random_data()
    found = predict_attributes(mu.astype(np.float32), has.astype(bool), test_mu, test_has)
    for k in range(3):
        assert found.direction[k] == pytest.approx(
            mu[has[:, k] == 1].mean(axis=0) - mu[has[:, k] == 0].mean(axis=0), abs=1e-6
        )
        only = np.zeros(4)
        only[found.single_latent[k]] = found.direction[k][found.single_latent[k]]
        assert np.abs(only).max() == np.abs(found.direction[k]).max()
        predicted = test_mu @ found.direction[k] + found.bias[k] > 0
        alone = test_mu @ only + _hinge_bias(mu @ only, has[:, k] == 1) > 0
        assert found.accuracy[k] == pytest.approx(100 * accuracy_score(test_has[:, k], predicted))
        assert found.balanced[k] == pytest.approx(
            100 * balanced_accuracy_score(test_has[:, k], predicted)
        )
        assert found.single_accuracy[k] == pytest.approx(
            100 * accuracy_score(test_has[:, k], alone)
        )
        assert found.single_balanced[k] == pytest.approx(
            100 * balanced_accuracy_score(test_has[:, k], alone)
        )


def test_permuted_latents_permute_the_direction_only():
    mu, has, test_mu, test_has = random_data()
    order = [2, 0, 3, 1]
    plain = predict_attributes(mu, has, test_mu, test_has)
    moved = predict_attributes(mu[:, order], has, test_mu[:, order], test_has)
    assert moved.direction == pytest.approx(
        plain.direction[:, order]
    ) and moved.bias == pytest.approx(plain.bias)
    assert [order[i] for i in moved.single_latent] == plain.single_latent.tolist()
    for field in ("accuracy", "balanced", "majority", "single_accuracy", "single_balanced"):
        assert getattr(moved, field).tolist() == getattr(plain, field).tolist(), field


def test_shifted_latents_move_the_bias_only():
    mu, has, test_mu, test_has = random_data()
    shift = np.array([10.0, -3.0, 0.5, 1000.0])
    plain = predict_attributes(mu, has, test_mu, test_has)
    moved = predict_attributes(mu + shift, has, test_mu + shift, test_has)
    assert moved.direction == pytest.approx(plain.direction, abs=1e-10)
    assert moved.bias == pytest.approx(plain.bias - plain.direction @ shift, abs=1e-8)
    for field in (
        "single_latent",
        "accuracy",
        "balanced",
        "majority",
        "single_accuracy",
        "single_balanced",
    ):
        assert getattr(moved, field).tolist() == getattr(plain, field).tolist(), field


def test_duplicated_images_change_nothing():
    mu, has, test_mu, test_has = random_data()
    plain = predict_attributes(mu, has, test_mu, test_has)
    train = np.repeat(mu, 3, axis=0), np.repeat(has, 3, axis=0)
    again = predict_attributes(*train, np.tile(test_mu, (2, 1)), np.tile(test_has, (2, 1)))
    for field in (
        "direction",
        "bias",
        "accuracy",
        "balanced",
        "majority",
        "single_latent",
        "single_accuracy",
        "single_balanced",
    ):
        assert getattr(again, field) == pytest.approx(getattr(plain, field)), field


def test_the_negated_attribute_has_the_negated_predictor():
    mu, has, test_mu, test_has = random_data()
    plain, negated = (
        predict_attributes(mu, has, test_mu, test_has),
        predict_attributes(mu, 1 - has, test_mu, 1 - test_has),
    )
    assert negated.direction == pytest.approx(-plain.direction) and negated.bias == pytest.approx(
        -plain.bias
    )
    assert (
        negated.accuracy.tolist() == plain.accuracy.tolist()
        and negated.balanced == pytest.approx(plain.balanced)
    )


def test_latents_that_never_move_score_the_majority_without_warnings():
    _, has, _, test_has = random_data()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = predict_attributes(np.zeros((400, 2)), has, np.zeros((300, 2)), test_has)
    assert not found.direction.any() and found.balanced.tolist() == [50.0] * 3
    assert found.accuracy[1:].tolist() == found.majority[1:].tolist()  # attribute 0 is about even


# --- scales and offsets

HALVES, HALF = np.array([[0.0, 10.0] * 4]).T, np.array([[0, 1] * 4]).T


@pytest.mark.parametrize("scale", [1e99, 1e50, 1, 1e-5, 1e-9, 1e-20, 1e-99])
def test_no_scale_costs_the_bias_its_digits(scale):
    # Half of the images have it, so the bias is the middle of the two scores whatever their size.
    found = predict_attributes(HALVES * scale, HALF, HALVES * scale, HALF)
    assert found.accuracy == found.single_accuracy == [100.0]
    assert found.bias == pytest.approx([-50 * scale**2], rel=1e-9)


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e307])
def test_scales_whose_scores_float64_does_not_hold_are_refused(scale):
    with pytest.raises(
        ValueError, match="largest magnitude is .* must be between 1e-100 and 1e[+]"
    ):
        predict_attributes(HALVES * scale, HALF, HALVES * scale, HALF)


@pytest.mark.parametrize("offset", [1e6, 1e12, 2**60])
def test_no_offset_costs_digits(offset):
    mu = HALVES.astype(np.int64) + offset if offset == 2**60 else HALVES + offset
    found = predict_attributes(mu, HALF, mu, HALF)
    assert found.accuracy == [100.0] and found.direction == [[10.0]]
    assert found.bias == pytest.approx([-10.0 * offset], rel=1e-4)


def test_tiny_scores_beside_a_far_offset_are_told_apart():
    mu = HALVES * 1e-9 + 5
    assert predict_attributes(mu, HALF, mu, HALF).accuracy == [100.0]


def test_the_bias_of_tiny_scores_is_the_exact_one():
    for seed in range(30):
        scores, has = random_problem(seed)
        scores /= 64 * np.abs(scores).max()
        big = _hinge_bias(scores, has)
        y = np.where(has, 1.0, -1.0)
        ordered = np.lexsort((-scores, y))[has.sum() - 1 : has.sum() + 1]
        assert big == pytest.approx(y[ordered].mean() - scores[ordered].mean(), abs=1e-12)
        tiny = _hinge_bias(scores * 2.0**-60, has)
        assert tiny == y[ordered].mean() - scores[ordered].mean() * 2.0**-60


# --- bad input


NAN = np.full((4, 2), np.nan)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(train_mu=[[0.0, 1.0]] * 4), "training images: latents must be a NumPy array"),
        (dict(test_mu=np.zeros(4)), "test images: latents must have shape"),
        (dict(train_mu=NAN), "training images: latents holds nan at row 0, column 0"),
        (dict(test_mu=NAN), "test images: latents holds nan"),
        (dict(test_mu=np.ma.zeros((4, 2))), "test images: latents must be .* got MaskedArray"),
        (dict(test_mu=np.zeros((3, 2))), "test images: latents have 3 rows and factors 4"),
        (dict(test_mu=np.zeros((4, 3))), "training images have 2 latents, the test images 3"),
        (
            dict(test_attributes=np.array([[0], [1], [0], [1]])),
            "training images have 2 attributes, the test images 1",
        ),
        (
            dict(train_attributes=np.zeros((4, 2), dtype=int)),
            r"training images: factor 0 is constant \(always 0\)",
        ),
        (
            dict(test_attributes=np.array([[0, 1]] * 3 + [[1, 1]])),
            r"test images: factor 1 is constant \(always 1\)",
        ),
        (
            dict(train_attributes=np.array([[1, -1], [1, 1], [0, 1], [1, 1]])),
            "training images: attribute 1 is -1 at row 0",
        ),
        (
            dict(test_attributes=np.array([[0, 0.5], [1, 1], [0, 1], [1, 1]])),
            "test images: attribute 1 is 0.5 at row 0",
        ),
        (
            dict(train_attributes=np.array([["a", "b"]] * 4)),
            "training images: factors must hold real numbers",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(change, message):
    even = np.array([[0, 1], [1, 0], [0, 1], [1, 0]])
    mu = np.random.default_rng(0).normal(size=(4, 2))
    arguments = dict(train_mu=mu, train_attributes=even, test_mu=mu, test_attributes=even) | change
    with pytest.raises(ValueError, match=message) as refused:
        predict_attributes(**arguments)
    assert "\n" not in str(refused.value)
