"""One run by its command: what it leaves, what it refuses, and what it does not do twice."""

import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from dipvae_src import data, models
from replication import profiles, results, run


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

    return call


DIP_II = ("--objective", "dip-vae-ii", "--weight", 5, "--device", "cpu")


def test_leaves_result_picture_and_decoder_and_is_not_made_again(command, data_dir, tmp_path):
    status, out, err = command(*DIP_II, "--seeds", 0, 1)
    assert (status, err) == (0, "")
    paths = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    stem = "dip-vae-ii_5_m3-200_seed"
    assert paths == [f"{stem}0.json", f"{stem}0.png", f"{stem}1.json", f"kept/{stem}0.npz"]
    first = (tmp_path / f"{stem}0.json").read_bytes()
    result = results.read(tmp_path / f"{stem}0.json")
    assert (
        result["device"].startswith("cpu: ")
        and result["threads"] == 1
        and result["data"]["source"] == "rendered"
    )

    # The decoder that was kept, from the latents that were kept, makes the images whose error the result tells.
    with np.load(tmp_path / "kept" / f"{stem}0.npz", allow_pickle=False) as file:
        kept = {name: torch.from_numpy(file[name]) for name in file.files}
    shapes = data.load("shapes2d", data_dir)
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
        and "DIP-VAE-I (lambda_od 2), seed 0, small faces (for CelebA): 30 steps" in out
        and "SAP 0." in out
    )
    result = results.read(tmp_path / "celeba_dip-vae-i_2_seed0.json")  # validated
    assert result["data"] == {
        "name": "small faces (for CelebA)",
        "source": "stand-in",
        "sha256": result["data"]["sha256"],
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
    result = results.read(tmp_path / "dip-vae-ii_5_m3-200_running-covariance_seed0.json")
    assert result["settings"]["memory"] == 0.9 and result["picture"] is None
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [
        "dip-vae-ii_5_m3-200_running-covariance_seed0.json"
    ]


def test_in_short_is_what_there_is_of_a_runs_scores():
    assert (
        run.in_short({"sap": {"score": 0.12345}, "reconstruction_error": 0.01234})
        == "SAP 0.123, reconstruction error 0.0123"
    )
    assert run.in_short({"sap": None, "reconstruction_error": 0.5}) == "reconstruction error 0.5000"


def test_pictures_come_out_as_they_went_in():
    for shape in ((6, 4), (6, 4, 3)):
        pixels = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
        assert np.array_equal(np.asarray(Image.open(BytesIO(run.png(pixels)))), pixels)


def test_a_result_of_other_code_is_kept_aside_and_made_again(command, tmp_path):
    command(*DIP_II)
    path = tmp_path / "dip-vae-ii_5_m3-200_seed0.json"
    right = results.read(path)
    path.write_text(json.dumps(right | {"code": "older"}))
    status, out, _ = command(*DIP_II)
    assert status == 0 and "other code; the old file is kept as" in out
    assert len(list((tmp_path / "old").glob("*.json"))) == 1
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
            "unknown reading 'no batch'; known: no third moments, joint third moments, running covariance, batch 64, half the steps",
        ),
        (
            (*DIP_II, "--reading", "batch 64"),
            "the reading 'batch 64' changes nothing of DIP-VAE-II (lambda_od 5)",  # the smoke profile's batch
        ),
        (
            ("--objective", "beta-vae", "--weight", 4, "--reading", "running covariance"),
            "memory belongs to the DIP objectives and is below 1, not 0.9 for beta-vae",
        ),
        ((*FACES, "--data", "nowhere"), "no packed celeba in nowhere; run `make data` first"),
        ((*DIP_II, "--seeds", -1), "seed must be a whole number, 0 or more, not -1"),
        ((*DIP_II[:4], "--device", "tpu"), "unknown device 'tpu'; use cpu or cuda"),
        (
            (*DIP_II, "--profile", "fast"),
            "unknown profile 'fast'; the profiles are smoke, quick, evening, paper",
        ),
        ((*DIP_II, "--data", "nowhere"), "no packed shapes2d in nowhere; run `make data` first"),
    ],
)
def test_bad_input_is_one_line_before_any_work(command, tmp_path, words, message):
    status, out, err = command(*words)
    assert (status, out, err) == (1, "", f"error: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_no_numbers_are_refused():
    unchecked = getattr(
        profiles.experiment, "__wrapped__", profiles.experiment
    )  # past the tests' own type checker
    with pytest.raises(TypeError, match="weight must be a number .*, not '5'"):
        unchecked("smoke", "dip-vae-ii", "5")


def test_a_word_for_a_number_is_refused(command):
    with pytest.raises(SystemExit) as stopped:
        command("--objective", "dip-vae-ii", "--weight", "five")
    assert stopped.value.code == 2


def test_an_edit_of_the_loss_in_a_living_process_is_refused(command, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "code_hash", lambda *_, **__: "edited")
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


def test_divergence_is_one_line_and_leaves_nothing(command, tmp_path, monkeypatch):
    wild = profiles.beta_vae(1, width=16, steps=9, batch_size=32, learning_rate=1e30)
    monkeypatch.setattr(profiles, "experiment", lambda *_: wild)
    status, _, err = command(*DIP_II)
    assert status == 1 and err.startswith("error: VAE, seed 0: the loss is ") and "at step 2" in err
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


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
