"""Which results are shown, their numbers and conditions, and files that name their sources."""

import copy
import dataclasses
import math

import made_up
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_up import SEEDS
from PIL import Image

from replication import profiles, results
from replication.show import figures, summary, tables, wording
from replication.show.statistics import interval

SHAPES = profiles.plan("smoke", SEEDS, "shapes2d")
ROWS = len(profiles.table_1())


# --- which results there are ---


def test_load_all_leaves_out_what_was_not_run_and_says_so(shown, tmp_path, capsys):
    folder = tmp_path / "results"
    every = list(summary.load_all("smoke", str(folder), "", SEEDS))
    assert every == ["shapes2d", "celeba", "chairs"]
    next(folder.glob("celeba_beta-vae_4*.json")).unlink()
    assert list(summary.load_all("smoke", str(folder), "", SEEDS)) == ["shapes2d", "chairs"]
    said = capsys.readouterr().out
    assert said == "CelebA: not run in the smoke profile yet, nor anything in its place\n"
    next(folder.glob("beta-vae_4*.json")).unlink()
    with pytest.raises(FileNotFoundError, match="beta-vae_4"):
        summary.load_all("smoke", str(folder), "", SEEDS)


def test_load_takes_a_data_set_and_keeps_other_readings_apart(shown, tmp_path):
    assert [r["settings"]["reading"] for r in shown.results] == [""] * SEEDS * ROWS
    read = {r["settings"]["reading"] for r in shown.readings}
    assert read == {s.reading for s, _ in SHAPES if s.reading}
    assert len(shown.runs) == SEEDS * len(SHAPES) == shown.planned
    for data in ("celeba", "chairs"):
        part = summary.load("smoke", str(tmp_path / "results"), "", SEEDS, data)
        assert len(part.results) == SEEDS * len(profiles.plan("smoke", data=data))
        assert part.readings == [] and {r["settings"]["data"] for r in part.results} == {data}
    fakes = made_up.shown("smoke")
    assert shown.results == fakes.results and shown.readings == fakes.readings


@pytest.fixture
def in_parts(monkeypatch):
    """The smoke profile as one that is shown from two seeds on."""
    part = dataclasses.replace(profiles.PROFILES["smoke"], shown_from=2)
    monkeypatch.setitem(profiles.PROFILES, "smoke", part)


def lose(folder, *names):
    for name in names:
        (lost,) = folder.glob(f"{name}.json")
        lost.unlink()


def test_a_profile_that_is_not_shown_in_parts_is_whole_or_refused(shown, tmp_path):
    lose(tmp_path / "results", "*running-covariance_seed1")
    with pytest.raises(FileNotFoundError, match="running-covariance_seed1"):
        summary.load("smoke", str(tmp_path / "results"), "", SEEDS)


def test_a_profile_is_shown_in_parts(shown, in_parts, tmp_path):
    """The rows with the seeds that all of them have, every further setting with its own."""
    folder = tmp_path / "results"

    def there():
        part = summary.load("smoke", str(folder), "", SEEDS)
        seeds = {r["seed"] for r in part.results}
        assert len(part.results) == len(seeds) * ROWS
        reading = [r["seed"] for r in part.readings if "running" in r["settings"]["reading"]]
        return part, seeds, reading

    part, seeds, reading = there()
    assert (seeds, reading) == ({0, 1, 2}, [0, 1, 2]) and "runs so far" not in part.conditions
    lose(folder, "dip-vae-i_10_seed1", "*_running-covariance_seed0")
    part, seeds, reading = there()
    assert (seeds, reading) == ({0, 2}, [1, 2])
    assert f"{len(part.runs)} of its {SEEDS * len(SHAPES)} runs so far" in part.conditions
    for seed in (1, 2):
        lose(folder, f"*_running-covariance_seed{seed}")
    assert there()[1:] == ({0, 2}, [])
    lose(folder, "beta-vae_1_seed2")  # one seed is left that all rows have
    with pytest.raises(FileNotFoundError, match="1 of 21 .*: dip-vae-i_10_seed1"):
        there()


def test_faces_are_never_shown_in_parts(shown, in_parts, tmp_path):
    lose(tmp_path / "results", "celeba_beta-vae_4_seed1")
    with pytest.raises(FileNotFoundError, match="celeba_beta-vae_4_seed1"):
        summary.load("smoke", str(tmp_path / "results"), "", SEEDS, "celeba")


def test_evening_is_shown_from_its_third_seed_on(tmp_path):
    folder, rows = tmp_path / "evening", profiles.plan("evening", data="shapes2d")[:ROWS]
    for seed in range(2):
        made_up.write(folder, "evening", [(settings, (seed,)) for settings, _ in rows])
    assert not summary.complete("evening", "shapes2d", folder)
    assert summary.largest("shapes2d", tmp_path) is None
    made_up.write(folder, "evening", [(settings, (2,)) for settings, _ in rows])
    assert summary.largest("shapes2d", tmp_path) == "evening"
    assert "18 of its 211 runs so far" in summary.load("evening", str(folder)).conditions


