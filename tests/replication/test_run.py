"""Runs by their command: what they leave, what is refused, what is not done twice, what fits."""

import os
import platform
import re
import tarfile
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from dipvae_src import models
from replication import datasets, machine, profiles, provenance, record, results, run
from replication.engine import runner

STEPS = 12


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """The smoke profile trained and scored for a moment."""
    for part in profiles.PROFILES["smoke"].parts.values():
        for name, value in dict(steps=STEPS, zdiff_train=50, zdiff_test=20).items():
            monkeypatch.setitem(part.common, name, value)


def smoke():
    return profiles.plan("smoke", data="shapes2d")


COUNT = len(smoke())  # each with one seed


@pytest.fixture
def command(data_dir, tmp_path, capsys):
    def call(*words):
        status = run.main(
            [
                "--profile",
                "smoke",
                "--data",
                str(data_dir),
                "--out",
                str(tmp_path),
                *map(str, words),
            ]
        )
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    call.data = data_dir
    return call


DIP_II = ("--objective", "dip-vae-ii", "--weight", 5, "--device", "cpu")


def test_leaves_result_picture_and_decoder_and_is_not_made_again(command, data_dir, tmp_path):
    status, out, err = command(*DIP_II, "--seeds", 0, 1)
    assert (status, err) == (0, "")
    paths = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    stem = "dip-vae-ii_5_seed"
    runs_files = [f"{stem}{n}.{end}" for n in (0, 1) for end in ("codes.npz", "json")]
    shown = [f"{stem}0.png", f"kept/{stem}0.npz", "factors.npz"]
    assert paths == sorted([*runs_files, *shown])
    first = (tmp_path / f"{stem}0.json").read_bytes()
    result = results.read(tmp_path / f"{stem}0.json")
    assert (
        result["device"].startswith("cpu: ")
        and result["threads"] == 1
        and result["data"]["source"] == "rendered"
    )

    # The decoder kept makes, of the latents kept, images whose error is the result's.
    with np.load(tmp_path / "kept" / f"{stem}0.npz", allow_pickle=False) as file:
        kept = {name: torch.from_numpy(file[name]) for name in file.files}
    shapes = datasets.load("shapes2d", data_dir)
    test = shapes.split()[1]
    assert len(kept["mu"]) == len(kept["log_var"]) == len(test) == 154 and {
        array.dtype for array in kept.values()
    } == {torch.float16}
    model = models.fc_vae(10, 32)
    decoder = {
        name.removeprefix("decoder."): p for name, p in kept.items() if name.startswith("decoder.")
    }
    model.decoder.load_state_dict(decoder)
    with torch.no_grad():
        error = (
            ((model.decode(kept["mu"].float()).sigmoid() - shapes.images(test)) ** 2).mean().item()
        )
    assert error == pytest.approx(result["metrics"]["reconstruction_error"], rel=1e-2)
    assert set(kept) == {
        "mu",
        "log_var",
        *(f"decoder.{name}" for name in model.decoder.state_dict()),
    }

    status, out, _ = command(*DIP_II, "--seeds", 0)
    assert (
        status == 0
        and "already there" in out
        and (tmp_path / f"{stem}0.json").read_bytes() == first
    )


FACES = ("--objective", "dip-vae-i", "--weight", 2, "--data-set", "celeba", "--device", "cpu")
CHAIRS = ("--objective", "beta-vae", "--weight", 4, "--data-set", "chairs", "--device", "cpu")


