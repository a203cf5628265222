"""The report: one page that a reader opens first, offline, made from result files and figures only (notebook 11_report).

It is a list of sections, each a title and a piece of HTML made by page.py from plain data; to add one is a line in `sections`.
"""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from PIL import Image

from dipvae_src.sap import INACTIVE_BELOW
from dipvae_src.zdiff import z_diff_score
from replication import profiles, provenance, results
from replication.report import explorer
from replication.report.page import (
    Section,
    compared,
    formula,
    index,
    marked,
    page_of,
    picture,
    prose,
    table,
    whole,
)
from replication.show import claims, summary, tables

VERDICTS = ("reproduced", "not reproduced", "undecided", "needs data")  # how every verdict begins

PENALTY = r"\lambda_{od} \sum_{i \neq j} C_{ij}^2 + \lambda_d \sum_i (C_{ii} - 1)^2"
EQUATIONS = (  # name, formulas, words
    ("Eq. 5", (r"\mathrm{Cov}_{q(z)}[z] = \mathbb{E}_{p(x)}[\Sigma(x)] + \mathrm{Cov}_{p(x)}[\mu(x)]",), "The law of total covariance."),
    ("Eq. 6", (PENALTY, r"C = \mathrm{Cov}_{p(x)}[\mu(x)]"), "DIP-VAE-I: what it adds to the negative ELBO."),
    ("Eq. 7", (PENALTY, r"C = \mathrm{Cov}_{q(z)}[z]"), "DIP-VAE-II: the same, of all of z instead of its mean."),
)  # fmt: skip
TOP = "trade_off"  # the figure below the verdicts
TITLES = {  # of the figures, by the name of their file
    "trade_off": "Figure 1: SAP and Z-diff against the reconstruction error, 2D Shapes",
    "trade_off_celeba": "Figure 2: the same on CelebA",
    "traversals": "Latent traversals, 2D Shapes",
    "traversals_celeba": "Latent traversals, CelebA",
    "traversals_chairs": "Latent traversals, 3D Chairs",
    "covariance": "Covariance of the latents, 2D Shapes",
    "covariance_celeba": "Covariance of the latents, CelebA",
    "attributes": "Attributes read from all latents, and from one",
}
TERMS = """**Z-diff**: how often a linear classifier tells which factor two images share, from the difference of their latents; percent.
**SAP**: by how much the latent that predicts a factor best beats the second best, averaged over factors; 0 to 1.
**rec. error**: of reconstructed images, squared, per pixel. **KL**: what a latent tells of the image, in nats."""
OPEN = pd.DataFrame(
    [
        (
            "reconstruction error",
            "mean over test images, pixels and channels of the squared difference of image and decoder's mean at z = mu(x)",
        ),
        (
            "third moments of DIP-VAE-II",
            f"on 2D Shapes, {profiles.DATA_SETS['shapes2d'].lambda_3:g} times the l2 norm of each latent's own "
            "third central moment, computed analytically",
        ),
        (
            "inactive latents in SAP",
            f"a latent whose mean varies by less than {INACTIVE_BELOW:g} counts as off",
        ),
        ("covariance", "of the minibatch, divisor B; the sums run over ordered pairs"),
        ("length of training", "the profile's: the paper's number of steps is not known"),
        (
            "Z-diff",
            f"logistic regression on means of |mu(x1) - mu(x2)| over {z_diff_score.__kwdefaults__['pairs']} pairs",
        ),
        (
            "CelebA and 3D Chairs",
            "32 latents in full; the crop box, the weights of Figure 2 beyond the table's, and for chairs batch and weights, are our choice",
        ),
    ],
    columns=["open in the paper", "how it is read here"],
)
LICENCES = pd.DataFrame(
    [
        (
            "dSprites (2D Shapes)",
            "Apache License 2.0",
            "Matthey, Higgins, Hassabis, Lerchner, 2017",
        ),
        (
            "CelebA",
            "non-commercial research only; no image of it may be passed on",
            "Liu, Luo, Wang, Tang, ICCV 2015",
        ),
        ("3D Chairs", "research", "Aubry, Maturana, Efros, Russell, Sivic, CVPR 2014"),
        ("drawn images, this code", "MIT License", "this replication"),
    ],
    columns=["what", "licence", "from"],
)
PAPER = """@inproceedings{kumar2018variational,
  title     = {Variational Inference of Disentangled Latent Concepts from Unlabeled Observations},
  author    = {Kumar, Abhishek and Sattigeri, Prasanna and Balakrishnan, Avinash},
  booktitle = {International Conference on Learning Representations},
  year      = {2018},
  note      = {arXiv:1711.00848}
}"""


