"""What the drawn sets that stand in for CelebA and 3D Chairs share: how their numbers are checked and when they are drawn.

from data_prep.standins.common import whole_number, write_once
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from data_prep.packed import packed_problem, write_packed


def whole_number(value, what: str, least: int, most: int | None = None) -> int:
    """`value` as an int; ValueError, naming it as `what`, unless it is a whole number from `least` to `most`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        bounds = f"not below {least}" if most is None else f"from {least} to {most:,}"
        raise ValueError(f"{what} must be a whole number {bounds}, found {value!r}")
    return int(value)


def write_once(
    out: Path,
    stem: str,
    pieces: Iterable[bytes],
    info: dict,
    labels: bytes,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Write the colour images `pieces` as `write_packed` does, unless a set of this `info` and these labels is there, whole.

    `info` must name all that the pixels depend on. Raises OSError (no room, no permission), leaving nothing half-written.
    """
    pixels, identity = (
        out / f"{stem}.rgb",
        {**info, "labels_sha256": hashlib.sha256(labels).hexdigest()},
    )
    if (
        packed_problem(out, stem) is None
        and identity.items() <= json.loads((out / f"{stem}.json").read_text()).items()
    ):
        say(f"{pixels} is already there and whole; nothing to do")
        return
    start = time.perf_counter()
    say(f"drawing {info['images']:,} images into {pixels}")
    info = write_packed(out, stem, pieces, info, labels=labels)
    say(
        f"wrote {info['bytes']:,} bytes in {time.perf_counter() - start:.1f} s, sha256 {info['sha256']}"
    )
