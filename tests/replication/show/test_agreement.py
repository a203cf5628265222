"""Do the rulers agree: rank correlations, places, shares of variance and the rest, by hand."""

import dataclasses

import made_up
import numpy as np
import pandas as pd
import pytest

from dipvae_src.settings import Settings
from replication import profiles
from replication.score_readings import NAMES
from replication.show import agreement, findings, wording

NAMED = [settings.name for settings in profiles.table_1()]
LABELS = [settings.label for settings in profiles.table_1()]


def frame(seeds: int, models: int = 4, **scores) -> pd.DataFrame:
    """Runs in which every score is the model's number plus the seed's tenth, unless told."""
    rows = [(f"m{m}", s, m) for m in range(models) for s in range(seeds)]
    runs = pd.DataFrame(rows, columns=["label", "seed", "model"])
    for score in agreement.COLUMNS:
        runs[score] = runs["model"] + 0.1 * runs["seed"]
    return runs.assign(**scores)


def measured_by(shown, **fields):
    """Results with further fields: field=lambda index, result: value."""
    results = [r | {k: of(i, r) for k, of in fields.items()} for i, r in enumerate(shown.results)]
    return dataclasses.replace(shown, results=results)


def rulers_of(number: float) -> dict:
    names = ("mig", "factor_vae", "disentanglement", "completeness", "informativeness")
    return {"code": "0" * 16} | dict.fromkeys(names, number)


def test_scores_in_the_same_order_have_correlation_1_in_the_reverse_minus_1():
    runs = frame(6)
    runs["zdiff"], runs["mig"] = np.exp(runs["sap"]), -runs["sap"]
    found, low, high = agreement.rank_correlations(runs)
    assert found.loc["SAP", "Z-diff"] == pytest.approx(1) and found.loc["SAP", "MIG"] == -1
    assert low.loc["SAP", "Z-diff"] == pytest.approx(1) and high.loc["SAP", "MIG"] == -1


def test_the_interval_covers_what_chance_does_and_takes_five_seeds():
    rng = np.random.default_rng(0)
    runs = frame(20).assign(zdiff=rng.normal(size=80))
    found, low, high = (table.loc["SAP", "Z-diff"] for table in agreement.rank_correlations(runs))
    assert low < 0 < high and low < found < high
    assert 0.2 < high - low < 0.8  # about 2 * 1.96 / sqrt(80 - 1)
    assert agreement.rank_correlations(frame(4))[1].isna().all(axis=None)
    assert agreement.correlation_table(frame(4)).loc[0, "SAP"] == "1.00"
    assert agreement.correlation_table(frame(5)).loc[0, "SAP"] == "1.00 (1.00 to 1.00)"
    one_has_four = frame(5).drop(index=0)
    assert agreement.correlation_table(one_has_four).loc[0, "SAP"] == "1.00"


def test_variance_is_shared_between_model_and_seed_by_hand():
    """Models 0 to 3 and seeds 0, 0.1: variances 1.25 and 0.0025 of 1.2525, nothing left."""
    table = agreement.shares_of_variance(frame(2)).set_index("score").loc["SAP"]
    assert table["model"] == pytest.approx(100 * 1.25 / 1.2525)
    assert table["seed"] == pytest.approx(100 * 0.0025 / 1.2525)
    assert table["both together"] == pytest.approx(0, abs=1e-9)
    assert table["model, by chance"] == pytest.approx(100 * 3 / 7)


def test_a_model_that_lacks_a_seed_takes_no_part_in_the_shares():
    runs = frame(3).drop(index=0)  # of model 0, which is then left out: 1, 2, 3 remain
    table = agreement.shares_of_variance(runs).set_index("score").loc["SAP"]
    assert table["model"] == pytest.approx(100 * (2 / 3) / (2 / 3 + 0.02 / 3))
    assert set(agreement.with_every_seed(runs)["label"]) == {"m1", "m2", "m3"}


def test_runs_that_say_nothing_leave_cells_empty():
    alike = frame(3).assign(sap=0.0)  # as where every latent is off
    table = agreement.correlation_table(alike)
    assert table.loc[0].tolist()[:2] == ["Z-diff", ""] and table.loc[1, "Z-diff"] == "1.00"
    assert agreement.shares_of_variance(alike).loc[0].isna().tolist() == [False] + [True] * 3 + [
        False
    ]
    for few in (frame(1, models=1), frame(0)):
        assert agreement.correlation_table(few).loc[0, "SAP"] == ""
    assert agreement.shares_of_variance(frame(1, models=1)).loc[0, "model, by chance"] == 0
    assert agreement.shares_of_variance(frame(0)).empty
    assert "nan" not in wording.markdown(agreement.shares_of_variance(alike))