# --- what the page says ---


def warning(shown: summary.ProfileResults) -> str:
    """How far a profile is from the paper's setting, in bold before everything; empty where it is not."""
    full, ours = (profiles.plan(profile)[0][0] for profile in ("paper", shown.profile))
    if ours == full:
        return ""
    network = ", on a smaller network" if ours.width < full.width else ""
    return (
        f"These are {shown.profile} results: {100 * ours.steps / full.steps:.2g} % of the training steps meant for the paper's setting"
        f"{network}. They show what so small a replication gives, not what the paper found."
    )


def warnings(parts: dict[str, summary.ProfileResults]) -> str:
    """The warning on 2D Shapes, and what is shown from a smaller profile than that."""
    page, texts = parts["shapes2d"].profile, [warning(parts["shapes2d"])]
    for data, shown in parts.items():
        if shown.profile != page:
            full, ours = (
                profiles.plan(profile, data=data)[0][0].steps
                for profile in ("paper", shown.profile)
            )
            texts.append(
                f"{shown.data_name[:1].upper()}{shown.data_name[1:]}: from the {shown.profile} profile, {100 * ours / full:.2g} % of the steps."
            )
    return " ".join(filter(None, texts))


def named(shown: summary.ProfileResults, page: str) -> str:
    """A data set's own name, with the profile where it is not the page's."""
    return shown.results[0]["data"]["name"] + (
        "" if shown.profile == page else f", {shown.profile} profile"
    )


def begins(verdict: str) -> str:
    """Which of VERDICTS a verdict is."""
    return next((kind for kind in VERDICTS if verdict.startswith(kind)), verdict)


def verdict_line(verdicts: pd.DataFrame) -> str:
    """How many claims came out how."""
    counts = verdicts["verdict"].map(begins).value_counts()
    items = "".join(
        f'<li class="{kind.split()[0]}"><strong>{counts.get(kind, 0)}</strong> {kind}</li>'
        for kind in VERDICTS
    )
    return f'<ul class="counts" aria-label="Verdicts on {len(verdicts)} claims">{items}</ul>'


def runs_of(shown: summary.ProfileResults) -> list[dict]:
    return shown.results + shown.readings


def compute(parts: dict[str, summary.ProfileResults]) -> str:
    """Runs and minutes of each data set, devices, versions, and the runs that diverged."""
    rows = []
    for shown in parts.values():
        runs = runs_of(shown)
        versions = {
            ", ".join(f"{name} {version}" for name, version in run["versions"].items())
            for run in runs
        }
        rows.append({
            "data": runs[0]["data"]["name"], "profile": shown.profile, "runs": len(runs), "minutes in all": f"{sum(run['minutes'] for run in runs):,.1f}",
            "device": "; ".join(sorted({run["device"] for run in runs})),
            "trained": "; ".join(sorted({"many at once" if "stack" in run else "one by one" for run in runs})),
            "versions": "; ".join(sorted(versions)),
        })  # fmt: skip
    failed = sorted(Path(parts["shapes2d"].results_dir).glob("*.diverged"))
    told = [f"`{path.stem}`: {json.loads(path.read_text('utf-8'))['message']}" for path in failed]
    notes = (
        f"Runs that diverged and were not made again: {len(failed)}. {'; '.join(told)}\n\n"
        "Minutes are of training and scoring; of models trained many at once, each has its share."
    )
    return table(pd.DataFrame(rows), "Runs, minutes and machines", notes)


def results_of(parts: dict[str, summary.ProfileResults]) -> str:
    rows = []
    for shown in parts.values():
        data, codes = (
            shown.results[0]["data"],
            {provenance.short(run["code"]): run["code"] for run in runs_of(shown)},
        )
        present = "yes" if all(map(provenance.is_present, codes.values())) else "no"
        rows.append(
            (data["name"], shown.profile, data["source"], data["identity"], ", ".join(codes), present)
        )
    columns = [
        "data",
        "profile",
        "source",
        "SHA-256 of the packed images",
        "code of the runs",
        "code as it is now",
    ]
    notes = (
        "The code is a hash of the files that decide a run's numbers, comments aside (`dipvae_src/results.py`). Every figure and "
        "table carries it, and its runs' names, in its own file. To make it all again: `make replicate`; from the committed "
        "results, without training: `make figures`."
    )
    return table(pd.DataFrame(rows, columns=columns), "Provenance", notes)


