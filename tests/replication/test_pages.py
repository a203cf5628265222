"""What a reader opens: notebooks in good order, README up to date, figures that are all there."""

import argparse
import ast
import dataclasses
import re
import shutil
from pathlib import Path

import nbformat
import pytest
import readme
from latex2mathml.converter import convert

from replication.notebooks import MATH
from replication import jobs, profiles, replicate, results
from replication.report import report
from replication.show import summary

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ABSOLUTE = re.compile(r"(^|[\s\"'=(])/(home|root|tmp|mnt|Users|srv)/")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_in_good_order(path):
    document = nbformat.read(path, as_version=4)
    code = [cell for cell in document.cells if cell.cell_type == "code"]
    assert document.cells[0].source.startswith("# ")
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in document.cells) <= 1
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), (
        "not executed top to bottom"
    )
    for cell in code:
        ast.parse(cell.source)
        assert len(cell.source.splitlines()) <= 25 and "!pip" not in cell.source
        assert not [
            o for o in cell.outputs if o.get("name") == "stderr" or o.output_type == "error"
        ]
    assert not ABSOLUTE.search(path.read_text()), "a path of somebody's machine"
    assert path.stat().st_size < 1_500_000 and not document.metadata.get("papermill")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_formulas_turn_to_mathml(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for match in MATH.finditer(cell.source) if cell.cell_type == "markdown" else ():
            if not match.group(1):
                assert convert((match.group(2) or match.group(3)).strip()).startswith("<math")


def test_every_notebook_is_run_or_is_a_lesson():
    assert {path.stem for path in NOTEBOOKS} == set(jobs.OUTPUTS) | set(jobs.LESSONS) | {"03_train"}


def test_readme_is_what_the_result_files_say():
    text = readme.README.read_text("utf-8")
    assert readme.filled(text) == text, "README.md is stale; run `make readme`"


def test_readme_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", readme.README.read_text("utf-8"))
    assert [
        link for link in links if not link.startswith("http") and not (ROOT / link).exists()
    ] == []


@pytest.mark.parametrize(
    "profile", [p for p in profiles.PROFILES if any((ROOT / "results" / p).glob("*.json"))]
)
def test_committed_results_are_whole_and_belong_to_planned_runs(profile):
    """A sweep of many visits is committed visit by visit."""
    folder = ROOT / "results" / profile
    planned = {
        results.path_of(folder, s, seed) for s, seeds in profiles.plan(profile) for seed in seeds
    }
    there = set(folder.glob("*.json"))
    assert there - planned == set(), "results that belong to no planned run"
    assert {results.read(path)["profile"] for path in there} == {profile}


def test_publish_copies_what_can_be_shown_and_loses_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(replicate, "ROOT", tmp_path)
    monkeypatch.setitem(
        profiles.PROFILES, "quick", dataclasses.replace(profiles.PROFILES["quick"], in_visits=True)
    )
    runs, target = tmp_path / "runs" / "quick", tmp_path / "results" / "quick"
    shutil.copytree(ROOT / "results" / "quick", runs)
    args, count = (
        argparse.Namespace(profile="quick", runs=str(tmp_path / "runs")),
        len(list(runs.glob("*.json"))),
    )
    replicate.publish(args)
    assert f"{count} of {count} results copied" in capsys.readouterr().out
    assert all((target / path.name).read_bytes() == path.read_bytes() for path in runs.iterdir())
    (lost,) = runs.glob("dip-vae-ii_5_*_batch-64_seed0.json")
    lost.unlink()
    with pytest.raises(
        jobs.Stop, match=rf"1 results in .*results/quick are not in .*runs/quick \({lost.name}\)"
    ):
        replicate.publish(args)
    assert len(list(target.glob("*.json"))) == count
    (target / lost.name).unlink()
    replicate.publish(args)
    assert f"{count - 1} of {count} results copied" in capsys.readouterr().out


@pytest.mark.parametrize(
    "profile",
    [p for p in profiles.PROFILES if summary.complete(p, "shapes2d", ROOT / "results" / p)],
)
def test_figures_of_the_committed_results_are_there(profile):
    folder = ROOT / "results" / profile
    plan = replicate.showable_plan(profile, folder)
    found, there = results.collect(folder, plan), {settings.data for settings, _ in plan}
    if (
        profile == "quick"
    ):  # the others take hours or a GPU to make again; their titles say what code made them
        assert plan == profiles.plan("quick")
        assert found[0]["code"] == results.LOADED, (
            "made by other code: run `make replicate publish figures readme`"
        )
        assert len(found) == len(list(folder.glob("*.json")))
    outputs = [
        o for name, its in jobs.OUTPUTS.items() if name != jobs.REPORT for o in its
    ]  # the report is not committed
    outputs = [o for o in outputs if report.drawn_of(o.split(".")[0]) in there]
    missing = [o for o in outputs if not (ROOT / "figures" / profile / o).exists()]
    assert missing == []
    assert f"code {found[0]['code'][:7]}" in (ROOT / "figures" / profile / "table_1.md").read_text()