def test_runs_on_other_data_say_which_and_are_scored_by_what_they_have(command, tmp_path):
    status, out, err = command(*FACES)
    assert (
        (status, err) == (0, "")
        and f"DIP-VAE-I (lambda_od 2), seed 0, small faces (for CelebA): {STEPS} steps" in out
        and "SAP 0." in out
    )
    result = results.read(tmp_path / "celeba_dip-vae-i_2_seed0.json")  # validated
    assert result["data"] == {
        "name": "small faces (for CelebA)",
        "source": "stand-in",
        "identity": result["data"]["identity"],
    }
    assert (
        result["settings"]["lambda_d"] == 100
        and len(result["metrics"]["attributes"]["names"]) == 14
    )

    status, out, err = command(*CHAIRS)
    assert (
        (status, err) == (0, "")
        and "beta-VAE (beta 4), seed 0, small chairs" in out
        and "SAP" not in out
    )
    result = results.read(tmp_path / "chairs_beta-vae_4_seed0.json")
    assert result["metrics"]["sap"] is None and result["settings"]["network"] == "conv-2x2"
    for name in ("celeba_dip-vae-i_2", "chairs_beta-vae_4"):
        with np.load(tmp_path / "kept" / f"{name}_seed0.npz", allow_pickle=False) as file:
            assert file["decoder.11.weight"].shape == (4, 3, 4, 4) and file["mu"].shape[1] == 10


def test_another_reading_is_a_run_of_its_own_without_a_picture(command, tmp_path):
    status, out, _ = command(*DIP_II, "--reading", "running covariance")
    assert status == 0 and "DIP-VAE-II (lambda_od 5), running covariance, seed 0" in out
    result = results.read(tmp_path / "dip-vae-ii_5_running-covariance_seed0.json")
    assert result["settings"]["memory"] == 0.9 and result["picture"] is None
    stem = "dip-vae-ii_5_running-covariance_seed0"
    names = {p.name for p in tmp_path.rglob("*") if p.is_file()}
    assert names == {f"{stem}.json", f"{stem}.codes.npz", "factors.npz"}


def test_in_short_is_what_there_is_of_a_runs_scores():
    assert (
        record.in_short({"sap": {"score": 0.12345}, "reconstruction_error": 0.01234})
        == "SAP 0.123, reconstruction error 0.0123"
    )
    assert (
        record.in_short({"sap": None, "reconstruction_error": 0.5}) == "reconstruction error 0.5000"
    )


def test_pictures_come_out_as_they_went_in():
    for shape in ((6, 4), (6, 4, 3)):
        pixels = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
        assert np.array_equal(np.asarray(Image.open(BytesIO(record.png(pixels)))), pixels)


def test_a_result_of_other_code_is_kept_aside_and_made_again(command, tmp_path):
    command(*DIP_II)
    path = tmp_path / "dip-vae-ii_5_seed0.json"
    right = results.read(path)
    results.write_json(path, right | {"code": dict.fromkeys(right["code"], "0" * 16)})
    status, out, _ = command(*DIP_II)
    assert status == 0 and "already there" not in out
    (old,) = (tmp_path / "old").glob("*.json")
    assert old.name.endswith(path.name)
    again = results.read(path)
    assert {k: v for k, v in again.items() if k != "minutes"} == {
        k: v for k, v in right.items() if k != "minutes"
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--objective", "gan", "--weight", 1),
            "unknown objective 'gan'; known: beta-vae, dip-vae-i, dip-vae-ii",
        ),
        (
            ("--objective", "beta-vae", "--weight", "-4"),
            "beta must be a finite number, 0 or more, not -4.0",
        ),
        (
            ("--objective", "beta-vae", "--weight", "inf"),
            "beta must be a finite number, 0 or more, not inf",
        ),
        ((*DIP_II, "--data-set", "mnist"), "unknown data 'mnist'; known: shapes2d, celeba, chairs"),
        (
            (*DIP_II, "--reading", "no batch"),
            f"unknown reading 'no batch'; known: {', '.join(profiles.READINGS)}",
        ),
        (
            (*DIP_II, "--reading", "batch 64"),
            r"the reading 'batch 64' changes nothing of DIP-VAE-II \(lambda_od 5\)",  # as smoke's
        ),
        (
            ("--objective", "beta-vae", "--weight", 4, "--reading", "running covariance"),
            "memory belongs to the DIP objectives and is below 1, not 0.9 for beta-vae",
        ),
        ((*FACES, "--data", "nowhere"), "no packed celeba in .*nowhere; run `make data` first"),
        ((*DIP_II, "--seeds", -1), "seed must be a whole number, 0 or more, not -1"),
        ((*DIP_II[:4], "--device", "tpu"), "unknown device 'tpu'; use cpu or cuda"),
        (
            (*DIP_II, "--profile", "fast"),
            f"unknown profile 'fast'; the profiles are {', '.join(profiles.PROFILES)}",
        ),
        ((*DIP_II, "--data", "nowhere"), "no packed shapes2d in .*nowhere; run `make data` first"),
        (("--minutes", 0), "minutes and stack must be above 0, not 0 and 16"),
        (("--minutes", "nan"), "minutes and stack must be above 0, not nan and 16"),
        (("--minutes", 9, "--stack", 0), "minutes and stack must be above 0, not 9 and 0"),
        (
            ("--runs", "[[1, 2]]"),
            r"runs must be rows \[objective, weight, reading, \[seeds\]\], not \[1, 2\]",
        ),
    ],
)
def test_bad_input_is_one_line_before_any_work(command, tmp_path, words, message):
    status, out, err = command(*words)
    assert (status, out) == (1, "") and re.fullmatch(f"error: {message}\n", err)
    assert list(tmp_path.iterdir()) == []


