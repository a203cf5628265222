"""The packed data sets that `make data` left, checked and ready to train on.

from replication.datasets import load
load("shapes2d", "data")
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from data_prep.packed import BYTES_PER_IMAGE, BYTES_PER_RGB, read_whole
from dipvae_src.data import Packed

# Of each data set the files that it can be read from, the one that is used if it is there first.
STEMS = {
    "shapes2d": ("dsprites", "shapes2d"),
    "celeba": ("celeba", "faces"),
    "chairs": ("chairs", "standin_chairs"),
}


def described(data_dir: str | Path, name: str = "shapes2d") -> Path | None:
    """The description of the packed file that `load` would use; None where there is none."""
    paths = (Path(data_dir) / f"{stem}.json" for stem in STEMS[name])
    return next((path for path in paths if path.exists()), None)


def load(
    name: str = "shapes2d", data_dir: str | Path = "data", device: str | torch.device = "cpu"
) -> Packed:
    """The packed data set `name`, its files held against their description and checksums.

    Raises ValueError for an unknown name and for a damaged or altered file, FileNotFoundError where
    there is none: a sentence with the file and what to do.
    """
    if name not in STEMS:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(STEMS)}")
    sidecar = described(data_dir, name)
    if not sidecar:
        where = Path(data_dir).resolve()
        raise FileNotFoundError(f"no packed {name} in {where}; run `make data` first")
    try:
        facts = read_whole(sidecar.parent, sidecar.stem)
    except ValueError as error:
        mend = f"delete {sidecar.stem}.* there and run `make data` again (docs/data.md)"
        raise ValueError(f"{error}; {mend}") from error
    colour = facts.get("channels", 1) == 3
    factors = [(f["name"], f["values"], f["discrete"]) for f in facts["factors"]]
    names, values, discrete = zip(*factors)
    # What a result was made from: the pixels, the labels, and what they mean.
    meaning = [facts.get(key) for key in ("name", "source", "sha256", "labels_sha256")]
    identity = hashlib.sha256(json.dumps([*meaning, factors]).encode()).hexdigest()
    labels = held_out = None
    if colour:
        with np.load(sidecar.with_suffix(".labels.npz"), allow_pickle=False) as file:
            labels, held_out = file["factors"], torch.from_numpy(file["test"])
    # Copy-on-write: processes of a sweep share the pages, and torch asks for writable memory.
    path = sidecar.with_suffix(".rgb" if colour else ".bits")
    shape = (facts["images"], BYTES_PER_RGB if colour else BYTES_PER_IMAGE)
    bits = torch.from_numpy(np.memmap(path, np.uint8, mode="c", shape=shape)).to(device)
    table = ((torch.arange(256)[:, None] >> torch.arange(7, -1, -1)) & 1).float().to(device)
    return Packed(
        name=facts["name"], source=facts["source"], identity=identity, factor_names=names,
        factor_sizes=tuple(map(len, values)), discrete=discrete, bits=bits,
        table=None if colour else table, labels=labels, held_out=held_out,
    )  # fmt: skip
