"""The code's hash: the same however the code is formatted, another where a number changes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from replication import provenance

LONG = """
import math


def score(values, weight=0.5, *, name="plain"):
    '''What it is.'''
    # and why
    total = sum(value * weight for value in values if value > 0 and name != "other")
    return {"total": total, "text": f"a {total:.3f} b" "c", "root": math.sqrt(total) - 1e-4}
"""
SAME = """
import math
def score(
    values, weight=.5, *, name='plain',
):
    "Said otherwise, \\"at length\\"."
    total = sum(
        value * weight
        for value in values
        if (value > 0 and name != 'other')  # a new remark
    )

    return {
        'total': total,
        'text': (
            f'a {total:.3f} b'
            'c'
        ),
        "root": math.sqrt(total) - 0.0001,
    }
"""


def test_formatting_comments_and_docstrings_leave_the_structure():
    assert provenance.structure(SAME) == provenance.structure(LONG)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.6"), ("1e-4", "1e-5"), ("sqrt(total) - ", "sqrt(total) + "), (" > ", " >= "),
        ("weight for", "total for"), ("value * weight", "value ** weight"), (" and ", " or "),
        ('"plain"', '"Plain"'), (".3f", ".4f"), ('"c"', '"d"'), ("!= ", "== "), ("-> None", ""),
        ("sum(value", "max(value"), ("*, name", "name"), ("math.sqrt(total)", "(math.sqrt, total)"),
    ],
)  # fmt: skip
def test_an_edit_of_what_is_computed_changes_it(old, new):
    if old == "-> None":
        old, new = "    return", "    total = total\n    return"
    assert old in LONG
    assert provenance.structure(LONG.replace(old, new)) != provenance.structure(LONG)


@pytest.mark.parametrize(
    "words", [[], ["--line-length", "60"], ["--config", "format.quote-style='single'"]]
)
def test_the_formatter_leaves_the_hash(tmp_path, words):
    """Every file that a hash covers, formatted another way."""
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    if not ruff:
        pytest.skip("no ruff beside this Python")
    for name in {*provenance.STACKED_TRAINING, *provenance.SCORING}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(provenance.ROOT / name, tmp_path / name)
    before = {p: p.read_text() for p in tmp_path.rglob("*.py")}
    subprocess.run([ruff, "format", "-q", "--isolated", *words, tmp_path], check=True)
    assert not words or before != {p: p.read_text() for p in tmp_path.rglob("*.py")}
    assert provenance.code_hash(root=tmp_path) == provenance.LOADED
    assert provenance.code_hash(stacked=True, root=tmp_path) == provenance.STACKED


@pytest.fixture
def copied(tmp_path) -> Path:
    for name in {*provenance.STACKED_TRAINING, *provenance.SCORING}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(provenance.ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "plain", "stacked"),
    [
        ("dipvae_src/losses.py", "training", "training"),
        ("dipvae_src/sap.py", "scoring", "scoring"),
        ("replication/scores.py", "scoring", "scoring"),
        ("replication/engine/stack.py", None, "training"),
    ],
)  # fmt: skip
def test_training_and_scoring_have_a_hash_each(copied, name, plain, stacked):
    with open(copied / name, "a", encoding="utf-8") as file:
        file.write("\nX = 1\n")
    for way, part, before in (
        (False, plain, provenance.LOADED),
        (True, stacked, provenance.STACKED),
    ):
        after = provenance.code_hash(way, copied)
        assert {p for p in after if after[p] != before[p]} == ({part} if part else set())


def test_code_that_is_edited_while_it_runs_is_noticed(monkeypatch):
    provenance.check_unedited()
    monkeypatch.setattr(provenance, "code_hash", lambda *_, **__: "edited")
    with pytest.raises(RuntimeError, match="the code was edited since this process started"):
        provenance.check_unedited()


def test_touching_a_file_changes_nothing(copied):
    os.utime(copied / "dipvae_src/losses.py", (1, 1))
    assert provenance.code_hash(root=copied) == provenance.LOADED


def test_other_code_is_told_by_its_part():
    assert provenance.other_parts(provenance.LOADED) == []
    assert provenance.other_parts(provenance.STACKED) == []
    other = provenance.LOADED | {"scoring": "f" * 16}
    assert provenance.other_parts(other) == ["scoring"] and not provenance.is_present(other)
    assert provenance.short({"training": "a" * 16, "scoring": "a" * 16}) == "aaaaaaa"
    assert provenance.short({"training": "a" * 16, "scoring": "b" * 16}) == "aaaaaaa-bbbbbbb"


def test_every_version_of_python_hashes_alike():
    """Those that are at hand beside this one, as pyenv lays them out."""
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    found = [p for p in base.parents[2].glob("3.1[1-9]*/bin/python3") if p.resolve() != base]
    code = (
        "import json, runpy; made = runpy.run_path('replication/provenance.py');"
        "print(json.dumps([made['LOADED'], made['STACKED']]))"
    )
    for python in found:
        done = subprocess.run(
            [python, "-c", code], cwd=provenance.ROOT, capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout) == [provenance.LOADED, provenance.STACKED], python
    if not found:
        pytest.skip("no other Python is at hand")
