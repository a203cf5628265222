"""Score a trained model on held-out images: reconstruction, SAP, Z-diff, attributes, the covariance of its latents; draw its traversals."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from dipvae_src import losses, models
from dipvae_src.attributes import predict_attributes
from dipvae_src.data import Packed
from dipvae_src.experiments import Settings
from dipvae_src.sap import INACTIVE_BELOW, sap_score
from dipvae_src.train import stream
from dipvae_src.zdiff import z_diff_score

ENCODE_BATCH = 1_000
TRAVERSAL_STEPS = 11  # columns of the traversal sheet
TRAVERSAL_RANGE = 2.5  # z from -2.5 to 2.5 in units of the prior's standard deviation
TRAVERSAL_LATENTS = 10  # rows of the sheet, at most
OTHER_THRESHOLDS = (0.0, 0.001, 0.05)  # that SAP's inactive latents are also told by: what the paper leaves open


def decoded(model: models.VAE, z: Float[Tensor, "batch latent"], data: Packed) -> Float[Tensor, "batch pixel"]:
    """The decoder's mean image: p(x = 1|z) of binary images, E[x|z] of colour images."""
    means = model.decode(z)
    return means.sigmoid() if data.channels == 1 else means


@torch.no_grad()
def measure(model: models.VAE, data: Packed, indices: Int64[Tensor, " images"]) -> dict:
    """Encode images once and decode their means.

    Returns mu and log_var, (N, D) float64 tensors on the CPU, kl_per_latent (D,) in nats, and the reconstruction error: the mean over
    images and pixels (and channels) of (x - E[x|z])^2 at z = mu(x). The paper's definition of that error is open; this is our
    reading. Beside it the other ones: `absolute`, the mean of |x - E[x|z]|, and `sampled`, the squared one at z ~ q(z|x).
    """
    mus, log_vars, sums = [], [], {"squared": 0.0, "absolute": 0.0, "sampled": 0.0}
    noise = torch.Generator(indices.device).manual_seed(0)
    for batch in indices.split(ENCODE_BATCH):
        images = data.images(batch)
        mu, log_var = model.encode(images)
        error = decoded(model, mu, data) - images
        sums["squared"] += error.square().sum().item()
        sums["absolute"] += error.abs().sum().item()
        sums["sampled"] += (decoded(model, models.sample(mu, log_var, noise), data) - images).square().sum().item()
        mus.append(mu.cpu())
        log_vars.append(log_var.cpu())
    mu, log_var = torch.cat(mus).double(), torch.cat(log_vars).double()
    kl = [losses.kl_to_standard_normal(mu[:, [i]], log_var[:, [i]]).mean().item() for i in range(mu.shape[1])]
    errors = {name: total / (len(indices) * data.pixels) for name, total in sums.items()}
    return {"mu": mu, "log_var": log_var, "kl_per_latent": kl, "reconstruction_error": errors.pop("squared"), "other_errors": errors}


@torch.no_grad()
def means_of(model: models.VAE, data: Packed, indices: Int64[Tensor, " images"]) -> Float[np.ndarray, "images latent"]:
    """mu(x) of these images, float64."""
    return torch.cat([model.encode(data.images(batch))[0].cpu() for batch in indices.split(ENCODE_BATCH)]).double().numpy()


def rounded(value, digits: int = 6):
    """Floats, or nested lists of them, to so many significant digits: what is kept in result files."""
    if isinstance(value, (list, tuple)):
        return [rounded(v, digits) for v in value]
    return float(f"{value:.{digits}g}")


