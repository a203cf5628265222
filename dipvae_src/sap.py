"""SAP, the Separated Attribute Predictability score of the DIP-VAE paper: how far the best latent is ahead of the next.

    from dipvae_src.sap import sap_score
    sap_score(latents, factors, discrete=[True, False, False, False, False]).score

latents are the encoder's means mu(x), one row per image; factors are the true values, one column per factor.
The lesson notebooks/04_sap_score.ipynb builds everything here from the definition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float, Shaped

# A latent is switched off when the variance of its mean over the data is below this. The paper does not give its
# threshold; 0.01 is the active-units threshold of Burda et al. 2016 ("Importance Weighted Autoencoders").
INACTIVE_BELOW = 0.01
# The exact search costs classes^2 * samples; beyond this many classes the factor is surely a continuous one.
MAX_CLASSES = 128


@dataclass(frozen=True, eq=False)
class SAP:
    """A SAP score and what it was made of."""

    score: float  # mean of the gaps, 0 to 1 (the paper's CelebA numbers are 100 times this)
    matrix: Float[np.ndarray, "latents factors"]  # S_ij: how well latent i alone predicts factor j
    gaps: Float[np.ndarray, " factors"]  # largest minus second largest entry of each column
    active: Bool[np.ndarray, " latents"]  # False: the latent's row was set to 0


@no_type_check  # its own checks say more
def sap_score(
    latents: Float[np.ndarray, "samples latents"],
    factors: Shaped[np.ndarray, "samples factors"],
    discrete: Sequence[bool] | np.ndarray,
    inactive_below: float = INACTIVE_BELOW,
) -> SAP:
    """The paper's SAP. latents (N, D) and factors (N, K) are NumPy arrays, discrete holds K booleans.

    A continuous factor is scored by R^2 of the one-variable regression, that is the squared correlation. A discrete one
    with C classes is scored by the best balanced accuracy that at most C - 1 thresholds on the latent can reach, on
    these very samples and with any class in any interval; the optimum is exact (see `best_thresholds`). A latent whose
    variance is below `inactive_below` (in the latents' own units, squared) gets a row of zeros. Raises ValueError on
    anything that would give a number without a meaning: NaN, a factor that never changes, one latent only, shapes that
    do not match.
    """
    latents, factors = check_codes(latents, factors)
    discrete = _check_discrete(discrete, factors)
    if not 0 <= inactive_below < np.inf:
        raise ValueError(
            f"inactive_below is a variance, so a finite number >= 0; got {inactive_below!r}"
        )

    matrix = np.zeros((latents.shape[1], factors.shape[1]))
    # Constant latents are inactive even at inactive_below = 0; rounding gives them a variance that is not quite 0.
    active = (latents.var(axis=0) >= inactive_below) & (np.ptp(latents, axis=0) > 0)
    matrix[np.ix_(active, ~discrete)] = _squared_correlations(
        latents[:, active], factors[:, ~discrete]
    )

    columns = [
        (j, *np.unique(factors[:, j], return_inverse=True)) for j in np.flatnonzero(discrete)
    ]
    for i in np.flatnonzero(active) if columns else ():
        order, ends = _sort(latents[:, i])  # one sort serves all factors
        for j, values, classes in columns:
            matrix[i, j] = _best_value(_prefix_weights(classes[order], ends, len(values)))

    return sap_of(matrix, active)


def sap_of(matrix, active) -> SAP:
    """The score of a matrix S (D, K) and of which latents are active (D,): the mean over columns of the gap between the two largest."""
    top_two = np.sort(matrix, axis=0)[-2:]
    gaps = top_two[1] - top_two[0]
    return SAP(score=float(gaps.mean()), matrix=matrix, gaps=gaps, active=active)


def _squared_correlations(a, b):
    """(N, D) and (N, K) -> (D, K)."""
    a, b = (x - x.mean(axis=0) for x in (a, b))
    a, b = (x / np.sqrt((x * x).sum(axis=0)) for x in (a, b))
    return np.minimum((a.T @ b) ** 2, 1.0)  # rounding can pass 1


# --- discrete factors: the best thresholds ----------------------------------------------------------------------------
# Sort the samples by the latent. A sample of class c weighs 1 / (C n_c), so the weights of the samples that are
# classified rightly sum to the balanced accuracy. P_c(i) is the weight of class c among the first i samples. The best
# that j intervals can do on the first i samples, the last of them being called c, is
#     f_j[c](i) = P_c(i) + max_{i' <= i} ( g_{j-1}(i') - P_c(i') ),    g_j = max_c f_j[c],    g_0(0) = 0 (there alone),
# a running maximum, so one pass per class and interval. Positions i, i' are those where the latent's value changes: a
# threshold cannot part equal values. i' = i is an empty interval; hence "at most".


def _sort(latent):
    """The order that sorts (N,), and the M positions in it at which a run of equal values ends (the last is N)."""
    order = np.argsort(latent, kind="stable")
    ordered = latent[order]
    return order, np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(ordered))


def _prefix_weights(sorted_classes, ends, n_classes):
    """P (C, M + 1): weight of each class among the samples up to the m-th run of equal latents; P[:, 0] = 0."""
    weights = np.zeros((n_classes, len(ends) + 1))
    for c in range(n_classes):
        weights[c, 1:] = np.cumsum(sorted_classes == c, dtype=np.int32)[ends - 1]
    return weights / (n_classes * weights[:, -1:])


def _best_value(weights):
    """The optimum with at most C - 1 thresholds, without its thresholds."""
    n_classes = len(weights)
    best = weights.max(axis=0)  # g_1
    for _ in range(n_classes - 2):
        best = np.max([w + np.maximum.accumulate(best - w) for w in weights], axis=0)
    return min(
        1.0, max(w[-1] + np.max(best - w) for w in weights)
    )  # the last interval ends at the last sample


@no_type_check  # its own checks say more
def best_thresholds(
    latent: Float[np.ndarray, " samples"],
    classes: Shaped[np.ndarray, " samples"],
    max_thresholds: int | None = None,
) -> tuple[float, np.ndarray, np.ndarray]:
    """The thresholds on one latent with the best balanced accuracy for one discrete factor: exact, over all placements.

    latent (N,), classes (N,) with C distinct values; at most `max_thresholds` (default C - 1) thresholds, any class in
    any interval, equal latents never parted. Returns (balanced accuracy, thresholds (T,) ascending, labels (T + 1,)); T
    is the smallest number that reaches the optimum. A value is classified by
    `labels[np.searchsorted(thresholds, value)]`: one equal to a threshold belongs to its left.
    """
    latent, classes = check_codes(
        _column(latent, "latent"), _column(classes, "classes"), min_latents=1
    )
    values, classes = np.unique(classes[:, 0], return_inverse=True)
    if len(values) > MAX_CLASSES:
        raise ValueError(
            f"classes takes {len(values)} distinct values; more than {MAX_CLASSES} is no discrete factor"
        )
    max_thresholds = len(values) - 1 if max_thresholds is None else max_thresholds
    if (
        not isinstance(max_thresholds, (int, np.integer))
        or isinstance(max_thresholds, bool)
        or max_thresholds < 0
    ):
        raise ValueError(f"max_thresholds is a whole number >= 0; got {max_thresholds!r}")

    latent = latent[:, 0]
    order, ends = _sort(latent)
    weights = _prefix_weights(classes[order], ends, len(values))

    ending = [weights]  # ending[j][c, m] = f_{j+1}[c](m)
    start = [np.zeros(weights.shape, dtype=int)]  # where that last interval starts
    for _ in range(max_thresholds):
        before = ending[-1].max(axis=0) - weights
        running = np.maximum.accumulate(before, axis=1)
        rises = np.diff(running, axis=1, prepend=-np.inf) > 0
        start.append(np.maximum.accumulate(np.where(rises, np.arange(rises.shape[1]), 0), axis=1))
        ending.append(weights + running)

    by_intervals = np.array([e[:, -1].max() for e in ending])
    j = int(
        np.argmax(by_intervals >= by_intervals.max() - 1e-12)
    )  # the fewest intervals that reach the optimum
    accuracy, end, cuts, labels = by_intervals[j], len(ends), [], []
    for j in range(j, -1, -1):  # from the last interval to the first
        label = int(np.argmax(ending[j][:, end]))
        begin = start[j][label, end]
        if begin < end and (not labels or label != labels[-1]):
            labels.append(label)
            cuts.append(begin)
        elif begin < end:
            cuts[-1] = begin  # the neighbour has the same label: one interval
        end = begin
    cuts, labels = np.array(cuts[-2::-1], dtype=int), np.array(labels[::-1])

    ordered = latent[order]
    left, right = ordered[ends[cuts - 1] - 1], ordered[ends[cuts] - 1]
    middle = left / 2 + right / 2
    return min(1.0, float(accuracy)), np.where(middle < right, middle, left), values[labels]


# --- bad input --------------------------------------------------------------------------------------------------------


def check_codes(latents, factors, min_latents=2):
    """Both as arrays fit for scoring, the latents as float64, or ValueError. Constant factors are refused too."""
    for name, array, axes in (
        ("latents", latents, "samples, latents"),
        ("factors", factors, "samples, factors"),
    ):
        if not isinstance(array, np.ndarray):
            raise ValueError(
                f"{name} must be a NumPy array of shape ({axes}); got {type(array).__name__}"
            )
        if array.ndim != 2:
            raise ValueError(f"{name} must have shape ({axes}); got shape {array.shape}")
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name} must hold real numbers; got dtype {array.dtype}")
        if not np.isfinite(array).all():
            row, column = np.argwhere(~np.isfinite(array))[0]
            value = array[row, column]
            raise ValueError(
                f"{name} holds {value} at row {row}, column {column}; every entry must be finite"
            )
    if len(latents) != len(factors):
        raise ValueError(
            f"latents have {len(latents)} rows and factors {len(factors)}; both need one row per sample"
        )
    if len(latents) < 2:
        raise ValueError(f"{len(latents)} samples cannot be scored; at least 2 are needed")
    if latents.shape[1] < min_latents:
        raise ValueError(
            f"latents have {latents.shape[1]} columns; the gap between the two best needs at least 2"
        )
    if factors.shape[1] == 0:
        raise ValueError("factors have no columns")
    for j in np.flatnonzero((factors == factors[0]).all(axis=0)):
        raise ValueError(
            f"factor {j} is constant (always {factors[0, j]}) and scores nothing; leave it out"
        )
    return latents.astype(np.float64), factors if factors.dtype.kind != "f" else factors.astype(
        np.float64
    )


def _check_discrete(discrete, factors):
    flags = np.asarray(discrete)
    if flags.dtype != bool or flags.shape != (factors.shape[1],):
        raise ValueError(
            f"discrete must be {factors.shape[1]} booleans, one per factor; got {discrete!r}"
        )
    for j in np.flatnonzero(flags):
        if (count := len(np.unique(factors[:, j]))) > MAX_CLASSES:
            raise ValueError(
                f"factor {j} is called discrete but takes {count} values (at most {MAX_CLASSES})"
            )
    return flags


def _column(array, name):
    if not isinstance(array, np.ndarray) or array.ndim != 1:
        got = getattr(array, "shape", type(array).__name__)
        raise ValueError(f"{name} must be a NumPy array of shape (samples,); got {got}")
    return array[:, None]
