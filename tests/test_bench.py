"""The bench on its smallest sizes: it runs, and its JSON holds every figure. How large the figures are is not tested.

python -m pytest tests/test_bench.py
"""

import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


def bench(*words):
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "scripts/bench.py", *map(str, words)], cwd=ROOT, env=env, capture_output=True, text=True)


def numbers(value, path=""):
    """Every number in the report with the path to it."""
    if isinstance(value, (dict, list)):
        for key, entry in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(entry, f"{path}/{key}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, value


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")  # no data in it, so the bench makes its own
    done = bench("--quick", "--out", folder / "b.json", "--data", folder)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["b.json"]  # no part file is left
    return json.loads((folder / "b.json").read_text()), done.stdout


def test_every_section_has_positive_figures(quick):
    report, _ = quick
    assert {"date", "machine", "versions", "rendering", "training", "sharing", "scores"} <= set(report)
    assert report["quick"] is True and report["data"] == "random bits"
    assert [row["network"] for row in report["training"] if row["device"] == "cpu"] == ["fc-1200", "fc-256", "conv"]
    figures = [path.removesuffix("/median") for path, _ in numbers(report) if path.endswith("/median")]
    assert len(figures) == 2 + 3 * len(report["training"]) + 3 + 3
    values = dict(numbers(report))
    for path in figures:
        assert 0 < values[f"{path}/low"] <= values[f"{path}/median"] <= values[f"{path}/high"], path
    for path, value in values.items():
        assert value > 0 or path.endswith("plain_workers"), path


def test_ratios_are_ours_over_plain(quick):
    report, _ = quick  # of one round, so the ratio of the medians is the median of the ratios
    for row in report["training"]:
        assert row["ratio"]["median"] == pytest.approx(row["ours"]["median"] / row["plain"]["median"], rel=2e-3)
        assert row["plain"]["median"] == max(row["plain_medians"].values()) == row["plain_medians"][str(row["plain_workers"])]
    sharing = report["sharing"]
    a, b = (sharing[way]["images_per_second"]["median"] for way in ("processes", "threads"))
    assert sharing["ratio"]["median"] == pytest.approx(a / b, rel=2e-3)
    assert sharing["processes"]["processes"] == sharing["threads"]["threads"]


def test_the_table_says_what_it_is(quick):
    report, printed = quick
    for words in ("QUICK", "random bits", "ours / plain", "processes / threads", "LinearSVC", report["versions"]["torch"]):
        assert words in printed
    assert f"{report['rendering']['whole_set']['images_per_second']['median']:,.0f} " in printed


def test_altered_data_are_refused_before_anything_is_measured(tmp_path):
    facts = {"name": "2D Shapes", "source": "rendered", "images": 2, "height": 64, "width": 64, "sha256": "0", "factors": []}
    (tmp_path / "shapes2d.json").write_text(json.dumps(facts))
    (tmp_path / "shapes2d.bits").write_bytes(bytes(1024))
    done = bench("--quick", "--out", tmp_path / "b.json", "--data", tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and "altered" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "b.json").exists()


def test_the_clock_leaves_out_the_warm_up(monkeypatch):
    spec = importlib.util.spec_from_file_location("bench", ROOT / "scripts" / "bench.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    now = 0.0
    monkeypatch.setattr(module, "time", types.SimpleNamespace(perf_counter=lambda: now))
    ticks, answers = module.clock(2.0, torch.device("cpu")), []
    for seconds in (100, 100, 0.5, 0.5, 0.5, 0.5):  # two slow first steps, then two a second
        now += seconds
        answers.append(next(ticks))
    assert answers == [0, 0, 0, 0, 0, 2.0]
