"""Every table by hand: Tables 1 and 2, readings, length, definitions, spread, covariances."""

import dataclasses
import json

import made_up
import numpy as np
import pytest
from small import ATTRIBUTES

from replication import profiles, results
from replication.show import published, tables

READINGS = [s.reading for s, _ in profiles.plan("smoke") if s.reading]


# --- Table 1 ---


def test_table_1_shows_every_row_with_seeds_interval_and_standing(shown):
    table = tables.table_1(shown)
    labels = [settings.label for settings in profiles.table_1()]
    assert table["method"].tolist() == [*labels, f"{labels[4]}, third moments"]
    assert set(table["seeds"]) == {3}
    assert table.loc[0, "SAP"] == "0.210 ± 0.025"  # 0.20, 0.21, 0.22: s = 0.01
    assert table.loc[0, "SAP, paper"] == "0.0417†" and table.loc[4, "Z-diff (%), paper"] == "95.3†"


def test_table_1_has_dip_vae_ii_by_eq_7_alone_and_the_third_moments_below():
    assert [s.lambda_3 for s in profiles.table_1()] == [0.0] * 6
    told = {"dip-vae-ii_5": dict(sap=0.4), "dip-vae-ii_5_m3-200_third-moments": dict(sap=0.6)}
    part = made_up.shown("smoke", told=told)
    table = tables.table_1(part)
    assert table["SAP"][[4, 6]].tolist() == ["0.410 ± 0.025", "0.610 ± 0.025"]
    assert table["SAP, paper"][[4, 6]].tolist() == ["0.2188†"] * 2
    assert f"{tables.EQ_7_ALONE}, which the last rows add. " in tables.table_1_notes(part)
    alone = dataclasses.replace(part, readings=[])
    assert len(tables.table_1(alone)) == 6
    assert f"{tables.EQ_7_ALONE}. " in tables.table_1_notes(alone)


def test_table_1_of_faces_has_sap_times_a_hundred_and_the_papers_numbers_for_celeba():
    faces = made_up.shown("smoke", "celeba", told={"celeba_dip-vae-ii_80": (12.3, 0.04, 0.15)})
    table = tables.table_1(faces)
    assert table["method"].tolist() == [s.label for s in profiles.table_1("celeba")]
    # 0.20, 0.21, 0.22 and 0.04, 0.05, 0.06, times 100: s = 1, so 4.3027 / sqrt(3)
    assert table["SAP x 100"].tolist() == ["21.00 ± 2.48"] * 5 + ["5.00 ± 2.48"]
    paper = ["0.35†", "0.48†", "3.72†", "3.69†", "2.94†", "3.93†"]
    assert table["SAP x 100, paper"].tolist() == paper
    assert table.loc[5, "Z-diff (%)"] == "12.3 ± 0.0"
    assert table.loc[5, "rec. error"] == "0.1500 ± 0.0000"
    warning = "**Ours are of small faces, not of CelebA: they cannot be compared"
    assert tables.table_1_notes(faces).startswith(warning)
    official = made_up.shown("smoke", "celeba", source="official")
    assert "cannot be compared" not in tables.table_1_notes(official)
    assert "official CelebA" in official.conditions
    assert "small faces" in faces.conditions and "CelebA" not in faces.conditions


# --- Table 2 ---


def test_table_2_by_hand():
    """Attribute k of fourteen lies k - 6.5 from the mean that a model is given; shown are the
    paper's twelve, in the paper's order.
    """
    told = {"celeba_beta-vae_8": dict(accuracy=80.0, balanced=65.0)}
    faces = made_up.shown("smoke", "celeba", told=told)
    table = tables.table_2(faces).set_index("method")
    twelve = published.table_2()["attributes"]
    assert list(table.columns) == [*twelve, "mean of these", "balanced"]
    assert not {"Smiling", "Young"} & set(table.columns)
    of = {name: k - 6.5 for k, name in enumerate(ATTRIBUTES)}
    mean = np.mean([of[name] for name in twelve])

    def row(centre, balanced):
        each = [f"{centre + of[name]:.1f}" for name in twelve]
        return [*each, f"{centre + mean:.1f}", f"{balanced:.1f}"]

    # Its balanced accuracy is 50 whatever the attribute.
    assert table.loc["the more frequent class"].tolist() == row(75, 50)
    # 70, 70.01, 70.02: the mean over three seeds
    assert table.loc["VAE"].tolist() == row(70.01, 60.01 + mean)
    assert table.loc["beta-VAE (beta 8)"].tolist() == row(80.01, 65.01 + mean)
    one = table.loc["DIP-VAE-I (lambda_od 2), one latent"]
    assert one.tolist() == row(60.01, 50.01 + mean)
    models = [s.label for s in tables.table_2_models(faces)]
    assert table.index[:7].tolist() == ["the more frequent class", *models]


