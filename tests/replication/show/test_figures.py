"""What the drawn figures hold: every run, every seed, the numbers of the tables."""

import made_up
import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_up import SEEDS
from small import ATTRIBUTES

from replication import profiles
from replication.show import figures, summary, tables


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_heat_maps_put_the_latents_in_the_order_of_their_kl():
    figure = figures.heat_maps(made_up.shown("smoke"), "Covariance")
    maps = [
        np.reshape(axis.collections[0].get_array(), (10, 10))
        for axis in figure.axes
        if axis.collections and np.size(axis.collections[0].get_array()) == 100
    ]
    assert len(maps) == 2 * len(profiles.table_1())
    # The third latent has the largest KL, then the first: 0.001, 1, 0.5; and with the mean
    # variances 0.9, 0.1 and 0.4
    assert np.diag(maps[0])[:3].tolist() == pytest.approx([0.001, 1.0, 0.5])
    assert np.diag(maps[6])[:3].tolist() == pytest.approx([0.901, 1.1, 0.9])
    for matrix in (maps[0], maps[6]):
        assert matrix[1, 2] == pytest.approx(-0.1 * np.sqrt(0.5)) and matrix[0, 1] == 0


@pytest.mark.parametrize(("data", "name"), [("shapes2d", "SAP"), ("celeba", "SAP x 100")])
def test_trade_off_has_a_dot_for_every_run_and_a_curve_for_every_objective(data, name):
    shown = made_up.shown("smoke", data)
    figure = figures.trade_off(shown, "Figure")
    for axis, label in zip(figure.axes, (name, "Z-diff (%)")):
        dots = sum(len(dots.get_offsets()) for dots in axis.collections)
        assert dots == len(shown.results) and axis.get_ylabel() == label
        weights = [f"{w:g}" for w in summary.per_setting(shown)["weight"]]
        assert sorted(text.get_text() for text in axis.texts) == sorted(weights)
        curves = [line.get_label() for line in axis.lines]
        assert curves == ["beta-VAE", "DIP-VAE-I", "DIP-VAE-II"]


def test_pairs_have_a_line_for_every_seed_and_their_mean():
    told = {
        "beta-vae_1": dict(zdiff=[40.0, 60.0, 80.0], sap=[0.1, 0.2, 0.3]),
        "dip-vae-i_10": dict(zdiff=[50.0, 60.0, 85.0], sap=[0.3, 0.1, 0.2]),
    }
    shown = made_up.shown("smoke", told=told)
    figure = figures.pairs(shown, "Every seed")
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
        assert ticks == ["VAE", "DIP-VAE-I\n(lambda_od 10)"]
    assert [figure.axes[k].get_ylabel() for k in (0, len(others))] == ["SAP", "Z-diff (%)"]
    assert "Every seed" in figure.get_suptitle() and "smoke profile" in figure.get_suptitle()


def test_attribute_bars_are_as_high_as_the_balanced_accuracies():
    told = {"celeba_dip-vae-i_2": dict(balanced=64.5)}
    faces = made_up.shown("smoke", "celeba", told=told)
    figure = figures.attribute_bars(faces, tables.table_2_models(faces)[4])
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == pytest.approx([58.0 + k for k in range(14)] + [48.0 + k for k in range(14)])
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == list(ATTRIBUTES)
