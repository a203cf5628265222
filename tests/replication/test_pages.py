"""What a reader opens: notebooks in good order, README up to date, figures all there."""

import ast
import json
import re
import shutil
from pathlib import Path

import nbformat
import pytest
import readme
import torch
from latex2mathml.converter import convert
from whole import write_whole_result

from dipvae_src import sap_score
from replication import jobs, profiles, provenance, results
from replication.notebooks import MATH
from replication.report import report
from replication.show import claims, published, summary, tables

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


def test_pages_are_what_the_result_files_say():
    assert readme.main(check=True) is None


def test_links_lead_somewhere():
    for page in (readme.README, *(ROOT / "docs").glob("*.md")):
        links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
        local = [link for link in links if not link.startswith("http")]
        assert [link for link in local if not (page.parent / link).exists()] == [], page.name


def test_the_readmes_code_runs(monkeypatch, capsys):
    """Both pieces, with networks, images and a measure of the reader's own."""
    loss, measure = re.findall(r"```python\n(.*?)```", readme.README.read_text("utf-8"), re.DOTALL)
    own = {"torch": torch, "images": torch.rand(8, 64).round()}
    own |= {"encoder": torch.nn.Linear(64, 20), "decoder": torch.nn.Linear(10, 64)}
    exec(loss, own)
    assert own["encoder"].weight.grad.abs().sum() > 0

    monkeypatch.chdir(ROOT)
    kept = re.search(r'"(results/.*)\.codes\.npz"', measure)[1] + ".json"
    sap = json.loads((ROOT / kept).read_text("utf-8"))["metrics"]["sap"]
    exec(measure, {"your_score": lambda *codes: sap_score(*codes, sap["discrete"]).score})
    assert readme.rounded(float(capsys.readouterr().out)) == sap["score"]


@pytest.fixture
def one_page(tmp_path, monkeypatch):
    """A project with one page and one block in it, its own results folder."""
    for name, value in (("ROOT", tmp_path), ("README", tmp_path / "README.md")):
        monkeypatch.setattr(readme, name, value)
    monkeypatch.setattr(readme, "RESULTS", tmp_path / "results")
    shutil.copytree(ROOT / "results", tmp_path / "results")

    def write(block: str) -> None:
        text = f"# T\n\n<!-- begin {block}: x -->\nold\n<!-- end {block} -->\n"
        readme.README.write_text(text)

    return write


def test_a_page_is_filled_and_then_up_to_date(one_page, tmp_path, capsys):
    one_page("speed")
    assert readme.main(check=True) == "error: README.md is stale; run `make readme`"
    assert readme.main(check=False) is None and capsys.readouterr().out == "README.md rewritten\n"
    assert readme.main(check=True) is None and readme.main(check=False) is None
    assert "times a plain DataLoader loop" in readme.README.read_text()
    one_page("poem")
    assert readme.main(check=False).startswith("error: README.md has the block poem; there are ")


@pytest.mark.parametrize(
    ("block", "name", "content"),
    [
        ("speed", "bench.json", "{}"), ("speed", "bench.json", '{"training'),
        ("minutes", "minutes.json", None), ("minutes", "minutes.json", "[]"),
        ("table_1", "published.json", "{}"), ("table_1", "one", '{"format": 3}'),
        ("verdicts", "one", ""), ("profiles_compared", "one", "[[[["),
    ],
)  # fmt: skip
def test_a_broken_committed_file_ends_in_a_sentence(
    one_page, tmp_path, monkeypatch, block, name, content
):
    one_page(block)
    monkeypatch.setattr(published, "PATH", tmp_path / "results" / "published.json")
    rows = [(settings, 0) for settings in profiles.table_1()]
    monkeypatch.setattr(profiles, "plan", lambda *_, **__: [(s, (seed,)) for s, seed in rows])
    readme.shown.cache_clear()
    folder = tmp_path / "results" / "quick"
    shutil.rmtree(folder)
    for settings, seed in rows:
        write_whole_result(folder, settings, seed)
    path = tmp_path / "results" / name
    if name == "one":
        path = results.path_of(folder, *rows[0])
    monkeypatch.setattr(summary, "largest", lambda *_: "quick")
    path.unlink()
    if content is not None:
        path.write_text(content)
    said = readme.main(check=False)
    assert said.startswith(f"error: {path} ") and "\n" not in said and ";" in said
    readme.shown.cache_clear()


@pytest.mark.parametrize(
    "profile", [p for p in profiles.PROFILES if any((ROOT / "results" / p).glob("*.json"))]
)
def test_committed_results_are_whole_and_belong_to_planned_runs(profile):
    """A long profile is committed part by part."""
    folder = ROOT / "results" / profile
    planned = {
        results.path_of(folder, s, seed) for s, seeds in profiles.plan(profile) for seed in seeds
    }
    there = set(folder.glob("*.json"))
    assert there - planned == set(), "results that belong to no planned run"
    assert {results.read(path)["profile"] for path in there} == {profile}


@pytest.mark.parametrize(
    "profile",
    [p for p in profiles.PROFILES if summary.complete(p, "shapes2d", ROOT / "results" / p)],
)
def test_figures_of_the_committed_results_are_there(profile):
    folder = ROOT / "results" / profile
    plan = summary.showable(profile, folder)
    found, there = results.collect(folder, plan), {settings.data for settings, _ in plan}
    if profile == "quick":  # others take hours or a GPU; their titles say what code made them
        assert plan == profiles.plan("quick")
        assert provenance.is_present(found[0]["code"]), (
            "made by other code: run `make replicate publish figures readme`"
        )
        assert len(found) == len(list(folder.glob("*.json")))
    outputs = [o for name, its in jobs.OUTPUTS.items() if name != jobs.REPORT for o in its]
    outputs = [o for o in outputs if report.drawn_of(o.split(".")[0]) in there]
    if summary.load_longer(profile, str(folder)) is None:
        outputs = [o for o in outputs if not o.startswith("longer")]
    missing = [o for o in outputs if not (ROOT / "figures" / profile / o).exists()]
    assert missing == []
    shown = summary.load(profile, str(folder))
    in_table_1 = tables.with_third_moments(shown).results
    for name, of in (("table_1", in_table_1), ("claims", claims.asked_of(shown))):
        table = (ROOT / "figures" / profile / f"{name}.md").read_text("utf-8")
        assert provenance.short(found[0]["code"]) in table
        assert f"<!-- runs: {', '.join(shown.run_names(of))} -->" in table, "run `make figures`"
