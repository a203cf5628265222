"""How much of what a latent does to the image one factor can explain: claim 4 without an eye.

The paper says that SAP ranks models as their traversals look, and Z-diff does not. This is the rule
that looks at them instead, on 2D Shapes, whose every image can be drawn. It was written down before
any model was measured by it.

    from replication.traversal_score import traversal_score
    traversal_score("results/evening/dip-vae-i_10_seed0.png")["score"]

For one latent, take its row of the traversal sheet: 11 frames, the latent from -2.5 to 2.5 and all
others as the first test image has them. Follow the frames with drawn images of which only the
factors in F change from frame to frame, the others keep one value, the best, along the whole row:

    R(F) = min over the factors not in F of  sum over frames of  min over F of  d(frame, drawn)
    d    = 1 - the cosine of the two images (pixels from 0 to 1): 0 where they show the same, 1
           where they do not overlap

    change = (R(none) - R(all)) / frames        how much better than a drawn image that rests one
                                                follows that moves
    share  = max over the factors k of (R(none) - R({k})) / (R(none) - R(all))       from 0 to 1

1: one factor follows the frames as well as all five together. 0: none gains anything alone, as
where the shape jumps along a diagonal. The model's score is the mean share, weighted by the change.
A latent whose change is below OFF_BELOW is off and counts nothing; where all are, the score is
None.

Why pixels, not the factors of each frame's nearest image: those need a scale between a change of
shape and one of place, a rule for squares that look alike when turned by 90 degrees, and jump where
a frame is a blob. Here a jump counts as much as it shows. What no drawn image can follow (blur) is
in R(none) and R(all) alike, so it falls out. Why the cosine, not the squared difference: by that an
image that cannot follow gains by shrinking, so the scale would explain a third of any move.

What it does not see: one image is traversed, by one seed of each row of Table 1 (the runs that
leave a sheet). Moves of place weigh most, for they change the image most. Factors that can mimic
each other (a shape grows, or becomes a larger one) each get the credit.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from data_prep import shapes2d
from dipvae_src.evaluate import TRAVERSAL_STEPS
from dipvae_src.models import SIDE
from replication import provenance

CODE = provenance.hash_of(("replication/traversal_score.py",))  # of what made a result's scores
ABOVE_TRAVERSALS = 2  # rows of the sheet: test images and their reconstructions
OFF_BELOW = 0.01  # change; one pixel more or less of a shape of 300 is 0.002


def traversal_score(path: str | Path) -> dict:
    """The score of a run on 2D Shapes by its traversal sheet, about half a minute on one core.

    `score`: 0 to 1, or None where no latent changes the image; of each row of the sheet, the most
    used latent first, its `change` (0 to 1) and its `share` (0 where it is off).
    Raises ValueError where the picture is no sheet of binary images.
    """
    frames = frames_of(np.asarray(Image.open(path)))
    distances = distances_of(frames.reshape(-1, SIDE * SIDE))
    rows = distances.view(len(frames), TRAVERSAL_STEPS, *shapes2d.FACTOR_SIZES)
    return scored([explained(row) for row in rows])


def frames_of(sheet: np.ndarray) -> Float[np.ndarray, "latents steps pixels"]:
    """The traversals of a sheet (evaluate.traversal_sheet), from 0 to 1 in steps of 1/255."""
    height, width = (ABOVE_TRAVERSALS + 1) * SIDE, TRAVERSAL_STEPS * SIDE
    if sheet.ndim != 2 or sheet.shape[1] != width or len(sheet) < height or len(sheet) % SIDE:
        wanted = f"{width} pixels wide, a multiple of {SIDE} high, in grey"
        raise ValueError(f"a sheet of traversals is {wanted}; got {sheet.shape}")
    cells = sheet.reshape(-1, SIDE, TRAVERSAL_STEPS, SIDE).swapaxes(1, 2)
    frames = cells[ABOVE_TRAVERSALS:].reshape(-1, TRAVERSAL_STEPS, SIDE * SIDE)
    return frames.astype(np.float32) / 255


def distances_of(frames: Float[np.ndarray, "frames pixels"]) -> Float[Tensor, "frames images"]:
    """d of frames and all 737,280 images, in the official order; 3 MB a frame. 1 of a black one."""
    unit, place = F.normalize(torch.from_numpy(frames), dim=1), 0
    cosines = torch.empty(len(unit), shapes2d.N_IMAGES)
    for piece in shapes2d.packed_pieces():
        bits = np.unpackbits(np.frombuffer(piece, np.uint8)).reshape(-1, SIDE * SIDE)
        images = torch.from_numpy(bits).float()  # 0 or 1, so their squares are themselves
        there = slice(place, place := place + len(images))
        cosines[:, there] = unit @ images.T / images.sum(dim=1).sqrt()
    return 1 - cosines


def explained(distances: Float[Tensor, "frames ..."]) -> tuple[float, float]:
    """Change and share of one traversal, by its distances to the images: an axis a factor.

    The share is 0 where the change is less than OFF_BELOW.
    """
    axes = range(1, distances.ndim)

    def left(*moving: int) -> float:
        """R of the docstring: what is left where only these factors move."""
        nearest = distances.amin(dim=moving) if moving else distances
        return nearest.sum(dim=0).min().item()

    resting = left()
    gained = max(resting - left(*axes), 0.0)
    change = gained / len(distances)
    if change < OFF_BELOW:
        return change, 0.0
    share = max((resting - left(axis)) / gained for axis in axes)
    return change, min(max(share, 0.0), 1.0)


def scored(rows: list[tuple[float, float]]) -> dict:
    """What traversal_score says, from each row's change and share."""
    change, share = (list(column) for column in zip(*rows))
    weights = np.where(np.array(change) < OFF_BELOW, 0, change)
    score = float(np.average(share, weights=weights)) if weights.any() else None
    return {"score": score, "change": change, "share": share}
