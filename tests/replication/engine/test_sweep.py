"""A sweep by Ray: its tasks, what a killed worker leaves to its successor, what is refused.

The part on a cluster of two nodes (processes of this machine) runs where Ray is installed:
pip install "ray>=2.40".
"""

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

from replication import datasets, profiles, record, results
from replication.engine import checkpoints, runner, sweep

STEPS = 12


@pytest.fixture(scope="module")
def images(data_dir):
    torch.set_num_threads(1)
    return datasets.load("shapes2d", data_dir)


@pytest.fixture(scope="module")
def runs():
    """The six rows of Table 1, all of one shape, trained and scored for a moment."""
    small = dict(steps=STEPS, batch_size=16, zdiff_train=50, zdiff_test=20)
    rows = profiles.in_order(profiles.plan("smoke", data="shapes2d"))[:6]
    return [(dataclasses.replace(settings, **small), seed) for settings, seed in rows]


@pytest.fixture
def job(tmp_path, data_dir, images):
    return job_in(tmp_path, data_dir, images)


def job_in(out, data_dir, images):
    (out / sweep.MARK).write_text("mark")
    (out / "logs").mkdir(exist_ok=True)
    return sweep.Job("smoke", out, data_dir, out / "none", images.identity, mark="mark")


def scores(folder, runs):
    found = [results.read(results.path_of(folder, *run)) for run in runs]  # pictures checked too
    return [(r["settings"], r["seed"], r["losses"], r["metrics"], r["picture"]) for r in found]


def files(folder):
    return {
        path: path.read_bytes()
        for end in ("json", "png", "npz", "pt")
        for path in folder.rglob(f"*.{end}")
    }


@pytest.fixture
def small_plan(runs, monkeypatch):
    """A profile of these runs."""
    monkeypatch.setattr(profiles, "in_order", lambda plan: runs)


@pytest.fixture(scope="module")
def undisturbed(runs, data_dir, images, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    assert sweep.unit(job_in(out, data_dir, images), runs)["made"] == 6
    return out


# --- one unit ---


def book_of(job, runs):
    return job.log_of(runs)


def test_nothing_is_made_a_second_time(undisturbed, runs, job, tmp_path):
    sweep.unit(job, runs[:4])
    before = files(tmp_path)
    assert sweep.unit(job, runs[:4])["made"] == 0 and files(tmp_path) == before
    assert sweep.unit(job, runs)["made"] == 2 and before.items() <= files(tmp_path).items()
    # On a CPU a model does not feel who else is in its stack.
    assert scores(tmp_path, runs) == scores(undisturbed, runs)


def test_what_counts_at_home_is_not_made(undisturbed, runs, job):
    assert sweep.unit(dataclasses.replace(job, have=undisturbed), runs)["made"] == 0


def test_stopped_in_training_it_goes_on_from_its_checkpoint(
    undisturbed, runs, job, tmp_path, monkeypatch
):
    def fail_at_step_6(path, made):
        if made.step >= 6:
            raise OSError(5, "Input/output error")
        save(path, made)

    save = checkpoints.save
    with monkeypatch.context() as patched, pytest.raises(OSError, match="Input/output"):
        patched.setattr(checkpoints, "save", fail_at_step_6)
        sweep.unit(dataclasses.replace(job, save_every=1e-9), runs)
    (path,) = (tmp_path / "checkpoints").glob("*.pt")
    assert not list(tmp_path.glob("*.json"))
    assert sweep.unit(job, runs)["made"] == 6 and not path.exists()
    (step,) = re.findall(rf"go on from step (\d+) of {STEPS}", book_of(job, runs).read_text())
    assert 0 <= int(step) < 6
    assert scores(tmp_path, runs) == scores(undisturbed, runs)


def test_stopped_in_scoring_only_the_missing_ones_are_made(
    undisturbed, runs, job, tmp_path, monkeypatch
):
    def fail_at_the_third(path, *rest):
        if path == results.path_of(tmp_path, *runs[2]):
            raise OSError(28, "No space left on device")
        return write(path, *rest)

    write = record.write_result
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(record, "write_result", fail_at_the_third)
        sweep.unit(job, runs)
    first = {path: content for path, content in files(tmp_path).items() if path.suffix == ".json"}
    assert len(first) == 2
    assert sweep.unit(job, runs)["made"] == 4 and first.items() <= files(tmp_path).items()
    assert f"4 runs go on from step {STEPS} of {STEPS}" in book_of(job, runs).read_text()
    assert scores(tmp_path, runs) == scores(undisturbed, runs) and not (tmp_path / "old").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mark": "other"},
            "is not the folder of this sweep; --out must be one folder that all nodes share",
        ),
        ({"code": "other"}, "the code on .* is not, or no longer, that of this sweep"),
        ({"identity": "other"}, "are not those of the machine that started the sweep"),
    ],
)
def test_a_node_that_is_not_as_the_sweep_has_it_is_refused(job, runs, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        sweep.unit(dataclasses.replace(job, **changes), runs)
    assert not list(tmp_path.rglob("*.json"))


def test_a_unit_waits_for_the_one_before_it(runs, job):
    """As where Ray gave up a worker that lives on: the second finds everything made."""
    book, found = book_of(job, runs[:2]), []
    with open(book, "a", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = threading.Thread(target=lambda: found.append(sweep.unit(job, runs[:2])))
        second.start()
        for run in runs[:2]:
            sweep.unit(job, [run])
        assert second.is_alive() and book.read_text() == ""
    second.join(timeout=60)
    assert found[0]["made"] == 0 and results.read(results.path_of(job.out, *runs[0]))


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
        (("--profile", "fast"), "unknown profile 'fast'; the profiles are smoke, quick, evening, "),
        (("--seeds", 0), "SEEDS must be a whole number from 1 to 100 (how many seeds a setting), "),
        ((), f"a sweep needs Ray, which is not installed here: {sys.executable} -m pip install "),
    ],
)  # fmt: skip
def test_bad_input_and_no_ray_are_one_line(command, tmp_path, words, message):
    status, out, err = command(*words)
    assert (status, out) == (1, "") and err.startswith(f"error: {message}")
    assert err.count("\n") == 1 and not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--gpus", 0), "argument --gpus: must be a finite number above 0 and at most 1, not 0"),
        (("--gpus", 2), "argument --gpus: must be a finite number above 0 and at most 1, not 2"),
        (
            ("--gpus", "nan"),
            "argument --gpus: must be a finite number above 0 and at most 1, not nan",
        ),
        (("--stack", 0), "argument --stack: must be a finite number above 0, not 0"),
        (("--local", 0), "argument --local: must be a finite number above 0, not 0"),
        (
            ("--save-every", "inf"),
            "argument --save-every: must be a finite number above 0, not inf",
        ),
        (("--address", "auto", "--local", 2), "--local: not allowed with argument --address"),
        (("--device", "tpu"), "argument --device: invalid choice: 'tpu' (choose from "),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(command, capsys, words, message):
    with pytest.raises(SystemExit):
        command(*words)
    assert message in capsys.readouterr().err


