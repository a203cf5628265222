"""What a stack of models computes in one step: the loss of one model, for torch.func.vmap.

Shapes: batch B, latents D. Everything is a function of tensors that looks at no value, so that it
can be mapped over models, compiled, and captured in a CUDA graph. The objective is made of the
parts in losses.py; a test holds it to train.objective.
"""

import functools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from dipvae_src import losses, models
from dipvae_src.settings import Settings

Scalar = Float[Tensor, ""]


class Network(nn.Module):
    """A VAE as one function of images (B, pixels) and noise (B, D): logits, mu and log_var."""

    def __init__(self, vae: models.VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, log_var = self.vae.encode(images)
        return self.vae.decode(mu + torch.exp(0.5 * log_var) * noise), mu, log_var


def weights_of(settings: Sequence[Settings], device: torch.device) -> dict[str, Tensor]:
    """beta, lambda_od, lambda_d, lambda_3, memory: (M,) float32; total and joint: (M,) bool.

    The flags say which covariance and which third moments the penalty is of.
    """
    names = ("beta", "lambda_od", "lambda_d", "lambda_3", "memory")
    values = {name: [float(getattr(s, name)) for s in settings] for name in names}
    values["total"] = [s.objective == "dip-vae-ii" for s in settings]
    values["joint"] = [s.third_moments == "joint" for s in settings]
    return {name: torch.tensor(its, device=device) for name, its in values.items()}


def penalty(
    mu: Float[Tensor, "batch latent"], log_var: Float[Tensor, "batch latent"],
    running: Float[Tensor, "latent latent"], weights: dict[str, Scalar | Bool[Tensor, ""]],
) -> tuple[Scalar, Float[Tensor, "latent latent"]]:  # fmt: skip
    """The DIP penalty of one model, its weights tensors; and the covariance it is taken of."""
    covariance = torch.where(
        weights["total"], losses.total_covariance(mu, log_var), losses.covariance_of_means(mu)
    )
    covariance = losses.running_covariance(covariance, running, weights["memory"])
    triples = losses.joint_third_central_moments(mu, log_var).flatten()
    own = losses.third_central_moments(mu, log_var)
    third = torch.where(
        weights["joint"], *(losses.third_moment_penalty(moments, 1.0) for moments in (triples, own))
    )
    off, diagonal = (losses.dip_penalty(covariance, *of) for of in ((1.0, 0.0), (0.0, 1.0)))
    parts = zip(("lambda_od", "lambda_d", "lambda_3"), (off, diagonal, third))
    return sum(weights[name] * part for name, part in parts), covariance.detach()


def objective(
    nll: Float[Tensor, " batch"], mu: Float[Tensor, "batch latent"],
    log_var: Float[Tensor, "batch latent"], running: Float[Tensor, "latent latent"],
    weights: dict[str, Scalar | Bool[Tensor, ""]],
) -> tuple[Float[Tensor, " 4"], Float[Tensor, "latent latent"]]:  # fmt: skip
    """total, reconstruction, kl and penalty as train.objective has them; the covariance of now."""
    _, reconstruction, kl, _ = losses.negative_elbo(nll, mu, log_var)
    dip, covariance = penalty(mu, log_var, running, weights)
    total = reconstruction + weights["beta"] * kl + dip
    return torch.stack([total, reconstruction, kl, dip]), covariance


def unpacked(bits: UInt8[Tensor, "batch byte"]) -> Float[Tensor, "batch pixel"]:
    """Black and white images, 0 and 1, from eight pixels a byte, the first in the highest bit.

    By arithmetic, which is compiled into what reads the pixels; looking bytes up in a table (as
    data.Packed does) would be a kernel of its own, and a slow one.
    """
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    return ((bits[..., None] >> places) & 1).flatten(1).float()


def transposed(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of one model: its weights (in, out) as nn.Linear has them, (out, in); biases as they are."""
    return {name: p.T if p.ndim == 2 else p for name, p in parameters.items()}


def loss(
    network: Network, bf16: bool, parameters: dict[str, Tensor], bits: UInt8[Tensor, "batch byte"],
    noise: Float[Tensor, "batch latent"], running: Float[Tensor, "latent latent"],
    weights: dict[str, Scalar | Bool[Tensor, ""]],
) -> tuple[Float[Tensor, " 4"], Float[Tensor, "latent latent"]]:  # fmt: skip
    """The objective of one model on its own packed images and noise; `bf16`: by bfloat16 products.

    `parameters`, named as in `network` and transposed, take the place of the network's own.
    """
    images = unpacked(bits)
    # Nothing is cached: in a CUDA graph, a cast of the weights has to be made again each step.
    with torch.autocast(bits.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
        found = torch.func.functional_call(network, transposed(parameters), (images, noise))
    logits, mu, log_var = (tensor.float() for tensor in found)
    nll = losses.bernoulli_nll(logits, images, check=False)  # 0 and 1 by their making
    return objective(nll, mu, log_var, running, weights)


def all_losses(network: Network, bf16: bool, *tensors) -> tuple[Tensor, Tensor]:
    """`loss` of all models, (M, 4) and (M, D, D): compiled once for all stacks of one size."""
    return torch.func.vmap(functools.partial(loss, network, bf16))(*tensors)
