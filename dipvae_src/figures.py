"""How results are shown: means over seeds with intervals, and tables and figures that name what they came from."""

import dataclasses
import io
import math
import textwrap
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Image, display
from scipy import stats

from dipvae_src import experiments, published, results

COLOURS = {"beta-vae": "#c44e52", "dip-vae-i": "#4c72b0", "dip-vae-ii": "#2e8b57"}
NAMES = {"beta-vae": "beta-VAE", "dip-vae-i": "DIP-VAE-I", "dip-vae-ii": "DIP-VAE-II"}
SAP_SCALE = published.SAP_TIMES | {"chairs": 1}
COLLAPSED_BELOW = 0.1  # nats of KL in all: such a model ignores its latents
METRICS = {"zdiff": "Z-diff (%)", "sap": "SAP", "reconstruction_error": "rec. error"}  # error: per pixel


@dataclasses.dataclass(frozen=True)
class Shown:
    """The results of a profile on one data set, ready to be shown."""

    profile: str
    results: list[dict]  # of the paper's own settings
    figures_dir: str  # where tables and figures are written; empty: nowhere
    data: str = "shapes2d"
    readings: list[dict] = dataclasses.field(default_factory=list)  # of the other readings (experiments.READINGS)

    @property
    def data_name(self) -> str:
        """The data set as a title must name it: a stand-in by its own name."""
        first, title = self.results[0]["data"], experiments.DATA_SETS[self.data].title
        return first["name"] if first["source"] == "stand-in" else f"{first['source']} {title}"

    @property
    def standing(self) -> str:
        """What a title must say: profile, what it leaves out, the data's source, code that differs."""
        left_out = experiments.profile(self.profile).left_out(self.data)
        first, every = self.results[0], self.results + self.readings
        full = experiments.plan("paper", data=self.data)
        for ours, of, what in (
            (len({str(r["settings"]) for r in every}), len(full), "settings"),
            (len(every), sum(len(seeds) for _, seeds in full), "runs"),
        ):
            left_out += f", {ours} {what} for {of}" if ours != of else ""
        parts = [f"{self.profile} profile" + (f": {left_out.removeprefix(', ')}" if left_out else ""), self.data_name]
        devices = sorted({r["device"].split(":")[0] for r in every})
        if len(devices) > 1:
            parts.append(f"runs on {' and '.join(devices)}")
        ways = sorted({f"{r['stack']['precision']} products, stacked" if "stack" in r else "the plain loop" for r in every})
        if ways != ["the plain loop"]:
            parts.append(f"trained with {' and '.join(ways)}")
        if first["code"] not in (results.LOADED, results.STACKED):
            parts.append(f"made by code {first['code'][:7]}, not the present {results.LOADED[:7]}")
        return "; ".join(parts)

    def title(self, text: str, width: int = 120) -> str:
        """A figure's title with its standing below, in lines of at most `width` characters."""
        return f"{text}\n" + textwrap.fill(f"({self.standing})", width)

    def source(self, notebook: str) -> str:
        """The notebook and the runs that a table or figure came from."""
        runs = len(self.results) + len(self.readings)
        return f"notebook {notebook}; {runs} runs of the {self.profile} profile, code {self.results[0]['code'][:7]}"

    def run_names(self) -> list[str]:
        return [results.path_of("", experiments.Settings(**r["settings"]), r["seed"]).stem for r in self.results + self.readings]


def load(profile: str, results_dir: str, figures_dir: str = "", seeds: int = 0, data: str = "shapes2d") -> Shown:
    """Exactly the runs that the profile plans on a data set (with `seeds` of each setting if above 0), from a results folder."""
    found = results.collect(results_dir, experiments.plan(profile, seeds or None, data))
    ours, readings = ([r for r in found if bool(r["settings"]["reading"]) == other] for other in (False, True))
    return Shown(profile, ours, figures_dir, data, readings)


# --- statistics ---


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval over seeds (Student's t); the half-width is NaN for one value."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), math.nan
    return float(np.mean(values)), float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))


def interval_of_difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of mean(a) - mean(b) over seeds, Welch's t; infinite where either has fewer than two seeds."""
    if min(len(a), len(b)) < 2:
        return -math.inf, math.inf
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if va + vb == 0:
        return a.mean() - b.mean(), a.mean() - b.mean()
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(va + vb)
    return a.mean() - b.mean() - half, a.mean() - b.mean() + half


