"""Which code made a number: a hash of the files that decide it, the same however they are formatted and commented.

Training and scoring have a hash each, so that a result whose training still counts is scored again when a score changes, not
trained again.
"""

import ast
import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAPER, ENGINE = "dipvae_src", "replication/engine"
FILES = {
    "training": tuple(
        f"{PAPER}/{name}.py" for name in ("losses", "models", "data", "train", "evaluate")
    ),
    "scoring": (
        *(f"{PAPER}/{name}.py" for name in ("sap", "zdiff", "attributes")),
        "replication/scores.py",
    ),
}
STACK_FILES = (
    f"{ENGINE}/batched.py",
    f"{ENGINE}/stack.py",
)  # and those that train many models at once


def structure(source: str) -> str:
    """Python source as its syntax tree, without docstrings: formatting and comments leave it, any other edit changes it.

    The text is the same on every version of Python (`ast.dump` is not: it names what a version added).
    """

    def text(node: object) -> str:
        if isinstance(node, list):
            return f"[{','.join(map(text, node))}]"
        if not isinstance(node, ast.AST):
            return repr(node)
        fields = (
            (k, v)
            for k, v in ast.iter_fields(node)
            if k not in ("kind", "type_comment") and v not in (None, [])
        )
        return f"{type(node).__name__}({','.join(f'{k}={text(v)}' for k, v in fields)})"

    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [
                n
                for n in body
                if not (
                    isinstance(n, ast.Expr)
                    and isinstance(n.value, ast.Constant)
                    and isinstance(n.value.value, str)
                )
            ]
    return text(tree)


def hash_of(files: tuple[str, ...], root: Path = ROOT) -> str:
    """A short SHA-256 of these files' structure."""
    whole = "\0".join(name + "\0" + structure((root / name).read_text("utf-8")) for name in files)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def code_hash(stacked: bool = False, root: Path = ROOT) -> dict[str, str]:
    """The hashes of training (by the plain loop, or by the stack of many models) and of scoring."""
    files = FILES | ({"training": FILES["training"] + STACK_FILES} if stacked else {})
    return {part: hash_of(names, root) for part, names in files.items()}


LOADED, STACKED = (
    code_hash(),
    code_hash(stacked=True),
)  # of the code that this process runs, whatever is edited later


def short(made_by: dict[str, str]) -> str:
    """As titles and tables name it."""
    return "-".join(dict.fromkeys(made_by[part][:7] for part in FILES))


def is_present(made_by: dict[str, str]) -> bool:
    """Whether a result's code is the code of this process, by either way of training."""
    return made_by in (LOADED, STACKED)


def check_unedited() -> None:
    """RuntimeError where the code on disk is no longer the code that this process loaded: its results would be misnamed."""
    if code_hash() != LOADED or code_hash(stacked=True) != STACKED:
        raise RuntimeError(
            "the code was edited since this process started; start it (or the notebook's kernel) again"
        )