def citation(shown: summary.ProfileResults) -> str:
    ours = (
        "@misc{dipvae-replicated,\n  title = {DIP-VAE, replicated},\n  author = {The authors of this replication},\n"
        f"  note  = {{code {shown.results[0]['code']}, {shown.profile} profile}}\n}}"
    )
    return f"<h3>The paper</h3><pre>{html.escape(PAPER)}</pre><h3>This replication</h3><pre>{html.escape(ours)}</pre>"


def drawn_of(name: str) -> str:
    """The data set that a figure or table is of, by the name of its file."""
    return next(
        (data for data in profiles.DATA_SETS if name.endswith(f"_{data}")),
        "celeba" if name in ("attributes", "table_2") else "shapes2d",
    )


def title_of(name: str, parts: dict[str, summary.ProfileResults]) -> str:
    """A figure's title, with the data set's own name, which says where it is a stand-in."""
    title = TITLES.get(name, name)
    for data, shown in parts.items():
        title = title.replace(
            profiles.DATA_SETS[data].title, named(shown, parts["shapes2d"].profile)
        )
    return title


def all_figures(parts: dict[str, summary.ProfileResults], top: str) -> str:
    """Every figure of the data sets but `top`, each linked to the notebook that made it, in the notebooks' order."""
    folders = {data: Path(shown.figures_dir) for data, shown in parts.items() if shown.figures_dir}
    found = []
    for path in (
        path
        for data, folder in folders.items()
        for path in folder.glob("*.png")
        if drawn_of(path.stem) == data
    ):
        with Image.open(path) as image:
            notebook = re.match(r"notebook (\w+)", image.text.get("Source", ""))
        if notebook and "Description" in image.text and path.stem != top:
            found.append((notebook[1], len(path.stem), path))
    drawn = (
        picture(
            path, title_of(path.stem, parts), page_of(parts[drawn_of(path.stem)].profile, notebook)
        )
        for notebook, _, path in sorted(found)
    )
    return "".join(drawn) or prose(
        "The figures are made by the other notebooks (`make figures`); none are at hand."
    )


def all_tables(parts: dict[str, summary.ProfileResults]) -> str:
    """Table 1 on each data set that it has, and Table 2."""
    made = prose(TERMS)
    for data, heading in (("shapes2d", "2D Shapes"), ("celeba", "CelebA")):
        if shown := parts.get(data):
            about = shown.results[0]["data"]
            link = page_of(shown.profile, "05_table_1", heading)
            notes = (
                f"{shown.conditions}.\n\n{tables.table_1_notes(shown)}\n\n"
                f"± is half of the 95 % interval over seeds. [Notebook 05_table_1]({link})"
            )
            made += compared(
                tables.table_1(shown),
                f"Table 1, {about['name']}",
                notes,
                about["source"] != "stand-in",
            )
    if shown := parts.get("celeba"):
        link = page_of(shown.profile, "10_attributes", "the table")
        notes = f"{shown.conditions}.\n\n{tables.table_2_notes(shown)}\n\nPercent of test images. [Notebook 10_attributes]({link})"
        made += table(tables.table_2(shown), f"Table 2, {shown.results[0]['data']['name']}", notes)
    return made


def explorers(parts: dict[str, summary.ProfileResults]) -> str:
    """One explorer a data set."""
    made = prose(
        "Each slider moves one latent of four models at once, and their decoders draw what it does: slider 1 the most used latent "
        "of each (by its KL), and so on. Under a slider stands, for each model, that latent's KL in nats and the factor that it "
        "predicts best, with its SAP entry. Until it is touched, a slider leaves each model at its own inference from the chosen "
        "test image."
    )
    for data, shown in parts.items():
        if models := explorer.models(shown):
            made += f"<h3>{marked(named(shown, parts['shapes2d'].profile))}</h3>{explorer.block(models, data)}"
    return made


def objective(profile: str) -> str:
    """Equations 5 to 7."""
    made = "".join(
        f"<h3>{name}</h3>{''.join(map(formula, parts))}{prose(words)}"
        for name, parts, words in EQUATIONS
    )
    link = page_of(profile, "02_dip_loss_derivation")
    return made + prose(
        f"Derived line by line in [notebook 02_dip_loss_derivation]({link}), computed in `dipvae_src/losses.py`."
    )


def readings(shown: summary.ProfileResults, read_otherwise: summary.ProfileResults) -> str:
    """What is open, and what another reading does to the numbers of `read_otherwise`, the profile that ran them."""
    change = f"What another reading does, {read_otherwise.profile} profile: the score so read (its change, with the 95 % interval)"
    pages = [
        f"[notebook 09_readings, {p} profile]({page_of(p, '09_readings')})"
        for p in dict.fromkeys((read_otherwise.profile, shown.profile))
    ]
    return (
        table(OPEN, "Readings")
        + "<h3>Deviations and their effect</h3>"
        + table(tables.readings(read_otherwise), change)
        + table(
            tables.other_scores(shown),
            f"Other definitions of the scores, {shown.profile} profile, means over seeds",
        )
        + prose(", ".join(pages), "source")
    )