def off_diagonal(result: dict) -> float:
    """Mean of |C_ij| over the pairs i != j of Cov_p(x)[mu(x)], which is also that of Cov_q(z)[z] (Eq. 5: Sigma is diagonal)."""
    covariance = np.array(result["metrics"]["covariance_of_means"])
    return float(np.abs(covariance[~np.eye(len(covariance), dtype=bool)]).mean())


def per_run(shown: Shown, readings: bool = False) -> pd.DataFrame:
    """One row per run (of the other readings, if asked): its setting, its weight (beta or lambda_od), its seed and its scores.

    SAP is times 100 on CelebA, as the paper has it there.
    """
    rows, scale = [], SAP_SCALE[shown.data]
    for result in shown.readings if readings else shown.results:
        settings, metrics = experiments.Settings(**result["settings"]), result["metrics"]
        rows.append(
            {
                "label": settings.label, "objective": settings.objective, "seed": result["seed"], "weight": settings.weight,
                "reading": settings.reading,
                "zdiff": metrics["zdiff"]["accuracy"] if metrics["zdiff"] else math.nan,
                "sap": scale * metrics["sap"]["score"] if metrics["sap"] else math.nan,
                "reconstruction_error": metrics["reconstruction_error"], "off_diagonal": off_diagonal(result), "kl": metrics["kl"],
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def per_setting(shown: Shown, metrics: tuple[str, ...] = tuple(METRICS)) -> pd.DataFrame:
    """One row per setting, in the plan's order: n, and for each metric its mean and `_half`, the half-width of its interval."""
    rows = []
    for keys, group in per_run(shown).groupby(["label", "objective", "weight"], sort=False):
        row = dict(zip(("label", "objective", "weight"), keys)) | {"n": len(group)}
        for metric in metrics:
            row[metric], row[f"{metric}_half"] = interval(group[metric].tolist())
        rows.append(row)
    return pd.DataFrame(rows)


# --- tables ---


def number(value: float, metric: str, scale: int = 1) -> str:
    digits = {"zdiff": 1, "sap": 2 if scale == 100 else 3}.get(metric, 4)
    return f"{value:.{digits}f}"


def with_half(value: float, half: float, metric: str, scale: int = 1) -> str:
    """A mean and, where there is one, the half-width of its interval."""
    return number(value, metric, scale) + ("" if math.isnan(half) else f" ± {number(half, metric, scale)}")


def table_1(shown: Shown) -> pd.DataFrame:
    """The rows of Table 1 on a data set: ours with interval and n, the published value beside it with its standing."""
    paper, summary = published.table_1(shown.data), per_setting(shown).set_index("label")
    rows = []
    for settings in experiments.table_1(shown.data):
        ours = summary.loc[settings.label]
        reference = paper[(settings.objective, settings.weight)]
        row = {"method": settings.label, "seeds": int(ours["n"])}
        for metric, name in METRICS.items():
            name += " x 100" if metric == "sap" and SAP_SCALE[shown.data] == 100 else ""
            row[name] = with_half(ours[metric], ours[f"{metric}_half"], metric, SAP_SCALE[shown.data])
            row[f"{name}, paper"] = published.cell(reference[metric], reference["verified"])
        rows.append(row)
    return pd.DataFrame(rows)


def table_1_notes(shown: Shown) -> str:
    """What a reader of Table 1 must know: stand-ins, the standing of published values, rows whose models learnt nothing."""
    notes = []
    if shown.results[0]["data"]["source"] == "stand-in":
        title = experiments.DATA_SETS[shown.data].title
        notes.append(f"**Ours are of {shown.data_name}, not of {title}: the two columns are not comparable.**")
    if not all(row["verified"] for row in published.table_1(shown.data).values()):
        notes.append(published.STANDING + ".")
    runs = per_run(shown)
    for label, group in runs[runs["kl"] < COLLAPSED_BELOW].groupby("label", sort=False):
        of = (runs["label"] == label).sum()
        notes.append(f"{label}: {len(group)} of {of} runs ignore their latents (KL below {COLLAPSED_BELOW} nats).")
    return " ".join(notes)


def table_2(shown: Shown) -> pd.DataFrame:
    """Table 2: percent of test images whose attribute is predicted rightly from mu(x), by all latents and by one; the paper's beside it.

    Columns: the paper's twelve attributes (those that the data has), their mean, and the mean of their balanced accuracies. The first
    row always names the more frequent class: so much plain accuracy takes no latent, and its balanced accuracy is 50.
    """
    paper, first = published.table_2(), shown.results[0]["metrics"]["attributes"]
    names = [name for name in paper["attributes"] if name in first["names"]]
    columns = [first["names"].index(name) for name in names]

    def row(method: str, values: np.ndarray, balanced: np.ndarray) -> dict:
        means = {"mean": values[columns].mean(), "mean, balanced": balanced[columns].mean()}
        return {"method": method} | {n: f"{v:.1f}" for n, v in (dict(zip(names, values[columns])) | means).items()}

    rows = [row("the more frequent class", np.array(first["majority"]), np.full(len(first["names"]), 50.0))]
    for prefix, words in (("", ""), ("single_", ", one latent")):
        for settings in table_2_models(shown):
            runs = [r["metrics"]["attributes"] for r in shown.results if r["settings"] == dataclasses.asdict(settings)]
            values, balanced = (np.mean([run[prefix + kind] for run in runs], axis=0) for kind in ("accuracy", "balanced"))
            rows.append(row(settings.label + words, values, balanced))
    for key, reference in paper["rows"].items():
        if any(value is not None for value in reference["accuracy"].values()):
            name = key if isinstance(key, str) else experiments.MAKE[key[0]](key[1], "celeba").label
            rows.append({"method": f"{name}, paper"} | {n: published.cell(reference["accuracy"][n], reference["verified"]) for n in names})
    return pd.DataFrame(rows).fillna("")


def table_2_models(shown: Shown) -> list[experiments.Settings]:
    """VAE, beta-VAE 2, 4 and 8, and the DIP-VAEs of Table 1 with the smaller weights, as the profile sets them."""
    wanted = (("beta-vae", 1), ("beta-vae", 2), ("beta-vae", 4), ("beta-vae", 8), ("dip-vae-i", 2), ("dip-vae-ii", 1))
    return [experiments.experiment(shown.profile, objective, weight, "celeba") for objective, weight in wanted]


# --- what the paper leaves open ---


def readings(shown: Shown) -> pd.DataFrame:
    """What another reading of the paper does to a model: the score so read, and its change (95 % interval, Welch's t)."""
    runs, others, rows = per_run(shown), per_run(shown, readings=True), []
    for label, group in others.groupby("label", sort=False):
        reading = group["reading"].iloc[0]
        base = runs[runs["label"] == label.removesuffix(f", {reading}")]
        row = {"reading": reading, "model": base["label"].iloc[0], "seeds": f"{len(group)} against {len(base)}"}
        for metric, name in METRICS.items():
            a, b = group[metric].to_numpy(), base[metric].to_numpy()
            low, high = interval_of_difference(a, b)
            change = f"{number(a.mean() - b.mean(), metric)}, from {number(low, metric)} to {number(high, metric)}"
            row[name] = f"{number(a.mean(), metric)} ({change if math.isfinite(low) else number(a.mean() - b.mean(), metric)})"
        rows.append(row)
    return pd.DataFrame(rows)


def other_scores(shown: Shown) -> pd.DataFrame:
    """Table 1's models by other definitions of the reconstruction error and other thresholds of SAP's inactive latents, means over seeds."""
    rows = []
    for settings in experiments.table_1(shown.data):
        runs = [r["metrics"] for r in shown.results if experiments.Settings(**r["settings"]).label == settings.label]
        row = {"method": settings.label, "squared error at mu (ours)": np.mean([m["reconstruction_error"] for m in runs])}
        row["squared error at z ~ q(z|x)"] = np.mean([m["other_errors"]["sampled"] for m in runs])
        row["absolute error at mu"] = np.mean([m["other_errors"]["absolute"] for m in runs])
        thresholds = {str(runs[0]["sap"]["inactive_below"]): [m["sap"]["score"] for m in runs]}
        for threshold in runs[0]["sap"]["score_with_inactive_below"]:
            thresholds[threshold] = [m["sap"]["score_with_inactive_below"][threshold] for m in runs]
        for threshold in sorted(thresholds, key=float):
            ours = " (ours)" if float(threshold) == runs[0]["sap"]["inactive_below"] else ""
            row[f"SAP, inactive below {float(threshold):g}{ours}"] = SAP_SCALE[shown.data] * np.mean(thresholds[threshold])
        rows.append(row)
    return pd.DataFrame(rows)


def spread(shown: Shown) -> pd.DataFrame:
    """Standard deviation of a score over seeds (pooled over settings), and of the score itself on one model.

    SAP's own: from its two halves of the test images (half their difference is the deviation of the whole); Z-diff's: from two
    draws of its pairs.
    """
    runs, rows = per_run(shown), []
    for metric, name in (("sap", METRICS["sap"]), ("zdiff", METRICS["zdiff"])):
        groups = [g[metric].to_numpy() for _, g in runs.groupby("label") if len(g) > 1]
        over_seeds = math.sqrt(np.mean([g.var(ddof=1) for g in groups])) if groups else math.nan
        if metric == "sap":
            own = [SAP_SCALE[shown.data] * np.ptp(r["metrics"]["sap"]["score_of_halves"]) / 2 for r in shown.results]
        else:
            own = [(r["metrics"]["zdiff"]["accuracy"] - r["metrics"]["zdiff"]["accuracy_again"]) / math.sqrt(2) for r in shown.results]
        rows.append({"score": name, "over seeds": over_seeds, "of the score itself": math.sqrt(np.mean(np.square(own)))})
    return pd.DataFrame(rows)


def markdown(frame: pd.DataFrame) -> str:
    """A table that GitHub renders."""
    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * len(frame.columns)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in frame.itertuples(index=False)])


