"""Result files: whole or not there, recognised by what made them, never mixed."""

import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path

import pytest

import dipvae_src
from dipvae_src.settings import check_settings
from replication import profiles, results

SAP, ZDIFF = {"score": 0.5, "matrix": [], "images": 9}, {"accuracy": 50.0, "test": 9, "seed": 0}


@pytest.fixture
def result(tiny) -> dict:
    metrics = {name: kind() for name, kind in results.METRICS.items()} | {
        "sap": SAP,
        "zdiff": ZDIFF,
    }
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
        (
            {"metrics": dict.fromkeys(results.METRICS)},
            "metrics lack images, .*, sap's score, .*, zdiff's seed$",
        ),
        ({"format": 1}, "format 1, this code reads 2; run it again"),
        ({"data": {}}, "does not say which data it used"),
        ({"minutes": "1"}, "`minutes` is missing or of the wrong type"),
        ({"format": 99}, f"format 99, this code reads {results.FORMAT}"),
        ({"seed": 3}, "holds the run dip-vae-ii_5_m3-200_seed3; it was renamed or altered"),
        (
            {"settings": {"objective": "gan"}},
            "settings that this code does not know: unknown objective 'gan'",
        ),
        (
            {"settings": {"objective": "beta-vae", "gamma": 1}},
            "settings that this code does not know",
        ),
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


def test_what_a_result_must_hold_depends_on_its_data(tmp_path, result, tiny_colour):
    """Faces have attributes beside the two scores; chairs have neither scores nor attributes."""
    small = dataclasses.asdict(tiny_colour)
    path = results.path_of(tmp_path, tiny_colour, 2)
    assert path.name == "celeba_dip-vae-i_2_seed2.json"
    with pytest.raises(
        results.BadResult,
        match="its metrics lack attributes's accuracy, attributes's single_accuracy$",
    ):
        results.write(path, result | {"settings": small})
    attributes = {"accuracy": [], "single_accuracy": []}
    results.write(
        path,
        result | {"settings": small, "metrics": result["metrics"] | {"attributes": attributes}},
    )
    without = result["metrics"] | {"attributes": attributes, "sap": None}
    with pytest.raises(
        results.BadResult, match="its metrics lack sap's score, sap's matrix, sap's images$"
    ):
        results.write(path, result | {"settings": small, "metrics": without})

    chairs = profiles.dip_vae_i(2, "chairs")
    path = results.path_of(tmp_path, chairs, 2)
    results.write(
        path,
        result
        | {
            "settings": dataclasses.asdict(chairs),
            "metrics": result["metrics"] | {"sap": None, "zdiff": None},
        },
    )
    assert results.read(path)["metrics"]["sap"] is None
    del (unnamed := dict(result["metrics"]))["other_errors"]
    with pytest.raises(results.BadResult, match="its metrics lack other_errors$"):
        results.write(path, result | {"settings": dataclasses.asdict(chairs), "metrics": unnamed})


def test_another_reading_needs_no_picture(tmp_path, result, tiny):
    other = profiles.read_otherwise(tiny, "joint third moments")
    results.write(
        results.path_of(tmp_path, other, 0),
        result | {"seed": 0, "settings": dataclasses.asdict(other)},
    )
    assert [p.name for p in tmp_path.iterdir()] == [
        "dip-vae-ii_5_m3-200_joint-third-moments_seed0.json"
    ]


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
    with pytest.raises(
        OSError, match="could not write .*: No space left on device; free some space"
    ):
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
    with pytest.raises(
        FileNotFoundError, match="1 of 5 results are not in .*: dip-vae-ii_5_m3-200_seed5"
    ):
        results.collect(tmp_path, [(tiny, (1, 2, 3, 4, 5))])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"code": "other"}, "2 versions of the code"),
        ({"data": {"source": "official", "sha256": "e"}}, "2 versions of the shapes2d"),
    ],
)
def test_collect_refuses_a_mixture(tmp_path, result, tiny, change, words):
    results.write(results.path_of(tmp_path, tiny, 1), result | {"seed": 1})
    results.write(results.path_of(tmp_path, tiny, 2), result | {"seed": 2} | change)
    with pytest.raises(results.BadResult, match=words):
        results.collect(tmp_path, [(tiny, (1, 2))])


