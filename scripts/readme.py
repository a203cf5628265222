"""Fill the tables, verdicts and speeds of README and docs/ from result files: no number is typed.

    python -m scripts.readme            # what `make readme` calls
    python -m scripts.readme --check    # exit status 1 where a page is stale (a test does this)

A page says where they go by a pair of comments: <!-- begin NAME: ... -->, <!-- end NAME -->. NAME
is one of BLOCKS.
"""

import functools
import re
import sys
from pathlib import Path

import pandas as pd

from replication import profiles, results
from replication.report import report
from replication.scores import rounded
from replication.show import claims, summary, tables

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "results"
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


def markdown(heads: tuple[str, ...], rows: list[tuple]) -> str:
    """A table of texts of our own, in which code may be marked as such."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


def table_1(data: str = "shapes2d") -> str:
    """Means, ours and the paper's in one cell, which is narrow; intervals are in other tables."""
    part = shown(data)
    wide = tables.table_1(part).replace(r" ± \S+", "", regex=True)
    narrow = wide[["method"]].copy()
    for score in [name for name in wide if f"{name}, paper" in wide]:
        narrow[score] = wide[score] + " / " + wide[f"{score}, paper"]
    seeds = " to ".join(str(n) for n in sorted({wide["seeds"].min(), wide["seeds"].max()}))
    title = f"**Table 1, ours / the paper's**, {seeds} seeds a model ({part.conditions})"
    return "\n\n".join((title, summary.markdown(narrow), tables.table_1_notes(part)))


def standing() -> str:
    """How far what is shown is from the paper's setting."""
    return report.warning(shown())


def profiles_compared() -> str:
    """Table 1's models on 2D Shapes in each profile that is committed, smallest first."""
    parts = [part for profile in profiles.PROFILES if (part := load(profile))]
    made = {"method": [settings.label for settings in profiles.table_1()]}
    for metric, title in summary.METRICS.items():
        for part in parts:
            its = summary.per_setting(part).set_index("label")
            made[f"{title}, {part.profile}"] = [
                summary.with_half(its[metric][label], its[f"{metric}_half"][label], metric)
                for label in made["method"]
            ]
    said = (
        " ".join([f"{part.conditions}.", *tables.collapsed(part, made["method"])]) for part in parts
    )
    return "\n".join([summary.markdown(pd.DataFrame(made)), "", *(f"- {text}" for text in said)])


def picture() -> str:
    alt = "SAP and Z-diff against the reconstruction error, a curve each for the three objectives"
    return f"![{alt}, {headline()} profile](figures/{headline()}/trade_off.png)"


@functools.cache
def decided() -> pd.DataFrame:
    """The paper's claims and their verdicts."""
    return claims.verdicts(shown(), shown("celeba"))


def finding() -> str:
    """What was found, in two sentences: verdicts by kind, at which length; what depends on luck."""
    kinds = [re.split(r" \(|,", verdict)[0] for verdict in decided()["verdict"]]
    counts = ", ".join(f"{count} {kind}" for kind, count in pd.Series(kinds).value_counts().items())
    steps = shown().results[0]["settings"]["steps"]
    seeds = summary.per_setting(shown())["n"].max()
    luck = claims.luck(shown())
    steadier = luck[luck["answer"] == "steadier"]
    names = "; ".join(f"{r.model} in {r.score}" for r in steadier.itertuples())
    return (
        f"**What was found** on 2D Shapes, by the paper's network after {steps:,} steps and with "
        f"{seeds} seeds a model: of the paper's {len(kinds)} claims, {counts}."
        + (f" Less a matter of luck than the VAE: {names}." if names else "")
    )


def implementations() -> str:
    """How many public implementations compute each objective rightly."""
    read = pd.read_csv(RESULTS / "implementations.csv")

    def right(column: str) -> str:
        known = read[column].dropna()
        return f"{(known == 'right').sum()} of {len(known)}"

    return (
        f"Of the public implementations that were read, {right('dip_vae_i')} compute DIP-VAE-I "
        f"rightly and {right('dip_vae_ii')} DIP-VAE-II "
        "([which, and what is wrong](results/implementations.csv))."
    )


def verdicts() -> str:
    """Claims and verdicts; rules, differences and intervals are in notebook 05 and the report."""

    def told(part: summary.ProfileResults) -> str:
        runs = f"{len(part.runs)} runs of the {part.profile} profile"
        steps = part.results[0]["settings"]["steps"]
        return f"{runs} ({steps:,} steps each) on {part.data_name}"

    short = decided()[["claim", "verdict"]].replace(r", at [\d,]+ steps$", "", regex=True)
    return f"From {told(shown())} and {told(shown('celeba'))}:\n\n{summary.markdown(short)}"


