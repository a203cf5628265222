"""The traversal score on frames that the renderer drew, whose answer is known.

python -m pytest tests/replication/test_traversal_score.py
"""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data_prep import shapes2d
from dipvae_src.models import SIDE
from replication.traversal_score import distances_of, explained, frames_of, scored

GRID = [(0, 1, 2), (0, 3, 5), (0, 2, 4, 6, 8), tuple(range(0, 32, 3)), tuple(range(0, 32, 3))]
SIZES = [len(values) for values in GRID]
BASE = [2, 3, 2, 15, 15]  # a heart, turned a little, in the middle


def drawn(classes) -> torch.Tensor:
    return torch.from_numpy(shapes2d.render(np.array(classes)).reshape(len(classes), -1)).float()


IMAGES = drawn(list(itertools.product(*GRID)))


def explained_on_grid(frames: torch.Tensor) -> tuple[float, float]:
    """Against the images of the grid alone, which takes less time than against all."""
    distances = 1 - F.normalize(frames, dim=1) @ F.normalize(IMAGES, dim=1).T
    return explained(distances.view(len(frames), *SIZES))


def moved(**values) -> torch.Tensor:
    """Frames of BASE with these factors moved along their values, together."""
    frames = []
    for now in zip(*values.values()):
        frames.append(list(BASE))
        for name, value in zip(values, now):
            frames[-1][shapes2d.FACTORS.index(name)] = value
    return drawn(frames)


@pytest.mark.parametrize("factor", shapes2d.FACTORS)
def test_one_factor_that_moves_explains_all(factor):
    values = GRID[shapes2d.FACTORS.index(factor)]
    change, share = explained_on_grid(moved(**{factor: values}))
    assert share == pytest.approx(1, abs=1e-4) and change > 0.01


def test_the_same_frames_in_any_order_have_the_same_share():
    frames = moved(posX=(0, 9, 18, 27), scale=(0, 3, 5, 0))
    share = explained_on_grid(frames)[1]
    assert explained_on_grid(frames[[2, 0, 3, 1]])[1] == pytest.approx(share)
    assert 0.5 < share < 0.9  # place and size both move, place more


def test_no_factor_alone_follows_a_far_diagonal():
    """Two places that share no row and no column: wherever one factor goes, nothing is gained."""
    change, share = explained_on_grid(moved(posX=(0, 30), posY=(0, 30)))
    assert share == pytest.approx(0, abs=1e-3) and change == pytest.approx(0.5, abs=1e-3)


def test_the_further_a_second_factor_moves_along_the_less_one_explains():
    x = (3, 9, 15, 21, 27)
    paths = ((15, 15, 15, 15, 15), (12, 12, 15, 18, 18), (9, 12, 15, 18, 21), (3, 9, 15, 21, 27))
    shares = [explained_on_grid(moved(posX=x, posY=y))[1] for y in paths]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(1, abs=1e-4) and shares[-1] < 0.4


def test_blur_that_rests_falls_out():
    """A grey veil: further from every image, but what changes is by one factor's doing still."""
    frames = moved(posX=(0, 9, 18, 27))
    change, share = explained_on_grid(0.6 * frames + 0.05)
    assert share > 0.98 and 0.1 < change < explained_on_grid(frames)[0]


def test_a_latent_that_changes_nothing_is_off():
    still = moved(posX=(15, 15, 15))
    assert explained_on_grid(still) == (pytest.approx(0, abs=1e-6), 0)
    flicker = still.clone()
    flicker[1, :3] = 0.2  # three pixels, a little
    assert explained_on_grid(flicker)[1] == 0


def test_latents_weigh_as_much_as_they_change():
    found = scored([(0.3, 1.0), (0.1, 0.2), (0.005, 0.0)])
    assert found["score"] == pytest.approx((0.3 + 0.02) / 0.4)
    assert (found["change"], found["share"]) == ([0.3, 0.1, 0.005], [1.0, 0.2, 0.0])
    assert scored([(0.005, 0.0), (0.0, 0.0)])["score"] is None


def test_distances_are_to_the_drawn_images_in_their_order(monkeypatch):
    pieces = list(itertools.islice(shapes2d.packed_pieces(), 3))  # a square of three orientations
    monkeypatch.setattr(shapes2d, "packed_pieces", lambda: pieces)
    monkeypatch.setattr(shapes2d, "N_IMAGES", 3 * 1024)
    classes = np.array([[0, 0, 2, 31, 31], [0, 0, 0, 3, 0]])
    frames = shapes2d.render(classes).reshape(2, -1).astype(np.float32)
    frames[1] *= 0.5  # brightness is no matter
    found = distances_of(np.vstack([frames, 0 * frames[:1]]))
    places = shapes2d.index_of(classes).tolist()
    assert found.shape == (3, 3 * 1024)
    assert found[:2].min(dim=1).indices.tolist() == places
    assert found[[0, 1], places].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert found[0, places[1]] == 1 and (found[2] == 1).all()  # no overlap; a black frame


def test_a_sheet_is_cut_into_its_frames():
    sheet = np.zeros((4 * SIDE, 11 * SIDE), np.uint8)
    sheet[2 * SIDE + 1, 3 * SIDE + 5] = 255  # latent 0, step 3
    sheet[3 * SIDE, 10 * SIDE] = 51  # latent 1, step 10
    frames = frames_of(sheet)
    assert frames.shape == (2, 11, SIDE * SIDE)
    assert frames[0, 3, SIDE + 5] == 1 and frames[1, 10, 0] == np.float32(0.2)
    assert frames.sum() == pytest.approx(1.2)
    for wrong in (sheet[:, 1:], sheet[:-1], sheet[: 2 * SIDE], np.stack([sheet] * 3, axis=2)):
        with pytest.raises(ValueError, match="a sheet of traversals is 704 pixels wide"):
            frames_of(wrong)