def sections(
    parts: dict[str, summary.ProfileResults],
    verdicts: pd.DataFrame,
    read_otherwise: summary.ProfileResults,
) -> list[Section]:
    """The page's sections, in order. `read_otherwise`: the results on 2D Shapes that hold other readings."""
    shapes = parts["shapes2d"]
    faces = parts.get("celeba", shapes)
    links = [
        f"[notebook]({page_of((faces if claim.startswith('On CelebA') else shapes).profile, '05_table_1', 'claims')})"
        for claim in verdicts["claim"]
    ]
    profiles = f"{shapes.profile} profile" + (
        "" if faces.profile == shapes.profile else f"; of CelebA, {faces.profile} profile"
    )
    claimed = table(verdicts.assign(**{"shown in": links}), f"The paper's claims, {profiles}")
    drawn = prose("Figure 1 stands at the top of the page.") + all_figures(parts, TOP)
    spread = table(tables.spread(shapes), "Standard deviation over seeds, and of the score itself")
    return [
        Section("Claims", claimed),
        Section("Tables 1 and 2", all_tables(parts)),
        Section("Explorer", explorers(parts)),
        Section("The objective", objective(shapes.profile)),
        Section("Figures", drawn),
        Section("What the paper leaves open", readings(shapes, read_otherwise)),
        Section("Seeds against the scores themselves", spread),
        Section("Compute", compute(parts)),
        Section("Notebooks", index(shapes.profile)),
        Section("How to cite", citation(shapes)),
        Section("Licences", table(LICENCES, "Data and code")),
        Section("Provenance", results_of(parts)),
    ]


def from_smaller(
    profile: str,
    results_dir: str,
    figures_dir: str,
    data: str,
    wanted: Callable[[summary.ProfileResults], bool] = lambda shown: True,
) -> summary.ProfileResults | None:
    """A data set from the largest smaller profile beside this one that can show it and is `wanted`, if any; not from the first and
    smallest, whose numbers mean nothing.
    """
    names = list(profiles.PROFILES)
    for smaller in reversed(names[1 : names.index(profile)]):
        folders = [
            str(Path(folder).parent / smaller) if folder else ""
            for folder in (results_dir, figures_dir)
        ]
        try:
            shown = summary.load(smaller, *folders, data=data)
        except FileNotFoundError:
            continue
        except results.BadResult as error:
            print(f"{profiles.DATA_SETS[data].title}, {smaller} profile: not shown, {error}")
            continue
        if wanted(shown):
            print(
                f"{profiles.DATA_SETS[data].title}: what is missing is shown from the {smaller} profile"
            )
            return shown
    return None


def build(profile: str, results_dir: str, figures_dir: str = "", seeds: int = 0) -> list[Section]:
    """Make the page, write it beside the profile's folder of figures as report.html (if `figures_dir` is given); its sections.

    Raises what `summary.load` raises where results are missing or broken.
    """
    parts = summary.load_all(profile, results_dir, figures_dir, seeds)
    found = {
        data: parts.get(data) or from_smaller(profile, results_dir, figures_dir, data)
        for data in profiles.DATA_SETS
    }
    parts = {data: shown for data, shown in found.items() if shown}
    shapes = parts["shapes2d"]
    verdicts = claims.verdicts(shapes, parts.get("celeba"))
    first = Path(figures_dir) / f"{TOP}.png"
    about = (
        "A replication of Kumar, Sattigeri, Balakrishnan: Variational Inference of Disentangled Latent Concepts from Unlabeled "
        f"Observations, ICLR 2018 (arXiv 1711.00848). {shapes.conditions[0].upper() + shapes.conditions[1:]}."
    )
    top = prose(about, "about") + verdict_line(verdicts)
    if figures_dir and first.exists():
        top += picture(first, TITLES[TOP], page_of(profile, "06_trade_off"))
    others = (
        None
        if shapes.readings
        else from_smaller(
            profile, results_dir, figures_dir, "shapes2d", lambda shown: bool(shown.readings)
        )
    )
    made = sections(parts, verdicts, others or shapes)
    text = whole("DIP-VAE, replicated", top, made, explorer.script(), warnings(parts))
    if figures_dir:
        results.write_whole(Path(figures_dir).parent / "report.html", text.encode())
    return made