def minutes() -> str:
    facts = results.read_json(RESULTS / "minutes.json", "measure it: scripts/fresh_clone.py")
    commands = facts["commands"].items()
    rows = [(f"`{name}`", f"{its['minutes']:.1f}", its["what"]) for name, its in commands]
    return (
        f"{markdown(('command', 'minutes', 'what it does'), rows)}\n\nMeasured from an empty clone "
        f"with no environment: {facts['cores']} cores, "
        f"{summary.escaped(facts['processor'])}, profile {facts['profile']}."
    )


def took(profile: str, data: str) -> str:
    """What a profile's committed runs on a data set took, training and scoring, all together."""
    part = load(profile, data)
    if not part:
        return "—"
    some = f" ({len(part.runs)} of {part.planned} runs)" if len(part.runs) < part.planned else ""
    where = "a CPU core" if all(r["device"].startswith("cpu") for r in part.runs) else "a GPU"
    return f"{sum(run['minutes'] for run in part.runs) / 60:.1f} h of {where}{some}"


def profile_table() -> str:
    rows = []
    for name, chosen in profiles.PROFILES.items():
        for data, facts in profiles.DATA_SETS.items():
            if not (plan := profiles.plan(name, data=data)):
                continue
            first, runs = plan[0][0], sum(len(seeds) for _, seeds in plan)
            network = "" if first.network == "fc" else f"conv, {first.filters} filters, "
            head, purpose = (f"`{name}`", chosen.purpose) if data == "shapes2d" else ("", "")
            size = (str(len(plan)), str(runs), f"{first.steps:,}", f"{network}FC {first.width}")
            rows.append((head, facts.title, *size, took(name, data), purpose))
    heads = "profile", "data", "settings", "runs", "steps a run", "network", "took", "what for"
    return markdown(heads, rows)


def speed() -> str:
    bench = results.read_json(RESULTS / "bench.json", "run `make bench`")

    def per_second(row: dict, name: str) -> str:
        return f"{row[name]['median']:,.0f} images/s"

    rows = []
    for row in bench["training"]:
        beside = f"{row['ratio']['median']:.2f} times a plain DataLoader loop"
        if "ratio_to_floor" in row:
            beside += f", {row['ratio_to_floor']['median']:.2f} of the floor of its products"
        what = f"training {row['network']}, batch {row['batch_size']}, {row['device']}"
        rows.append((what, per_second(row, "ours"), beside))
    for what, its in (("a sweep", bench["sharing"]), ("convolutional", bench["convolution"])):
        one = f"{per_second(its, 'threads')} by one process on all cores"
        rows.append((f"{what}: one process a core", per_second(its, "processes"), one))
    its = bench["seconds"]
    exact, svc, whole = (
        its[name]["median"] for name in ("sap_exact", "sap_linear_svc", "rendering")
    )
    what = f"SAP of {its['points']:,} images, exact, one core"
    rows.append((what, f"{exact:.2f} s", f"{svc:.2f} s for the LinearSVC variant on 15,000"))
    drawn = f"{rounded(1_024 * its['sprites'] / whole, 4):,.0f} images/s"
    rows.append(("rendering 2D Shapes, bit-packed", drawn, ""))
    return markdown(("what", "here", "beside it"), rows)


BLOCKS = {
    "table_1": table_1, "table_1_celeba": functools.partial(table_1, "celeba"),
    "standing": standing, "profiles_compared": profiles_compared, "picture": picture,
    "finding": finding, "implementations": implementations, "verdicts": verdicts,
    "minutes": minutes, "profiles": profile_table, "speed": speed,
}  # fmt: skip


def filled(text: str, page: str = "README.md") -> str:
    """A page with every block made anew; ValueError where it has a block that is not known."""
    if unknown := {match.group(2) for match in BLOCK.finditer(text)} - BLOCKS.keys():
        raise ValueError(f"{page} has the block {min(unknown)}; there are {', '.join(BLOCKS)}")
    return BLOCK.sub(lambda m: f"{m.group(1)}{BLOCKS[m.group(2)]()}\n{m.group(3)}", text)


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
    except (ValueError, KeyError, OSError) as error:
        return f"error: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