def scores(measured: dict, data: Packed, indices: Int64[Tensor, " images"], settings: Settings, seed: int) -> dict:
    """The metrics of one run as plain JSON values, each with its sample size; `seed` draws the Z-diff pairs.

    Beside each score, how far it moves by itself: SAP of each half of the images, Z-diff from other pairs. Both scores are None on chairs, whose many models are no factor that they could be asked about; the paper shows traversals.
    """
    mu, log_var = measured["mu"], measured["log_var"]
    found = {
        "images": len(indices),
        "reconstruction_error": rounded(measured["reconstruction_error"]),
        "other_errors": {name: rounded(value) for name, value in measured["other_errors"].items()},
        "kl": rounded(sum(measured["kl_per_latent"])),
        "kl_per_latent": rounded(measured["kl_per_latent"]),
        "covariance_of_means": rounded(losses.covariance_of_means(mu).tolist()),
        "mean_variance": rounded(log_var.exp().mean(dim=0).tolist()),
        "sap": None, "zdiff": None,
    }  # fmt: skip
    if settings.data == "chairs":
        return found
    factors = data.factors(indices)
    sap = sap_score(mu.numpy(), factors, data.discrete)
    others = {str(t): rounded(sap_score(mu.numpy(), factors, data.discrete, t).score) for t in OTHER_THRESHOLDS}
    halves = [sap_score(mu.numpy()[half::2], factors[half::2], data.discrete).score for half in (0, 1)]
    zdiff, again = (
        z_diff_score(
            mu.numpy(), factors, train=settings.zdiff_train, test=settings.zdiff_test, seed=s, balanced=settings.data == "celeba"
        )
        for s in (seed, seed + 1)
    )
    found["sap"] = {
        "score": rounded(sap.score), "matrix": rounded(sap.matrix.tolist()), "gaps": rounded(sap.gaps.tolist()),
        "factors": list(data.factor_names), "discrete": list(data.discrete), "images": len(indices),
        "inactive_below": INACTIVE_BELOW, "score_with_inactive_below": others,
        "score_of_halves": rounded(halves),
    }  # fmt: skip
    found["zdiff"] = dataclasses.asdict(zdiff) | {"accuracy_again": again.accuracy}
    return found


def attribute_scores(model: models.VAE, data: Packed, test_mu: Float[np.ndarray, "images latent"], test: Tensor) -> dict:
    """Table 2 of one model: each attribute predicted from mu(x), fitted on all training images (attributes.py), in percent."""
    train = data.split()[0]
    found = predict_attributes(means_of(model, data, train), data.factors(train), test_mu, data.factors(test))
    return {
        "names": list(data.factor_names), "train_images": len(train), "test_images": len(test),
        "accuracy": rounded(found.accuracy.tolist()), "balanced": rounded(found.balanced.tolist()),
        "majority": rounded(found.majority.tolist()), "single_latent": found.single_latent.tolist(),
        "single_accuracy": rounded(found.single_accuracy.tolist()), "single_balanced": rounded(found.single_balanced.tolist()),
    }  # fmt: skip


def evaluate(model: models.VAE, data: Packed, settings: Settings, seed: int) -> dict:
    """The metrics of a trained model: `settings.test_images` held-out images, the Z-diff pairs drawn from the run's own stream."""
    test = data.split()[1][: settings.test_images]
    measured = measure(model, data, test)
    found = scores(measured, data, test, settings, stream(seed, "scores") % 2**31)
    if settings.data == "celeba":
        found["attributes"] = attribute_scores(model, data, measured["mu"].numpy(), test)
    return found


@torch.no_grad()
def traversal_sheet(model: models.VAE, data: Packed, kl_per_latent: list[float]) -> UInt8[np.ndarray, "height width *colours"]:
    """One picture of what a model learned, ((2 + rows) * 64, 11 * 64) uint8, of colour images with three colours.

    Row 0: the first 11 test images; row 1: their reconstructions at z = mu(x); then one row per latent, the most used (largest
    KL) first, at most 10: the first test image with that latent alone moved from -2.5 to 2.5.
    """
    images = data.images(data.split()[1][:TRAVERSAL_STEPS])
    mu, _ = model.encode(images)
    rows = [images, decoded(model, mu, data)]
    values = torch.linspace(-TRAVERSAL_RANGE, TRAVERSAL_RANGE, TRAVERSAL_STEPS, device=mu.device)
    for latent in np.argsort(kl_per_latent)[::-1][:TRAVERSAL_LATENTS]:
        z = mu[:1].repeat(TRAVERSAL_STEPS, 1)  # (11, D)
        z[:, int(latent)] = values
        rows.append(decoded(model, z, data))
    sheet = torch.stack(rows).view(len(rows), TRAVERSAL_STEPS, data.channels, models.SIDE, models.SIDE)
    sheet = sheet.permute(0, 3, 1, 4, 2).reshape(len(rows) * models.SIDE, TRAVERSAL_STEPS * models.SIDE, data.channels)
    pixels = (255 * sheet.clamp(0, 1)).round().byte().cpu().numpy()
    return pixels[..., 0] if data.channels == 1 else pixels
