"""The other score called SAP: on codes whose answer is known, and far from the paper's.

python -m pytest tests/replication/test_linear_svc_sap.py
"""

import numpy as np
import pytest

from dipvae_src.sap import sap_score
from replication.linear_svc_sap import sap_score_linear_svc

SHAPES2D = [True, False, False, False, False]


def shapes2d_factors(n, seed=0):
    """Shape, scale, orientation, x and y of 2D Shapes, uniform and independent."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(k, size=n) for k in (3, 6, 40, 32, 32)], axis=1)


def good():
    rng = np.random.default_rng(0)
    return rng.normal(size=(50, 3)), rng.integers(3, size=(50, 2)), [True, False]


def test_linear_svc_on_a_separable_and_a_useless_code():
    rng = np.random.default_rng(0)
    factors = rng.integers(2, size=(3_000, 2))
    noise = rng.normal(size=(3_000, 2))
    sizes = dict(train=2_000, test=1_000)
    separable = sap_score_linear_svc(np.hstack([2.0 * factors - 1, noise]), factors, **sizes)
    assert np.diag(separable.matrix) == pytest.approx(np.ones(2))
    assert separable.gaps == pytest.approx(np.full(2, 0.5), abs=0.06)
    useless = sap_score_linear_svc(noise, factors, **sizes)
    assert useless.matrix == pytest.approx(np.full((2, 2), 0.5), abs=0.06)
    assert useless.score < 0.06


def test_linear_svc_is_another_score_far_below_one_for_a_perfect_code():
    factors = shapes2d_factors(15_000)
    code = (factors - factors.mean(axis=0)) / factors.std(axis=0)
    code = np.hstack([code, np.random.default_rng(1).normal(size=(15_000, 5))])
    variant, ours = sap_score_linear_svc(code, factors), sap_score(code, factors, SHAPES2D)
    assert variant.score == pytest.approx(0.24, abs=0.02)
    assert (
        variant.matrix[3, 3] < 0.1
    )  # x is this latent, and 32 classes on a line are not separated
    assert ours.score > 0.92
    assert sap_score_linear_svc(code, factors).score == variant.score
    assert sap_score_linear_svc(code, factors, seed=1).score != variant.score
    assert (
        abs(sap_score_linear_svc(code * 0.2 + 0.5, factors).score - variant.score) > 0.02
    )  # not invariant


@pytest.mark.parametrize(
    "sizes, message",
    [
        (dict(train=40, test=11), "train [+] test = 51 samples were asked for, but there are 50"),
        (dict(train=0, test=10), "train is a whole number, at least 1; got 0"),
        (dict(train=10, test=2.5), "test is a whole number"),
        (dict(train=10, test=10, seed="0"), "seed is a whole number"),
        (dict(train=1, test=10), "factor 0 takes one value only in the 1 training samples"),
    ],
)
def test_bad_sizes_of_the_linear_svc_variant_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        sap_score_linear_svc(*good()[:2], **sizes)


def test_numbers_that_the_linear_svc_cannot_take_are_refused():
    z, y, _ = good()
    with pytest.raises(
        ValueError, match="latents reach .*; beyond 1e[+]30 the classifier overflows"
    ):
        sap_score_linear_svc(z * 1e78, y, train=30, test=20)
