"""Pages from plain data: texts, formulas, tables, pictures, links, and the whole that holds them.

The HTML is in Jinja templates (pieces.html, page.html), which escape all that is put into them; a
link leads only where `link` was told to. Nothing on a page asks for the network: pictures, style
and script are inside, and its policy (a meta tag) forbids the rest. Tables have captions and
scopes, pictures words, and both fit a phone, the dark and paper: report.css.
"""

import base64
import hashlib
import html
import io
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import jinja2
import nbformat
import pandas as pd
from latex2mathml.converter import convert
from markupsafe import Markup, escape
from PIL import Image

HERE = Path(__file__).resolve().parent
NOTEBOOKS = HERE.parents[1] / "notebooks"
LOADED = re.compile(  # scripts, and what is fetched: a page from nbconvert needs neither
    r'<script\b.*?</script\s*>|<link[^>]*href="https?://[^>]*>', re.DOTALL | re.IGNORECASE
)
SECTION = re.compile(r'<section id="([\w-]+)".*?<h2[^>]*>(.*?)</h2>', re.DOTALL)


# --- texts ---


def breaking(text: str) -> Markup:
    """Plain text as HTML (which is left as it is); long names may break after an underscore."""
    if isinstance(text, Markup):
        return text
    return Markup(re.sub(r"(?<=\w)(?<!lambda)_(?=\w)", "_<wbr>", str(escape(text))))


def marked(text: str) -> Markup:
    """Markdown as HTML: **bold** and `code` alone, links stay text."""
    if isinstance(text, Markup):
        return text
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(breaking(html.unescape(text))))
    return Markup(re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text))


def link(text: str, address: str) -> Markup:
    return Markup('<a href="{}">{}</a>').format(address, text)


def formula(latex: str) -> Markup:
    """A formula as MathML on its own line; its label, for who cannot read MathML, is the source."""
    made = Markup(convert(latex, display="block").removeprefix("<math "))
    return Markup('<div class="formula"><math aria-label="{}" {}</div>').format(latex, made)


# --- tables and pictures ---


def shown_value(value: object) -> str:
    """A cell as text: floats to four digits, NaN as nothing."""
    if isinstance(value, str):
        return value
    return "" if pd.isna(value) else f"{value:.4g}" if isinstance(value, float) else str(value)


def table(frame: pd.DataFrame, caption: str, notes: str = "", kind: str = "cards") -> Markup:
    """A frame as a table, its first column the rows' heads; columns (group, name) share a head.

    Many numbers scroll sideways (`kind` "numbers"), texts are cards on a phone ("cards").
    """
    names = [c if isinstance(c, tuple) else ("", c) for c in frame.columns]
    rows = [[shown_value(value) for value in row] for row in frame.itertuples(index=False)]
    groups = [group for group, _ in names]
    columns = [
        {
            "name": name, "group": group, "span": groups.count(group) if group else 1,
            "first": not group or groups.index(group) == i, "number": i > 0 and "numbers" in kind,
        } for i, (group, name) in enumerate(names)
    ]  # fmt: skip
    return PIECES.table(columns, rows, caption, kind, notes)


def difference(ours: str, paper: str) -> str:
    """Ours less the paper's, in our digits: "68.0 ± 20.7", "81.3†" give "−13.3", else ""."""
    found = [re.match(r"-?\d+(?:\.(\d+))?", text) for text in (ours, paper)]
    if not all(found):
        return ""
    digits = len(found[0][1] or "")
    return f"{float(found[0][0]) - float(found[1][0]):+.{digits}f}".replace("-", "−")


def compared(frame: pd.DataFrame, caption: str, notes: str = "", comparable: bool = True) -> Markup:
    """Table 1: each metric (a column, and "..., paper") published, obtained; if told, less it."""
    columns = {}
    for name in frame.columns:
        if f"{name}, paper" in frame.columns:
            ours, paper = frame[name].astype(str), frame[f"{name}, paper"].astype(str)
            columns |= {(name, "published"): paper, (name, "obtained"): ours}
            if comparable:
                columns[name, "difference"] = list(map(difference, ours, paper))
        elif not name.endswith(", paper"):
            columns["", name] = frame[name]
    return table(pd.DataFrame(columns), caption, notes, "numbers cards compared")


