"""SAP, the Separated Attribute Predictability score of the paper: how far the best latent is ahead.

    from dipvae_src.sap import sap_score
    sap_score(latents, factors, discrete=[True, False, False, False, False]).score

latents are the encoder's means mu(x), one row per image; factors are the true values, one column
per factor. The lesson notebooks/04_sap_score.ipynb builds everything here from the definition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float, Shaped

# A latent is switched off when the variance of its mean over the data is below this. The paper does
# not give its threshold; 0.01 is the active-units threshold of Burda et al. 2016 ("Importance
# Weighted Autoencoders").
INACTIVE_BELOW = 0.01
# The exact search costs classes^2 * samples; a factor of more classes is surely continuous.
MAX_CLASSES = 128


@dataclass(frozen=True, eq=False)
class SAP:
    """A SAP score and what it is made of."""

    matrix: Float[np.ndarray, "latents factors"]  # S_ij: how well latent i alone predicts factor j
    active: Bool[np.ndarray, " latents"]  # False: the latent's row was set to 0

    @property
    def gaps(self) -> Float[np.ndarray, " factors"]:
        """Largest minus second largest entry of each column."""
        second, first = np.sort(self.matrix, axis=0)[-2:]
        return first - second

    @property
    def score(self) -> float:
        """The mean of the gaps, 0 to 1 (the paper's CelebA numbers are 100 times this)."""
        return float(self.gaps.mean())


@no_type_check  # its own checks say more
def sap_score(
    latents: Float[np.ndarray, "samples latents"],
    factors: Shaped[np.ndarray, "samples factors"],
    discrete: Sequence[bool] | np.ndarray,
    inactive_below: float = INACTIVE_BELOW,
) -> SAP:
    """The paper's SAP of latents (N, D) and factors (N, K); discrete holds K booleans.

    A continuous factor is scored by R^2 of the one-variable regression, that is the squared
    correlation. A discrete one with C classes is scored by the best balanced accuracy that at most
    C - 1 thresholds on the latent can reach, on these very samples and with any class in any
    interval; the optimum is exact (see `best_thresholds`). Neither depends on the scale and the
    offset of latent or factor. A latent whose variance is below `inactive_below` (in the latents'
    own units, squared) gets a row of zeros. Raises ValueError on anything that would give a number
    without a meaning: NaN, a factor that never changes, one latent only, shapes that do not match.
    """
    latents, factors = check_codes(latents, factors)
    flags = np.asarray(discrete)
    if flags.dtype != bool or flags.shape != (factors.shape[1],):
        wanted = f"discrete must be {factors.shape[1]} booleans, one per factor"
        raise ValueError(f"{wanted}; got {discrete!r}")
    if not isinstance(inactive_below, Real) or not 0 <= inactive_below < np.inf:
        wanted = "inactive_below is a variance, so a finite number >= 0"
        raise ValueError(f"{wanted}; got {inactive_below!r}")

    matrix = np.zeros((latents.shape[1], factors.shape[1]))
    unit, exponents = _to_unit(latents)
    with np.errstate(over="ignore", under="ignore"):  # beyond float64: on, or off, all the same
        variances = np.ldexp(unit.var(axis=0), 2 * exponents)
    # Constant latents are inactive even at inactive_below = 0; rounding leaves them some variance.
    active = (variances >= inactive_below) & (np.ptp(unit, axis=0) > 0)
    continuous, _ = _to_unit(factors[:, ~flags])
    matrix[np.ix_(active, ~flags)] = _squared_correlations(unit[:, active], continuous)

    columns = [(j, *_classes(factors[:, j], f"factor {j}")) for j in np.flatnonzero(flags)]
    for i in np.flatnonzero(active) if columns else ():
        order, ends = _sort(latents[:, i])  # one sort serves all factors
        for j, values, classes in columns:
            matrix[i, j] = _best_value(_prefix_weights(classes[order], ends, len(values)))

    return SAP(matrix, active)


def _squared_correlations(a, b):
    """(N, D) and (N, K) -> (D, K)."""
    a, b = (x - x.mean(axis=0) for x in (a, b))
    a, b = (x / np.sqrt((x * x).sum(axis=0)) for x in (a, b))
    return np.minimum((a.T @ b) ** 2, 1.0)  # rounding can pass 1


# --- numbers that float64 or its squares do not hold ---


def without_offset(columns):
    """columns (N, D) as floats, those far from 0 moved next to it, and what was subtracted (D,).

    2^60 and 2^60 + 1 (identifiers, time stamps in ns) are one number in float64. So the least value
    of a column whose distance from 0 is beyond 2^26 times its range is subtracted, in the column's
    own type, where that is exact. Whatever a network made in float32 (24 bits) is nearer than that
    and comes back equal to the last bit.
    """
    if columns.dtype.itemsize < 8:
        columns = columns.astype(np.float64)
    floats = np.result_type(columns, np.float64)  # or long doubles
    least, largest = columns.min(axis=0), columns.max(axis=0)
    low, high = least.astype(floats), largest.astype(floats)
    with np.errstate(over="ignore"):  # an infinite range is a wide one
        far = np.maximum(np.abs(low), np.abs(high)) / 2**26 > high - low
    offset = np.where(far, least, np.zeros_like(least))
    return (columns - offset).astype(floats), offset.astype(floats)


def _to_unit(columns):
    """columns (N, D) as float64, near 0, their largest magnitude 1/2 to 1; exponents (D,).

    Divided by powers of two, so all digits stay, and no square overflows or vanishes.
    """
    columns, _ = without_offset(columns)
    exponents = np.frexp(np.abs(columns).max(axis=0))[1]
    return np.ldexp(columns, -exponents).astype(np.float64), exponents


# --- discrete factors: the best thresholds ---
# Sort the samples by the latent. A sample of class c weighs 1 / (C n_c), so the weights of the
# samples that are classified rightly sum to the balanced accuracy. P_c(i) is the weight of class c
# among the first i samples. The best that j intervals can do on the first i samples, the last of
# them being called c, is, with g_0(0) = 0 (there alone),
#     f_j[c](i) = P_c(i) + max_{i' <= i} ( g_{j-1}(i') - P_c(i') ),    g_j = max_c f_j[c],
# a running maximum, so one pass per class and interval. Positions i, i' are those where the
# latent's value changes: a threshold cannot part equal values. i' = i is an empty interval; hence
# "at most".


def _sort(latent):
    """The order that sorts (N,); the M positions in it where a run of equal values ends."""
    order = np.argsort(latent, kind="stable")
    ordered = latent[order]
    return order, np.append(np.flatnonzero(ordered[1:] != ordered[:-1]) + 1, len(ordered))


def _prefix_weights(sorted_classes, ends, n_classes):
    """P (C, M + 1): weight of each class up to the m-th run of equal latents; P[:, 0] = 0."""
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
    # The last interval ends at the last sample.
    return min(1.0, max(w[-1] + np.max(best - w) for w in weights))


@no_type_check  # its own checks say more
def best_thresholds(
    latent: Float[np.ndarray, " samples"],
    classes: Shaped[np.ndarray, " samples"],
    max_thresholds: int | None = None,
) -> tuple[float, np.ndarray, np.ndarray]:
    """The thresholds on one latent with the best balanced accuracy for one discrete factor: exact.

    latent (N,), classes (N,) with C distinct values; at most `max_thresholds` (default C - 1)
    thresholds at any places, any class in any interval, equal latents never parted. Returns
    (balanced accuracy, thresholds (T,) ascending, labels (T + 1,)); T is the smallest number that
    reaches the optimum. A value is classified by `labels[np.searchsorted(thresholds, value)]`: one
    equal to a threshold belongs to its left. Raises ValueError like `sap_score`.
    """
    latent, classes = _plain("latent", latent, "samples,"), _plain("classes", classes, "samples,")
    check_codes(latent[:, None], classes[:, None], min_latents=1)
    values, classes = _classes(classes, "classes")
    max_thresholds = len(values) - 1 if max_thresholds is None else max_thresholds
    check_whole(0, max_thresholds=max_thresholds)

    order, ends = _sort(latent)
    weights = _prefix_weights(classes[order], ends, len(values))

    ending = [weights]  # ending[j][c, m] = f_{j+1}[c](m)
    for _ in range(max_thresholds):
        before = ending[-1].max(axis=0) - weights
        ending.append(weights + np.maximum.accumulate(before, axis=1))

    by_intervals = np.array([e[:, -1].max() for e in ending])
    # The fewest intervals that reach the optimum, the sums' rounding aside.
    fewest = int(np.argmax(by_intervals >= by_intervals.max() - 1e-12))
    accuracy, end, cuts, labels = by_intervals[fewest], len(ends), [], []
    for j in range(fewest, -1, -1):  # from the last interval to the first
        label = int(np.argmax(ending[j][:, end]))
        before = ending[j - 1].max(axis=0) - weights[label]
        begin = int(np.argmax(before[: end + 1])) if j else 0  # where it starts
        if begin < end and (not labels or label != labels[-1]):
            labels.append(label)
            cuts.append(begin)
        elif begin < end:
            cuts[-1] = begin  # the neighbour has the same label: one interval
        end = begin
    cuts, labels = np.array(cuts[-2::-1], dtype=int), np.array(labels[::-1])

    ordered = latent[order]
    left, right = ordered[ends[cuts - 1] - 1], ordered[ends[cuts] - 1]
    if latent.dtype.kind == "f":  # halfway, unless that rounds to the right one
        left, right = (x.astype(np.result_type(x, np.float64)) for x in (left, right))
        middle = left / 2 + right / 2
        left = np.where(middle < right, middle, left)
    return min(1.0, float(accuracy)), left, values[labels]


# --- bad input ---


def check_codes(latents, factors, min_latents=2):
    """Both, if they are fit for scoring, or ValueError. Constant factors are refused too."""
    latents = _plain("latents", latents, "samples, latents")
    factors = _plain("factors", factors, "samples, factors")
    rows, columns = latents.shape
    if rows != len(factors):
        wrong = f"latents have {rows} rows and factors {len(factors)}"
        raise ValueError(f"{wrong}; both need one row per sample")
    if rows < 2:
        raise ValueError(f"{rows} samples cannot be scored; at least 2 are needed")
    if columns < min_latents:
        raise ValueError(f"latents have {columns} columns; at least {min_latents} are needed")
    if factors.shape[1] == 0:
        raise ValueError("factors have no columns")
    for j in np.flatnonzero((factors == factors[0]).all(axis=0)):
        wrong = f"factor {j} is constant (always {factors[0, j]})"
        raise ValueError(f"{wrong} and scores nothing; leave it out")
    return latents, factors


def _plain(name, array, axes):
    """A NumPy array of finite real numbers with these axes, or ValueError."""
    mend = ""
    if isinstance(array, np.ma.MaskedArray):
        mend = ": leave out the rows with masked entries and give its .data"
    elif isinstance(array, np.matrix):
        mend = f": give np.asarray({name})"
    if mend or not isinstance(array, np.ndarray):
        got = f"{type(array).__name__}{mend}"
        raise ValueError(f"{name} must be a NumPy array of shape ({axes}); got {got}")
    if array.ndim != len(axes.split(", ")):
        raise ValueError(f"{name} must have shape ({axes}); got shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers; got dtype {array.dtype}")
    for place in np.argwhere(~np.isfinite(array))[:1]:
        where = "".join(f"{axis} {i}" for axis, i in zip(("row", ", column"), place))
        wrong = f"{name} holds {array[tuple(place)]} at {where}"
        raise ValueError(f"{wrong}; every entry must be finite")
    return np.asarray(array)


def check_whole(least, **sizes):
    """ValueError unless all of these are whole numbers and at least `least`."""
    for name, size in sizes.items():
        whole = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
        if not whole or size < least:
            raise ValueError(f"{name} is a whole number, at least {least}; got {size!r}")


def _classes(column, what):
    """The distinct values of a discrete factor (N,), and which of them each sample has."""
    values, classes = np.unique(column, return_inverse=True)
    if len(values) > MAX_CLASSES:
        found = f"{len(values)} distinct values; more than {MAX_CLASSES}"
        raise ValueError(f"{what} takes {found} is no discrete factor")
    return values, classes
