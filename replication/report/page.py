"""Pages from plain data: pieces of HTML (texts, formulas, tables, pictures), links between pages, and the whole that holds them.

Nothing on a page asks for the network: pictures, style and script are inside, and its policy (a meta tag) forbids the rest.
Tables have captions and scopes, pictures words, and both fit a phone, the dark and paper: report.css.
"""

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import nbformat
import pandas as pd
from latex2mathml.converter import convert
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
STYLE = Path(__file__).with_name("report.css")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
NUMBER = re.compile(r"|[-−]?[\d.,]+†?( ± [\d.,]+)?|not known")  # a cell of a column of numbers


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    body: str  # HTML

    @property
    def id(self) -> str:
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


# --- pieces of HTML from plain data ---


def marked(text: str) -> str:
    """A line of text as HTML, with **bold**, `code` and [links](address)."""
    text = html.escape(text, quote=False)
    text = re.sub(
        r"\w+_\w+", lambda m: m[0] if m[0] == "lambda_od" else m[0].replace("_", "_<wbr>"), text
    )  # long names may break
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return re.sub(
        r"\[([^\]]+)\]\(([^)\s]+)\)",
        lambda m: f'<a href="{m[2].replace("<wbr>", "")}">{m[1]}</a>',
        text,
    )


def prose(text: str, kind: str = "") -> str:
    """Paragraphs, parted by empty lines."""
    opening = f'<p class="{kind}">' if kind else "<p>"
    return "".join(f"{opening}{marked(part)}</p>" for part in text.split("\n\n") if part.strip())


def formula(latex: str) -> str:
    """A formula as MathML, in a line of its own; the source stands in its label for readers that cannot speak MathML."""
    made = convert(latex, display="block").replace(
        "<math ", f'<math aria-label="{html.escape(latex)}" ', 1
    )
    return f'<div class="formula">{made}</div>'


def shown_value(value) -> str:
    """A cell as text: floats to four digits, NaN as nothing."""
    return "" if pd.isna(value) else f"{value:.4g}" if isinstance(value, float) else str(value)


def scroll(table: str, caption: str) -> str:
    """A wide table in a frame of its own, which scrolls by touch and by keyboard."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(caption)}">{table}</div>'


def table(frame: pd.DataFrame, caption: str, notes: str = "") -> str:
    """A frame as a table, its first column the rows' heads. Many numbers scroll sideways; texts become cards on a phone.

    The roles keep it a table for screen readers where a phone shows its rows as blocks, each cell under its column's name.
    """
    texts = frame.map(shown_value)
    numeric = [texts[c].str.fullmatch(NUMBER).all() and texts[c].ne("").any() for c in texts]
    wide = sum(numeric) > 3
    kinds = [("number" if wide and is_number else "") for is_number in numeric]
    top = "".join(
        f'<th scope="col" role="columnheader" class="{kind}">{marked(name)}</th>'
        for name, kind in zip(texts.columns, kinds)
    )
    lines = []
    for first, *others in texts.itertuples(index=False):
        cells = f'<th scope="row" role="rowheader">{marked(first)}</th>'
        for value, name, kind in zip(others, texts.columns[1:], kinds[1:]):
            kind = value.split(" ")[0] if name == "verdict" else kind
            cells += f'<td role="cell" class="{kind}" data-name="{html.escape(name)}">{marked(value)}</td>'
        lines.append(f'<tr role="row">{cells}</tr>')
    return scroll(
        f'<table role="table" class="{"numbers" if wide else "cards"}"><caption>{marked(caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{top}</tr></thead><tbody role="rowgroup">{"".join(lines)}</tbody></table>', caption
    ) + prose(notes, "notes")  # fmt: skip


def difference(ours: str, paper: str) -> str:
    """Ours less the paper's, with our digits; empty where either is no number. "68.0 ± 20.7", "81.3†" give "-13.3"."""
    found = [re.match(r"-?\d+(?:\.(\d+))?", text) for text in (ours, paper)]
    if not all(found):
        return ""
    return f"{float(found[0][0]) - float(found[1][0]):+.{len(found[0][1] or '')}f}".replace(
        "-", "−"
    )


def compared(frame: pd.DataFrame, caption: str, notes: str = "", comparable: bool = True) -> str:
    """Table 1: for each metric (a column, and one named "..., paper") published, obtained and, if comparable, the difference."""
    metrics = [c for c in frame.columns if f"{c}, paper" in frame.columns]
    kinds = ["published", "obtained"] + ["difference"] * comparable
    others = [
        c
        for c in frame.columns[1:]
        if c not in metrics and c.removesuffix(", paper") not in metrics
    ]
    top = "".join(
        f'<th scope="colgroup" role="columnheader" colspan="{len(kinds)}" class="group">{marked(m)}</th>'
        for m in metrics
    )
    below = "".join(
        f'<th scope="col" role="columnheader" class="number{" group" * (k == kinds[0])}">{k}</th>'
        for _ in metrics
        for k in kinds
    )
    single = f'<th scope="col" role="columnheader" rowspan="2">{marked(frame.columns[0])}</th>'
    single += "".join(
        f'<th scope="col" role="columnheader" rowspan="2" class="number">{marked(c)}</th>'
        for c in others
    )
    lines = []
    for row in frame.to_dict("records"):
        cells = "".join(
            f'<td role="cell" class="number wide" data-name="{html.escape(c)}">{marked(str(row[c]))}</td>'
            for c in others
        )
        for m in metrics:
            ours, paper = str(row[m]), str(row[f"{m}, paper"])
            for kind, value in zip(kinds, (paper, ours, difference(ours, paper))):
                group = " group" * (kind == kinds[0])
                cells += f'<td role="cell" class="number{group}" data-name="{html.escape(m)}, {kind}">{marked(value)}</td>'
        lines.append(
            f'<tr role="row"><th scope="row" role="rowheader">{marked(row[frame.columns[0]])}</th>{cells}</tr>'
        )
    groups = (
        f'<colgroup span="{1 + len(others)}"></colgroup>'
        + f'<colgroup span="{len(kinds)}"></colgroup>' * len(metrics)
    )
    return scroll(
        f'<table role="table" class="numbers cards compared"><caption>{marked(caption)}</caption>{groups}<thead role="rowgroup">'
        f'<tr role="row">{single}{top}</tr><tr role="row">{below}</tr></thead><tbody role="rowgroup">{"".join(lines)}</tbody></table>', caption
    ) + prose(notes, "notes")  # fmt: skip


