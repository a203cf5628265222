"""The bench on its smallest sizes: it runs and its JSON holds every figure, whatever their size."""

import importlib.util
import os
import runpy
import subprocess
import sys
import types
from pathlib import Path

import pytest
import readme
import torch

from replication import datasets as packed
from replication import results

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = {"training": 17, "sharing": 3, "convolution": 3, "seconds": 10}


def bench(*words):
    return subprocess.run(
        [sys.executable, "-m", "scripts.bench", *map(str, words)], cwd=ROOT, capture_output=True,
        text=True, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def figures(value):
    """Every measurement in the report."""
    if isinstance(value, dict) and "median" in value:
        yield value
    elif isinstance(value, (dict, list)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from figures(entry)


@pytest.fixture(scope="module")
def quick(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp("bench")
    done = bench("--quick", "--out", folder / "b.json", "--data", data_dir)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == ["b.json"]  # no part file is left
    return results.read_json(folder / "b.json"), done.stdout


def test_every_section_has_positive_figures(quick):
    report, _ = quick
    assert report["quick"] is True and report["data"] == ["2D Shapes", "small faces (for CelebA)"]
    on_cpu = [row for row in report["training"] if row["device"] == "cpu"]
    assert [row["network"] for row in on_cpu] == ["fc-1200", "fc-256", "conv"]
    for section, count in SECTIONS.items():
        found = list(figures(report[section]))
        assert len(found) == count * (len(report["training"]) // 3 if section == "training" else 1)
        assert all(0 < f["low"] <= f["median"] <= f["high"] and f["rounds"] == 1 for f in found)


def test_ratios_are_those_of_a_round(quick):
    report, _ = quick  # of one round, so the ratio of the medians is the median of the ratios
    races = [(row, "ours", "plain", "ratio") for row in report["training"]]
    races += [(row, "ours", "floor", "ratio_to_floor") for row in report["training"]]
    convolution = report["training"][-1]
    races += [(convolution, "channels_last", "plain", "ratio_channels_last")]
    races += [(report[s], "processes", "threads", "ratio") for s in ("sharing", "convolution")]
    for row, one, other, ratio in races:
        expected = row[one]["median"] / row[other]["median"]
        assert row[ratio]["median"] == pytest.approx(expected, rel=2e-3)


def test_the_table_says_what_it_is(quick):
    report, printed = quick
    for words in ("QUICK", "small faces", "ours / plain", "ours / floor", "processes / threads"):
        assert words in printed
    assert report["versions"]["torch"] in printed
    assert f"{report['seconds']['sap_exact']['median']:.3g} " in printed


def test_the_committed_figures_have_what_readme_shows():
    report = results.read_json(ROOT / "results" / "bench.json")
    assert report["format"] == 2 and report["quick"] is False
    assert {row["network"] for row in report["training"]} == {"fc-1200", "fc-256", "conv"}
    assert all({"ours", "plain", "ratio"} <= row.keys() for row in report["training"])
    assert "ratio_channels_last" in report["training"][-1]
    assert all(f["low"] <= f["median"] <= f["high"] for f in figures(report))


def test_readme_shows_ours_beside_the_plain_loop_and_the_floor(tmp_path, monkeypatch):
    report = results.read_json(ROOT / "results" / "bench.json")
    medians = {"ours": 2_025.0, "ratio": 1.1, "ratio_to_floor": 0.87}
    report["training"][0] |= {name: {"median": median} for name, median in medians.items()}
    results.write_json(tmp_path / "bench.json", report)
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    lines = readme.blocks()["speed"]().splitlines()
    beside = (
        "1.10 times a plain DataLoader loop, 0.87 of what its matrix products alone would allow"
    )
    assert (
        lines[2] == f"| training fc-1200, batch 400, cpu, 2 threads | 2,025 images/s | {beside} |"
    )


def test_absent_and_altered_data_are_refused_before_anything_is_measured(
    tmp_path, data_dir, monkeypatch, capsys
):
    words = ["--quick", "--out", str(tmp_path / "b.json"), "--data", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["bench", *words])

    def refused():
        """What the command, in this process, says on stderr."""
        with pytest.raises(SystemExit) as ended:
            runpy.run_module("scripts.bench", run_name="__main__")
        captured = capsys.readouterr()
        assert (ended.value.code, captured.out) == (1, "")
        return captured.err

    assert "run `make data` first" in refused()
    for path in data_dir.glob("shapes2d.*"):
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        (tmp_path / path.name).write_bytes(content)
    said = refused()
    assert said.startswith("error: ") and said.count("\n") == 1
    assert "shapes2d" in said and not (tmp_path / "b.json").exists()


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("bench", ROOT / "scripts" / "bench.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_networks_are_those_of_the_paper_on_their_data(module):
    fc, narrow, conv = module.NETWORKS.values()
    assert (fc.network, fc.width, fc.batch_size, fc.lambda_3) == ("fc", 1200, 400, 200)
    assert narrow.width == 256 and narrow.network == "fc"
    wanted = ("conv", "celeba", 100, 32, 32)
    assert (conv.network, conv.data, conv.batch_size, conv.filters, conv.latents) == wanted


def test_the_floor_counts_the_products_of_a_step(module, data_dir, monkeypatch):
    """Of a batch of B: forward, and backward for weights and, but of the first layer, inputs."""
    images, seconds = packed.load("shapes2d", data_dir), 0.5
    monkeypatch.setattr(module, "seconds_of", lambda work: seconds)
    settings = module.QUICK["networks"]["fc-1200"]
    found = module.floor(module.QUICK, settings, images)
    layers = [m for m in module.model_of(settings, 0, images).modules() if hasattr(m, "weight")]
    sizes = [m.weight.numel() for m in layers]
    flops = 2 * (3 * sum(sizes) - sizes[0])  # an image
    rate = 2 * module.QUICK["side"] ** 3 / seconds
    assert found == pytest.approx(rate / flops, rel=0.01)  # the covariance's are the rest


def test_the_clock_leaves_out_the_warm_up(module, monkeypatch):
    now = 0.0
    monkeypatch.setattr(module, "time", types.SimpleNamespace(perf_counter=lambda: now))

    def loop(steps, progress):
        nonlocal now
        for step in range(1, steps + 1):
            now += 100 if step <= module.WARM_UP else 0.5  # slow first steps, then two a second
            progress(step, steps)

    settings = module.QUICK["networks"]["fc-256"]
    found = module.rate(module.QUICK, settings, torch.device("cpu"), loop)
    assert found == 2 * settings.batch_size
