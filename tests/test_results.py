"""Result files: whole or not there, recognised by what made them, never mixed."""

import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path

import pytest

import dipvae_src
from dipvae_src import experiments, results


@pytest.fixture
def result(tiny) -> dict:
    metrics = {name: kind() for name, kind in results.METRICS.items()} | {
        "sap": {"score": 0.5, "matrix": [], "images": 9}, "zdiff": {"accuracy": 50.0, "test": 9, "seed": 0},
    }  # fmt: skip
    return {
        "format": results.FORMAT, "profile": "smoke", "settings": dataclasses.asdict(tiny), "seed": 2, "code": results.code_hash(),
        "data": {"name": "2D Shapes", "source": "rendered", "sha256": "d"}, "versions": {}, "device": "cpu", "threads": 1,
        "minutes": 0.5, "losses": [], "metrics": metrics, "picture": None,
    }  # fmt: skip


def test_comes_back_as_it_went(tmp_path, result, tiny):
    path = results.path_of(tmp_path, tiny, 2)
    results.write(path, result)
    assert results.read(path) == result
    assert results.why_not(path, tiny, 2, "d") is None
    assert [p.name for p in tmp_path.iterdir()] == ["dip-vae-ii_5_m3-200_seed2.json"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"code": "0123"}, "other code"),
        ({"data": {"source": "official", "sha256": "e"}}, "other data"),
        ({"settings": "steps"}, "other settings"),
    ],
)
def test_does_not_count_when_something_else_made_it(tmp_path, result, tiny, change, reason):
    if "settings" in change:
        change = {"settings": result["settings"] | {"steps": 999}}
    path = results.path_of(tmp_path, tiny, 2)
    results.write(path, result | change)
    assert results.why_not(path, tiny, 2, "d") == reason


def test_absent_and_truncated_do_not_count(tmp_path, result, tiny):
    path = results.path_of(tmp_path, tiny, 2)
    assert results.why_not(path, tiny, 2, "d") == "not run yet"
    results.write(path, result)
    path.write_text(path.read_text()[:100])
    assert "truncated or not JSON" in results.why_not(path, tiny, 2, "d")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metrics": {}}, "metrics lack images, reconstruction_error"),
        ({"metrics": dict.fromkeys(results.METRICS)}, "metrics lack images, .*, sap's score"),
        ({"data": {}}, "does not say which data it used"),
        ({"minutes": "1"}, "`minutes` is missing or of the wrong type"),
        ({"format": 99}, "format 99, this code reads 1"),
        ({"seed": 3}, "holds the run dip-vae-ii_5_m3-200_seed3; it was renamed or altered"),
        ({"settings": {"objective": "gan"}}, "settings that this code does not know: unknown objective 'gan'"),
        ({"settings": {"objective": "beta-vae", "gamma": 1}}, "settings that this code does not know"),
    ],
)
def test_what_is_not_a_whole_result_is_refused_both_ways(tmp_path, result, tiny, change, words):
    path = results.path_of(tmp_path, tiny, 2)
    with pytest.raises(results.BadResult, match=words):
        results.write(path, result | change)
    assert not path.exists()
    path.write_text(json.dumps(result | change))
    with pytest.raises(results.BadResult, match=words):
        results.read(path)


def test_no_number_is_not_written(tmp_path, result, tiny):
    result["metrics"]["kl"] = float("nan")
    with pytest.raises(ValueError):
        results.write(results.path_of(tmp_path, tiny, 2), result)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_what_was_there(tmp_path, result, tiny, monkeypatch):
    path = results.path_of(tmp_path, tiny, 2)
    results.write(path, result)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="could not write .*: No space left on device; free some space"):
        results.write(path, result | {"minutes": 9.0})
    assert results.read(path) == result
    assert len(list(tmp_path.iterdir())) == 1


def test_pictures_are_checked(tmp_path, result, tiny):
    path = results.path_of(tmp_path, tiny, 2)
    results.write(path, result | {"picture": {"file": "sheet.png", "sha256": "0"}})
    with pytest.raises(results.BadResult, match="sheet.png is missing or not the picture"):
        results.read(path)
    with pytest.raises(results.BadResult, match="a row of Table 1, seed 0, comes with a picture"):
        results.write(results.path_of(tmp_path, tiny, 0), result | {"seed": 0})


def test_set_aside_loses_nothing(tmp_path, result, tiny):
    path = results.path_of(tmp_path, tiny, 2)
    for minutes in (1.0, 2.0):
        results.write(path, result | {"minutes": minutes})
        path.with_suffix(".png").write_bytes(b"picture")
        results.set_aside(path)
    kept = sorted((tmp_path / "old").glob("*.json"))
    assert sorted(json.loads(p.read_text())["minutes"] for p in kept) == [1.0, 2.0]
    assert len(list((tmp_path / "old").glob("*.png"))) == 2 and not path.exists()


def test_collect_takes_exactly_the_plan(tmp_path, result, tiny):
    for seed in range(1, 5):  # one more than asked for
        results.write(results.path_of(tmp_path, tiny, seed), result | {"seed": seed})
    assert [r["seed"] for r in results.collect(tmp_path, [(tiny, (1, 2, 3))])] == [1, 2, 3]
    with pytest.raises(FileNotFoundError, match="1 of 5 results are not in .*: dip-vae-ii_5_m3-200_seed5"):
        results.collect(tmp_path, [(tiny, (1, 2, 3, 4, 5))])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"code": "other"}, "2 versions of the code"),
        ({"data": {"source": "official", "sha256": "e"}}, "2 versions of the data"),
    ],
)
def test_collect_refuses_a_mixture(tmp_path, result, tiny, change, words):
    results.write(results.path_of(tmp_path, tiny, 1), result | {"seed": 1})
    results.write(results.path_of(tmp_path, tiny, 2), result | {"seed": 2} | change)
    with pytest.raises(results.BadResult, match=words):
        results.collect(tmp_path, [(tiny, (1, 2))])


