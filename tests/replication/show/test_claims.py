"""Verdicts on the paper's claims and on our own question, in made-up worlds and by hand."""

import dataclasses

import made_up
import numpy as np
import pandas as pd
import pytest
from made_up import SEEDS

from replication import profiles
from replication.show import claims, summary, tables
from replication.show.statistics import interval

SHORT = dict(
    zip(("vae", "b4", "b60", "i10", "ii5", "ii500"), (s.name for s in profiles.table_1()))
) | {
    "b16": "beta-vae_16", "i10_running": "dip-vae-i_10_running-covariance",
    "ii5_running": "dip-vae-ii_5_running-covariance",
}  # fmt: skip
CLAIMS = (
    "higher Z-diff", "SAP rises", "about the SAP", "differently", "trade-off", "minibatch",
    "decorrelates",
)  # fmt: skip
# Z-diff, SAP, reconstruction error, correlation, KL
RIGHT = dict(
    vae=(80, 0.05, 0.002, 0.5), b60=(95, 0.55, 0.011, 0.1), i10=(98, 0.2, 0.002, 0.1),
    ii5=(95, 0.2, 0.002, 0.1), ii500=(98, 0.55, 0.008, 0.1),
)  # fmt: skip
WRONG = dict(
    vae=(98, 0.6, 0.002, 0.1), b60=(95, 0.3, 0.001, 0.1), i10=(80, 0.2, 0.004, 0.4),
    ii5=(95, 0.2, 0.002, 0.4), ii500=(98, 0.1, 0.012, 0.4), i10_running=(80, 0.4, 0.004, 0.4),
    ii5_running=(95, 0.4, 0.002, 0.4),
)  # fmt: skip


def world(profile="evening", seeds=SEEDS, **told) -> summary.ProfileResults:
    """Results on 2D Shapes where the models named have these scores."""
    return made_up.shown(profile, seeds=seeds, told={SHORT[k]: v for k, v in told.items()})


def answers(shown: summary.ProfileResults) -> dict[str, str]:
    """The verdict on each claim about 2D Shapes, by a word of the claim."""
    found, ending = claims.verdicts(shown), f", at {shown.results[0]['settings']['steps']:,} steps"
    assert all(word in claim for word, claim in zip(CLAIMS, found["claim"], strict=True))
    assert found["verdict"].str.endswith(ending).all()
    return dict(zip(CLAIMS, found["verdict"].str.removesuffix(ending)))


def verdicts(profile="evening", seeds=SEEDS, **told) -> dict[str, str]:
    return answers(world(profile, seeds, **told))


def ignores(name: str) -> str:
    (model,) = [s for s, _ in profiles.plan("evening") if s.name == SHORT[name]]
    return f"undecided ({model.label} ignores its latents)"


# --- worlds ---


def test_verdicts_of_a_world_where_the_paper_is_right():
    assert verdicts(**RIGHT) == dict.fromkeys(CLAIMS, "reproduced")


def test_verdicts_of_a_world_where_it_is_wrong():
    assert verdicts(**WRONG) == dict.fromkeys(CLAIMS, "not reproduced")


def test_equal_scores_decide_what_equal_scores_can():
    equal, open_ = verdicts(), "undecided (no number of seeds in sight)"
    assert [equal[word] for word in CLAIMS[:3]] == [open_] * 3 and equal["trade-off"] == open_
    # Equal is what two claims deny and one says.
    assert equal["differently"] == equal["decorrelates"] == "not reproduced"
    assert equal["minibatch"] == "reproduced"


@pytest.mark.parametrize("told", [{}, RIGHT, WRONG])
def test_one_seed_decides_nothing(told):
    assert verdicts(seeds=1, **told) == dict.fromkeys(CLAIMS, "undecided (one seed)")


