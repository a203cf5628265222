"""A sweep by Ray: its units, what a killed worker leaves and its successor makes of it, and what is refused.

The part on a cluster of two nodes (processes of this machine) runs where Ray is installed: pip install "ray>=2.40".
"""

import argparse
import dataclasses
import fcntl
import os
import re
import shutil
import signal
import sys
import threading
import time

import pytest
import torch

from dipvae_src import data
from replication import results
from replication.engine import stack as stacked
from replication.engine import stack_results, sweep, visit


@pytest.fixture(scope="module")
def images(data_dir):
    torch.set_num_threads(1)
    return data.load("shapes2d", data_dir)


@pytest.fixture(scope="module")
def runs():
    """The six rows of Table 1, all of one shape."""
    return visit.in_order("smoke")[:6]


@pytest.fixture
def job(tmp_path, data_dir, images):
    return job_in(tmp_path, data_dir, images)


def job_in(out, data_dir, images):
    (out / sweep.MARK).write_text("mark")
    return sweep.Job("smoke", out, data_dir, "cpu", {"shapes2d": images.sha256}, "mark")


def scores(folder, runs):
    found = [
        results.read(results.path_of(folder, *run)) for run in runs
    ]  # validated, the pictures' checksums too
    return [(r["settings"], r["seed"], r["losses"], r["metrics"], r["picture"]) for r in found]


def files(folder):
    return {
        path: path.read_bytes()
        for end in ("json", "png", "npz")
        for path in folder.rglob(f"*.{end}")
    }


@pytest.fixture
def small_plan(runs, monkeypatch):
    """A profile of these runs."""
    monkeypatch.setattr(visit, "in_order", lambda profile, seeds=None: runs)


