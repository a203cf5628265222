"""Packed images on the device: a bit a pixel, in colour a byte a channel, unpacked by the batch.

2D Shapes takes 377 MB this way, CelebA 2.5 GB, on disk and on the device; no worker process feeds
it. The files come from `make data`; data_prep/packed.py says how they lie on disk. What is read is
checked here, once, when it is loaded: nothing on the way of a batch looks at it again.
"""

import hashlib
import json
import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

SPLIT_SEED = 0  # one order of the images for every run, whatever its seed
TEST_SHARE = 0.1  # where the data set does not say which images are held out
# The files of each data set and where their images come from, the one that is used if it is there
# first.
SOURCES = {
    "shapes2d": {"dsprites": "official", "shapes2d": "rendered"},
    "celeba": {"celeba": "official", "faces": "stand-in"},
    "chairs": {"chairs": "official", "standin_chairs": "stand-in"},
}
# Which factors they have, in order, and whether SAP takes each for discrete. CelebA's are
# attributes.
FACTORS = {
    "shapes2d": dict(shape=True, scale=False, orientation=False, posX=False, posY=False),
    "celeba": None,
    "chairs": dict(chair=True, azimuth=False, elevation=True),
}
SHAPES2D_SIZES = [3, 6, 40, 32, 32]  # of the full set
SIDE = 64


@dataclass(frozen=True)
class Packed:
    """A data set of 64 x 64 images in the memory of a device (on the CPU, mapped from its file)."""

    name: str
    # "official", "rendered" (equal to the official as far as is known) or "stand-in" (others in its
    # place)
    source: str
    identity: (
        str  # SHA-256 over pixels, labels and what the labels mean: what a result was made from
    )
    factor_names: tuple[str, ...]
    factor_sizes: tuple[int, ...]  # values that each factor takes
    discrete: tuple[bool, ...]  # for SAP
    # (N, bytes) uint8: eight pixels a byte, first in the highest bit; of colour images, one a byte,
    # by plane
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


def described(data_dir: str | Path, name: str = "shapes2d") -> Path | None:
    """The description of the packed file that `load` would use; None where there is none."""
    paths = (Path(data_dir) / f"{stem}.json" for stem in SOURCES[name])
    return next((path for path in paths if path.exists()), None)


def load(
    name: str = "shapes2d", data_dir: str | Path = "data", device: str | torch.device = "cpu"
) -> Packed:
    """The packed data set `name`, its files held against its description and that against FACTORS.

    Raises ValueError for an unknown name and for a damaged or altered file, FileNotFoundError where
    a file is not there, OSError where it cannot be read: a sentence with the file and what to do.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(SOURCES)}")
    sidecar = described(data_dir, name)
    if not sidecar:
        where = Path(data_dir).resolve()
        raise FileNotFoundError(f"no packed {name} in {where}; run `make data` first")
    mend = f"; delete {sidecar.stem}.* there and run `make data` again (README, Data)"
    try:
        return _load(name, sidecar, torch.device(device))
    except ValueError as error:
        raise ValueError(f"{error}{mend}") from error
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        wrong = "is missing" if missing else f"cannot be read ({error.strerror})"
        raise type(error)(f"{error.filename} {wrong}{mend}") from error


def _load(name: str, sidecar: Path, device: torch.device) -> Packed:
    """The data set that `sidecar` describes, or ValueError or OSError without the way out."""
    colour = name != "shapes2d"
    facts = read_description(sidecar, name)
    names, values, discrete = zip(*facts["factors"])
    count, sizes = facts["images"], tuple(map(len, values))
    path = sidecar.with_suffix(".rgb" if colour else ".bits")
    length = SIDE * SIDE * 3 if colour else SIDE * SIDE // 8
    if (size := path.stat().st_size) != count * length:
        raise ValueError(f"{path} has {size:,} bytes, not {count * length:,}")
    if file_sha256(path) != facts["sha256"]:
        raise ValueError(f"{path} is altered: its SHA-256 is not the one in {sidecar.name}")
    labels = held_out = None
    if colour:
        path_of_labels = sidecar.with_suffix(".labels.npz")
        labels, held_out = read_labels(path_of_labels, facts["labels_sha256"], count, sizes)
    meaning = [facts[key] for key in ("name", "source", "sha256", "labels_sha256", "factors")]
    # Copy-on-write: processes of a sweep share the pages, and torch asks for writable memory.
    bits = torch.from_numpy(np.memmap(path, np.uint8, mode="c", shape=(count, length)))
    table = ((torch.arange(256)[:, None] >> torch.arange(7, -1, -1)) & 1).float().to(device)
    return Packed(
        name=facts["name"], source=facts["source"], identity=content_sha256(meaning),
        factor_names=names, factor_sizes=sizes, discrete=discrete, bits=bits.to(device),
        table=None if colour else table, labels=labels, held_out=held_out,
    )  # fmt: skip


def content_sha256(content) -> str:
    """SHA-256 (hex) of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_description(path: Path, name: str) -> dict:
    """What <stem>.json says of a packed set, factors as (name, values, discrete); or ValueError."""
    try:
        facts = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: it is no JSON ({error})") from error
    facts = facts if isinstance(facts, dict) else {}
    checksum = facts.pop("checksum", None)
    if checksum != content_sha256(facts):
        wrong = "does not fit" if checksum else "is missing (made by an older version?)"
        raise ValueError(f"{path} is damaged or altered: its checksum {wrong}")
    facts = {"channels": 1, "labels_sha256": ""} | facts
    colour, images, digest = name != "shapes2d", facts.get("images"), re.compile("[0-9a-f]{64}")
    for field, right, wanted in (
        ("height", facts.get("height") == SIDE, SIDE),
        ("width", facts.get("width") == SIDE, SIDE),
        ("channels", facts["channels"] == (3 if colour else 1), 3 if colour else 1),
        ("source", facts.get("source") == SOURCES[name][path.stem], SOURCES[name][path.stem]),
        ("name", isinstance(facts.get("name"), str), "a text"),
        ("images", type(images) is int and images > 0, "a whole number above 0"),
        ("sha256", digest.fullmatch(str(facts.get("sha256"))), "64 hex digits"),
        ("labels_sha256", not colour or digest.fullmatch(str(facts["labels_sha256"])), "the same"),
    ):
        if not right:
            raise ValueError(f"{path}: {field} must be {wanted}, not {facts.get(field)!r:.80}")
    return facts | {"factors": _factors(path, name, facts.get("factors"), images)}