def test_differences_are_taken_seed_by_seed_and_shown():
    """Seeds differ by 30 points and the models by 1, 2 and 3: mean 2, half 2.484; four seeds would
    decide it, since t(0.975, 3) / sqrt(4) = 1.591.
    """
    vae = dict(zdiff=[40.0, 55.0, 70.0], sap=0.2, error=0.002)
    shown = world(vae=vae, i10=dict(zdiff=[41.0, 57.0, 73.0], error=0.002))
    assert answers(shown)["higher Z-diff"] == "undecided (about 4 seeds would decide it)"
    row = claims.verdicts(shown).iloc[0]
    assert row["seeds"] == "3"
    assert row.iloc[2].startswith("Z-diff (%), DIP-VAE-I (10) minus VAE: 2.0 (-0.5 to 4.5, n = 3)")
    error = "rec. error, 1.25 times VAE minus DIP-VAE-I (10): 0.0005 (0.0005 to 0.0005"
    assert error in row.iloc[2]
    both = claims.verdicts(shown).iloc[3, 2]
    assert "SAP, beta-VAE (60) minus DIP-VAE-I (10), minus 0.05" in both
    assert "Z-diff (%), DIP-VAE-I (10) minus beta-VAE (60), plus 2" in both
    steady = world(vae=vae, i10=dict(zdiff=[42.0, 57.1, 71.9], error=0.002))
    assert answers(steady)["higher Z-diff"] == "reproduced"


def test_of_several_open_conditions_the_slowest_tells_the_seeds():
    """SAP differs by 0.1, 0.2 and 0.3 (four seeds), the error by -0.5, 0.5 and 1.5 times 0.001."""
    vae = dict(sap=[0.2] * 3, error=[0.010] * 3)
    b60 = dict(sap=[0.3, 0.4, 0.5], error=[0.0095, 0.0105, 0.0115])
    found = verdicts(vae=vae, b60=b60)["SAP rises"]
    assert found == "undecided (about 18 seeds would decide it)"


def test_one_condition_that_fails_is_enough():
    b60 = dict(sap=[0.3, 0.4, 0.5], error=[0.001] * 3)  # SAP open, the error below the VAE's
    told = verdicts(vae=dict(sap=[0.2] * 3, error=[0.01] * 3), b60=b60)
    assert told["SAP rises"] == "not reproduced"


def condition(*values):
    return claims.Condition("", np.array(values), "sap")


@pytest.mark.parametrize(
    ("conditions", "answer"),
    [
        ([condition(1.0, 1.1)], "reproduced"),
        ([condition(1.0, 1.1), condition(-1.0, -1.1)], "not reproduced"),
        (
            [condition(1.0, 1.1), condition(1.0, 2.0, 3.0)],
            "undecided (about 4 seeds would decide it)",
        ),
        ([condition(1.0)], "undecided (one seed)"),
        ([condition(-1.0, 1.0)], "undecided (no number of seeds in sight)"),
        (  # what is on its way below 0 decides by itself, however soon or late others rise
            [condition(-1.0, -2.0, -3.0, 2.0), condition(1.0, 2.0, 3.0)],
            "undecided (about 21 seeds would decide it)",
        ),
        (
            [condition(-1.0, -2.0, -3.0), condition(-0.1, -3.0, 2.9), condition(0.0, 0.0, 0.001)],
            "undecided (about 4 seeds would decide it)",
        ),
        (
            [condition(-1.0, 0.999), condition(1.0, 2.0, 3.0)],
            "undecided (no number of seeds in sight)",
        ),
    ],
)
def test_verdict_by_hand(conditions, answer):
    assert claims.verdict(conditions) == answer


# --- models that ignore their latents ---


def test_a_model_that_ignores_its_latents_decides_nothing_and_is_named():
    found = verdicts(**RIGHT | {"b60": (20, 0.0, 0.04, 0.0, 0.02)})
    # A collapsed point of a curve leaves the trade-off decided.
    assert {w for w, answer in found.items() if answer == ignores("b60")} == {
        "SAP rises", "about the SAP", "differently",
    }  # fmt: skip
    assert {answer for answer in found.values() if answer != ignores("b60")} == {"reproduced"}
    collapsed = made_up.shown("smoke", told={"beta-vae_60": (20, 0.0, 0.04, 0.0, 0.02)})
    notes = tables.table_1_notes(collapsed)
    assert "beta-VAE (beta 60): 3 of 3 runs ignore their latents" in notes
    assert "† published value recalled" in notes