def test_collect_takes_results_on_several_data_sets(tmp_path, result, tiny, tiny_colour):
    """Each of one version of its own data; two versions of one of them are refused."""
    attributes = {"accuracy": [], "single_accuracy": []}
    colour = result | {
        "settings": dataclasses.asdict(tiny_colour), "metrics": result["metrics"] | {"attributes": attributes},
        "data": {"source": "stand-in", "sha256": "faces"},
    }  # fmt: skip
    for seed in (1, 2):
        results.write(results.path_of(tmp_path, tiny, seed), result | {"seed": seed})
        results.write(results.path_of(tmp_path, tiny_colour, seed), colour | {"seed": seed})
    plan = [(tiny, (1, 2)), (tiny_colour, (1, 2))]
    assert [r["data"]["sha256"] for r in results.collect(tmp_path, plan)] == [
        "d",
        "d",
        "faces",
        "faces",
    ]
    other = colour | {"seed": 2, "data": {"source": "official", "sha256": "celeba"}}
    results.write(results.path_of(tmp_path, tiny_colour, 2), other)
    with pytest.raises(results.BadResult, match="2 versions of the celeba; run `make replicate`"):
        results.collect(tmp_path, plan)


def test_collect_takes_both_engines_of_the_present_code(tmp_path, result, tiny):
    results.write(results.path_of(tmp_path, tiny, 1), result | {"seed": 1})
    results.write(results.path_of(tmp_path, tiny, 2), result | {"seed": 2, "code": results.STACKED})
    assert [r["code"] for r in results.collect(tmp_path, [(tiny, (1, 2))])] == [
        results.LOADED,
        results.STACKED,
    ]


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
    monkeypatch.setattr(results, "code_hash", lambda *_, **__: "edited")
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
        (dict(network="mlp"), ValueError, "unknown network 'mlp'; known: fc, conv, conv-2x2"),
        (dict(data="mnist"), ValueError, "unknown data 'mnist'; known: shapes2d, celeba, chairs"),
        (dict(lambda_od="5"), TypeError, "lambda_od must be a number, not '5'"),
        (dict(steps="100"), TypeError, "steps must be a whole number, not '100'"),
        (dict(steps=1.5), TypeError, "steps must be a whole number, not 1.5"),
        (dict(batch_size=True), TypeError, "batch_size must be a whole number, not True"),
        (
            dict(lambda_od=-1.0),
            ValueError,
            "lambda_od must be a finite number, 0 or more, not -1.0",
        ),
        (dict(lambda_d=float("inf")), ValueError, "lambda_d must be a finite number"),
        (dict(learning_rate=float("nan")), ValueError, "learning_rate must be a finite number"),
        (dict(learning_rate=0.0), ValueError, "learning_rate must be above 0"),
        (dict(steps=0), ValueError, "steps must be at least 1"),
        (dict(batch_size=1), ValueError, "a covariance needs a batch_size of at least 2"),
        (dict(beta=4.0), ValueError, "dip-vae-ii has beta 1 by definition"),
        (dict(objective="dip-vae-i"), ValueError, "lambda_3 belongs to dip-vae-ii"),
        (dict(latents=1), ValueError, "latents must be at least 2"),
        (dict(filters=0), ValueError, "filters must be at least 1, not 0"),
        (
            dict(memory=1.0),
            ValueError,
            "memory belongs to the DIP objectives and is below 1, not 1.0 for dip-vae-ii",
        ),
        (dict(memory=-0.5), ValueError, "memory must be a finite number, 0 or more, not -0.5"),
        (
            dict(third_moments="all"),
            ValueError,
            "unknown third_moments 'all'; known: marginal, joint",
        ),
        (
            dict(reading="backwards"),
            ValueError,
            "unknown reading 'backwards'; known: , no third moments, joint",
        ),
    ],
)
def test_bad_settings_are_refused_by_name(tiny, change, error, words):
    ((name, value),) = change.items()
    object.__setattr__(
        tiny, name, value
    )  # past the tests' own type checker, which users do not have
    with pytest.raises(error, match=words):
        check_settings(tiny)


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(
        ValueError,
        match="memory belongs to the DIP objectives and is below 1, not 0.9 for beta-vae",
    ):
        check_settings(profiles.beta_vae(4, memory=0.9))
    with pytest.raises(
        ValueError, match="third_moments are penalised only where lambda_3 is above 0"
    ):
        check_settings(profiles.dip_vae_ii(5, lambda_3=0, third_moments="joint"))


