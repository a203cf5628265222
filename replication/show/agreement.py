"""Do the rulers agree? The scores of one profile's runs, held against each other.

SAP and Z-diff are the paper's; MIG, the FactorVAE metric and DCI (replication/rulers.py) are those
of other papers, taken from the codes that each run left.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from replication import profiles
from replication.score_readings import NAMES
from replication.show.statistics import interval
from replication.show.summary import ProfileResults, per_run
from replication.show.wording import with_half

RULERS = {
    "sap": "SAP",
    "zdiff": "Z-diff",
    "mig": "MIG",
    "factor_vae": "FactorVAE",
    "disentanglement": "DCI",
}
COLUMNS = RULERS | {"reconstruction_error": "rec. error"}
SIX_LATENTS = "6 latents"  # a key of profiles.READINGS
OUTSIDE = Path(__file__).resolve().parents[2] / "results" / "outside.csv"
LEAST_SEEDS = 5  # for an interval by drawing seeds anew: fewer leave too few different draws
DRAWS = 1_000


def measured(shown: ProfileResults, readings: bool = False) -> pd.DataFrame:
    """One row a run that was laid to all rulers (`python -m replication.measure FOLDER`):
    label, objective, seed and the scores of COLUMNS.
    """
    runs = per_run(shown, readings)
    of_runs = [run.get("rulers", {}) for run in (shown.readings if readings else shown.results)]
    found = pd.DataFrame(of_runs, index=runs.index, columns=list(RULERS)[2:], dtype=float)
    found = runs[["label", "objective", "seed"]].join(runs[["sap", "zdiff"]]).join(found)
    return found.join(runs["reconstruction_error"]).dropna(ignore_index=True)


def rank_correlations(runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Spearman's correlation of every two of COLUMNS over all runs, and the ends of its 95 %
    interval.

    The interval comes from drawing seeds anew (all models of a seed together, as they share
    weights, order and noise), and is NaN where a model has fewer than LEAST_SEEDS seeds.
    """
    correlations = runs[list(COLUMNS)].corr("spearman").rename(index=COLUMNS, columns=COLUMNS)
    by_seed = [group for _, group in runs.groupby("seed")]
    if not runs.groupby("label")["seed"].nunique().min() >= LEAST_SEEDS:  # nor where there is none
        unknown = correlations * np.nan
        return correlations, unknown, unknown
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        again = pd.concat([by_seed[k] for k in rng.integers(len(by_seed), size=len(by_seed))])
        drawn.append(again[list(COLUMNS)].corr("spearman").to_numpy())
    low, high = np.nanquantile(drawn, (0.025, 0.975), axis=0)
    low, high = (
        pd.DataFrame(end).set_axis(correlations.index).set_axis(correlations.columns, axis=1)
        for end in (low, high)
    )
    return correlations, low, high


def correlation_table(runs: pd.DataFrame) -> pd.DataFrame:
    """`rank_correlations` as text, the interval in brackets; the upper half is left empty."""
    found, low, high = rank_correlations(runs)

    def cell(i: int, j: int) -> str:
        text = "" if np.isnan(found.iat[i, j]) else f"{found.iat[i, j]:z.2f}"
        if np.isnan(low.iat[i, j]):
            return text
        return f"{text} ({low.iat[i, j]:z.2f} to {high.iat[i, j]:z.2f})"

    names = list(found)
    rows = [
        [cell(i, j) if j < i else "" for j in range(len(names) - 1)] for i in range(1, len(names))
    ]
    return pd.DataFrame(rows, columns=names[:-1]).assign(score=names[1:])[["score", *names[:-1]]]


def places(shown: ProfileResults) -> pd.DataFrame:
    """The rows of Table 1, ranked by each ruler's mean over seeds (1: best): who changes places."""
    labels = [settings.label for settings in profiles.table_1(shown.data)]
    means = measured(shown).groupby("label")[list(RULERS)].mean().reindex(labels).dropna()
    ranks = means.rank(ascending=False, method="min").astype(int).rename(columns=RULERS)
    return ranks.rename_axis("model").reset_index()