def test_a_model_that_uses_one_latent_is_named_with_its_sap_of_all_latents():
    """SAP is made up to be 0.1 more with no threshold."""
    shown = made_up.shown("smoke", told={"dip-vae-ii_500": dict(sap=[0.2, 0.3, 0.4])})
    assert "one latent" not in tables.table_1_notes(shown)
    for result in shown.results:
        if result["settings"]["lambda_od"] == 500 and result["seed"] > 0:
            result["metrics"]["covariance_of_means"][1][1] = 0.001
    assert (
        "With one latent in use SAP has no second best to subtract: DIP-VAE-II (500) in 2 of 3 "
        "runs (mean 0.350; counting latents that are off, 0.450)."
    ) in tables.table_1_notes(shown)


def test_a_reading_that_uses_one_latent_is_named_beside_the_papers_settings():
    told = {"dip-vae-ii_5_m3-200_third-moments": dict(sap=[0.2, 0.3, 0.4])}
    shown = made_up.shown("smoke", told=told)
    assert tables.readings_notes(shown) == ""
    for result in shown.readings:
        if result["settings"]["reading"] == "third moments" and result["seed"] > 0:
            result["metrics"]["covariance_of_means"][1][1] = 0.001
    assert tables.readings_notes(shown).endswith(
        "to subtract: DIP-VAE-II (5), third moments in 2 of 3 runs (mean 0.350; counting latents "
        "that are off, 0.450)."
    )
    assert tables.readings_notes(dataclasses.replace(shown, readings=[])) == ""


def test_verdicts_that_hang_on_the_latents_that_are_off_are_named():
    """beta-VAE (60) has a higher SAP than the VAE; with every latent counted in, a lower one."""
    shown = made_up.shown("smoke", told={"beta-vae_60": dict(sap=[0.8, 0.81, 0.82], error=0.09)})
    before = claims.other_verdicts(shown)
    assert "claim 2" not in before
    for result in shown.results:
        if result["settings"]["beta"] == 60:
            below = result["metrics"]["sap"]["score_with_inactive_below"]
            below["0.0"] = 0.01 + 0.001 * result["seed"]
    after = claims.other_verdicts(shown)
    assert "off (variance of mu below 0.01) as well: " in after
    assert "claim 2 not reproduced" in after
    kept = claims.verdicts(shown)["verdict"][1]
    assert kept.startswith("reproduced")  # the results themselves are as they were


def test_looks_at_an_unfinished_profile_are_said():
    few, all_of_it = (made_up.shown("quick", seeds=seeds) for seeds in (2, 3))
    assert claims.interim(few).startswith("Looked at with 12 of the 18 runs that the rules ask for")
    assert claims.interim(all_of_it) == ""


def test_looks_are_said_until_every_run_that_a_rule_asks_for_is_there():
    """Twenty seeds of six rows, five of six points, ten of two running covariances: 170 runs."""
    shown = made_up.shown("evening", seeds=None)
    assert claims.interim(shown) == ""

    def without(reading, first):
        kept = [
            r for r in shown.readings if r["settings"]["reading"] != reading or r["seed"] < first
        ]
        return claims.interim(dataclasses.replace(shown, readings=kept))

    assert without("running covariance", 5).startswith("Looked at with 160 of the 170 runs")
    assert without("third moments", 5) == ""  # no rule asks for them


@pytest.mark.parametrize(("correlation", "said"), [(0.04, "is 0.04, next to nothing"), (0.3, "")])
def test_a_rule_that_asks_for_nothing_is_said(correlation, said):
    shown = made_up.shown("smoke", told={"beta-vae_1": dict(correlation=correlation)}, seeds=1)
    found = claims.badly_chosen(shown)
    assert said in found and bool(found) == bool(said)


@pytest.mark.parametrize(
    ("kl", "counts"),
    [
        ([5.0, 5.0, 0.02, 5.0, 5.0], True),  # a fifth: every seed counts
        ([5.0, 0.02, 5.0, 5.0], True),  # a quarter
        ([5.0, 0.02, 5.0], False),  # a third
        ([0.02, 0.02, 5.0, 5.0, 5.0], False),
        ([0.1, 0.1, 0.1], True),  # on the line: in use
    ],
)
def test_more_than_a_quarter_of_the_runs_have_to_ignore_their_latents(kl, counts):
    zdiff = [98.0 if value > 0.05 else 20.0 for value in kl]
    shown = world(seeds=len(kl), **RIGHT | {"i10": dict(kl=kl, zdiff=zdiff, error=0.002)})
    assert (answers(shown)["higher Z-diff"] == ignores("i10")) is not counts
    if counts:  # the seed that ignores its latents is among them
        found = claims.CLAIMS[0].test(shown)[0].values
        assert found == pytest.approx(np.array(zdiff) - 80 - 0.01 * np.arange(len(kl)))


