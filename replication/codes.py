"""The means mu(x) of held-out images, kept beside a result: score them by a ruler of your own.

    from replication.codes import read_codes
    mu, factors = read_codes("results/evening/dip-vae-i_10_seed0.codes.npz")    # (N, D), (N, K)

Eight bits a number, a scale a latent: N = 10,000 images and D = 10 latents take 100 KB. A run that
leaves codes is scored by what it left, so that everybody can repeat its scores from the file; what
the rounding moves stands in the result. The factors of these images, the same for all runs of a
folder, lie beside them once.
"""

import hashlib
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from dipvae_src.data import Packed
from replication.profiles import CODED_IMAGES
from replication.results import write_whole

LEVELS = 255  # steps between a latent's smallest and largest mean
FACTORS = "factors.npz"  # of the first CODED_IMAGES held-out images


class BadCodes(ValueError):
    """A file of codes that is not whole."""


def rounded(
    mu: Float[np.ndarray, "images latents"],
) -> tuple[UInt8[np.ndarray, "images latents"], Float[np.ndarray, "2 latents"]]:
    """Codes from 0 to 255, and each latent's smallest and largest mean as float32."""
    ends = np.stack([mu.min(axis=0), mu.max(axis=0)]).astype(np.float32)
    low, width = ends[0].astype(np.float64), np.ptp(ends.astype(np.float64), axis=0)
    steps = np.where(width > 0, (mu - low) / np.where(width > 0, width, 1), 0)
    return np.rint(LEVELS * steps.clip(0, 1)).astype(np.uint8), ends


def restored(
    codes: UInt8[np.ndarray, "images latents"], ends: Float[np.ndarray, "2 latents"]
) -> Float[np.ndarray, "images latents"]:
    """The means that codes stand for, float64."""
    low, high = ends.astype(np.float64)
    return low + codes * ((high - low) / LEVELS)


def packed(**arrays: np.ndarray) -> bytes:
    """Arrays as a compressed npz; the same bytes for the same arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def unpacked(path: Path, **forms: tuple[type, int]) -> list[np.ndarray]:
    """The arrays of an npz, each of the dtype and number of axes that it must have, or BadCodes."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = [file[name] for name in forms]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        mend = "restore it with git, or run its experiment again"
        raise BadCodes(f"{path} is not a whole file of codes ({error}); {mend}") from error
    for array, (name, (kind, axes)) in zip(found, forms.items()):
        if array.dtype != kind or array.ndim != axes:
            found, right = f"{array.dtype}, {array.ndim} axes", f"{np.dtype(kind)}, {axes} axes"
            raise BadCodes(f"{path}: `{name}` is {found}, not {right}")
    return found


def leave_codes(path: Path, mu: Float[np.ndarray, "images latents"], data: Packed) -> dict:
    """Write the codes of the result at `path`, and the factors, beside it; what the result says."""
    codes, ends = rounded(mu)
    file, content = path.with_suffix(".codes.npz"), packed(codes=codes, ends=ends)
    factors = packed(factors=data.factors(data.split()[1][:CODED_IMAGES]).astype(np.uint8))
    beside = path.with_name(FACTORS)
    if not beside.is_file() or beside.read_bytes() != factors:
        write_whole(beside, factors)
    write_whole(file, content)
    return {"file": file.name, "sha256": hashlib.sha256(content).hexdigest()}


def read_codes(
    path: str | Path,
) -> tuple[Float[np.ndarray, "images latents"], Int[np.ndarray, "images factors"]]:
    """The means (N, D) float64 and the factors' classes (N, K) int64 of the images of one run.

    Raises BadCodes where a file is missing or not whole.
    """
    path = Path(path)
    codes, ends = unpacked(path, codes=(np.uint8, 2), ends=(np.float32, 2))
    (factors,) = unpacked(path.with_name(FACTORS), factors=(np.uint8, 2))
    if ends.shape != (2, codes.shape[1]) or not np.isfinite(ends).all():
        raise BadCodes(f"{path}: `ends` are not two finite numbers for each latent")
    if len(codes) > len(factors):
        raise BadCodes(f"{path} has {len(codes):,} images, {FACTORS} beside it {len(factors):,}")
    return restored(codes, ends), factors[: len(codes)].astype(np.int64)
