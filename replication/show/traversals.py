"""The traversal sheets that runs left beside their results: labelled, cut, and set in motion."""

import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from dipvae_src.models import SIDE
from dipvae_src.settings import Settings
from replication.show.summary import ProfileResults

GREYS, COLOURS = 16, 64  # of the animation
USED_ABOVE = 0.05  # nats of KL; a latent below is labelled as off


@dataclass(frozen=True)
class Sheet:
    """One model's sheet (evaluate.traversal_sheet), a label for each row.

    `pixels`: ((2 + rows) * 64, columns * 64) uint8, of colour images with a third axis.
    """

    label: str
    pixels: np.ndarray
    rows: list[str]


def sheets(shown: ProfileResults, results_dir: str | Path) -> list[Sheet]:
    """The sheets of the results that have one, in the order of Table 1; `results.collect` has
    checked them.
    """
    found = []
    for result in shown.results:
        if not result["picture"]:
            continue
        pixels = np.asarray(Image.open(Path(results_dir) / result["picture"]["file"]))
        kl, sap = np.array(result["metrics"]["kl_per_latent"]), result["metrics"]["sap"]
        rows = ["test images", "reconstructed"]
        for latent in np.argsort(kl)[::-1][: pixels.shape[0] // SIDE - 2].tolist():
            use = factor_of(sap, latent) if kl[latent] > USED_ABOVE else "off"
            rows.append(", ".join(filter(None, (f"KL {kl[latent]:.2f}", use))))
        found.append(Sheet(Settings(**result["settings"]).label, pixels, rows))
    return found


def figure(sheets: list[Sheet], title: str) -> plt.Figure:
    """All sheets side by side, each row labelled; shapes dark on white, colours as they are."""
    across = 3 if len(sheets) > 4 else 2
    down = -(-len(sheets) // across)
    made, axes = plt.subplots(
        down, across, figsize=(16, 5.25 * down) if across == 3 else (10, 5 * down), squeeze=False
    )
    for axis, sheet in zip(axes.flat, sheets):
        axis.imshow(sheet.pixels, cmap="gray_r", vmin=0, vmax=255)
        axis.set(title=sheet.label, xticks=[])
        axis.set_yticks(SIDE * np.arange(len(sheet.rows)) + SIDE // 2, sheet.rows, fontsize=8)
        axis.tick_params(length=0)
        axis.yaxis.tick_right()
        axis.grid(False)
    for unused in axes.flat[len(sheets) :]:
        unused.set_axis_off()
    made.suptitle(title, fontsize=11)
    return made


def frame(cells: np.ndarray) -> Image.Image:
    """One picture of the animation: shapes dark on white, colours as they are; in few shades,
    which halves its size.
    """
    if cells.ndim == 2:
        return Image.fromarray(255 - np.pad(cells, 2)).quantize(GREYS)
    return Image.fromarray(np.pad(cells, ((2, 2), (2, 2), (0, 0)), constant_values=255)).quantize(
        COLOURS
    )


def factor_of(sap: dict | None, latent: int) -> str:
    """The factor that a latent predicts best, with its SAP entry; empty where SAP is not asked for
    (chairs) or counts the latent as off.
    """
    if not sap or not any(sap["matrix"][latent]):
        return ""
    best = int(np.argmax(sap["matrix"][latent]))
    return f"{sap['factors'][best]} {sap['matrix'][latent][best]:.2f}"


def animation(sheets: list[Sheet], latents: int, source: str) -> bytes:
    """A GIF: one column a model, one row a latent (the most used first), moving from end to end
    and back; `source` is its comment.
    """
    columns = sheets[0].pixels.shape[1] // SIDE
    frames = []
    for step in [*range(columns), *range(columns - 2, 0, -1)]:
        cells = [
            s.pixels[2 * SIDE : (2 + latents) * SIDE, step * SIDE : (step + 1) * SIDE]
            for s in sheets
        ]
        frames.append(frame(np.hstack(cells)))
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=120, loop=0, comment=source
    )
    return buffer.getvalue()
