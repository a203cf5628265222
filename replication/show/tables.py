"""Every table: Tables 1 and 2, what the paper leaves open, the spread over seeds, covariances."""

import dataclasses
import math

import numpy as np
import pandas as pd

from dipvae_src.settings import Settings
from replication import profiles
from replication.show import published, summary
from replication.show.statistics import interval
from replication.show.summary import ProfileResults, per_run, per_setting
from replication.show.wording import brief, escaped, from_to, number, with_half


def row_labels(shown: ProfileResults) -> list[str]:
    """The rows of Table 1 on a data set, in its order."""
    return [settings.label for settings in profiles.table_1(shown.data)]


# --- Table 1 ---

EQ_7_ALONE = (
    "DIP-VAE-II: Eq. 7 alone, without the third moments that the paper is recalled to penalise"
)


def with_third_moments(shown: ProfileResults) -> ProfileResults:
    """The results of Table 1, those of its models that penalise third moments too after them."""
    added = {f"{label}, third moments" for label in row_labels(shown)}
    third = [r for r in shown.readings if Settings(**r["settings"]).label in added]
    return dataclasses.replace(shown, results=shown.rows + third)


def table_1(shown: ProfileResults) -> pd.DataFrame:
    """The rows of Table 1 on a data set, below them those with third moments: ours with interval
    and n, beside it the published value with its standing.
    """
    paper, scale, rows = published.table_1(shown.data), summary.SAP_SCALE[shown.data], []
    for _, ours in per_setting(with_third_moments(shown)).iterrows():
        reference = paper[(ours["objective"], ours["weight"])]
        row = {"method": ours["label"], "seeds": ours["n"]}
        for metric, name in summary.METRICS.items():
            name += " x 100" if metric == "sap" and scale == 100 else ""
            row[name] = with_half(ours[metric], ours[f"{metric}_half"], metric, scale)
            row[f"{name}, paper"] = published.cell(reference[metric], reference["verified"])
        rows.append(row)
    return pd.DataFrame(rows)


def table_1_notes(shown: ProfileResults, third: bool = True) -> str:
    """What a reader of Table 1 must know: stand-ins, the standing of published values, rows whose
    models learnt nothing. `third`: whether it has the rows with third moments.
    """
    part = with_third_moments(shown) if third else shown
    labels = list(per_run(part)["label"].unique()) if third else row_labels(shown)
    said = notes(part, published.table_1(shown.data), labels)
    if shown.data != "shapes2d":
        return said
    added = ", which the last rows add" if len(labels) > len(row_labels(shown)) else ""
    return f"{EQ_7_ALONE}{added}. {said}"


def table_2_notes(shown: ProfileResults) -> str:
    """The same of Table 2."""
    return notes(shown, published.table_2()["rows"], [s.label for s in table_2_models(shown)])


def notes(shown: ProfileResults, paper: dict, labels: list[str]) -> str:
    """The notes below a table that has these published rows and these models."""
    said = []
    if shown.results[0]["data"]["source"] == "stand-in":
        title = profiles.DATA_SETS[shown.data].title
        ours = escaped(shown.data_name)
        why = "they cannot be compared with the published values."
        said.append(f"**Ours are of {ours}, not of {title}: {why}**")
    if not all(row["verified"] for row in paper.values()):
        said.append(published.UNVERIFIED_NOTE + ".")
    return " ".join(said + few_latents(shown, labels))


def few_latents(shown: ProfileResults, labels: list[str]) -> list[str]:
    """Which of these models ignore their latents, or use one alone, a sentence each."""
    runs, said, alone, scale = per_run(shown), [], [], summary.SAP_SCALE[shown.data]
    for label in labels:
        own = runs[runs["label"] == label]
        ignored = own["kl"] < summary.COLLAPSED_BELOW
        if ignored.any():
            below = f"(KL below {summary.COLLAPSED_BELOW} nats)"
            said.append(
                f"{label}: {ignored.sum()} of {len(own)} runs ignore their latents {below}."
            )
        single = own[~ignored & (own["active"] == 1)]
        if len(single) and summary.EVERY_LATENT in own:
            means = (single[name].mean() for name in (summary.EVERY_LATENT, "sap"))
            counted_in, told = (number(mean, "sap", scale) for mean in means)
            runs_of = f"{brief(label)} in {len(single)} of {len(own)} runs"
            alone.append(f"{runs_of} (mean {told}; counting latents that are off, {counted_in})")
    if alone:
        said.append(
            f"With one latent in use SAP has no second best to subtract: {', '.join(alone)}."
        )
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

    def row(method: str, accuracy: np.ndarray, balanced: np.ndarray) -> dict:
        plain, fair = (pd.Series(x, first["names"])[names] for x in (accuracy, balanced))
        cells = plain.to_dict() | {"mean of these": plain.mean(), "balanced": fair.mean()}
        return {"method": method} | {name: f"{value:.1f}" for name, value in cells.items()}

    guess = np.full(len(first["names"]), 50.0)
    rows = [row("the more frequent class", np.array(first["majority"]), guess)]
    for prefix, words in (("", ""), ("single_", ", one latent")):
        for settings in table_2_models(shown):
            own = [r["metrics"]["attributes"] for r in shown.results
                   if Settings(**r["settings"]) == settings]  # fmt: skip
            kinds = (prefix + "accuracy", prefix + "balanced")
            found = (np.mean([attributes[kind] for attributes in own], axis=0) for kind in kinds)
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
    runs, others = per_run(shown), per_run(shown, readings=True)
    rows = []
    for label, reading in others[["label", "reading"]].drop_duplicates().itertuples(index=False):
        model = label.removesuffix(f", {reading}")
        rows.append({"reading": reading, "model": model} | changes(runs, model, others, label))
    return pd.DataFrame(rows or [{"reading": f"none was run in the {shown.profile} profile"}])


