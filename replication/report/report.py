"""The report: one page that a reader opens first, offline, from result files and figures only.

Notebook 11_report makes it. words.html says what stands on it, section by section; here is what it
asks for: verdicts with their reasons, where results come from, figures, explorers.
"""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from dipvae_src.sap import INACTIVE_BELOW
from dipvae_src.zdiff import z_diff_score
from replication import profiles, provenance, results
from replication.report import explorer, page
from replication.show import agreement, claims, findings, published, summary, tables, wording

ROOT = Path(__file__).resolve().parents[2]
VERDICTS = ("reproduced", "not reproduced", "undecided", "needs CelebA")  # how a verdict begins
TOLD = 1  # differences, at most, as a reason
Parts = dict[str, summary.ProfileResults]  # by data set; 2D Shapes is always there


# --- verdicts ---


def judged(claim: claims.Claim, shown: summary.ProfileResults) -> dict:
    """A claim with its verdict in a word (`kind`) and why: the differences that decided it, of an
    undecided one those whose interval holds 0, then what the verdict says in brackets.
    """
    row, reasons = claims.decide(claim, shown), []
    kind = next(kind for kind in VERDICTS if row["verdict"].startswith(kind))
    if list(row.values())[2]:
        said = row["verdict"]  # on stand-ins it stands within the kind's brackets
        asked = 0 if "undecided" in said else -1 if "not reproduced" in said else 1
        those = [c for c in claim.test(shown) if c.found.sign == asked]
        reasons = [f"{c.text}: {wording.from_to(c.found, c.metric)}" for c in those[:TOLD]]
        others = len(those) - TOLD
        reasons += [f"{others} more condition{'s' * (others > 1)}"] if others > 0 else []
    if in_brackets := re.search(r"\((.*)\), at ", row["verdict"]):
        reasons.append(in_brackets[1])
    told = {"claim": claim.text, "kind": kind, "seeds": row["seeds"]}
    return told | {"why": "; ".join(reasons), "of": shown}


def using_latents(shown: summary.ProfileResults) -> pd.DataFrame:
    """Mean scores of those models of Table 1 that do not ignore their latents, by label."""
    runs, labels = summary.per_run(shown).groupby("label"), tables.row_labels(shown)
    kept = [label for label in labels if not claims.is_untrained(runs.get_group(label))]
    return summary.per_setting(shown).set_index("label").loc[kept]


def asked(parts: Parts) -> list[dict]:
    """Every claim, judged by the data that it is about; left out where there is none. `hangs`:
    whether its verdict would be another if SAP counted latents that are off.
    """
    shapes, faces = parts["shapes2d"], parts.get("celeba")
    of = ((c, faces if c.test is claims.ON_FACES else shapes) for c in claims.CLAIMS)
    others = claims.by_every_latent(shapes)
    return [
        judged(claim, shown) | {"hangs": number in others}
        for number, (claim, shown) in enumerate(of, 1) if shown
    ]  # fmt: skip


def counted(verdicts: list[dict]) -> list[tuple[str, int]]:
    """How many claims came out how."""
    kinds = [verdict["kind"] for verdict in verdicts]
    return [(kind, kinds.count(kind)) for kind in VERDICTS if kind in kinds]


def told(verdicts: list[dict]) -> str:
    """Where runs agree and disagree with the paper, and how its other claims came out: what follows
    "these runs" in a sentence.
    """
    said, others = [], counted(verdicts)
    for kind, verb in (("reproduced", "agree"), ("not reproduced", "disagree")):
        claimed = []
        for its in [verdict for verdict in verdicts if verdict["kind"] == kind]:
            text = re.sub("^[A-Z](?=[a-z]* )", lambda a: a[0].lower(), its["claim"].split(":")[0])
            seeds = f"{its['seeds']} seed{'s' * (its['seeds'] != '1')}"
            hangs = "; not if SAP counts latents that are off" * its["hangs"]
            claimed.append(f"that {text} ({seeds}{hangs})")
        if claimed:
            with_whom = "" if said else " with the paper"
            said.append(f"{verb}{with_whom} {', and '.join(claimed)}")
        others = [(other, count) for other, count in others if other != kind]
    rest = ", ".join(f"{count} {kind}" for kind, count in others)
    if not said:
        return f"decide none of the paper's claims: {rest}"
    return "; ".join(said + [f"its other claims: {rest}"] * bool(rest))


def rightly(column: str) -> str:
    """Of the public implementations that were read, how many compute an objective rightly."""
    known = pd.read_csv(ROOT / "results" / "implementations.csv")[column].dropna()
    return f"{(known == 'right').sum()} of {len(known)}"


def other_noise() -> int:
    """How many have DIP-VAE-II's covariance right, and nothing wrong but how z is drawn."""
    wrong = pd.read_csv(ROOT / "results" / "implementations.csv")["what is wrong"]
    return int(wrong.str.startswith("z is drawn").sum())


# --- where results come from ---


def named(shown: summary.ProfileResults, parts: Parts) -> str:
    """A data set's own name, with the profile where it is not the page's."""
    name = shown.results[0]["data"]["name"]
    same = shown.profile == parts["shapes2d"].profile
    return name if same else f"{name}, {shown.profile} profile"


def share(shown: summary.ProfileResults) -> str:
    """Percent of the paper profile's steps (the paper does not say how many it took)."""
    full, ours = (profiles.plan(p, data=shown.data)[0][0] for p in ("paper", shown.profile))
    return f"{100 * ours.steps / full.steps:.2g} %"


