"""The whole replication in small: it survives a kill and does nothing twice."""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_limits

from dipvae_src.settings import Settings
from replication import jobs, profiles, provenance, record, replicate, results
from replication.engine import runner, trial
from replication.show import summary, tables

ROOT = Path(__file__).resolve().parents[2]
PLAN = profiles.plan("smoke")  # each with one seed
COUNT = len(PLAN)
ALONE = threading.Lock()
SEEDS = "SEEDS must be a whole number from 1 to 100 (how many seeds a setting)"
SHAPES = profiles.plan("smoke", data="shapes2d")


def start(data_dir, runs, *words) -> subprocess.Popen:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
        "OMP_NUM_THREADS": "1"
    }
    words = ["--profile", "smoke", "--device", "cpu", "--data", data_dir, "--runs", runs, *words]
    return subprocess.Popen(
        [sys.executable, "-m", "replication.replicate", *map(str, words)], cwd=ROOT,
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def scores(folder) -> list:
    """All that a table could show of a run."""
    found = results.collect(folder, PLAN)
    return [(r["settings"], r["seed"], r["losses"], r["metrics"]) for r in found]


def some(plan) -> list[Settings]:
    """Four settings that the slow tests leave to be made, in the plan's order.

    The first of each data set, and another reading.
    """
    chosen = [next(s for s, _ in plan if s.data == data) for data in profiles.DATA_SETS] + [
        next(s for s, _ in plan if s.reading)
    ]
    return [s for s, _ in plan if s in chosen]


def copy_but(source: Path, target: Path, left_out: list[Settings]) -> None:
    """All results of a folder with their pictures, but those of some settings."""
    shutil.copytree(source, target)
    for settings in left_out:
        for path in target.rglob(f"{settings.name}_seed*"):
            path.unlink()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    """The command tells its children how to train; not the tests that follow."""
    monkeypatch.setenv(runner.WAY, "")
    monkeypatch.setenv(record.PROGRESS, "")


@pytest.fixture(scope="module")
def undisturbed(data_dir, tmp_path_factory) -> Path:
    """Every run of the smoke profile, made here: what the commands below have to come to."""
    runs = tmp_path_factory.mktemp("undisturbed")
    where = (data_dir, runs / "smoke", "cpu", "single")
    with threadpool_limits(1):  # as the script's processes have it
        for run in profiles.runs_of(PLAN):
            runner.train_unit("smoke", [run], *where, log=lambda line: None)
    return runs


def test_a_killed_replication_goes_on_and_ends_the_same(undisturbed, data_dir, tmp_path):
    folder, left = tmp_path / "smoke", some(PLAN)[1:3]
    copy_but(undisturbed / "smoke", folder, left)
    there = set(folder.glob("*.json"))
    process = start(data_dir, tmp_path, "--plain")
    for _ in range(2_400):
        if complete := set(folder.glob("*.json")) - there:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    out, _ = process.communicate()
    assert complete and process.returncode == -signal.SIGKILL
    assert "Profile smoke (asked for)" in out and f"To do: {len(left)} of {COUNT} runs" in out
    assert "STAND-IN: CelebA is not at hand" in out and "STAND-IN: 3D Chairs is not at hand" in out
    (folder / f"{left[1].name}_seed0.json.part").write_text(
        "half a res"
    )  # as a kill in the middle of a write would leave it

    time.sleep(2)  # children notice within a second that they are alone
    survivors = {p: p.stat().st_mtime_ns for p in folder.glob("*.json")}
    time.sleep(3)
    assert {p: p.stat().st_mtime_ns for p in folder.glob("*.json")} == survivors, "a child lives on"
    out, err = (again := start(data_dir, tmp_path, "--plain")).communicate(timeout=300)
    assert again.returncode == 0, err
    # a machine with many cores runs all at once
    assert f"To do: {COUNT - len(survivors)} of {COUNT} runs" in out or len(survivors) == COUNT
    missing = [s for s in left if results.path_of(folder, s, 0) not in survivors]
    assert all(f"{settings.label}, seed 0 done" in out for settings in missing)
    assert all(p.stat().st_mtime_ns == t for p, t in survivors.items())
    assert scores(folder) == scores(undisturbed / "smoke")
    for data in ("shapes2d", "celeba"):
        ours, theirs = (
            tables.table_1(summary.load("smoke", str(f), data=data))
            for f in (folder, undisturbed / "smoke")
        )
        assert ours.equals(theirs)


def here(its, runs):
    """As replicate.train does it, in this process: one after the other."""
    again = runner.runs_of(its.profile, runner.rows_of(runs), runs[0][0].data)
    places = (its.args.data, its.folder, its.device.type)
    with ALONE:
        runner.train_unit(its.profile, again, *places, log=lambda line: None)


def test_stacks_train_2d_shapes_and_the_plain_loop_the_rest(
    undisturbed, data_dir, tmp_path, capsys, monkeypatch
):
    """Two experiments on 2D Shapes are left, one another reading, and one on each of the others."""
    left = some(PLAN)
    copy_but(undisturbed / "smoke", tmp_path / "smoke", left)
    monkeypatch.setattr(replicate, "train", here)
    status, out, err = call(capsys, data_dir, tmp_path, *PLAIN, "--engine", "stack")
    assert (status, err) == (0, "") and f"To do: {len(left)} of {COUNT} runs" in out
    assert "2D Shapes, 7 models from VAE, seed 0 done" in out or "models from VAE" in out
    found = {s.name: results.read(results.path_of(tmp_path / "smoke", s, 0)) for s in left}
    assert [(r.get("engine"), r["code"]) for r in found.values()] == 2 * [
        ("stacked", provenance.STACKED)
    ] + 2 * [(None, provenance.LOADED)]
    assert len(results.collect(tmp_path / "smoke", PLAN)) == COUNT  # both engines in one folder
    again, out, _ = call(capsys, data_dir, tmp_path, *PLAIN, "--engine", "stack")
    assert again == 0 and "Nothing to do" in out


def test_on_a_gpu_a_trial_says_the_hours_and_the_way(data_dir, tmp_path, capsys, monkeypatch):
    """With the CPU for a GPU, and a trial that takes no time: 0.2 s a model step."""
    asked = []

    def command(module, *words):
        asked.append((module, *words[:-1]))
        with open(words[-1], "a", encoding="utf-8") as file:
            for way, seconds, fell_out in (
                ("single", 0.4, ""), ("stack", 0.2, ""), ("compiled", 0.0, "no compiler"),
            ):  # fmt: skip
                print(json.dumps({"way": way, "seconds": seconds, "fell_out": fell_out}), file=file)
        raise jobs.Stop("ended by signal 11 (SIGSEGV)")

    monkeypatch.setattr(replicate, "command", command)
    monkeypatch.setattr(profiles, "keeps_pictures", lambda *_: True)
    words = ("--plain", "--profile", "evening", "--device", "cpu", "--engine", "trial", "--plan")
    status, out, err = call(capsys, data_dir, tmp_path, *words)
    assert (status, err) == (0, "")
    words = ("--profile", "evening", "--device", "cpu", "--out")
    assert asked == [("replication.engine.trial", *words)]
    assert os.environ["DIPVAE_WAY"] == "stack"
    lines = out.splitlines()
    told = lines.index("Trying this device, two models each way, for a minute or two:")
    assert lines[told + 1 : told + 6] == [
        "  the trial ended early: ended by signal 11 (SIGSEGV)",
        "  single    400 ms a model step", "  stack     200 ms a model step",
        "  compiled  fell out: no compiler", "  taken: stack",
    ]  # fmt: skip
    assert re.search(r"To do: \d+ of \d+ runs, 0 notebooks; about [\d.]+ hours here.", out)
    assert "Too long? A smaller one: make replicate PROFILE=quick" in out


@pytest.mark.parametrize("fell_out", [[], ["CUDA error: no kernel image is available"]])
def test_a_gpu_on_which_nothing_trains_is_said(data_dir, tmp_path, capsys, monkeypatch, fell_out):
    monkeypatch.setattr(replicate, "command", lambda *_: None)
    outcomes = [trial.Outcome("single", 0.0, why) for why in fell_out]
    monkeypatch.setattr(trial, "read", lambda _: outcomes)
    words = ("--profile", "smoke", "--device", "cpu", "--engine", "trial", "--plain")
    status, out, err = call(capsys, data_dir, tmp_path, *words)
    assert status == 1 and all(why in out for why in fell_out)
    assert err == "error: nothing trains on this cpu device; use DEVICE=cpu or mend it\n"


def test_units_on_a_gpu_are_stacks_and_of_convolutions_experiments():
    args = argparse.Namespace(engine="trial", plain=False, runs="", figures_dir="")
    its = replicate.Replication(args, "paper", torch.device("cpu"), profiles.plan("paper"))
    units = replicate.units_of(its)
    runs = [run for unit in units for run in unit]
    assert len(runs) == len(set(runs)) == sum(len(seeds) for _, seeds in its.plan)
    for unit in units:
        if unit[0][0].network == "fc":
            assert len(unit) <= runner.AT_ONCE
        else:
            assert len({settings for settings, _ in unit}) == 1
    its.engine = "single"
    assert replicate.units_of(its) == [[(s, seed) for seed in seeds] for s, seeds in its.plan]
    args.plain = True  # seed by seed
    assert replicate.units_of(its) == [[run] for run in profiles.in_order(its.plan)]


def call(capsys, data_dir, runs, *words):
    status = replicate.main(["--data", str(data_dir), "--runs", str(runs), *words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


PLAIN = ("--plain", "--profile", "smoke", "--device", "cpu")


def test_a_second_time_does_nothing_and_says_so(undisturbed, data_dir, capsys):
    for path in [*(undisturbed / "smoke").glob("*.json"), ROOT / "dipvae_src" / "losses.py"]:
        os.utime(path)  # a touch is no edit
    status, out, err = call(capsys, data_dir, undisturbed, *PLAIN)
    assert (status, err) == (
        0,
        "",
    ) and f"Nothing to do: all {COUNT} runs and 0 notebooks are up to date" in out


def test_an_edited_loss_runs_again(undisturbed, data_dir, capsys, monkeypatch):
    edited = dict.fromkeys(provenance.LOADED, "0" * 16)
    monkeypatch.setattr(provenance, "LOADED", edited)
    monkeypatch.setattr(provenance, "STACKED", edited)
    status, out, _ = call(capsys, data_dir, undisturbed, *PLAIN, "--plan")
    assert (
        status == 0
        and f"To do: {COUNT} of {COUNT} runs" in out
        and "VAE, seed 0: other training and scoring code" in out
    )


def test_more_seeds_run_only_what_is_new(undisturbed, data_dir, capsys):
    status, out, _ = call(capsys, data_dir, undisturbed, *PLAIN, "--plan", "--seeds", "2")
    assert (
        status == 0
        and f"To do: {COUNT} of {2 * COUNT} runs" in out
        and "VAE, seed 1: not run yet" in out
        and "VAE, seed 0" not in out
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--profile", "fast"),
            "unknown profile 'fast'; the profiles are " + ", ".join(profiles.PROFILES),
        ),
        *(
            (("--seeds", seeds), f"{SEEDS}, not {seeds!r}")
            for seeds in ("0", "101", "three", "1.5")
        ),
        (("--device", "tpu"), "unknown device 'tpu'; use cpu or cuda"),
        (("--figures", "--profile", "smoke"), f"{len(SHAPES)} of {len(SHAPES)} results are not in"),
    ],
)
def test_bad_input_is_one_line_before_any_work(data_dir, tmp_path, capsys, words, message):
    status, out, err = call(capsys, data_dir, tmp_path, *words)
    assert (
        status == 1
        and out == ""
        and message in err
        and err.startswith("error: ")
        and err.count("\n") == 1
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["shapes2d.bits", "faces.labels.npz", "standin_chairs.rgb"])
def test_an_altered_data_file_stops_it(data_dir, tmp_path, capsys, name):
    data = Path(shutil.copytree(data_dir, tmp_path / "data"))
    (data / name).write_bytes(bytes((data / name).stat().st_size))
    status, _, err = call(capsys, data, tmp_path / "runs", *PLAIN)
    assert status == 1 and f"{name} is altered" in err and not (tmp_path / "runs").exists()


def test_a_plan_without_data_says_so_and_draws_nothing(tmp_path, capsys):
    status, out, err = call(capsys, tmp_path, tmp_path / "runs", *PLAIN, "--plan")
    assert (
        (status, err) == (0, "")
        and "Data: not all there yet" in out
        and f"To do: {COUNT} of {COUNT} runs" in out
    )
    assert list(tmp_path.iterdir()) == []


def test_a_plan_tells_each_data_set(undisturbed, data_dir, capsys):
    status, out, _ = call(capsys, data_dir, undisturbed, *PLAIN, "--plan", "--seeds", "3")
    for data, facts in profiles.DATA_SETS.items():
        count, steps = (
            len(profiles.plan("smoke", data=data)),
            profiles.PROFILES["smoke"].parts[data].common["steps"],
        )
        what = f"{count} settings, {3 * count} runs of {steps} steps; against the paper: "
        assert f"  {facts.title}: {what}" in out


def test_notebooks_and_all(undisturbed, data_dir, tmp_path):
    """`make replicate PROFILE=smoke` as users run it: every notebook and output, nothing twice.

    To save minutes, only two experiments are left to be made, another reading and one on faces;
    and the notebooks that read no result are done before.
    """
    runs, figures_dir, left = tmp_path / "runs", tmp_path / "figures" / "smoke", some(PLAN)[1:3]
    copy_but(undisturbed, runs, left)
    (figures_dir / "notebooks").mkdir(parents=True)
    args = argparse.Namespace(
        data=str(data_dir), runs=str(runs), figures_dir=str(tmp_path / "figures"), engine=None,
        plain=False, train_only=False, seeds=0, dsprites_gif="",
    )  # fmt: skip
    its = replicate.Replication(args, "smoke", torch.device("cpu"), PLAN)
    before = [
        replicate.job_of(its, [(settings, 0)]) for settings, _ in PLAN if settings not in left
    ]
    before += [job for job in its.shown() if job.name.startswith(("00", "01"))]
    for job in before:
        for path in job.left:
            path.write_text("made before")
        job.stamp.parent.mkdir(parents=True, exist_ok=True)
        job.stamp.write_text(f"{job.shown_by()} {job.files()}")
    words = ("--figures-dir", tmp_path / "figures")
    out, err = (process := start(data_dir, runs, *words)).communicate(timeout=600)
    assert process.returncode == 0, err
    every = [o for outputs in jobs.OUTPUTS.values() for o in outputs]
    absent = ("longer", "traversal_scores")  # of the smoke profile
    expected = {figures_dir / o for o in every if not o.startswith(absent)}
    assert [path for path in expected if not path.exists() or path.stat().st_size == 0] == []
    pages = {path.name: path.read_text() for path in (figures_dir / "notebooks").glob("*.html")}
    trained = {f"03_train_{settings.name}.html" for settings, _ in PLAN}
    others = {f"{path.stem}.html" for path in (ROOT / "notebooks").glob("*.ipynb")} - {
        "03_train.html"
    }
    assert set(pages) == trained | others
    made_before = {name for name, page in pages.items() if page == "made before"}
    assert made_before == {job.left[-1].name for job in before}
    assert all(settings.label in pages[f"03_train_{settings.name}.html"] for settings in left)
    assert "| DIP-VAE-II (lambda_od 500) | 1 |" in out
    assert "<!--" not in out  # a terminal shows it
    assert "smoke profile: width 32 instead of 1200" in (figures_dir / "table_1.md").read_text()
    assert "small faces (for CelebA)" in (figures_dir / "table_2.md").read_text()
    assert scores(runs / "smoke") == scores(
        undisturbed / "smoke"
    )  # a notebook's run is the command's
    assert not list(tmp_path.rglob("*.part")) + list(tmp_path.rglob("*.failed.ipynb"))

    kept = {
        path: path.stat().st_mtime_ns
        for path in tmp_path.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
    out, err = (process := start(data_dir, runs, *words)).communicate(timeout=100)
    assert (
        process.returncode == 0
        and f"Nothing to do: all {COUNT} runs and {len(others)} notebooks are up to date" in out
    ), err
    assert {
        path: path.stat().st_mtime_ns
        for path in tmp_path.rglob("*")
        if path.is_file() and path.name != ".lock"
    } == kept


@pytest.mark.parametrize(
    ("spent", "notes", "words"),
    [
        (0, "", "0 of 3 runs complete, 0 % of the training, about 2 min left"),  # 210 / 2 + 20 s
        (65, "0 30", "1 of 3 runs complete, 62 % of the training, about 60 s left"),  # 80 / 2 + 20
        (320, "0 30", "1 of 3 runs complete, 62 % of the training, about 3 min left"),  # 80 * 2
        (40, "30 30", "1 of 3 runs complete, 62 % of the training, about 60 s left"),
    ],
)
def test_progress_moves_within_runs_and_what_is_left_goes_as_it_went(
    tmp_path, monkeypatch, spent, notes, words
):
    """Two at a time of 80 s, complete but at first; 20 s; 100 s, half done, and 10 s of scores."""
    runs = [(settings, 0) for settings, _ in SHAPES[:3]]
    results.path_of(tmp_path, *runs[0]).touch()  # where no time is spent it is an older one
    (tmp_path / results.path_of(tmp_path, *runs[2]).stem).write_text(notes or "0")
    monkeypatch.setattr(replicate, "RUN_SECONDS", 10)
    costs = dict(zip(runs, (80.0, 20.0, 110.0)))
    assert replicate.progress(tmp_path, costs, tmp_path, spent, 2, 20.0) == words


@pytest.mark.parametrize("way", ["single", "stack"])
def test_runs_note_their_steps_for_the_command_that_asks(data_dir, tmp_path, monkeypatch, way):
    monkeypatch.setenv(record.PROGRESS, str(tmp_path))
    unit, out = [(SHAPES[0][0], 0), (SHAPES[1][0], 0)], tmp_path / "out"
    runner.train_unit("smoke", unit, data_dir, out, "cpu", way, log=lambda line: None)
    for settings, seed in unit:
        path = results.path_of(out, settings, seed)
        steps = list(map(int, (tmp_path / path.stem).read_text().split()))
        assert steps[0] == 0 and steps == sorted(steps) and 1 < steps[-1] <= settings.steps
        assert record.noted_steps(tmp_path, path) == (0, steps[-1])
        assert way == "stack" or steps == list(range(61))
    assert record.noted_steps(tmp_path, tmp_path / "another") == (0, 0)


def test_figures_ask_only_for_data_sets_that_were_run(tmp_path):
    for settings, seeds in profiles.plan("smoke", data="shapes2d") + profiles.plan(
        "smoke", data="chairs"
    ):
        for seed in seeds:
            results.path_of(tmp_path, settings, seed).touch()
    assert {settings.data for settings, _ in summary.showable("smoke", tmp_path)} == {
        "shapes2d",
        "chairs",
    }


def test_only_one_at_a_time(undisturbed, data_dir, capsys, monkeypatch):
    import fcntl

    with open(undisturbed / "smoke" / ".lock", "w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        status, _, err = call(capsys, data_dir, undisturbed, *PLAIN)
    assert status == 1 and "another `make replicate` or sweep is at work in" in err


def test_a_failed_experiment_is_named_and_the_others_are_kept(
    data_dir, tmp_path, capsys, monkeypatch
):
    ran = []

    def fail_one(its, runs):
        if runs[0][0].beta == 60:
            raise replicate.Stop("the loss is nan at step 7")
        ran.append(runs)

    monkeypatch.setattr(replicate, "train", fail_one)
    status, out, err = call(capsys, data_dir, tmp_path, *PLAIN)
    assert (
        status == 1
        and "FAILED 2D Shapes, beta-VAE (beta 60), seed 0: the loss is nan at step 7" in out
    )
    assert (
        f"1 of {COUNT} trainings failed; the first: 2D Shapes, beta-VAE (beta 60), seed 0" in err
        and "complete runs are kept" in err
    )
    assert len(ran) == COUNT - 1 == out.count(", seed 0 done")
