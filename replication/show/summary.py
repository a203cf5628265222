"""The results of a profile on one data set, summarised; tables that name what they came from."""

import dataclasses
import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from dipvae_src.sap import INACTIVE_BELOW
from dipvae_src.settings import Settings
from replication import profiles, provenance, results
from replication.show import published, wording
from replication.show.statistics import interval

SAP_SCALE = published.SAP_TIMES | {"chairs": 1}
COLLAPSED_BELOW = 0.1  # nats of KL in all: such a model ignores its latents
METRICS = {"zdiff": "Z-diff (%)", "sap": "SAP", "reconstruction_error": "rec. error"}  # per pixel
EVERY_LATENT = "SAP, inactive below 0"  # a column of `per_run`: no latent counts as off


@dataclasses.dataclass(frozen=True)
class ProfileResults:
    """The results of a profile on one data set, ready to be shown."""

    profile: str
    results: list[dict]  # of the paper's own settings
    figures_dir: str  # where tables and figures are written; empty: nowhere
    data: str = "shapes2d"
    readings: list[dict] = dataclasses.field(default_factory=list)  # of profiles.READINGS
    results_dir: str = ""  # where the results lie, and beside them their pictures and decoders
    planned: int = 0  # runs of the whole profile on this data set; 0: as many as there are

    @property
    def data_name(self) -> str:
        """The data set as a title must name it: a stand-in by its own name."""
        first, title = self.results[0]["data"], profiles.DATA_SETS[self.data].title
        return first["name"] if first["source"] == "stand-in" else f"{first['source']} {title}"

    @property
    def runs(self) -> list[dict]:
        """All results, those of other readings after the paper's own settings."""
        return self.results + self.readings

    @property
    def conditions(self) -> str:
        """What a title must say: profile, what it leaves out, how much of it is there, the data's
        source, devices and ways of training that differ, code that is not the present one.
        """
        images = self.results[0]["metrics"]["images"]
        left_out = profiles.profile(self.profile).left_out(self.data, images)
        parts = [f"{self.profile} profile" + (f": {left_out}" if left_out else "")]
        if len(self.runs) < self.planned:
            parts.append(f"{len(self.runs)} of its {self.planned} runs so far")
        parts.append(self.data_name)
        if len(devices := sorted({run["device"].split(":")[0] for run in self.runs})) > 1:
            parts.append(f"runs on {' and '.join(devices)}")
        ways = sorted({run["stack"]["precision"] if "stack" in run else "" for run in self.runs})
        if ways != [""]:
            names = (f"{way} products, stacked" if way else "the plain loop" for way in ways)
            parts.append(f"trained with {' and '.join(names)}")
        if any(not provenance.is_present(run["code"]) for run in self.runs):
            made_by, now = map(provenance.short, (self.results[0]["code"], provenance.LOADED))
            parts.append(f"made by other code (hash {made_by}) than the present (hash {now})")
        return "; ".join(parts)

    def of(self, labels: Collection[str]) -> list[dict]:
        """The results of these models of the paper's own settings."""
        return [r for r in self.results if Settings(**r["settings"]).label in labels]

    @property
    def rows(self) -> list[dict]:
        """The results of Table 1's models alone."""
        return self.of([settings.label for settings in profiles.table_1(self.data)])

    def source(self, notebook: str, of: list[dict] | None = None) -> str:
        """The notebook and the results that a table or figure came from; all unless told."""
        made_by = provenance.short(self.results[0]["code"])
        count = len(self.runs if of is None else of)
        runs = f"{count} run{'s' * (count != 1)} of the {self.profile} profile"
        return f"notebook {notebook}; {runs}, hash of the code {made_by}"

    @property
    def seeds_planned(self) -> int:
        """How many seeds of Table 1's rows the whole profile has."""
        return profiles.profile(self.profile).parts[self.data].seeds

    def run_names(self, of: list[dict] | None = None) -> list[str]:
        """Results as their files are named; all unless told."""
        made = self.runs if of is None else of
        return [results.path_of("", Settings(**r["settings"]), r["seed"]).stem for r in made]


# --- which results there are ---


def showable_plan(
    profile: str, folder: str | Path, seeds: int = 0, data: str = "shapes2d"
) -> profiles.Plan:
    """Of a profile's plan on a data set what can be shown from `folder`.

    All of it has to be there; but of 2D Shapes in a profile that is shown in parts (`shown_from`)
    only so many seeds of all of Table 1's rows, and shown is what there is: the seeds that all rows
    have, and of every further setting its own.
    """
    plan, least = profiles.plan(profile, seeds or None, data), profiles.profile(profile).shown_from
    if not least or data != "shapes2d":
        return plan
    there = [
        (settings, tuple(s for s in its if results.path_of(folder, settings, s).exists()))
        for settings, its in plan
    ]
    rows, further = there[: len(profiles.table_1())], there[len(profiles.table_1()) :]
    common = tuple(s for s in plan[0][1] if all(s in its for _, its in rows))
    asked = common if len(common) >= least else plan[0][1][:least]
    return [(row, asked) for row, _ in rows] + [(s, its) for s, its in further if its]