def save_table(shown: Shown, frame: pd.DataFrame, name: str, notebook: str, title: str, notes: str = "") -> None:
    """Write `name`.csv (with a column naming the runs) and `name`.md (with title and sources) into the figures folder."""
    if not shown.figures_dir:
        return
    folder = Path(shown.figures_dir)
    folder.mkdir(parents=True, exist_ok=True)
    source = f"{shown.source(notebook)} ({shown.standing})"
    results.write_whole(folder / f"{name}.csv", frame.assign(source=source).to_csv(index=False).encode())
    runs = f"Source: {shown.source(notebook)}.\n\n<!-- runs: {', '.join(shown.run_names())} -->\n"
    text = "\n\n".join(part for part in (f"**{title}** ({shown.standing})", markdown(frame), notes, runs) if part)
    results.write_whole(folder / f"{name}.md", text.encode())


# --- figures ---


def style() -> None:
    """One look for all figures; no dates or random ids in files, so that equal results give equal files."""
    sns.set_theme(context="notebook", style="whitegrid", font_scale=0.9)
    matplotlib.rcParams.update({"figure.dpi": 80, "savefig.dpi": 110, "svg.hashsalt": "dip-vae", "figure.constrained_layout.use": True})


def trade_off(shown: Shown, title: str) -> plt.Figure:
    """Figure 1 or 2: SAP and Z-diff against the reconstruction error, a curve an objective, a dot a run, labels beta or lambda_od."""
    runs, means = per_run(shown), per_setting(shown)
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.8))
    for axis, metric in zip(axes, ("sap", "zdiff")):
        for objective, name in NAMES.items():
            dots, curve = runs[runs.objective == objective], means[means.objective == objective].sort_values("weight")
            colour = COLOURS[objective]
            axis.scatter(dots.reconstruction_error, dots[metric], s=14, alpha=0.5, color=colour)
            axis.plot(curve.reconstruction_error, curve[metric], "o-", color=colour, label=name)
            for point in curve.itertuples():
                place = (point.reconstruction_error, getattr(point, metric))
                axis.annotate(f"{point.weight:g}", place, xytext=(5, 5), textcoords="offset points", fontsize=9, color=colour)
        name = METRICS[metric] + (" x 100" if metric == "sap" and SAP_SCALE[shown.data] == 100 else "")
        axis.set(xlabel="reconstruction error per pixel", ylabel=name)
    axes[0].legend(title="labels: beta or lambda_od")
    figure.suptitle(shown.title(title), fontsize=10)
    return figure


