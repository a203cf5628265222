"""What is shown: means, intervals and verdicts by hand; files that name their sources and hold no date; published values."""

import copy
import dataclasses
import hashlib
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dipvae_src import claims, experiments, figures, published, results, traversals


def fake_results(folder, seeds=3, values=None) -> None:
    """Results of the smoke profile with made-up scores: `values[label] = (zdiff, sap, error, off-diagonal)`, + seed / 100."""
    results.write_whole(folder / "sheet.png", b"sheet")
    for settings, all_seeds in experiments.plan("smoke", seeds):
        for seed in all_seeds:
            zdiff, sap, error, off, *kl = ((values or {}).get(settings.label) or (50.0, 0.2, 0.01, 0.1))
            picture = {"file": "sheet.png", "sha256": hashlib.sha256(b"sheet").hexdigest()} if seed == 0 else None
            covariance = np.full((3, 3), -off - seed / 100)
            np.fill_diagonal(covariance, 1.0)
            metrics = {
                "images": 9, "kl_per_latent": [], "mean_variance": [], "reconstruction_error": error + seed / 1e5,
                "zdiff": {"accuracy": zdiff + seed / 100, "test": 9, "seed": 0},
                "sap": {"score": sap + seed / 100, "matrix": [], "images": 9},
                "covariance_of_means": covariance.tolist(), "kl": kl[0] if kl else 5.0,
            }  # fmt: skip
            result = {
                "format": results.FORMAT, "profile": "smoke", "settings": dataclasses.asdict(settings), "seed": seed,
                "code": results.code_hash(), "data": {"source": "rendered", "sha256": "d"}, "versions": {}, "device": "cpu",
                "threads": 1, "minutes": 0.5, "losses": [], "metrics": metrics, "picture": picture,
            }  # fmt: skip
            results.write(results.path_of(folder, settings, seed), result)


@pytest.fixture(autouse=True)
def unverified(tmp_path, monkeypatch):
    """Published values as nobody has checked them yet, whatever the project's own file says by now."""
    document = json.loads(published.PATH.read_text())
    for row, sap in zip(document["table_1"], (0.0417, 0.0811, 0.5503, 0.1889, 0.2188, 0.5253)):
        row |= {"verified": False, "sap": sap}
    path = tmp_path / "published.json"
    path.write_text(json.dumps(document))
    monkeypatch.setattr(published, "PATH", path)


@pytest.fixture
def shown(tmp_path) -> figures.Shown:
    fake_results(tmp_path / "results")
    return figures.load("smoke", str(tmp_path / "results"), str(tmp_path / "figures"), 3)


def test_interval_by_hand():
    # n = 3, s = 1, t(0.975, 2) = 4.3027: half-width 4.3027 / sqrt(3)
    assert figures.interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.4841), abs=1e-4)
    mean, half = figures.interval([7.0])
    assert mean == 7.0 and np.isnan(half)


def test_off_diagonal_by_hand():
    result = {"metrics": {"covariance_of_means": [[9.0, 1.0, -2.0], [1.0, 9.0, 3.0], [-2.0, 3.0, 9.0]]}}
    assert figures.off_diagonal(result) == 2.0


def test_table_1_shows_every_row_with_seeds_interval_and_standing(shown):
    table = figures.table_1(shown)
    assert table["method"].tolist() == [s.label for s in experiments.table_1()] and set(table["seeds"]) == {3}
    assert table.loc[0, "SAP"] == "0.210 ± 0.025"  # 0.20, 0.21, 0.22: s = 0.01
    assert table.loc[0, "SAP, paper"] == "0.0417†" and table.loc[4, "Z-diff (%), paper"] == "95.3†"


def test_per_setting_uses_every_seed(shown):
    frame = figures.per_setting(shown)
    assert len(frame) == 6 and frame.loc[0, "zdiff"] == pytest.approx(50.01)
    assert len(figures.per_run(shown)) == 18


def test_titles_say_what_is_left_out_and_what_differs(shown):
    assert "smoke profile: width 32 for 1200, 60 steps for 100,000" in shown.standing and "6 settings for 30, 18 runs for 132" in shown.standing and "rendered 2D Shapes" in shown.standing
    other = copy.deepcopy(shown.results)
    other[0]["code"] = "0123456789"
    assert "made by code 0123456, not the present" in dataclasses.replace(shown, results=other).standing