# --- single claims ---


@pytest.mark.parametrize(
    ("i10", "answer"),
    [
        ((93.5, 0.2, 0.002, 0.1), "reproduced"),  # 1.5 points below beta-VAE's 95: close enough
        ((92.5, 0.2, 0.002, 0.1), "not reproduced"),  # 2.5 points
        ((98, 0.55, 0.002, 0.1), "not reproduced"),  # as high a SAP: both scores rank alike
        ((98, 0.51, 0.002, 0.1), "not reproduced"),  # only 0.04 below
        ((98, 0.49, 0.002, 0.1), "reproduced"),  # 0.06 below
        ((98, 0.2, 0.002, 0.1, 0.05), ignores("i10")),
    ],
)
def test_sap_and_zdiff_rank_differently(i10, answer):
    assert verdicts(**RIGHT | {"i10": i10})["differently"] == answer


@pytest.mark.parametrize(
    ("ii500", "answer"),
    [
        ((98, 0.51, 0.008, 0.1), "reproduced"),  # 0.04 below
        ((98, 0.49, 0.008, 0.1), "not reproduced"),
        ((98, 0.55, 0.012, 0.1), "not reproduced"),  # a higher error
    ],
)
def test_about_the_same_sap_with_a_lower_error(ii500, answer):
    assert verdicts(**RIGHT | {"ii500": ii500})["about the SAP"] == answer


@pytest.mark.parametrize(
    ("running", "answer"),
    [
        ({"i10_running": (98, 0.1, 0.002, 0.1)}, "reproduced"),  # a loss is no gain
        ({"i10_running": (98, 0.22, 0.002, 0.1)}, "reproduced"),
        ({"ii5_running": (95, 0.3, 0.002, 0.1)}, "not reproduced"),  # 0.1 above, of II alone
        ({"ii5_running": (95, 0.2, 0.002, 0.1, 0.01)},
         ignores("ii5").replace(" ignores", ", running covariance ignores")),
    ],
)  # fmt: skip
def test_minibatch_covariance_is_enough(running, answer):
    assert verdicts(**RIGHT | running)["minibatch"] == answer


def test_a_claim_whose_runs_a_profile_lacks_is_undecided():
    quick = verdicts(profile="quick", **RIGHT)
    lacks = "undecided (DIP-VAE-I (lambda_od 10), running covariance has not been run here)"
    assert quick["minibatch"] == lacks
    assert quick["trade-off"] == "undecided (a curve of Figure 1 has 1 point; 4 are needed)"
    assert {quick[word] for word in CLAIMS if word not in ("minibatch", "trade-off")} == {
        "reproduced"
    }


def test_models_without_a_common_seed_are_undecided():
    shown = world(**RIGHT)
    others = [r | {"seed": r["seed"] + 10} for r in shown.readings]
    found = answers(dataclasses.replace(shown, readings=others))
    assert found["minibatch"] == "undecided (two models have no seed in common)"
    assert found["higher Z-diff"] == "reproduced"


def test_decorrelated_takes_two_latents_in_use():
    shown = world(**RIGHT)
    assert answers(shown)["decorrelates"] == "reproduced"
    for result in shown.results:
        if result["settings"]["objective"] == "dip-vae-i":
            result["metrics"]["covariance_of_means"][1][1] = 0.001
    few = "undecided (the VAE or DIP-VAE-I (lambda_od 10) has fewer than two latents in use)"
    assert answers(shown)["decorrelates"] == few
    for name in ("vae", "i10"):
        silent = {name: (*RIGHT[name][:3], 0.1, 0.05)}
        assert verdicts(**RIGHT | silent)["decorrelates"] == ignores(name)


@pytest.mark.parametrize(("ii5", "answer"), [(0.24, "reproduced"), (0.27, "not reproduced")])
def test_decorrelated_means_half_of_the_vaes(ii5, answer):
    """The VAE's are 0.5, 0.51 and 0.52."""
    told = {"ii5": dict(error=0.002, correlation=[ii5] * 3)}
    assert verdicts(**RIGHT | told)["decorrelates"] == answer