@pytest.fixture(scope="module")
def undisturbed(runs, data_dir, images, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    assert sweep.unit(job_in(out, data_dir, images), "one", runs)["made"] == 6
    return out


# --- the units ---


def test_units_are_disjoint_cover_the_plan_and_keep_its_order():
    plan = visit.in_order("paper")
    found = sweep.units(plan, 8)
    parts, at = [runs for _, runs in found], {run: i for i, run in enumerate(plan)}
    assert parts[0] == plan[:8] and sorted(map(repr, sum(parts, []))) == sorted(map(repr, plan))
    assert all(
        0 < len(part) <= 8 and len({stacked.shape_of(settings) for settings, _ in part}) == 1
        for part in parts
    )
    assert all([at[run] for run in part] == sorted(at[run] for run in part) for part in parts)
    assert [at[part[0]] for part in parts] == sorted(at[part[0]] for part in parts)
    assert len({name for name, _ in found}) == len(parts)
    assert len(parts) <= len(plan) / 8 + len(
        {stacked.shape_of(settings) for settings, _ in plan}
    )  # one short one a shape
    assert sweep.units(plan, 8) == found and sweep.units([], 8) == []


def test_a_unit_has_one_shape(runs):
    narrow, wide = (
        [(dataclasses.replace(s, width=width), seed) for s, seed in runs[:3]] for width in (16, 32)
    )
    mixed = [run for pair in zip(narrow, wide) for run in pair]
    assert [part for _, part in sweep.units(mixed, 2)] == [
        narrow[:2],
        wide[:2],
        narrow[2:],
        wide[2:],
    ]


def test_what_waits_comes_first_and_stays_together(runs):
    """Of a checkpoint of runs 1, 3 and 5, run 3 is made already; another one holds run 5 too, and one that nobody asks for."""
    todo, waiting = (
        [run for run in runs if run != runs[3]],
        {"a": runs[1::2], "b": [runs[5], runs[0]], "c": [(runs[0][0], 7)]},
    )
    found = sweep.units(todo, 8, waiting)
    assert found[:2] == [("a", [runs[1], runs[5]]), ("b", [runs[0]])] and [
        part for _, part in found[2:]
    ] == [[runs[2], runs[4]]]


def test_a_run_that_no_stack_trains_is_refused(runs):
    with pytest.raises(ValueError, match="only the fc network is stacked"):
        sweep.units([*runs, (dataclasses.replace(runs[0][0], network="conv"), 0)], 8)


# --- one unit ---


def test_a_unit_makes_what_a_visit_makes_and_nothing_the_second_time(
    undisturbed, runs, small_plan, job, images, tmp_path
):
    made = visit.Visit(
        "smoke", tmp_path / "visit", images, time.perf_counter() + 600, 16, log=lambda _: None
    )
    made.go()
    assert scores(undisturbed, runs) == scores(tmp_path / "visit", runs)

    sweep.unit(job, "first", runs[:4])
    before = files(tmp_path)
    found = sweep.unit(job, "again", runs[:4])
    assert (found["made"], found["diverged"]) == (0, 0) and files(tmp_path) == before
    assert sweep.unit(job, "more", runs)["made"] == 2 and before.items() <= files(tmp_path).items()
    assert scores(tmp_path, runs) == scores(
        undisturbed, runs
    )  # on a CPU a model does not feel who else is in its stack


def test_stopped_in_training_it_goes_on_from_its_checkpoint(
    undisturbed, runs, job, tmp_path, monkeypatch
):
    def fail_at_step_20(stack):
        advance(stack)
        if stack.step == 20:
            raise OSError(5, "Input/output error")

    advance = stacked.Stack._advance
    with monkeypatch.context() as patched, pytest.raises(OSError, match="Input/output"):
        patched.setattr(stacked.Stack, "_advance", fail_at_step_20)
        sweep.unit(dataclasses.replace(job, save_every=1e-9), "one", runs)
    path = tmp_path / "checkpoints" / "one.npz"
    assert path.exists() and not list(tmp_path.glob("*.json"))
    half = path.with_name("one.npz.part")
    half.write_bytes(path.read_bytes()[:1000])  # as where the next save is killed
    assert sweep.unit(job, "one", runs)["made"] == 6 and not path.exists() and not half.exists()
    book = (tmp_path / "logs" / "one.log").read_text()
    assert re.findall(r"from step (\d+) of 60", book) == ["0", "19"]
    assert scores(tmp_path, runs) == scores(undisturbed, runs)


def test_stopped_in_scoring_only_the_missing_ones_are_made(
    undisturbed, runs, job, tmp_path, monkeypatch
):
    def fail_at_the_third(path, result):
        if results.path_of(tmp_path, *runs[2]) == path:
            raise OSError(28, "No space left on device")
        write(path, result)

    write = results.write
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(stack_results.results, "write", fail_at_the_third)
        sweep.unit(job, "one", runs)
    first = {path: content for path, content in files(tmp_path).items() if path.suffix == ".json"}
    assert len(first) == 2
    assert sweep.unit(job, "one", runs)["made"] == 4 and first.items() <= files(tmp_path).items()
    assert "4 of 6 runs to make, from step 60 of 60" in (tmp_path / "logs" / "one.log").read_text()
    assert scores(tmp_path, runs) == scores(undisturbed, runs) and not (tmp_path / "old").exists()


def test_checkpoints_that_wait(undisturbed, runs, small_plan, job, images, tmp_path):
    """A visit's is gone on with, a broken one set aside, one whose runs are all made deleted."""
    said, folder = [], tmp_path / "checkpoints"
    made = visit.Visit(
        "smoke", tmp_path, images, time.perf_counter() + 600, 16, log=lambda _: None, stop_at=31
    )
    made.go()
    (path,) = folder.glob("*.npz")
    (folder / "broken.npz").write_bytes(path.read_bytes()[:-100])
    found = sweep.waiting_in((tmp_path,), job.sha256, said.append)
    assert (
        found == {path.stem: runs}
        and len(said) == 1
        and "broken.npz is no whole checkpoint" in said[0]
    )
    assert (folder / "broken.refused").exists() and not (folder / "broken.npz").exists()

    content = path.read_bytes()
    assert sweep.unit(job, path.stem, runs)["made"] == 6
    assert "from step 31 of 60" in (tmp_path / "logs" / f"{path.stem}.log").read_text()
    assert scores(tmp_path, runs) == scores(undisturbed, runs)
    path.write_bytes(content)
    assert sweep.waiting_in((tmp_path,), job.sha256, said.append) == {} and not path.exists()
    assert said[1] == f"{path.name}: all of its runs are made; deleted"


def test_a_unit_with_a_broken_checkpoint_starts_again(runs, job, tmp_path):
    path = tmp_path / "checkpoints" / "one.npz"
    path.parent.mkdir()
    path.write_bytes(b"half")
    assert (
        sweep.unit(job, "one", runs[:1])["made"] == 1
        and path.with_suffix(".refused").read_bytes() == b"half"
    )
    assert "REFUSED" in (tmp_path / "logs" / "one.log").read_text()


def test_a_run_that_diverges_is_noted_and_not_tried_again(runs, job, tmp_path):
    wild = (dataclasses.replace(runs[3][0], lambda_od=1e38, lambda_d=1e38), 0)
    found = sweep.unit(job, "one", [runs[0], wild])
    assert (found["made"], found["diverged"]) == (1, 1)
    assert sweep.missing([runs[0], wild, runs[1]], (tmp_path,), job.sha256) == [runs[1]]
    assert sweep.unit(job, "one", [runs[0], wild])["made"] == 0


def test_what_counts_elsewhere_is_not_missing(undisturbed, runs, job, tmp_path):
    assert (
        sweep.missing(runs, (tmp_path, undisturbed), job.sha256) == []
        and sweep.missing(runs, (tmp_path,), job.sha256) == runs
    )
    assert sweep.missing(runs, (undisturbed,), {"shapes2d": "other"}) == runs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mark": "other"},
            "is not the folder of this sweep; --out must be one folder that all nodes share",
        ),
        ({"code": "other"}, "the code on .* is not, or no longer, that of this sweep"),
        ({"sha256": {"shapes2d": "other"}}, "are not those of the machine that started the sweep"),
    ],
)
def test_a_node_that_is_not_as_the_sweep_has_it_is_refused(job, runs, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        sweep.unit(dataclasses.replace(job, **changes), "one", runs)
    assert not list(tmp_path.rglob("*.json"))


def test_a_unit_waits_for_the_one_before_it(runs, job, tmp_path):
    """As where Ray gave up a worker that lives on: the second finds everything made."""
    book, found = tmp_path / "logs" / "one.log", []
    book.parent.mkdir()
    with open(book, "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = threading.Thread(target=lambda: found.append(sweep.unit(job, "one", runs[:1])))
        second.start()
        sweep.unit(job, "first", runs[:1])
        assert second.is_alive() and book.read_text() == ""
    second.join(timeout=60)
    assert found[0]["made"] == 0 and results.read(results.path_of(tmp_path, *runs[0]))


# --- the command ---


@pytest.fixture
def command(data_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed

    def call(*words):
        status = sweep.main(
            [
                "--data",
                str(data_dir),
                "--out",
                str(tmp_path),
                "--profile",
                "smoke",
                *map(str, words),
            ]
        )
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--profile", "fast"),
            "unknown profile 'fast'; the profiles are smoke, quick, evening, paper",
        ),
        (
            ("--seeds", 0),
            "SEEDS must be a whole number from 1 to 100 (how many seeds a setting), not 0",
        ),
        (
            ("--gpus", 0),
            "gpus must be above 0 and at most 1 (the share of a GPU that a unit takes), not 0.0",
        ),
        (
            ("--gpus", 2),
            "gpus must be above 0 and at most 1 (the share of a GPU that a unit takes), not 2.0",
        ),
        (
            ("--gpus", "nan"),
            "gpus must be above 0 and at most 1 (the share of a GPU that a unit takes), not nan",
        ),
        (("--stack", 0), "stack must be at least 1, not 0"),
        (("--local", 0), "local must be at least 1, not 0"),
        (("--save-every", "inf"), "save-every must be a number of seconds above 0, not inf"),
        (
            ("--address", "auto", "--local", 2),
            "address joins a Ray cluster, local starts Ray here; give one of them",
        ),
        (("--device", "tpu"), "unknown device 'tpu'; use cpu or cuda"),
        (
            (),
            f'a sweep needs Ray, which is not installed here: {sys.executable} -m pip install "ray>=2.40"',
        ),
    ],
)
def test_bad_input_and_no_ray_are_one_line(command, tmp_path, words, message):
    assert command(*words) == (1, "", f"error: {message}\n")
    assert not list(tmp_path.glob("*.json"))


