"""What a handful of seeds can say: means and differences with 95 % intervals, ratios of variances.

Runs of one seed share weights, order of the data and noise whatever their objective (train.py), so
models are compared seed by seed: the interval is that of the mean of the differences.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

CONFIDENCE = 0.95
MOST_SEEDS = 1_000  # beyond which "seeds that it would take" is not counted on


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95 % interval (Student's t), infinite for one seed."""

    mean: float
    half: float  # half of the interval's width
    deviation: float  # over seeds
    n: int

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval lies above or below 0, else 0: not told apart."""
        return int(self.low > 0) - int(self.high < 0)

    def seeds_to_decide(self) -> int | None:
        """How many seeds would take the interval off 0 if mean and deviation stayed as they are.

        None where that is more than MOST_SEEDS, or where fewer than two seeds tell no deviation.
        """
        if self.n < 2 or self.mean == 0:
            return None
        counts = np.arange(2, MOST_SEEDS + 1)
        halves = stats.t.ppf((1 + CONFIDENCE) / 2, counts - 1) * self.deviation / np.sqrt(counts)
        enough = counts[halves < abs(self.mean)]
        return int(enough[0]) if len(enough) else None


def interval(values: Float[np.ndarray, " seeds"]) -> Interval:
    """The mean of one value a seed (of a score, or of a difference between two models)."""
    values = np.asarray(values, dtype=float)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"a mean over seeds needs finite values, one a seed; got {values}")
    n, mean = len(values), float(values.mean())
    if n < 2:
        return Interval(mean, math.inf, math.nan, n)
    deviation = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * deviation / math.sqrt(n)
    return Interval(mean, half, deviation, n)


@dataclass(frozen=True)
class VarianceRatio:
    """The variance over seeds of one model over that of another, with its 95 % interval."""

    ratio: float
    low: float
    high: float
    n: tuple[int, int]


def variance_ratio(
    a: Float[np.ndarray, " seeds"], b: Float[np.ndarray, " others"]
) -> VarianceRatio | None:
    """var(a) / var(b) with an interval that does not assume normal values (Bonett 2006, "Robust
    confidence interval for a ratio of standard deviations", squared).

    The log of each variance has an error that grows with the kurtosis, which is estimated from both
    samples together, about means trimmed by 1 / (2 sqrt(n - 4)). Takes the samples as independent;
    where seeds are paired and alike, the interval is wider than it need be. None below five values
    each or where one sample does not vary.
    """
    samples = [np.asarray(values, dtype=float) for values in (a, b)]
    if min(map(len, samples)) < 5 or any(x.var() == 0 for x in samples):
        return None
    n = np.array([len(x) for x in samples])
    variances = np.array([x.var(ddof=1) for x in samples])
    trims = [min(0.49, 0.5 / math.sqrt(len(x) - 4)) for x in samples]
    fourth = sum(((x - stats.trim_mean(x, t)) ** 4).sum() for x, t in zip(samples, trims))
    # Pooled as Bonett has it: both samples scaled to one variance would be another choice.
    kurtosis = n.sum() * fourth / ((n - 1) @ variances) ** 2
    error = math.sqrt(((kurtosis - (n - 3) / n) / (n - 1)).sum())
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    ratio, correction = (float(x[0] / x[1]) for x in (variances, n / (n - z)))
    low, high = (correction * ratio * math.exp(sign * z * error) for sign in (-1, 1))
    return VarianceRatio(ratio, low, high, (len(samples[0]), len(samples[1])))
