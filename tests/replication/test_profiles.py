"""The plan: the paper's rules, readings that change one thing, each profile's size and order."""

import dataclasses

import pytest

from dipvae_src.settings import check_settings
from replication import profiles
from replication.profiles import setting

ROWS = len(profiles.table_1())


def shapes(name: str, reading: bool | None = None) -> profiles.Plan:
    """What a profile does on 2D Shapes; if told, its readings alone, or without them."""
    plan = profiles.plan(name, data="shapes2d")
    return [(s, seeds) for s, seeds in plan if reading is None or bool(s.reading) == reading]


def points(plan: profiles.Plan) -> dict[str, set[float]]:
    """The weights of each objective."""
    found = {}
    for settings, _ in plan:
        found.setdefault(settings.objective, set()).add(settings.weight)
    return found


# --- the paper's rules ---


@pytest.mark.parametrize(
    ("data", "factor_i", "factor_ii"), [("shapes2d", 10, 1), ("celeba", 50, 0.5), ("chairs", 10, 1)]
)
def test_lambda_d_follows_the_data_sets_rule_and_eq_7_stands_alone(data, factor_i, factor_ii):
    for weight in (1, 2, 80, 0.5):
        for objective, factor in (("dip-vae-i", factor_i), ("dip-vae-ii", factor_ii)):
            found = setting(objective, weight, data)
            weights = (found.lambda_od, found.lambda_d, found.lambda_3, found.beta)
            assert weights == (weight, factor * weight, 0, 1) and found.data == data
    assert setting("dip-vae-ii", 5, data, lambda_3=7.0).lambda_3 == 7


def test_each_data_set_has_its_network_and_batch():
    found = {
        data: dataclasses.astuple(setting("beta-vae", 1, data))[8:14] for data in profiles.DATA_SETS
    }
    # network, width, filters, latents, batch, steps
    assert found == {
        "shapes2d": ("fc", 1200, 32, 10, 400, 100_000),
        "celeba": ("conv", 256, 32, 32, 100, 100_000),
        "chairs": ("conv-2x2", 256, 32, 32, 100, 100_000),
    }
    images = [setting("beta-vae", 1, data).test_images for data in profiles.DATA_SETS]
    assert images == [73_728, 19_962, 8_618]


def test_what_is_not_known_is_refused_by_name():
    known = "known: shapes2d, celeba, chairs"
    for call in (
        lambda: setting("dip-vae-i", 5, "mnist"),
        lambda: profiles.experiment("smoke", "dip-vae-i", 5, "mnist"),
        lambda: profiles.plan("smoke", data="mnist"),
    ):
        with pytest.raises(ValueError, match=f"unknown data 'mnist'; {known}"):
            call()
    with pytest.raises(ValueError, match="unknown objective 'vae'; known: beta-vae, dip-vae-i, "):
        setting("vae", 1)
    with pytest.raises(ValueError, match="the night profile does nothing on celeba; it has shapes"):
        profiles.experiment("night", "dip-vae-i", 2, "celeba")
    names = "smoke, quick, evening, night, paper"
    with pytest.raises(ValueError, match=f"unknown profile 'fast'; the profiles are {names}"):
        profiles.plan("fast")


@pytest.mark.parametrize("weight", [True])
def test_a_weight_is_a_number(weight):
    with pytest.raises(TypeError, match="weight must be a number .beta or lambda_od., not True"):
        setting("beta-vae", weight)


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="memory belongs to the DIP objectives"):
        setting("beta-vae", 4, memory=0.9)
    with pytest.raises(ValueError, match="third_moments"):
        setting("dip-vae-ii", 5, third_moments="joint")


# --- other readings ---

CHANGED = {
    "third moments": {"lambda_3": 200.0},
    "joint third moments": {"lambda_3": 200.0, "third_moments": "joint"},
    "running covariance": {"memory": 0.9},
    "batch 64": {"batch_size": 64},
    "half the steps": {"steps": 50_000},
    "width 256": {"width": 256},
    "6 latents": {"latents": 6},
}


@pytest.mark.parametrize("reading", profiles.READINGS)
def test_a_reading_changes_what_its_name_says(reading):
    base = setting("dip-vae-ii", 5)
    other = profiles.read_otherwise(base, reading)
    a, b = dataclasses.asdict(base), dataclasses.asdict(other)
    changed = {name: b[name] for name in a if a[name] != b[name]}
    assert changed == CHANGED[reading] | {"reading": reading}
    assert other.label == f"DIP-VAE-II (lambda_od 5), {reading}" and other.weight == base.weight
    assert other == profiles.experiment("paper", "dip-vae-ii", 5, reading=reading)


