"""The results of a profile on one data set, summarised: means over seeds with intervals, and tables that name what they came from."""

import dataclasses
import math
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from dipvae_src.settings import Settings
from replication import profiles, provenance, results
from replication.show import published

SAP_SCALE = published.SAP_TIMES | {"chairs": 1}
COLLAPSED_BELOW = 0.1  # nats of KL in all: such a model ignores its latents
ACTIVE_ABOVE = 0.01  # variance of mu: as for SAP
PER_RUN = (
    "label",
    "objective",
    "seed",
    "weight",
    "reading",
    "zdiff",
    "sap",
    "reconstruction_error",
    "off_diagonal",
    "kl",
    "active",
)
METRICS = {
    "zdiff": "Z-diff (%)",
    "sap": "SAP",
    "reconstruction_error": "rec. error",
}  # error: per pixel


@dataclasses.dataclass(frozen=True)
class ProfileResults:
    """The results of a profile on one data set, ready to be shown."""

    profile: str
    results: list[dict]  # of the paper's own settings
    figures_dir: str  # where tables and figures are written; empty: nowhere
    data: str = "shapes2d"
    readings: list[dict] = dataclasses.field(
        default_factory=list
    )  # of the other readings (profiles.READINGS)
    results_dir: str = ""  # where the results lie, and beside them their pictures and kept decoders

    @property
    def data_name(self) -> str:
        """The data set as a title must name it: a stand-in by its own name."""
        first, title = self.results[0]["data"], profiles.DATA_SETS[self.data].title
        return first["name"] if first["source"] == "stand-in" else f"{first['source']} {title}"

    @property
    def conditions(self) -> str:
        """What a title must say: profile, what it leaves out, the data's source, code that differs."""
        left_out = profiles.profile(self.profile).left_out(
            self.data, self.results[0]["metrics"]["images"]
        )
        first, every = self.results[0], self.results + self.readings
        full = profiles.plan("paper", data=self.data)
        for ours, of, what in (
            (len({str(r["settings"]) for r in every}), len(full), "settings"),
            (len(every), sum(len(seeds) for _, seeds in full), "runs"),
        ):
            left_out += f", {ours} {what} for {of}" if ours != of else ""
        parts = [
            f"{self.profile} profile" + (f": {left_out.removeprefix(', ')}" if left_out else ""),
            self.data_name,
        ]
        devices = sorted({r["device"].split(":")[0] for r in every})
        if len(devices) > 1:
            parts.append(f"runs on {' and '.join(devices)}")
        ways = sorted(
            {
                f"{r['stack']['precision']} products, stacked" if "stack" in r else "the plain loop"
                for r in every
            }
        )
        if ways != ["the plain loop"]:
            parts.append(f"trained with {' and '.join(ways)}")
        if not provenance.is_present(first["code"]):
            parts.append(
                f"made by code {provenance.short(first['code'])}, not the present {provenance.short(provenance.LOADED)}"
            )
        return "; ".join(parts)

    def title(self, text: str, width: int = 120) -> str:
        """A figure's title with its standing below, in lines of at most `width` characters."""
        return f"{text}\n" + textwrap.fill(f"({self.conditions})", width)

    def source(self, notebook: str) -> str:
        """The notebook and the runs that a table or figure came from."""
        runs = len(self.results) + len(self.readings)
        return f"notebook {notebook}; {runs} runs of the {self.profile} profile, code {provenance.short(self.results[0]['code'])}"

    def run_names(self) -> list[str]:
        return [
            results.path_of("", Settings(**r["settings"]), r["seed"]).stem
            for r in self.results + self.readings
        ]


def load(
    profile: str, results_dir: str, figures_dir: str = "", seeds: int = 0, data: str = "shapes2d"
) -> ProfileResults:
    """The runs that the profile plans on a data set (with `seeds` of each setting if above 0), from a results folder.

    FileNotFoundError where any that has to be there is missing. Of a profile that takes many visits, settings beyond Table 1 are left
    out where not all of their seeds are there, with a line that says so and numbers in every title.
    """
    every, plan = (
        profiles.plan(profile, seeds or None, data),
        showable_plan(profile, results_dir, seeds, data),
    )
    if len(plan) < len(every):
        missing = [settings.name for settings, _ in every if settings not in {s for s, _ in plan}]
        names = ", ".join(missing[:4]) + ", ..." * (len(missing) > 4)
        print(
            f"LEFT OUT: {len(missing)} of {len(every)} settings of the {profile} profile are not all there yet: {names}"
        )
    found = results.collect(results_dir, plan)
    ours, readings = (
        [r for r in found if bool(r["settings"]["reading"]) == other] for other in (False, True)
    )
    return ProfileResults(profile, ours, figures_dir, data, readings, str(results_dir))


def load_all(
    profile: str, results_dir: str, figures_dir: str = "", seeds: int = 0
) -> dict[str, ProfileResults]:
    """The results of 2D Shapes, and those of the other data sets that are there: by data set. What is not there is said."""
    parts = {"shapes2d": load(profile, results_dir, figures_dir, seeds)}
    for data in list(profiles.DATA_SETS)[1:]:
        try:
            parts[data] = load(profile, results_dir, figures_dir, seeds, data)
        except FileNotFoundError:
            print(
                f"{profiles.DATA_SETS[data].title}: not run in the {profile} profile yet, nor anything in its place"
            )
    return parts