def readings_and_bases(shown: ProfileResults) -> list[dict]:
    """What `readings` is made of: the runs read otherwise, and those of the same model and seed."""

    def model(run: dict) -> tuple:
        settings = Settings(**run["settings"])
        return settings.objective, settings.weight, run["seed"]

    read = {model(run) for run in shown.readings}
    return [run for run in shown.results if model(run) in read] + shown.readings


def readings_notes(shown: ProfileResults) -> str:
    """Which of those runs ignore their latents, or use one alone."""
    runs = readings_and_bases(shown)
    part = dataclasses.replace(shown, results=runs or shown.results)
    labels = dict.fromkeys(Settings(**run["settings"]).label for run in runs)
    return " ".join(few_latents(part, list(labels)))


def longer(short: ProfileResults, long: ProfileResults) -> pd.DataFrame:
    """What more steps do to Table 1's models: scores after the longer training, and their change
    from the shorter, seed by seed, with the 95 % interval and the number of seeds.
    """
    before, after = per_run(short), per_run(long)
    labels = after["label"].unique()
    return pd.DataFrame([{"model": x} | changes(before, x, after, x) for x in labels])


def changes(before: pd.DataFrame, model: str, after: pd.DataFrame, label: str) -> dict[str, str]:
    """Of each score the mean of the runs `label`, and how far it is from the runs `model`."""
    found = {}
    for metric, name in summary.METRICS.items():
        ours, read = summary.by_seed(before, model, metric), summary.by_seed(after, label, metric)
        change = summary.paired(read, ours)
        text = "unknown: no seed in common"
        if len(change):
            text = from_to(interval(change), metric)
        found[name] = f"{number(read.mean(), metric)}; change {text}"
    return found


def other_scores(shown: ProfileResults) -> pd.DataFrame:
    """Table 1's models by other definitions of the reconstruction error and other thresholds of
    SAP's inactive latents, means over seeds.
    """
    runs = per_run(shown)
    titles = {
        "reconstruction_error": "squared error at mu (ours)",
        "sampled": "squared error at z ~ q(z|x)",
        "absolute": "absolute error at mu",
    }
    thresholds = [column for column in runs if column.startswith("SAP, inactive below")]
    means = runs.groupby("label")[[*titles, *thresholds]].mean().loc[row_labels(shown)]
    return means.rename(columns=titles).rename_axis("method").reset_index()


def spread(shown: ProfileResults) -> pd.DataFrame:
    """Standard deviation of a score over seeds (pooled over settings), and of the score itself on
    one model; models that ignore their latents, whose SAP is 0 whatever the seed, are left out.
    """
    runs, rows = per_run(shown), []
    used = runs[runs["kl"] >= summary.COLLAPSED_BELOW]
    for metric in ("sap", "zdiff"):
        groups = used.groupby("label")[metric]
        freedom = groups.count() - 1
        squares = (freedom * groups.var()).sum()  # of one run alone there is no variance
        own = (used if len(used) else runs)[f"{metric} itself"]
        rows.append({
            "score": summary.METRICS[metric],
            "over seeds": math.sqrt(squares / freedom.sum()) if freedom.sum() else math.nan,
            "of the score itself": math.sqrt((own**2).mean()),
        })  # fmt: skip
    return pd.DataFrame(rows)


# --- the covariance that the objective is about ---


def first_seeds(shown: ProfileResults) -> list[tuple[str, dict]]:
    """Label and metrics of the first seed of each row of Table 1."""
    found = {Settings(**r["settings"]).label: r["metrics"] for r in reversed(shown.results)}
    return [(label, found[label]) for label in row_labels(shown)]


def covariances(shown: ProfileResults) -> pd.DataFrame:
    """How far from diagonal: mean |correlation| of the latents in use (of the runs that have two)
    and mean |C_ij| of all, over seeds; how many are in use; the range of both diagonals of the
    first seed.
    """
    means, rows = per_setting(shown, ("correlation", "off_diagonal", "active")), []
    means, with_two = means.set_index("label"), per_run(shown).groupby("label")["correlation"]
    for label, metrics in first_seeds(shown):
        own = means.loc[label]
        of_mu = np.diag(metrics["covariance_of_means"])
        of_z = of_mu + np.array(metrics["mean_variance"])
        rows.append({
            "method": label, "seeds": int(own["n"]),
            "seeds with two or more latents in use": int(with_two.count()[label]),
            "mean |correlation|":
                with_half(own["correlation"], own["correlation_half"], "correlation"),
            "mean |C_ij|, i != j":
                with_half(own["off_diagonal"], own["off_diagonal_half"], "off_diagonal"),
            "latents in use": number(own["active"], "active"),
            "Var of mu, seed 0": f"{of_mu.min():.2f} to {of_mu.max():.2f}",
            "Var of z, seed 0": f"{of_z.min():.2f} to {of_z.max():.2f}",
        })  # fmt: skip
    return pd.DataFrame(rows)
