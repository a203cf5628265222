"""Z-diff: can a linear classifier tell which factor pairs have in common (Higgins et al. 2017)?

    from dipvae_src.zdiff import z_diff_score
    z_diff_score(latents, factors, seed=0).accuracy

Unlike SAP it asks only that the factors can be told apart, not that each has one latent of its own:
notebooks/04_sap_score.ipynb shows the difference.
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Integer
from sklearn.svm import LinearSVC

from dipvae_src.sap import check_codes, check_whole, without_offset

C = 0.01  # of the support vector machine, as the paper has it (recalled, unverified)
# LIBLINEAR multiplies a vector's entries by fours; from 1e77 on they overflow and it never returns.
LARGEST = 1e30
_CHUNK = 500  # vectors made at a time, so that memory stays at tens of megabytes


@dataclass(frozen=True)
class ZDiff:
    """A Z-diff score with all that is needed to repeat it."""

    accuracy: float  # percent of the test vectors whose factor was named rightly
    chance: float  # percent: 100 / factors
    pairs: int  # pairs averaged into one vector
    train: int  # vectors the classifier was fitted on
    test: int  # vectors it was scored on
    seed: int
    balanced: bool  # whether the values of a factor were drawn equally often


@no_type_check  # its own checks say more
def z_diff_score(
    latents: Float[np.ndarray, "samples latents"],
    factors: Integer[np.ndarray, "samples factors"],
    *,
    pairs: int = 64,
    train: int = 10_000,
    test: int = 5_000,
    seed: int = 0,
    balanced: bool = False,
) -> ZDiff:
    """Z-diff in percent, from the means mu(x) (N, D) and the factors' integer classes (N, K).

    One vector: pick a factor uniformly; draw `pairs` pairs of images that share its value,
    everything else left to chance; average |mu(x1) - mu(x2)| over the pairs. A linear classifier is
    fitted on `train` such vectors to name the factor and scored on `test` others.

    Each pair has a value of its own (a batch of Higgins et al. fixes the factor, not its value).
    The first of a pair is uniform over the rows, the second uniform over the other rows with the
    same value. Pairs for training and test come from the same images. With `balanced`, the value is
    drawn first, uniformly over those that the factor takes, and then the first of the pair,
    uniformly over the rows with that value: for attributes that few images have (CelebA), whose
    pairs would else nearly all share its absence; which of the two the paper does is open.

    The classifier is the paper's (recalled, unverified): one-vs-rest linear SVM, C = 0.01. As C is
    fixed, the score depends on the scale of the latents (not on their offset): a perfect code of 2D
    Shapes, one latent of standard deviation s for each factor, has 100 % down to s = 0.02 and 59.5
    % at 0.01, near chance below. So a model whose latents in use are small is scored lower for that
    alone.

    Raises ValueError on NaN, shapes that do not match, factors that are not integers or never
    change, a value that only one row has, fewer than two factors, latents too large for the
    classifier's arithmetic (LARGEST).
    """
    latents, factors = check_codes(latents, factors, min_latents=1)
    if factors.dtype.kind not in "biu":
        wanted = "factors must be integer classes, for pairs to share a value"
        raise ValueError(f"{wanted}; got dtype {factors.dtype}")
    n_factors = factors.shape[1]
    if n_factors < 2:
        raise ValueError("factors have one column; telling factors apart needs at least 2")
    check_whole(0, seed=seed)
    check_whole(1, pairs=pairs, test=test)
    check_whole(2, train=train)
    if not isinstance(balanced, bool):
        raise ValueError(f"balanced is True or False; got {balanced!r}")
    latents = for_classifier(without_offset(latents)[0])

    rng = np.random.default_rng(seed)
    picked = rng.integers(n_factors, size=train + test)
    if len(np.unique(picked[:train])) < 2:
        raise ValueError(f"the {train} training vectors are all of one factor; raise train")
    vectors = np.empty((train + test, latents.shape[1]))
    for j in range(n_factors):
        rows = np.flatnonzero(picked == j)
        vectors[rows] = _mean_differences(
            latents, factors[:, j], j, len(rows), pairs, rng, balanced
        )

    svc = classifier().fit(vectors[:train], picked[:train])
    accuracy = 100 * float(svc.score(vectors[train:], picked[train:]))
    chance = 100 / n_factors
    return ZDiff(accuracy, chance, pairs, train, test, seed, balanced)


def classifier(class_weight=None) -> LinearSVC:
    """One-vs-rest linear SVM, solved in the primal: in a few Newton steps, without random numbers.

    scikit-learn's defaults moved between releases, so none is relied upon.
    """
    return LinearSVC(
        C=C, class_weight=class_weight, penalty="l2", loss="squared_hinge", dual=False,
        multi_class="ovr", fit_intercept=True, intercept_scaling=1.0, tol=1e-4, max_iter=10_000,
        random_state=0,
    )  # fmt: skip


def for_classifier(latents):
    """latents (N, D) as float64, or ValueError where LIBLINEAR's arithmetic would overflow."""
    if (largest := np.abs(latents).max()) > LARGEST:
        wrong = f"latents reach {largest:.1e}; beyond {LARGEST:.0e} the classifier overflows"
        raise ValueError(f"{wrong}: divide them by a constant (on which the score depends)")
    return latents.astype(np.float64)


def _mean_differences(latents, values, j, count, pairs, rng, balanced=False):
    """(count, D): mean |mu(x1) - mu(x2)| over `pairs` pairs of rows alike in `values` (N,).

    The first row of a pair is uniform over the rows, or if `balanced` over those of a value that is
    itself uniform.
    """
    order = np.argsort(values, kind="stable")  # rows with the same value lie side by side
    unique, first_of, size_of = np.unique(values[order], return_index=True, return_counts=True)
    if (size_of < 2).any():
        value = unique[size_of.argmin()]
        raise ValueError(f"factor {j} takes the value {value} in one row only; a pair needs two")
    group = np.repeat(np.arange(len(unique)), size_of)
    first, size = first_of[group], size_of[group]  # of the group that each sorted position lies in
    by_value = latents[order]

    vectors = np.empty((count, latents.shape[1]))
    for begin in range(0, count, _CHUNK):
        shape = (min(_CHUNK, count - begin), pairs)
        if balanced:
            value = rng.integers(len(unique), size=shape)
            a = first_of[value] + rng.integers(size_of[value])
        else:
            a = rng.integers(len(values), size=shape)
        # Less than a full turn round the group: any row of it but a itself.
        step = 1 + rng.integers(size[a] - 1)
        b = first[a] + (a - first[a] + step) % size[a]
        vectors[begin : begin + len(a)] = np.abs(by_value[a] - by_value[b]).mean(axis=1)
    return vectors
