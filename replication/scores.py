"""The metrics that a result keeps of a trained model: SAP, Z-diff, attributes, reconstruction, the covariance of its latents."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from dipvae_src import losses, models
from dipvae_src.attributes import predict_attributes
from dipvae_src.data import Packed
from dipvae_src.evaluate import means_of, measure
from dipvae_src.sap import INACTIVE_BELOW, sap_score
from dipvae_src.settings import Settings
from dipvae_src.train import stream
from dipvae_src.zdiff import z_diff_score

OTHER_THRESHOLDS = (
    0.0,
    0.001,
    0.05,
)  # that SAP's inactive latents are also told by: what the paper leaves open


def rounded(value, digits: int = 6):
    """Floats, or nested lists of them, to so many significant digits: what is kept in result files."""
    if isinstance(value, (list, tuple)):
        return [rounded(v, digits) for v in value]
    return float(f"{value:.{digits}g}")


def scores(
    measured: dict, data: Packed, indices: Int64[Tensor, " images"], settings: Settings, seed: int
) -> dict:
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
    others = {
        str(t): rounded(sap_score(mu.numpy(), factors, data.discrete, t).score)
        for t in OTHER_THRESHOLDS
    }
    halves = [
        sap_score(mu.numpy()[half::2], factors[half::2], data.discrete).score for half in (0, 1)
    ]
    zdiff, again = (
        z_diff_score(
            mu.numpy(),
            factors,
            train=settings.zdiff_train,
            test=settings.zdiff_test,
            seed=s,
            balanced=settings.data == "celeba",
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


def attribute_scores(
    model: models.VAE, data: Packed, test_mu: Float[np.ndarray, "images latent"], test: Tensor
) -> dict:
    """Table 2 of one model: each attribute predicted from mu(x), fitted on all training images (attributes.py), in percent."""
    train = data.split()[0]
    found = predict_attributes(
        means_of(model, data, train), data.factors(train), test_mu, data.factors(test)
    )
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
