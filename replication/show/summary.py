"""The results of a profile on one data set, summarised; tables that name what they came from."""

import dataclasses
import html
import math
import re
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd

from dipvae_src.sap import INACTIVE_BELOW
from dipvae_src.settings import Settings
from replication import profiles, provenance, results
from replication.show import published
from replication.show.statistics import Interval, interval

SAP_SCALE = published.SAP_TIMES | {"chairs": 1}
COLLAPSED_BELOW = 0.1  # nats of KL in all: such a model ignores its latents
METRICS = {"zdiff": "Z-diff (%)", "sap": "SAP", "reconstruction_error": "rec. error"}  # per pixel
DIGITS = {"zdiff": 1, "sap": 3, "active": 1}  # of a number in a table; others have 4


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
        devices = sorted({run["device"].split(":")[0] for run in self.runs})
        if len(devices) > 1:
            parts.append(f"runs on {' and '.join(devices)}")
        ways = {run["stack"]["precision"] if "stack" in run else "" for run in self.runs}
        if ways != {""}:
            names = [
                f"{way} products, stacked" if way else "the plain loop" for way in sorted(ways)
            ]
            parts.append(f"trained with {' and '.join(names)}")
        if any(not provenance.is_present(run["code"]) for run in self.runs):
            made_by, now = map(provenance.short, (self.results[0]["code"], provenance.LOADED))
            parts.append(f"made by other code (hash {made_by}) than the present (hash {now})")
        return "; ".join(parts)

    def title(self, text: str, width: int = 120) -> str:
        """A figure's title with its conditions below, in lines of at most `width` characters."""
        return f"{text}\n" + textwrap.fill(f"({self.conditions})", width)

    def source(self, notebook: str) -> str:
        """The notebook and the runs that a table or figure came from."""
        made_by = provenance.short(self.results[0]["code"])
        runs = f"{len(self.runs)} runs of the {self.profile} profile"
        return f"notebook {notebook}; {runs}, hash of the code {made_by}"

    def run_names(self) -> list[str]:
        """The runs as their files are named."""
        return [results.path_of("", Settings(**r["settings"]), r["seed"]).stem for r in self.runs]


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

    def there(settings: Settings, its: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(s for s in its if results.path_of(folder, settings, s).exists())

    count, its = len(profiles.table_1()), plan[0][1]
    common = tuple(s for s in its if all(there(row, (s,)) for row, _ in plan[:count]))
    rows = [(row, common if len(common) >= least else its[:least]) for row, _ in plan[:count]]
    further = [(settings, there(settings, own)) for settings, own in plan[count:]]
    return rows + [(settings, own) for settings, own in further if own]


def complete(profile: str, data: str, folder: str | Path) -> bool:
    """Whether what has to be there of a profile on a data set lies in `folder`."""
    plan = showable_plan(profile, folder, data=data)
    runs = [(settings, seed) for settings, seeds in plan for seed in seeds]
    return bool(runs) and all(results.path_of(folder, *run).exists() for run in runs)


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
    every = profiles.plan(profile, seeds or None, data)
    found = results.collect(results_dir, showable_plan(profile, results_dir, seeds, data))
    ours, others = (
        [r for r in found if bool(r["settings"]["reading"]) == other] for other in (False, True)
    )
    planned = sum(len(its) for _, its in every)
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


def correlation(result: dict) -> float:
    """Mean |correlation| of mu over pairs of latents in use; NaN where fewer than two are.

    In use: variance of mu at least INACTIVE_BELOW, as for SAP. From Cov_p(x)[mu(x)].
    """
    covariance = np.array(result["metrics"]["covariance_of_means"])
    used = np.diag(covariance) >= INACTIVE_BELOW
    if used.sum() < 2:
        return math.nan
    deviations = np.sqrt(np.diag(covariance)[used])
    scaled = covariance[np.ix_(used, used)] / np.outer(deviations, deviations)
    return float(np.abs(scaled[~np.eye(used.sum(), dtype=bool)]).mean())


def off_diagonal(result: dict) -> float:
    """Mean |C_ij|, i != j, of Cov_p(x)[mu(x)], which is also that of Cov_q(z)[z] (Eq. 5)."""
    covariance = np.array(result["metrics"]["covariance_of_means"])
    return float(np.abs(covariance[~np.eye(len(covariance), dtype=bool)]).mean())


def one_run(result: dict, data: str) -> dict:
    """A run's setting and scores, as a row of `per_run`."""
    settings, metrics = Settings(**result["settings"]), result["metrics"]
    return {
        "label": settings.label,
        "objective": settings.objective,
        "weight": settings.weight,
        "reading": settings.reading,
        "seed": result["seed"],
        "zdiff": metrics["zdiff"]["accuracy"] if metrics["zdiff"] else math.nan,
        "sap": SAP_SCALE[data] * metrics["sap"]["score"] if metrics["sap"] else math.nan,
        "reconstruction_error": metrics["reconstruction_error"],
        "correlation": correlation(result),
        "off_diagonal": off_diagonal(result),
        "kl": metrics["kl"],
        "active": int((np.diag(metrics["covariance_of_means"]) >= INACTIVE_BELOW).sum()),
    }


def per_run(shown: ProfileResults, readings: bool = False) -> pd.DataFrame:
    """One row per run (of the other readings, if asked): setting, weight, seed and scores.

    SAP is times 100 on CelebA, as the paper has it there. Scores are NaN on chairs alone, which has
    none; the correlation where fewer than two latents are in use.
    """
    rows = [one_run(r, shown.data) for r in (shown.readings if readings else shown.results)]
    return pd.DataFrame(rows, columns=list(one_run(shown.results[0], shown.data)))


def per_setting(shown: ProfileResults, metrics: tuple[str, ...] = tuple(METRICS)) -> pd.DataFrame:
    """One row per setting, in the plan's order: n, and for each metric its mean and `_half`, the
    half-width of its 95 % interval over seeds (NaN for one seed).
    """
    rows = []
    for keys, group in per_run(shown).groupby(["label", "objective", "weight"], sort=False):
        row = dict(zip(("label", "objective", "weight"), keys)) | {"n": len(group)}
        for metric in metrics:
            values = group[metric].to_numpy()
            found = interval(values) if np.isfinite(values).all() else None
            row[metric] = found.mean if found else math.nan
            row[f"{metric}_half"] = found.half if found and len(group) > 1 else math.nan
        rows.append(row)
    return pd.DataFrame(rows)


def by_seed(runs: pd.DataFrame, label: str, metric: str) -> pd.Series:
    """One score of one model, indexed by seed."""
    return runs[runs["label"] == label].set_index("seed")[metric]


def paired(a: pd.Series, b: pd.Series) -> np.ndarray:
    """a - b, seed by seed, for the seeds that both have."""
    seeds = a.index.intersection(b.index)
    return (a[seeds] - b[seeds]).to_numpy()


# --- text ---


def number(value: float, metric: str, scale: int = 1) -> str:
    """A score as tables write it."""
    return f"{value:.{2 if metric == 'sap' and scale == 100 else DIGITS.get(metric, 4)}f}"


def with_half(value: float, half: float, metric: str, scale: int = 1) -> str:
    """A mean and, where there is one, the half-width of its interval."""
    text = number(value, metric, scale)
    return text if math.isnan(half) else f"{text} ± {number(half, metric, scale)}"


def from_to(found: Interval, metric: str, scale: int = 1) -> str:
    """A mean difference with its interval and the number of seeds."""
    if found.n < 2:
        return f"{number(found.mean, metric, scale)} (one seed)"
    low, high = (number(v, metric, scale) for v in (found.low, found.high))
    return f"{number(found.mean, metric, scale)} ({low} to {high}, n = {found.n})"


def escaped(text: object) -> str:
    """Plain text for Markdown and HTML: nothing in it is a tag, a link, emphasis or a new cell."""
    text = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"[\[\]|`*~$\\]", lambda sign: f"&#{ord(sign[0])};", text)