def warning(shown: summary.ProfileResults) -> str:
    """How far a profile is from the paper's setting on 2D Shapes; empty where it is that."""
    full, ours = (profiles.plan(profile)[0][0] for profile in ("paper", shown.profile))
    if ours == full:
        return ""
    network = ", on a smaller network" if ours.width < full.width else ""
    return (
        f"These are {shown.profile} results: {share(shown)} of our paper profile's training "
        f"steps{network}. They show what so small a replication gives, not what the "
        "paper found."
    )


def origins(parts: Parts) -> pd.DataFrame:
    """Runs, machines, data and code, a column a data set."""
    columns, ways = {}, ("one by one", "many at once")
    for shown in parts.values():
        runs, data = shown.runs, shown.results[0]["data"]
        codes = {provenance.short(run["code"]): run["code"] for run in runs}
        versions = {", ".join(map(" ".join, run["versions"].items())) for run in runs}
        facts = {
            "profile": shown.profile, "source of the data": data["source"], "runs": len(runs),
            "minutes in all": f"{sum(run['minutes'] for run in runs):,.1f}",
            "device": "; ".join(sorted({run["device"] for run in runs})),
            "trained": " or ".join(sorted({ways["stack" in run] for run in runs})),
            "versions": "; ".join(sorted(versions)),
            "hashes of the code: training, scoring": ", ".join(codes),
            "the code of now": "yes" if all(map(provenance.is_present, codes.values())) else "no",
            "SHA-256 of images, labels and their meaning": data["identity"],
        }  # fmt: skip
        columns[profiles.DATA_SETS[shown.data].title, data["name"]] = facts
    return pd.DataFrame(columns).rename_axis("").reset_index()


def diverged(shown: summary.ProfileResults) -> list[tuple[str, str]]:
    """Runs that diverged, and what was noted of each."""
    found = []
    for path in sorted(Path(shown.results_dir).glob("*.diverged")):
        try:
            found.append((path.stem, str(results.read_json(path)["message"])))
        except (OSError, ValueError, TypeError, KeyError):
            found.append((path.stem, f"its note cannot be read; delete {path.name}"))
    return found


def citation() -> dict[str, str]:
    """Year and authors by LICENSE, address by pyproject.toml."""
    year, authors = re.search(r"\(c\) (\d+) (.+)", (ROOT / "LICENSE").read_text("utf-8")).groups()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "")
    return {"year": year, "authors": authors, "address": address}


def drawn_of(name: str) -> str:
    """The data set that a figure or table is of, by the name of its file."""
    ending = (data for data in profiles.DATA_SETS if name.endswith(f"_{data}"))
    return next(ending, "celeba" if name in ("attributes", "table_2") else "shapes2d")


def figure(parts: Parts, name: str, notebook: str, title: str) -> Markup:
    """A figure that a notebook has left, with the data set's own name; empty where it has not."""
    shown = parts.get(drawn_of(name))
    path = Path(shown.figures_dir) / f"{name}.png" if shown and shown.figures_dir else None
    if not path or not path.exists():
        return Markup()
    title = title.replace(profiles.DATA_SETS[shown.data].title, named(shown, parts))
    return page.picture(path, title, page.page_of(shown.profile, notebook))


# --- the page ---


page.ENVIRONMENT.globals |= {
    "counted": counted, "figure": figure, "origins": origins, "promises": page.promises,
    "rightly": rightly, "share": share, "told": told, "using_latents": using_latents,
    "warning": warning, "claims": claims,
    "agreement": agreement, "findings": findings, "profiles": profiles, "provenance": provenance,
    "published": published, "summary": summary, "tables": tables, "wording": wording,
    "INACTIVE_BELOW": INACTIVE_BELOW, "PAIRS": z_diff_score.__kwdefaults__["pairs"],
}  # fmt: skip
WORDS = page.ENVIRONMENT.get_template("words.html")


def written(
    parts: Parts,
    read_otherwise: summary.ProfileResults,
    longer: summary.ProfileResults | None = None,
) -> tuple[Markup, Markup]:
    """What stands at the top of the page, and its sections.

    `read_otherwise`: results on 2D Shapes that hold other readings; `longer`: of longer training.
    """
    models = {data: own for data, shown in parts.items() if (own := explorer.models(shown))}
    found = WORDS.make_module({
        "parts": parts, "shapes": parts["shapes2d"], "read_otherwise": read_otherwise,
        "longer": longer, "verdicts": asked(parts), "failed": diverged(parts["shapes2d"]),
        "citation": citation(),
        "moved": max((model.moved for own in models.values() for model in own), default=0.0),
        "explorers": [
            explorer.block(own, data, named(parts[data], parts)) for data, own in models.items()
        ],
    })  # fmt: skip
    return found.glance(), found.sections()


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


def build(profile: str, results_dir: str, figures_dir: str = "", seeds: int = 0) -> list[str]:
    """Make the page; its sections' titles. `figures_dir`, if given: write it to ../report.html.

    Raises what `summary.load` raises where results are missing or broken.
    """
    folders = (profile, results_dir, figures_dir)
    there = summary.load_all(*folders, seeds)
    found = {data: there.get(data) or from_smaller(*folders, data) for data in profiles.DATA_SETS}
    parts = {data: shown for data, shown in found.items() if shown}
    others = parts["shapes2d"]
    if not others.readings:
        others = from_smaller(*folders, "shapes2d", lambda shown: bool(shown.readings)) or others
    top, sections = written(parts, others, summary.load_longer(*folders))
    if figures_dir:
        script = explorer.SCRIPT.read_text("utf-8")
        text = page.whole("DIP-VAE, replicated", top, sections, script)
        results.write_whole(Path(figures_dir).parent / "report.html", text.encode())
    return [Markup(title).unescape() for _, title in page.SECTION.findall(sections)]
