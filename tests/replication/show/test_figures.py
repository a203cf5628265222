"""What the drawn figures hold: every run, every seed, the numbers of the tables."""

import dataclasses

import made_up
import matplotlib.pyplot as plt
import pytest
from made_up import SEEDS
from matplotlib.text import Text

from replication import profiles
from replication.show import figures, findings, published, summary, tables


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_heat_maps_put_the_latents_in_the_order_of_their_kl_those_that_are_off_last():
    """The third latent, which is off, has the largest KL, then the first and second: the variances
    of their means are 0.001, 1 and 0.5, the mean variances 0.9, 0.1 and 0.4.
    """
    figure = figures.heat_maps(made_up.shown("smoke"))
    maps = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert len(maps) == len(profiles.table_1())
    assert maps[0].mask[2].all() and not maps[0].mask[:2, :2].any()
    assert maps[0][0, :2].tolist() == pytest.approx([1.0, -0.1])
    bars = next(axis for axis in figure.axes if axis.patches).patches
    assert [bar.get_height() for bar in bars[:3]] == pytest.approx([1.0, 0.5, 0.001])
    assert [bar.get_height() for bar in bars[10:13]] == pytest.approx([0.1, 0.4, 0.9])
    tops = [bar.get_y() + bar.get_height() for bar in bars[10:13]]
    assert tops == pytest.approx([1.1, 0.9, 0.901])


@pytest.mark.parametrize(
    ("data", "source", "name"),
    [("shapes2d", "rendered", "SAP"), ("celeba", "stand-in", "SAP x 100")],
)
def test_trade_off_has_a_dot_for_every_run_a_curve_for_every_objective_and_the_papers(
    data, source, name
):
    shown = made_up.shown("smoke", data, source=source)
    paper = {} if source == "stand-in" else published.table_1(data)
    figure = figures.trade_off(shown)
    for axis, label, metric in zip(figure.axes, (name, "Z-diff (%)"), ("sap", "zdiff")):
        dots = sum(len(dots.get_offsets()) for dots in axis.collections)
        assert dots == len(shown.results) and axis.get_ylabel() == label
        weights = summary.per_setting(shown)["weight"].tolist() + [w for _, w in paper]
        assert len(axis.texts) == len(weights)
        assert {text.get_text() for text in axis.texts} - {"VAE"} <= {f"{w:g}" for w in weights}
        hollow = {y for line in axis.lines[1::2] for y in line.get_ydata()}
        assert hollow == {row[metric] for row in paper.values()}
    entries = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    kept = ["beta-VAE", "DIP-VAE-I", "DIP-VAE-II", "a seed"]
    assert entries == kept + ["the paper's, recalled"] * bool(paper)


def test_labels_do_not_cover_one_another():
    """Ten points on one spot and beside it: as many texts as have room keep apart."""
    figure, axis = plt.subplots()
    places = [(1.0 + 0.1 * k, 1.0) for k in range(8)]
    axis.plot(*zip(*places), "o")
    axis.set(xlim=(0, 3), ylim=(0, 2))
    figures.label_points(axis, [(x, y, "500", "black") for x, y in places])
    figure.canvas.draw()
    boxes = [Text.get_window_extent(text) for text in axis.texts]  # without the lines to points
    assert not [1 for k, box in enumerate(boxes) for other in boxes[:k] if box.overlaps(other)]


