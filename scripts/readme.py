"""Fill README's tables, verdicts, minutes and speeds from result files, so that no number in it is typed.

python scripts/readme.py            # what `make readme` calls
python scripts/readme.py --check    # exit status 1 where README is stale (a test does this)
"""

import functools
import json
import re
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # where the project is not installed

from replication import profiles, results  # noqa: E402
from replication.report import report  # noqa: E402
from replication.show import claims, summary, tables  # noqa: E402

README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- begin (\w+): [^>]*-->\n).*?(<!-- end \2 -->)", re.DOTALL)


def headline(data: str = "shapes2d") -> str:
    """The largest profile that the committed results can show on a data set."""
    if profile := summary.largest(data, ROOT / "results"):
        return profile
    raise FileNotFoundError(
        f"no profile's results on {data} are complete in results/; run `make replicate publish`"
    )


@functools.cache
def shown(data: str = "shapes2d") -> summary.ProfileResults:
    return summary.load(headline(data), str(ROOT / "results" / headline(data)), data=data)


def table_1() -> str:
    """The table, and before it how far its profile is from the paper's."""
    warning = report.warning(shown())
    return (f"**{warning}**\n\n" if warning else "") + table_of("shapes2d")


def table_of(data: str) -> str:
    part = shown(data)
    return f"**Table 1, {part.data_name}** ({part.conditions})\n\n{summary.markdown(tables.table_1(part))}\n\n{tables.table_1_notes(part)}"


def profiles_compared() -> str:
    """Table 1's models on 2D Shapes in each profile that is committed, smallest first."""
    names = [
        name
        for name in profiles.PROFILES
        if summary.complete(name, "shapes2d", ROOT / "results" / name)
    ]
    parts = [summary.load(name, str(ROOT / "results" / name)) for name in names]
    rows = [summary.per_setting(part).set_index("label") for part in parts]
    made = {"method": [settings.label for settings in profiles.table_1()]}
    for metric, title in summary.METRICS.items():
        for name, its in zip(names, rows):
            made[f"{title}, {name}"] = [
                summary.with_half(its[metric][m], its[f"{metric}_half"][m], metric)
                for m in made["method"]
            ]
    notes = [
        f"- {' '.join([f'{part.conditions}.', *tables.collapsed(part, made['method'])])}"
        for part in parts
    ]
    return "\n".join([summary.markdown(pd.DataFrame(made)), "", *notes])


def table_1_celeba() -> str:
    return table_of("celeba")


def picture() -> str:
    path = f"figures/{headline()}/trade_off.png"
    return (
        f"![SAP and Z-diff against the reconstruction error, one curve each for beta-VAE, DIP-VAE-I and DIP-VAE-II, "
        f"{headline()} profile]({path})"
    )


def verdicts() -> str:
    parts = [shown(), shown("celeba")]
    told = " and ".join(
        f"{len(p.results) + len(p.readings)} runs of the {p.profile} profile on {p.data_name}"
        for p in parts
    )
    made, planned = (
        len(list((ROOT / "results" / "paper").glob("*.json"))),
        sum(len(seeds) for _, seeds in profiles.plan("paper")),
    )
    paper = f"The full settings (`PROFILE=paper`) need a GPU; of their {planned} runs {made or 'none'} are committed."
    return f"From {told}:\n\n{summary.markdown(claims.verdicts(*parts))}\n\n{paper}"


def minutes() -> str:
    path = ROOT / "results" / "minutes.json"
    if not path.exists():
        return "Not measured yet: `.venv/bin/python scripts/fresh_clone.py`."
    facts = json.loads(path.read_text())
    rows = [
        f"| `{name}` | {command['minutes']:.1f} | {command['what']} |"
        for name, command in facts["commands"].items()
    ]
    machine = f"Measured from an empty clone with no environment: {facts['cores']} cores, {facts['processor']}, profile {facts['profile']}."
    return "\n".join(
        ["| command | minutes | what it does |", "| --- | --- | --- |", *rows, "", machine]
    )