@pytest.mark.parametrize(
    ("data", "factor_i", "factor_ii", "lambda_3"),
    [("shapes2d", 10, 1, 200), ("celeba", 50, 0.5, 0), ("chairs", 10, 1, 0)],
)
def test_lambda_d_and_lambda_3_follow_the_data_sets_rule(data, factor_i, factor_ii, lambda_3):
    for weight in (1, 2, 80, 0.5):
        first, second = profiles.dip_vae_i(weight, data), profiles.dip_vae_ii(weight, data)
        assert (first.lambda_od, first.lambda_d, first.lambda_3) == (weight, factor_i * weight, 0)
        assert (second.lambda_od, second.lambda_d, second.lambda_3) == (
            weight,
            factor_ii * weight,
            lambda_3,
        )
        assert first.data == second.data == data and first.beta == second.beta == 1
    assert profiles.dip_vae_ii(5, data, lambda_3=7).lambda_3 == 7


def test_each_data_set_has_its_network_and_batch():
    shapes, faces, chairs = (
        profiles.beta_vae(1, data) for data in ("shapes2d", "celeba", "chairs")
    )
    assert (
        shapes.network,
        shapes.width,
        shapes.latents,
        shapes.batch_size,
        shapes.test_images,
    ) == ("fc", 1200, 10, 400, 73_728)
    assert (faces.network, faces.width, faces.latents, faces.batch_size, faces.filters) == (
        "conv",
        256,
        32,
        100,
        32,
    )
    assert (
        chairs.network == "conv-2x2" and faces.test_images == 19_962 and chairs.test_images == 8_618
    )


def test_the_paper_profile_is_the_papers_sweep():
    full = [(s, seeds) for s, seeds in profiles.plan("paper", data="shapes2d") if not s.reading]
    plan = dict(full)
    assert {s.beta for s in plan if s.objective == "beta-vae"} == {
        1,
        4,
        8,
        16,
        25,
        32,
        60,
        64,
        100,
        128,
        200,
        256,
    }
    for objective, factor in (("dip-vae-i", 10), ("dip-vae-ii", 1)):
        chosen = [s for s in plan if s.objective == objective]
        assert {s.lambda_od for s in chosen} == {1, 2, 5, 10, 20, 50, 80, 100, 500}
        assert all(s.lambda_d == factor * s.lambda_od for s in chosen)
    assert (
        len(plan) == len(full) == 30
        and [len(seeds) for seeds in plan.values()] == [10] * 6 + [3] * 24
    )
    assert {(s.width, s.batch_size, s.learning_rate, s.latents, s.test_images) for s in plan} == {
        (1200, 400, 1e-4, 10, 73_728)
    }
    assert list(plan)[:6] == profiles.table_1() and profiles.profile("paper").left_out() == ""


def test_the_paper_profile_has_the_rows_of_both_tables_and_all_chairs():
    plan = [s for s, _ in profiles.plan("paper", data="celeba")]
    assert plan[:6] == profiles.table_1("celeba") and {s.beta for s in plan} >= {1, 2, 4, 8, 32}
    assert [(s.objective, s.weight) for s in plan[:6]] == [
        ("beta-vae", 1), ("beta-vae", 4), ("beta-vae", 32), ("dip-vae-i", 2), ("dip-vae-ii", 1), ("dip-vae-ii", 80)]  # fmt: skip
    assert all(profiles.profile("paper").left_out(data) == "" for data in profiles.DATA_SETS)
    assert [s for s, _ in profiles.plan("paper", data="chairs")] == profiles.table_1("chairs")


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_a_plan_is_its_data_sets_one_after_the_other(name):
    parts = [profiles.plan(name, data=data) for data in profiles.DATA_SETS]
    assert profiles.plan(name) == [experiment for part in parts for experiment in part] and all(
        parts
    )
    for data, part in zip(profiles.DATA_SETS, parts):
        assert {s.data for s, _ in part} == {data}
        rows = profiles.table_1(data, **profiles.PROFILES[name].parts[data].common)
        assert [s for s, _ in part][: len(rows)] == rows
        assert all(s == check_settings(s) for s, _ in part)


def test_what_is_left_out_is_told_by_data_set():
    smoke = profiles.profile("smoke")
    assert smoke.left_out().startswith(
        "width 32 for 1200, 60 steps for 100,000, batch 64 for 400, learning rate 0.001 for 0.0001"
    )
    network = "4 filters for 32, width 32 for 256, 10 latents for 32"
    assert smoke.left_out("celeba").startswith(f"{network}, 30 steps for 100,000, batch 32 for 100")
    assert smoke.left_out("chairs").endswith("200 test images for 8,618")


