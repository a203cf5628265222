"""MIG, FactorVAE and DCI on codes whose answer is known, and their traps.

python -m pytest tests/replication/test_rulers.py
"""

import itertools

import numpy as np
import pytest

from replication import rulers
from replication.rulers import binned, dci, factor_vae_score, mig, mig_by_bins

N = 10_000  # images, as a run leaves them
RNG = np.random.default_rng(0)
FACTORS = np.stack([RNG.integers(k, size=N) for k in (3, 6, 40, 32, 32)], axis=1)
PERFECT = (FACTORS - FACTORS.mean(axis=0)) / FACTORS.std(axis=0)
NOISE, OFF = RNG.normal(size=(N, 5)), np.zeros((N, 5))


def turned(code: np.ndarray) -> np.ndarray:
    """x and y mixed in two latents, by 45 degrees."""
    x, y = code[:, 3], code[:, 4]
    return np.column_stack([code[:, :3], x - y, x + y]) / [1, 1, 1, 2**0.5, 2**0.5]


HALF = 1 - np.log(2) / np.log(5)  # 1 - entropy of a latent that serves two of five factors
CODES = {  # mig, factor_vae, disentanglement, completeness, informativeness
    "perfect": (PERFECT, 0.896, 1, 1, 1, 1),
    "perfect, five latents off": (np.hstack([PERFECT, OFF]), 0.896, 1, 1, 1, 1),
    "perfect, five latents of noise": (np.hstack([PERFECT, NOISE]), 0.896, 1, 1, 1, 1),
    "every latent twice": (np.hstack([PERFECT, PERFECT]), 0, 1, 1, 1 - np.log10(2), 1),
    # Of x and y no latent is ahead (MIG), and half of the votes are wrong (FactorVAE).
    "turned": (turned(PERFECT), 0.560, 0.8, (3 + 2 * HALF) / 5, (3 + 2 * HALF) / 5, 1),
    "useless": (NOISE, 0, 0.2, 0, 0, 0),
    "all off": (OFF, 0, 0, 0, 0, 0),
    # The trap of completeness: four factors that nobody knows are all laid to the latent in use.
    "x alone": (np.hstack([PERFECT[:, 3:4], OFF]), 0.175, 0.2, 0, 1, 0.2),
}


@pytest.mark.parametrize("name", CODES)
def test_known_answers(name):
    code, *known = CODES[name]
    found = [mig(code, FACTORS), factor_vae_score(code, FACTORS)]
    found += dci(code, FACTORS, trees=20).values()
    assert found[0] == pytest.approx(known[0], abs=0.001)
    assert found[1] == pytest.approx(known[1], abs=0.02)
    assert found[2:] == pytest.approx(known[2:], abs=0.03)


# --- MIG ---


def test_mig_is_exact_where_all_combinations_are_there():
    y = np.array(list(itertools.product(range(4), range(4))))
    assert mig(y.astype(float), y, bins=4) == pytest.approx(1)
    # Two bins tell 1 of 2 bits.
    assert mig(y.astype(float), y, bins=2) == pytest.approx(0.5)


def test_bins_by_hand():
    latent = np.array([0.0, 0.49, 0.5, 1.0, 2.0])
    assert binned(latent, 4).tolist() == [0, 0, 1, 2, 3]
    assert binned(np.array([0.0, 1, 2, 1000]), 2).tolist() == [0, 0, 0, 1]
    assert binned(np.array([0.0, 1, 2, 1000]), 2, equal_counts=True).tolist() == [0, 0, 1, 1]
    for equal_counts in (False, True):
        assert len(set(binned(np.ones(9), 4, equal_counts))) == 1


def test_what_the_number_of_bins_does_to_a_perfect_code():
    table = mig_by_bins(PERFECT, FACTORS)
    assert [row["bins"] for row in table] == [10, 20, 50, 100]
    assert [row["equal width"] for row in table] == pytest.approx(
        [0.787, 0.896, 0.988, 0.988], abs=0.001
    )
    # Enough bins, and what is missing is noise that looks informed: gone with more images.
    y = np.array(list(itertools.product(range(3), range(6), range(32))))
    assert mig(y.astype(float), y, bins=50) == pytest.approx(1)


def test_bins_of_equal_width_suffer_from_a_long_tail():
    bent = np.exp(3 * PERFECT)  # the same ranks
    straight = mig(PERFECT, FACTORS, equal_counts=True)
    assert mig(bent, FACTORS, equal_counts=True) == pytest.approx(straight, abs=0.005)
    assert mig(bent, FACTORS) < 0.7


def test_mig_does_not_see_that_a_latent_is_off():
    trace = PERFECT * 1e-4
    assert mig(trace, FACTORS) == pytest.approx(mig(PERFECT, FACTORS), abs=0.005)
    assert factor_vae_score(trace, FACTORS) == 0


# --- FactorVAE ---


def test_factor_vae_forgives_a_latent_that_follows_two_factors():
    also = np.column_stack([PERFECT, PERFECT[:, 3] + PERFECT[:, 4]])
    assert factor_vae_score(also, FACTORS) == 1
    assert mig(also, FACTORS) < mig(PERFECT, FACTORS) - 0.05
    assert dci(also, FACTORS, trees=5)["disentanglement"] > 0.99  # nor does DCI mind


def test_factor_vae_does_not_depend_on_scale_or_offset():
    noisy = PERFECT[:, ::-1] + NOISE
    moved = noisy * [1, 2, 5, 20, 0.5] + 7
    assert factor_vae_score(noisy, FACTORS) == factor_vae_score(moved, FACTORS)


def test_a_value_of_one_row_is_refused():
    y = FACTORS.copy()
    y[0, 1] = 6
    with pytest.raises(ValueError, match="factor 1 takes the value 6 in one row only; a group"):
        factor_vae_score(PERFECT, y)


# --- all ---


def test_the_same_seed_gives_the_same_scores():
    some = PERFECT[:2_000] + 2 * NOISE[:2_000], FACTORS[:2_000]
    first, other = (rulers.rulers(*some, seed=seed) for seed in (3, 4))
    assert first == rulers.rulers(*some, seed=3)
    assert first["mig"] == other["mig"]  # draws nothing
    for name in first.keys() - {"mig"}:
        assert first[name] != other[name]
        assert first[name] == pytest.approx(other[name], abs=0.03)


@pytest.mark.parametrize(
    ("mu", "factors", "words"),
    [
        (PERFECT[:, :1], FACTORS, "latents have 1 columns; at least 2"),
        (PERFECT, FACTORS[:, :1], "factors have one column"),
        (PERFECT, FACTORS[:99], "latents have 10000 rows and factors 99"),
        (PERFECT, FACTORS * 0.5, "factors must be integer classes; got dtype float64"),
        (PERFECT * np.nan, FACTORS, "every entry must be finite"),
        (PERFECT, FACTORS * [0, 1, 1, 1, 1], "factor 0 is constant"),
    ],
)
def test_what_cannot_be_measured_is_refused(mu, factors, words):
    for ruler in (mig, factor_vae_score, dci):
        with pytest.raises(ValueError, match=words):
            ruler(mu, factors)


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="bins is a whole number, at least 2; got 1"):
        mig(PERFECT, FACTORS, bins=1)
    with pytest.raises(ValueError, match="group is a whole number, at least 2; got 1"):
        factor_vae_score(PERFECT, FACTORS, group=1)
    with pytest.raises(ValueError, match="discrete must be 5 booleans, one per factor"):
        dci(PERFECT, FACTORS, [True])
