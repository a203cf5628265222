"""Every table: Tables 1 and 2, what the paper leaves open, the spread over seeds, covariances."""

import math

import numpy as np
import pandas as pd

from dipvae_src.settings import Settings
from replication import profiles
from replication.show import published
from replication.show.statistics import interval
from replication.show.summary import (
    COLLAPSED_BELOW,
    METRICS,
    SAP_SCALE,
    ProfileResults,
    by_seed,
    escaped,
    from_to,
    number,
    paired,
    per_run,
    per_setting,
    with_half,
)

# --- Table 1 ---


def table_1(shown: ProfileResults) -> pd.DataFrame:
    """The rows of Table 1 on a data set: ours with interval and n, beside it the published value
    with its standing.
    """
    paper, means = published.table_1(shown.data), per_setting(shown).set_index("label")
    scale, rows = SAP_SCALE[shown.data], []
    for settings in profiles.table_1(shown.data):
        ours = means.loc[settings.label]
        reference = paper[(settings.objective, settings.weight)]
        row = {"method": settings.label, "seeds": int(ours["n"])}
        for metric, name in METRICS.items():
            name += " x 100" if metric == "sap" and scale == 100 else ""
            row[name] = with_half(ours[metric], ours[f"{metric}_half"], metric, scale)
            row[f"{name}, paper"] = published.cell(reference[metric], reference["verified"])
        rows.append(row)
    return pd.DataFrame(rows)


def table_1_notes(shown: ProfileResults) -> str:
    """What a reader of Table 1 must know: stand-ins, the standing of published values, rows whose
    models learnt nothing.
    """
    verified = all(row["verified"] for row in published.table_1(shown.data).values())
    return notes(shown, verified, [s.label for s in profiles.table_1(shown.data)])


def table_2_notes(shown: ProfileResults) -> str:
    """The same of Table 2."""
    verified = all(row["verified"] for row in published.table_2()["rows"].values())
    return notes(shown, verified, [s.label for s in table_2_models(shown)])


def notes(shown: ProfileResults, verified: bool, labels: list[str]) -> str:
    """The notes below a table that has published values and these models."""
    said = []
    if shown.results[0]["data"]["source"] == "stand-in":
        title = profiles.DATA_SETS[shown.data].title
        said.append(
            f"**Ours are of {escaped(shown.data_name)}, not of {title}: they cannot be compared "
            "with the published values.**"
        )
    if not verified:
        said.append(published.UNVERIFIED_NOTE + ".")
    return " ".join(said + collapsed(shown, labels))


def collapsed(shown: ProfileResults, labels: list[str]) -> list[str]:
    """Which of these models ignore their latents, a sentence each."""
    runs, said = per_run(shown), []
    for label in labels:
        kl = runs[runs["label"] == label]["kl"]
        if few := int((kl < COLLAPSED_BELOW).sum()):
            below = f"(KL below {COLLAPSED_BELOW} nats)"
            said.append(f"{label}: {few} of {len(kl)} runs ignore their latents {below}.")
    return said


# --- Table 2 ---


def table_2_models(shown: ProfileResults) -> list[Settings]:
    """VAE, beta-VAE 2, 4 and 8, and the DIP-VAEs of Table 1 with the smaller weights."""
    wanted = (*profiles.of("beta-vae", 1, 2, 4, 8), ("dip-vae-i", 2), ("dip-vae-ii", 1))
    return [profiles.experiment(shown.profile, *point, "celeba") for point in wanted]


def table_2(shown: ProfileResults) -> pd.DataFrame:
    """Table 2: percent of test images whose attribute is predicted rightly from mu(x), by all
    latents and by one; the paper's beside it.

    Columns: the paper's twelve attributes (those that the data has), their mean, and the mean of
    their balanced accuracies. The first row always names the more frequent class: so much plain
    accuracy takes no latent, and its balanced accuracy is 50.
    """
    paper, first = published.table_2(), shown.results[0]["metrics"]["attributes"]
    names = [name for name in paper["attributes"] if name in first["names"]]
    columns = [first["names"].index(name) for name in names]

    def row(method: str, values: np.ndarray, balanced: np.ndarray) -> dict:
        cells = dict(zip(names, values[columns]))
        cells |= {"mean": values[columns].mean(), "mean, balanced": balanced[columns].mean()}
        return {"method": method} | {name: f"{value:.1f}" for name, value in cells.items()}

    def of_model(settings: Settings, kind: str) -> np.ndarray:
        runs = [r for r in shown.results if Settings(**r["settings"]) == settings]
        return np.mean([run["metrics"]["attributes"][kind] for run in runs], axis=0)

    guess = np.full(len(first["names"]), 50.0)
    rows = [row("the more frequent class", np.array(first["majority"]), guess)]
    for prefix, words in (("", ""), ("single_", ", one latent")):
        for settings in table_2_models(shown):
            found = (of_model(settings, prefix + kind) for kind in ("accuracy", "balanced"))
            rows.append(row(settings.label + words, *found))
    for key, reference in paper["rows"].items():
        known = reference["accuracy"]
        if any(value is not None for value in known.values()):
            name = key if isinstance(key, str) else profiles.setting(*key, "celeba").label
            cells = {n: published.cell(known[n], reference["verified"]) for n in names}
            rows.append({"method": f"{name}, paper"} | cells)
    return pd.DataFrame(rows).fillna("")


# --- what the paper leaves open, and what length and chance do ---


def readings(shown: ProfileResults) -> pd.DataFrame:
    """What another reading of the paper does to a model: the score so read, and its change, taken
    seed by seed, with the 95 % interval (Student's t) and the number of seeds.
    """
    runs, others, rows = per_run(shown), per_run(shown, readings=True), []
    for label, group in others.groupby("label", sort=False):
        reading = group["reading"].iloc[0]
        model = label.removesuffix(f", {reading}")
        rows.append({"reading": reading, "model": model} | changes(runs, model, others, label))
    return pd.DataFrame(rows or [{"reading": f"none was run in the {shown.profile} profile"}])


