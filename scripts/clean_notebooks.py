"""Make notebooks differ from the committed ones only where a reader changed them.

    python scripts/clean_notebooks.py           # `make notebooks-clean`, after JupyterLab
    python scripts/clean_notebooks.py --check   # `make lint`: name those that are not clean

JupyterLab writes the kernel of the machine into a notebook, and a cell's printed lines in as many
pieces as they came in; neither says anything.
"""

import argparse
import os
import sys
from pathlib import Path

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def cleaned(text: str) -> str:
    """A notebook's text with its metadata as above, tags alone on cells, and whole streams."""
    document = nbformat.reads(text, as_version=4)
    document.metadata, document.nbformat_minor = nbformat.from_dict(METADATA), 5
    for cell in document.cells:
        cell.metadata = {key: cell.metadata[key] for key in cell.metadata if key == "tags"}
    document, _ = CoalesceStreamsPreprocessor().preprocess(document, {})
    return nbformat.writes(document) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="all of notebooks/ if none")
    parser.add_argument("--check", action="store_true", help="change nothing")
    args = parser.parse_args(arguments)
    found = False
    for path in args.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        try:
            old = path.read_text("utf-8")
            new = cleaned(old)
        except Exception as error:  # nbformat knows many ways of not being a notebook
            sys.exit(f"error: {path} cannot be read as a notebook: {error!s:.200}")
        if old != new:
            found = True
            print(f"{path.name}: {'not clean' if args.check else 'cleaned'}")
            if not args.check:
                part = path.with_name(path.name + ".part")
                part.write_text(new, "utf-8")
                os.replace(part, path)
    if found and args.check:
        print("error: run `make notebooks-clean`", file=sys.stderr)
    return int(found and args.check)


if __name__ == "__main__":
    sys.exit(main())