def test_only_runs_that_were_measured_are_compared_and_each_has_its_place():
    told = {name: dict(sap=0.1 * k, zdiff=60 - k) for k, name in enumerate(NAMED)}
    shown = made_up.shown("quick", told=told)
    shown = measured_by(shown, rulers=lambda i, r: rulers_of(0.01 * i))
    del shown.results[0]["rulers"]
    assert len(agreement.measured(shown)) == len(shown.results) - 1
    assert findings.rulers(shown) == (
        "Most alike (rank correlation over 17 runs): FactorVAE and DCI (1.00); least: SAP and "
        "Z-diff (-0.95); SAP and Z-diff: -0.95. Of Table 1's models first comes DIP-VAE-II (500) "
        "by SAP, MIG, FactorVAE and DCI, VAE by Z-diff; last VAE by SAP, MIG, FactorVAE and DCI, "
        "DIP-VAE-II (500) by Z-diff."
    )
    off = made_up.shown("quick", told={name: dict(sap=[0.0] * 3) for name in NAMED})
    off = findings.rulers(measured_by(off, rulers=lambda i, r: rulers_of(0.01 * i)))
    assert "FactorVAE and DCI (1.00)" in off and "nan" not in off and "SAP" not in off
    assert findings.rulers(made_up.shown("quick")) == ""
    first = dataclasses.replace(shown, results=shown.results[1:2])
    assert findings.rulers(first) == ""
    places = agreement.places(shown).set_index("model")
    assert places["SAP"].tolist() == [6, 5, 4, 3, 2, 1]
    assert places["Z-diff"].tolist() == [1, 2, 3, 4, 5, 6]
    assert places["MIG"].tolist() == [6, 5, 4, 3, 2, 1]


def test_readings_are_shown_as_changes_with_their_interval():
    shown = made_up.shown("quick")
    moved = (1.0, 2.0, 3.0)  # seeds 0, 1, 2: mean 2, s = 1

    def read(_, result: dict) -> dict:
        metrics, by = result["metrics"], moved[result["seed"]]
        zdiff, sap = metrics["zdiff"]["accuracy"] + by, metrics["sap"]["score"]
        return {n: zdiff if n.startswith("Z-diff") else sap for n in NAMES}

    table = agreement.score_readings(measured_by(shown, readings=read)).set_index("reading")
    assert table.loc["Z-diff, logistic regression", LABELS[0]] == "2.0 ± 2.5"
    assert table.loc["SAP, 5,000 images", LABELS[3]] == "0.000 ± 0.000"
    assert agreement.score_readings(shown).empty
    first = [result for result in shown.results if result["settings"]["beta"] == 1][:1]
    first[0]["all_images"] = {"SAP, 9 images": first[0]["metrics"]["sap"]["score"] + 0.25}
    (row,) = agreement.score_readings(shown).to_dict("records")
    assert (row["reading"], row[LABELS[0]], row[LABELS[3]]) == ("SAP, 9 images", "0.250", "")


def test_traversals_that_rank_as_sap_and_against_z_diff():
    told = {name: dict(sap=0.1 * k, zdiff=60 - k) for k, name in enumerate(NAMED)}
    shown = made_up.shown("quick", told=told)
    scores = {name: 0.1 * k for k, name in enumerate(LABELS)}

    def said(_, result: dict) -> dict:
        settings = Settings(**result["settings"])
        return {"score": scores[settings.label] if result["seed"] == 0 else None}

    table, agreeing = agreement.traversals(measured_by(shown, traversals=said))
    assert len(table) == 6
    assert agreeing["rank correlation"].tolist() == pytest.approx([1, -1])
    assert (agreeing["p"] < 0.01).all()  # 2 of 720 orders
    assert agreement.traversals(shown)[1].empty


def test_scores_from_outside_stand_beside_ours_or_alone():
    shown = made_up.shown("quick")
    alone = agreement.outside(shown)
    assert alone["FactorVAE (%), theirs"].tolist() == [59.5, 60.7]
    assert alone["MIG"].tolist() == ["not run", "not run"]
