"""The traversal sheets that runs left beside their results: labelled, cut, and set in motion."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dipvae_src import experiments
from dipvae_src.figures import Shown
from dipvae_src.models import SIDE

GREYS = 16  # of the animation; halves its size
USED_ABOVE = 0.05  # nats of KL; a latent below is labelled as off


@dataclass(frozen=True)
class Sheet:
    """One model's sheet, ((2 + D) * 64, columns * 64) uint8, with a label for each of its rows (evaluate.traversal_sheet)."""

    label: str
    pixels: np.ndarray
    rows: list[str]


def sheets(shown: Shown, results_dir: str | Path) -> list[Sheet]:
    """The sheets of the results that have one, in the order of Table 1. `results.collect` has checked their checksums."""
    found = []
    for result in shown.results:
        if not result["picture"]:
            continue
        pixels = np.asarray(Image.open(Path(results_dir) / result["picture"]["file"]))
        kl, sap = np.array(result["metrics"]["kl_per_latent"]), result["metrics"]["sap"]
        rows = ["test images", "reconstructed"]
        for latent in np.argsort(kl)[::-1]:
            entries = sap["matrix"][latent]
            best = int(np.argmax(entries))
            use = f"{sap['factors'][best]} {entries[best]:.2f}" if kl[latent] > USED_ABOVE else "off"
            rows.append(f"KL {kl[latent]:.2f}, {use}")
        found.append(Sheet(experiments.Settings(**result["settings"]).label, pixels, rows))
    return found


def animation(sheets: list[Sheet], latents: int, source: str) -> bytes:
    """A GIF: one column a model, one row a latent (the most used first), moving from end to end and back; `source` is its comment."""
    columns = sheets[0].pixels.shape[1] // SIDE
    frames = []
    for step in [*range(columns), *range(columns - 2, 0, -1)]:
        cells = [s.pixels[2 * SIDE : (2 + latents) * SIDE, step * SIDE : (step + 1) * SIDE] for s in sheets]
        frames.append(Image.fromarray(255 - np.pad(np.hstack(cells), 2)).quantize(GREYS))
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=120, loop=0, comment=source)
    return buffer.getvalue()