def took(profile: str, data: str) -> str:
    """What a profile's committed runs on a data set took, training and scoring, summed over the runs."""
    if not summary.complete(profile, data, ROOT / "results" / profile):
        return "—"
    part = summary.load(profile, str(ROOT / "results" / profile), data=data)
    every, planned = (
        part.results + part.readings,
        sum(len(seeds) for _, seeds in profiles.plan(profile, data=data)),
    )
    some = "" if len(every) == planned else f" ({len(every)} of {planned} runs)"
    where = "a CPU core" if {run["device"].split(":")[0] for run in every} == {"cpu"} else "a GPU"
    return f"{sum(run['minutes'] for run in every) / 60:.1f} h of {where}{some}"


def profile_table() -> str:
    lines = [
        "| profile | data | settings | runs | steps a run | network | took | what for |",
        "|" + " --- |" * 8,
    ]
    for name, chosen in profiles.PROFILES.items():
        for data, facts in profiles.DATA_SETS.items():
            plan = profiles.plan(name, data=data)
            first, runs = plan[0][0], sum(len(seeds) for _, seeds in plan)
            network = (
                f"FC {first.width}"
                if first.network == "fc"
                else f"conv, {first.filters} filters, FC {first.width}"
            )
            heads = (f"`{name}`", chosen.purpose) if data == "shapes2d" else ("", "")
            lines.append(
                f"| {heads[0]} | {facts.title} | {len(plan)} | {runs} | {first.steps:,} | {network} | {took(name, data)} | {heads[1]} |"
            )
    return "\n".join(lines)


def speed() -> str:
    bench = json.loads((ROOT / "results" / "bench.json").read_text())
    lines = ["| what | here | beside it |", "| --- | --- | --- |"]
    for row in bench["training"]:
        ours, plain = (
            f"{row['ours']['median']:,.0f} images/s",
            f"{row['plain']['median']:,.0f} images/s",
        )
        what = f"training {row['network']}, batch {row['batch_size']}, {row['device']}"
        lines.append(
            f"| {what} | {ours} | {plain} by a plain DataLoader loop ({row['ratio']['median']:.2f} times) |"
        )
    runs, scores = bench["sharing"], bench["scores"]
    several, single = (
        f"{runs[k]['images_per_second']['median']:,.0f} images/s" for k in ("processes", "threads")
    )
    lines.append(
        f"| a sweep: one process a core, one thread each | {several} | {single} by one process on all cores |"
    )
    if conv := bench.get("convolution"):
        ways = ("processes", "threads", "processes_contiguous")
        several, single, contiguous = (
            f"{conv[k]['images_per_second']['median']:,.0f} images/s" for k in ways
        )
        lines.append(
            f"| the same, convolutional, channels-last | {several} | {single} by one process; {contiguous} not channels-last |"
        )
    exact, svc = (
        f"{scores[k]['median']:.2f} s" for k in ("sap_exact_seconds", "sap_linear_svc_seconds")
    )
    lines.append(
        f"| SAP of 73,728 images, exact, one core | {exact} | {svc} for the LinearSVC variant on 15,000 |"
    )
    rendered = f"{bench['rendering']['whole_set']['images_per_second']['median']:,.0f} images/s"
    lines.append(f"| rendering 2D Shapes, bit-packed | {rendered} | |")
    return "\n".join(lines)


MAKERS = (table_1, table_1_celeba, profiles_compared, picture, verdicts, minutes, profiles, speed)
BLOCKS = {maker.__name__: maker for maker in MAKERS}


def filled(text: str) -> str:
    """README with every block made anew; ValueError where a block of this file is missing from it or unknown to it."""
    found = [match.group(2) for match in BLOCK.finditer(text)]
    if sorted(found) != sorted(BLOCKS):
        raise ValueError(
            f"README.md has the blocks {', '.join(found)}; scripts/readme.py makes {', '.join(BLOCKS)}"
        )
    return BLOCK.sub(
        lambda match: f"{match.group(1)}{BLOCKS[match.group(2)]()}\n{match.group(3)}", text
    )


if __name__ == "__main__":
    before = README.read_text("utf-8")
    after = filled(before)
    if "--check" in sys.argv:
        sys.exit(0 if after == before else "error: README.md is stale; run `make readme`")
    results.write_whole(README, after.encode())
    print("README.md is up to date" if after == before else "README.md rewritten")
