"""Table 2 of the paper: how well CelebA's attributes are predicted from the latents, along one direction each or from one latent.

    from dipvae_src.attributes import predict_attributes
    predict_attributes(train_mu, train_attributes, test_mu, test_attributes).accuracy

Nothing is learned but a mean difference and a bias, so a good score says that the attribute lies along a line. The procedure is
recalled from the paper, unverified.
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Integer, Shaped

from dipvae_src.sap import check_codes


@dataclass(frozen=True, eq=False)
class Attributes:
    """The predictor of each attribute and its scores on the test images, in percent."""

    direction: Float[
        np.ndarray, "attributes latents"
    ]  # w_k: mean of mu with the attribute minus mean without
    bias: Float[np.ndarray, " attributes"]  # an image has the attribute where mu . w_k + b_k > 0
    accuracy: Float[np.ndarray, " attributes"]  # share of the test images named rightly
    balanced: Float[
        np.ndarray, "attributes"
    ]  # mean of the shares named rightly with and without; a constant guess has 50
    majority: Float[
        np.ndarray, "attributes"
    ]  # accuracy of always naming the value commoner among the test images
    single_latent: Integer[
        np.ndarray, "attributes"
    ]  # the latent with the largest |w_k|; the first of equal ones
    single_accuracy: Float[
        np.ndarray, "attributes"
    ]  # with that entry of w_k alone, its bias fitted anew
    single_balanced: Float[np.ndarray, " attributes"]


@no_type_check  # its own checks say more
def predict_attributes(
    train_mu: Float[np.ndarray, "train latents"],
    train_attributes: Shaped[np.ndarray, "train attributes"],
    test_mu: Float[np.ndarray, "test latents"],
    test_attributes: Shaped[np.ndarray, "test attributes"],
) -> Attributes:
    """Fit on the means mu(x) of the training images (N, D), attributes (N, K); score on the test images (M, D), (M, K).

    Attributes are 0 or 1 (or booleans). The direction w_k is a difference of means, in the latents' units; the bias is the
    exact minimiser over the training images of the mean hinge loss max(0, 1 - y (mu . w_k + b)), y = 1 with the attribute
    and -1 without.

    Open in the paper: whether w_k is scaled before the hinge. Here it is not, and it matters: the margin of 1 is in the
    units of mu . w_k, so where these scores spread little beside 1, the best bias names the commoner value throughout. Hence
    `majority` and `balanced` beside the plain accuracy, which is what the table seems to report (95.8 for Wearing_Hat, which
    few images have).

    Raises ValueError on NaN, shapes that do not match, values other than 0 and 1, an attribute that is constant in either part.
    """
    train_mu, train_has = _check("training", train_mu, train_attributes)
    test_mu, test_has = _check("test", test_mu, test_attributes)
    for what, ours, theirs in (("latents", train_mu, test_mu), ("attributes", train_has, test_has)):
        if ours.shape[1] != theirs.shape[1]:
            raise ValueError(
                f"the training images have {ours.shape[1]} {what}, the test images {theirs.shape[1]}; give the same"
            )

    count = train_has.sum(axis=0)[:, None]  # (K, 1)
    centred = train_mu - train_mu.mean(axis=0)  # a mean far from 0 would cost digits
    within = (
        train_has.T.astype(float) @ centred
    )  # (K, N) @ (N, D); over the images without, the sum is the rest
    direction = within / count - (centred.sum(axis=0) - within) / (len(centred) - count)
    single_latent = np.abs(direction).argmax(axis=1)
    single = np.where(np.arange(direction.shape[1]) == single_latent[:, None], direction, 0.0)

    share = test_has.mean(axis=0)
    _, single_accuracy, single_balanced = _fit_and_score(
        single, train_mu, train_has, test_mu, test_has
    )
    return Attributes(
        direction, *_fit_and_score(direction, train_mu, train_has, test_mu, test_has), 100 * np.maximum(share, 1 - share),
        single_latent, single_accuracy, single_balanced,
    )  # fmt: skip


def _fit_and_score(direction, train_mu, train_has, test_mu, test_has):
    """Bias, accuracy and balanced accuracy in percent, each (K,), of the predictors along `direction` (K, D)."""
    bias = np.array([_hinge_bias(train_mu @ w, has) for w, has in zip(direction, train_has.T)])
    right = (test_mu @ direction.T + bias > 0) == test_has  # (M, K)
    with_it = (right & test_has).sum(axis=0) / test_has.sum(axis=0)
    without = (right & ~test_has).sum(axis=0) / (~test_has).sum(axis=0)
    return bias, 100 * right.mean(axis=0), 50 * (with_it + without)


def _hinge_bias(scores, has):
    """The b that minimises the mean of max(0, 1 - y (s + b)), y = 1 where `has` (N,) and -1 elsewhere; both must occur."""
    # A sample's hinge has one kink, at b = y - s, where its slope rises by 1: from -1 to 0 with y = 1, from 0 to 1 with y = -1.
    # So the slope of the sum begins at -P, P the number of samples with y = 1, rises by 1 at each kink, and is 0 exactly
    # between the P-th and the (P + 1)-th smallest kink. Every b in that interval is a minimiser; its middle is taken.
    count = int(has.sum())
    kinks = np.partition(
        np.where(has, 1.0, -1.0) - scores, (count - 1, count)
    )  # sorted as far as is needed
    return (kinks[count - 1] + kinks[count]) / 2


def _check(part, mu, attributes):
    """mu as float64 and the attributes as booleans, or ValueError naming the part of the data."""
    try:
        mu, attributes = check_codes(mu, attributes, min_latents=1)
    except ValueError as error:
        raise ValueError(
            f"{part} images: {error} (latents are mu, factors the attributes)"
        ) from None
    for row, column in np.argwhere((attributes != 0) & (attributes != 1))[:1]:
        raise ValueError(
            f"{part} images: attribute {column} is {attributes[row, column]} at row {row}; attributes are 0 or 1"
        )
    return mu, attributes.astype(bool)
