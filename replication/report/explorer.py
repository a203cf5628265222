"""The explorer of the report: what explorer.js draws models from, live or pre-rendered.

A model's decoder is RESULTS/kept/RUN.npz, which the first seed of each row of Table 1 leaves. A
small one goes into the page, in eight bits a weight; of large ones those of the models shown first.
The others show frames, which it draws: one latent at a time, at 21 positions, from every test
image. Where it is not at hand, frames are read from RESULTS/frames/, or cut from the traversal
sheet: ten latents at 11 positions. To leave small decoders, and frames of large ones, beside
results that are to be committed:

    python -m replication.report.explorer runs/quick results/quick
"""

import base64
import io
import itertools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int8, UInt8
from markupsafe import Markup
from PIL import Image

from dipvae_src import models as networks
from dipvae_src.evaluate import TRAVERSAL_RANGE, TRAVERSAL_STEPS
from dipvae_src.models import SIDE
from dipvae_src.settings import Settings
from replication import results
from replication.report.page import PIECES, inline
from replication.show import summary, traversals, wording

SCRIPT = Path(__file__).with_suffix(".js")
SHOWN = 4  # models side by side at first; explorer.js has as many places
SMALL = 500_000  # weights of a decoder that takes less room than its frames would: of colour images
POSITIONS = 21  # of a latent in frames, from -2.5 to 2.5
SAME = 1.0  # of 255, mean over pixels: so near must kept weights come to their model's sheet
NOT_IN_HTML = str.maketrans("<>&", ",.:")  # among the letters of base 85
Weights = dict[str, np.ndarray]  # by their names: decoder.0.weight, ...
Pixels = UInt8[np.ndarray, "height width *colours"]


@dataclass(frozen=True)
class Model:
    """A model as the explorer shows it."""

    settings: Settings
    kl: float  # nats, of all latents together
    rows: list[dict]  # latents, most used first: {"latent": its index, "use": "KL 3.76, posY 0.85"}
    sheet: Pixels  # evaluate.traversal_sheet
    private: bool = False  # its test images may not be passed on
    weights: Weights | None = None
    mu: np.ndarray | None = None  # (11, latents) of the test images on the sheet
    moved: float = 0.0  # of 255: by how much eight bits change a pixel of these images, at most
    left_out: str = ""  # why its weights are, where they are there but cannot be used
    frames: bytes = b""  # as `frames_of` makes them, where they are at hand

    @property
    def label(self) -> str:
        return wording.brief(self.settings.label)

    @property
    def channels(self) -> int:
        return 1 if self.sheet.ndim == 2 else 3


# --- from a run's files ---


def models(shown: summary.ProfileResults) -> list[Model]:
    """The models of a data set that left a traversal sheet, in Table 1's order."""
    folder = Path(shown.results_dir)
    return [model_of(result, folder) for result in shown.results if result["picture"]]


def model_of(result: dict, folder: Path) -> Model:
    """A run as the explorer shows it, by what lies beside its result in `folder`."""
    settings = Settings(**result["settings"])
    sheet = np.asarray(Image.open(folder / result["picture"]["file"]))
    latents = traversals.latents_of(result["metrics"])
    rows = [{"latent": latent, "use": words} for latent, words in latents]
    weights, mu, moved, left_out = None, None, 0.0, ""
    path = results.path_of(folder / "kept", settings, result["seed"]).with_suffix(".npz")
    try:
        weights, mu, moved = kept(path, settings, sheet)
    except ValueError as error:
        left_out = str(error)
        print(f"LEFT OUT: the decoder of {settings.label} ({left_out})")
    frames = folder / "frames" / frames_name(result)
    private = settings.data == "celeba" and result["data"]["source"] == "official"
    kl = sum(result["metrics"]["kl_per_latent"])
    known = (settings, kl, rows, sheet, private, weights, mu, moved, left_out)
    return Model(*known, frames.read_bytes() if frames.exists() else b"")


def kept(
    path: Path, settings: Settings, sheet: Pixels
) -> tuple[Weights | None, np.ndarray | None, float]:
    """Of a kept file, if it is there: the decoder, mu of the sheet's test images, and `moved`.

    Raises ValueError where it is damaged, of another network, or draws other reconstructions than
    are on the sheet, so that it is another run's.
    """
    arrays = results.read_kept(path)
    if arrays is None:
        if os.path.lexists(path):
            raise ValueError(f"{path.name} is damaged")
        return None, None, 0.0
    weights = {name: a for name, a in arrays.items() if name.startswith("decoder.")}
    mu = arrays["mu"][:TRAVERSAL_STEPS].astype(np.float32)
    coarse = {}
    for name, array in weights.items():
        scales, whole = eight_bits(array)
        coarse[name] = (scales[:, None] * whole).reshape(array.shape)
    try:
        drawn, again = (255 * decode(settings, own, mu) for own in (weights, coarse))
        if not np.abs(drawn - sheet[SIDE : 2 * SIDE]).mean() < SAME:
            raise ValueError("other pictures")
    except (RuntimeError, ValueError):  # PyTorch's of other shapes, NumPy's
        raise ValueError(f"{path.name} is of another run or network") from None
    return weights, mu, float(np.abs(again - drawn).max())


@torch.no_grad()
def decode(
    settings: Settings, weights: Weights, z: Float[np.ndarray, "batch latent"]
) -> Float[np.ndarray, "64 width *colours"]:
    """What a decoder draws, 0 to 1, side by side as in a row of the sheet: (64, batch * 64), of
    colour images (64, batch * 64, 3). RuntimeError for weights of another network.
    """
    channels = 1 if settings.network == "fc" else 3
    model = networks.build(
        settings.network, settings.latents, settings.width, channels, 0, filters=settings.filters
    )
    own = {n.removeprefix("decoder."): torch.from_numpy(a).float() for n, a in weights.items()}
    model.decoder.load_state_dict(own)
    means = model.decode(torch.from_numpy(z).float())
    means = means.sigmoid() if channels == 1 else means.clamp(0, 1)
    images = means.view(len(z), channels, SIDE, SIDE).permute(2, 0, 3, 1)
    row = images.reshape(SIDE, len(z) * SIDE, channels).numpy()
    return row[..., 0] if channels == 1 else row


