"""The explorer of the report page: decoders in half precision as text, labels, test images; explorer.js draws them.

A model's weights come from RESULTS/kept/RUN.npz (run.py leaves it for the first seed of each row of Table 1). Where it is not
there, the model's traversal sheet takes its place: one latent at a time, in eleven positions.
"""

import base64
import html
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image

from dipvae_src.evaluate import TRAVERSAL_STEPS
from dipvae_src.models import SIDE
from dipvae_src.settings import Settings
from replication import results
from replication.show import summary, traversals

SCRIPT = Path(__file__).with_suffix(".js")
SHOWN = 4  # models side by side at first; explorer.js has as many places
MEGABYTES = 85  # of weights in one explorer (one a data set), at most: four decoders of width 1200
SAME = 1.0  # of 255, mean over pixels: so near must kept weights come to the reconstructions on their model's sheet


@dataclass(frozen=True)
class Model:
    """A model as the explorer shows it."""

    label: str
    kl: float  # nats, of all latents together
    rows: list[
        dict
    ]  # the latents, most used first: {"latent": its index, "use": "KL 3.76, posY 0.85"}
    output: str  # of the decoder: "sigmoid" (Bernoulli pixels) or "clamp" (Gaussian ones)
    sheet: np.ndarray  # (H, W) or (H, W, 3) uint8, evaluate.traversal_sheet
    private: bool = False  # its test images may not be passed on
    weights: dict[str, np.ndarray] | None = (
        None  # float16, by their names in the state dict: decoder.0.weight, ...
    )
    mu: np.ndarray | None = None  # (11, latents) of the test images on the sheet


def models(shown: summary.ProfileResults) -> list[Model]:
    """The models of a data set that left a traversal sheet, in the order of Table 1, with their weights where those are at hand.

    Weights that do not draw their sheet's reconstructions are another run's, and count as not at hand.
    """
    found = []
    for result in shown.results:
        if not result["picture"]:
            continue
        settings, kl = Settings(**result["settings"]), np.array(result["metrics"]["kl_per_latent"])
        rows = []
        for latent in np.argsort(kl)[::-1].tolist():  # as on the sheet
            used = kl[latent] > traversals.USED_ABOVE
            use = traversals.factor_of(result["metrics"]["sap"], latent) if used else "off"
            rows.append(
                {"latent": latent, "use": ", ".join(filter(None, (f"KL {kl[latent]:.2f}", use)))}
            )
        sheet = np.asarray(Image.open(Path(shown.results_dir) / result["picture"]["file"]))
        output = "sigmoid" if sheet.ndim == 2 else "clamp"
        weights, mu = kept(
            results.path_of(Path(shown.results_dir) / "kept", settings, result["seed"]).with_suffix(
                ".npz"
            ),
            sheet,
            output,
        )
        private = settings.data == "celeba" and result["data"]["source"] == "official"
        found.append(
            Model(settings.label, float(kl.sum()), rows, output, sheet, private, weights, mu)
        )
    return found


def kept(
    path: Path, sheet: np.ndarray, output: str
) -> tuple[dict[str, np.ndarray], np.ndarray] | tuple[None, None]:
    """The decoder, and mu of the sheet's test images, from a kept file; None for both where it is not there or not the sheet's."""
    if not path.exists():
        return None, None
    with np.load(path, allow_pickle=False) as file:
        weights = {name: file[name] for name in file.files if name.startswith("decoder.")}
        mu = file["mu"][:TRAVERSAL_STEPS].astype(np.float32)
    drawn = tiles(decode(weights, mu, output), 1 if sheet.ndim == 2 else 3)
    difference = np.abs(255 * drawn - sheet[SIDE : 2 * SIDE]).mean()  # row 1: reconstructions
    return (weights, mu) if difference < SAME else (None, None)


def tiles(images: Float[np.ndarray, "batch pixel"], channels: int) -> np.ndarray:
    """Images side by side, (64, batch * 64) or (64, batch * 64, 3), as a row of the sheet has them."""
    planes = (
        images.reshape(len(images), channels, SIDE, SIDE)
        .transpose(2, 0, 3, 1)
        .reshape(SIDE, len(images) * SIDE, channels)
    )
    return planes[..., 0] if channels == 1 else planes