def test_a_word_for_a_number_is_refused(command):
    with pytest.raises(SystemExit) as stopped:
        command("--objective", "dip-vae-ii", "--weight", "five")
    assert stopped.value.code == 2


def test_an_edit_of_the_loss_in_a_living_process_is_refused(command, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "code_hash", lambda *_, **__: "edited")
    status, _, err = command(*DIP_II)
    assert status == 1 and err.startswith("error: the code was edited since this process started")
    assert list(tmp_path.iterdir()) == []


def test_cuda_asked_for_and_absent(command, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    status, _, err = command(*DIP_II[:4], "--device", "cuda")
    assert status == 1 and err.startswith(
        "error: DEVICE=cuda was asked for, but PyTorch finds no CUDA device"
    )
    assert list(tmp_path.iterdir()) == []


def test_divergence_is_one_line_noted_and_not_tried_again(command, tmp_path, monkeypatch):
    wild = profiles.setting("beta-vae", 1, width=16, steps=9, batch_size=32, learning_rate=1e30)
    monkeypatch.setattr(profiles, "experiment", lambda *_: wild)
    for times in (1, 0):
        status, out, err = command(*DIP_II)
        assert status == 1 and err.startswith("error: VAE, seed 0: the loss is ")
        assert "at step 2" in err and out.count("DIVERGED") == times
        assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [
            f"{wild.name}_seed0.diverged"
        ]


def test_a_full_disk_is_one_line_and_leaves_no_half_result(command, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.os, "fsync", full)
    status, _, err = command(*DIP_II, "--seeds", 1)
    assert (
        status == 1
        and err.startswith("error: ")
        and "No space left on device; free some space" in err
    )
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


# --- as much of a profile as the time allows ---

IN_TIME = ("--device", "cpu", "--engine", "stack")


def test_a_profile_in_time_packed_and_not_made_twice(command, tmp_path):
    """Three runs in the first call, whose stack is that small; the rest later, then nothing."""
    home = tmp_path / "home.tgz"
    words = (*IN_TIME, "--have", tmp_path / "none", "--pack", home)
    status, out, err = command(*words, "--minutes", 10)
    assert (status, err) == (0, "") and f"{COUNT} runs made, 0 of {COUNT} left\n" in out
    assert len(results.collect(tmp_path, smoke())) == COUNT
    with tarfile.open(home) as archive:
        names = archive.getnames()
    assert {name for name in names if name.endswith(".json")} == {
        p.name for p in tmp_path.glob("*.json")
    }
    assert not any(name.startswith(("kept", "checkpoints", ".lock")) for name in names)

    elsewhere = tmp_path / "elsewhere"
    status, out, _ = command(*IN_TIME, "--out", elsewhere, "--have", tmp_path, "--minutes", 10)
    assert status == 0 and f"0 runs made, 0 of {COUNT} left" in out
    assert not list(elsewhere.glob("*.json"))


def test_a_stack_is_no_larger_than_what_ends_in_time(command, tmp_path, monkeypatch):
    """At 2.5 s a step a run of 12 steps takes 30 s and 2 s to score."""
    asked = []

    def train_unit(profile, runs, *rest, clock, **options):
        asked.append(len(runs))
        clock.ends -= 32 * len(runs)
        for run_ in runs:
            record.note_diverged(results.path_of(tmp_path, *run_), "gone", unit_data)
        return runner.Unit(profile, runs, unit_data, tmp_path, seconds=2.5)

    unit_data = datasets.load("shapes2d", command.data)
    monkeypatch.setattr(runner, "train_unit", train_unit)
    monkeypatch.setattr(runner, "way_for", lambda *_: runner.trial.Outcome("stack", 2.5))
    status, out, _ = command(*IN_TIME, "--have", tmp_path / "none", "--minutes", 3)
    assert status == 0 and asked == [5] and f"0 runs made, {COUNT - 5} of {COUNT} left" in out


def test_the_time_ends_a_call_and_the_next_goes_on(command, tmp_path, monkeypatch):
    clock, advance = runner.Clock(), runner.Stack._advance

    def end_at_step_5(stack):
        advance(stack)
        if stack.step == 5:
            clock.ends = 0.0

    words = (*IN_TIME, "--have", tmp_path / "none", "--minutes", 10)
    with monkeypatch.context() as patched:
        patched.setattr(runner, "Clock", lambda seconds: clock)
        patched.setattr(runner.Stack, "_advance", end_at_step_5)
        status, out, err = command(*words)
    assert (status, err) == (0, "") and f"0 runs made, {COUNT} of {COUNT} left" in out
    assert len(list(tmp_path.glob("checkpoints/*.pt"))) == 1
    status, out, _ = command(*words)
    assert status == 0 and " runs go on from step " in out and f"0 of {COUNT} left" in out
    assert not list(tmp_path.glob("checkpoints/*.pt"))


def test_by_the_plain_loop_nothing_is_begun_that_does_not_end_in_time(
    command, tmp_path, monkeypatch
):
    """The first run is stopped in its middle; in the second call it is made, and no other begun."""
    clock, steps = runner.Clock(), []
    train = runner.train

    def stopping(settings, seed, data, progress):
        def tell(step, of):
            steps.append(step)
            clock.ends = 0.0 if len(steps) == 7 else clock.ends
            progress(step, of)

        found = train(settings, seed, data, tell)
        clock.ends = runner.time.perf_counter() + 1e-3
        return found

    monkeypatch.setattr(runner, "Clock", lambda seconds: clock)
    monkeypatch.setattr(runner, "train", stopping)
    words = ("--device", "cpu", "--have", tmp_path / "none", "--minutes", 1)
    status, out, err = command(*words)
    assert (status, err) == (0, "") and f"0 runs made, {COUNT} of {COUNT} left" in out
    assert "VAE, seed 0: stopped; it starts again next time" in out and len(steps) == 7
    clock.ends = float("inf")
    status, out, err = command(*words)
    assert "would not end in time, not begun" in out
    assert f"1 runs made, {COUNT - 1} of {COUNT} left" in out


def test_two_calls_do_not_share_a_folder(command, tmp_path):
    with results.locked(tmp_path):
        status, _, err = command(*IN_TIME, "--minutes", 10)
    assert status == 1 and "is at work in" in err


@pytest.mark.parametrize("words", [(), ("--objective", "beta-vae", "--minutes", 3)])
def test_half_a_question_is_refused(command, words):
    with pytest.raises(SystemExit) as stopped:
        command(*words)
    assert stopped.value.code == 2


# --- the machine ---


def test_usable_cores_are_those_of_the_affinity_or_fewer(monkeypatch):
    """Which quotas of a container count is joblib's to test."""
    some = set(range(os.cpu_count() + 1))
    for cores in (some, {0}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, its=cores: its, raising=False)
        assert 1 <= machine.usable_cores() <= min(len(cores), os.cpu_count())


def test_the_processor_is_called_by_its_name(tmp_path):
    (info := tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: AMD EPYC 7B12\nx : y\n")
    assert machine.processor(info) == "AMD EPYC 7B12"
    assert machine.processor(tmp_path / "none") in (platform.processor(), platform.machine())


def test_products_on_a_gpu_are_repeatable_before_it_starts(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    machine.device_of("cpu")
    assert machine.os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