def test_table_2_shows_the_papers_rows_with_their_standing_and_none_that_is_not_known():
    document = json.loads(published.PATH.read_text("utf-8"))
    for row in document["table_2"]["rows"]:
        if row.get("weight") == 4:
            row["accuracy"] = None
        if row.get("weight") == 8:
            row |= {"accuracy": list(range(61, 73)), "verified": True}
    results.write_json(published.PATH, document)
    table = tables.table_2(made_up.shown("smoke", "celeba")).set_index("method")
    assert table.loc["VAE, paper", "Arched_Eyebrows"] == "71.8†"
    assert table.loc["DIP-VAE, paper", "Wearing_Lipstick"] == "84.7†"
    assert table.loc["beta-VAE (beta 8), paper"].tolist() == [*map(str, range(61, 73)), "", ""]
    assert "beta-VAE (beta 4)" in table.index and "beta-VAE (beta 4), paper" not in table.index


def test_table_2_has_the_columns_that_the_data_have():
    faces = made_up.shown("smoke", "celeba")
    for result in faces.results:
        found = result["metrics"]["attributes"]
        for name, values in found.items():
            if isinstance(values, list):
                found[name] = values[:3]  # Smiling, Wearing_Lipstick, Wearing_Hat
    table = tables.table_2(faces).set_index("method")
    assert list(table.columns) == ["Wearing_Hat", "Wearing_Lipstick", "mean of these", "balanced"]
    assert table.loc["VAE"].tolist() == ["65.5", "64.5", "65.0", "55.0"]


# --- what the paper leaves open, and what length and chance do ---

CHANGED = "dip-vae-ii_5_running-covariance"


def test_readings_by_hand():
    told = {
        "dip-vae-ii_5": dict(zdiff=50.0, sap=[0.2, 0.3, 0.5], error=0.01),
        CHANGED: dict(zdiff=60.0, sap=[0.35, 0.46, 0.67], error=0.02),
    }
    table = tables.readings(made_up.shown("smoke", told=told)).set_index("reading")
    assert table.index.tolist() == READINGS and READINGS[0] == "third moments"
    assert set(table["model"]) == {"DIP-VAE-II (lambda_od 5)"}
    # Seed by seed 0.15, 0.16, 0.17: s = 0.01, half 4.3027 * 0.01 / sqrt(3) = 0.0248
    row = table.loc["running covariance"]
    assert row["SAP"] == "0.493; change 0.160 (0.135 to 0.185, n = 3)"
    assert row["Z-diff (%)"] == "60.0; change 10.0 (10.0 to 10.0, n = 3)"
    assert row["rec. error"] == "0.0200; change 0.0100 (0.0100 to 0.0100, n = 3)"
    same = table.loc["half the steps", "SAP"]
    assert same == "0.333; change 0.000 (0.000 to 0.000, n = 3)"
    one = tables.readings(made_up.shown("smoke", seeds=1, told=told)).set_index("reading")
    assert one.loc["running covariance", "SAP"] == "0.350; change 0.150 (one seed)"


def test_readings_are_held_against_their_own_model_and_the_seeds_that_both_have():
    told = {
        "dip-vae-i_10": dict(zdiff=90.0, sap=0.5),
        "dip-vae-i_10_running-covariance": dict(zdiff=92.0, sap=0.4),
    }
    whole = made_up.shown("evening", told=told)
    table = tables.readings(whole).set_index(["reading", "model"])
    first = table.loc[("running covariance", "DIP-VAE-I (lambda_od 10)")]
    assert first["SAP"].startswith("0.410; change -0.100 (")
    assert first["Z-diff (%)"].startswith("92.0; change 2.0 (")
    second = table.loc[("running covariance", "DIP-VAE-II (lambda_od 5)")]
    assert second["SAP"].startswith("0.210; change 0.000 (")
    last = [r for r in whole.readings if r["seed"] == 2]
    *bases, first = tables.readings_and_bases(dataclasses.replace(whole, readings=last[:1]))
    base = dict(first["settings"], reading="", lambda_3=0.0)
    assert [(r["settings"], r["seed"]) for r in bases] == [(base, 2)]
    table = tables.readings(dataclasses.replace(whole, readings=last))
    assert table["SAP"].str.endswith("(one seed)").all()
    other = [r | {"seed": 7} for r in last]
    table = tables.readings(dataclasses.replace(whole, readings=other))
    assert table["SAP"].str.endswith("change unknown: no seed in common").all()


def test_a_profile_without_other_readings_is_shown_all_the_same():
    shown = made_up.shown("quick")
    assert shown.readings == []
    assert tables.readings(shown)["reading"].tolist() == ["none was run in the quick profile"]