def test_pairs_have_a_line_for_every_seed_and_their_mean():
    told = {
        "beta-vae_1": dict(zdiff=[40.0, 60.0, 80.0], sap=[0.1, 0.2, 0.3]),
        "dip-vae-i_10": dict(zdiff=[50.0, 60.0, 85.0], sap=[0.3, 0.1, 0.2]),
    }
    shown = made_up.shown("smoke", told=told)
    figure = figures.pairs(shown)
    others = profiles.table_1()[1:]
    assert len(figure.axes) == 2 * len(others)
    column = [s.label for s in others].index("DIP-VAE-I (lambda_od 10)")
    expected = {
        0: [[0.1, 0.3], [0.2, 0.1], [0.3, 0.2], [0.2, 0.2]],
        1: [[40.0, 50.0], [60.0, 60.0], [80.0, 85.0], [60.0, 65.0]],
    }
    for row, lines in expected.items():
        axis = figure.axes[row * len(others) + column]
        drawn = [line.get_ydata().tolist() for line in axis.lines]
        assert drawn == [pytest.approx(line) for line in lines] and len(drawn) == SEEDS + 1
        ticks = [text.get_text() for text in axis.get_xticklabels()]
        assert ticks == ["VAE", "DIP-VAE-I\n(10)"]
        assert axis.get_title() == f"{1 + row} of 3 higher"
    assert [figure.axes[k].get_ylabel() for k in (0, len(others))] == ["SAP", "Z-diff (%)"]


def test_attributes_are_drawn_where_they_are_above_chance():
    """75 % have the more frequent class, of 900 images: 25 sqrt((4 + 4 / 3) / 900) = 1.92 is an
    error. Attribute k is read in 48.5 + k percent by all latents, ten points less by one.
    """
    faces = made_up.shown("smoke", "celeba", told={"celeba_dip-vae-i_2": dict(balanced=55.0)})
    for result in faces.results:
        attributes = result["metrics"]["attributes"]
        attributes |= {"test_images": 900, "majority": [75.0] * 14}
    settings = tables.table_2_models(faces)[4]
    table = figures.balanced(faces, settings)
    assert table["all latents"].tolist() == pytest.approx([48.5 + k for k in range(14)])
    assert table["one latent"].tolist() == pytest.approx([38.5 + k for k in range(14)])
    assert table["chance ends at"].iloc[0] == pytest.approx(53.772, abs=1e-3)
    figure = figures.attributes(faces, settings)
    by_all, by_one = figure.axes[0].lines[:2]
    assert by_all.get_xdata().tolist() == pytest.approx([54.5 + k for k in range(8)])
    assert by_one.get_xdata().tolist() == pytest.approx([44.5 + k for k in range(8)])
    title = "8 of 14 attributes are read above chance from the latents of DIP-VAE-I (2), 0 from"
    assert title in unbroken(figure)


def unbroken(figure: plt.Figure) -> str:
    return figure.get_suptitle().replace("\n", " ").replace(figures.NO_BREAK, " ")


# --- what was found ---


def test_titles_say_which_model_is_best_and_whether_it_is_told_apart():
    told = {"dip-vae-i_10": dict(zdiff=80.0, sap=0.1), "dip-vae-ii_5": dict(sap=[0.1, 0.9, 0.3])}
    shown = made_up.shown("smoke", told=told)
    said = (
        "Of Table 1's models, highest SAP: DIP-VAE-II (5), not told apart from the VAE's; highest "
        "Z-diff: DIP-VAE-I (10)"
    )
    assert findings.best_scores(shown) == f"{said}, above the VAE's"
    assert unbroken(figures.trade_off(shown)) == f"{said}, above the VAE's"
    one = made_up.shown("smoke", seeds=1, told=told)
    assert findings.best_scores(one).endswith("DIP-VAE-I (10), not told apart from the VAE's")
    best = made_up.shown("smoke", told={"beta-vae_1": dict(zdiff=90.0, sap=0.9)})
    assert (
        findings.best_scores(best) == "Of Table 1's models, highest SAP: VAE; highest Z-diff: VAE"
    )
    for result in shown.results:
        if result["settings"]["lambda_od"] == 5 and result["seed"] > 0:
            result["metrics"]["covariance_of_means"][1][1] = 0.001
    assert findings.best_scores(shown).startswith(
        "Of Table 1's models, highest SAP: DIP-VAE-II (5), one latent in use in 2 of 3 runs, not "
    )