def test_data_that_are_not_there_are_refused(command, tmp_path):
    status, _, err = command("--data", tmp_path / "nowhere")
    assert status == 1 and re.fullmatch(
        r"error: no packed shapes2d in .*nowhere; run `make data` first\n", err
    )


def test_two_sweeps_do_not_share_a_folder(command, tmp_path):
    with open(tmp_path / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        status, _, err = command()
    assert status == 1 and err.startswith(
        "error: another `make replicate`, visit or sweep is at work in"
    )


def test_where_nothing_is_left_no_ray_is_needed(command, undisturbed, small_plan):
    status, out, err = command("--out", undisturbed)
    assert (status, err) == (0, "") and out.startswith(
        "0 runs made in this sweep; nothing is left of 6 runs"
    )


def test_a_sweep_waits_for_the_workers_of_one_that_was_killed(
    command, undisturbed, small_plan, tmp_path
):
    """They live some seconds longer; what they write until then counts."""
    book, said = tmp_path / "logs" / "stack-one.log", []
    book.parent.mkdir()
    with open(book, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = threading.Thread(target=lambda: said.append(command()))
        second.start()
        second.join(timeout=2)
        assert second.is_alive()
        shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    second.join(timeout=60)
    assert said[0][0] == 0 and said[0][1].startswith(
        "0 runs made in this sweep; nothing is left of 6 runs"
    )


# --- on a cluster of two nodes ---

INSTALL = f"needs Ray: {sweep.INSTALL}"


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    pytest.importorskip("ray", reason=INSTALL)
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 10**8}
    made = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **node})
    made.add_node(**node)
    yield made
    made.shutdown()


