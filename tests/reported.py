"""What the tests of report and explorer show: real results of a second each, and loud models."""

import contextlib
import dataclasses
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from dipvae_src import models
from dipvae_src.settings import Settings
from replication import profiles
from replication.engine import runner
from replication.report import explorer, report
from replication.show import figures, summary

TINY = dict(
    width=16,
    steps=12,
    batch_size=32,
    learning_rate=1e-3,
    test_images=150,
    zdiff_train=100,
    zdiff_test=50,
)
TINY_COLOUR = dict(
    filters=2, width=8, latents=12, steps=4, batch_size=32, learning_rate=1e-3, test_images=100
)
COMMON = {
    "shapes2d": TINY,
    "celeba": TINY_COLOUR | dict(zdiff_train=100, zdiff_test=50),
    "chairs": TINY_COLOUR,
}


@contextlib.contextmanager
def tiny_smoke():
    """The smoke profile with fewer steps and smaller networks."""
    smoke = profiles.PROFILES["smoke"]
    parts = {d: dataclasses.replace(part, common=COMMON[d]) for d, part in smoke.parts.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(profiles.PROFILES, "smoke", dataclasses.replace(smoke, parts=parts))
        yield


def make_report(folder: Path, data_dir: Path, also: tuple[str, ...] = ("celeba", "chairs")) -> Path:
    """The path of a report, of a tiny smoke profile on 2D Shapes and `also`, with two figures."""
    results, figures_dir = str(folder / "results"), str(folder / "figures" / "smoke")
    with tiny_smoke():
        for data in ("shapes2d", *also):
            for settings, seeds in profiles.plan("smoke", data=data):
                for seed in seeds:
                    where = (data_dir, results, "cpu", "single")
                    runner.train_unit("smoke", [(settings, seed)], *where, log=[].append)
        shown = summary.load("smoke", results, figures_dir)
        figure, axis = plt.subplots()
        axis.plot([1, 2])
        figures.save_figure(shown, figure, "trade_off", "06_trade_off", "a rising line")
        figure, axis = plt.subplots()
        figures.save_figure(shown, figure, "covariance", "08_covariance", 'an empty "picture"')
        report.build("smoke", results, figures_dir)
    return folder / "figures" / "report.html"


def results_of(path: Path) -> dict[str, summary.ProfileResults]:
    """The results that a report of `make_report` shows."""
    with tiny_smoke():
        folder = path.parents[1]
        return summary.load_all("smoke", str(folder / "results"), str(folder / "figures" / "smoke"))


def loud(network: str, latents: int, seed: int) -> models.VAE:
    """A small model that draws black and white, not a fresh one's grey; its weights are halves."""
    channels = 1 if network == "fc" else 3
    model = models.build(network, latents, 16, channels, seed, filters=4)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(3.0)
        list(model.decoder.parameters())[-1].add_(0.0 if network == "fc" else 0.5)
        for parameter in model.decoder.parameters():
            parameter.copy_(parameter.half())
    return model


def settings_of(network: str, latents: int, weight: float = 2, **other) -> Settings:
    """Of the models that `loud` makes: beta-VAE (beta `weight`)."""
    data = "shapes2d" if network == "fc" else "celeba"
    size = dict(data=data, network=network, latents=latents, width=16, filters=4)
    return Settings("beta-vae", beta=weight, **size, **other)


def means(model: models.VAE, z: np.ndarray) -> np.ndarray:
    """What a model draws by PyTorch, (batch, pixels), 0 to 1: what the explorer is held to."""
    with torch.no_grad():
        drawn = model.decode(torch.from_numpy(z).float())
    return (drawn.sigmoid() if drawn.shape[1] == models.SIDE**2 else drawn.clamp(0, 1)).numpy()


def sheet_of(latents: int, channels: int) -> np.ndarray:
    """A sheet whose tile in row r and column c is all of one shade, 10 r + c."""
    tiles = 10 * np.arange(2 + latents)[:, None] + np.arange(11)
    sheet = tiles.repeat(models.SIDE, axis=0).repeat(models.SIDE, axis=1).astype(np.uint8)
    return sheet if channels == 1 else np.stack(3 * [sheet], axis=-1)


def shown_models(
    network: str, latents: int, count: int, without: int = 0
) -> tuple[list[explorer.Model], list[models.VAE]]:
    """Models for the explorer and the same in PyTorch; the last `without` have no weights at hand.

    Most used is the last latent. Those without weights ignore their latents.
    """
    own = [loud(network, latents, seed) for seed in range(count)]
    channels = 1 if network == "fc" else 3
    found = []
    for m, model in enumerate(own):
        rows = [
            {"latent": k, "use": f"KL {k + 1}.00, factor 0.{k}"} for k in reversed(range(latents))
        ]
        mu = np.random.default_rng(m).normal(size=(11, latents)).astype(np.float32)
        weights = {
            f"decoder.{name}": p.half().numpy() for name, p in model.decoder.state_dict().items()
        }
        kept = (weights, mu) if m < count - without else (None, None)
        sheet = sheet_of(latents, channels)
        settings, kl = settings_of(network, latents, weight=m + 2), 5.0 + m if kept[0] else 0.0
        found.append(explorer.Model(settings, kl, rows, sheet, False, *kept))
    return found, own
