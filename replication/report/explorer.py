"""The explorer of the report: decoders in half precision, labels, test images; explorer.js draws.

A model's weights come from RESULTS/kept/RUN.npz (run.py leaves it for the first seed of each row
of Table 1). Where it is not there or not whole, the model's traversal sheet takes its place: one
latent at a time, in eleven positions.
"""

import base64
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from markupsafe import Markup
from PIL import Image

from dipvae_src import models as networks
from dipvae_src.evaluate import TRAVERSAL_STEPS
from dipvae_src.models import SIDE
from dipvae_src.settings import Settings
from replication import results
from replication.report.page import PIECES, inline
from replication.show import summary, traversals

SCRIPT = Path(__file__).with_suffix(".js")
SHOWN = 4  # models side by side at first; explorer.js has as many places
MEGABYTES = 85  # of weights in one explorer (one a data set), at most: four decoders of width 1200
SAME = 1.0  # of 255, mean over pixels: so near must kept weights come to their model's sheet


@dataclass(frozen=True)
class Model:
    """A model as the explorer shows it."""

    label: str
    kl: float  # nats, of all latents together
    rows: list[dict]  # latents, most used first: {"latent": its index, "use": "KL 3.76, posY 0.85"}
    sheet: np.ndarray  # (H, W) or (H, W, 3) uint8, evaluate.traversal_sheet
    private: bool = False  # its test images may not be passed on
    weights: dict[str, np.ndarray] | None = None  # float16, by their names: decoder.0.weight, ...
    mu: np.ndarray | None = None  # (11, latents) of the test images on the sheet
    left_out: str = ""  # why its weights are, where they are there but cannot be used

    @property
    def channels(self) -> int:
        return 1 if self.sheet.ndim == 2 else 3

    @property
    def megabytes(self) -> float:
        """Of its weights in base64, which takes four bytes for three."""
        return sum(a.nbytes for a in (self.weights or {}).values()) * 4 / 3 / 1e6


def models(shown: summary.ProfileResults) -> list[Model]:
    """The models of a data set that left a traversal sheet, in Table 1's order."""
    found = []
    for result in shown.results:
        if not result["picture"]:
            continue
        settings, folder = Settings(**result["settings"]), Path(shown.results_dir)
        sheet = np.asarray(Image.open(folder / result["picture"]["file"]))
        kl, sap, rows = np.array(result["metrics"]["kl_per_latent"]), result["metrics"]["sap"], []
        for latent in np.argsort(kl)[::-1].tolist():  # as on the sheet
            used = kl[latent] > traversals.USED_ABOVE
            use = traversals.factor_of(sap, latent) if used else "off"
            words = ", ".join(filter(None, (f"KL {kl[latent]:.2f}", use)))
            rows.append({"latent": latent, "use": words})
        path = results.path_of(folder / "kept", settings, result["seed"]).with_suffix(".npz")
        weights, mu, left_out = kept(path, settings, sheet)
        if left_out:
            print(f"LEFT OUT: the decoder of {settings.label}, {path} ({left_out})")
        private = settings.data == "celeba" and result["data"]["source"] == "official"
        known = (settings.label, float(kl.sum()), rows, sheet, private)
        found.append(Model(*known, weights, mu, left_out))
    return found


def kept(
    path: Path, settings: Settings, sheet: np.ndarray
) -> tuple[dict[str, np.ndarray] | None, np.ndarray | None, str]:
    """The decoder, and mu of the sheet's test images, from a kept file; None if they are of no use.

    The third is why, if the file is there: it is damaged, of another network, or draws other
    reconstructions than are on the sheet, so that it is another run's.
    """
    arrays = results.read_kept(path)
    if arrays is None:
        return None, None, f"{path.name} is damaged" if os.path.lexists(path) else ""
    weights = {name: a for name, a in arrays.items() if name.startswith("decoder.")}
    mu = arrays["mu"][:TRAVERSAL_STEPS].astype(np.float32)
    try:
        drawn = tiles(decode(settings, weights, mu), 1 if sheet.ndim == 2 else 3)
        reconstructed = sheet[SIDE : 2 * SIDE]
        if not np.abs(255 * drawn - reconstructed).mean() < SAME:
            raise ValueError("other pictures")
    except (RuntimeError, ValueError):  # PyTorch's of other shapes, NumPy's
        return None, None, f"{path.name} is of another run or network"
    return weights, mu, ""


