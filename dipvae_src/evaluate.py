"""What a trained model makes of held-out images: codes, reconstruction error, KL, traversals."""

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from dipvae_src import losses, models
from dipvae_src.data import Packed

ENCODE_BATCH = 1_000
TRAVERSAL_STEPS = 11  # columns of the traversal sheet
TRAVERSAL_RANGE = 2.5  # z from -2.5 to 2.5 in units of the prior's standard deviation
TRAVERSAL_LATENTS = 10  # rows of the sheet, at most


def decoded(model: models.VAE, z: models.Codes, data: Packed) -> models.Images:
    """The decoder's mean image: p(x = 1|z) of binary images, E[x|z] of colour images."""
    means = model.decode(z)
    return means.sigmoid() if data.channels == 1 else means


@torch.no_grad()
def measure(model: models.VAE, data: Packed, indices: Int64[Tensor, " images"]) -> dict:
    """Encode images once and decode their means.

    Returns mu and log_var, (N, D) float64 tensors on the CPU, kl_per_latent (D,) in nats, and the
    reconstruction error: the mean over images and pixels (and channels) of (x - E[x|z])^2 at z =
    mu(x). The paper's definition of that error is open; this is our reading. Beside it the other
    ones: `absolute`, the mean of |x - E[x|z]|, and `sampled`, the squared one at z ~ q(z|x).
    """
    mus, log_vars, sums = [], [], {"squared": 0.0, "absolute": 0.0, "sampled": 0.0}
    noise = torch.Generator(indices.device).manual_seed(0)
    for batch in indices.split(ENCODE_BATCH):
        images = data.images(batch)
        mu, log_var = model.encode(images)
        error = decoded(model, mu, data) - images
        sums["squared"] += error.square().sum().item()
        sums["absolute"] += error.abs().sum().item()
        sampled = decoded(model, models.sample(mu, log_var, noise), data)
        sums["sampled"] += (sampled - images).square().sum().item()
        mus.append(mu.cpu())
        log_vars.append(log_var.cpu())
    mu, log_var = torch.cat(mus).double(), torch.cat(log_vars).double()
    columns = zip(mu.split(1, dim=1), log_var.split(1, dim=1))
    kl = [losses.kl_to_standard_normal(*latent).mean().item() for latent in columns]
    errors = {name: total / (len(indices) * data.pixels) for name, total in sums.items()}
    return {
        "mu": mu, "log_var": log_var, "kl_per_latent": kl,
        "reconstruction_error": errors.pop("squared"), "other_errors": errors,
    }  # fmt: skip


@torch.no_grad()
def means_of(
    model: models.VAE, data: Packed, indices: Int64[Tensor, " images"]
) -> Float[np.ndarray, "images latent"]:
    """mu(x) of these images, float64."""
    batches = (data.images(batch) for batch in indices.split(ENCODE_BATCH))
    return torch.cat([model.encode(images)[0].cpu() for images in batches]).double().numpy()


@torch.no_grad()
def traversal_sheet(
    model: models.VAE, data: Packed, kl_per_latent: list[float]
) -> UInt8[np.ndarray, "height width *colours"]:
    """One picture of what a model learned, ((2 + rows) * 64, 11 * 64) uint8, in colour (..., 3).

    Row 0: the first 11 test images; row 1: their reconstructions at z = mu(x); then one row per
    latent, the most used (largest KL) first, at most 10: the first test image with that latent
    alone moved from -2.5 to 2.5.
    """
    images = data.images(data.split()[1][:TRAVERSAL_STEPS])
    mu, _ = model.encode(images)
    rows = [images, decoded(model, mu, data)]
    values = torch.linspace(-TRAVERSAL_RANGE, TRAVERSAL_RANGE, TRAVERSAL_STEPS, device=mu.device)
    for latent in np.argsort(kl_per_latent)[::-1][:TRAVERSAL_LATENTS]:
        z = mu[:1].repeat(TRAVERSAL_STEPS, 1)  # (11, D)
        z[:, int(latent)] = values
        rows.append(decoded(model, z, data))
    side, channels = models.SIDE, data.channels
    sheet = torch.stack(rows).view(len(rows), TRAVERSAL_STEPS, channels, side, side)
    sheet = sheet.permute(0, 3, 1, 4, 2).reshape(len(rows) * side, TRAVERSAL_STEPS * side, channels)
    pixels = (255 * sheet.clamp(0, 1)).round().byte().cpu().numpy()
    return pixels[..., 0] if data.channels == 1 else pixels
