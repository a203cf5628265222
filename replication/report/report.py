"""The report: one page that a reader opens first, offline, from result files and figures only.

Notebook 11_report makes it. It is a list of sections (`sections`), each a title and some HTML:
tables and pictures, made by page.py from plain data, and words, from words.html.
"""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from markupsafe import Markup
from PIL import Image

from dipvae_src.sap import INACTIVE_BELOW
from dipvae_src.zdiff import z_diff_score
from replication import profiles, provenance, results
from replication.report import explorer, page
from replication.report.page import Section, link, page_of, prose, table
from replication.show import claims, summary, tables

ROOT = Path(__file__).resolve().parents[2]
WORDS = page.ENVIRONMENT.get_template("words.html").module
VERDICTS = ("reproduced", "not reproduced", "undecided", "needs CelebA")  # by their first words
TOP = "trade_off"  # the figure below the verdicts
Parts = dict[str, summary.ProfileResults]  # by data set; 2D Shapes is always there


# --- the top of the page ---


def warning(shown: summary.ProfileResults) -> str:
    """How far a profile is from the paper's setting, in bold above all; empty where it is that."""
    full, ours = (profiles.plan(profile)[0][0] for profile in ("paper", shown.profile))
    if ours == full:
        return ""
    share = f"{100 * ours.steps / full.steps:.2g} % of the training steps meant for the paper's"
    network = ", on a smaller network" if ours.width < full.width else ""
    return (
        f"These are {shown.profile} results: {share} setting{network}. They show what so small a "
        "replication gives, not what the paper found."
    )


def warnings(parts: Parts) -> str:
    """The warning on 2D Shapes, and what is shown from a smaller profile than that."""
    texts = [warning(parts["shapes2d"])]
    for data, shown in parts.items():
        if shown.profile != parts["shapes2d"].profile:
            plans = (profiles.plan(name, data=data) for name in ("paper", shown.profile))
            full, ours = (plan[0][0].steps for plan in plans)
            name = shown.data_name[:1].upper() + shown.data_name[1:]
            share = f"{100 * ours / full:.2g} % of the steps"
            texts.append(f"{name}: from the {shown.profile} profile, {share}.")
    return " ".join(filter(None, texts))


def at_a_glance(shown: summary.ProfileResults, verdicts: pd.DataFrame) -> Markup:
    """What this is, what was found, how sure, and how many claims came out how."""
    begin = verdicts["verdict"].str.startswith
    counts = [(kind, int(begin(kind.split()[0]).sum())) for kind in VERDICTS]
    full, ours = (profiles.plan(name)[0][0].steps for name in ("paper", shown.profile))
    seeds = summary.per_run(shown).groupby("label")["seed"].nunique()
    several = f"{seeds.min()} to {seeds.max()}" if seeds.min() < seeds.max() else str(seeds.min())
    return WORDS.glance(
        len(verdicts), [kind for kind in counts if kind[1]], len(shown.runs),
        several + (" seeds" if seeds.max() > 1 else " seed"), shown.data_name, ours, full, counts,
    )  # fmt: skip


# --- the sections ---


def named(shown: summary.ProfileResults, parts: Parts) -> str:
    """A data set's own name, with the profile where it is not the page's."""
    name = shown.results[0]["data"]["name"]
    same = shown.profile == parts["shapes2d"].profile
    return name if same else f"{name}, {shown.profile} profile"


def claimed(parts: Parts, verdicts: pd.DataFrame) -> Markup:
    """The claims, each a link to the notebook that decides it, with rule, figures and verdict."""
    shapes, faces = parts["shapes2d"], parts.get("celeba", parts["shapes2d"])
    linked = []
    for claim in verdicts["claim"]:
        shown = faces if claim.startswith("On CelebA") else shapes
        linked.append(link(claim, page_of(shown.profile, "05_table_1", "claims")))
    of = f"{shapes.profile} profile"
    of += f"; of CelebA, {faces.profile} profile" if faces.profile != shapes.profile else ""
    return table(verdicts.assign(claim=linked), f"What was claimed, and what came out, {of}")


def all_tables(parts: Parts) -> Markup:
    """Table 1 on each data set that it has, and Table 2."""
    made = WORDS.terms()
    for data, heading in (("shapes2d", "2D Shapes"), ("celeba", "CelebA")):
        if shown := parts.get(data):
            about = shown.results[0]["data"]
            notes = under(shown, tables.table_1_notes(shown), "05_table_1", heading)
            comparable = about["source"] != "stand-in"
            frame = tables.table_1(shown)
            made += page.compared(frame, f"Table 1, {about['name']}", notes, comparable)
    if shown := parts.get("celeba"):
        notes = under(shown, tables.table_2_notes(shown), "10_attributes", "the table")
        caption = f"Table 2, {shown.results[0]['data']['name']}, percent of test images"
        made += table(tables.table_2(shown), caption, notes)
    return made


