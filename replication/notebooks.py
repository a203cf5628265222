"""Execute one notebook with checked parameters; keep it whole, and as a page that opens offline.

    python -m replication.notebooks notebooks/05_table_1.ipynb \\
        --out figures/quick/notebooks/05_table_1.ipynb --parameters '{"profile": "quick"}'

Kernels run the interpreter at hand, whatever kernel a notebook names or a user has installed.
"""

from replication import lifeline  # isort: skip  (first: it holds this process to its starter)

import argparse
import ast
import html
import importlib
import json
import os
import re
import sys
from pathlib import Path

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from replication.report.page import navigation, offline
from replication.results import write_whole

ROOT = Path(__file__).resolve().parents[1]
KERNEL = [sys.executable, "-m", "replication.lifeline", "ipykernel_launcher", "-f"]


class NotebookFailed(RuntimeError):
    """A cell raised an error, or the notebook did not run to its end."""


class KernelHere(AsyncKernelManager):
    """Starts kernels with this interpreter, held to this process; looks up no installed kernel."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(argv=KERNEL, display_name="Python 3", language="python")

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """The words as they are: jupyter_client would fill in names in braces, in a path too."""
        return [*KERNEL, self.connection_file, *(extra_arguments or [])]


def literal(path: Path) -> str:
    """A path for papermill, which fills in names in braces: with its braces doubled."""
    return str(path).replace("{", "{{").replace("}", "}}")


def check_parameters(notebook: Path, parameters: dict) -> None:
    """ValueError for a name that the parameters cell does not have, TypeError for another type.

    papermill itself only warns of an unknown name and runs the default: a typing error goes unseen.
    """
    known = papermill.inspect_notebook(literal(notebook))
    for name, value in parameters.items():
        if name not in known:
            raise ValueError(
                f"{notebook.name} has no parameter {name!r}; it has {', '.join(known) or 'none'}"
            )
        default = ast.literal_eval(known[name]["default"])
        kinds = (float, int) if isinstance(default, float) else (type(default),)
        if default is not None and type(value) not in kinds:
            raise TypeError(
                f"{notebook.name}: {name} must be {type(default).__name__} like {default!r}, "
                f"not {value!r} ({type(value).__name__})"
            )


def execute(notebook: Path, parameters: dict, out: Path) -> None:
    """Run a notebook top to bottom where it lies, and keep it at `out` only if every cell ran.

    Raises NotebookFailed with the error of the cell that failed; what ran is then beside `out`, as
    *.failed.ipynb.
    """
    check_parameters(notebook, parameters)
    out.parent.mkdir(parents=True, exist_ok=True)
    os.environ.update(lifeline.environment())  # the kernel's too
    if not any(Path(os.environ["MPLCONFIGDIR"]).glob("fontlist*")):
        importlib.import_module("matplotlib.font_manager")  # else a page tells of its font cache
    failed = out.with_suffix(".failed.ipynb")  # its name until all of it ran
    try:
        papermill.execute_notebook(
            literal(notebook), literal(failed), parameters=parameters, cwd=str(notebook.parent),
            progress_bar=False, kernel_name="python3", kernel_manager_class=KernelHere,
            start_timeout=120, autosave_cell_every=0,
        )  # fmt: skip
    except PapermillExecutionError as error:
        what = f"{notebook.name}, cell {error.exec_count}: {error.ename}: {error.evalue}"
        raise NotebookFailed(f"{what} (see {failed})") from None
    document = nbformat.read(failed, as_version=4)
    code = [cell for cell in document.cells if cell.cell_type == "code" and cell.source]
    if not all(cell.execution_count for cell in code):
        what = f"{notebook.name} was interrupted before its last cell"
        raise NotebookFailed(f"{what} (see {failed})")
    # The HTML first: where the executed notebook is, everything is.
    write_html(document, out.with_suffix(".html"))
    os.replace(failed, out)


# --- HTML ---

MATH = re.compile(
    r"(```.*?```|`[^`\n]*`)|\$\$(.+?)\$\$|(?<![\\$\w])\$(?=\S)([^$\n]+?)(?<=\S)\$(?![\w$])",
    re.DOTALL,
)
IMAGES = ("image/png", "image/jpeg", "image/gif")
# Lines of text no longer than 90 characters; printed columns stay columns, and scroll on a phone.
STYLE = (
    "<style>.jp-RenderedMarkdown :is(p, li, blockquote) {max-width: 36rem}"
    ".jp-OutputArea-output pre {white-space: pre; word-break: normal; overflow-x: auto}</style>"
)


def write_html(document: nbformat.NotebookNode, path: Path) -> None:
    """The notebook as one HTML file that needs no network: formulas as MathML, pictures inside."""
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
        for output in cell.get("outputs", []):
            for kind in set(IMAGES) & set(output.get("data", {})):
                output.data = nbformat.from_dict({"text/html": picture(output, kind)})
    exporter = HTMLExporter(template_name="lab", mathjax_url="", require_js_url="")
    page, _ = exporter.from_notebook_node(document, resources={"metadata": {"name": path.stem}})
    page = re.sub(r"FORMULA(\d+)END", lambda m: formulas[int(m.group(1))], page)
    page = re.sub(r'(href="[\w./-]+)\.ipynb"', r'\1.html"', offline(page))  # between notebooks
    names = {file.stem for file in (ROOT / "notebooks").glob("[0-9]*.ipynb")} - {"03_train"}
    links = navigation(path.stem, sorted(names | {path.stem}))
    page = re.sub(r"<body[^>]*>", lambda match: match.group(0) + STYLE + links, page, count=1)
    page = (links + "</body>").join(page.rsplit("</body>", 1))
    write_whole(path, page.encode())


def picture(output: nbformat.NotebookNode, kind: str) -> str:
    """An output's picture with its alternative text, which nbconvert's template drops."""
    metadata = output.get("metadata", {})
    alt = metadata.get(kind, {}).get("alt") or metadata.get("alt")
    text = html.escape(alt or "Described in the text beside it")
    return f'<img alt="{text}" src="data:{kind};base64,{output.data[kind].strip()}">'


# --- command ---


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    option = parser.add_argument
    option("notebook", type=Path)
    option("--out", type=Path, required=True)
    option("--parameters", type=json.loads, default={}, help="a JSON object")
    option("--html-only", action="store_true", help="convert what is committed executed")
    args = parser.parse_args(arguments)
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
