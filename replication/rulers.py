"""MIG, the FactorVAE metric and DCI: the rulers of other papers, laid to the codes of a run.

    from replication.codes import read_codes
    from replication.rulers import rulers
    rulers(*read_codes("results/quick/dip-vae-i_10_seed0.codes.npz"))

Each takes the means mu (N, D) of images and their factors' classes (N, K), nothing else: no
network, no training. So none is its paper's to the letter, as those draw new images or sample z;
what differs stands in each docstring, as recalled from the papers and unverified. All raise
ValueError like `sap_score` (NaN, shapes that do not match, a factor that never changes, one latent
only), and where there is one factor only or factors are not whole numbers.
Results keep the scores in their field `rulers`: `python -m replication.measure FOLDER`.
"""

from collections.abc import Sequence
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Integer
from scipy.stats import entropy
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import mutual_info_score

from dipvae_src.sap import INACTIVE_BELOW, check_codes, check_whole
from replication import provenance

CODE = provenance.hash_of(("replication/rulers.py",))  # of what made the scores in a result
BINS = 20  # a latent: as is usual, though 2D Shapes has factors of 32 and 40 values
SHAPES2D = (True, False, False, False, False)  # the shape has no order, all others do


def rulers(
    mu: Float[np.ndarray, "images latents"],
    factors: Integer[np.ndarray, "images factors"],
    discrete: Sequence[bool] = SHAPES2D,
    seed: int = 0,
) -> dict[str, float]:
    """All scores of one code, each from 0 to 1; `discrete`: of each factor, as for SAP."""
    return {
        "mig": mig(mu, factors),
        "factor_vae": factor_vae_score(mu, factors, seed=seed),
        **dci(mu, factors, discrete, seed=seed),
    }


