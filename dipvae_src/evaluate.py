"""Score a trained model on held-out images: reconstruction, SAP, Z-diff, the covariance of its latents; and draw its traversals."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from dipvae_src import losses, models
from dipvae_src.data import Packed
from dipvae_src.experiments import Settings
from dipvae_src.sap import INACTIVE_BELOW, sap_score
from dipvae_src.train import stream
from dipvae_src.zdiff import z_diff_score

ENCODE_BATCH = 1_000
TRAVERSAL_STEPS = 11  # columns of the traversal sheet
TRAVERSAL_RANGE = 2.5  # z from -2.5 to 2.5 in units of the prior's standard deviation


@torch.no_grad()
def measure(model: models.VAE, data: Packed, indices: Int64[Tensor, " images"]) -> dict:
    """Encode images once and decode their means.

    Returns mu and log_var, (N, D) float64 tensors on the CPU, kl_per_latent (D,) in nats and the reconstruction error: the mean over
    images and pixels of (x - p(x = 1 | z = mu(x)))^2. The paper's definition of that error is open; this is our reading.
    """
    mus, log_vars, squared = [], [], 0.0
    for batch in indices.split(ENCODE_BATCH):
        images = data.images(batch)
        mu, log_var = model.encode(images)
        squared += (model.decode(mu).sigmoid() - images).square().sum().item()
        mus.append(mu.cpu())
        log_vars.append(log_var.cpu())
    mu, log_var = torch.cat(mus).double(), torch.cat(log_vars).double()
    kl = [losses.kl_to_standard_normal(mu[:, [i]], log_var[:, [i]]).mean().item() for i in range(mu.shape[1])]
    pixels = data.table.shape[1] * data.bits.shape[1]
    return {"mu": mu, "log_var": log_var, "kl_per_latent": kl, "reconstruction_error": squared / (len(indices) * pixels)}


def rounded(value, digits: int = 6):
    """Floats, or nested lists of them, to so many significant digits: what is kept in result files."""
    if isinstance(value, (list, tuple)):
        return [rounded(v, digits) for v in value]
    return float(f"{value:.{digits}g}")


def scores(measured: dict, data: Packed, indices: Int64[Tensor, " images"], settings: Settings, seed: int) -> dict:
    """The metrics of one run as plain JSON values, each with its sample size; `seed` draws the Z-diff pairs."""
    mu, log_var, factors = measured["mu"], measured["log_var"], data.factors(indices)
    sap = sap_score(mu.numpy(), factors, data.discrete)
    zdiff = z_diff_score(mu.numpy(), factors, train=settings.zdiff_train, test=settings.zdiff_test, seed=seed)
    return {
        "images": len(indices),
        "reconstruction_error": rounded(measured["reconstruction_error"]),
        "kl": rounded(sum(measured["kl_per_latent"])),
        "kl_per_latent": rounded(measured["kl_per_latent"]),
        "covariance_of_means": rounded(losses.covariance_of_means(mu).tolist()),
        "mean_variance": rounded(log_var.exp().mean(dim=0).tolist()),
        "sap": {
            "score": rounded(sap.score), "matrix": rounded(sap.matrix.tolist()), "gaps": rounded(sap.gaps.tolist()),
            "factors": list(data.factor_names), "discrete": list(data.discrete), "images": len(indices),
            "inactive_below": INACTIVE_BELOW,
        },
        "zdiff": dataclasses.asdict(zdiff),
    }  # fmt: skip


def evaluate(model: models.VAE, data: Packed, settings: Settings, seed: int) -> dict:
    """The metrics of a trained model: `settings.test_images` held-out images, the Z-diff pairs drawn from the run's own stream."""
    test = data.split()[1][: settings.test_images]
    return scores(measure(model, data, test), data, test, settings, stream(seed, "scores") % 2**31)


@torch.no_grad()
def traversal_sheet(model: models.VAE, data: Packed, kl_per_latent: list[float]) -> UInt8[np.ndarray, "height width"]:
    """One picture of what a model learned, ((2 + D) * 64, 11 * 64) uint8.

    Row 0: the first 11 test images; row 1: their reconstructions at z = mu(x); then one row per latent, the most used (largest
    KL) first: the first test image with that latent alone moved from -2.5 to 2.5.
    """
    images = data.images(data.split()[1][:TRAVERSAL_STEPS])
    mu, _ = model.encode(images)
    rows = [images, model.decode(mu).sigmoid()]
    values = torch.linspace(-TRAVERSAL_RANGE, TRAVERSAL_RANGE, TRAVERSAL_STEPS, device=mu.device)
    for latent in np.argsort(kl_per_latent)[::-1]:
        z = mu[:1].repeat(TRAVERSAL_STEPS, 1)  # (11, D)
        z[:, int(latent)] = values
        rows.append(model.decode(z).sigmoid())
    sheet = torch.stack(rows).view(len(rows), TRAVERSAL_STEPS, models.SIDE, models.SIDE)
    sheet = sheet.permute(0, 2, 1, 3).reshape(len(rows) * models.SIDE, TRAVERSAL_STEPS * models.SIDE)
    return (255 * sheet).round().byte().cpu().numpy()
