"""The drawn figures, in one look, and how one is kept: as files that name notebook and runs."""

import dataclasses
import io
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython import display
from PIL import Image, PngImagePlugin

from dipvae_src.settings import Settings
from replication import profiles, results
from replication.show.summary import (
    METRICS,
    SAP_SCALE,
    ProfileResults,
    by_seed,
    per_run,
    per_setting,
)
from replication.show.tables import first_seeds

COLOURS = {"beta-vae": "#c44e52", "dip-vae-i": "#4c72b0", "dip-vae-ii": "#2e8b57"}
NAMES = {"beta-vae": "beta-VAE", "dip-vae-i": "DIP-VAE-I", "dip-vae-ii": "DIP-VAE-II"}


def style() -> None:
    """One look for all figures; no dates or random ids, so that equal results give equal files."""
    sns.set_theme(context="notebook", style="whitegrid", font_scale=0.9)
    looks = {"figure.dpi": 80, "savefig.dpi": 110, "svg.hashsalt": "dip-vae"}
    matplotlib.rcParams.update(looks | {"figure.constrained_layout.use": True})


def score_name(shown: ProfileResults, metric: str) -> str:
    """A score as an axis names it."""
    times = " x 100" if metric == "sap" and SAP_SCALE[shown.data] == 100 else ""
    return METRICS[metric] + times


def trade_off(shown: ProfileResults, title: str) -> plt.Figure:
    """Figure 1 or 2: SAP and Z-diff against the reconstruction error, a curve an objective, a dot a
    run, labels beta or lambda_od.
    """
    runs, means = per_run(shown), per_setting(shown)
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.8))
    for axis, metric in zip(axes, ("sap", "zdiff")):
        for objective, name in NAMES.items():
            dots = runs[runs.objective == objective]
            curve = means[means.objective == objective].sort_values("weight")
            colour = COLOURS[objective]
            axis.scatter(dots.reconstruction_error, dots[metric], s=14, alpha=0.5, color=colour)
            axis.plot(curve.reconstruction_error, curve[metric], "o-", color=colour, label=name)
            for point in curve.itertuples():
                place = (point.reconstruction_error, getattr(point, metric))
                look = dict(xytext=(5, 5), textcoords="offset points", fontsize=9, color=colour)
                axis.annotate(f"{point.weight:g}", place, **look)
        axis.set(xlabel="reconstruction error per pixel", ylabel=score_name(shown, metric))
        axis.margins(0.08)  # room for the labels
    axes[0].legend(title="labels: beta or lambda_od")
    figure.suptitle(shown.title(title), fontsize=10)
    return figure


def pairs(shown: ProfileResults, title: str) -> plt.Figure:
    """SAP and Z-diff of every seed, a line from the VAE to each other model of Table 1."""
    runs, (vae, *others) = per_run(shown), profiles.table_1(shown.data)
    figure, axes = plt.subplots(2, len(others), figsize=(13, 6), sharey="row", squeeze=False)
    for row, metric in zip(axes, ("sap", "zdiff")):
        before = by_seed(runs, vae.label, metric)
        for axis, settings in zip(row, others):
            after = by_seed(runs, settings.label, metric)
            for seed in after.index:
                line = (before[seed], after[seed])
                axis.plot((0, 1), line, "o-", color="0.6", markersize=3, linewidth=0.8)
            means = (before.mean(), after.mean())
            axis.plot((0, 1), means, "o-", color=COLOURS[settings.objective], linewidth=2.5)
            axis.set_xticks((0, 1), ("VAE", settings.label.replace(" (", "\n(")), fontsize=8)
            axis.set_xlim(-0.3, 1.3)
        row[0].set_ylabel(score_name(shown, metric))
    figure.suptitle(shown.title(title), fontsize=10)
    return figure


