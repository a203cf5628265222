"""The traversal sheets that runs left beside their results: labelled, cut, and set in motion."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from PIL import Image

from dipvae_src.models import SIDE
from dipvae_src.settings import Settings
from replication.show import figures, summary
from replication.show.summary import ProfileResults
from replication.show.wording import together

GREYS, COLOURS = 16, 64  # of the animation
CHANCE = {"shape": 1 / 3}  # of a balanced accuracy; CelebA's attributes have two classes
OFF = "off"  # of a latent that is not in use
LITTLE = 0.1  # of the way from chance to 1
MOST_ROWS = {2: 10, 3: 4}  # latents of a sheet in the figure at most: of grey pictures, of coloured


@dataclass(frozen=True)
class Sheet:
    """One model's sheet (evaluate.traversal_sheet), a label for each row.

    `pixels`: ((2 + rows) * 64, columns * 64) uint8, of colour images with a third axis.
    """

    label: str
    pixels: np.ndarray
    rows: list[str]
    used: int = 0  # latents in use, of so many
    latents: int = 0

    def in_use(self, most: int) -> "Sheet":
        """The sheet without the rows of latents that are off, with so many latents at most."""
        keep = [k for k, words in enumerate(self.rows) if not words.endswith(OFF)][: 2 + most]
        bands = self.pixels.reshape(-1, SIDE, *self.pixels.shape[1:])[keep]
        pixels = bands.reshape(-1, *self.pixels.shape[1:])
        return replace(self, pixels=pixels, rows=[self.rows[k] for k in keep])


def sheets(shown: ProfileResults, results_dir: str | Path) -> list[Sheet]:
    """The sheets of the results that have one, in the order of Table 1; `results.collect` has
    checked them.
    """
    found = []
    for result in shown.results:
        if not result["picture"]:
            continue
        pixels = np.asarray(Image.open(Path(results_dir) / result["picture"]["file"]))
        rows = [words for _, words in latents_of(result["metrics"])][: len(pixels) // SIDE - 2]
        used = summary.in_use(result["metrics"])
        told = (["test images", "reconstructed", *rows], int(used.sum()), len(used))
        found.append(Sheet(Settings(**result["settings"]).label, pixels, *told))
    return found


def latents_of(metrics: dict) -> list[tuple[int, str]]:
    """A run's latents, most KL first as on its sheet, each with words: its KL, and what it predicts
    best, or that it is off.
    """
    kl, used, found = np.array(metrics["kl_per_latent"]), summary.in_use(metrics), []
    for latent in np.argsort(kl)[::-1].tolist():
        use = factor_of(metrics["sap"], latent) if used[latent] else OFF
        found.append((latent, ", ".join(filter(None, (f"KL {kl[latent]:.2f}", use)))))
    return found


def most_and_fewest(sheets: list[Sheet]) -> str:
    """Which models have most latents in use, and which fewest."""
    said = []
    for words, choose in (("most", max), ("fewest", min)):
        count = choose(sheet.used for sheet in sheets)
        models = together([sheet.label for sheet in sheets if sheet.used == count])
        said.append(f"{words} by {models}, {count} of {sheets[0].latents}")
    return f"Latents in use: {'; '.join(said)}"


def figure(sheets: list[Sheet]) -> plt.Figure:
    """All sheets in two columns, each row labelled, without the rows of latents that are off;
    shapes dark on white, colours as they are.
    """
    sheets = [sheet.in_use(MOST_ROWS[sheet.pixels.ndim]) for sheet in sheets]
    half = -(-len(sheets) // 2)
    columns = [sheets[:half], sheets[half:]]
    counts = [[len(sheet.rows) for sheet in its] for its in columns]
    heights = [sum(its) + 1.4 * len(its) for its in counts]  # each with a title
    made = plt.figure(figsize=(figures.WIDTH, 0.7 + 0.245 * max(heights)))
    for part, its, rows, height in zip(made.subfigures(1, 2), columns, counts, heights):
        rest = max(heights) - height + 0.01  # of a column that is shorter than the other
        ratios = [count + 1.4 for count in rows] + [rest]
        axes = part.subplots(len(ratios), 1, height_ratios=ratios)
        for axis, sheet, count in zip(axes, its, rows):
            axis.imshow(sheet.pixels, cmap="gray_r", vmin=0, vmax=255)
            title = f"{sheet.label}: {sheet.used} of {sheet.latents} latents in use"
            axis.set_title(title, loc="left")
            axis.set_xticks([])
            axis.set_yticks(SIDE * np.arange(count) + SIDE // 2, sheet.rows, fontsize=8)
            axis.tick_params(length=0)
            axis.yaxis.tick_right()
            axis.grid(False)
            axis.set_anchor("NW")
        axes[-1].set_axis_off()
    figures.heading(made, most_and_fewest(sheets))
    made.draw_without_rendering()  # a second pass makes room for long labels beside square pixels
    return made


def frame(cells: np.ndarray) -> Image.Image:
    """One picture of the animation: shapes dark on white, colours as they are; in few shades,
    which halves its size.
    """
    if cells.ndim == 2:
        return Image.fromarray(255 - np.pad(cells, 2)).quantize(GREYS)
    padded = np.pad(cells, ((2, 2), (2, 2), (0, 0)), constant_values=255)
    return Image.fromarray(padded).quantize(COLOURS)


def factor_of(sap: dict | None, latent: int) -> str:
    """The factor that a latent predicts best, with its SAP entry: that which is furthest from
    chance (0 for R², one in so many classes for a balanced accuracy) on the way to 1.

    "no one factor" where that is less than LITTLE of the way; empty where SAP is not asked for
    (chairs) or counts the latent as off.
    """
    if not sap or not any(entries := sap["matrix"][latent]):
        return ""
    far = from_chance(sap)[latent]
    best = int(far.argmax())
    return f"{sap['factors'][best]} {entries[best]:.2f}" if far[best] >= LITTLE else "no one factor"


def from_chance(sap: dict) -> Float[np.ndarray, "latents factors"]:
    """SAP's entries on the way from chance to 1, at least 0."""
    chance = np.where(sap["discrete"], [CHANCE.get(name, 0.5) for name in sap["factors"]], 0.0)
    return np.maximum((np.array(sap["matrix"]) - chance) / (1 - chance), 0.0)


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