def test_night_is_shown_beside_evening_alone(tmp_path):
    results_dir = str(tmp_path / "evening")
    assert summary.load_longer("evening", results_dir) is None
    rows = profiles.plan("night")
    made_up.write(tmp_path / "night", "night", [(settings, (0,)) for settings, _ in rows[:-1]])
    assert summary.load_longer("evening", results_dir) is None
    made_up.write(tmp_path / "night", "night", [(settings, (0,)) for settings, _ in rows])
    assert summary.complete("night", "shapes2d", tmp_path / "night")
    assert summary.largest("shapes2d", tmp_path) is None
    night = summary.load_longer("evening", results_dir, "figures")
    assert night.profile == "night" and len(night.results) == ROWS and night.readings == []
    assert "10,000 steps" in night.conditions and "6 of its 18 runs so far" in night.conditions
    assert summary.load_longer("quick", str(tmp_path / "quick")) is None


# --- numbers ---


def mean_correlation(covariance) -> float:
    metrics = {"covariance_of_means": np.asarray(covariance).tolist()}
    return summary.off_diagonal(summary.correlations(metrics))


def test_off_diagonal_by_hand():
    matrix = np.array([[9.0, 1.0, -2.0], [1.0, 9.0, 3.0], [-2.0, 3.0, 9.0]])
    assert summary.off_diagonal(matrix) == 2.0


def test_correlation_by_hand():
    """Of the latents in use alone: 2 / (2 * 4), -1 / (2 * 1) and 0; the fourth is off."""
    covariance = np.diag([4.0, 16.0, 1.0, 0.001])
    covariance[0, 1] = covariance[1, 0] = 2.0
    covariance[0, 2] = covariance[2, 0] = -1.0
    covariance[0, 3] = covariance[3, 0] = 0.06  # a correlation of nearly 1
    assert mean_correlation(covariance) == pytest.approx((0.25 + 0.5) / 3)
    found = summary.correlations({"covariance_of_means": covariance.tolist()})
    assert found[0, :3].tolist() == [1.0, 0.25, -0.5] and np.isnan(found[3]).all()
    assert mean_correlation(0.01 * np.eye(2)) == 0.0  # at the threshold: on
    for variances in ([1.0, 0.009], [0.0, 0.0]):
        assert math.isnan(mean_correlation(np.diag(variances)))


def test_the_scale_of_a_latent_leaves_its_correlation_alone():
    covariance = np.array([[1.0, 0.5], [0.5, 1.0]])
    assert mean_correlation(covariance * np.outer([3.0, 0.2], [3.0, 0.2])) == pytest.approx(0.5)


def test_per_setting_uses_every_seed(shown):
    frame = summary.per_setting(shown)
    assert len(frame) == ROWS and set(frame["n"]) == {3} and len(summary.per_run(shown)) == 18
    # 50, 50.01, 50.02: s = 0.01, so 4.3027 * 0.01 / sqrt(3)
    assert frame.loc[0, ["zdiff", "zdiff_half"]].tolist() == pytest.approx(
        [50.01, 0.02484], rel=1e-3
    )
    one = summary.per_setting(made_up.shown("smoke", seeds=1))
    assert one["zdiff"].tolist() == [50.0] * ROWS and one["zdiff_half"].isna().all()


def test_per_run_of_chairs_has_no_scores_and_of_readings_their_names():
    chairs = summary.per_run(made_up.shown("smoke", "chairs"))
    assert chairs["sap"].isna().all() and chairs["zdiff"].isna().all()
    assert chairs["reconstruction_error"].iloc[0] == 0.01
    assert summary.per_setting(made_up.shown("smoke", "chairs"))["sap"].isna().all()
    readings = summary.per_run(made_up.shown("smoke"), readings=True)
    expected = [s.reading for s, seeds in SHAPES if s.reading for _ in seeds]
    assert readings["reading"].tolist() == expected
    faces = summary.per_run(made_up.shown("smoke", "celeba"))
    assert faces["sap"].iloc[0] == pytest.approx(20)  # times 100
    assert set(faces["active"]) == {2}


def test_differences_are_taken_seed_by_seed():
    a = pd.Series([5.0, 7.0, 9.0], index=[0, 2, 3])
    b = pd.Series([1.0, 2.0, 4.0], index=[3, 1, 0])
    assert summary.paired(a, b).tolist() == [1.0, 8.0]  # seeds 0 and 3, whatever their order
    assert summary.paired(a, a[:0]).tolist() == []
    runs = pd.DataFrame({"label": ["x", "y", "x"], "seed": [1, 0, 0], "sap": [0.1, 0.2, 0.3]})
    assert summary.by_seed(runs, "x", "sap").to_dict() == {1: 0.1, 0: 0.3}


# --- text ---


