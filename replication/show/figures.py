"""The drawn figures, in one look: what was found is the title, one line names profile and seeds,
the rest is the caption. Kept as files that name notebook and runs.
"""

import io
import textwrap
from itertools import pairwise
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython import display
from matplotlib import patheffects, ticker
from PIL import Image, PngImagePlugin

from dipvae_src.settings import Settings
from replication import profiles, provenance, results
from replication.show import findings, published, summary
from replication.show.summary import ProfileResults
from replication.show.tables import first_seeds
from replication.show.wording import brief

NAMES = {"beta-vae": "beta-VAE", "dip-vae-i": "DIP-VAE-I", "dip-vae-ii": "DIP-VAE-II"}
# Okabe and Ito's colours, which colour-blind readers tell apart; the markers do it without colour.
COLOURS = {"beta-vae": "#d55e00", "dip-vae-i": "#0072b2", "dip-vae-ii": "#009e73"}
MARKERS = {"beta-vae": "o", "dip-vae-i": "s", "dip-vae-ii": "^"}
SCORES, ERROR = ("sap", "zdiff"), "reconstruction_error"
WIDTH = 8.0  # inches: letters of 10 points are 7 pixels high on a phone, 16 on a page of README
NO_BREAK = "\u00a0"
SIDES = [np.array((x, y)) for x in (1, 0, -1) for y in (1, 0, -1) if x or y]  # of a point
NEAR, FAR = 4, 10  # points between a point and its text; from afar a line ties them


def style() -> None:
    """One look for all figures; no dates or random ids, so that equal results give equal files."""
    sns.set_theme(context="paper", style="whitegrid", font_scale=1.1)
    looks = {"figure.dpi": 100, "savefig.dpi": 150, "svg.hashsalt": "dip-vae"}
    looks |= {"figure.constrained_layout.use": True, "axes.titlesize": 9}
    matplotlib.rcParams.update(looks)


def heading(figure: plt.Figure, finding: str) -> plt.Figure:
    """The figure with what was found as its title, in lines that are not cut, nor cut a model."""
    title = textwrap.fill(finding.replace(" (", NO_BREAK + "("), 84, break_on_hyphens=False)
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return figure


def seeds_of(shown: ProfileResults, labels: list[str] | None = None) -> str:
    """How many seeds these models have; all of them unless told."""
    counts = summary.per_setting(shown).set_index("label")["n"]
    counts = counts if labels is None else counts[labels]
    several = " to ".join(str(n) for n in sorted({counts.min(), counts.max()}))
    return "one seed a model" if several == "1" else f"{several} seeds a model"


# --- the figures ---


def label_points(axis: plt.Axes, labels: list[tuple[float, float, str, str]]) -> None:
    """Texts beside points (x, y, text, colour), each where least is in its way."""
    axis.figure.draw_without_rendering()  # settles where the axis lies
    to_points = 72 / axis.figure.dpi
    dots = [dot for drawn in axis.collections for dot in drawn.get_offsets()]
    in_the_way = list(axis.transData.transform(dots)) if dots else []
    for line in axis.lines:
        ends = axis.transData.transform(line.get_xydata())
        in_the_way += [p for a, b in pairwise(ends) for p in np.linspace(a, b, 15)]
    taken = [(at * to_points - 2, at * to_points + 2, 1) for at in in_the_way]
    low, high = axis.bbox.min * to_points, axis.bbox.max * to_points
    for x, y, text, colour in labels:
        at, half = axis.transData.transform((x, y)) * to_points, np.array((2.6 * len(text) + 1, 5))

        def cost(shift: np.ndarray, at=at, half=half) -> float:
            """How much lies under the text, and how far off it is; outside the axis costs most."""
            first, last = at + shift - half, at + shift + half
            outside = (first < low).any() or (last > high).any()
            under = sum(n for a, b, n in taken if (a < last).all() and (b > first).all())
            return under + np.abs(shift).max() / 4 + 1000 * int(outside)

        shift = min((side * (half + gap) for gap in (NEAR, FAR) for side in SIDES), key=cost)
        taken.append((at + shift - half - 2, at + shift + half + 2, 100))  # two texts read as one
        halo = [patheffects.withStroke(linewidth=2, foreground="white")]
        look = dict(textcoords="offset points", ha="center", va="center", path_effects=halo)
        if (np.abs(shift) > half + NEAR).any():
            look |= dict(arrowprops=dict(arrowstyle="-", color=colour, linewidth=0.6, shrinkA=0))
        axis.annotate(text, (x, y), xytext=shift, fontsize=9, color=colour, **look)