def test_a_further_point_with_luckier_seeds_is_not_called_the_best():
    before, settings = made_up.shown("smoke"), profiles.experiment("smoke", "beta-vae", 16)
    point = made_up.result("smoke", settings, 0, {settings.name: dict(sap=0.9, zdiff=99.0)})
    shown = dataclasses.replace(before, results=[*before.results, point])
    assert summary.per_setting(shown)["sap"].idxmax() == len(profiles.table_1())
    for said in (findings.best_scores, findings.factors):
        assert said(shown) == said(before)
    assert figures.seeds_of(shown) == "1 to 3 seeds a model"
    assert figures.seeds_of(shown, tables.row_labels(shown)) == "3 seeds a model"


def test_titles_say_which_changes_are_decided():
    told = {
        "beta-vae_4": dict(zdiff=40.0), "beta-vae_60": dict(zdiff=30.0, sap=[0.1, 0.9, 0.3]),
        "dip-vae-i_10": dict(sap=0.3),
    }  # fmt: skip
    found = findings.changes_from_vae(made_up.shown("smoke", told=told))
    assert found == (  # where the paper's Z-diff is 81.3, 80.7 and 95.7, its SAP 0.0417 and 0.1889
        "Against the VAE, as in the paper: SAP higher with DIP-VAE-I (10) and Z-diff lower with "
        "beta-VAE (4); unlike the paper: Z-diff lower with beta-VAE (60); "
        "7 of 10 comparisons undecided"
    )
    none = findings.changes_from_vae(made_up.shown("smoke", seeds=1, told=told))
    assert none == "Against the VAE: 10 of 10 comparisons undecided"


def test_factors_are_told_by_the_best_latent_of_a_run_from_chance_to_all():
    shown = made_up.shown("smoke", seeds=2)
    for result in shown.results:
        sap = result["metrics"]["sap"]
        sap |= {"factors": ["shape", "posX"], "discrete": [True, False]}
        sap["matrix"] = [[1 / 3, 0.2], [2 / 3, 0.1 + 0.2 * result["seed"]], [0.0, 0.0]]
    assert findings.factors(shown) == "shape 0.50, posX 0.25"  # posX: 0.2 and 0.3
    assert findings.factors(made_up.shown("smoke", "chairs")) == ""


def test_titles_say_whose_latents_are_least_correlated():
    told = {"beta-vae_1": dict(correlation=0.5), "dip-vae-i_10": dict(correlation=[0.0, 0.6, 0.0])}
    for model in ("beta-vae_4", "beta-vae_60", "dip-vae-ii_5", "dip-vae-ii_500"):
        told[model] = dict(correlation=0.7)
    shown = made_up.shown("smoke", told=told)
    said = "DIP-VAE-I (10), mean |r| 0.20, in 2 of 3 seeds below the VAE's (0.51)"
    assert findings.least_correlated(shown) == f"Least correlated latents: {said}"
    told["beta-vae_1"] = dict(correlation=0.1)
    vae = findings.least_correlated(made_up.shown("smoke", told=told))
    assert vae == "Least correlated latents: VAE, mean |r| 0.11"
    for result in shown.results:
        result["metrics"]["covariance_of_means"][1][1] = 0.001
    assert findings.least_correlated(shown) == "No model has two latents in use"


def test_the_foot_names_profile_steps_seeds_and_data_and_long_titles_are_not_cut():
    for seeds, drawn in (("", "3 seeds a model"), ("seed 0", "seed 0")):
        made, shown = plt.figure(), made_up.shown("smoke")
        figures.save_figure(shown, figures.heading(made, "X"), "x", "05", "alt", seeds=seeds)
        steps = shown.results[0]["settings"]["steps"]
        said = f"smoke profile, {steps} steps, {drawn}, rendered 2D Shapes; 05, code "
        assert made.get_supxlabel().startswith(said)
    assert figures.seeds_of(made_up.shown("smoke", "chairs", seeds=1)) == "one seed a model"
    figure = figures.heading(plt.figure(), "DIP-VAE-II (500) is best, " * 12)
    assert len(figure.get_suptitle().splitlines()) > 3
    figure.canvas.draw()
    assert figure._suptitle.get_window_extent().x1 < figure.bbox.x1
