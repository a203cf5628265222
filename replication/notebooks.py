"""Execute one notebook with checked parameters and keep it whole, as .ipynb and as a page that opens offline.

python scripts/notebooks.py notebooks/05_table_1.ipynb --out figures/quick/notebooks/05_table_1.ipynb --parameters '{"profile": "quick"}'
"""

import argparse
import ast
import html
import json
import os
import re
import sys
from pathlib import Path

import nbformat
import papermill
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

ROOT = Path(__file__).resolve().parents[1]
from replication import lifeline  # noqa: E402
from replication.report.page import navigation  # noqa: E402
from replication.results import write_whole  # noqa: E402


class NotebookFailed(RuntimeError):
    """A cell raised an error, or the notebook did not run to its end."""


def check_parameters(notebook: Path, parameters: dict) -> None:
    """ValueError for a name that the notebook's parameters cell does not have, TypeError for a value of another type.

    papermill itself only warns of an unknown name and runs the default, so a typing error would go unseen.
    """
    known = papermill.inspect_notebook(str(notebook))
    for name, value in parameters.items():
        if name not in known:
            raise ValueError(
                f"{notebook.name} has no parameter {name!r}; it has {', '.join(known) or 'none'}"
            )
        default = ast.literal_eval(known[name]["default"])
        number = isinstance(default, float) and type(value) is int
        if default is not None and type(value) is not type(default) and not number:
            kind = type(default).__name__
            raise TypeError(
                f"{notebook.name}: {name} must be {kind} like {default!r}, not {value!r} ({type(value).__name__})"
            )


def execute(notebook: Path, parameters: dict, out: Path) -> None:
    """Run a notebook top to bottom in the folder where it lies, and keep it at `out` only if every cell ran.

    Raises NotebookFailed with the error of the cell that failed; the partial notebook is then beside `out` as *.failed.ipynb.
    """
    check_parameters(notebook, parameters)
    out.parent.mkdir(parents=True, exist_ok=True)
    part, failed = out.with_suffix(".part.ipynb"), out.with_suffix(".failed.ipynb")
    try:
        papermill.execute_notebook(
            str(notebook), str(part), parameters=parameters, cwd=str(notebook.parent), progress_bar=False,
            kernel_name="python3", start_timeout=120, autosave_cell_every=0,
        )  # fmt: skip
    except PapermillExecutionError as error:
        os.replace(part, failed)
        raise NotebookFailed(
            f"{notebook.name}, cell {error.exec_count}: {error.ename}: {error.evalue} (see {failed})"
        ) from None
    document = nbformat.read(part, as_version=4)
    if any(
        cell.cell_type == "code" and cell.source and not cell.execution_count
        for cell in document.cells
    ):
        os.replace(part, failed)
        raise NotebookFailed(f"{notebook.name} was interrupted before its last cell (see {failed})")
    failed.unlink(missing_ok=True)
    # The HTML first: where the executed notebook is, everything is.
    write_html(document, out.with_suffix(".html"))
    os.replace(part, out)


# --- HTML ---

MATH = re.compile(
    r"(```.*?```|`[^`\n]*`)|\$\$(.+?)\$\$|(?<![\\$\w])\$(?=\S)([^$\n]+?)(?<=\S)\$(?![\w$])",
    re.DOTALL,
)
REMOTE = re.compile(
    r'<script[^>]*src="https?://[^>]*>\s*</script>|<link[^>]*href="https?://[^>]*>', re.DOTALL
)


def write_html(document: nbformat.NotebookNode, path: Path) -> None:
    """The notebook as one HTML file that asks nothing of the network: formulas are turned to MathML, pictures are inside."""
    formulas: list[str] = []

    def keep(match: re.Match) -> str:
        code, block, inline = match.groups()
        if code:
            return code
        formulas.append(convert((block or inline).strip(), display="block" if block else "inline"))
        return f"FORMULA{len(formulas) - 1}END"

    document = nbformat.from_dict(document)
    for cell in document.cells:
        if cell.cell_type == "markdown":
            cell.source = MATH.sub(keep, cell.source)
    exporter = HTMLExporter(template_name="lab", mathjax_url="", require_js_url="")
    page, _ = exporter.from_notebook_node(document, resources={"metadata": {"name": path.stem}})
    page = re.sub(r"FORMULA(\d+)END", lambda m: formulas[int(m.group(1))], page)
    # The template's MathJax has nothing left to do, and would look for its files on the web.
    page = re.sub(
        r"<!-- Load mathjax -->.*?<!-- End of mathjax configuration -->", "", page, flags=re.DOTALL
    )
    page = REMOTE.sub("", page)
    # The template drops the alternative text that a notebook gives its pictures.
    alts = iter(alternative_texts(document))
    page = re.sub(
        r'alt="No description has been provided for this image"',
        lambda _: f'alt="{next(alts, "")}"',
        page,
    )
    page = re.sub(r'(href="[\w./-]+)\.ipynb"', r'\1.html"', page)  # links between notebooks
    names = {file.stem for file in (ROOT / "notebooks").glob("[0-9]*.ipynb")} - {"03_train"} | {
        path.stem
    }
    links = navigation(path.stem, sorted(names))
    page = re.sub(r"<body[^>]*>", lambda match: match.group(0) + links, page, count=1)
    page = (links + "</body>").join(page.rsplit("</body>", 1))
    write_whole(path, page.encode())


def alternative_texts(document: nbformat.NotebookNode) -> list[str]:
    """The alternative text of every picture that the cells put out, in order, ready for an attribute."""
    texts = []
    for cell in document.cells:
        for output in cell.get("outputs", []):
            for kind in ("image/png", "image/jpeg", "image/gif"):
                if kind in output.get("data", {}):
                    alt = output.get("metadata", {}).get(kind, {}).get("alt") or output.get(
                        "metadata", {}
                    ).get("alt")
                    texts.append(html.escape(alt or "Described in the text beside it"))
                    break
    return texts


# --- command ---


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parameters", type=json.loads, default={}, help="a JSON object")
    parser.add_argument(
        "--html-only", action="store_true", help="convert a notebook that is committed executed"
    )
    args = parser.parse_args(arguments)
    lifeline.hold()
    try:
        if args.html_only:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            write_html(nbformat.read(args.notebook, as_version=4), args.out)
        else:
            execute(args.notebook.resolve(), args.parameters, args.out.resolve())
    except (ValueError, TypeError, OSError, NotebookFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
