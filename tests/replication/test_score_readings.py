"""The readings of Z-diff and SAP, against codes of which the answer is known."""

import numpy as np
import pytest

from dipvae_src import zdiff
from dipvae_src.settings import Settings
from replication.score_readings import CLASSIFIERS, NAMES, STANDARDISED, score_readings

SIZES = Settings("beta-vae", zdiff_train=400, zdiff_test=200)


@pytest.fixture
def factors() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, size=(2_000, 3))


def test_a_perfect_code_is_told_by_every_classifier(factors):
    found = score_readings(4.0 * factors, factors, [False] * 3, SIZES, seed=0)
    assert tuple(found) == NAMES
    for name in NAMES:
        assert found[name] == (100 if name.startswith("Z-diff") else pytest.approx(1, abs=0.01))


def test_standardising_undoes_a_scale_that_blinds_the_plain_score(factors):
    small = 1e-4 * factors
    plain = zdiff.z_diff_score(small, factors, train=400, test=200).accuracy
    found = score_readings(small, factors, [False] * 3, SIZES, seed=0)
    assert plain < 60 and found[STANDARDISED] == 100


def test_the_pairs_are_those_of_the_plain_score(factors, monkeypatch):
    """With our own classifier in every place each reading is the score itself."""
    mu = factors + np.random.default_rng(1).normal(0, 2, factors.shape)
    for name in CLASSIFIERS:
        monkeypatch.setitem(CLASSIFIERS, name, zdiff.classifier)
    found = score_readings(mu, factors, [False] * 3, SIZES, seed=3)
    plain = zdiff.z_diff_score(mu, factors, train=400, test=200, seed=3).accuracy
    assert {found[name] for name in CLASSIFIERS} == {plain} and plain < 100


def test_a_constant_latent_stays_constant(factors):
    mu = np.column_stack([factors, np.full(len(factors), 7.0)])
    found = score_readings(mu, factors, [False] * 3, SIZES, seed=0)
    assert found[STANDARDISED] == 100