def longer(short: ProfileResults, long: ProfileResults) -> pd.DataFrame:
    """What more steps do to Table 1's models: scores after the longer training, and their change
    from the shorter, seed by seed, with the 95 % interval and the number of seeds.
    """
    before, after = per_run(short), per_run(long)
    labels = dict.fromkeys(after["label"])
    return pd.DataFrame(
        [{"model": label} | changes(before, label, after, label) for label in labels]
    )


def changes(before: pd.DataFrame, model: str, after: pd.DataFrame, label: str) -> dict[str, str]:
    """Of each score the mean of the runs `label`, and how far it is from the runs `model`."""
    found = {}
    for metric, name in METRICS.items():
        ours, read = by_seed(before, model, metric), by_seed(after, label, metric)
        change = paired(read, ours)
        text = from_to(interval(change), metric) if len(change) else "unknown: no seed in common"
        found[name] = f"{number(read.mean(), metric)}; change {text}"
    return found


def other_scores(shown: ProfileResults) -> pd.DataFrame:
    """Table 1's models by other definitions of the reconstruction error and other thresholds of
    SAP's inactive latents, means over seeds.
    """
    rows, scale = [], SAP_SCALE[shown.data]
    for settings in profiles.table_1(shown.data):
        label = settings.label
        runs = [r["metrics"] for r in shown.results if Settings(**r["settings"]).label == label]
        own = runs[0]["sap"]["inactive_below"]
        thresholds = {own: [m["sap"]["score"] for m in runs]}
        for other in runs[0]["sap"]["score_with_inactive_below"]:
            values = [m["sap"]["score_with_inactive_below"][other] for m in runs]
            thresholds[float(other)] = values
        row = {
            "method": label,
            "squared error at mu (ours)": np.mean([m["reconstruction_error"] for m in runs]),
            "squared error at z ~ q(z|x)": np.mean([m["other_errors"]["sampled"] for m in runs]),
            "absolute error at mu": np.mean([m["other_errors"]["absolute"] for m in runs]),
        }
        for below in sorted(thresholds):
            name = f"SAP, inactive below {below:g}" + (" (ours)" if below == own else "")
            row[name] = scale * np.mean(thresholds[below])
        rows.append(row)
    return pd.DataFrame(rows)


def spread(shown: ProfileResults) -> pd.DataFrame:
    """Standard deviation of a score over seeds (pooled over settings), and of the score itself on
    one model; models that ignore their latents, whose SAP is 0 whatever the seed, are left out.

    SAP's own: from its two halves of the test images (half their difference is the deviation of the
    whole); Z-diff's: from two draws of its pairs.
    """
    used = [r for r in shown.results if r["metrics"]["kl"] >= COLLAPSED_BELOW] or shown.results
    runs, scale = per_run(shown), SAP_SCALE[shown.data]
    runs = runs[runs["kl"] >= COLLAPSED_BELOW]
    own = {
        "sap": [scale * np.ptp(r["metrics"]["sap"]["score_of_halves"]) / 2 for r in used],
        "zdiff": [
            (r["metrics"]["zdiff"]["accuracy"] - r["metrics"]["zdiff"]["accuracy_again"])
            / math.sqrt(2)
            for r in used
        ],
    }
    rows = []
    for metric, values in own.items():
        groups = [g[metric].to_numpy() for _, g in runs.groupby("label") if len(g) > 1]
        freedom = sum(len(g) - 1 for g in groups)
        squares = sum((len(g) - 1) * g.var(ddof=1) for g in groups)
        over_seeds = math.sqrt(squares / freedom) if groups else math.nan
        of_itself = math.sqrt(np.mean(np.square(values)))
        row = {"score": METRICS[metric], "over seeds": over_seeds, "of the score itself": of_itself}
        rows.append(row)
    return pd.DataFrame(rows)


# --- the covariance that the objective is about ---


def first_seeds(shown: ProfileResults) -> list[tuple[str, dict]]:
    """Label and metrics of the first seed of each row of Table 1."""
    labels = [settings.label for settings in profiles.table_1(shown.data)]
    found = {Settings(**r["settings"]).label: r["metrics"] for r in reversed(shown.results)}
    return [(label, found[label]) for label in labels]


def covariances(shown: ProfileResults) -> pd.DataFrame:
    """How far from diagonal: mean |correlation| of the latents in use and mean |C_ij| of all, over
    seeds; how many are in use; the range of both diagonals of the first seed.
    """
    runs, rows = per_run(shown), []
    for label, metrics in first_seeds(shown):
        own = runs[runs["label"] == label]
        two = own["correlation"].dropna()  # of runs that have two latents in use
        means = np.diag(metrics["covariance_of_means"])
        total = means + np.array(metrics["mean_variance"])
        cells = {"mean |correlation|": two, "mean |C_ij|, i != j": own["off_diagonal"]}
        found = {
            name: interval(values.to_numpy()) if len(values) else None
            for name, values in cells.items()
        }
        halves = {name: i.half if i.n > 1 else math.nan for name, i in found.items() if i}
        rows.append({"method": label, "seeds": len(own)} | {
            name: with_half(i.mean, halves[name], name) if i else "" for name, i in found.items()
        } | {
            "latents in use": number(own["active"].mean(), "active"),
            "Var of mu, seed 0": f"{means.min():.2f} to {means.max():.2f}",
            "Var of z, seed 0": f"{total.min():.2f} to {total.max():.2f}",
        })  # fmt: skip
    return pd.DataFrame(rows)