def complete(profile: str, data: str, folder: str | Path) -> bool:
    """Whether what has to be there of a profile on a data set lies in `folder`."""
    plan = showable_plan(profile, folder, data=data)
    runs = [(settings, seed) for settings, seeds in plan for seed in seeds]
    return bool(runs) and all(results.path_of(folder, *run).exists() for run in runs)


def showable(profile: str, folder: str | Path) -> profiles.Plan:
    """Of a whole profile's plan what can be shown: 2D Shapes, and other data sets all there."""
    plan = showable_plan(profile, folder)
    for data in list(profiles.DATA_SETS)[1:]:
        if complete(profile, data, folder):
            plan += profiles.plan(profile, data=data)
    return plan


def largest(data: str, root: str | Path) -> str | None:
    """The largest profile that root/PROFILE can show on a data set by itself, if any."""
    whole = [name for name, chosen in profiles.PROFILES.items() if not chosen.longer_than]
    return next((n for n in reversed(whole) if complete(n, data, Path(root) / n)), None)


def load(
    profile: str, results_dir: str, figures_dir: str = "", seeds: int = 0, data: str = "shapes2d"
) -> ProfileResults:
    """The runs of a profile on a data set (`seeds` of each setting if above 0) that can be shown.

    FileNotFoundError where any that has to be there is missing.
    """
    found = results.collect(results_dir, showable_plan(profile, results_dir, seeds, data))
    ours = [r for r in found if not r["settings"]["reading"]]
    others = [r for r in found if r["settings"]["reading"]]
    plans = (profiles.plan(profile, asked, data) for asked in (None, seeds or None))
    planned = max(sum(len(its) for _, its in plan) for plan in plans)  # SEEDS may ask for more
    return ProfileResults(profile, ours, figures_dir, data, others, str(results_dir), planned)


def load_all(
    profile: str, results_dir: str, figures_dir: str = "", seeds: int = 0
) -> dict[str, ProfileResults]:
    """The results of 2D Shapes, and of the other data sets that are there: by data set. What is
    not there is said.
    """
    parts = {"shapes2d": load(profile, results_dir, figures_dir, seeds)}
    for data in list(profiles.DATA_SETS)[1:]:
        title = profiles.DATA_SETS[data].title
        if not profiles.plan(profile, data=data):
            continue
        try:
            parts[data] = load(profile, results_dir, figures_dir, seeds, data)
        except FileNotFoundError:
            print(f"{title}: not run in the {profile} profile yet, nor anything in its place")
    return parts


def load_longer(profile: str, results_dir: str, figures_dir: str = "") -> ProfileResults | None:
    """The results of the profile that repeats this one with more steps, where its folder beside
    `results_dir` can show them.
    """
    for name, chosen in profiles.PROFILES.items():
        folder = Path(results_dir).parent / name
        if chosen.longer_than == profile and complete(name, "shapes2d", folder):
            return load(name, str(folder), figures_dir)
    return None


# --- numbers ---


def in_use(metrics: dict) -> Bool[np.ndarray, " latents"]:
    """Which latents are in use: variance of mu over images at least INACTIVE_BELOW, as for SAP."""
    return np.diag(metrics["covariance_of_means"]) >= INACTIVE_BELOW


def correlations(metrics: dict) -> Float[np.ndarray, "latents latents"]:
    """The correlations of mu over images, from Cov_p(x)[mu(x)]; NaN where a latent is off."""
    covariance = np.array(metrics["covariance_of_means"])
    deviations = np.sqrt(np.where(in_use(metrics), np.diag(covariance), np.nan))
    return covariance / np.outer(deviations, deviations)


def off_diagonal(matrix: Float[np.ndarray, "latents latents"]) -> float:
    """The mean |entry| off the diagonal, without NaN; NaN where there is no other."""
    entries = np.abs(matrix[~np.eye(len(matrix), dtype=bool)])
    entries = entries[~np.isnan(entries)]
    return float(entries.mean()) if len(entries) else math.nan