def trade_off(shown: ProfileResults) -> plt.Figure:
    """Figure 1 or 2: SAP and Z-diff against the reconstruction error, a curve an objective, a dot a
    run, labels beta or lambda_od; hollow the paper's Table 1, but where the data are stand-ins.
    """
    runs, means = summary.per_run(shown), summary.per_setting(shown)
    comparable = shown.results[0]["data"]["source"] != "stand-in"
    paper = published.table_1(shown.data) if comparable else {}
    figure, axes = plt.subplot_mosaic(
        [[*SCORES], ["legend"] * 2], figsize=(WIDTH, 4.4), height_ratios=(8, 1)
    )
    for metric in SCORES:
        axis, labels = axes[metric], []
        for objective in NAMES:
            look = dict(color=COLOURS[objective], marker=MARKERS[objective])
            dots = runs[runs.objective == objective]
            axis.scatter(dots[ERROR], dots[metric], s=12, alpha=0.4, linewidths=0, **look)
            curve = means[means.objective == objective].sort_values("weight")
            hollow = [
                (w, row[ERROR], row[metric]) for (o, w), row in paper.items() if o == objective
            ]
            for points, line in (
                (curve[["weight", ERROR, metric]].to_numpy(), dict(linestyle="-")),
                (np.reshape(hollow, (-1, 3)), dict(linestyle=":", markerfacecolor="white")),
            ):
                axis.plot(points[:, 1], points[:, 2], **look, **line, linewidth=1.2, markersize=6)
                for weight, x, y in points:
                    vae = objective == "beta-vae" and weight == 1
                    labels.append((x, y, "VAE" if vae else f"{weight:g}", COLOURS[objective]))
        times = " x 100" if metric == "sap" and summary.SAP_SCALE[shown.data] == 100 else ""
        axis.set(xlabel="reconstruction error per pixel", ylabel=summary.METRICS[metric] + times)
        if paper:  # whose errors are far below those of a short training
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
            axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.set_title("numbers: beta or lambda_od", loc="right", color="0.35")
        axis.margins(0.1)  # room for the labels
        label_points(axis, labels)
    verified = all(row["verified"] for row in paper.values())
    entries = [
        plt.Line2D([], [], color=COLOURS[o], marker=MARKERS[o], label=n) for o, n in NAMES.items()
    ]
    entries.append(plt.Line2D([], [], color="0.6", marker=".", linestyle="", label="a seed"))
    if paper:
        name = "the paper's" + ("" if verified else ", recalled")
        look = dict(marker="o", markerfacecolor="white", linestyle=":")
        entries.append(plt.Line2D([], [], color="0.3", label=name, **look))
    axes["legend"].legend(handles=entries, ncols=len(entries), loc="center", frameon=False)
    axes["legend"].set_axis_off()
    return heading(figure, findings.best_scores(shown))