def under(shown: summary.ProfileResults, notes: str, notebook: str, heading: str) -> Markup:
    """What stands below a table: its conditions, its notes, the notebook that it is from."""
    source = link(f"Notebook {notebook}", page_of(shown.profile, notebook, heading))
    text = "{}.\n\n{}\n\n± is half of the 95 % interval over seeds. {}"
    return Markup(text).format(shown.conditions, page.marked(notes), source)


def explorers(parts: Parts) -> Markup:
    """One explorer, with a tab for each data set whose models left pictures."""
    found = {data: explorer.models(shown) for data, shown in parts.items()}
    return WORDS.explorers(
        explorer.block(models, data, named(parts[data], parts))
        for data, models in found.items()
        if models
    )


def drawn_of(name: str) -> str:
    """The data set that a figure or table is of, by the name of its file."""
    ending = (data for data in profiles.DATA_SETS if name.endswith(f"_{data}"))
    return next(ending, "celeba" if name in ("attributes", "table_2") else "shapes2d")


def title_of(name: str, parts: Parts) -> str:
    """A figure's title, with the data set's own name, which says where it is a stand-in."""
    title = WORDS.titles.get(name, name)
    for data, shown in parts.items():
        title = title.replace(profiles.DATA_SETS[data].title, named(shown, parts))
    return title


def all_figures(parts: Parts) -> Markup:
    """Every figure of the data sets but TOP, each with its notebook, in the notebooks' order."""
    found = []
    for data, shown in parts.items():
        for path in Path(shown.figures_dir).glob("*.png") if shown.figures_dir else ():
            with Image.open(path) as image:
                notebook = re.match(r"notebook (\w+)", image.text.get("Source", ""))
            if notebook and path.stem != TOP and drawn_of(path.stem) == data:
                found.append((notebook[1], len(path.stem), path, shown.profile))
    made = [
        page.picture(path, title_of(path.stem, parts), page_of(profile, notebook))
        for notebook, _, path, profile in sorted(found)
    ]
    if not made:
        return prose("They are made by the other notebooks (`make figures`); none are at hand.")
    return prose("Figure 1 stands at the top of the page.") + Markup("").join(made)


def readings(shown: summary.ProfileResults, read_otherwise: summary.ProfileResults) -> Markup:
    """What is open, and what other readings do to the numbers of `read_otherwise`."""
    rows, others = (
        sorted({run["settings"]["lambda_3"] for run in runs} - {0})
        for runs in (shown.results, read_otherwise.readings)
    )
    pages = [
        link(f"notebook 09_readings, {name} profile", page_of(name, "09_readings"))
        for name in dict.fromkeys((read_otherwise.profile, shown.profile))
    ]
    change = f"What another reading does, seed by seed, {read_otherwise.profile} profile"
    definitions = f"Other definitions of the scores, {shown.profile} profile, means over seeds"
    pairs, latents = z_diff_score.__kwdefaults__["pairs"], profiles.CONV["latents"]
    return (
        WORDS.readings(rows, others, INACTIVE_BELOW, pairs, latents)
        + table(tables.readings(read_otherwise), change)
        + table(tables.other_scores(shown), definitions)
        + prose(Markup(", ").join(pages), "source")
    )


def compute(parts: Parts) -> Markup:
    """Runs and minutes of each data set, devices, versions, and the runs that diverged."""

    def message(path: Path) -> str:
        try:
            return str(json.loads(path.read_text("utf-8"))["message"])
        except (OSError, ValueError, TypeError, KeyError):
            return f"its note cannot be read; delete {path.name}"

    rows, ways = [], ("one by one", "many at once")
    for shown in parts.values():
        runs = shown.runs
        versions = {", ".join(map(" ".join, run["versions"].items())) for run in runs}
        rows.append({
            "data": runs[0]["data"]["name"], "profile": shown.profile, "runs": len(runs),
            "minutes in all": f"{sum(run['minutes'] for run in runs):,.1f}",
            "device": "; ".join(sorted({run["device"] for run in runs})),
            "trained": " or ".join(sorted({ways["stack" in run] for run in runs})),
            "versions": "; ".join(sorted(versions)),
        })  # fmt: skip
    failed = sorted(Path(parts["shapes2d"].results_dir).glob("*.diverged"))
    told = [(path.stem, message(path)) for path in failed]
    return table(pd.DataFrame(rows), "Runs, minutes and machines") + WORDS.compute(len(told), told)