def sap_and_zdiff(metrics: dict, scale: int) -> dict[str, float]:
    """Both scores of a run, SAP times `scale`; their own standard deviations on this one model, of
    SAP from the two halves of its test images (half their difference is the deviation of the
    whole), of Z-diff from two draws of its pairs; SAP by other thresholds of inactive latents.
    """
    if not metrics["sap"]:
        return {"zdiff": math.nan, "sap": math.nan}
    sap, zdiff = metrics["sap"], metrics["zdiff"]
    below = {float(t): s for t, s in sap["score_with_inactive_below"].items()}
    below[sap["inactive_below"]] = sap["score"]
    found = {
        "zdiff": zdiff["accuracy"],
        "sap": scale * sap["score"],
        "zdiff itself": (zdiff["accuracy"] - zdiff["accuracy_again"]) / math.sqrt(2),
        "sap itself": scale * np.ptp(sap["score_of_halves"]) / 2,
    }
    for threshold in sorted(below):
        ours = " (ours)" if threshold == sap["inactive_below"] else ""
        found[f"SAP, inactive below {threshold:g}{ours}"] = scale * below[threshold]
    return found


def one_run(result: dict, data: str) -> dict:
    """A run's setting and scores, as a row of `per_run`."""
    settings, metrics = Settings(**result["settings"]), result["metrics"]
    covariance, attributes = np.array(metrics["covariance_of_means"]), metrics.get("attributes")
    setting = {
        name: getattr(settings, name) for name in ("label", "objective", "weight", "reading")
    }
    return setting | {"seed": result["seed"]} | sap_and_zdiff(metrics, SAP_SCALE[data]) | {
        "reconstruction_error": metrics["reconstruction_error"],
        "correlation": off_diagonal(correlations(metrics)),
        "off_diagonal": off_diagonal(covariance),  # also that of Cov_q(z)[z] (Eq. 5)
        "kl": metrics["kl"],
        "active": int(in_use(metrics).sum()),
        "accuracy": np.mean(attributes["accuracy"]) if attributes else math.nan,
        "balanced accuracy": np.mean(attributes["balanced"]) if attributes else math.nan,
    } | metrics["other_errors"]  # fmt: skip


def per_run(shown: ProfileResults, readings: bool = False) -> pd.DataFrame:
    """One row per run (of the other readings, if asked): setting, weight, seed and scores.

    SAP is times 100 on CelebA, as the paper has it there. NaN are the scores of chairs, which has
    none; the correlation where fewer than two latents are in use; accuracies, the means over
    attributes, but on CelebA.
    """
    rows = [one_run(r, shown.data) for r in (shown.readings if readings else shown.results)]
    return pd.DataFrame(rows, columns=list(one_run(shown.results[0], shown.data)))


def per_setting(shown: ProfileResults, metrics: tuple[str, ...] = tuple(METRICS)) -> pd.DataFrame:
    """One row per setting, in the plan's order: n, and for each metric its mean and `_half`, the
    half-width of its 95 % interval over the seeds that have it (NaN for one seed).
    """
    rows = []
    for keys, group in per_run(shown).groupby(["label", "objective", "weight"], sort=False):
        row = dict(zip(("label", "objective", "weight"), keys)) | {"n": len(group)}
        for metric in metrics:
            values = group[metric].dropna().to_numpy(float)
            found = interval(values) if len(values) else None
            row[metric] = found.mean if found else math.nan
            row[f"{metric}_half"] = found.half if len(values) > 1 else math.nan
        rows.append(row)
    return pd.DataFrame(rows)


def by_seed(runs: pd.DataFrame, label: str, metric: str) -> pd.Series:
    """One score of one model, indexed by seed."""
    return runs[runs["label"] == label].set_index("seed")[metric]


def paired(a: pd.Series, b: pd.Series) -> np.ndarray:
    """a - b, seed by seed, for the seeds that both have."""
    seeds = a.index.intersection(b.index)
    return (a[seeds] - b[seeds]).to_numpy()


def save_table(
    shown: ProfileResults,
    frame: pd.DataFrame,
    name: str,
    notebook: str,
    title: str,
    notes: str = "",
    of: list[dict] | None = None,
) -> str:
    """The table in Markdown, with title, conditions and notes; written, if there is a folder, as
    `name`.md (with its sources, run by run) and `name`.csv (with a column that counts them).

    `of`: the results that it is made of; all unless told.
    """
    head = f"**{wording.escaped(title)}** ({wording.escaped(shown.conditions)})"
    text = "\n\n".join(filter(None, (head, wording.markdown(frame), notes)))
    if shown.figures_dir:
        folder, source = Path(shown.figures_dir), shown.source(notebook, of)
        table = frame.assign(source=f"{source} ({shown.conditions})").to_csv(index=False)
        results.write_whole(folder / f"{name}.csv", table.encode())
        runs = f"Source: {source}.\n\n<!-- runs: {', '.join(shown.run_names(of))} -->\n"
        results.write_whole(folder / f"{name}.md", f"{text}\n\n{runs}".encode())
    return text