def is_small(weights: Weights) -> bool:
    """Whether a decoder is committed, and goes into the page, itself rather than its frames."""
    return sum(array.size for array in weights.values()) <= SMALL


def frames_of(model: Model) -> bytes:
    """Frames by the model's weights, as WebP: a row of test images reconstructed, then of each of
    them a row a latent, with that latent alone moved from -2.5 to 2.5. 200 KB a model of shapes.
    """
    rows = [np.pad(model.mu, ((0, POSITIONS - len(model.mu)), (0, 0)), "edge")]
    for mu, row in itertools.product(model.mu, model.rows):
        rows.append(np.tile(mu, (POSITIONS, 1)))
        rows[-1][:, row["latent"]] = np.linspace(-TRAVERSAL_RANGE, TRAVERSAL_RANGE, POSITIONS)
    drawn = np.concatenate([decode(model.settings, model.weights, z) for z in rows])
    return webp(np.round(255 * drawn).astype(np.uint8))


def frames_name(result: dict) -> str:
    """The name of a run's frames tells its losses too, so that no other run's are shown."""
    stem = results.path_of("", Settings(**result["settings"]), result["seed"]).stem
    return f"{stem}_{results.checksum({'losses': result['losses']})[:8]}.webp"


def leave(source: Path, target: Path) -> None:
    """Of every decoder kept in `source` what is committed: target/kept/RUN.npz of a small one, with
    the latents of no more test images than are shown; else target/frames/RUN_LOSSES.webp.
    """
    for path in sorted(source.glob("kept/*.npz")):
        result = results.read(source / f"{path.stem}.json")
        model = model_of(result, source)
        if not model.weights:
            continue
        if is_small(model.weights):
            arrays, buffer = results.read_kept(path), io.BytesIO()
            arrays |= {name: arrays[name][:TRAVERSAL_STEPS] for name in ("mu", "log_var")}
            np.savez_compressed(buffer, **arrays)
            results.write_whole(target / "kept" / path.name, buffer.getvalue())
        else:
            results.write_whole(target / "frames" / frames_name(result), frames_of(model))


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


def eight_bits(
    array: np.ndarray,
) -> tuple[Float32[np.ndarray, " rows"], Int8[np.ndarray, "rows n"]]:
    """An array's rows, along its first axis: each row's scale, and whole numbers of -127 to 127.

    So a vector, whose rows have one number each, stays as it is.
    """
    rows = array.astype(np.float32).reshape(len(array), -1)
    scales = np.maximum(np.abs(rows).max(axis=1) / 127, np.float32(1e-30))
    return scales, np.round(rows / scales[:, None]).astype(np.int8)


def as_text(weights: Weights) -> str:
    """For explorer.js: of each array its scales (float32, little-endian), then its numbers."""
    parts = (eight_bits(array) for array in weights.values())
    content = b"".join(s.astype("<f4").tobytes() + whole.tobytes() for s, whole in parts)
    return base64.b85encode(content, pad=True).decode().translate(NOT_IN_HTML)


def webp(pixels: Pixels) -> bytes:
    """Pictures as the page shows them: shapes dark on white, as in the figures."""
    buffer, ink = io.BytesIO(), 255 - pixels if pixels.ndim == 2 else pixels
    Image.fromarray(ink).save(buffer, "WEBP", quality=70)
    return buffer.getvalue()


def block(models: list[Model], name: str, title: str) -> Markup:
    """The explorer of a data set, for a page that runs SCRIPT. `name`: a word; `title`: a tab's."""
    entries, texts = [], []
    for m, model in enumerate(models):
        entry = {"label": model.label, "kl": model.kl, "rows": model.rows}
        if model.weights and (m in chosen(models) or is_small(model.weights)):
            layout = [{"name": n, "shape": list(a.shape)} for n, a in model.weights.items()]
            entry |= {"layout": layout, "mu": model.mu.tolist()}
            texts.append((m, as_text(model.weights)))
        elif model.frames or model.weights:
            frames = model.frames or frames_of(model)
            starts = (Image.open(io.BytesIO(frames)).height // SIDE - 1) // len(model.rows)
            entry |= {"frames": inline(frames, "webp"), "positions": POSITIONS, "starts": starts}
        else:  # the sheet without its test images
            frames = inline(webp(model.sheet[SIDE:]), "webp")
            entry |= {"frames": frames, "positions": TRAVERSAL_STEPS, "starts": 1}
        entries.append(entry)
    first = models[chosen(models)[0]]
    top = SIDE if first.private else 0  # of the row that stands for the test images
    facts = {
        "id": name, "channels": first.channels, "models": entries, "shown": chosen(models),
        "output": "sigmoid" if first.channels == 1 else "clamp",  # Bernoulli pixels, Gaussian ones
        "tests": inline(webp(first.sheet[top : top + SIDE]), "webp"),
        "reconstructed_by": first.label if first.private else None,
    }  # fmt: skip
    return PIECES.explorer(name, title, facts, texts, [m for m in models if m.left_out])


if __name__ == "__main__":
    if len(sys.argv) != 3 or not Path(sys.argv[1]).is_dir():
        sys.exit(
            "error: give two folders of results: where the decoders lie, and where to leave them"
        )
    leave(*map(Path, sys.argv[1:]))
