"""Every table: Table 1, Table 2, what the paper leaves open, the spread over seeds, the covariances. Cells are ready to be read."""

import dataclasses
import math

import numpy as np
import pandas as pd

from dipvae_src.settings import Settings
from replication import profiles
from replication.show import published
from replication.show.summary import (
    COLLAPSED_BELOW,
    METRICS,
    SAP_SCALE,
    ProfileResults,
    interval_of_difference,
    number,
    per_run,
    per_setting,
    with_half,
)


def table_1(shown: ProfileResults) -> pd.DataFrame:
    """The rows of Table 1 on a data set: ours with interval and n, the published value beside it with its standing."""
    paper, means = published.table_1(shown.data), per_setting(shown).set_index("label")
    rows = []
    for settings in profiles.table_1(shown.data):
        ours = means.loc[settings.label]
        reference = paper[(settings.objective, settings.weight)]
        row = {"method": settings.label, "seeds": int(ours["n"])}
        for metric, name in METRICS.items():
            name += " x 100" if metric == "sap" and SAP_SCALE[shown.data] == 100 else ""
            row[name] = with_half(
                ours[metric], ours[f"{metric}_half"], metric, SAP_SCALE[shown.data]
            )
            row[f"{name}, paper"] = published.cell(reference[metric], reference["verified"])
        rows.append(row)
    return pd.DataFrame(rows)


def table_1_notes(shown: ProfileResults) -> str:
    """What a reader of Table 1 must know: stand-ins, the standing of published values, rows whose models learnt nothing."""
    verified = all(row["verified"] for row in published.table_1(shown.data).values())
    return notes(shown, verified, [settings.label for settings in profiles.table_1(shown.data)])


def table_2_notes(shown: ProfileResults) -> str:
    """The same of Table 2."""
    verified = all(row["verified"] for row in published.table_2()["rows"].values())
    return notes(shown, verified, [settings.label for settings in table_2_models(shown)])