def pairs(shown: ProfileResults) -> plt.Figure:
    """SAP and Z-diff of every seed, a line from the VAE to each other model of Table 1."""
    runs, (vae, *others) = summary.per_run(shown), profiles.table_1(shown.data)
    figure, axes = plt.subplots(2, len(others), figsize=(WIDTH, 5), sharey="row", squeeze=False)
    for row, metric in zip(axes, SCORES):
        before = summary.by_seed(runs, vae.label, metric)
        for axis, settings in zip(row, others):
            after = summary.by_seed(runs, settings.label, metric)
            for seed in after.index:
                line = (before[seed], after[seed])
                axis.plot((0, 1), line, "o-", color="0.6", markersize=2.5, linewidth=0.7)
            means = before.mean(), after.mean()
            axis.plot((0, 1), means, color=COLOURS[settings.objective], linewidth=2.2)
            for x, model in enumerate((vae, settings)):
                look = dict(color=COLOURS[model.objective], marker=MARKERS[model.objective])
                axis.scatter(x, means[x], **look, zorder=3)
            axis.set_title(f"{(summary.paired(after, before) > 0).sum()} of {len(after)} higher")
            axis.set_xticks((0, 1), ("VAE", brief(settings.label).replace(" (", "\n(")))
            axis.set_xlim(-0.3, 1.4)
        row[0].set_ylabel(summary.METRICS[metric])
    return heading(figure, findings.changes_from_vae(shown))


def heat_maps(shown: ProfileResults) -> plt.Figure:
    """Under each model of Table 1 (first seed), latents by falling KL, those that are off last: how
    correlated the means of those in use are, and of all the two parts of the variance of z (Eq. 5),
    which DIP-VAE pulls to 1: the means' (I), or both together (II).
    """
    models = first_seeds(shown)
    figure, axes = plt.subplots(
        2, len(models) + 1, figsize=(WIDTH, 3.6), width_ratios=[1] * len(models) + [0.7],
        sharey="row", height_ratios=(1, 1.1),
    )  # fmt: skip
    shades = matplotlib.colormaps["RdBu_r"].with_extremes(bad="0.85")
    for (top, below), (label, metrics) in zip(axes.T, models):
        order = np.lexsort((metrics["kl_per_latent"], summary.in_use(metrics)))[::-1]
        matrix = summary.correlations(metrics)[np.ix_(order, order)]
        image = top.imshow(matrix, cmap=shades, vmin=-1, vmax=1)
        top.set(xticks=[], yticks=[], title=brief(label).replace(" (", "\n("))
        top.grid(False)
        of_mu = np.diag(metrics["covariance_of_means"])[order]
        sigma, places = np.array(metrics["mean_variance"])[order], np.arange(len(order))
        below.bar(places, of_mu, 1, color="#0072b2", label="of mu", linewidth=0)
        below.bar(places, sigma, 1, of_mu, color="#56b4e9", label="mean\nsigma²", linewidth=0)
        below.axhline(1, color="black", linewidth=0.8)
        below.set(xticks=[])
    axes[0, 0].set_ylabel("correlation\nof the means")
    axes[1, 0].set(ylabel="variance of z", xlabel="latents, most used first")
    for axis in axes[:, -1]:
        axis.set_axis_off()
    scale = axes[0, -1].inset_axes((0.1, 0, 0.2, 1))
    figure.colorbar(image, cax=scale, ticks=(-1, 0, 1))
    axes[1, -1].legend(*axes[1, 0].get_legend_handles_labels(), loc="center left", frameon=False,
                       handlelength=0.8, borderaxespad=0)  # fmt: skip
    return heading(figure, findings.least_correlated(shown))


def balanced(shown: ProfileResults, settings: Settings) -> pd.DataFrame:
    """Balanced accuracies of one model (first seed) by attribute, in percent: along w_k, from its
    largest entry alone, and above which it is no guess: 50 and 1.96 standard errors of a coin's.
    """
    run = next(r for r in shown.results if Settings(**r["settings"]) == settings)
    found = run["metrics"]["attributes"]
    share = np.array(found["majority"]) / 100
    with np.errstate(divide="ignore"):  # of an attribute that no image has
        error = 25 * np.sqrt((1 / share + 1 / (1 - share)) / found["test_images"])
    columns = {"all latents": found["balanced"], "one latent": found["single_balanced"]}
    return pd.DataFrame(columns | {"chance ends at": 50 + 1.96 * error}, index=found["names"])