def test_files_name_their_notebook_and_runs_and_repeat_to_the_byte(shown, tmp_path):
    kept = []
    for _ in range(2):
        figure, axis = plt.subplots()
        axis.plot([1, 2])
        figures.save_figure(shown, figure, "line", "06_trade_off", "a rising line")
        figures.save_table(shown, figures.table_1(shown), "table_1", "05_table_1", "Table 1", "a note")
        kept.append({p.name: p.read_bytes() for p in (tmp_path / "figures").iterdir()})
    assert kept[0] == kept[1] and set(kept[0]) == {"line.png", "line.pdf", "table_1.csv", "table_1.md"}
    about = Image.open(tmp_path / "figures" / "line.png").text
    assert about["Description"] == "a rising line" and "notebook 06_trade_off; 18 runs" in about["Source"]
    assert "beta-vae_60_seed2" in about["Source"]
    text = kept[0]["table_1.md"].decode()
    assert "notebook 05_table_1; 18 runs of the smoke profile" in text and "dip-vae-i_10_seed1" in text and "a note" in text
    assert "05_table_1" in pd.read_csv(tmp_path / "figures" / "table_1.csv")["source"][0]


# --- claims ---


def verdicts(tmp_path, seeds=3, **values):
    labels = dict(zip(("vae", "b4", "b60", "i10", "ii5", "ii500"), (s.label for s in experiments.table_1())))
    fake_results(tmp_path, seeds, {labels[k]: v for k, v in values.items()})
    return claims.verdicts(figures.load("smoke", str(tmp_path), "", seeds))["verdict"].tolist()


def test_verdicts_of_a_world_where_the_paper_is_right(tmp_path):
    found = verdicts(
        tmp_path, vae=(80, 0.05, 0.002, 0.5), b60=(95, 0.55, 0.011, 0.1), i10=(98, 0.2, 0.002, 0.1), ii5=(95, 0.2, 0.002, 0.1),
        ii500=(98, 0.55, 0.008, 0.1),
    )  # fmt: skip
    assert found == ["reproduced"] * 4


def test_verdicts_of_a_world_where_it_is_wrong(tmp_path):
    found = verdicts(
        tmp_path, vae=(98, 0.6, 0.002, 0.1), b60=(95, 0.3, 0.001, 0.1), i10=(80, 0.2, 0.004, 0.4), ii5=(95, 0.2, 0.002, 0.4),
        ii500=(98, 0.1, 0.012, 0.4),
    )  # fmt: skip
    assert found == ["not reproduced"] * 4


def test_equal_scores_and_single_seeds_decide_nothing(tmp_path):
    assert verdicts(tmp_path / "equal")[1] == "undecided"
    assert verdicts(tmp_path / "one", seeds=1) == ["undecided"] * 4


def test_a_model_that_ignores_its_latents_decides_nothing_and_is_named(tmp_path):
    found = verdicts(tmp_path, b60=(20, 0.0, 0.04, 0.0, 0.02))
    assert found[1:3] == ["undecided (a model ignores its latents)"] * 2
    notes = figures.table_1_notes(figures.load("smoke", str(tmp_path), "", 3))
    assert "beta-VAE (beta 60): 3 of 3 runs ignore their latents" in notes and "† published value recalled" in notes


def test_interval_of_difference_against_scipy():
    from scipy import stats

    a, b = np.array([1.0, 2.0, 4.0, 4.5]), np.array([0.5, 0.6, 0.9])
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert claims.interval_of_difference(a, b) == pytest.approx((expected.low, expected.high))


# --- published values ---


def test_published_table_is_complete_and_unverified_until_confirmed():
    rows = published.table_1()
    assert set(rows) == {("beta-vae", 1), ("beta-vae", 4), ("beta-vae", 60), ("dip-vae-i", 10), ("dip-vae-ii", 5), ("dip-vae-ii", 500)}
    assert not any(row["verified"] for row in rows.values())
    answers = iter(["81.4 0.0417 0.0017", "", "", "", "", ""])
    assert published.confirm(lambda _: next(answers)) == 1
    rows = published.table_1()
    assert rows[("beta-vae", 1)]["zdiff"] == 81.4 and rows[("beta-vae", 1)]["verified"] is True
    assert rows[("beta-vae", 4)]["verified"] is False


def test_a_wrong_answer_changes_nothing():
    before = published.PATH.read_text()
    with pytest.raises(ValueError, match="three numbers are wanted"):
        published.confirm(lambda _: "81.3 0.04")
    assert published.PATH.read_text() == before


# --- traversals ---


def test_animation_cuts_the_most_used_latents_and_goes_there_and_back(tmp_path):
    columns, rows = 3, 4
    pixels = np.arange(rows * columns, dtype=np.uint8).repeat(64).reshape(rows, columns * 64).repeat(64, axis=0) * 20
    sheet = traversals.Sheet("model", pixels, ["a"] * rows)
    (tmp_path / "t.gif").write_bytes(traversals.animation([sheet, sheet], latents=2, source="notebook 07"))
    gif = Image.open(tmp_path / "t.gif")
    assert gif.n_frames == 4 and gif.info["comment"] == b"notebook 07" and gif.size == (2 * 64 + 4, 2 * 64 + 4)
    shades = []
    for frame in range(4):
        gif.seek(frame)
        shades.append(255 - np.asarray(gif.convert("L"))[[10, 100], 10])
    assert np.array(shades).tolist() == [[120, 180], [140, 200], [160, 220], [140, 200]]