# --- the best trade-off ---


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"i10": (98, 0.5, 0.002, 0.1)}, "not reproduced"),  # I has the best SAP almost throughout
        ({"b4": (80, 0.6, 0.002, 0.1)}, "not reproduced"),
        ({"b16": (20, 0.0, 0.03, 0.1, 0.05)}, "reproduced"),  # a point that ignores its latents
    ],
)
def test_best_trade_off(change, answer):
    assert verdicts(**RIGHT | change)["trade-off"] == answer


def test_curves_are_compared_only_where_all_are_there():
    whole = world(**RIGHT)
    left = [r for r in whole.results if r["settings"]["lambda_od"] != 50]
    found = answers(dataclasses.replace(whole, results=left))
    assert found["trade-off"] == "undecided (points of Figure 1 have not been run)"
    assert found["higher Z-diff"] == "reproduced"


def test_a_curve_takes_four_points():
    counts = {}
    for settings, _ in profiles.plan("evening", data="shapes2d"):
        if not settings.reading:
            counts[settings.objective] = counts.get(settings.objective, 0) + 1
    assert counts == dict.fromkeys(("beta-vae", "dip-vae-i", "dip-vae-ii"), claims.CURVE_POINTS)


def test_best_sap_within_by_hand():
    runs = pd.DataFrame({"sap": [0.1, 0.5, 0.3], "reconstruction_error": [0.01, 0.04, 0.02]})
    errors = np.array([0.005, 0.01, 0.03, 0.05])  # none, the first, the first and third, all
    assert claims.best_sap_within(runs, errors) == pytest.approx((0 + 0.1 + 0.3 + 0.5) / 4)
    assert claims.best_sap_within(runs, np.array([0.04])) == 0.5
    assert claims.best_sap_within(runs[:0], errors) == 0.0


def test_trade_offs_take_the_seeds_that_all_points_have():
    """Errors from 0.01 to 0.04 on a log scale, 200 of them: half lie above 0.02."""
    told = {}
    for settings, _ in profiles.plan("evening", data="shapes2d"):
        error = {"beta-vae": 0.01, "dip-vae-ii": 0.02, "dip-vae-i": 0.04}[settings.objective]
        told[settings.name] = dict(sap=[0.1, 0.3, 0.5], error=[error] * 3)
    shown = made_up.shown("evening", told=told)
    left = [r for r in shown.results if (r["seed"], r["settings"]["lambda_od"]) != (2, 50)]
    found = claims.trade_offs(dataclasses.replace(shown, results=left))
    assert found["beta-vae"].to_dict() == pytest.approx({0: 0.1, 1: 0.3})
    assert found["dip-vae-ii"].to_dict() == pytest.approx({0: 0.05, 1: 0.15})
    # At the last of the 200 errors alone.
    assert found["dip-vae-i"].to_dict() == pytest.approx({0: 0.0005, 1: 0.0015})


# --- the claim on CelebA ---

FACES = {
    "vae": "celeba_beta-vae_1", "b2": "celeba_beta-vae_2", "b8": "celeba_beta-vae_8",
    "i2": "celeba_dip-vae-i_2", "ii1": "celeba_dip-vae-ii_1",
}  # fmt: skip
SHAPES = world("quick")


def on_faces(seeds=SEEDS, source="official", kl=5.0, **accuracies) -> str:
    """The verdict where models have these mean accuracies, plain and balanced; `kl` is beta 8's."""
    usual = dict(vae=(80, 70), b2=(80, 70), b8=(78, 68), i2=(81, 71), ii1=(81, 71))
    told = {
        FACES[name]: dict(accuracy=plain, balanced=balanced, kl=kl if name == "b8" else 5.0)
        for name, (plain, balanced) in (usual | accuracies).items()
    }
    faces = made_up.shown("quick", "celeba", seeds, told, source)
    found = claims.verdicts(SHAPES, faces)
    assert len(found) == 8 and found.iloc[6]["claim"].startswith("7. On CelebA, attributes are")
    assert claims.verdicts(SHAPES).equals(found.drop(index=6).reset_index(drop=True))
    verdict = found.iloc[6]["verdict"]
    ending = f", at {faces.results[0]['settings']['steps']:,} steps"
    assert verdict.endswith(ending)
    return verdict.removesuffix(ending)


