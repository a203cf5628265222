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
COLLAPSED_BELOW = 0.1  # nats of KL in all: such a model ignores its latents
METRICS = {"zdiff": "Z-diff (%)", "sap": "SAP", "reconstruction_error": "rec. error"}  # error: per pixel


@dataclasses.dataclass(frozen=True)
class Shown:
    """The results of a profile, ready to be shown."""

    profile: str
    results: list[dict]
    figures_dir: str  # where tables and figures are written; empty: nowhere

    @property
    def standing(self) -> str:
        """What a title must say: profile, what it leaves out, the data's source, code that differs."""
        left_out = experiments.profile(self.profile).left_out()
        first = self.results[0]
        full = experiments.plan("paper")
        for ours, of, what in (
            (len({str(r["settings"]) for r in self.results}), len(full), "settings"),
            (len(self.results), sum(len(seeds) for _, seeds in full), "runs"),
        ):
            left_out += f", {ours} {what} for {of}" if ours != of else ""
        parts = [f"{self.profile} profile" + (f": {left_out.removeprefix(', ')}" if left_out else ""), f"{first['data']['source']} 2D Shapes"]
        devices = sorted({r["device"].split(":")[0] for r in self.results})
        if len(devices) > 1:
            parts.append(f"runs on {' and '.join(devices)}")
        ways = sorted({f"{r['stack']['precision']} products, stacked" if "stack" in r else "the plain loop" for r in self.results})
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
        return f"notebook {notebook}; {len(self.results)} runs of the {self.profile} profile, code {self.results[0]['code'][:7]}"

    def run_names(self) -> list[str]:
        return [results.path_of("", experiments.Settings(**r["settings"]), r["seed"]).stem for r in self.results]


def load(profile: str, results_dir: str, figures_dir: str = "", seeds: int = 0) -> Shown:
    """Exactly the runs that the profile plans (with `seeds` of each setting if above 0), from a results folder."""
    return Shown(profile, results.collect(results_dir, experiments.plan(profile, seeds or None)), figures_dir)


# --- statistics ---


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval over seeds (Student's t); the half-width is NaN for one value."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), math.nan
    return float(np.mean(values)), float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))


def off_diagonal(result: dict) -> float:
    """Mean of |C_ij| over the pairs i != j of Cov_p(x)[mu(x)], which is also that of Cov_q(z)[z] (Eq. 5: Sigma is diagonal)."""
    covariance = np.array(result["metrics"]["covariance_of_means"])
    return float(np.abs(covariance[~np.eye(len(covariance), dtype=bool)]).mean())


def per_run(shown: Shown) -> pd.DataFrame:
    """One row per run: its setting, its weight (beta or lambda_od), its seed and its scores."""
    rows = []
    for result in shown.results:
        settings, metrics = experiments.Settings(**result["settings"]), result["metrics"]
        rows.append(
            {
                "label": settings.label, "objective": settings.objective, "seed": result["seed"],
                "weight": settings.beta if settings.objective == "beta-vae" else settings.lambda_od,
                "zdiff": metrics["zdiff"]["accuracy"], "sap": metrics["sap"]["score"],
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


def number(value: float, metric: str) -> str:
    return f"{value:.1f}" if metric == "zdiff" else f"{value:.3f}" if metric == "sap" else f"{value:.4f}"


def table_1(shown: Shown) -> pd.DataFrame:
    """The six rows of Table 1: ours with interval and n, the published value beside it with its standing."""
    paper, summary = published.table_1(), per_setting(shown).set_index("label")
    rows = []
    for settings in experiments.table_1():
        ours = summary.loc[settings.label]
        reference = paper[(settings.objective, ours["weight"])]
        row = {"method": settings.label, "seeds": int(ours["n"])}
        for metric, name in METRICS.items():
            half = ours[f"{metric}_half"]
            spread = "" if math.isnan(half) else f" ± {number(half, metric)}"
            row[name] = number(ours[metric], metric) + spread
            row[f"{name}, paper"] = f"{reference[metric]}{'' if reference['verified'] else published.DAGGER}"
        rows.append(row)
    return pd.DataFrame(rows)


def table_1_notes(shown: Shown) -> str:
    """What a reader of Table 1 must know: the standing of published values, and rows whose models learnt nothing."""
    notes = [] if all(row["verified"] for row in published.table_1().values()) else [published.STANDING + "."]
    runs = per_run(shown)
    for label, group in runs[runs["kl"] < COLLAPSED_BELOW].groupby("label", sort=False):
        of = (runs["label"] == label).sum()
        notes.append(f"{label}: {len(group)} of {of} runs ignore their latents (KL below {COLLAPSED_BELOW} nats).")
    return " ".join(notes)


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
