"""Packed images on the device: a bit a pixel, in colour a byte a channel, unpacked by the batch.

2D Shapes takes 377 MB this way, CelebA 2.5 GB, on disk and on the device; no worker process feeds
it. Whoever makes a `Packed` has checked what is in it (replication/datasets.py): nothing on the way
of a batch looks at it again.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

SPLIT_SEED = 0  # one order of the images for every run, whatever its seed
TEST_SHARE = 0.1  # where the data set does not say which images are held out
SIDE = 64


@dataclass(frozen=True)
class Packed:
    """A data set of 64 x 64 images in the memory of a device (on the CPU, mapped from its file)."""

    name: str
    # "official", "rendered" (equal to it as far as is known) or "stand-in" (others in its place)
    source: str
    identity: str  # SHA-256 over pixels, labels and what the labels mean
    factor_names: tuple[str, ...]
    factor_sizes: tuple[int, ...]  # values that each factor takes
    discrete: tuple[bool, ...]  # for SAP
    # (N, bytes) uint8: eight pixels a byte, first in the highest bit; in colour one, by plane
    bits: Tensor
    table: Tensor | None  # (256, 8) float32: a byte's eight pixels; None for colour images
    # (N, K) int16; None where the images enumerate all combinations, the last factor fastest
    labels: np.ndarray | None = None
    held_out: Tensor | None = None  # (N,) bool; None: a random TEST_SHARE

    @property
    def channels(self) -> int:
        return 1 if self.table is not None else 3

    @property
    def pixels(self) -> int:
        """Numbers in an image, channels included."""
        return self.channels * SIDE * SIDE

    def images(self, indices: Int64[Tensor, " batch"]) -> Float[Tensor, "batch pixel"]:
        """The images of these indices, 0 to 1 (binary ones: 0 or 1), flat."""
        if self.table is None:
            return self.bits[indices].float().div_(255)
        # (B, 512) -> (B, 512, 8) -> (B, 4096)
        return F.embedding(self.bits[indices].int(), self.table).flatten(1)

    def factors(self, indices: Int64[Tensor, " batch"]) -> np.ndarray:
        """The factors' classes of these indices, (B, K) int64."""
        rows = indices.cpu().numpy()
        if self.labels is not None:
            return self.labels[rows].astype(np.int64)
        return np.stack(np.unravel_index(rows, self.factor_sizes), axis=1).astype(np.int64)

    def split(self) -> tuple[Int64[Tensor, " train"], Int64[Tensor, " test"]]:
        """The indices of the 90 % that train and the 10 % that test, each in one random order."""
        order = torch.randperm(len(self.bits), generator=torch.Generator().manual_seed(SPLIT_SEED))
        if self.held_out is None:
            count = round(TEST_SHARE * len(self.bits))
            train, test = order[count:], order[:count]
        else:
            held_out = self.held_out[order]
            train, test = order[~held_out], order[held_out]
        return train.to(self.bits.device), test.to(self.bits.device)