@pytest.mark.parametrize(
    ("accuracies", "answer"),
    [
        ({}, "reproduced"),
        ({"i2": (79.8, 69.8)}, "reproduced"),  # 0.2 below: at least as well
        ({"i2": (79.0, 71)}, "not reproduced"),  # a point below in plain accuracy
        ({"ii1": (81, 69.0)}, "not reproduced"),  # and in the balanced one
        ({"b8": (82, 68)}, "not reproduced"),  # better than beta 2
        ({"b2": (82, 70)}, "not reproduced"),  # better than DIP-VAE
        ({"b8": ([79.0, 78.0, 77.0], 68)}, "undecided (about 4 seeds would decide it)"),
    ],
)
def test_attributes_are_predicted_at_least_as_well(accuracies, answer):
    """In the last case beta 2's 80, 80.01 and 80.02 less beta 8's are near 1, 2 and 3."""
    assert on_faces(**accuracies) == answer


def test_a_stand_in_decides_nothing_and_neither_does_one_seed_or_a_model_that_learnt_nothing():
    stand_in = dict(source="stand-in")
    assert on_faces(**stand_in) == "needs CelebA (on small faces: reproduced)"
    assert on_faces(**stand_in, i2=(70, 60)) == "needs CelebA (on small faces: not reproduced)"
    assert on_faces(seeds=1) == "undecided (one seed)"
    assert on_faces(kl=0.01) == "undecided (beta-VAE (beta 8) ignores its latents)"


# --- our own question ---


def test_luck_is_the_ratio_of_variances_over_seeds():
    """By hand in test_statistics.py: a quarter of the variance, 0.04 to 1.70."""
    five = [1.0, 2.0, 3.0, 4.0, 5.0]
    steady = [50 + value / 50 for value in five]
    vae = dict(zdiff=[50 + 2 * value for value in five], sap=0.2)
    told = dict(vae=vae, i10=dict(zdiff=[50 + v for v in five]), ii5=dict(zdiff=steady))
    found = claims.luck(world(seeds=5, **told)).set_index(["model", "score"])
    assert len(found) == 6 and list(found.columns)[-1] == "answer"
    row = found.loc[("DIP-VAE-I (lambda_od 10)", "Z-diff (%)")]
    assert row.tolist() == ["1.6", "3.2", "0.25 (0.04 to 1.70, n = 5)", "undecided"]
    assert found.loc[("DIP-VAE-II (lambda_od 5)", "Z-diff (%)"), "answer"] == "steadier"
    assert (found.xs("SAP", level="score")["answer"] == "undecided").all()
    told = dict(vae=dict(sap=[v / 10 for v in five]), i10=dict(sap=[v / 20 for v in five]))
    row = claims.luck(world(seeds=5, **told)).set_index(["model", "score"])
    deviations = row.loc[("DIP-VAE-I (lambda_od 10)", "SAP"), ["deviation", "the VAE's"]]
    assert deviations.tolist() == ["0.079, 53 % of the mean", "0.158, 53 % of the mean"]
    loud = dict(vae=dict(zdiff=steady), ii500=dict(zdiff=[50 + value for value in five]))
    found = claims.luck(world(seeds=5, **loud)).set_index(["model", "score"])
    assert found.loc[("DIP-VAE-II (lambda_od 500)", "Z-diff (%)"), "answer"] == "less steady"


def test_luck_says_why_it_is_not_known():
    found = claims.luck(world("quick", seeds=4))
    assert set(found["answer"]) == {"undecided (fewer than five seeds, or none that differ)"}
    found = claims.luck(world("quick", seeds=5, ii5=dict(kl=0.0))).set_index("model")
    silent = found.loc["DIP-VAE-II (lambda_od 5)"]
    assert set(silent["answer"]) == {ignores("ii5")}
    assert set(silent["ratio of variances"]) == {""}


def test_a_condition_is_the_mean_of_its_values():
    assert condition(1.0, 2.0, 3.0).found == interval(np.array([1.0, 2.0, 3.0]))
