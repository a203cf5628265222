"""Fill the tables, verdicts and speeds of README and docs/ from result files: no number is typed.

    python -m scripts.readme            # what `make readme` calls
    python -m scripts.readme --check    # exit status 1 where a page is stale (a test does this)

A page says where they go by a pair of comments: <!-- begin NAME: ... -->, <!-- end NAME -->. NAME
is a macro of readme.md.j2, which holds the words; the functions here give it what it shows.
"""

import functools
import re
import sys
from pathlib import Path

import jinja2
import pandas as pd

from replication import profiles, results
from replication.report import report
from replication.scores import rounded
from replication.show import claims, findings, published, summary, tables, wording

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "results"
FULL_STEPS = profiles.plan("paper")[0][0].steps
BLOCK = re.compile(r"(<!-- begin (\w+)(?:: [^>]*)?-->\n).*?(<!-- end \2 -->)", re.DOTALL)


def headline(data: str = "shapes2d") -> str:
    """The largest profile that the committed results can show on a data set."""
    if profile := summary.largest(data, RESULTS):
        return profile
    raise FileNotFoundError(f"no profile's results on {data} are in results/; run `make publish`")


def load(profile: str, data: str = "shapes2d") -> summary.ProfileResults | None:
    """A profile's committed results on a data set; None where not all that has to be is there."""
    folder = RESULTS / profile
    there = profiles.plan(profile, data=data) and summary.complete(profile, data, folder)
    return summary.load(profile, str(folder), data=data) if there else None


@functools.cache
def shown(data: str = "shapes2d") -> summary.ProfileResults:
    return load(headline(data), data)


def steps(part: summary.ProfileResults) -> int:
    """Of each of its runs."""
    return part.results[0]["settings"]["steps"]


@functools.cache
def decided() -> pd.DataFrame:
    """The paper's claims and their verdicts; the rules are in notebook 05 and the report."""
    return claims.verdicts(shown(), shown("celeba"))


def means(part: summary.ProfileResults) -> tuple[str, pd.DataFrame]:
    """How many seeds, and ours and the paper's in one cell; intervals and third moments are left to
    the table itself.
    """
    wide = tables.table_1(part).replace(r" ± \S+", "", regex=True)
    wide = wide[wide["method"].isin(tables.row_labels(part))]
    narrow = wide[["method"]].copy()
    for score in [name for name in wide if f"{name}, paper" in wide]:
        narrow[score] = wide[score] + " / " + wide[f"{score}, paper"]
    low, high = wide["seeds"].min(), wide["seeds"].max()
    seeds = f"{low} to {high} seeds" if low < high else "one seed" if high == 1 else f"{high} seeds"
    return seeds, narrow


def found() -> str:
    """On which claims what is shown agrees with the paper and on which not."""
    return report.told(report.asked({"shapes2d": shown(), "celeba": shown("celeba")}))


def errors() -> str:
    """How many times the published reconstruction error Table 1's models still have."""
    paper, error = published.table_1("shapes2d"), "reconstruction_error"
    means = summary.per_setting(shown()).set_index("label")[error]
    rows = profiles.table_1()
    times = [means[row.label] / paper[row.objective, row.weight][error] for row in rows]
    return f"{min(times):.1f} to {max(times):.1f}"


def side_by_side() -> tuple[pd.DataFrame, list[str]]:
    """Table 1's models in each profile that is committed, smallest first, and what to know."""
    names = list(profiles.PROFILES)[1:]  # the first and smallest one's numbers mean nothing
    parts = [part for profile in names if (part := load(profile))]
    made = {"method": [settings.label for settings in profiles.table_1()]}
    for metric, title in summary.METRICS.items():
        for part in parts:
            its = summary.per_setting(part).set_index("label")
            made[f"{title}, {part.profile}"] = [
                wording.with_half(its[metric][label], its[f"{metric}_half"][label], metric)
                for label in made["method"]
            ]
    remarks = []
    for part in parts:
        seeds = summary.per_setting(part).set_index("label")["n"][made["method"]].max()
        head = f"{part.conditions}; {seeds} seed{'s' * int(seeds > 1)} a model."
        remarks.append(" ".join([head, *tables.few_latents(part, made["method"])]))
    return pd.DataFrame(made), remarks


def took(profile: str, data: str) -> str:
    """What a profile's committed runs on a data set took, training and scoring, in a row."""
    part = load(profile, data)
    if not part:
        return "—"
    some = f" ({len(part.runs)} of {part.planned} runs)" if len(part.runs) < part.planned else ""
    where = "a CPU core" if all(r["device"].startswith("cpu") for r in part.runs) else "a GPU"
    minutes = sum(run["minutes"] for run in part.runs)
    time = f"{minutes / 60:.1f} h" if minutes >= 60 else f"{minutes:.0f} min"
    return f"{time} by the clock, on {where}{some}"


def parts_of_profiles() -> list[tuple[str, ...]]:
    """A row for each data set of each profile: what it runs there, and what that took."""
    rows = []
    for name, chosen in profiles.PROFILES.items():
        for data in chosen.parts:
            plan = profiles.plan(name, data=data)
            first, runs = plan[0][0], sum(len(seeds) for _, seeds in plan)
            network = "" if first.network == "fc" else f"conv, {first.filters} filters, "
            head, purpose = (f"`{name}`", chosen.purpose) if data == "shapes2d" else ("", "")
            size = (str(len(plan)), str(runs), f"{first.steps:,}", f"{network}FC {first.width}")
            rows.append((head, profiles.DATA_SETS[data].title, *size, took(name, data), purpose))
    return rows


@functools.cache
def blocks() -> dict:
    """The macros of the template, by name; a value that is not there is an error."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    given = (headline, shown, steps, decided, means, found, errors, side_by_side, parts_of_profiles)
    environment.globals |= {function.__name__: function for function in (*given, rounded)}
    environment.globals |= dict(
        interim=claims.interim, other_verdicts=claims.other_verdicts, notes=tables.table_1_notes,
        badly_chosen=claims.badly_chosen,
        full_steps=FULL_STEPS, changes_from_vae=findings.changes_from_vae, warning=report.warning,
        other_noise=report.other_noise, rightly=report.rightly, markdown=wording.markdown,
        escaped=wording.escaped, read=lambda name, mend: results.read_json(RESULTS / name, mend),
    )  # fmt: skip
    words = Path(__file__).with_name("readme.md.j2").read_text("utf-8")
    made = vars(environment.from_string(words).module)
    return {name: macro for name, macro in made.items() if not name.startswith("_")}


def filled(text: str, page: str = "README.md") -> str:
    """A page with every block made anew; ValueError where it has a block that is not known."""
    if unknown := {match.group(2) for match in BLOCK.finditer(text)} - blocks().keys():
        raise ValueError(
            f"{page} has the block {min(unknown)}; there are {', '.join(sorted(blocks()))}"
        )
    return BLOCK.sub(lambda m: f"{m.group(1)}{blocks()[m.group(2)]()}\n{m.group(3)}", text)


def main(check: bool) -> str | None:
    """Rewrite the pages, or say which are stale; what is wrong, if anything."""
    try:
        for page in (README, *sorted((ROOT / "docs").glob("*.md"))):
            before = page.read_text("utf-8")
            after = filled(before, page.name)
            if check and after != before:
                return f"error: {page.name} is stale; run `make readme`"
            if after != before:
                results.write_whole(page, after.encode())
                print(f"{page.name} rewritten")
    except (ValueError, KeyError, OSError, jinja2.UndefinedError) as error:
        return f"error: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