def made_from(parts: Parts) -> Markup:
    """The data and the code that the results come from."""
    rows = []
    for shown in parts.values():
        data = shown.results[0]["data"]
        codes = {provenance.short(run["code"]): run["code"] for run in shown.runs}
        rows.append({
            "data": data["name"], "profile": shown.profile, "source": data["source"],
            "SHA-256 of images, labels and their meaning": data["identity"],
            "hashes of the code: training, scoring": ", ".join(codes),
            "the code of now": "yes" if all(map(provenance.is_present, codes.values())) else "no",
        })  # fmt: skip
    return table(pd.DataFrame(rows), "Data and code of the results") + WORDS.provenance()


def citation(shown: summary.ProfileResults) -> Markup:
    """The paper, and this replication: year and authors by LICENSE, address by pyproject.toml."""
    year, authors = re.search(r"\(c\) (\d+) (.+)", (ROOT / "LICENSE").read_text("utf-8")).groups()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "")
    code = provenance.short(shown.results[0]["code"])
    return WORDS.citation(year, authors, address, shown.profile, code)


def sections(
    parts: Parts, verdicts: pd.DataFrame, read_otherwise: summary.ProfileResults
) -> list[Section]:
    """The sections, in order; `read_otherwise`: results on 2D Shapes that hold other readings."""
    shapes, lesson = parts["shapes2d"], "02_dip_loss_derivation"
    derivation = link(f"notebook {lesson}", page_of(shapes.profile, lesson))
    spread = "Standard deviation over seeds, and of the score itself"
    return [
        Section("Claims", claimed(parts, verdicts)),
        Section("Tables 1 and 2", all_tables(parts)),
        Section("Explorer", explorers(parts)),
        Section("The objective", WORDS.objective(derivation)),
        Section("Figures", all_figures(parts)),
        Section("What the paper leaves open", readings(shapes, read_otherwise)),
        Section("Seeds against the scores themselves", table(tables.spread(shapes), spread)),
        Section("Compute", compute(parts)),
        Section("Notebooks", WORDS.notebooks(page.promises(shapes.profile))),
        Section("How to cite", citation(shapes)),
        Section("Licences", WORDS.licences()),
        Section("Provenance", made_from(parts)),
    ]


# --- the page ---


def from_smaller(
    profile: str, results_dir: str, figures_dir: str, data: str,
    wanted: Callable[[summary.ProfileResults], bool] = lambda shown: True,
) -> summary.ProfileResults | None:  # fmt: skip
    """A data set from the largest smaller profile beside this one that can show it and is `wanted`.

    None if there is none. Not from the first and smallest, whose numbers mean nothing.
    """
    names, title = list(profiles.PROFILES), profiles.DATA_SETS[data].title
    for smaller in reversed(names[1 : names.index(profile)]):
        folders = [f and str(Path(f).parent / smaller) for f in (results_dir, figures_dir)]
        if not summary.complete(smaller, data, folders[0]):
            continue
        try:
            shown = summary.load(smaller, *folders, data=data)
        except results.BadResult as error:
            print(f"{title}, {smaller} profile: not shown, {error}")
            continue
        if wanted(shown):
            print(f"{title}: what is missing is shown from the {smaller} profile")
            return shown
    return None


def build(profile: str, results_dir: str, figures_dir: str = "", seeds: int = 0) -> list[Section]:
    """Make the page and its sections; `figures_dir`, if given: write it there, ../report.html.

    Raises what `summary.load` raises where results are missing or broken.
    """
    folders = (profile, results_dir, figures_dir)
    there = summary.load_all(*folders, seeds)
    found = {data: there.get(data) or from_smaller(*folders, data) for data in profiles.DATA_SETS}
    parts = {data: shown for data, shown in found.items() if shown}
    shapes = parts["shapes2d"]
    verdicts = claims.verdicts(shapes, parts.get("celeba"))
    others = shapes
    if not shapes.readings:
        others = from_smaller(*folders, "shapes2d", lambda shown: bool(shown.readings)) or shapes
    made = sections(parts, verdicts, others)
    if figures_dir:
        first, top = Path(figures_dir) / f"{TOP}.png", at_a_glance(shapes, verdicts)
        if first.exists():
            top += page.picture(first, WORDS.titles[TOP], page_of(profile, "06_trade_off"))
        script = explorer.SCRIPT.read_text("utf-8")
        text = page.whole("DIP-VAE, replicated", top, made, script, warnings(parts))
        results.write_whole(Path(figures_dir).parent / "report.html", text.encode())
    return made