def decode(
    weights: dict[str, np.ndarray], z: Float[np.ndarray, "batch latent"], output: str
) -> Float[np.ndarray, "batch pixel"]:
    """What a decoder draws, 0 to 1, from its arrays alone: what explorer.js does, by PyTorch."""
    names = sorted(
        (n for n in weights if n.endswith(".weight")), key=lambda n: int(n.split(".")[1])
    )
    inner = F.relu if any(weights[n].ndim == 4 for n in names) else torch.tanh
    x = torch.from_numpy(z).float()
    for name in names:
        weight, bias = (
            torch.from_numpy(weights[n]).float() for n in (name, name.replace(".weight", ".bias"))
        )
        if weight.ndim == 2:
            x = F.linear(x, weight, bias)
        else:
            size = weight.shape[2]
            x = (
                x
                if x.ndim == 4
                else x.unflatten(1, (weight.shape[0], -1)).unflatten(
                    2, 2 * [round((x.shape[1] / weight.shape[0]) ** 0.5)]
                )
            )
            x = F.conv_transpose2d(x, weight, bias, stride=2, padding=size // 2 - 1)
        x = inner(x) if name != names[-1] else x
    return (x.sigmoid() if output == "sigmoid" else x.clamp(0, 1)).flatten(1).numpy()


# --- into the page ---


def chosen(models: list[Model]) -> list[int]:
    """The models shown at first: of each objective the last that uses its latents (where none does, the last), then others."""
    families: dict[str, list[int]] = {}
    for m, model in enumerate(models):
        families.setdefault(model.label.split(" (")[0], []).append(m)
    first = [
        ([m for m in family if models[m].kl >= summary.COLLAPSED_BELOW] or family)[-1]
        for family in families.values()
    ]
    rest = sorted(
        (m for m in range(len(models)) if m not in first),
        key=lambda m: models[m].kl < summary.COLLAPSED_BELOW,
    )
    return sorted((first + rest)[:SHOWN])


def within(models: list[Model], megabytes: float) -> list[int]:
    """The models whose weights go into the page: those shown at first, then others, while they fit (base64: 4 bytes for 3)."""
    first, left, embedded = chosen(models), megabytes * 1e6, []
    for m in first + [m for m in range(len(models)) if m not in first]:
        size = sum(a.nbytes for a in models[m].weights.values()) * 4 / 3 if models[m].weights else 0
        if size and size <= left:
            embedded.append(m)
            left -= size
    return embedded


def picture(pixels: UInt8[np.ndarray, "height width *colours"]) -> str:
    """A part of a sheet as a data address; shapes dark on white, as in the figures."""
    buffer = io.BytesIO()
    Image.fromarray(255 - pixels if pixels.ndim == 2 else pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def block(models: list[Model], name: str, megabytes: float = MEGABYTES) -> str:
    """The explorer of one data set as HTML, for a page that also has `script()`; `name` is unique in it, a word."""
    embedded, entries, texts = within(models, megabytes), [], []
    for m, model in enumerate(models):
        entry = {"label": model.label, "kl": model.kl, "rows": model.rows}
        if m in embedded:
            entry["layout"] = [
                {"name": n, "shape": list(a.shape)} for n, a in model.weights.items()
            ]
            entry["mu"] = model.mu.tolist()
            numbers = b"".join(a.astype("<f2").tobytes() for a in model.weights.values())
            texts.append(
                f'<script type="text/plain" class="weights" data-model="{m}">{base64.b64encode(numbers).decode()}</script>'
            )
        else:
            entry["sheet"], entry["frames"] = (
                picture(model.sheet[SIDE:]),
                len(model.sheet) // SIDE - 2,
            )  # without the test images
        entries.append(entry)
    first = models[chosen(models)[0]]
    legend = (
        "Start from a test image"
        + f" (as {first.label} reconstructs it: the image itself may not be passed on)"
        * first.private
    )
    facts = {
        "id": name, "legend": legend, "channels": 1 if models[0].sheet.ndim == 2 else 3, "output": models[0].output,
        "shown": chosen(models),
        "tests": picture(first.sheet[SIDE : 2 * SIDE] if first.private else first.sheet[:SIDE]), "models": entries,
    }  # fmt: skip
    text = json.dumps(facts).replace("<", "\\u003c")
    hint = "<noscript><p>The explorer needs JavaScript; the traversals among the figures show the same at rest.</p></noscript>"
    return (
        f'<div class="explorer" id="explorer-{html.escape(name)}">{hint}'
        f'<script type="application/json" class="facts">{text}</script>{"".join(texts)}</div>'
    )


def script() -> str:
    """explorer.js for the end of a page with explorers."""
    return f"<script>\n{SCRIPT.read_text('utf-8')}</script>"
