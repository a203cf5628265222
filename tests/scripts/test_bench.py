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

ROOT = Path(__file__).resolve().parents[2]


def bench(*words):
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "scripts/bench.py", *map(str, words)],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
    )


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
    assert {
        "date",
        "machine",
        "versions",
        "rendering",
        "training",
        "sharing",
        "convolution",
        "scores",
    } <= set(report)
    assert report["quick"] is True and report["data"] == "random bits"
    assert [row["network"] for row in report["training"] if row["device"] == "cpu"] == [
        "fc-1200",
        "fc-256",
        "conv",
    ]
    assert [row["data"] for row in report["training"]] == [
        "random bits",
        "random bits",
        "random pixels",
    ] * (len(report["training"]) // 3)
    figures = [
        path.removesuffix("/median") for path, _ in numbers(report) if path.endswith("/median")
    ]
    assert len(figures) == 2 + 3 * len(report["training"]) + 3 + (4 + 3) + 3
    values = dict(numbers(report))
    for path in figures:
        assert 0 < values[f"{path}/low"] <= values[f"{path}/median"] <= values[f"{path}/high"], path
    for path, value in values.items():
        assert value > 0 or path.endswith("plain_workers"), path


def test_ratios_are_ours_over_plain(quick):
    report, _ = quick  # of one round, so the ratio of the medians is the median of the ratios
    for row in report["training"]:
        assert row["ratio"]["median"] == pytest.approx(
            row["ours"]["median"] / row["plain"]["median"], rel=2e-3
        )
        assert (
            row["plain"]["median"]
            == max(row["plain_medians"].values())
            == row["plain_medians"][str(row["plain_workers"])]
        )
    sharing = report["sharing"]
    a, b = (sharing[way]["images_per_second"]["median"] for way in ("processes", "threads"))
    assert sharing["ratio"]["median"] == pytest.approx(a / b, rel=2e-3)
    assert sharing["processes"]["processes"] == sharing["threads"]["threads"]
    conv = report["convolution"]
    for ratio, one, other in (
        ("ratio", "processes", "threads"), ("layout_ratio", "processes", "processes_contiguous"),
        ("layout_ratio_threads", "threads", "threads_contiguous"),
    ):  # fmt: skip
        a, b = (conv[way]["images_per_second"]["median"] for way in (one, other))
        assert conv[ratio]["median"] == pytest.approx(a / b, rel=2e-3)
    assert (
        conv["processes"]["processes"]
        == conv["threads_contiguous"]["threads"]
        == sharing["processes"]["processes"]
    )
    assert conv["processes_contiguous"]["threads"] == conv["threads"]["processes"] == 1


def test_the_table_says_what_it_is(quick):
    report, printed = quick
    said = (
        "QUICK",
        "random bits and random pixels",
        "ours / plain",
        "processes / threads",
        "channels-last / contiguous",
        "LinearSVC",
    )
    for words in (*said, report["versions"]["torch"]):
        assert words in printed
    assert f"{report['rendering']['whole_set']['images_per_second']['median']:,.0f} " in printed


def test_altered_data_are_refused_before_anything_is_measured(tmp_path):
    facts = {
        "name": "2D Shapes",
        "source": "rendered",
        "images": 2,
        "height": 64,
        "width": 64,
        "sha256": "0",
        "factors": [],
    }
    (tmp_path / "shapes2d.json").write_text(json.dumps(facts))
    (tmp_path / "shapes2d.bits").write_bytes(bytes(1024))
    done = bench("--quick", "--out", tmp_path / "b.json", "--data", tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert (
        done.stderr.startswith("error: ")
        and "altered" in done.stderr
        and done.stderr.count("\n") == 1
    )
    assert not (tmp_path / "b.json").exists()


@pytest.fixture
def module():
    spec = importlib.util.spec_from_file_location("bench", ROOT / "scripts" / "bench.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_networks_are_those_of_the_paper_on_their_data(module):
    fc, quick, conv = module.networks(module.FULL).values()
    assert (fc.network, fc.width, fc.batch_size, fc.lambda_3) == (
        "fc",
        1200,
        400,
        200,
    ) and quick.width == 256
    assert (conv.network, conv.data, conv.batch_size, conv.filters, conv.latents) == (
        "conv",
        "celeba",
        100,
        32,
        32,
    )


def test_layouts_are_what_they_are_called(module, data_dir, monkeypatch):
    """The weights of the first convolution, as the loop trains them: channels-last, or contiguous where that is asked for."""
    seen = []

    def look(settings, seed, data, progress):
        model = module.models.build("conv", 4, 8, 3, 0, 2).to(memory_format=torch.channels_last)
        weight = model.encoder[1].weight
        seen.append((weight.is_contiguous(), weight.is_contiguous(memory_format=original)))
        raise module.Enough(1.0)

    original = torch.channels_last
    monkeypatch.setattr(module, "train", look)
    monkeypatch.setattr(module, "meet", lambda timeout: None, raising=False)
    settings = module.networks(module.QUICK)["conv"]
    for layout in ("channels-last", "contiguous"):
        assert module.share(settings, str(data_dir), 0.1, layout) == settings.batch_size
    assert seen == [(False, True), (True, False)] and torch.channels_last is original


def test_data_that_are_there_are_used(module, data_dir, tmp_path):
    assert (
        module.described(module.load(str(data_dir), "celeba"))
        == "stand-in small faces (for CelebA)"
    )
    fake = module.load(str(tmp_path), "celeba")
    assert (
        module.described(fake) == "random pixels"
        and fake.channels == 3
        and len(fake.split()[0]) > 1_000
    )
    for data in (fake, module.load(str(tmp_path))):
        images = module.Unpacked(data)  # what the plain loop trains on is what ours does
        assert torch.equal(images[5], data.images(data.split()[0][5:6])[0])


def test_the_clock_leaves_out_the_warm_up(module, monkeypatch):
    now = 0.0
    monkeypatch.setattr(module, "time", types.SimpleNamespace(perf_counter=lambda: now))
    ticks, answers = module.clock(2.0, torch.device("cpu")), []
    for seconds in (100, 100, 0.5, 0.5, 0.5, 0.5):  # two slow first steps, then two a second
        now += seconds
        answers.append(next(ticks))
    assert answers == [0, 0, 0, 0, 0, 2.0]