def markdown(frame: pd.DataFrame) -> str:
    """A table that GitHub renders; its cells are plain text."""
    lines = ["| " + " | ".join(map(escaped, frame.columns)) + " |", "|" + " --- |" * frame.shape[1]]
    rows = ("| " + " | ".join(map(escaped, row)) + " |" for row in frame.itertuples(index=False))
    return "\n".join([*lines, *rows])


def save_table(
    shown: ProfileResults,
    frame: pd.DataFrame,
    name: str,
    notebook: str,
    title: str,
    notes: str = "",
) -> str:
    """The table in Markdown, with title, conditions and notes; written, if there is a folder, as
    `name`.md (with its sources) and `name`.csv (with a column naming the runs).
    """
    head = f"**{escaped(title)}** ({escaped(shown.conditions)})"
    text = "\n\n".join(filter(None, (head, markdown(frame), notes)))
    if shown.figures_dir:
        folder, source = Path(shown.figures_dir), shown.source(notebook)
        table = frame.assign(source=f"{source} ({shown.conditions})").to_csv(index=False)
        results.write_whole(folder / f"{name}.csv", table.encode())
        runs = f"Source: {source}.\n\n<!-- runs: {', '.join(shown.run_names())} -->\n"
        results.write_whole(folder / f"{name}.md", f"{text}\n\n{runs}".encode())
    return text