def test_length_is_compared_seed_by_seed():
    """Seeds 0 to 2 of the night against the same of the evening, whatever the others had."""
    vae = dict(sap=[0.1, 0.2, 0.3, 0.9, 0.9])
    evening = made_up.shown("evening", seeds=5, told={"beta-vae_1": vae})
    night = made_up.shown("night", told={"beta-vae_1": dict(sap=[0.2, 0.4, 0.6])})
    table = tables.longer(evening, night).set_index("model")
    assert table.index.tolist() == [s.label for s in profiles.table_1()]
    # 0.1, 0.2, 0.3: mean 0.2, s = 0.1, half 4.3027 * 0.1 / sqrt(3) = 0.2484
    assert table.loc["VAE", "SAP"] == "0.400; change 0.200 (-0.048 to 0.448, n = 3)"
    other = table.loc["DIP-VAE-I (lambda_od 10)", "Z-diff (%)"]
    assert other == "50.0; change 0.0 (0.0 to 0.0, n = 3)"


def test_other_scores_by_hand():
    told = {"beta-vae_60": (50.0, 0.4, 0.05)}
    table = tables.other_scores(made_up.shown("smoke", told=told)).set_index("method")
    assert table.index.tolist() == [s.label for s in profiles.table_1()]
    row = table.loc["beta-VAE (beta 60)"].to_dict()
    expected = {
        "squared error at mu (ours)": 0.05001, "squared error at z ~ q(z|x)": 0.10002,
        "absolute error at mu": 0.15003, "SAP, inactive below 0": 0.51,
        "SAP, inactive below 0.001": 0.46, "SAP, inactive below 0.01 (ours)": 0.41,
        "SAP, inactive below 0.05": 0.36,
    }  # fmt: skip
    assert list(row) == list(expected) and row == pytest.approx(expected)
    faces = tables.other_scores(made_up.shown("smoke", "celeba")).set_index("method")
    own = faces.loc["VAE", "SAP, inactive below 0.01 (ours)"]
    assert own == pytest.approx(21)  # times 100


def test_spread_by_hand():
    """Over seeds 0.01 everywhere; of itself, half the difference of two halves 0.04 apart, and 3
    points over the root of 2.
    """
    table = tables.spread(made_up.shown("smoke")).set_index("score")
    assert table.loc["SAP"].tolist() == pytest.approx([0.01, 0.02])
    assert table.loc["Z-diff (%)"].tolist() == pytest.approx([0.01, 3 / np.sqrt(2)])
    faces = tables.spread(made_up.shown("smoke", "celeba")).set_index("score")
    assert faces.loc["SAP"].tolist() == pytest.approx([1.0, 2.0])
    assert np.isnan(tables.spread(made_up.shown("smoke", seeds=1))["over seeds"]).all()


def test_spread_pools_the_settings_variances():
    """s = 0.05 for beta 60, 0.01 for the five others."""
    shown = made_up.shown("smoke", told={"beta-vae_60": dict(sap=[0.2, 0.25, 0.3])})
    pooled = np.sqrt((5 * 0.01**2 + 0.05**2) / 6)
    assert tables.spread(shown).loc[0, "over seeds"] == pytest.approx(pooled)


def test_the_spread_leaves_out_models_that_ignore_their_latents():
    silent, loud = (
        tables.spread(made_up.shown("smoke", told={"beta-vae_60": dict(sap=[0.1] * 3, kl=kl)}))
        for kl in (0.05, 5.0)
    )
    assert silent["over seeds"].iloc[0] == pytest.approx(0.01)  # seeds lie 0.01 apart
    assert loud["over seeds"].iloc[0] == pytest.approx(0.01 * (5 / 6) ** 0.5)


# --- covariances ---


def test_covariances_by_hand():
    """One pair of 45 covaries, by the root of 1 * 0.5 times 0.1, 0.11 and 0.12."""
    table = tables.covariances(made_up.shown("smoke")).set_index("method")
    assert table.index.tolist() == [s.label for s in profiles.table_1()]
    row = table.loc["VAE"]
    assert row["seeds"] == 3 and row["latents in use"] == "2.0"  # of 1, 0.5 and eight times 0.001
    assert row["mean |correlation|"] == "0.1100 ± 0.0248"
    covariance = 0.11 * np.sqrt(0.5) / 45, 0.02484 * np.sqrt(0.5) / 45
    assert row["mean |C_ij|, i != j"] == "{:.4f} ± {:.4f}".format(*covariance)
    assert row["Var of mu, seed 0"] == "0.00 to 1.00" and row["Var of z, seed 0"] == "0.90 to 1.10"


def test_the_correlation_is_of_runs_that_have_two_latents_in_use():
    shown = made_up.shown("smoke")
    for result in shown.results[:2]:  # two of the VAE's three seeds
        result["metrics"]["covariance_of_means"][1][1] = 0.001
    row = tables.covariances(shown).iloc[0]
    assert row["mean |correlation|"] == "0.1200" and row["seeds"] == 3
    assert row["seeds with two or more latents in use"] == 1
    assert row["latents in use"] == "1.3"
    shown.results[2]["metrics"]["covariance_of_means"][1][1] = 0.001
    assert tables.covariances(shown).loc[0, "mean |correlation|"] == ""
