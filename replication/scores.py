"""The metrics that a result keeps of a trained model: SAP, Z-diff, attributes, errors, covariance.

`scores_of_codes` needs the means of images alone, so whoever has those can score without a model.
A run that publishes its codes is scored by what it publishes (codes.py).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer
from torch import Tensor

from dipvae_src import losses, models
from dipvae_src.attributes import predict_attributes
from dipvae_src.data import Packed
from dipvae_src.evaluate import means_of, measure
from dipvae_src.sap import INACTIVE_BELOW, sap_score
from dipvae_src.settings import Settings
from dipvae_src.train import stream
from dipvae_src.zdiff import z_diff_score
from replication import codes
from replication.profiles import leaves_codes

# What SAP's inactive latents are also told by: the paper leaves its threshold open.
OTHER_THRESHOLDS = (0.0, 0.001, 0.05)


def rounded(value, digits: int = 6):
    """Floats, or nested lists of them, to so many significant digits: as result files keep them."""
    if isinstance(value, (list, tuple)):
        return [rounded(v, digits) for v in value]
    return float(f"{value:.{digits}g}")


def scores_of_codes(
    mu: Float[np.ndarray, "images latent"],
    factors: Integer[np.ndarray, "images factor"],
    names: Sequence[str],
    discrete: Sequence[bool],
    settings: Settings,
    seed: int,
) -> dict:
    """`sap` and `zdiff` of the means mu(x) of images, as a result keeps them, with sample sizes.

    Beside each score, how far it moves by itself: SAP of each half of the images, Z-diff of other
    pairs. `settings` say how many vectors Z-diff takes, `seed` (`scores_seed`) draws its pairs.
    """
    sap = sap_score(mu, factors, discrete)
    zdiff, again = (
        z_diff_score(
            mu, factors, train=settings.zdiff_train, test=settings.zdiff_test, seed=drawn,
            balanced=settings.data == "celeba",
        )
        for drawn in (seed, seed + 1)
    )  # fmt: skip
    others = {str(t): sap_score(mu, factors, discrete, t).score for t in OTHER_THRESHOLDS}
    halves = [sap_score(mu[half::2], factors[half::2], discrete).score for half in (0, 1)]
    return {
        "sap": {
            "score": rounded(sap.score), "matrix": rounded(sap.matrix.tolist()),
            "gaps": rounded(sap.gaps.tolist()), "factors": list(names), "discrete": list(discrete),
            "images": len(mu), "inactive_below": INACTIVE_BELOW,
            "score_with_inactive_below": {t: rounded(score) for t, score in others.items()},
            "score_of_halves": rounded(halves),
        },
        "zdiff": dataclasses.asdict(zdiff) | {"accuracy_again": again.accuracy},
    }  # fmt: skip


def attribute_scores(
    model: models.VAE, data: Packed, test_mu: Float[np.ndarray, "images latent"], test: Tensor
) -> dict:
    """Table 2 of one model: attributes predicted from mu(x), fitted on all training ones, in %."""
    train = data.split()[0]
    found = predict_attributes(
        means_of(model, data, train), data.factors(train), test_mu, data.factors(test)
    )
    percents = ("accuracy", "balanced", "majority", "single_accuracy", "single_balanced")
    return {
        "names": list(data.factor_names), "train_images": len(train), "test_images": len(test),
        "single_latent": found.single_latent.tolist(),
    } | {name: rounded(getattr(found, name).tolist()) for name in percents}  # fmt: skip


def scores_seed(seed: int) -> int:
    """The seed that draws the Z-diff pairs of a run's scores, from the run's own."""
    return stream(seed, "scores") % 2**31


def evaluate(
    model: models.VAE, data: Packed, settings: Settings, seed: int
) -> tuple[dict, Float[np.ndarray, "images latent"]]:
    """The metrics of a trained model on `settings.test_images` held-out images, and their mu(x).

    Metrics are JSON values. Of a run that publishes codes SAP and Z-diff are those of its codes,
    `unrounded` those of the means before they were rounded; of any other `unrounded` is None. All
    three are None on chairs: which of many models a chair is, is no factor that they could be asked
    about; the paper shows traversals.
    """
    test = data.split()[1][: settings.test_images]
    measured = measure(model, data, test)
    mu = measured["mu"].numpy()
    found = {
        "images": len(test),
        "reconstruction_error": rounded(measured["reconstruction_error"]),
        "other_errors": {name: rounded(value) for name, value in measured["other_errors"].items()},
        "kl": rounded(sum(measured["kl_per_latent"])),
        "kl_per_latent": rounded(measured["kl_per_latent"]),
        "covariance_of_means": rounded(losses.covariance_of_means(measured["mu"]).tolist()),
        "mean_variance": rounded(measured["log_var"].exp().mean(dim=0).tolist()),
        "sap": None,
        "zdiff": None,
        "unrounded": None,
    }
    if settings.data != "chairs":
        told = (data.factors(test), data.factor_names, data.discrete, settings, scores_seed(seed))
        found |= scores_of_codes(mu, *told)
        if leaves_codes(settings):
            exact = {"sap": found["sap"]["score"], "zdiff": found["zdiff"]["accuracy"]}
            found |= scores_of_codes(codes.restored(*codes.rounded(mu)), *told)
            found["unrounded"] = exact
    if settings.data == "celeba":
        found["attributes"] = attribute_scores(model, data, mu, test)
    return found, mu