def heat_maps(shown: ProfileResults, title: str) -> plt.Figure:
    """Under each model of Table 1 (first seed), latents by falling KL: the covariance of the means
    above that of z (Eq. 5).
    """
    models = first_seeds(shown)
    figure, axes = plt.subplots(2, len(models), figsize=(16, 6), sharex=True, sharey=True)
    look = dict(vmin=-1.5, vmax=1.5, cmap="vlag", square=True, xticklabels=False, yticklabels=False)
    for column, (label, metrics) in zip(axes.T, models):
        order = np.argsort(metrics["kl_per_latent"])[::-1]
        of_means = np.array(metrics["covariance_of_means"])[np.ix_(order, order)]
        total = of_means + np.diag(np.array(metrics["mean_variance"])[order])
        for axis, matrix in zip(column, (of_means, total)):
            sns.heatmap(matrix, ax=axis, cbar=axis in axes[:, -1], **look)
        column[0].set_title(label, fontsize=9)
    axes[0, 0].set_ylabel("Cov of the means")
    axes[1, 0].set_ylabel("Cov of z")
    figure.suptitle(shown.title(title, 180), fontsize=10)
    return figure


def attribute_bars(shown: ProfileResults, settings: Settings) -> plt.Figure:
    """Balanced accuracy of each attribute for one model (first seed): along w_k, and from its
    largest entry alone.
    """
    found = next(r for r in shown.results if r["settings"] == dataclasses.asdict(settings))[
        "metrics"
    ]["attributes"]
    places = np.arange(len(found["names"]))
    figure, axis = plt.subplots(figsize=(12, 4))
    axis.bar(places - 0.2, found["balanced"], 0.4, label="all latents", color="#4c72b0")
    axis.bar(places + 0.2, found["single_balanced"], 0.4, label="one latent", color="#dd8452")
    axis.set(ylabel="balanced accuracy (%)", ylim=(45, 100))
    axis.set_xticks(places, found["names"], rotation=60, ha="right", fontsize=8)
    axis.axhline(50, color="0.3", linewidth=0.8)
    axis.legend()
    figure.suptitle(
        shown.title(f"Attributes from the latents of {settings.label}, {shown.data_name}"),
        fontsize=10,
    )
    return figure


def small_png(
    figure: plt.Figure, dpi: float | str, texts: dict[str, str], colours: int = 256
) -> bytes:
    """A figure as a PNG of so many colours, with these texts in it; at 256 it has a third of the
    size where it holds photographs.
    """
    buffer, info = io.BytesIO(), PngImagePlugin.PngInfo()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    for name, text in texts.items():
        info.add_itxt(name, text)
    made = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(colours).save(
        made, "PNG", optimize=True, pnginfo=info
    )
    return made.getvalue()


def small_inline(figure: plt.Figure) -> bytes:
    """A figure as pages and notebooks hold it: a PNG of 64 colours, or a JPEG if smaller."""
    dpi, buffer = matplotlib.rcParams["figure.dpi"], io.BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=dpi, pil_kwargs={"quality": 70, "optimize": True})
    return min(small_png(figure, dpi, {}, colours=64), buffer.getvalue(), key=len)


def save_figure(
    shown: ProfileResults, figure: plt.Figure, name: str, notebook: str, alt: str
) -> None:
    """Show a figure with its alternative text, and write PNG and PDF that name their notebook and
    runs (foot and metadata).
    """
    figure.supxlabel(shown.source(notebook), fontsize=7, color="0.4", x=0.995, ha="right")
    runs = ", ".join(shown.run_names())
    if shown.figures_dir:
        path, about = Path(shown.figures_dir) / name, f"{shown.source(notebook)}: {runs}"
        texts = {"Title": name, "Description": alt, "Source": about}
        results.write_whole(
            path.with_suffix(".png"), small_png(figure, matplotlib.rcParams["savefig.dpi"], texts)
        )
        buffer = io.BytesIO()
        about = {
            "Title": name,
            "Subject": alt,
            "Keywords": runs,
            "Creator": notebook,
            "CreationDate": None,
            "Producer": None,
        }
        figure.savefig(
            buffer, format="pdf", dpi=72, metadata=about
        )  # of its pictures; lines and letters have no pixels
        results.write_whole(path.with_suffix(".pdf"), buffer.getvalue())
    inline = small_inline(figure)
    plt.close(figure)
    display.display(display.Image(inline, alt=alt))
