"""The objectives of the paper, each a few lines.

Shapes: batch B, latents D. `mu` and `log_var` are the two outputs of the encoder: q(z|x) = N(mu, diag(exp(log_var))), so
`log_var` is the log of sigma^2 (not of sigma). Every mean is over the batch with divisor B; every sum is over all pixels,
all latents, or all ordered pairs of latents (each pair counts twice).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Loss(NamedTuple):
    """What is minimised, and its three parts (scalars, in nats per image; `total` is their sum, the KL weighted)."""

    total: Float[Tensor, ""]
    reconstruction: Float[Tensor, ""]
    kl: Float[Tensor, ""]
    penalty: Float[Tensor, ""]


# --- moments of the inferred prior q(z) = E_p(x)[q(z|x)] ---


def covariance_of_means(mu: Float[Tensor, "batch latent"]) -> Float[Tensor, "latent latent"]:
    """Cov_p(x)[mu(x)], estimated on a batch (paper, the second term of Eq. 5).

    The mean that is subtracted is over the batch (dim 0), one value per latent. Divisor B.
    """
    centred = mu - mu.mean(dim=0, keepdim=True)  # (B, D)
    return centred.T @ centred / mu.shape[0]  # (D, B) @ (B, D) -> (D, D)


def total_covariance(
    mu: Float[Tensor, "batch latent"], log_var: Float[Tensor, "batch latent"]
) -> Float[Tensor, "latent latent"]:
    """Cov_q(z)[z] = E_p(x)[Sigma(x)] + Cov_p(x)[mu(x)], by the law of total covariance (paper, Eq. 5).

    Sigma(x) is diagonal: the batch mean of each latent's variance goes on the diagonal and nowhere else.
    """
    mean_variance = log_var.exp().mean(dim=0)  # (B, D) -> (D,)
    return torch.diag(mean_variance) + covariance_of_means(mu)


def third_central_moments(
    mu: Float[Tensor, "batch latent"], log_var: Float[Tensor, "batch latent"]
) -> Float[Tensor, " latent"]:
    """E_q(z)[(z_i - E z_i)^3] for each latent i, analytic for the mixture of Gaussians q(z).

    With d = mu_i - E[mu_i] and z_i = E[z_i] + d + sigma_i e, e ~ N(0, 1): E[(d + sigma_i e)^3] = E[d^3] + 3 E[d sigma_i^2],
    as the odd moments of e vanish. The paper penalises third moments on 2D Shapes but its exact form is not known to us;
    this is the marginal, analytic reading; `joint_third_central_moments` is the other one.
    """
    centred = mu - mu.mean(dim=0, keepdim=True)  # (B, D)
    return (centred**3 + 3 * centred * log_var.exp()).mean(dim=0)  # (D,)


def joint_third_central_moments(
    mu: Float[Tensor, "batch latent"], log_var: Float[Tensor, "batch latent"]
) -> Float[Tensor, "latent latent latent"]:
    """E_q(z)[(z_i - E z_i)(z_j - E z_j)(z_k - E z_k)] for all triples, analytic; its diagonal is `third_central_moments`.

    The noise of two latents is independent, so beside E[d_i d_j d_k] only E[d_i sigma_j^2] is left, where j = k, and the same
    for the two other pairs of indices.
    """
    centred, variance = mu - mu.mean(dim=0, keepdim=True), log_var.exp()  # (B, D) each
    batch, latents = mu.shape
    pairs = (centred[:, :, None] * centred[:, None, :]).flatten(1)  # (B, D * D)
    moments = (centred.T @ pairs / batch).view(latents, latents, latents)  # E[d_i d_j d_k]
    shared = torch.diag_embed(
        centred.T @ variance / batch
    )  # (i, j, k): E[d_i sigma_j^2] where j = k, else 0
    return moments + shared + shared.permute(1, 0, 2) + shared.permute(1, 2, 0)


def running_covariance(
    covariance: Float[Tensor, "latent latent"],
    before: Float[Tensor, "latent latent"],
    memory: float | Float[Tensor, ""],
) -> Float[Tensor, "latent latent"]:
    """memory * before + (1 - memory) * covariance: less noise than one minibatch's covariance, for claim 6 of the paper.

    Its gradient is that of `covariance`, so that the penalty pulls as hard as without memory. At memory 0 it is `covariance`.
    """
    kept = memory * (before - covariance.detach())
    return covariance + kept


# --- penalties ---


def dip_penalty(
    covariance: Float[Tensor, "latent latent"], lambda_od: float, lambda_d: float
) -> Float[Tensor, ""]:
    """lambda_od * sum_{i != j} C_ij^2 + lambda_d * sum_i (C_ii - 1)^2 (paper, Eq. 6 and 7)."""
    diagonal = torch.diagonal(covariance)  # (D,)
    off_diagonal = covariance - torch.diag(diagonal)  # (D, D), zeros on the diagonal
    return lambda_od * off_diagonal.square().sum() + lambda_d * (diagonal - 1).square().sum()


def third_moment_penalty(moments: Float[Tensor, " latent"], lambda_3: float) -> Float[Tensor, ""]:
    """lambda_3 times the l2 norm of the third central moments (paper, section on 2D Shapes; lambda_3 = 200 there)."""
    return lambda_3 * torch.linalg.vector_norm(moments)


# --- the evidence lower bound ---


def bernoulli_nll(
    logits: Float[Tensor, "batch pixel"], images: Float[Tensor, "batch pixel"]
) -> Float[Tensor, " batch"]:
    """-log p(x|z) of each image, summed over pixels, for a Bernoulli decoder that outputs logits."""
    return F.binary_cross_entropy_with_logits(logits, images, reduction="none").sum(dim=1)


def gaussian_nll(
    means: Float[Tensor, "batch pixel"], images: Float[Tensor, "batch pixel"]
) -> Float[Tensor, " batch"]:
    """-log p(x|z) of each image, summed over pixels, for a Gaussian decoder of unit variance, less its constant."""
    return 0.5 * (means - images).square().sum(dim=1)


def kl_to_standard_normal(
    mu: Float[Tensor, "batch latent"], log_var: Float[Tensor, "batch latent"]
) -> Float[Tensor, " batch"]:
    """KL(q(z|x) || N(0, I)) of each image, summed over latents (closed form; paper, Eq. 1)."""
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(dim=1)


def negative_elbo(
    nll: Float[Tensor, " batch"],
    mu: Float[Tensor, "batch latent"],
    log_var: Float[Tensor, "batch latent"],
) -> Loss:
    """The VAE's loss: the mean over the batch of -log p(x|z) + KL(q(z|x) || p(z)) (paper, Eq. 1)."""
    return beta_vae(nll, mu, log_var, beta=1.0)


