"""Packed images on the device: one bit a pixel for binary images, one byte a channel for colour, unpacked batch by batch.

2D Shapes takes 377 MB this way, CelebA 2.5 GB, on disk and on the device; no worker process feeds it. The files come from `make data`;
data_prep/packed.py says how they lie on disk.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

SPLIT_SEED = 0  # one order of the images for every run, whatever its seed
TEST_SHARE = 0.1  # where the data set does not say which images are held out
# The official file is used where it is there; `make data` draws what stands in for it.
SOURCES = {
    "shapes2d": ("dsprites", "shapes2d"),
    "celeba": ("celeba", "faces"),
    "chairs": ("chairs", "standin_chairs"),
}
SIDE = 64


@dataclass(frozen=True)
class Packed:
    """A data set of 64 x 64 images in the memory of one device (or mapped from its file, on the CPU)."""

    name: str
    source: str  # "official", "rendered" (equal to the official as far as is known) or "stand-in" (something else in its place)
    sha256: str  # of the packed file
    factor_names: tuple[str, ...]
    factor_sizes: tuple[int, ...]  # values that each factor takes
    discrete: tuple[bool, ...]  # for SAP
    bits: Tensor  # (N, bytes) uint8: eight pixels a byte, first in the highest bit; or, of colour images, one a byte, plane by plane
    table: Tensor | None  # (256, 8) float32: a byte's eight pixels; None for colour images
    labels: np.ndarray | None = (
        None  # (N, K) int16; None where the images enumerate all combinations, the last factor fastest
    )
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
        return F.embedding(self.bits[indices].int(), self.table).flatten(
            1
        )  # (B, 512) -> (B, 512, 8) -> (B, 4096)

    def factors(self, indices: Int64[Tensor, " batch"]) -> np.ndarray:
        """The factors' classes of these indices, (B, K) int64."""
        rows = indices.cpu().numpy()
        if self.labels is not None:
            return self.labels[rows].astype(np.int64)
        return np.stack(np.unravel_index(rows, self.factor_sizes), axis=1).astype(np.int64)

    def split(self) -> tuple[Int64[Tensor, " train"], Int64[Tensor, " test"]]:
        """The indices of the 90 % that train and of the 10 % that test, each in a random order that never changes."""
        order = torch.randperm(len(self.bits), generator=torch.Generator().manual_seed(SPLIT_SEED))
        if self.held_out is None:
            count = round(TEST_SHARE * len(self.bits))
            train, test = order[count:], order[:count]
        else:
            held_out = self.held_out[order]
            train, test = order[~held_out], order[held_out]
        return train.to(self.bits.device), test.to(self.bits.device)


def described(data_dir: str | Path, name: str = "shapes2d") -> Path | None:
    """The description of the packed file that `load` would use, the official one first; None where there is none."""
    paths = (Path(data_dir) / f"{stem}.json" for stem in SOURCES[name])
    return next((path for path in paths if path.exists()), None)


def load(
    name: str = "shapes2d", data_dir: str | Path = "data", device: str | torch.device = "cpu"
) -> Packed:
    """The packed data set `name`, checked against its checksums.

    Raises ValueError for an unknown name or a truncated or altered file, FileNotFoundError where no file is there.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(SOURCES)}")
    sidecar = described(data_dir, name)
    if not sidecar:
        raise FileNotFoundError(f"no packed {name} in {data_dir}; run `make data` first")
    colour = name != "shapes2d"
    path = sidecar.with_suffix(".rgb" if colour else ".bits")
    mend = f"delete {sidecar.stem}.* there and run `make data` again (README, Data, says how to give the official file)"
    try:
        facts = json.loads(sidecar.read_text())
        count, source, wanted = facts["images"], facts["source"], facts["sha256"]
        length = (
            facts["height"] * facts["width"] * 3
            if colour
            else facts["height"] * facts["width"] // 8
        )
        sizes = {factor["name"]: len(factor["values"]) for factor in facts["factors"]}
        discrete = tuple(
            factor.get("discrete", factor["name"] == "shape") for factor in facts["factors"]
        )
        labels_wanted = facts["labels_sha256"] if colour else None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{sidecar}, which describes {path.name}, is damaged ({error!r}); {mend}"
        ) from error
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing though {sidecar.name} describes it; {mend}")
    if path.stat().st_size != count * length:
        raise ValueError(
            f"{path} has {path.stat().st_size:,} bytes, not {count * length:,}; {mend}"
        )
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != wanted:
        raise ValueError(f"{path} is altered: its SHA-256 is not the one in {sidecar.name}; {mend}")
    labels, held_out = (
        read_labels(sidecar.with_suffix(".labels.npz"), labels_wanted, (count, len(sizes)), mend)
        if colour
        else (None, None)
    )
    # Copy-on-write: processes of a sweep share the pages, and torch asks for writable memory.
    bits = torch.from_numpy(np.memmap(path, np.uint8, mode="c", shape=(count, length)))
    table = (
        None
        if colour
        else ((torch.arange(256)[:, None] >> torch.arange(7, -1, -1)) & 1).float().to(device)
    )
    return Packed(
        name=facts["name"], source=source, sha256=digest, factor_names=tuple(sizes), factor_sizes=tuple(sizes.values()),
        discrete=discrete, bits=bits.to(device), table=table, labels=labels, held_out=held_out,
    )  # fmt: skip


def read_labels(
    path: Path, sha256: str, shape: tuple[int, int], mend: str
) -> tuple[np.ndarray, Tensor]:
    """The labels (N, K) and which images are held out (N,); ValueError or FileNotFoundError where the file is not what it should be."""
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; {mend}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ValueError(
            f"{path} is altered: its SHA-256 is not the one that its description names; {mend}"
        )
    with np.load(path, allow_pickle=False) as file:
        labels, held_out = file["factors"], file["test"]
    if labels.shape != shape or held_out.shape != shape[:1] or not held_out.any() or held_out.all():
        raise ValueError(
            f"{path} holds {labels.shape} labels, not {shape}, or holds out none or all of the images; {mend}"
        )
    return labels, torch.from_numpy(held_out)