def test_unknown_and_idle_readings_are_refused():
    known = "known: third moments, joint third moments, running covariance"
    with pytest.raises(ValueError, match=f"unknown reading 'batch 65'; {known}"):
        profiles.read_otherwise(setting("dip-vae-ii", 5), "batch 65")
    for settings, reading in (
        (setting("dip-vae-ii", 5, lambda_3=200.0), "third moments"),
        (setting("dip-vae-ii", 5, batch_size=64), "batch 64"),
        (setting("dip-vae-ii", 5, "celeba"), "width 256"),
    ):
        with pytest.raises(ValueError, match=f"the reading '{reading}' changes nothing of DIP-VAE"):
            profiles.read_otherwise(settings, reading)
    for settings, reading, words in (
        (setting("beta-vae", 4), "running covariance", "memory belongs to the DIP objectives"),
        (setting("dip-vae-i", 4), "third moments", "lambda_3 belongs to dip-vae-ii"),
    ):
        with pytest.raises(ValueError, match=words):
            profiles.read_otherwise(settings, reading)


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_every_reading_stands_beside_the_model_that_it_reads_otherwise(name):
    """tables.readings takes their difference seed by seed, so the model has all seeds of it."""
    plan = {s.label: set(seeds) for s, seeds in shapes(name)}
    for settings, seeds in shapes(name, reading=True):
        assert set(seeds) <= plan[settings.label.removesuffix(f", {settings.reading}")]


# --- profiles ---


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_a_plan_is_its_data_sets_one_after_the_other_the_rows_of_table_1_first(name):
    parts = {data: profiles.plan(name, data=data) for data in profiles.DATA_SETS}
    assert profiles.plan(name) == [experiment for part in parts.values() for experiment in part]
    assert {data for data, part in parts.items() if part} == set(profiles.PROFILES[name].parts)
    for data, part in parts.items():
        assert {s.data for s, _ in part} <= {data}
        if part:
            rows = profiles.table_1(data, **profiles.PROFILES[name].parts[data].common)
            assert [s for s, _ in part][: len(rows)] == rows
        assert all(s == check_settings(s) for s, _ in part)


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_run_names_are_unique(name):
    names = [settings.name for settings, _ in profiles.plan(name)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "settings", "runs"),
    [
        ("smoke", 10, 10),  # 6 rows, 4 readings
        ("quick", 6, 18),
        ("evening", 21, 211),  # 6 x 20, 2 x 10, 6 x 5, 2 x 10, 3 x 5, 2 x 3
        ("night", 6, 18),
        ("paper", 50, 192),  # 6 x 10, 24 x 3, 9 x 3, 2 x 3, 3 x 3, 3 x 3, 3 x 3
    ],
)
def test_how_large_each_profile_is_on_2d_shapes(name, settings, runs):
    plan = shapes(name)
    assert (len(plan), sum(len(seeds) for _, seeds in plan)) == (settings, runs)


def test_the_paper_profile_is_the_papers_sweep():
    plan = dict(shapes("paper", reading=False))
    lambdas = {1, 2, 5, 10, 20, 50, 80, 100, 500}
    assert points(list(plan.items())) == {
        "beta-vae": {1, 4, 8, 16, 25, 32, 60, 64, 100, 128, 200, 256},
        "dip-vae-i": lambdas,
        "dip-vae-ii": lambdas,
    }
    assert [len(seeds) for seeds in plan.values()] == [10] * 6 + [3] * 24
    sizes = {(s.width, s.batch_size, s.learning_rate, s.latents, s.test_images) for s in plan}
    assert sizes == {(1200, 400, 1e-4, 10, 73_728)}
    assert list(plan)[:ROWS] == profiles.table_1()
    third = [s for s, _ in shapes("paper", reading=True) if s.reading == "third moments"]
    assert {s.lambda_od for s in third} == lambdas and {s.lambda_3 for s in third} == {200}


def test_the_paper_profile_has_the_rows_of_both_tables_and_all_chairs():
    plan = [s for s, _ in profiles.plan("paper", data="celeba")]
    assert plan[:6] == profiles.table_1("celeba")
    assert {s.beta for s in plan} >= {1, 2, 4, 8, 32}
    rows = (("beta-vae", 1), ("beta-vae", 4), ("beta-vae", 32))
    rows += (("dip-vae-i", 2), ("dip-vae-ii", 1), ("dip-vae-ii", 80))
    assert tuple((s.objective, s.weight) for s in plan[:6]) == rows
    assert [s for s, _ in profiles.plan("paper", data="chairs")] == profiles.table_1("chairs")


