"""Which code made a number: a hash of the files that decide it, however they are formatted.

Training and scoring have a hash each, so that a result whose training still counts is scored again
when a score changes, not trained again.
"""

import ast
import functools
import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRAINING = tuple(f"dipvae_src/{n}.py" for n in ("losses", "models", "data", "train", "evaluate"))
STACKED_TRAINING = (*TRAINING, "replication/engine/batched.py", "replication/engine/stack.py")
SCORING = tuple(f"dipvae_src/{n}.py" for n in ("sap", "zdiff", "attributes")) + (
    "replication/scores.py",
    "replication/codes.py",
)


@functools.cache  # every result asks again whether the files are as they were
def structure(source: str) -> str:
    """Python source as its syntax tree: formatting, comments and docstrings leave it as it is.

    The text is the same on every version of Python (`ast.dump` names what a version added).
    """

    def is_docstring(node: object) -> bool:
        value = node.value if isinstance(node, ast.Expr) else None
        return isinstance(value, ast.Constant) and isinstance(value.value, str)

    def text(node: object) -> str:
        if isinstance(node, list):
            return f"[{','.join(text(item) for item in node if not is_docstring(item))}]"
        if not isinstance(node, ast.AST):
            return repr(node)
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        named = (f"{name}={text(value)}" for name, value in fields if name != "kind")
        return f"{type(node).__name__}({','.join(named)})"

    return text(ast.parse(source))


def hash_of(files: tuple[str, ...], root: Path = ROOT) -> str:
    """A short SHA-256 of these files' structure."""
    whole = "\0".join(name + "\0" + structure((root / name).read_text("utf-8")) for name in files)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def code_hash(stacked: bool = False, root: Path = ROOT) -> dict[str, str]:
    """The hashes of training (by the plain loop, or by the stack of models) and of scoring."""
    training = STACKED_TRAINING if stacked else TRAINING
    return {"training": hash_of(training, root), "scoring": hash_of(SCORING, root)}


# Of the code that this process runs, whatever is edited later.
LOADED, STACKED = code_hash(), code_hash(stacked=True)


def short(made_by: dict[str, str]) -> str:
    """A result's code as titles and tables name it."""
    return "-".join(dict.fromkeys(made_by[part][:7] for part in LOADED))


def other_parts(made_by: dict[str, str]) -> list[str]:
    """Which parts of a result's code, "training" and "scoring", are not those of this process."""
    return [part for part in LOADED if made_by[part] not in (LOADED[part], STACKED[part])]


def is_present(made_by: dict[str, str]) -> bool:
    """Whether a result's code is that of this process, by either way of training."""
    return not other_parts(made_by)


def check_unedited() -> None:
    """RuntimeError where the code on disk is not what this process loaded: names would be wrong."""
    if (code_hash(), code_hash(stacked=True)) != (LOADED, STACKED):
        raise RuntimeError(
            "the code was edited since this process started; start it (or the notebook) again"
        )