def _factors(path: Path, name: str, listed, images: int) -> list[tuple[str, list, bool]]:
    """The factors that a description lists, if they are those of the data set `name`."""
    try:
        found = [(f["name"], f["values"], f.get("discrete", f["name"] == "shape")) for f in listed]
        given = {label: discrete for label, _, discrete in found}
        sizes = [len(set(values)) for _, values, _ in found]
        whole = all(isinstance(v, list) and type(d) is bool for _, v, d in found) and min(sizes) > 1
    except (TypeError, KeyError, AttributeError, ValueError):
        whole = False
    if not whole or sizes != [len(values) for _, values, _ in found]:
        rule = "a list of objects with name, values (two or more different ones) and discrete"
        raise ValueError(f"{path}: factors must be {rule}, not {listed!r:.80}")
    wanted = FACTORS[name] or dict.fromkeys(given, True)
    if len(given) < len(found) or list(given.items()) != list(wanted.items()):
        rule = f"(name: discrete) must be {wanted}, each once, in this order"
        raise ValueError(f"{path}: factors {rule}; found {[(n, d) for n, _, d in found]}")
    full = images == math.prod(SHAPES2D_SIZES) and name == "shapes2d"
    if name == "shapes2d" and math.prod(sizes) != images or full and sizes != SHAPES2D_SIZES:
        raise ValueError(f"{path}: factors of {sizes} values do not enumerate {images:,} images")
    if name == "celeba" and any(values != [0, 1] for _, values, _ in found):
        raise ValueError(f"{path}: factors must have the values 0 and 1, being attributes")
    return found


def read_labels(path: Path, sha256: str, count: int, sizes: tuple) -> tuple[np.ndarray, Tensor]:
    """The labels (N, K) and which images are held out (N,), or ValueError naming file and array."""
    if file_sha256(path) != sha256:
        raise ValueError(f"{path} is altered: its SHA-256 is not the one in its description")
    try:
        with np.load(path, allow_pickle=False) as file:
            labels, held_out = file["factors"], file["test"]
    except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        wrong = f"{path} must hold the arrays factors (int16) and test (bool): {error}"
        raise ValueError(wrong) from error
    for field, array, dtype, shape in (
        ("factors", labels, "int16", (count, len(sizes))),
        ("test", held_out, "bool", (count,)),
    ):
        if array.dtype != dtype or array.shape != shape:
            found = f"{array.dtype} of shape {array.shape}"
            raise ValueError(f"{path}: {field} must be {dtype} of shape {shape}, not {found}")
    for row, column in np.argwhere((labels < 0) | (labels >= sizes))[:1]:
        wrong = f"class {labels[row, column]} at image {row}, factor {column}"
        raise ValueError(f"{path}: factors holds {wrong}, not 0 to {sizes[column] - 1}")
    if not held_out.any() or held_out.all():
        raise ValueError(f"{path}: test holds out none or all of the images")
    return labels, torch.from_numpy(held_out)