def beta_vae(
    nll: Float[Tensor, " batch"],
    mu: Float[Tensor, "batch latent"],
    log_var: Float[Tensor, "batch latent"],
    beta: float,
) -> Loss:
    """The negative ELBO with its KL multiplied by beta (Higgins et al. 2017; the paper's baseline)."""
    reconstruction, kl = nll.mean(), kl_to_standard_normal(mu, log_var).mean()
    return Loss(reconstruction + beta * kl, reconstruction, kl, torch.zeros_like(kl))


def dip_vae_i(
    nll: Float[Tensor, " batch"],
    mu: Float[Tensor, "batch latent"],
    log_var: Float[Tensor, "batch latent"],
    lambda_od: float,
    lambda_d: float,
    covariance: Float[Tensor, "latent latent"] | None = None,
) -> Loss:
    """DIP-VAE-I: the negative ELBO plus the penalty on the covariance of the means (paper, Eq. 6).

    `covariance`: another estimate of it than the minibatch's (running_covariance).
    """
    elbo = negative_elbo(nll, mu, log_var)
    penalty = dip_penalty(
        covariance_of_means(mu) if covariance is None else covariance, lambda_od, lambda_d
    )
    return elbo._replace(total=elbo.total + penalty, penalty=penalty)


def dip_vae_ii(
    nll: Float[Tensor, " batch"],
    mu: Float[Tensor, "batch latent"],
    log_var: Float[Tensor, "batch latent"],
    lambda_od: float,
    lambda_d: float,
    lambda_3: float = 0.0,
    joint: bool = False,
    covariance: Float[Tensor, "latent latent"] | None = None,
) -> Loss:
    """DIP-VAE-II: the negative ELBO plus the penalty on the covariance of z itself (paper, Eq. 7).

    With `lambda_3` above 0, also the penalty on the third central moments (2D Shapes only in the paper), each latent's own or, with
    `joint`, all of them. `covariance`: another estimate than the minibatch's (running_covariance).
    """
    elbo = negative_elbo(nll, mu, log_var)
    penalty = dip_penalty(
        total_covariance(mu, log_var) if covariance is None else covariance, lambda_od, lambda_d
    )
    if lambda_3 > 0:
        moments = (
            joint_third_central_moments(mu, log_var).flatten()
            if joint
            else third_central_moments(mu, log_var)
        )
        penalty = penalty + third_moment_penalty(moments, lambda_3)
    return elbo._replace(total=elbo.total + penalty, penalty=penalty)
