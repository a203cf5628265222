"""Settings that are refused by name, and what each profile plans."""

import dataclasses

import pytest

from dipvae_src.settings import check_settings
from replication import profiles


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
