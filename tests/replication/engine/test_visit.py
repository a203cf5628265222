"""A visit within its budget: what it picks, what it leaves, what it does not do twice, and what it refuses."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dipvae_src import data
from replication import profiles, results, run
from replication.engine import checkpoints, stack_results, visit
from replication.engine import stack as stacked
from replication.engine.visit import Visit

ROOT = Path(__file__).resolve().parents[3]
PLAN = profiles.plan("smoke", data="shapes2d")  # each with one seed
COUNT = len(PLAN)
TOGETHER = sum(
    stacked.shape_of(s) == stacked.shape_of(PLAN[0][0]) for s, _ in PLAN
)  # in the first stack; "half the steps" has its own


@pytest.fixture(scope="module")
def images(data_dir):
    torch.set_num_threads(1)
    return data.load("shapes2d", data_dir)


def make(images, out, **changes):
    said = []
    options = {
        "profile": "smoke",
        "out": out,
        "data": images,
        "deadline": time.perf_counter() + 600,
        "size": 16,
        "log": said.append,
    }
    made = Visit(**options | changes)
    made.said = said
    return made


def scores(folder):
    found = results.collect(folder, PLAN)
    return [(r["settings"], r["seed"], r["losses"], r["metrics"], r["picture"]) for r in found]


@pytest.fixture(scope="module")
def undisturbed(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    made = make(images, out)
    made.go()
    assert (
        made.finished == COUNT
        and made.pending() == []
        and f"nothing is left of {COUNT} runs" in made.summary(9)
    )
    return out


# --- what it makes ---


def test_results_are_whole_and_known_by_their_engine(undisturbed, images):
    for settings, seed in visit.in_order("smoke"):
        result = results.read(
            results.path_of(undisturbed, settings, seed)
        )  # validated, its picture's checksum too
        assert result["engine"] == "stacked" and result["code"] == results.STACKED != results.LOADED
        assert result["stack"] == {
            "models": TOGETHER if settings.steps == 60 else COUNT - TOGETHER,
            "precision": "float32",
            "compiled": False,
            "graph": False,
        }
        assert result["metrics"]["images"] == 154
        if settings.reading:
            assert result["picture"] is None
        else:
            assert result["picture"]["file"].endswith("_seed0.png")
    assert not list((undisturbed / "checkpoints").glob("*.npz"))


def test_they_are_those_of_the_plain_command_up_to_rounding(undisturbed, data_dir, tmp_path):
    settings = PLAN[0][0]
    plain = run.run("smoke", settings, 0, data_dir, tmp_path, "cpu", log=lambda _: None)
    own = results.read(results.path_of(undisturbed, settings, 0))
    assert set(plain) == set(own) - {"engine", "stack"}
    for name in ("reconstruction_error", "kl"):
        assert own["metrics"][name] == pytest.approx(plain["metrics"][name], rel=0.02)
    curves = [[h["reconstruction"] for h in r["losses"]] for r in (own, plain)]
    assert curves[0] == pytest.approx(curves[1], rel=5e-3)


def test_the_decoder_and_some_latents_are_kept_in_half_precision(undisturbed):
    kept = sorted((undisturbed / "kept").glob("*.npz"))
    assert [path.stem for path in kept] == sorted(
        f"{settings.name}_seed0" for settings in profiles.table_1()
    )
    with np.load(kept[0], allow_pickle=False) as file:
        assert (
            file["mu"].shape == file["log_var"].shape == (154, 10)
            and file["mu"].dtype == np.float16
        )
        assert file["decoder.6.weight"].shape == (4096, 32) and not [
            n for n in file.files if n.startswith("encoder")
        ]


def test_stopped_and_gone_on_with_it_ends_the_same(undisturbed, images, tmp_path):
    first = make(images, tmp_path, stop_at=31)
    first.go()
    waiting = list((tmp_path / "checkpoints").glob("*.npz"))
    assert (
        first.finished == 0
        and len(waiting) == 1
        and f"{COUNT} of {COUNT} runs are left; about 1 more visit" in first.summary(9)
    )
    second = make(images, tmp_path)
    second.go()
    assert (
        f"{waiting[0].name}: {TOGETHER} models go on from step 31 of 60" in second.said
        and not waiting[0].exists()
    )
    assert second.finished == COUNT and scores(tmp_path) == scores(undisturbed)


def test_what_there_is_no_time_to_score_is_scored_at_the_next_visit(
    undisturbed, images, tmp_path, monkeypatch
):
    first, evaluated = make(images, tmp_path), []
    evaluate = stack_results.evaluate.evaluate

    def slowly(*arguments):
        evaluated.append(arguments[2])
        first.told = len(evaluated) == 3  # the time is over while the third is scored
        return evaluate(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(stack_results.evaluate, "evaluate", slowly)
        first.go()
    assert (
        first.finished == 3
        and len(list(tmp_path.glob("*.json"))) == 3
        and len(first.pending()) == COUNT - 3
    )
    second = make(
        images, tmp_path, told=True
    )  # no time at all: one score, so that every visit gets on
    second.go()
    assert second.finished == 1 and f"{TOGETHER} models go on from step 60 of 60" in second.said[0]
    third = make(images, tmp_path)
    third.go()
    assert (
        third.finished == COUNT - 4
        and scores(tmp_path) == scores(undisturbed)
        and not list((tmp_path / "checkpoints").glob("*.npz"))
    )


def test_the_signal_to_stop_saves_what_there_is(images, tmp_path, monkeypatch):
    made = make(images, tmp_path, told=True)
    made.go()
    assert made.finished == 0 and not list(tmp_path.rglob("*.npz"))  # nothing was trained yet

    advance = stacked.Stack._advance

    def told_at_step_7(stack):
        advance(stack)
        made.told = stack.step >= 7

    monkeypatch.setattr(stacked.Stack, "_advance", told_at_step_7)
    made.told = False
    made.go()
    (waiting,) = (tmp_path / "checkpoints").glob("*.npz")
    assert 7 <= checkpoints.restore(waiting, images).step < 60 and made.finished == 0


# --- what it picks ---


def test_table_1_comes_first_seed_by_seed():
    runs, rows = visit.in_order("paper"), profiles.table_1()
    assert runs[:60] == [(settings, seed) for seed in range(10) for settings in rows]
    assert {settings.name for settings, _ in runs[60:]}.isdisjoint({s.name for s in rows}) and {
        seed for _, seed in runs[60:84]
    } == {0}
    plan = profiles.plan("paper", data="shapes2d")
    assert sorted(map(repr, runs)) == sorted(repr((s, seed)) for s, seeds in plan for seed in seeds)


def test_other_readings_come_last_and_convolutions_not_at_all():
    runs = visit.in_order("paper")
    figure = sum(not s.reading for s, _ in runs)
    assert (
        figure == 132
        and not any(s.reading for s, _ in runs[:figure])
        and all(s.reading for s, _ in runs[figure:])
    )
    assert {s.data for s, _ in runs} == {"shapes2d"} and {s.network for s, _ in runs} == {"fc"}
    seeds = [seed for _, seed in runs[figure:]]
    assert seeds == sorted(seeds)


def test_what_is_there_already_is_not_made_again(undisturbed, images, data_dir, tmp_path):
    """One result of the plain loop, one of this engine here, one in another folder; and one that no longer counts."""
    settings = [s for s, _ in PLAN]
    run.run("smoke", settings[0], 0, data_dir, tmp_path, "cpu", log=lambda _: None)
    other = tmp_path / "other"
    other.mkdir()
    for s, folder in ((settings[1], tmp_path), (settings[2], other)):
        for end in (".json", ".png"):
            shutil.copy(results.path_of(undisturbed, s, 0).with_suffix(end), folder)
    older = results.path_of(tmp_path, settings[3], 0)
    content = results.read(results.path_of(undisturbed, settings[3], 0)) | {
        "code": "older",
        "picture": None,
    }
    older.write_text(json.dumps(content))
    there = {p: p.read_bytes() for p in tmp_path.rglob("*.json") if p != older}

    made = make(images, tmp_path, have=(other,))
    assert made.pending() == [(s, 0) for s in settings[3:]]
    made.go()
    assert (
        made.finished == COUNT - 3
        and made.pending() == []
        and all(p.read_bytes() == b for p, b in there.items())
    )
    assert (
        results.read(older)["code"] == results.STACKED
        and len(list((tmp_path / "old").glob("*.json"))) == 1
    )
    assert not results.path_of(tmp_path, settings[2], 0).exists()
    assert make(dataclasses.replace(images, sha256="other"), tmp_path).pending() == visit.in_order(
        "smoke"
    )


def test_a_new_stack_is_no_larger_than_what_ends_in_time(images, tmp_path, monkeypatch):
    started = []

    def start(runs, data, **options):
        started.append(len(runs))
        raise InterruptedError

    monkeypatch.setattr(visit, "Stack", start)
    made = make(images, tmp_path, deadline=time.perf_counter() + 110)  # 10 of them a margin
    made.score_seconds = 5.0
    here = made.key(PLAN[0][0])
    for pace, trained in (
        (None, False),
        (0.35, True),
        (10.0, False),
        (0.01, True),
    ):  # seconds; a model takes 60 steps
        made.paces, made.trained = {here: pace} if pace else {}, trained
        with pytest.raises(InterruptedError):
            made.go()
    assert started == [
        TOGETHER,
        3,
        TOGETHER,
        TOGETHER,
    ]  # 3 x (21 + 5) s; what ends in no visit is begun all the same
    made.paces, made.trained = {here: 10.0}, True
    made.go()
    assert len(started) == 4


def test_the_pace_is_remembered_by_device_shape_and_options(undisturbed, images):
    made = make(images, undisturbed)
    settings = PLAN[0][0]
    assert (
        0 < made.paces[made.key(settings)] < 1
        and made.training_seconds(settings) == 60 * made.paces[made.key(settings)]
    )
    assert make(images, undisturbed, options={"precision": "bf16"}).training_seconds(settings) == 0
    for field, value in (("batch_size", 32), ("width", 64)):
        assert made.training_seconds(dataclasses.replace(settings, **{field: value})) == 0


def test_until_a_pace_is_measured_a_guess_is_in_its_place_in_proportion_to_the_batch(
    images, tmp_path
):
    made, settings = make(images, tmp_path, guess=0.5), PLAN[0][0]
    assert (
        made.training_seconds(settings) == 30
        and made.training_seconds(dataclasses.replace(settings, batch_size=32)) == 15
    )
    made.paces = {made.key(settings): 0.1}
    assert made.training_seconds(settings) == pytest.approx(6)
    assert made.seconds_for(settings, 3) == pytest.approx(3 * (6 + made.score_seconds))
    assert (
        made.training_seconds(dataclasses.replace(settings, batch_size=32)) == 15
    )  # not measured yet


def test_on_a_gpu_the_guess_is_the_same_for_every_batch(images, tmp_path):
    made, settings = make(images, tmp_path, guess=0.5), PLAN[0][0]
    made.memory_bound = True
    assert made.training_seconds(dataclasses.replace(settings, batch_size=32)) == 30


def test_the_first_stack_of_a_size_is_given_the_time_to_compile(images, tmp_path):
    made, settings = make(images, tmp_path, options={"compiled": True}, guess=0.5), PLAN[0][0]
    each = 30 + made.score_seconds
    made.sizes.add((made.key(settings), 3))
    assert made.seconds_for(settings, 3) == pytest.approx(visit.START_SECONDS[False] + 3 * each)
    assert made.seconds_for(settings, 4) == pytest.approx(visit.START_SECONDS[True] + 4 * each)
    assert make(images, tmp_path, guess=0.5).seconds_for(settings, 4) == pytest.approx(4 * each)


# --- what goes wrong ---


def test_a_bad_checkpoint_is_refused_by_name_and_its_runs_start_again(
    undisturbed, images, tmp_path
):
    make_it = make(images, tmp_path, stop_at=10)
    make_it.go()
    (waiting,) = (tmp_path / "checkpoints").glob("*.npz")
    waiting.write_bytes(waiting.read_bytes()[:-100])
    made = make(images, tmp_path)
    made.go()
    (said,) = (line for line in made.said if line.startswith("REFUSED"))
    assert (
        f"{waiting.name} is no whole checkpoint" in said
        and waiting.with_suffix(".refused").exists()
    )
    assert made.finished == COUNT and scores(tmp_path) == scores(undisturbed)


def test_a_checkpoint_whose_runs_are_finished_elsewhere_is_dropped(undisturbed, images, tmp_path):
    make(images, tmp_path, stop_at=10).go()
    made = make(images, tmp_path, have=(undisturbed,))
    made.go()
    assert (
        made.finished == 0
        and not list((tmp_path / "checkpoints").glob("*.npz"))
        and "none of its runs is wanted" in made.said[0]
    )


def test_a_run_that_diverges_is_noted_and_the_others_are_written(images, tmp_path, monkeypatch):
    rows = PLAN
    wild = dataclasses.replace(rows[3][0], lambda_od=1e38, lambda_d=1e38)
    monkeypatch.setattr(profiles, "plan", lambda *_: [*rows[:3], (wild, (0,)), *rows[4:]])
    made = make(images, tmp_path)
    made.go()
    assert (
        made.finished == COUNT - 1
        and made.pending() == []
        and any(line.startswith("DIVERGED: DIP-VAE-I (lambda_od 1e+38)") for line in made.said)
    )
    elsewhere = make(images, tmp_path / "elsewhere", have=(tmp_path,))
    assert elsewhere.pending() == [] and "1 diverged and are not tried again" in elsewhere.summary(
        9
    )
    again = make(images, tmp_path)
    again.go()
    assert (
        again.finished == 0
        and "1 diverged and are not tried again (DIP-VAE-I (lambda_od 1e+38), seed 0: "
        in again.summary(9)
    )
    monkeypatch.setattr(results, "STACKED", "edited")
    assert (wild, 0) in make(images, tmp_path).pending()


def test_a_model_whose_last_step_spoilt_it_is_noted_and_the_others_are_written(
    images, tmp_path, monkeypatch
):
    train = stacked.Stack.train

    def spoil(stack, *arguments):
        ended = train(stack, *arguments)
        if len(stack.runs) > 1:
            stack.parameters[0][1, 0, 0] = float("nan")
        return ended

    monkeypatch.setattr(stacked.Stack, "train", spoil)
    made = make(images, tmp_path)
    made.go()
    (spoilt,) = (run for run in made.runs if visit.diverged(tmp_path, run, images.sha256))
    assert made.finished == COUNT - 1 and made.pending() == []
    assert "a weight is not finite after step 60" in visit.diverged(tmp_path, spoilt, images.sha256)


@pytest.fixture
def command(data_dir, tmp_path, capsys):
    def call(*words):
        status = visit.main(
            ["--data", str(data_dir), "--out", str(tmp_path), "--device", "cpu", *map(str, words)]
        )
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_where_scoring_fails_the_training_is_kept(undisturbed, images, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(stack_results.evaluate, "measure", fail)
        make(images, tmp_path).go()
    made = make(images, tmp_path)
    made.go()
    assert (
        f"{TOGETHER} models go on from step 60 of 60" in made.said[0]
        and made.finished == COUNT
        and scores(tmp_path) == scores(undisturbed)
    )


def test_an_edit_while_it_trains_is_refused(images, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "code_hash", lambda *_, **__: "edited")
    with pytest.raises(RuntimeError, match="the code was edited since this process started"):
        make(images, tmp_path).go()
    assert not list(tmp_path.glob("*.json"))


def test_the_rehearsal(command, tmp_path):
    status, out, err = command("--rehearse")
    assert (
        (status, err) == (0, "")
        and f"Rehearsal passed: {COUNT} results" in out
        and "go on from step 30 of 60" in out
    )
    assert len(list((tmp_path / "rehearsal").glob("*.json"))) == COUNT


def test_the_script_brings_the_results_home_in_one_file(data_dir, tmp_path):
    """All of them in the first visit, none in the second, which has them."""
    for number, minutes, have in ((1, "9", "none"), (2, "0.5", "home")):
        words = [
            "--profile",
            "smoke",
            "--device",
            "cpu",
            "--minutes",
            minutes,
            "--have",
            str(tmp_path / have),
        ]
        environment = os.environ | {
            "PYTHON": sys.executable,
            "DATA": str(data_dir),
            "RUNS": str(tmp_path / f"runs{number}"),
        }
        call = ["bash", str(ROOT / "scripts" / "visit.sh"), str(tmp_path / f"out{number}"), *words]
        done = subprocess.run(call, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with tarfile.open(tmp_path / f"out{number}" / "results.tgz") as archive:
            archive.extractall(tmp_path / "home", filter="data")
            names = archive.getnames()
        assert sum(name.endswith(".json") for name in names) == (COUNT if number == 1 else 0)
        assert not any("checkpoints" in name or "kept" in name for name in names)
    assert (
        len(results.collect(tmp_path / "home", PLAN)) == COUNT
        and f"nothing is left of {COUNT} runs" in done.stdout
    )


def test_a_budget_too_short_ends_cleanly(command, tmp_path):
    status, out, err = command(
        "--profile", "smoke", "--minutes", 0.01, "--have", tmp_path / "none", "--pace", 5000
    )
    assert (status, err) == (
        0,
        "",
    ) and f"0 runs finished in this visit; {COUNT} of {COUNT} runs are left; about " in out
    assert int(out.split("about ")[1].split(" more visits of 0.01 minutes")[0]) >= 5 * sum(
        s.steps for s, _ in PLAN
    )  # at 5 s a step, a second a visit


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--profile", "fast"),
            "unknown profile 'fast'; the profiles are smoke, quick, evening, paper",
        ),
        (
            ("--profile", "smoke", "--seeds", 0),
            "SEEDS must be a whole number from 1 to 100 (how many seeds a setting), not 0",
        ),
        (
            ("--profile", "smoke", "--minutes", 0),
            "minutes and stack must be above 0, not 0.0 and 16",
        ),
        (
            ("--profile", "smoke", "--minutes", "nan"),
            "minutes and stack must be above 0, not nan and 16",
        ),
        (("--profile", "smoke", "--stack", 0), "minutes and stack must be above 0, not 9.0 and 0"),
        (
            ("--profile", "smoke", "--precision", "fp8"),
            "no precision 'fp8' on cpu; known: float32, tf32, bf16 (tf32: on a GPU)",
        ),
        (
            ("--profile", "smoke", "--data", "nowhere"),
            "no packed shapes2d in nowhere; run `make data` first",
        ),
    ],
)
def test_bad_input_is_one_line(command, words, message):
    status, _, err = command(*words)
    assert (status, err) == (1, f"error: {message}\n")


def test_two_visits_do_not_share_a_folder(command, tmp_path):
    import fcntl

    with open(tmp_path / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        status, _, err = command("--profile", "smoke")
    assert status == 1 and "another `make replicate`, visit or sweep is at work in" in err
