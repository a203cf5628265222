"""Packed images on the device: one bit a pixel, unpacked batch by batch.

2D Shapes takes 377 MB this way, on disk and on the device; no worker process feeds it. The files come from `make data`.
The factors of an image follow from its index, so no label file is read.
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

SPLIT_SEED = 0  # one random 90/10 split for every run, whatever its seed
TEST_SHARE = 0.1
# The official file is used where it is there; `make data` writes the rendered one.
SOURCES = {"shapes2d": ("dsprites", "shapes2d")}


@dataclass(frozen=True)
class Packed:
    """A data set of binary images in the memory of one device."""

    name: str
    source: str  # "official" or "rendered"
    sha256: str  # of the packed file
    factor_names: tuple[str, ...]
    factor_sizes: tuple[int, ...]  # the images enumerate all combinations, the last factor fastest
    discrete: tuple[bool, ...]  # for SAP
    bits: Tensor  # (N, pixels / 8) uint8, first pixel in the highest bit
    table: Tensor  # (256, 8) float32: a byte's eight pixels

    def images(self, indices: Int64[Tensor, " batch"]) -> Float[Tensor, "batch pixel"]:
        """The images of these indices, 0 or 1, flat."""
        return F.embedding(self.bits[indices].int(), self.table).flatten(1)  # (B, 512) -> (B, 512, 8) -> (B, 4096)

    def factors(self, indices: Int64[Tensor, " batch"]) -> np.ndarray:
        """The factors' classes of these indices, (B, K) int64."""
        return np.stack(np.unravel_index(indices.cpu().numpy(), self.factor_sizes), axis=1).astype(np.int64)

    def split(self) -> tuple[Int64[Tensor, " train"], Int64[Tensor, " test"]]:
        """The indices of the 90 % that train and of the 10 % that test, each in a random order that never changes."""
        order = torch.randperm(len(self.bits), generator=torch.Generator().manual_seed(SPLIT_SEED))
        held_out = round(TEST_SHARE * len(self.bits))
        return order[held_out:].to(self.bits.device), order[:held_out].to(self.bits.device)


def described(data_dir: str | Path, name: str = "shapes2d") -> Path | None:
    """The description of the packed file that `load` would use, the official one first; None where there is none."""
    paths = (Path(data_dir) / f"{stem}.json" for stem in SOURCES[name])
    return next((path for path in paths if path.exists()), None)


def load(name: str = "shapes2d", data_dir: str | Path = "data", device: str | torch.device = "cpu") -> Packed:
    """The packed data set `name`, checked against its checksum.

    Raises ValueError for an unknown name or a truncated or altered file, FileNotFoundError where no file is there.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(SOURCES)}")
    sidecar = described(data_dir, name)
    if not sidecar:
        raise FileNotFoundError(f"no packed {name} in {data_dir}; run `make data` first")
    path, mend = sidecar.with_suffix(".bits"), "delete both and run `make data` (with DSPRITES=path for the official file)"
    try:
        facts = json.loads(sidecar.read_text())
        count, pixels, source = facts["images"], facts["height"] * facts["width"], facts["source"]
        sizes = {factor["name"]: len(factor["values"]) for factor in facts["factors"]}
        wanted = facts["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{sidecar}, which describes {path.name}, is damaged ({error!r}); {mend}") from error
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing though {sidecar.name} describes it; {mend}")
    if path.stat().st_size != count * pixels // 8:
        raise ValueError(f"{path} has {path.stat().st_size:,} bytes, not {count * pixels // 8:,}; {mend}")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != wanted:
        raise ValueError(f"{path} is altered: its SHA-256 is not the one in {sidecar.name}; {mend}")
    # Copy-on-write: processes of a sweep share the pages, and torch asks for writable memory.
    bits = torch.from_numpy(np.memmap(path, np.uint8, mode="c", shape=(count, pixels // 8)))
    table = (torch.arange(256)[:, None] >> torch.arange(7, -1, -1)) & 1
    return Packed(
        name=facts["name"], source=source, sha256=digest, factor_names=tuple(sizes), factor_sizes=tuple(sizes.values()),
        discrete=tuple(factor == "shape" for factor in sizes),
        bits=bits.to(device), table=table.float().to(device),
    )  # fmt: skip
