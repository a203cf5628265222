"""The objectives of the paper, each a few lines.

Shapes: batch B, latents D. `mu` and `log_var` are the two outputs of the encoder: q(z|x) = N(mu,
diag(exp(log_var))), so `log_var` is the log of sigma^2 (not of sigma). Every mean is over the batch
with divisor B; every sum is over all pixels, all latents, or all ordered pairs of latents (each
pair counts twice).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Codes = Float[Tensor, "batch latent"]  # mu or log_var
PerImage = Float[Tensor, " batch"]
Images = Float[Tensor, "batch pixel"]
Matrix = Float[Tensor, "latent latent"]
Scalar = Float[Tensor, ""]


class Loss(NamedTuple):
    """What is minimised and its parts, in nats per image; `total` sums them, the KL weighted."""

    total: Scalar
    reconstruction: Scalar
    kl: Scalar
    penalty: Scalar


# --- moments of the inferred prior q(z) = E_p(x)[q(z|x)] ---


def covariance_of_means(mu: Codes) -> Matrix:
    """Cov_p(x)[mu(x)], estimated on a batch (paper, the second term of Eq. 5).

    The mean that is subtracted is over the batch (dim 0), one value per latent. Divisor B.
    """
    centred = mu - mu.mean(dim=0, keepdim=True)  # (B, D)
    return centred.T @ centred / mu.shape[0]  # (D, B) @ (B, D) -> (D, D)


def total_covariance(mu: Codes, log_var: Codes) -> Matrix:
    """Cov_q(z)[z] = E_p(x)[Sigma(x)] + Cov_p(x)[mu(x)], the law of total covariance (paper, Eq. 5).

    Sigma(x) is diagonal: the batch mean of each latent's variance goes on the diagonal and nowhere
    else.
    """
    mean_variance = log_var.exp().mean(dim=0)  # (B, D) -> (D,)
    return torch.diag(mean_variance) + covariance_of_means(mu)


def third_central_moments(mu: Codes, log_var: Codes) -> Float[Tensor, " latent"]:
    """E_q(z)[(z_i - E z_i)^3] for each latent i, analytic for the mixture of Gaussians q(z).

    With d = mu_i - E[mu_i] and z_i = E[z_i] + d + sigma_i e, e ~ N(0, 1): E[(d + sigma_i e)^3] =
    E[d^3] + 3 E[d sigma_i^2], as the odd moments of e vanish. The paper penalises third moments on
    2D Shapes but its exact form is not known to us; this is the marginal, analytic reading;
    `joint_third_central_moments` is the other one.
    """
    centred = mu - mu.mean(dim=0, keepdim=True)  # (B, D)
    return (centred**3 + 3 * centred * log_var.exp()).mean(dim=0)  # (D,)


def joint_third_central_moments(mu: Codes, log_var: Codes) -> Float[Tensor, "latent latent latent"]:
    """E_q(z)[(z_i - E z_i)(z_j - E z_j)(z_k - E z_k)] of all triples of latents, analytic.

    Its diagonal is `third_central_moments`. The noise of two latents is independent, so beside
    E[d_i d_j d_k] only E[d_i sigma_j^2] is left, where j = k, and the same for the two other pairs
    of indices.
    """
    centred, variance = mu - mu.mean(dim=0, keepdim=True), log_var.exp()  # (B, D) each
    batch, latents = mu.shape
    pairs = (centred[:, :, None] * centred[:, None, :]).flatten(1)  # (B, D * D)
    moments = (centred.T @ pairs / batch).view(latents, latents, latents)  # E[d_i d_j d_k]
    shared = torch.diag_embed(centred.T @ variance / batch)  # E[d_i sigma_j^2] where j = k, else 0
    return moments + shared + shared.permute(1, 0, 2) + shared.permute(1, 2, 0)


def running_covariance(covariance: Matrix, before: Matrix, memory: float | Scalar) -> Matrix:
    """memory * before + (1 - memory) * covariance: less noise than one minibatch's has (claim 6).

    Its gradient is that of `covariance`, so that the penalty pulls as hard as without memory. At
    memory 0 it is `covariance`.
    """
    return covariance + memory * (before - covariance.detach())


# --- penalties ---


def dip_penalty(covariance: Matrix, lambda_od: float, lambda_d: float) -> Scalar:
    """lambda_od * sum_{i != j} C_ij^2 + lambda_d * sum_i (C_ii - 1)^2 (paper, Eq. 6 and 7)."""
    diagonal = torch.diagonal(covariance)  # (D,)
    off_diagonal = covariance - torch.diag(diagonal)  # (D, D), zeros on the diagonal
    return lambda_od * off_diagonal.square().sum() + lambda_d * (diagonal - 1).square().sum()


def third_moment_penalty(moments: Float[Tensor, " latent"], lambda_3: float) -> Scalar:
    """lambda_3 times the l2 norm of the third central moments (2D Shapes: 200, recalled)."""
    return lambda_3 * torch.linalg.vector_norm(moments)


# --- the evidence lower bound ---


def bernoulli_nll(logits: Images, images: Images, check: bool = True) -> PerImage:
    """-log p(x|z) of each image, summed over pixels, for a Bernoulli decoder that outputs logits.

    Raises ValueError for pixels beyond 0 to 1, whose "likelihood" would have no bound. That takes a
    pass over the images, and on a GPU a wait: `check=False` leaves it out, for images that are
    known to be right (data.Packed makes 0 and 1 from bits) and where nothing may look at a value
    (vmap).
    """
    if check:
        low, high = (extreme.item() for extreme in images.aminmax())
        if not (low >= 0 and high <= 1):  # so that NaN is refused, too
            raise ValueError(
                f"images must hold pixels from 0 to 1, not {low:g} to {high:g}: divide bytes by"
                " 255, or take gaussian_nll"
            )
    return F.binary_cross_entropy_with_logits(logits, images, reduction="none").sum(dim=1)


def gaussian_nll(means: Images, images: Images) -> PerImage:
    """-log p(x|z) of each image, summed over pixels, less a constant: Gaussian of variance 1."""
    return 0.5 * (means - images).square().sum(dim=1)


def kl_to_standard_normal(mu: Codes, log_var: Codes) -> PerImage:
    """KL(q(z|x) || N(0, I)) of each image, summed over latents, in closed form
    (Kingma and Welling 2014, Appendix B).
    """
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1)


def negative_elbo(nll: PerImage, mu: Codes, log_var: Codes) -> Loss:
    """The VAE's loss: the batch mean of -log p(x|z) + KL(q(z|x) || p(z)) (Kingma and
    Welling 2014).
    """
    return beta_vae(nll, mu, log_var, beta=1.0)


def beta_vae(nll: PerImage, mu: Codes, log_var: Codes, beta: float) -> Loss:
    """The negative ELBO with its KL times beta (Higgins et al. 2017; the paper's baseline)."""
    reconstruction, kl = nll.mean(), kl_to_standard_normal(mu, log_var).mean()
    return Loss(reconstruction + beta * kl, reconstruction, kl, torch.zeros_like(kl))


def dip_vae_i(
    nll: PerImage,
    mu: Codes,
    log_var: Codes,
    lambda_od: float,
    lambda_d: float,
    covariance: Matrix | None = None,
) -> Loss:
    """DIP-VAE-I: the negative ELBO plus the penalty on the covariance of the means (paper, Eq. 6).

    `covariance`: another estimate of it than the minibatch's (running_covariance).
    """
    elbo = negative_elbo(nll, mu, log_var)
    covariance = covariance_of_means(mu) if covariance is None else covariance
    penalty = dip_penalty(covariance, lambda_od, lambda_d)
    return elbo._replace(total=elbo.total + penalty, penalty=penalty)


def dip_vae_ii(
    nll: PerImage,
    mu: Codes,
    log_var: Codes,
    lambda_od: float,
    lambda_d: float,
    lambda_3: float = 0.0,
    joint: bool = False,
    covariance: Matrix | None = None,
) -> Loss:
    """DIP-VAE-II: the negative ELBO plus the penalty on the covariance of z itself (paper, Eq. 7).

    With `lambda_3` above 0, also the penalty on the third central moments (recalled: the paper has
    them on 2D Shapes only), each latent's own or, with `joint`, all of them. `covariance`: another
    estimate than the minibatch's (running_covariance).
    """
    elbo = negative_elbo(nll, mu, log_var)
    covariance = total_covariance(mu, log_var) if covariance is None else covariance
    penalty = dip_penalty(covariance, lambda_od, lambda_d)
    if lambda_3 > 0:
        moments_of = joint_third_central_moments if joint else third_central_moments
        penalty = penalty + third_moment_penalty(moments_of(mu, log_var).flatten(), lambda_3)
    return elbo._replace(total=elbo.total + penalty, penalty=penalty)