def first_seeds(shown: Shown) -> list[tuple[str, dict]]:
    """Label and metrics of the first seed of each row of Table 1."""
    labels = [settings.label for settings in experiments.table_1(shown.data)]
    found = {experiments.Settings(**r["settings"]).label: r["metrics"] for r in shown.results if r["seed"] == 0}
    return [(label, found[label]) for label in labels]


def heat_maps(shown: Shown, title: str) -> plt.Figure:
    """Under each model of Table 1 (first seed), latents by falling KL: the covariance of the means above that of z (Eq. 5)."""
    models = first_seeds(shown)
    figure, axes = plt.subplots(2, len(models), figsize=(16, 6), sharex=True, sharey=True)
    for column, (label, metrics) in zip(axes.T, models):
        order = np.argsort(metrics["kl_per_latent"])[::-1]
        of_means = np.array(metrics["covariance_of_means"])[np.ix_(order, order)]
        total = of_means + np.diag(np.array(metrics["mean_variance"])[order])
        for axis, matrix in zip(column, (of_means, total)):
            sns.heatmap(
                matrix, ax=axis, vmin=-1.5, vmax=1.5, cmap="vlag", square=True, cbar=axis in axes[:, -1],
                xticklabels=False, yticklabels=False,
            )  # fmt: skip
        column[0].set_title(label, fontsize=9)
    axes[0, 0].set_ylabel("Cov of the means")
    axes[1, 0].set_ylabel("Cov of z")
    figure.suptitle(shown.title(title, 180), fontsize=10)
    return figure


