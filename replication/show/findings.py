"""What the results say in a sentence, for the titles of figures: made from the numbers, so that it
is true of whatever they are. A difference is decided where its 95 % interval leaves out 0.
"""

import numpy as np
import pandas as pd

from dipvae_src.settings import Settings
from replication import profiles
from replication.show import agreement, published, summary, traversals
from replication.show.statistics import interval
from replication.show.summary import ProfileResults, by_seed, paired, per_run
from replication.show.tables import row_labels
from replication.show.wording import brief, listed, together


def change_from_vae(shown: ProfileResults, label: str, metric: str) -> int:
    """1 or -1 where a model's score lies above or below the VAE's, seed by seed; 0: not decided."""
    runs, vae = per_run(shown), row_labels(shown)[0]
    return interval(paired(by_seed(runs, label, metric), by_seed(runs, vae, metric))).sign


def best_scores(shown: ProfileResults) -> str:
    """Which model of Table 1 has the highest mean of each score, and whether the VAE's is below it.

    Of Table 1 alone: further points have other seeds, and a lucky seed moves a mean far.
    """
    labels, runs, said = row_labels(shown), per_run(shown), []
    means = summary.per_setting(shown).set_index("label").loc[labels]
    for metric, name in (("sap", "SAP"), ("zdiff", "Z-diff")):
        top = means[metric].idxmax()
        words, alone = [f"{name}: {brief(top)}"], by_seed(runs, top, "active") == 1
        if alone.any():
            words.append(f"one latent in use in {alone.sum()} of {len(alone)} runs")
        if top != labels[0]:
            above = change_from_vae(shown, top, metric) > 0
            words.append("above the VAE's" if above else "not told apart from the VAE's")
        said.append(", ".join(words))
    return f"Of Table 1's models, highest {said[0]}; highest {said[1]}"


def changes_from_vae(shown: ProfileResults) -> str:
    """Which models of Table 1 have a higher or lower score than the VAE, those where the paper's
    Table 1 has it so first, and how many comparisons are open.
    """
    paper, (vae, *models) = published.table_1(shown.data), profiles.table_1(shown.data)
    said, decided = {"as in the paper": [], "unlike the paper": []}, 0
    for metric, name in (("sap", "SAP"), ("zdiff", "Z-diff")):
        theirs = [paper[s.objective, s.weight][metric] for s in (vae, *models)]
        ours = [change_from_vae(shown, settings.label, metric) for settings in models]
        for sign, way in ((1, "higher"), (-1, "lower")):
            for alike, told in zip((True, False), said.values()):
                labels = [
                    settings.label for settings, change, value in zip(models, ours, theirs[1:])
                    if change == sign and (sign * (value - theirs[0]) > 0) == alike
                ]  # fmt: skip
                told += [f"{name} {way} with {together(labels)}"] if labels else []
                decided += len(labels)
    told = [f"{how}: {listed(changes)}" for how, changes in said.items() if changes]
    still_open = f"{2 * len(models) - decided} of {2 * len(models)} comparisons undecided"
    return f"Against the VAE{', ' if told else ': '}{'; '.join([*told, still_open])}"


def factors(shown: ProfileResults) -> str:
    """How far the best latent of a run tells each factor, on the way from chance (0) to all (1):
    means over the runs of Table 1's models; empty where SAP is not asked for.
    """
    labels, its = row_labels(shown), [(r["metrics"]["sap"], r["settings"]) for r in shown.results]
    found = [sap for sap, settings in its if sap and Settings(**settings).label in labels]
    if not found:
        return ""
    far = np.mean([traversals.from_chance(sap).max(axis=0) for sap in found], axis=0)
    return ", ".join(f"{name} {x:z.2f}" for name, x in zip(found[0]["factors"], far))


def rulers(shown: ProfileResults) -> str:
    """Which two rulers order the runs most alike, which two least, and the models that they put
    first and last; empty where too few runs are measured to tell, or all are alike.
    """
    runs = agreement.measured(shown).rename(columns=agreement.RULERS)
    names = list(agreement.RULERS.values())
    found = runs[names].corr("spearman").rename_axis("other")
    found = found.where(np.triu(np.ones(found.shape), 1) == 1).stack().dropna().sort_values()
    if not len(found):
        return ""
    both = found.get(("SAP", "Z-diff"), np.nan)
    said = "" if np.isnan(both) else f"; SAP and Z-diff: {both:z.2f}"
    least, most = (f"{' and '.join(found.index[k])} ({found.iloc[k]:z.2f})" for k in (0, -1))
    return (
        f"Most alike (rank correlation over {len(runs)} runs): {most}; least: {least}{said}. "
        f"{first_and_last(shown)}"
    )


def first_and_last(shown: ProfileResults) -> str:
    """The models of Table 1 that the rulers put first, and last, where they differ by a ruler;
    empty where none is measured.
    """
    places = agreement.places(shown).set_index("model")
    places = places.loc[:, places.nunique() > 1]
    if not places.size:
        return ""

    def models(chosen: pd.Series) -> str:
        rulers = {x: its.index for x, its in chosen.groupby(chosen, sort=False)}
        every = len(rulers) == 1
        told = (f"{brief(x)} by {'all' if every else listed(its)}" for x, its in rulers.items())
        return ", ".join(told)

    first, last = models(places.idxmin()), models(places.idxmax())
    return f"Of Table 1's models first comes {first}; last {last}."


def least_correlated(shown: ProfileResults) -> str:
    """The model of Table 1 whose latents in use are least correlated, beside the VAE."""
    runs, labels = per_run(shown).dropna(subset="correlation"), row_labels(shown)
    means = runs[runs["label"].isin(labels)].groupby("label")["correlation"].mean()
    if not len(means):
        return "No model has two latents in use"
    least, vae = means.idxmin(), labels[0]
    said = f"Least correlated latents: {brief(least)}, mean |r| {means[least]:.2f}"
    if least == vae or vae not in means:
        return said
    lower = paired(*(by_seed(runs, label, "correlation") for label in (vae, least))) > 0
    return f"{said}, in {lower.sum()} of {len(lower)} seeds below the VAE's ({means[vae]:.2f})"