def test_data_that_are_not_there_are_refused(command, tmp_path):
    status, _, err = command("--data", tmp_path / "nowhere")
    assert status == 1 and re.fullmatch(
        r"error: no packed shapes2d in .*nowhere; run `make data` first\n", err
    )


def test_two_sweeps_do_not_share_a_folder(command, tmp_path):
    with open(tmp_path / ".lock", "w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        status, _, err = command()
    assert status == 1 and err.startswith("error: another `make replicate` or sweep is at work in")


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
    with open(book, "w", encoding="utf-8") as held:
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
    return [
        (dataclasses.replace(settings, steps=200, batch_size=64), seed) for settings, seed in runs
    ]


def test_a_worker_killed_in_the_middle_changes_nothing(
    cluster, runs, data_dir, tmp_path, capsys, monkeypatch
):
    runs, killed = longer(runs), []
    monkeypatch.setattr(profiles, "in_order", lambda plan: runs)
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
                rf"{i} of 3 units: stack-\w+, 2 of 2 runs made in [\d.]+ min on \S+", line
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
    (step,) = re.findall(r"go on from step (\d+)", book.read_text())
    assert 0 < int(step) < 200  # where the last checkpoint was

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
    first, second, said = runs[:1], runs[1:2], []
    names = [runner.name_of(part) for part in (first, second)]
    ray = sweep.start_ray(cluster.address, None)
    try:
        other = dataclasses.replace(job, identity="other")
        assert sweep.follow(ray, other, [first], 0.5, said.append) == (0, names[:1])
        gone = dataclasses.replace(job, data_dir=tmp_path / "gone")
        assert sweep.follow(ray, gone, [second], 0.5, said.append) == (0, names[1:])
    finally:
        ray.shutdown()
    failed = [f"1 of 1 units: {name} FAILED, 1 runs: " for name in names]
    assert said[0].startswith(f"{failed[0]}the data in {data_dir} on ")
    missing = f"{failed[1]}no packed shapes2d in {tmp_path / 'gone'}; run `make data` first"
    assert said[1] == f"{missing} (its log: {book_of(job, second)})"


def test_a_gpu_that_is_not_there_is_refused(cluster, data_dir, tmp_path, capsys):
    words = ["--profile", "smoke", "--data", str(data_dir), "--out", str(tmp_path)]
    assert sweep.main([*words, "--address", cluster.address, "--device", "cuda"]) == 1
    assert capsys.readouterr().err.startswith(
        "error: device cuda was asked for, but no node of Ray has a GPU"
    )
    assert not (tmp_path / sweep.MARK).exists()