@pytest.mark.parametrize(
    ("values", "metric", "text"),
    [
        ((0.1, 0.2, 0.3), "sap", "0.200 (-0.048 to 0.448, n = 3)"),
        ((1.0, 2.0, 3.0), "zdiff", "2.0 (-0.5 to 4.5, n = 3)"),
        ((0.01, 0.01), "reconstruction_error", "0.0100 (0.0100 to 0.0100, n = 2)"),
        ((0.25,), "sap", "0.250 (one seed)"),
        ((0.0, 0.0), "sap", "0.000 (0.000 to 0.000, n = 2)"),
        # What is decided, and what is not, must not look alike: an end keeps its sign.
        ((0.0001, 0.0004), "sap", "0.000 (-0.002 to 0.002, n = 2)"),
        ((2e-5, 4e-5, 4e-5), "reconstruction_error", "0.0000 (0.000005 to 0.0001, n = 3)"),
        ((2e-5, 4e-5, 1e-6), "reconstruction_error", "0.0000 (-0.00003 to 0.0001, n = 3)"),
    ],
)
def test_a_difference_is_written_with_its_interval_and_seeds(values, metric, text):
    assert wording.from_to(interval(np.array(values)), metric) == text


@pytest.mark.parametrize(
    ("value", "half", "metric", "scale", "text"),
    [
        (0.21, 0.025, "sap", 1, "0.210 ± 0.025"),
        (0.234, 0.387, "sap", 1, "0.234"),  # reaches below 0
        (0.9, 0.2, "sap", 1, "0.900"),  # and above 1
        (5.0, 2.5, "sap", 100, "5.00 ± 2.50"),
        (96.0, 5.0, "zdiff", 100, "96.0"),
        (0.03, 0.03, "reconstruction_error", 1, "0.0300 ± 0.0300"),
        (0.2, math.nan, "sap", 1, "0.200"),
        (math.nan, math.nan, "correlation", 1, ""),
    ],
)
def test_an_interval_is_printed_where_a_score_can_be(value, half, metric, scale, text):
    assert wording.with_half(value, half, metric, scale) == text


def test_an_interval_of_a_change_is_always_printed():
    assert wording.with_half(-0.2, 0.1, "sap", change=True) == "-0.200 ± 0.100"
    assert wording.with_half(0.2, math.nan, "sap", change=True) == "0.200"


def test_models_in_short():
    labels = [s.label for s in profiles.table_1()]
    assert [wording.brief(label) for label in labels[::3]] == ["VAE", "DIP-VAE-I (10)"]
    assert wording.together(labels) == "VAE, beta-VAE (4, 60), DIP-VAE-I (10), DIP-VAE-II (5, 500)"


def test_conditions_say_what_is_left_out_and_what_differs(shown):
    assert (
        "smoke profile: width 32 instead of 1200, 60 steps instead of 100,000" in shown.conditions
    )
    assert "rendered 2D Shapes" in shown.conditions and "other code" not in shown.conditions
    other = copy.deepcopy(shown.results)
    other[0]["code"] = {"training": "0123456789abcdef", "scoring": "fedcba9876543210"}
    told = dataclasses.replace(shown, results=other).conditions
    assert "made by other code (hash 0123456-fedcba9) than the present" in told
    other[0] |= {"device": "cuda: some GPU", "code": shown.results[0]["code"]}
    other[0] |= {"stack": {"precision": "tf32"}}
    told = dataclasses.replace(shown, results=other).conditions
    assert "runs on cpu and cuda; trained with the plain loop and tf32 products, stacked" in told


def test_the_standing_counts_the_images_that_were_scored():
    """The nine of made-up results, not the 2,000 asked for."""
    conditions = made_up.shown("quick", "chairs").conditions
    assert "9 test images instead of 8,618" in conditions and "small chairs" in conditions


def test_files_name_their_notebook_and_runs_and_repeat_to_the_byte(shown, tmp_path):
    kept, folder = [], tmp_path / "figures"
    for _ in range(2):
        figure, axis = plt.subplots()
        axis.plot([1, 2])
        figures.save_figure(shown, figure, "line", "06_trade_off", "a rising line")
        table = tables.table_1(shown)
        words = ("table_1", "05_table_1", "Table 1", "a note")
        summary.save_table(shown, table, *words, of=shown.rows)
        kept.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert kept[0] == kept[1]
    assert set(kept[0]) == {"line.png", "line.pdf", "table_1.csv", "table_1.md"}
    about, runs = Image.open(folder / "line.png").text, f"{SEEDS * len(SHAPES)} runs"
    assert about["Description"] == "a rising line"
    assert f"notebook 06_trade_off; {runs}" in about["Source"]
    assert "beta-vae_60_seed2" in about["Source"]
    assert "dip-vae-ii_5_running-covariance_seed1" in about["Source"]
    text = kept[0]["table_1.md"].decode()
    assert f"notebook 05_table_1; {SEEDS * ROWS} runs of the smoke profile" in text
    assert "dip-vae-i_10_seed1" in text and "a note" in text
    assert "running-covariance" not in text, "no run of Table 1"
    assert "05_table_1" in pd.read_csv(folder / "table_1.csv")["source"][0]


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(results, "write_whole", None)
    part = made_up.shown("smoke")
    summary.save_table(part, tables.table_1(part), "table_1", "05_table_1", "Table 1")
    assert list(tmp_path.glob("*.csv")) == []