def attributes(shown: ProfileResults, settings: Settings) -> plt.Figure:
    """The balanced accuracies of the attributes that are read above chance from all latents or from
    one.
    """
    found = balanced(shown, settings).sort_values("all latents")
    above = found.iloc[:, :2].gt(found["chance ends at"], axis=0)
    kept, counts = found[above.any(axis=1)], above.sum()
    figure, axis = plt.subplots(figsize=(WIDTH, 1.2 + 0.24 * max(len(kept), 2)))
    axis.hlines(kept.index, kept["one latent"], kept["all latents"], color="0.7")
    for column, look in (
        ("all latents", dict(marker="s", color=COLOURS["dip-vae-i"])),
        ("one latent", dict(marker="o", color=COLOURS["beta-vae"], markerfacecolor="white")),
    ):
        axis.plot(kept[column], kept.index, linestyle="", label=column, **look)
    axis.set(xlabel="balanced accuracy (%); 50 is chance", xlim=(48, 101))
    axis.axvline(50, color="0.3", linewidth=0.8)
    axis.legend(loc="lower right")
    what = f"{counts.iloc[0]} of {len(found)} attributes are read above chance from the latents of"
    return heading(
        figure, f"{what} {brief(settings.label)}, {counts.iloc[1]} from one latent alone"
    )


# --- how they are kept ---


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
    small = Image.open(buffer).convert("RGB").quantize(colours)
    small.save(made, "PNG", optimize=True, pnginfo=info)
    return made.getvalue()


def small_inline(figure: plt.Figure) -> bytes:
    """A figure as pages and notebooks hold it: a PNG of 64 colours, or a JPEG if smaller."""
    dpi, buffer = matplotlib.rcParams["figure.dpi"], io.BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=dpi, pil_kwargs={"quality": 70, "optimize": True})
    return min(small_png(figure, dpi, {}, colours=64), buffer.getvalue(), key=len)


def save_figure(
    shown: ProfileResults, figure: plt.Figure, name: str, notebook: str, alt: str,
    caption: str = "", seeds: str = "", of: list[dict] | None = None,
) -> None:  # fmt: skip
    """Show a figure with its alternative text, its title first, and its caption, to which the
    conditions are added; write PNG and PDF that name their notebook and runs (in their metadata).

    `seeds`: those that it draws, for the line at its foot; `seeds_of` all models unless told.
    `of`: the results that it is made of; all unless told.
    """
    code, drawn = provenance.short(shown.results[0]["code"]), seeds or seeds_of(shown)
    steps = f"{shown.results[0]['settings']['steps']:,} steps"
    foot = f"{shown.profile} profile, {steps}, {drawn}, {shown.data_name}; {notebook}, code {code}"
    figure.supxlabel(foot, fontsize=8, color="0.35", x=0.01, ha="left")
    alt = ". ".join(
        filter(None, (figure.get_suptitle().replace("\n", " ").replace(NO_BREAK, " "), alt))
    )
    runs = ", ".join(shown.run_names(of))
    if shown.figures_dir:
        path, dpi = Path(shown.figures_dir) / name, matplotlib.rcParams["savefig.dpi"]
        texts = {"Title": name, "Description": alt, "Caption": caption}
        texts["Conditions"] = shown.conditions
        texts["Source"] = f"{shown.source(notebook, of)}: {runs}"
        results.write_whole(path.with_suffix(".png"), small_png(figure, dpi, texts))
        about = {"Title": name, "Subject": alt, "Keywords": runs, "Creator": notebook}
        about |= dict.fromkeys(("CreationDate", "Producer"))
        buffer = io.BytesIO()
        # The resolution is that of its pictures; lines and letters have no pixels.
        figure.savefig(buffer, format="pdf", dpi=72, metadata=about)
        results.write_whole(path.with_suffix(".pdf"), buffer.getvalue())
    inline = small_inline(figure)
    plt.close(figure)
    display.display(
        display.Image(inline, alt=alt), display.Markdown(f"{caption} ({shown.conditions}.)".strip())
    )
