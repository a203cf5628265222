"""Table 2 of the paper: CelebA's attributes from the latents, along a line or from one of them.

    from dipvae_src.attributes import predict_attributes
    predict_attributes(train_mu, train_attributes, test_mu, test_attributes).accuracy

Nothing is learned but a mean difference and a bias, so a good score says that the attribute lies
along a line. The procedure is recalled from the paper, unverified.
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float, Integer, Shaped

from dipvae_src.sap import check_codes, without_offset

# A score multiplies two latents; outside this range of sizes its square overflows, or is lost.
SMALLEST, LARGEST = 1e-100, 1e100


@dataclass(frozen=True, eq=False)
class Attributes:
    """The predictor of each attribute and its scores on the test images, in percent."""

    # w_k: mean of mu with the attribute minus mean without
    direction: Float[np.ndarray, "attributes latents"]
    bias: Float[np.ndarray, " attributes"]  # an image has the attribute where mu . w_k + b_k > 0
    accuracy: Float[np.ndarray, " attributes"]  # share of the test images named rightly
    # mean of the shares named rightly with and without; a constant guess has 50
    balanced: Float[np.ndarray, " attributes"]
    # accuracy of always naming the value commoner among the test images
    majority: Float[np.ndarray, " attributes"]
    # the latent with the largest |w_k|, the first of equal ones; alone, its bias fitted anew
    single_latent: Integer[np.ndarray, " attributes"]
    single_accuracy: Float[np.ndarray, " attributes"]
    single_balanced: Float[np.ndarray, " attributes"]


@no_type_check  # its own checks say more
def predict_attributes(
    train_mu: Float[np.ndarray, "train latents"],
    train_attributes: Shaped[np.ndarray, "train attributes"],
    test_mu: Float[np.ndarray, "test latents"],
    test_attributes: Shaped[np.ndarray, "test attributes"],
) -> Attributes:
    """Fit on the training images' means mu(x) (N, D); score on the test images' (M, D).

    Attributes, (N, K) and (M, K), are 0 or 1 (or booleans). The direction w_k is a difference of
    means, in the latents' units; the bias is the exact minimiser over the training images of the
    mean hinge loss max(0, 1 - y (mu . w_k + b)), y = 1 with the attribute and -1 without.

    Open in the paper: whether w_k is scaled before the hinge. Here it is not, and it matters: the
    margin of 1 is in the units of mu . w_k, so where these scores spread little beside 1, the best
    bias names the commoner value throughout. Hence `majority` and `balanced` beside the plain
    accuracy, which is what the table seems to report (95.8 for Wearing_Hat, which few images have).

    Raises ValueError on NaN, shapes that do not match, values other than 0 and 1, an attribute that
    is constant in either part, latents of a size beyond SMALLEST and LARGEST.
    """
    train_mu, train_has = _check("training", train_mu, train_attributes)
    test_mu, test_has = _check("test", test_mu, test_attributes)
    for what, ours, theirs in (("latents", train_mu, test_mu), ("attributes", train_has, test_has)):
        if ours.shape[1] != theirs.shape[1]:
            counts = f"{ours.shape[1]} {what}, the test images {theirs.shape[1]}"
            raise ValueError(f"the training images have {counts}; give the same")
    # The offset moves the bias alone, and a large one would cost digits.
    both, offset = without_offset(np.concatenate([train_mu, test_mu]))
    if (largest := np.abs(both).max()) > LARGEST or 0 < largest < SMALLEST:
        wanted = f"between {SMALLEST:.0e} and {LARGEST:.0e}, for float64 to hold their scores"
        raise ValueError(f"the latents' largest magnitude is {largest:.1e}; it must be {wanted}")
    train_mu, test_mu = np.split(both.astype(np.float64), [len(train_mu)])

    count = train_has.sum(axis=0)[:, None]  # (K, 1)
    centred = train_mu - train_mu.mean(axis=0)
    # (K, N) @ (N, D); over the images without, the sum is the rest.
    within = train_has.T.astype(float) @ centred
    direction = within / count - (centred.sum(axis=0) - within) / (len(centred) - count)
    single_latent = np.abs(direction).argmax(axis=1)
    single = np.where(np.arange(direction.shape[1]) == single_latent[:, None], direction, 0.0)

    share = test_has.mean(axis=0)
    parts = (train_mu, train_has, test_mu, test_has)
    bias, accuracy, balanced = _fit_and_score(direction, *parts)
    _, single_accuracy, single_balanced = _fit_and_score(single, *parts)
    bias, majority = bias - direction @ offset, 100 * np.maximum(share, 1 - share)
    singly = (single_latent, single_accuracy, single_balanced)
    return Attributes(direction, bias, accuracy, balanced, majority, *singly)


def _fit_and_score(direction, train_mu, train_has, test_mu, test_has):
    """Bias, accuracy and balanced accuracy in percent, each (K,), along `direction` (K, D)."""
    bias = np.array([_hinge_bias(train_mu @ w, has) for w, has in zip(direction, train_has.T)])
    right = (test_mu @ direction.T + bias > 0) == test_has  # (M, K)
    with_it = (right & test_has).sum(axis=0) / test_has.sum(axis=0)
    without = (right & ~test_has).sum(axis=0) / (~test_has).sum(axis=0)
    return bias, 100 * right.mean(axis=0), 50 * (with_it + without)


def _hinge_bias(scores, has):
    """The b that minimises the mean of max(0, 1 - y (s + b)), y = 1 where `has`, else -1, (N,)."""
    # A sample's hinge has one kink, at b = y - s, where its slope rises by 1: from -1 to 0 with y =
    # 1, from 0 to 1 with y = -1. So the slope of the sum begins at -P, P the number of samples with
    # y = 1, rises by 1 at each kink, and is 0 exactly between the P-th and the (P + 1)-th smallest
    # kink. Every b in that interval is a minimiser; its middle is taken.
    y, count = np.where(has, 1.0, -1.0), int(has.sum())
    if np.abs(scores).max() < 2**-26:  # y - s would lose half of the digits of s, or all
        ends = np.lexsort((-scores, y))[count - 1 : count + 1]
        return y[ends].mean() - scores[ends].mean()
    kinks = np.partition(y - scores, (count - 1, count))  # sorted as far as is needed
    return (kinks[count - 1] + kinks[count]) / 2


def _check(part, mu, attributes):
    """mu and the attributes as booleans, or ValueError naming the part of the data."""
    try:
        mu, attributes = check_codes(mu, attributes, min_latents=1)
    except ValueError as error:
        what = "(latents are mu, factors the attributes)"
        raise ValueError(f"{part} images: {error} {what}") from None
    for row, column in np.argwhere((attributes != 0) & (attributes != 1))[:1]:
        wrong = f"attribute {column} is {attributes[row, column]} at row {row}"
        raise ValueError(f"{part} images: {wrong}; attributes are 0 or 1")
    return mu, attributes.astype(bool)