def picture(path: Path, title: str, link: str = "") -> str:
    """A figure's PNG inside the page, with the alternative text and the source that `figures.save_figure` wrote into it."""
    with Image.open(path) as image:
        facts, (width, height) = image.text, image.size
    source = facts["Source"].split(":")[0]
    source = f'<a href="{link}">{html.escape(source)}</a>' if link else html.escape(source)
    address = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><div class="card" role="region" tabindex="0" aria-label="{html.escape(title)}">'
        f'<img src="{address}" width="{width}" height="{height}" alt="{html.escape(facts["Description"])}"></div>'
        f"<figcaption><strong>{marked(title)}.</strong> {source}</figcaption></figure>"
    )


# --- the notebooks' pages ---


def heads(name: str) -> list[str]:
    """The headings of a notebook, without their marks; the first is its title."""
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    return [
        line.lstrip("#").strip()
        for c in cells
        if c.cell_type == "markdown"
        for line in c.source.splitlines()
        if re.match("#+ ", line)
    ]


def promise(name: str) -> str:
    """The line below a notebook's title."""
    lines = (
        nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        .cells[0]
        .source.splitlines()
    )
    return next((line.strip("* ") for line in lines[1:] if line.strip()), "")


def page_of(profile: str, name: str, heading: str = "") -> str:
    """The address of a notebook's page from the report, at the first heading with `heading` in it; ValueError where none has."""
    address = f"{profile}/notebooks/{name}.html"
    if not heading:
        return address
    for text in heads(name):
        if heading.lower() in text.lower():
            return f"{address}#{quote(text.replace(' ', '-'))}"  # as nbconvert writes them
    raise ValueError(
        f"notebook {name} has no heading with {heading!r}; it has {', '.join(heads(name))}"
    )


def navigation(name: str, names: Sequence[str]) -> str:
    """For the page of notebook `name`: links to the report, to the notebooks before and after it in `names`, and to all of them.

    ValueError where `name` is not one of `names`. Put it right after <body ...> and before </body>.
    """
    names = list(names)
    if name not in names:
        raise ValueError(f"{name} is not one of the notebooks: {', '.join(names)}")
    at = names.index(name)
    links = ['<a href="../../report.html">Report</a>']
    links += [f'<a href="{n}.html" rel="prev">← {html.escape(n)}</a>' for n in names[:at][-1:]]
    links += [f'<a href="{n}.html" rel="next">{html.escape(n)} →</a>' for n in names[at + 1 :][:1]]
    every = "".join(
        f'<li><a href="{n}.html"{" aria-current=page" if n == name else ""}>{html.escape(n)}</a></li>'
        for n in names
    )
    return (
        '<nav aria-label="Notebooks" style="display:flex;flex-wrap:wrap;gap:.5em 2em;padding:1em 2em;font:14px/1.5 system-ui,sans-serif">'
        f'{" ".join(links)}<details><summary>All notebooks</summary><ol style="padding-left:1.5em">{every}</ol></details></nav>'
    )


def index(profile: str) -> str:
    """All notebooks with what each promises."""
    names = [
        path.stem
        for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
        if path.stem not in ("03_train", "11_report")
    ]
    rows = (
        f'<li><a href="{page_of(profile, n)}">{n}</a>: {marked(promise(n))}</li>' for n in names
    )
    return f"<ul>{''.join(rows)}</ul>" + prose(
        "Their pages, and one of 03_train for each experiment that was trained here, lie beside this one in `PROFILE/notebooks/`; "
        "`make figures` makes them.",
        "notes",
    )


def whole(title: str, top: str, parts: Sequence[Section], script: str = "", bold: str = "") -> str:
    """A whole page: `bold` (if any) before everything, title, `top`, the sections with their contents, `script` at the end."""
    contents = "".join(f'<li><a href="#{s.id}">{marked(s.title)}</a></li>' for s in parts)
    body = "".join(
        f'<section id="{s.id}" aria-labelledby="{s.id}-title"><h2 id="{s.id}-title">{marked(s.title)}</h2>{s.body}</section>'
        for s in parts
    )
    before = f'<p class="warning" role="note">{marked(bold)}</p>' if bold else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{STYLE.read_text("utf-8")}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
{before}
<div class="frame">
<nav class="contents" aria-labelledby="contents-title"><h2 id="contents-title">Contents</h2><ol>{contents}</ol></nav>
<main id="content" tabindex="-1">
<header><h1>{marked(title)}</h1>{top}</header>
{body}
</main>
</div>
{script}
</body>
</html>
"""