def showable_plan(
    profile: str, folder: str | Path, seeds: int = 0, data: str = "shapes2d"
) -> list[tuple[Settings, tuple[int, ...]]]:
    """Of a profile's plan on a data set what can be shown from `folder`: what has to be there, whether it is or not, and the further
    settings that are there with all their seeds. All has to be there, but on 2D Shapes of a profile that takes many visits: Table 1's rows.
    """
    plan = profiles.plan(profile, seeds or None, data)
    in_visits = data == "shapes2d" and profiles.profile(profile).in_visits
    needed = len(profiles.table_1()) if in_visits else len(plan)

    return plan[:needed] + [
        experiment for experiment in plan[needed:] if all_in(folder, [experiment])
    ]


def all_in(folder: str | Path, plan: list[tuple[Settings, tuple[int, ...]]]) -> bool:
    """Whether `folder` has a result file of every seed of every setting."""
    return all(
        results.path_of(folder, settings, seed).exists()
        for settings, seeds in plan
        for seed in seeds
    )


def complete(profile: str, data: str, folder: str | Path) -> bool:
    """Whether what has to be there of a profile on a data set lies in `folder`."""
    return all_in(folder, showable_plan(profile, folder, data=data))


def largest(data: str, root: str | Path) -> str | None:
    """The largest profile that root/PROFILE can show on a data set, if any."""
    return next(
        (name for name in reversed(profiles.PROFILES) if complete(name, data, Path(root) / name)),
        None,
    )


def interval(values: list[float]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval over seeds (Student's t); the half-width is NaN for one value."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), math.nan
    return float(np.mean(values)), float(
        stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n)
    )


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


def per_run(shown: ProfileResults, readings: bool = False) -> pd.DataFrame:
    """One row per run (of the other readings, if asked): its setting, its weight (beta or lambda_od), its seed and its scores.

    SAP is times 100 on CelebA, as the paper has it there.
    """
    rows, scale = [], SAP_SCALE[shown.data]
    for result in shown.readings if readings else shown.results:
        settings, metrics = Settings(**result["settings"]), result["metrics"]
        rows.append(
            {
                "label": settings.label, "objective": settings.objective, "seed": result["seed"], "weight": settings.weight,
                "reading": settings.reading,
                "zdiff": metrics["zdiff"]["accuracy"] if metrics["zdiff"] else math.nan,
                "sap": scale * metrics["sap"]["score"] if metrics["sap"] else math.nan,
                "reconstruction_error": metrics["reconstruction_error"], "off_diagonal": off_diagonal(result), "kl": metrics["kl"],
                "active": int((np.diag(metrics["covariance_of_means"]) > ACTIVE_ABOVE).sum()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=PER_RUN)


def per_setting(shown: ProfileResults, metrics: tuple[str, ...] = tuple(METRICS)) -> pd.DataFrame:
    """One row per setting, in the plan's order: n, and for each metric its mean and `_half`, the half-width of its interval."""
    rows = []
    for keys, group in per_run(shown).groupby(["label", "objective", "weight"], sort=False):
        row = dict(zip(("label", "objective", "weight"), keys)) | {"n": len(group)}
        for metric in metrics:
            row[metric], row[f"{metric}_half"] = interval(group[metric].tolist())
        rows.append(row)
    return pd.DataFrame(rows)


def number(value: float, metric: str, scale: int = 1) -> str:
    digits = {"zdiff": 1, "sap": 2 if scale == 100 else 3, "active": 1}.get(metric, 4)
    return f"{value:.{digits}f}"


def with_half(value: float, half: float, metric: str, scale: int = 1) -> str:
    """A mean and, where there is one, the half-width of its interval."""
    return number(value, metric, scale) + (
        "" if math.isnan(half) else f" ± {number(half, metric, scale)}"
    )


def markdown(frame: pd.DataFrame) -> str:
    """A table that GitHub renders."""
    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * len(frame.columns)]
    return "\n".join(
        lines + ["| " + " | ".join(map(str, row)) + " |" for row in frame.itertuples(index=False)]
    )


def save_table(
    shown: ProfileResults,
    frame: pd.DataFrame,
    name: str,
    notebook: str,
    title: str,
    notes: str = "",
) -> None:
    """Write `name`.csv (with a column naming the runs) and `name`.md (with title and sources) into the figures folder."""
    if not shown.figures_dir:
        return
    folder = Path(shown.figures_dir)
    folder.mkdir(parents=True, exist_ok=True)
    source = f"{shown.source(notebook)} ({shown.conditions})"
    results.write_whole(
        folder / f"{name}.csv", frame.assign(source=source).to_csv(index=False).encode()
    )
    runs = f"Source: {shown.source(notebook)}.\n\n<!-- runs: {', '.join(shown.run_names())} -->\n"
    text = "\n\n".join(
        part for part in (f"**{title}** ({shown.conditions})", markdown(frame), notes, runs) if part
    )
    results.write_whole(folder / f"{name}.md", text.encode())