def covariances(shown: Shown) -> pd.DataFrame:
    """How far from diagonal: the mean |C_ij| off the diagonal over seeds, and the range of both diagonals of the first seed."""
    models = first_seeds(shown)
    table = per_setting(shown, ("off_diagonal",)).set_index("label").loc[[label for label, _ in models]].reset_index()
    table = table[["label", "n", "off_diagonal", "off_diagonal_half"]].round(4)
    diagonals = [np.diag(metrics["covariance_of_means"]) for _, metrics in models]
    totals = [d + np.array(metrics["mean_variance"]) for d, (_, metrics) in zip(diagonals, models)]
    table["active latents, seed 0"] = [int((d > 0.01).sum()) for d in diagonals]
    table["Var of mu, seed 0"] = [f"{d.min():.2f} to {d.max():.2f}" for d in diagonals]
    table["Var of z, seed 0"] = [f"{t.min():.2f} to {t.max():.2f}" for t in totals]
    return table


def attribute_bars(shown: Shown, settings: experiments.Settings) -> plt.Figure:
    """Balanced accuracy of each attribute for one model (first seed): along w_k, and from its largest entry alone."""
    found = next(r for r in shown.results if r["settings"] == dataclasses.asdict(settings))["metrics"]["attributes"]
    places = np.arange(len(found["names"]))
    figure, axis = plt.subplots(figsize=(12, 4))
    axis.bar(places - 0.2, found["balanced"], 0.4, label="all latents", color="#4c72b0")
    axis.bar(places + 0.2, found["single_balanced"], 0.4, label="one latent", color="#dd8452")
    axis.set(ylabel="balanced accuracy (%)", ylim=(45, 100))
    axis.set_xticks(places, found["names"], rotation=60, ha="right", fontsize=8)
    axis.axhline(50, color="0.3", linewidth=0.8)
    axis.legend()
    figure.suptitle(shown.title(f"Attributes from the latents of {settings.label}, {shown.data_name}"), fontsize=10)
    return figure


def save_figure(shown: Shown, figure: plt.Figure, name: str, notebook: str, alt: str) -> None:
    """Show a figure with its alternative text, and write PNG and PDF that name their notebook and runs (foot and metadata)."""
    figure.supxlabel(shown.source(notebook), fontsize=7, color="0.4", x=0.995, ha="right")
    runs = ", ".join(shown.run_names())
    files = {
        "png": {"Title": name, "Description": alt, "Source": f"{shown.source(notebook)}: {runs}", "Software": None},
        "pdf": {"Title": name, "Subject": alt, "Keywords": runs, "Creator": notebook, "CreationDate": None, "Producer": None},
    }
    if shown.figures_dir:
        for kind, metadata in files.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
            results.write_whole(Path(shown.figures_dir) / f"{name}.{kind}", buffer.getvalue())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=matplotlib.rcParams["figure.dpi"], metadata={"Software": None})
    plt.close(figure)
    display(Image(buffer.getvalue(), alt=alt))