def tiles(images: Float[np.ndarray, "batch pixel"], channels: int) -> np.ndarray:
    """Images side by side as in a row of the sheet: (64, batch * 64) or (64, batch * 64, 3)."""
    planes = images.reshape(len(images), channels, SIDE, SIDE).transpose(2, 0, 3, 1)
    planes = planes.reshape(SIDE, len(images) * SIDE, channels)
    return planes[..., 0] if channels == 1 else planes


@torch.no_grad()
def decode(
    settings: Settings, weights: dict[str, np.ndarray], z: Float[np.ndarray, "batch latent"]
) -> Float[np.ndarray, "batch pixel"]:
    """What a decoder draws, 0 to 1; RuntimeError for weights of another network."""
    channels = 1 if settings.network == "fc" else 3
    model = networks.build(
        settings.network, settings.latents, settings.width, channels, 0, filters=settings.filters
    )
    own = {n.removeprefix("decoder."): torch.from_numpy(a).float() for n, a in weights.items()}
    model.decoder.load_state_dict(own)
    drawn = model.decode(torch.from_numpy(z).float())
    return (drawn.sigmoid() if channels == 1 else drawn.clamp(0, 1)).flatten(1).numpy()


# --- into the page ---


def chosen(models: list[Model]) -> list[int]:
    """The models shown at first: of each objective the last that uses its latents, then others."""
    families: dict[str, list[int]] = {}
    for m, model in enumerate(models):
        families.setdefault(model.label.split(" (")[0], []).append(m)
    used = [m for m, model in enumerate(models) if model.kl >= summary.COLLAPSED_BELOW]
    first = [([m for m in own if m in used] or own)[-1] for own in families.values()]
    rest = sorted(set(range(len(models))) - set(first), key=lambda m: (m not in used, m))
    return sorted((first + rest)[:SHOWN])


def within(models: list[Model], megabytes: float) -> list[int]:
    """The models whose weights go into the page: those shown first, then others, while they fit."""
    first, embedded = chosen(models), []
    for m in first + [m for m in range(len(models)) if m not in first]:
        if 0 < models[m].megabytes <= megabytes:
            embedded.append(m)
            megabytes -= models[m].megabytes
    return embedded


def picture(pixels: UInt8[np.ndarray, "height width *colours"]) -> str:
    """A part of a sheet as a data address; shapes dark on white, as in the figures."""
    buffer = io.BytesIO()
    Image.fromarray(255 - pixels if pixels.ndim == 2 else pixels).save(buffer, "PNG", optimize=True)
    return inline(buffer.getvalue())


def block(models: list[Model], name: str, title: str, megabytes: float = MEGABYTES) -> Markup:
    """The explorer of a data set, for a page that runs SCRIPT. `name`: a word; `title`: a tab's."""
    embedded, entries, texts = within(models, megabytes), [], []
    for m, model in enumerate(models):
        entry = {"label": model.label, "kl": model.kl, "rows": model.rows}
        if m in embedded:
            layout = [{"name": n, "shape": list(a.shape)} for n, a in model.weights.items()]
            entry |= {"layout": layout, "mu": model.mu.tolist()}
            numbers = b"".join(a.astype("<f2").tobytes() for a in model.weights.values())
            texts.append((m, base64.b64encode(numbers).decode()))
        else:  # the sheet without its test images
            entry |= {"sheet": picture(model.sheet[SIDE:]), "frames": len(model.sheet) // SIDE - 2}
        entries.append(entry)
    first, legend = models[chosen(models)[0]], "Start from a test image"
    if first.private:
        legend += f" (as {first.label} reconstructs it: the image itself may not be passed on)"
    row = 1 if first.private else 0
    facts = {
        "id": name, "legend": legend, "channels": first.channels, "models": entries,
        "output": "sigmoid" if first.channels == 1 else "clamp",  # Bernoulli pixels, Gaussian ones
        "shown": chosen(models), "tests": picture(first.sheet[row * SIDE : (row + 1) * SIDE]),
    }  # fmt: skip
    warnings = [f"{m.label} is pre-rendered: {m.left_out}." for m in models if m.left_out]
    return PIECES.explorer(name, title, facts, texts, warnings)