# --- other readings ---

CHANGED = {
    "no third moments": ("lambda_3", 200.0, 0.0), "joint third moments": ("third_moments", "marginal", "joint"),
    "running covariance": ("memory", 0.0, 0.9), "batch 64": ("batch_size", 400, 64), "half the steps": ("steps", 100_000, 50_000),
}  # fmt: skip


@pytest.mark.parametrize("reading", profiles.READINGS)
def test_a_reading_changes_one_thing(reading):
    base = profiles.dip_vae_ii(5)
    other, (field, before, after) = profiles.read_otherwise(base, reading), CHANGED[reading]
    a, b = dataclasses.asdict(base), dataclasses.asdict(other)
    assert {name for name in a if a[name] != b[name]} == {field, "reading"}
    assert (a[field], b[field]) == (before, after) and other.reading == reading
    assert other.label == f"DIP-VAE-II (lambda_od 5), {reading}" and other.weight == base.weight
    assert other == profiles.experiment("paper", "dip-vae-ii", 5, reading=reading)


def test_unknown_and_idle_readings_are_refused():
    with pytest.raises(
        ValueError,
        match="unknown reading 'batch 65'; known: no third moments, joint third moments, running covariance",
    ):
        profiles.read_otherwise(profiles.dip_vae_ii(5), "batch 65")
    for settings, reading in (
        (profiles.dip_vae_ii(5, "celeba"), "no third moments"), (profiles.dip_vae_i(5), "no third moments"),
        (profiles.dip_vae_ii(5, batch_size=64), "batch 64"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"the reading '{reading}' changes nothing of DIP-VAE"):
            profiles.read_otherwise(settings, reading)
    with pytest.raises(ValueError, match="memory belongs to the DIP objectives"):
        profiles.read_otherwise(profiles.beta_vae(4), "running covariance")
    with pytest.raises(
        ValueError, match="third_moments are penalised only where lambda_3 is above 0"
    ):
        profiles.read_otherwise(profiles.dip_vae_i(4), "joint third moments")


def test_unknown_data_are_refused():
    with pytest.raises(ValueError, match="unknown data 'mnist'; known: shapes2d, celeba, chairs"):
        profiles.experiment("smoke", "dip-vae-i", 5, "mnist")
    with pytest.raises(ValueError, match="unknown data 'mnist'; known: shapes2d, celeba, chairs"):
        profiles.plan("smoke", data="mnist")


def test_every_reading_stands_beside_the_model_that_it_reads_otherwise():
    """tables.readings compares the two; the quick profile reads II in every way, and I with a running covariance."""
    for name in profiles.PROFILES:
        for data in profiles.DATA_SETS:
            plan = [s for s, _ in profiles.plan(name, data=data)]
            plain = {s.label for s in plan if not s.reading}
            assert {s.label.removesuffix(f", {s.reading}") for s in plan if s.reading} <= plain
    read = {(s.reading, s.objective) for s, _ in profiles.plan("quick") if s.reading}
    assert read == {(reading, "dip-vae-ii") for reading in profiles.READINGS} | {
        ("running covariance", "dip-vae-i")
    }


def test_pictures_are_of_the_first_seed_of_the_rows_of_table_1():
    keeping = [s for s, _ in profiles.plan("quick") if profiles.keeps_pictures(s, 0)]
    assert keeping == [
        s
        for data, part in profiles.PROFILES["quick"].parts.items()
        for s in profiles.table_1(data, **part.common)
    ]
    assert not any(profiles.keeps_pictures(s, 1) for s in keeping)


def test_seeds_and_profiles_are_checked():
    assert {seeds for _, seeds in profiles.plan("quick", 2)} == {(0, 1)}
    for seeds in (0, -1, profiles.MAX_SEEDS + 1):
        with pytest.raises(ValueError, match="SEEDS must be a whole number from 1 to 100"):
            profiles.plan("quick", seeds)
    with pytest.raises(
        ValueError, match="unknown profile 'fast'; the profiles are smoke, quick, evening, paper"
    ):
        profiles.plan("fast")


def test_run_names_are_unique_in_every_profile():
    for name in profiles.PROFILES:
        names = [settings.name for settings, _ in profiles.plan(name)]
        assert len(set(names)) == len(names)