def score_readings(shown: ProfileResults) -> pd.DataFrame:
    """What each reading of Z-diff and SAP (replication/score_readings.py; with all test images,
    replication/measure.py) changes of the score of Table 1's models: mean change over seeds, ± half
    of its 95 % interval (Student's t).
    """
    runs, rows = per_run(shown), {}
    labels = [settings.label for settings in profiles.table_1(shown.data)]
    said = [run.get("readings", {}) | run.get("all_images", {}) for run in shown.results]
    read = pd.DataFrame(said, index=runs.index).drop(columns="code", errors="ignore")
    for name in dict.fromkeys([*NAMES, *read]):
        metric = "zdiff" if name.startswith("Z-diff") else "sap"
        changes = (read[name] - runs[metric]).groupby(runs["label"]) if name in read else None
        for label in labels if name in read else ():
            values = changes.get_group(label).dropna().to_numpy()
            found = interval(values) if len(values) else None
            half = found.half if len(values) > 1 else np.nan
            cell = with_half(found.mean, half, metric, change=True) if found else ""
            rows.setdefault(name, {"reading": name})[label] = cell
    return pd.DataFrame(rows.values())


def with_every_seed(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of those models that have every seed that any has."""
    return runs.groupby("label").filter(lambda group: len(group) == runs["seed"].nunique())


def shares_of_variance(runs: pd.DataFrame) -> pd.DataFrame:
    """How much of each score's variance over runs the model explains, how much the seed, and what
    is left, which is both together (two-way analysis of variance, a run a cell), in percent; NaN
    where no two runs differ.

    Takes `with_every_seed`. `by chance`: what models that are all alike would seem to explain,
    (models - 1) / (runs - 1). Locatello et al. (2019) ask it of objective and seed.
    """
    runs, rows = with_every_seed(runs), []
    for score, name in COLUMNS.items() if len(runs) else ():
        table = runs.pivot(index="label", columns="seed", values=score)
        centred = table - table.to_numpy().mean()
        total = (centred**2).to_numpy().sum() or np.nan
        model = (centred.mean(axis=1) ** 2).sum() * table.shape[1]
        seed = (centred.mean(axis=0) ** 2).sum() * table.shape[0]
        rows.append({
            "score": name, "model": 100 * model / total, "seed": 100 * seed / total,
            "both together": 100 * (total - model - seed) / total,
            "model, by chance": 100 * (len(table) - 1) / max(table.size - 1, 1),
        })  # fmt: skip
    return pd.DataFrame(rows)


def traversals(shown: ProfileResults) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Claim 4 without an eye: the runs whose traversals were measured (traversal_score.py), with
    SAP and Z-diff; and the rank correlation (Spearman) of each with that score, its p-value by all
    orders of the runs.
    """
    runs = per_run(shown)
    said = [run.get("traversals", {}).get("score") for run in shown.results]
    columns = {"label": "model", "seed": "seed", "sap": "SAP", "zdiff": "Z-diff"}
    found = runs[list(columns)].rename(columns=columns).assign(traversals=said)
    found = found.astype({"traversals": float}).dropna(ignore_index=True)
    if len(found) < 3:
        return found, pd.DataFrame(columns=["score", "rank correlation", "p"])
    rows = []
    for name in ("SAP", "Z-diff"):

        def correlation(order: np.ndarray) -> float:
            return stats.spearmanr(order, found["traversals"]).statistic

        exact = stats.permutation_test(
            (found[name],), correlation, permutation_type="pairings", n_resamples=9_999, rng=0
        )
        rows.append({"score": name, "rank correlation": exact.statistic, "p": exact.pvalue})
    return found, pd.DataFrame(rows)


def outside(shown: ProfileResults) -> pd.DataFrame:
    """What somebody else measured of DIP-VAE with six latents (results/outside.csv), beside our
    runs of the reading SIX_LATENTS: means over seeds, ± half of their 95 % interval.
    """
    ours = measured(shown, readings=True)
    ours = ours[ours["label"].str.endswith(SIX_LATENTS)]
    rows = []
    for theirs in pd.read_csv(OUTSIDE).to_dict("records"):
        own = ours[ours["objective"] == theirs["objective"]]
        row = {"objective": theirs["objective"], "seeds": len(own), "theirs, runs": theirs["runs"]}
        for name, values in (("FactorVAE (%)", 100 * own["factor_vae"]), ("MIG", own["mig"])):
            found = interval(values.to_numpy()) if len(own) else None
            half = found.half if len(own) > 1 else np.nan
            digits = "zdiff" if name.endswith("(%)") else "sap"  # one digit of percents, three else
            row[name] = with_half(found.mean, half, digits) if found else "not run"
            row[f"{name}, theirs"] = theirs[name]
        rows.append(row)
    return pd.DataFrame(rows)