def checked(mu: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both, if they can be measured, or ValueError."""
    mu, factors = check_codes(mu, factors)
    if factors.dtype.kind not in "biu":
        raise ValueError(f"factors must be integer classes; got dtype {factors.dtype}")
    if factors.shape[1] < 2:
        raise ValueError("factors have one column; telling factors apart needs at least 2")
    return mu, factors


# --- MIG ---


@no_type_check  # its own checks say more
def mig(
    mu: Float[np.ndarray, "images latents"],
    factors: Integer[np.ndarray, "images factors"],
    bins: int = BINS,
    equal_counts: bool = False,
) -> float:
    """The mutual information gap (Chen et al. 2018, equation 6), 0 to 1.

    Of every factor: how much more the best latent tells of it than the second best, I(z; v) in
    nats, over the factor's entropy; the mean over the factors. Every factor counts as categorical.
    The paper integrates over z ~ q(z|x); here, as in most code, the means are cut into `bins` of
    equal width between a latent's smallest and largest (or, with `equal_counts`, of equally many
    images).

    Traps. A latent in 20 bins cannot name 32 or 40 values: a perfect code of 2D Shapes has 0.896
    (`mig_by_bins`). Bins know no scale: a latent that is off, but for a trace, counts as others do;
    one that is constant tells nothing. Two copies of a latent have no gap. A few hundred images
    make noise look informed, by (bins - 1) (values - 1) / 2N nats.
    """
    mu, factors = checked(mu, factors)
    check_whole(2, bins=bins)
    cut = [binned(latent, bins, equal_counts) for latent in mu.T]
    told = np.array([[mutual_info_score(factor, z) for factor in factors.T] for z in cut])
    second, first = np.sort(told, axis=0)[-2:]
    entropies = np.array([mutual_info_score(factor, factor) for factor in factors.T])
    return float(np.mean((first - second) / entropies))


def binned(
    latent: Float[np.ndarray, " images"], bins: int, equal_counts: bool = False
) -> Integer[np.ndarray, " images"]:
    """The bin, 0 to bins - 1, of each value; a value on an edge belongs to the right of it."""
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    if equal_counts:
        return np.digitize(latent, np.quantile(latent, inner))
    return np.digitize(latent, latent.min() + inner * np.ptp(latent))


def mig_by_bins(
    mu: Float[np.ndarray, "images latents"],
    factors: Integer[np.ndarray, "images factors"],
    bins: Sequence[int] = (10, 20, 50, 100),
) -> list[dict]:
    """MIG by the number of bins, of equal width and of equal counts: rows for a pd.DataFrame."""
    return [
        {"bins": n, "equal width": mig(mu, factors, n), "equal counts": mig(mu, factors, n, True)}
        for n in bins
    ]


# --- the FactorVAE metric ---


@no_type_check  # its own checks say more
def factor_vae_score(
    mu: Float[np.ndarray, "images latents"],
    factors: Integer[np.ndarray, "images factors"],
    votes: int = 10_000,
    test_votes: int = 5_000,
    group: int = 64,
    seed: int = 0,
) -> float:
    """The metric of Kim and Mnih (2018, section 3), 0 to 1: the share of votes that are right.

    One vote: pick a factor, and a value of it, uniformly; draw a group of images with that value;
    the latent whose variance in the group is the smallest share of its variance over all images
    votes for the factor. A latent stands for the factor that gave it most of `votes` (majority
    vote, nothing to fit); scored on `test_votes` others. Sizes are those of Locatello et al. 2019.

    Groups come from the rows at hand, with replacement, not from new images. Latents that are off
    have no vote: variance below SAP's INACTIVE_BELOW (the papers differ in that threshold). With
    none in use the score is 0, with one it is chance, 1 / K.

    Traps. It asks which latent a factor stills, not whether others know of it too: copies cost
    nothing, nor does a latent that follows two factors where another follows one of them.
    Raises ValueError besides where a value is in one row only: nothing varies in its group.
    """
    mu, factors = checked(mu, factors)
    check_whole(1, votes=votes, test_votes=test_votes)
    check_whole(2, group=group)
    on = mu.var(axis=0) >= INACTIVE_BELOW
    if not on.any():
        return 0.0
    scaled = mu[:, on] / mu[:, on].std(axis=0)
    rng = np.random.default_rng(seed)
    learned = cast_votes(scaled, factors, votes, group, rng)
    scored = cast_votes(scaled, factors, test_votes, group, rng)
    right = scored[np.arange(len(scored)), learned.argmax(axis=1)]
    return float(right.sum() / test_votes)


def cast_votes(
    scaled: Float[np.ndarray, "images latents"],
    factors: Integer[np.ndarray, "images factors"],
    count: int,
    group: int,
    rng: np.random.Generator,
) -> Integer[np.ndarray, "latents factors"]:
    """How many of `count` groups alike in each factor made each latent vary least."""
    latents, n_factors = scaled.shape[1], factors.shape[1]
    votes = np.zeros((latents, n_factors), dtype=int)
    for j, of_factor in enumerate(rng.multinomial(count, np.full(n_factors, 1 / n_factors))):
        values = np.unique(factors[:, j])
        by_value = rng.multinomial(of_factor, np.full(len(values), 1 / len(values)))
        for value, groups in zip(values, by_value):
            rows = np.flatnonzero(factors[:, j] == value)
            if len(rows) < 2:
                wrong = f"factor {j} takes the value {value} in one row only"
                raise ValueError(f"{wrong}; a group that varies needs two")
            drawn = scaled[rng.choice(rows, size=(groups, group))]  # (groups, group, latents)
            votes[:, j] += np.bincount(drawn.var(axis=1).argmin(axis=1), minlength=latents)
    return votes


# --- DCI ---


@no_type_check  # its own checks say more
def dci(
    mu: Float[np.ndarray, "images latents"],
    factors: Integer[np.ndarray, "images factors"],
    discrete: Sequence[bool] = SHAPES2D,
    trees: int = 50,
    seed: int = 0,
) -> dict[str, float]:
    """Disentanglement, completeness and informativeness (Eastwood and Williams 2018, section 2).

    R_ij says how much latent i matters where factor j is predicted from all latents (`fit`).
    Disentanglement: 1 - the entropy (base K) of a latent's row over the factors, averaged with the
    latents' shares of R: does a latent serve one factor only. Completeness: the same of a factor's
    column over the latents (base D): does a factor need one latent only. Informativeness: how much
    of the error of knowing nothing is gone, averaged over the factors. Each from 0 to 1.

    Traps. A forest's importances sum to 1 whatever it has learned, so read informativeness first: a
    code with one latent in use has completeness 1. Latents that are off matter to nothing, but the
    base D counts them, so completeness rises with their number. Copies share their importance: only
    completeness falls.
    """
    mu, factors = checked(mu, factors)
    if len(discrete) != factors.shape[1]:
        wanted = f"discrete must be {factors.shape[1]} booleans, one per factor"
        raise ValueError(f"{wanted}; got {discrete!r}")
    found = [fit(mu, factor, kind, trees, seed) for factor, kind in zip(factors.T, discrete)]
    importances = np.stack([column for column, _ in found], axis=1)
    return {
        "disentanglement": concentration(importances),
        "completeness": concentration(importances.T),
        "informativeness": float(np.mean([known for _, known in found])),
    }


def fit(
    mu: Float[np.ndarray, "images latents"],
    factor: Integer[np.ndarray, " images"],
    discrete: bool,
    trees: int,
    seed: int,
) -> tuple[Float[np.ndarray, " latents"], float]:
    """How much each latent matters to a forest that predicts one factor, and how well it does.

    A random forest, as the paper has it: scikit-learn's gradient boosting, which others take, grows
    a tree a class and a round, 40 times as many for the orientation. Every split chooses among all
    latents (a choice of few would hand importance to noise), leaves keep 5 images. Importances:
    impurity removed, summing to 1, or all 0 where no latent varies. Fitted on the even rows, scored
    on the odd ones: 1 - error / error of the training rows' mean (squared error; of a discrete
    factor the commonest class, share of wrong names), at least 0.
    """
    kind = RandomForestClassifier if discrete else RandomForestRegressor
    forest = kind(trees, min_samples_leaf=5, max_features=None, random_state=seed)
    forest.fit(mu[::2], factor[::2])
    predicted, true = forest.predict(mu[1::2]), factor[1::2]
    if discrete:
        values, counts = np.unique(factor[::2], return_counts=True)
        error, blind = predicted != true, values[counts.argmax()] != true
    else:
        error, blind = (predicted - true) ** 2, (factor[::2].mean() - true) ** 2
    return forest.feature_importances_, max(0.0, float(1 - error.mean() / blind.mean()))


def concentration(importances: Float[np.ndarray, "rows columns"]) -> float:
    """1 - the entropy of each row, base its length, averaged with the rows' sums; 0 if all is 0."""
    sums = importances.sum(axis=1)
    used = sums > 0
    if not used.any():
        return 0.0
    each = 1 - entropy(importances[used], axis=1, base=importances.shape[1])
    return float(np.average(each, weights=sums[used]).clip(0, 1))