def notes(shown: ProfileResults, verified: bool, labels: list[str]) -> str:
    """The notes below a table that has published values and these models."""
    said = []
    if shown.results[0]["data"]["source"] == "stand-in":
        title = profiles.DATA_SETS[shown.data].title
        said.append(
            f"**Ours are of {shown.data_name}, not of {title}: they cannot be compared with the published values.**"
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
            said.append(
                f"{label}: {few} of {len(kl)} runs ignore their latents (KL below {COLLAPSED_BELOW} nats)."
            )
    return said


def table_2(shown: ProfileResults) -> pd.DataFrame:
    """Table 2: percent of test images whose attribute is predicted rightly from mu(x), by all latents and by one; the paper's beside it.

    Columns: the paper's twelve attributes (those that the data has), their mean, and the mean of their balanced accuracies. The first
    row always names the more frequent class: so much plain accuracy takes no latent, and its balanced accuracy is 50.
    """
    paper, first = published.table_2(), shown.results[0]["metrics"]["attributes"]
    names = [name for name in paper["attributes"] if name in first["names"]]
    columns = [first["names"].index(name) for name in names]

    def row(method: str, values: np.ndarray, balanced: np.ndarray) -> dict:
        means = {"mean": values[columns].mean(), "mean, balanced": balanced[columns].mean()}
        return {"method": method} | {
            n: f"{v:.1f}" for n, v in (dict(zip(names, values[columns])) | means).items()
        }

    rows = [
        row(
            "the more frequent class",
            np.array(first["majority"]),
            np.full(len(first["names"]), 50.0),
        )
    ]
    for prefix, words in (("", ""), ("single_", ", one latent")):
        for settings in table_2_models(shown):
            runs = [
                r["metrics"]["attributes"]
                for r in shown.results
                if r["settings"] == dataclasses.asdict(settings)
            ]
            values, balanced = (
                np.mean([run[prefix + kind] for run in runs], axis=0)
                for kind in ("accuracy", "balanced")
            )
            rows.append(row(settings.label + words, values, balanced))
    for key, reference in paper["rows"].items():
        if any(value is not None for value in reference["accuracy"].values()):
            name = key if isinstance(key, str) else profiles.MAKE[key[0]](key[1], "celeba").label
            rows.append(
                {"method": f"{name}, paper"}
                | {
                    n: published.cell(reference["accuracy"][n], reference["verified"])
                    for n in names
                }
            )
    return pd.DataFrame(rows).fillna("")


def table_2_models(shown: ProfileResults) -> list[Settings]:
    """VAE, beta-VAE 2, 4 and 8, and the DIP-VAEs of Table 1 with the smaller weights, as the profile sets them."""
    wanted = (
        ("beta-vae", 1),
        ("beta-vae", 2),
        ("beta-vae", 4),
        ("beta-vae", 8),
        ("dip-vae-i", 2),
        ("dip-vae-ii", 1),
    )
    return [
        profiles.experiment(shown.profile, objective, weight, "celeba")
        for objective, weight in wanted
    ]


def readings(shown: ProfileResults) -> pd.DataFrame:
    """What another reading of the paper does to a model: the score so read, and its change (95 % interval, Welch's t)."""
    runs, others, rows = per_run(shown), per_run(shown, readings=True), []
    for label, group in others.groupby("label", sort=False):
        reading = group["reading"].iloc[0]
        base = runs[runs["label"] == label.removesuffix(f", {reading}")]
        row = {
            "reading": reading,
            "model": base["label"].iloc[0],
            "seeds": f"{len(group)} against {len(base)}",
        }
        for metric, name in METRICS.items():
            a, b = group[metric].to_numpy(), base[metric].to_numpy()
            low, high = interval_of_difference(a, b)
            change = f"{number(a.mean() - b.mean(), metric)}, from {number(low, metric)} to {number(high, metric)}"
            row[name] = (
                f"{number(a.mean(), metric)} ({change if math.isfinite(low) else number(a.mean() - b.mean(), metric)})"
            )
        rows.append(row)
    return pd.DataFrame(rows or [{"reading": f"none was run in the {shown.profile} profile"}])


def other_scores(shown: ProfileResults) -> pd.DataFrame:
    """Table 1's models by other definitions of the reconstruction error and other thresholds of SAP's inactive latents, means over seeds."""
    rows = []
    for settings in profiles.table_1(shown.data):
        runs = [
            r["metrics"] for r in shown.results if Settings(**r["settings"]).label == settings.label
        ]
        row = {
            "method": settings.label,
            "squared error at mu (ours)": np.mean([m["reconstruction_error"] for m in runs]),
        }
        row["squared error at z ~ q(z|x)"] = np.mean([m["other_errors"]["sampled"] for m in runs])
        row["absolute error at mu"] = np.mean([m["other_errors"]["absolute"] for m in runs])
        thresholds = {str(runs[0]["sap"]["inactive_below"]): [m["sap"]["score"] for m in runs]}
        for threshold in runs[0]["sap"]["score_with_inactive_below"]:
            thresholds[threshold] = [m["sap"]["score_with_inactive_below"][threshold] for m in runs]
        for threshold in sorted(thresholds, key=float):
            ours = " (ours)" if float(threshold) == runs[0]["sap"]["inactive_below"] else ""
            row[f"SAP, inactive below {float(threshold):g}{ours}"] = SAP_SCALE[
                shown.data
            ] * np.mean(thresholds[threshold])
        rows.append(row)
    return pd.DataFrame(rows)


def spread(shown: ProfileResults) -> pd.DataFrame:
    """Standard deviation of a score over seeds (pooled over settings), and of the score itself on one model; models that ignore
    their latents, whose SAP is 0 whatever the seed, are left out.

    SAP's own: from its two halves of the test images (half their difference is the deviation of the whole); Z-diff's: from two
    draws of its pairs.
    """
    runs, rows = per_run(shown), []
    used = [r for r in shown.results if r["metrics"]["kl"] >= COLLAPSED_BELOW] or shown.results
    for metric, name in (("sap", METRICS["sap"]), ("zdiff", METRICS["zdiff"])):
        groups = [
            g[metric].to_numpy()
            for _, g in runs[runs["kl"] >= COLLAPSED_BELOW].groupby("label")
            if len(g) > 1
        ]
        freedom = sum(len(g) - 1 for g in groups)
        over_seeds = (
            math.sqrt(sum((len(g) - 1) * g.var(ddof=1) for g in groups) / freedom)
            if groups
            else math.nan
        )
        if metric == "sap":
            own = [
                SAP_SCALE[shown.data] * np.ptp(r["metrics"]["sap"]["score_of_halves"]) / 2
                for r in used
            ]
        else:
            own = [
                (r["metrics"]["zdiff"]["accuracy"] - r["metrics"]["zdiff"]["accuracy_again"])
                / math.sqrt(2)
                for r in used
            ]
        rows.append(
            {
                "score": name,
                "over seeds": over_seeds,
                "of the score itself": math.sqrt(np.mean(np.square(own))),
            }
        )
    return pd.DataFrame(rows)


def first_seeds(shown: ProfileResults) -> list[tuple[str, dict]]:
    """Label and metrics of the first seed of each row of Table 1."""
    labels = [settings.label for settings in profiles.table_1(shown.data)]
    found = {Settings(**r["settings"]).label: r["metrics"] for r in shown.results if r["seed"] == 0}
    return [(label, found[label]) for label in labels]


def covariances(shown: ProfileResults) -> pd.DataFrame:
    """How far from diagonal: the mean |C_ij| off the diagonal over seeds, and the range of both diagonals of the first seed."""
    models = first_seeds(shown)
    table = (
        per_setting(shown, ("off_diagonal",))
        .set_index("label")
        .loc[[label for label, _ in models]]
        .reset_index()
    )
    table = table[["label", "n", "off_diagonal", "off_diagonal_half"]].round(4)
    diagonals = [np.diag(metrics["covariance_of_means"]) for _, metrics in models]
    totals = [d + np.array(metrics["mean_variance"]) for d, (_, metrics) in zip(diagonals, models)]
    table["active latents, seed 0"] = [int((d > 0.01).sum()) for d in diagonals]
    table["Var of mu, seed 0"] = [f"{d.min():.2f} to {d.max():.2f}" for d in diagonals]
    table["Var of z, seed 0"] = [f"{t.min():.2f} to {t.max():.2f}" for t in totals]
    return table