def test_collect_takes_both_engines_of_the_present_code(tmp_path, result, tiny):
    results.write(results.path_of(tmp_path, tiny, 1), result | {"seed": 1})
    results.write(results.path_of(tmp_path, tiny, 2), result | {"seed": 2, "code": results.STACKED})
    assert [r["code"] for r in results.collect(tmp_path, [(tiny, (1, 2))])] == [results.LOADED, results.STACKED]


# --- the code's hash ---


@pytest.fixture
def package(tmp_path) -> Path:
    return Path(shutil.copytree(Path(dipvae_src.__file__).parent, tmp_path / "package"))


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("mu.shape[0]", "(mu.shape[0] - 1)", False),
        ("lambda_od * off_diagonal", "2 * lambda_od * off_diagonal", False),
        ("# (D, B) @ (B, D) -> (D, D)", "# another comment", True),
        ("Cov_p(x)[mu(x)], estimated on a batch", "Another docstring", True),
        ("\n\ndef total_covariance", "\n\n\n\ndef total_covariance", True),
    ],
)
def test_an_edit_of_the_loss_counts_and_an_edit_of_its_words_does_not(package, old, new, same):
    before, file = results.code_hash(package), package / "losses.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    assert (results.code_hash(package) == before) is same


def test_code_that_is_edited_while_it_runs_is_noticed(monkeypatch):
    results.check_unedited()
    monkeypatch.setattr(results, "code_hash", lambda: "edited")
    with pytest.raises(RuntimeError, match="the code was edited since this process started"):
        results.check_unedited()


def test_touching_a_file_changes_nothing(package):
    before = results.code_hash(package)
    os.utime(package / "losses.py", (1, 1))
    assert results.code_hash(package) == before == results.code_hash()


# --- settings and plans ---


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (dict(objective="vae"), ValueError, "unknown objective 'vae'; known: beta-vae"),
        (dict(network="mlp"), ValueError, "unknown network 'mlp'; known: fc, conv"),
        (dict(data="mnist"), ValueError, "unknown data 'mnist'; known: shapes2d"),
        (dict(lambda_od="5"), TypeError, "lambda_od must be a number, not '5'"),
        (dict(steps="100"), TypeError, "steps must be a whole number, not '100'"),
        (dict(steps=1.5), TypeError, "steps must be a whole number, not 1.5"),
        (dict(batch_size=True), TypeError, "batch_size must be a whole number, not True"),
        (dict(lambda_od=-1.0), ValueError, "lambda_od must be a finite number, 0 or more, not -1.0"),
        (dict(lambda_d=float("inf")), ValueError, "lambda_d must be a finite number"),
        (dict(learning_rate=float("nan")), ValueError, "learning_rate must be a finite number"),
        (dict(learning_rate=0.0), ValueError, "learning_rate must be above 0"),
        (dict(steps=0), ValueError, "steps must be at least 1"),
        (dict(batch_size=1), ValueError, "a covariance needs a batch_size of at least 2"),
        (dict(beta=4.0), ValueError, "dip-vae-ii has beta 1 by definition"),
        (dict(objective="dip-vae-i"), ValueError, "lambda_3 belongs to dip-vae-ii"),
        (dict(latents=1), ValueError, "latents must be at least 2"),
    ],
)
def test_bad_settings_are_refused_by_name(tiny, change, error, words):
    ((name, value),) = change.items()
    object.__setattr__(tiny, name, value)  # past the tests' own type checker, which users do not have
    with pytest.raises(error, match=words):
        experiments.check(tiny)


def test_the_paper_profile_is_the_papers_sweep():
    plan = dict(experiments.plan("paper"))
    assert {s.beta for s in plan if s.objective == "beta-vae"} == {1, 4, 8, 16, 25, 32, 60, 64, 100, 128, 200, 256}
    for objective, factor in (("dip-vae-i", 10), ("dip-vae-ii", 1)):
        chosen = [s for s in plan if s.objective == objective]
        assert {s.lambda_od for s in chosen} == {1, 2, 5, 10, 20, 50, 80, 100, 500}
        assert all(s.lambda_d == factor * s.lambda_od for s in chosen)
    assert [len(seeds) for seeds in plan.values()] == [10] * 6 + [3] * (len(plan) - 6)
    assert {(s.width, s.batch_size, s.learning_rate, s.latents, s.test_images) for s in plan} == {(1200, 400, 1e-4, 10, 73_728)}
    assert list(plan)[:6] == experiments.table_1() and experiments.profile("paper").left_out() == ""


def test_seeds_and_profiles_are_checked():
    assert {seeds for _, seeds in experiments.plan("quick", 2)} == {(0, 1)}
    for seeds in (0, -1, experiments.MAX_SEEDS + 1):
        with pytest.raises(ValueError, match="SEEDS must be a whole number from 1 to 100"):
            experiments.plan("quick", seeds)
    with pytest.raises(ValueError, match="unknown profile 'fast'; the profiles are smoke, quick, paper"):
        experiments.plan("fast")


def test_run_names_are_unique_in_every_profile():
    for name in experiments.PROFILES:
        names = [settings.name for settings, _ in experiments.plan(name)]
        assert len(set(names)) == len(names)