def inline(content: bytes, kind: str) -> str:
    """A picture ("png", "webp") as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def picture(path: Path, title: str, address: str = "") -> Markup:
    """A figure's PNG inside the page, with the words that it holds; `address`: of its notebook."""
    content, buffer = path.read_bytes(), io.BytesIO()
    with Image.open(path) as image:
        facts, size = image.text, image.size
        image.convert("RGB").save(buffer, "WEBP", quality=80)
    small = min((content, "png"), (buffer.getvalue(), "webp"), key=lambda made: len(made[0]))
    source = facts["Source"].split(":")[0]
    source = link(source, address) if address else source
    caption = re.sub(r"^\*\*.*?\*\*\s*", "", facts.get("Caption", ""))  # without its own title
    look = "photographs" if path.stem.startswith("traversals") else "chart"
    return PIECES.picture(inline(*small), *size, facts["Description"], title, caption, source, look)


# --- the notebooks' pages ---


def texts_of(notebook: str) -> list[str]:
    """The lines of a notebook's texts; the first is its title."""
    cells = nbformat.read(NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    return [x for cell in cells if cell.cell_type == "markdown" for x in cell.source.splitlines()]


def page_of(profile: str, notebook: str, heading: str = "") -> str:
    """The address of a notebook's page from the report, at the first heading with `heading` in it.

    ValueError where none has.
    """
    address = f"{profile}/notebooks/{notebook}.html"
    if not heading:
        return address
    known = [x.lstrip("#").strip() for x in texts_of(notebook) if re.match("#+ ", x)]
    for text in known:
        if heading.lower() in text.lower():
            return f"{address}#{quote(text.replace(' ', '-'))}"  # as nbconvert writes them
    has = ", ".join(known)
    raise ValueError(f"notebook {notebook} has no heading with {heading!r}; it has {has}")


def promises(profile: str) -> list[tuple[Markup, str]]:
    """All notebooks, linked, with what each promises: the line below its title."""
    names = [path.stem for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))]
    return [
        (link(name, page_of(profile, name)), next(filter(None, texts_of(name)[1:])).strip("* "))
        for name in names if name not in ("03_train", "11_report")
    ]  # fmt: skip


def navigation(name: str, names: Sequence[str]) -> str:
    """For the page of notebook `name`: links to the report, its neighbours in `names`, all of them.

    Put it right after <body ...> and before </body>.
    """
    names = list(names)
    at = names.index(name)
    return str(PIECES.navigation(name, names[:at][-1:], names[at + 1 :][:1], names))


def offline(text: str) -> str:
    """A notebook's page without scripts and fetched styles, under a policy that allows neither."""
    meta = Markup('<meta http-equiv="Content-Security-Policy" content="{}">').format(policy())
    return re.sub(r"<head[^>]*>", lambda m: m[0] + str(meta), LOADED.sub("", text), count=1)


# --- the whole ---


def policy(script: str = "", style: str = "") -> str:
    """A content security policy: only this script (or none), this style (or any), no fetching."""

    def only(text: str, otherwise: str) -> str:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return f"'sha256-{digest}'" if text else otherwise

    rest = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; font-src data:"
    scripts, styles = only(script, "'none'"), only(style, "'unsafe-inline'")
    return f"{rest}; script-src {scripts}; style-src {styles}"


def whole(title: str, top: Markup, body: Markup, script: str = "") -> str:
    """A page: title, `top`, links to the sections of `body`, `body`; `script` runs at the end."""
    style = (HERE / "report.css").read_text("utf-8")
    return ENVIRONMENT.get_template("page.html").render(
        title=title, top=top, body=body, contents=SECTION.findall(body),
        script=Markup(script), style=Markup(style), policy=policy(script, style),
    )  # fmt: skip


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip
ENVIRONMENT.filters |= {"breaking": breaking, "marked": marked}
ENVIRONMENT.globals |= {
    "link": link, "formula": formula, "table": table, "compared": compared, "page_of": page_of,
    # For tables of words in templates: the heads first.
    "words": lambda rows, caption: table(pd.DataFrame(rows[1:], columns=rows[0]), caption),
}  # fmt: skip
PIECES = ENVIRONMENT.get_template("pieces.html").module  # its macros