def longer(runs):
    """Runs of a second or more, so that a unit can be met in its middle."""
    return [(dataclasses.replace(settings, steps=200), seed) for settings, seed in runs]


def test_a_worker_killed_in_the_middle_changes_nothing(
    cluster, runs, data_dir, tmp_path, capsys, monkeypatch
):
    runs, killed = longer(runs), []
    monkeypatch.setattr(visit, "in_order", lambda profile, seeds=None: runs)
    words = [
        "--profile",
        "smoke",
        "--data",
        str(data_dir),
        "--address",
        cluster.address,
        "--stack",
        "2",
        "--save-every",
        "0.3",
    ]

    def kill_one(folder):
        """SIGKILL for the first worker that has saved."""
        ends = time.monotonic() + 120
        while not killed and time.monotonic() < ends:
            for book in folder.glob("logs/stack-*.log"):
                if "saved at step" in (text := book.read_text()) and not killed:
                    pid = int(re.findall(r"process (\d+): begins", text)[-1])
                    os.kill(pid, signal.SIGKILL)
                    killed.append((book, pid))
            time.sleep(0.02)

    calm, out = tmp_path / "calm", tmp_path / "killed"
    for folder in (calm, out):
        if folder == out:
            threading.Thread(target=kill_one, args=(out,), daemon=True).start()
        status, (said, err) = sweep.main([*words, "--out", str(folder)]), capsys.readouterr()
        first, *units, last = said.splitlines()  # and nothing of Ray's own
        assert (status, err) == (0, "") and last.startswith(
            "6 runs made in this sweep; nothing is left of 6 runs ("
        )
        assert first == "Profile smoke on cpu: 6 runs to do in 3 units; nodes 2, cores 2, GPUs 0"
        for i, line in enumerate(units, 1):
            assert re.fullmatch(
                rf"{i} of 3 units: stack-\w+, 2 runs made in [\d.]+ min on \S+", line
            )

    ((book, pid),) = killed
    begun = {
        path: re.findall(r"process (\d+): begins", path.read_text())
        for path in book.parent.glob("stack-*.log")
    }
    assert begun[book][0] == str(pid) != begun[book][1] and sorted(map(len, begun.values())) == [
        1,
        1,
        2,
    ]
    steps = [int(step) for step in re.findall(r"from step (\d+)", book.read_text())]
    assert steps[0] == 0 < steps[1] < 200  # it went on where the last checkpoint was

    assert scores(out, runs) == scores(calm, runs)
    assert {path.name for path in out.glob("*.json")} == {
        results.path_of(out, *run).name for run in runs
    }
    assert {path.name for path in out.rglob("*")} == {
        path.name for path in calm.rglob("*")
    }  # no part file, old file, checkpoint
    assert sweep.main([*words, "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(
        "0 runs made in this sweep; nothing is left of 6 runs"
    )


def test_units_that_fail_are_named_and_only_files_are_tried_again(
    cluster, runs, job, data_dir, tmp_path
):
    (first, second), said = sweep.units(runs[:2], 1), []
    ray = sweep.start(argparse.Namespace(address=cluster.address, local=None))
    try:
        other = dataclasses.replace(job, sha256={"shapes2d": "other"})
        assert sweep.follow(ray, other, [first], 0.5, said.append) == (0, [first[0]])
        gone = dataclasses.replace(job, data_dir=tmp_path / "gone")
        assert sweep.follow(ray, gone, [second], 0.5, said.append) == (0, [second[0]])
    finally:
        ray.shutdown()
    assert said[0].startswith(
        f"1 of 1 units: {first[0]} FAILED, 1 runs: the data in {data_dir} on "
    )
    missing = f"1 of 1 units: {second[0]} FAILED, 1 runs: no packed shapes2d in {tmp_path / 'gone'}; run `make data` first"
    assert said[1] == f"{missing} (its log: {tmp_path / 'logs' / second[0]}.log)"
    begun = {path.stem: path.read_text().count("begins") for path in (tmp_path / "logs").iterdir()}
    assert begun == {first[0]: 1, second[0]: 1 + sweep.RETRIES}


def test_a_gpu_that_is_not_there_is_refused(cluster, data_dir, tmp_path, capsys):
    words = ["--profile", "smoke", "--data", str(data_dir), "--out", str(tmp_path)]
    assert sweep.main([*words, "--address", cluster.address, "--device", "cuda"]) == 1
    assert capsys.readouterr().err.startswith(
        "error: device cuda was asked for, but no node of Ray has a GPU"
    )
    assert not (tmp_path / sweep.MARK).exists()