@pytest.mark.parametrize(("name", "steps", "seeds"), [("quick", 200, 3), ("evening", 1_000, 20)])
def test_quick_and_evening_are_the_papers_network_trained_briefly(name, steps, seeds):
    plan = shapes(name, reading=False)
    sizes = {(s.width, s.batch_size, s.learning_rate, s.steps, s.test_images) for s, _ in plan}
    assert sizes == {(1200, 400, 1e-3, steps, 10_000)}
    assert [its for _, its in plan[:ROWS]] == [tuple(range(seeds))] * ROWS


def test_evening_has_four_points_a_curve_and_its_readings():
    assert points(shapes("evening", reading=False)) == {
        "beta-vae": {1, 4, 16, 60}, "dip-vae-i": {1, 10, 100, 500}, "dip-vae-ii": {1, 5, 50, 500},
    }  # fmt: skip
    found = {(s.reading, s.objective, s.weight): len(its) for s, its in shapes("evening", True)}
    assert found == {
        ("third moments", "dip-vae-ii", 5): 10,
        ("third moments", "dip-vae-ii", 500): 10,
        ("running covariance", "dip-vae-i", 10): 10,
        ("running covariance", "dip-vae-ii", 5): 10,
        ("width 256", "beta-vae", 1): 5,
        ("width 256", "dip-vae-i", 10): 5,
        ("width 256", "dip-vae-ii", 5): 5,
        ("6 latents", "dip-vae-i", 10): 3,
        ("6 latents", "dip-vae-ii", 5): 3,
    }


def test_night_is_the_evening_ten_times_as_long():
    night, evening = profiles.plan("night"), shapes("evening")
    assert profiles.PROFILES["night"].longer_than == "evening"
    for (long, seeds), (short, more) in zip(night, evening[:ROWS], strict=True):
        assert long == dataclasses.replace(short, steps=10 * short.steps)
        assert seeds == (0, 1, 2) == more[:3]


def test_what_is_left_out_is_told_by_data_set():
    smoke = profiles.profile("smoke")
    start = "width 32 instead of 1200, 60 steps instead of 100,000, batch 64 instead of 400, "
    assert smoke.left_out().startswith(start + "learning rate 0.001 instead of 0.0001")
    network = "width 32 instead of 256, 4 filters instead of 32, 30 steps instead of 100,000"
    assert smoke.left_out("celeba").startswith(network)
    assert "200 test images instead of 8,618" in smoke.left_out("chairs")
    assert "90 test images instead of 8,618" in smoke.left_out("chairs", images=90)
    paper = profiles.profile("paper")
    assert all(paper.left_out(data) == "" for data in profiles.DATA_SETS)


def test_seeds_are_checked():
    assert {seeds for _, seeds in profiles.plan("quick", 2)} == {(0, 1)}
    for seeds in (0, -1, profiles.MAX_SEEDS + 1):
        with pytest.raises(ValueError, match="SEEDS must be a whole number from 1 to 100"):
            profiles.plan("quick", seeds)


# --- order ---


def test_the_rows_of_table_1_come_seed_by_seed_before_anything_else():
    runs = profiles.in_order(shapes("evening"))
    assert sorted(map(str, runs)) == sorted(
        str((settings, seed)) for settings, seeds in shapes("evening") for seed in seeds
    )
    rows = [s for s, _ in shapes("evening")[:ROWS]]
    assert runs[: 20 * ROWS] == [(settings, seed) for seed in range(20) for settings in rows]
    rest = [settings.reading for settings, _ in runs[20 * ROWS :]]
    assert rest == (
        ["third moments"] * 20 + [""] * 30 + ["running covariance"] * 20 + ["width 256"] * 15
        + ["6 latents"] * 6
    )  # fmt: skip
    third = [(s.lambda_od, seed) for s, seed in runs[20 * ROWS :] if s.reading == "third moments"]
    assert third == [(weight, seed) for seed in range(10) for weight in (5, 500)]


def test_data_sets_come_one_after_the_other():
    for name in profiles.PROFILES:
        data = [settings.data for settings, _ in profiles.in_order(profiles.plan(name))]
        assert data == sorted(data, key=list(profiles.DATA_SETS).index)


def test_what_is_left_of_a_plan_keeps_its_order():
    (first, _), (second, _) = shapes("quick")[:2]
    left = profiles.in_order([(first, (2,)), (second, (0, 2))])
    assert left == [(second, 0), (first, 2), (second, 2)]


def test_pictures_are_of_the_first_seed_of_the_rows_of_table_1():
    keeping = [s for s, _ in profiles.plan("evening") if profiles.keeps_pictures(s, 0)]
    rows = [
        s
        for data, part in profiles.PROFILES["evening"].parts.items()
        for s in profiles.table_1(data, **part.common)
    ]
    assert keeping == rows and not any(profiles.keeps_pictures(s, 1) for s in keeping)
