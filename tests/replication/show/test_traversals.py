"""Traversals as sheets left them: labelled by what latents do, cut, and set in motion."""

import made_up
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from replication import profiles
from replication.show import traversals


def played(path):
    """The frames of an animation, (frames, height, width, 3)."""
    gif = Image.open(path)
    frames = []
    for frame in range(gif.n_frames):
        gif.seek(frame)
        frames.append(np.asarray(gif.convert("RGB")))
    return np.array(frames)


def test_animation_cuts_the_most_used_latents_and_goes_there_and_back(tmp_path):
    rows, columns = 4, 3
    tiles = 20 * np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns)
    sheet = traversals.Sheet("model", tiles.repeat(64, axis=0).repeat(64, axis=1), ["a"] * rows)
    animation = traversals.animation([sheet, sheet], latents=2, source="notebook 07")
    (tmp_path / "t.gif").write_bytes(animation)
    gif = Image.open(tmp_path / "t.gif")
    assert gif.n_frames == 4 and gif.size == (2 * 64 + 4, 2 * 64 + 4)
    assert gif.info["comment"] == b"notebook 07"
    shades = 255 - played(tmp_path / "t.gif")[:, [10, 100], 10, 0]
    assert shades.tolist() == [[120, 180], [140, 200], [160, 220], [140, 200]]


def test_animation_of_colour_keeps_its_colours(tmp_path):
    pixels = np.zeros((4 * 64, 2 * 64, 3), np.uint8)
    pixels[128:192, :64], pixels[128:192, 64:], pixels[192:] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    sheet = traversals.Sheet("model", pixels, ["a"] * 4)
    (tmp_path / "t.gif").write_bytes(traversals.animation([sheet], 2, "notebook 07"))
    frames = played(tmp_path / "t.gif")
    assert frames.shape == (2, 2 * 64 + 4, 64 + 4, 3)
    assert frames[:, 10, 10].tolist() == [[200, 0, 0], [0, 200, 0]]
    assert frames[:, 100, 10].tolist() == [[0, 0, 200]] * 2
    assert frames[:, 0, 0].tolist() == [[255] * 3] * 2


@pytest.mark.parametrize(
    ("data", "uses"),
    [
        ("celeba", ["KL 3.50, Wearing_Lipstick 0.80", "KL 1.00, Smiling 0.70"]),
        ("chairs", ["KL 3.50", "KL 1.00"]),
    ],
)
def test_sheets_are_those_of_table_1_labelled_by_what_their_latents_do(tmp_path, data, uses):
    """SAP is 0.2: the third latent has 0.2 more for the second attribute, the first 0.1 more."""
    shown = made_up.shown("smoke", data)
    for result in shown.results:
        result["metrics"]["covariance_of_means"][2][2] = 0.3  # the one of most KL
        if sap := result["metrics"]["sap"]:
            sap["matrix"] = [[e + 0.4 for e in row] if any(row) else row for row in sap["matrix"]]
        if result["picture"]:
            sheet = Image.fromarray(np.zeros((5 * 64, 2 * 64, 3), np.uint8))
            sheet.save(tmp_path / result["picture"]["file"])
    found = traversals.sheets(shown, tmp_path)
    assert [sheet.label for sheet in found] == [s.label for s in profiles.table_1(data)]
    assert found[0].rows[:4] == ["test images", "reconstructed", *uses]
    assert found[0].pixels.shape == (320, 128, 3)
    shown.results[0]["metrics"]["covariance_of_means"][2][2] = 0.009  # off, whatever its KL
    sheet = traversals.sheets(shown, tmp_path)[0]
    assert sheet.rows[2] == "KL 3.50, off" and (sheet.used, sheet.latents) == (2, 10)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([0.40, 0.22], "scale 0.22"),  # 0.1 and 0.22 of the way from chance
        ([0.36, 0.02], "no one factor"),  # as good as chance for three shapes
        ([0.90, 0.50], "shape 0.90"),
        ([0.00, 0.00], ""),
    ],
)
def test_the_factor_of_a_latent_is_the_one_furthest_from_chance(entries, said):
    sap = {"factors": ["shape", "scale"], "discrete": [True, False], "matrix": [entries]}
    assert traversals.factor_of(sap, 0) == said


@pytest.mark.parametrize(("channels", "drawn"), [(1, [2 + 6, 2]), (3, [2 + 4, 2])])
def test_rows_of_latents_that_are_off_are_not_drawn(channels, drawn):
    """Of eight rows six are in use, not the second; colour shows four at most."""
    shape = ((2 + 8) * 64, 3 * 64, 3)[: 2 if channels == 1 else 3]
    rows = ["test images", "reconstructed", *(f"KL {k}.00" for k in range(8, 0, -1))]
    off = [f"{words}, off" for words in rows]
    pixels = np.zeros(shape, np.uint8)
    pixels[3 * 64 : 4 * 64] = 200  # of the second
    its = [*rows[:3], off[3], *rows[4:9], off[9]]
    busy = traversals.Sheet("VAE", pixels, its, used=6, latents=10)
    idle = traversals.Sheet("beta-VAE (beta 4)", pixels, rows[:2] + off[2:], used=0, latents=10)
    figure = traversals.figure([busy, idle])
    axes = [axis for axis in figure.axes if axis.images]
    assert [axis.images[0].get_array().shape[0] // 64 for axis in axes] == drawn
    labels = [text.get_text() for text in axes[0].get_yticklabels()]
    assert labels == (rows[:3] + rows[4:])[: drawn[0]]
    assert all(not axis.images[0].get_array().any() for axis in axes)
    title = "Latents in use: most by VAE, 6 of 10; fewest by beta-VAE (4), 0 of 10"
    assert figure.get_suptitle().replace("\u00a0", " ") == title
    plt.close(figure)
