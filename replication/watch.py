"""Change a loss and watch: a small model trained by losses.py as committed, and as it is now.

    python -m replication.watch                                       # a minute
    python -m replication.watch --objective dip-vae-i --weight 10

Both models start from the same weights and see the same images and noise, here, one after the
other: all that differs comes from dipvae_src/losses.py. It shows what a change does and is no
result: a narrow network, squares alone, one seed. Only the picture is kept. Two changes to try:

- in `covariance_of_means` delete `/ mu.shape[0]`: the penalty now counts the means' variance
  64-fold. DIP-VAE-II switches all latents off, the KL falls to nearly 0 and every reconstruction is
  the mean image. DIP-VAE-I keeps them at a variance of about 1/64, most of them in use by name,
  with the mean image all the same;
- the snippet that is copied most (notebook 02), all of it: delete that, put `dim=1` in place of
  `dim=0` there, and in `total_covariance` return
  `(2 * log_var).exp().diag().mean() + covariance_of_means(mu)`: the latents become copies of one
  another, with a mean |correlation| near 1. Without the last line they switch off.
"""

from replication import lifeline  # noqa: F401  # isort: skip  (first: it holds us to our starter)

import argparse
import dataclasses
import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch

from dipvae_src import evaluate, train
from dipvae_src.data import Packed
from dipvae_src.sap import INACTIVE_BELOW
from dipvae_src.settings import Settings
from replication import datasets, profiles
from replication.provenance import ROOT, structure
from replication.results import write_whole
from replication.show import figures

LOSSES = "dipvae_src/losses.py"
SMALL = dict(width=128, batch_size=64, steps=1_000, learning_rate=2e-3)
ABOUT = "no result: a narrow network, squares alone, one seed"


def committed() -> str:
    """losses.py as the last commit has it; RuntimeError where git does not have it."""
    command = ["git", "show", f"HEAD:{LOSSES}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(f"git has no {LOSSES} to compare with: {found.stderr.strip()}")
    return found.stdout


def squares(data: Packed) -> Packed:
    """Of 2D Shapes the upright squares, of which size and position vary: quickly learnt."""
    chosen = np.arange(len(data.bits)).reshape(data.factor_sizes)[0, :, 0]
    return dataclasses.replace(data, bits=data.bits[torch.from_numpy(chosen.ravel())])


def trained_by(source: str, settings: Settings, data: Packed) -> dict:
    """What becomes of a model that the losses in `source` train: its numbers on held-out images,
    the covariance of its z (D, D), and the sheet of its traversals.

    The penalty is what `source` makes of it; all else is computed alike whatever `source` says.
    """
    losses = ModuleType("losses")
    exec(compile(source, LOSSES, "exec"), losses.__dict__)
    losses.Loss = train.losses.Loss  # one class, for whoever checks types
    with mock.patch.object(train, "losses", losses):
        model, history = train.train(settings, 0, data)
    found = evaluate.measure(model, data, data.split()[1])
    mu, variance = found["mu"].numpy(), found["log_var"].exp().numpy()
    kl = 0.5 * (mu**2 + variance - 1 - np.log(variance)).mean(axis=0)  # (D,)
    covariance = np.cov(mu.T, bias=True)
    used = np.diag(covariance) >= INACTIVE_BELOW
    pairs = ~np.eye(used.sum(), dtype=bool)
    correlation = np.abs(np.corrcoef(mu.T[used])[pairs]).mean() if used.sum() > 1 else np.nan
    numbers = {
        "penalty, its own": f"{history[-1]['penalty']:.3g}",
        "KL, nats an image": f"{kl.sum():.2f}",
        "mean |correlation|": "-" if np.isnan(correlation) else f"{correlation:.2f}",
        "latents in use": f"{used.sum()} of {len(used)}",
        "rec. error a pixel": f"{found['reconstruction_error']:.4f}",
    }
    sheet = evaluate.traversal_sheet(model, data, kl.tolist())
    return {"numbers": numbers, "z": covariance + np.diag(variance.mean(axis=0)), "sheet": sheet}


def draw(models: dict[str, dict], title: str, path: Path) -> None:
    """For each model the covariance of its z, and below what its latents draw."""
    figures.style()
    figure, axes = plt.subplots(2, len(models), figsize=(5 * len(models), 9.5), squeeze=False)
    for (name, model), (above, below) in zip(models.items(), axes.T):
        sns.heatmap(model["z"], ax=above, cmap="vlag", center=0, vmin=-1.5, vmax=1.5, square=True)
        above.set_title(f"{name}: covariance of z")
        below.imshow(model["sheet"], cmap="gray_r")
        below.set_axis_off()
        below.set_title("test images, reconstructed; each latent moved")
    figure.suptitle(title)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    plt.close(figure)
    write_whole(path, file.getvalue())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objective", default="dip-vae-ii", help="beta-vae, dip-vae-i, dip-vae-ii")
    parser.add_argument("--weight", type=float, default=5.0, help="beta, or lambda_od")
    parser.add_argument("--data", default="data")
    parser.add_argument("--out", type=Path, default=Path("runs/watch.png"))
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)  # a model this small gains nothing by more
    try:
        settings = profiles.setting(args.objective, args.weight, **SMALL)
        data = squares(datasets.load("shapes2d", args.data))
        sources = {"committed": committed(), "now": (ROOT / LOSSES).read_text("utf-8")}
        if structure(sources["committed"]) == structure(sources["now"]):
            print(f"{LOSSES} does what the committed one does; change it to see a second column")
            del sources["now"]
        models = {}
        for name, source in reversed(sources.items()):  # what may fail first
            print(f"{settings.label}, {LOSSES} {name}: {settings.steps:,} steps ...", flush=True)
            try:
                models = {name: trained_by(source, settings, data)} | models
            except Exception as error:  # whatever an edit may bring about
                if name == "committed":
                    raise
                what = f"{type(error).__name__}: {error}"
                raise RuntimeError(f"{LOSSES} as it is now does not train: {what}") from error
        draw(models, f"{settings.label} ({ABOUT})", args.out)
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(pd.DataFrame({name: model["numbers"] for name, model in models.items()}).to_string())
    print(f"picture: {args.out}\n({ABOUT}; as it was: git checkout {LOSSES})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
