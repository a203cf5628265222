"""One run by its command: what it leaves, what it refuses, and what it does not do twice."""

import json

import numpy as np
import pytest
import torch

from dipvae_src import models, results, run


@pytest.fixture
def command(data_dir, tmp_path, capsys):
    def call(*words):
        status = run.main(["--profile", "smoke", "--data", str(data_dir), "--out", str(tmp_path), *map(str, words)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


DIP_II = ("--objective", "dip-vae-ii", "--weight", 5, "--device", "cpu")


def test_leaves_result_picture_and_weights_and_is_not_made_again(command, tmp_path):
    status, out, err = command(*DIP_II, "--seeds", 0, 1)
    assert (status, err) == (0, "")
    paths = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    stem = "dip-vae-ii_5_m3-200_seed"
    assert paths == [f"{stem}0.json", f"{stem}0.png", f"{stem}1.json", f"weights/{stem}0.npz"]
    first = (tmp_path / f"{stem}0.json").read_bytes()
    result = results.read(tmp_path / f"{stem}0.json")
    assert result["device"].startswith("cpu: ") and result["threads"] == 1 and result["data"]["source"] == "rendered"

    weights = np.load(tmp_path / "weights" / f"{stem}0.npz", allow_pickle=False)
    model = models.fc_vae(10, 32)
    model.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights.files})

    status, out, _ = command(*DIP_II, "--seeds", 0)
    assert status == 0 and "already there" in out and (tmp_path / f"{stem}0.json").read_bytes() == first


def test_a_result_of_other_code_is_kept_aside_and_made_again(command, tmp_path):
    command(*DIP_II)
    path = tmp_path / "dip-vae-ii_5_m3-200_seed0.json"
    right = results.read(path)
    path.write_text(json.dumps(right | {"code": "older"}))
    status, out, _ = command(*DIP_II)
    assert status == 0 and "other code; the old file is kept as" in out
    assert len(list((tmp_path / "old").glob("*.json"))) == 1
    again = results.read(path)
    assert {k: v for k, v in again.items() if k != "minutes"} == {k: v for k, v in right.items() if k != "minutes"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--objective", "gan", "--weight", 1), "unknown objective 'gan'; the objectives are beta-vae, dip-vae-i, dip-vae-ii"),
        (("--objective", "beta-vae", "--weight", "-4"), "beta must be a finite number, 0 or more, not -4.0"),
        (("--objective", "beta-vae", "--weight", "inf"), "beta must be a finite number, 0 or more, not inf"),
        (("--objective", "dip-vae-i", "--weight", 1, "--lambda-3", 2), "lambda_3 belongs to dip-vae-ii, not to dip-vae-i"),
        ((*DIP_II, "--seeds", -1), "seed must be a whole number, 0 or more, not -1"),
        ((*DIP_II[:4], "--device", "tpu"), "unknown device 'tpu'; use cpu or cuda"),
        ((*DIP_II, "--profile", "fast"), "unknown profile 'fast'; the profiles are smoke, quick, paper"),
        ((*DIP_II, "--data", "nowhere"), "no packed shapes2d in nowhere; run `make data` first"),
    ],
)
def test_bad_input_is_one_line_before_any_work(command, tmp_path, words, message):
    status, out, err = command(*words)
    assert (status, out, err) == (1, "", f"error: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_no_numbers_are_refused():
    unchecked = getattr(run.experiment, "__wrapped__", run.experiment)  # past the tests' own type checker
    with pytest.raises(TypeError, match="weight must be a number .*, not '5'"):
        unchecked("smoke", "dip-vae-ii", "5")


def test_a_word_for_a_number_is_refused(command):
    with pytest.raises(SystemExit) as stopped:
        command("--objective", "dip-vae-ii", "--weight", "five")
    assert stopped.value.code == 2


def test_an_edit_of_the_loss_in_a_living_process_is_refused(command, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "code_hash", lambda: "edited")
    status, _, err = command(*DIP_II)
    assert status == 1 and err.startswith("error: the code was edited since this process started")
    assert list(tmp_path.iterdir()) == []


def test_cuda_asked_for_and_absent(command, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    status, _, err = command(*DIP_II[:4], "--device", "cuda")
    assert status == 1 and err.startswith("error: DEVICE=cuda was asked for, but PyTorch finds no CUDA device")
    assert list(tmp_path.iterdir()) == []


def test_divergence_is_one_line_and_leaves_nothing(command, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "experiment", lambda *_: run.experiments.beta_vae(1, width=16, steps=9, batch_size=32, learning_rate=1e30))
    status, _, err = command(*DIP_II)
    assert status == 1 and err.startswith("error: VAE, seed 0: the loss is ") and "at step 2" in err
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_full_disk_is_one_line_and_leaves_no_half_result(command, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results.os, "fsync", full)
    status, _, err = command(*DIP_II, "--seeds", 1)
    assert status == 1 and err.startswith("error: ") and "No space left on device; free some space" in err
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
