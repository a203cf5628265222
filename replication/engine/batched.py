"""What a stack of models computes in one step, for all at once: network, objective, Adam.

Shapes: models M, batch B, latents D, `input` and `output` of a layer. Everything is a
function of tensors that looks at no value, so that it can be compiled, and captured in a CUDA
graph. The objective is that of losses.py, called per model; a test holds it to train.objective.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from dipvae_src import losses, models
from dipvae_src.settings import Settings


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
    running: Float[Tensor, "latent latent"], total: Bool[Tensor, ""], joint: Bool[Tensor, ""],
    lambda_od: Float[Tensor, ""], lambda_d: Float[Tensor, ""], lambda_3: Float[Tensor, ""],
    memory: Float[Tensor, ""],
) -> tuple[Float[Tensor, ""], Float[Tensor, "latent latent"]]:  # fmt: skip
    """The DIP penalty of one model, its weights tensors; and the covariance it is taken of."""
    covariance = torch.where(
        total, losses.total_covariance(mu, log_var), losses.covariance_of_means(mu)
    )
    covariance = losses.running_covariance(covariance, running, memory)
    off = losses.dip_penalty(covariance, 1.0, 0.0)
    diagonal = losses.dip_penalty(covariance, 0.0, 1.0)
    own = losses.third_central_moments(mu, log_var)
    triples = losses.joint_third_central_moments(mu, log_var).flatten()
    third = torch.where(
        joint, *(losses.third_moment_penalty(moments, 1.0) for moments in (triples, own))
    )
    return lambda_od * off + lambda_d * diagonal + lambda_3 * third, covariance.detach()


def objective(
    nll: Float[Tensor, "model batch"], mu: Float[Tensor, "model batch latent"],
    log_var: Float[Tensor, "model batch latent"], weights: dict[str, Tensor],
    running: Float[Tensor, "model latent latent"],
) -> Float[Tensor, "4 model"]:  # fmt: skip
    """total, reconstruction, kl and penalty of each model, as train.objective has them.

    `running` is updated in place.
    """
    reconstruction = nll.mean(dim=1)
    kl = losses.kl_to_standard_normal(mu.flatten(0, 1), log_var.flatten(0, 1))
    kl = kl.view_as(nll).mean(dim=1)
    names = ("total", "joint", "lambda_od", "lambda_d", "lambda_3", "memory")
    dip, covariance = torch.func.vmap(penalty)(
        mu, log_var, running.clone(), *(weights[name] for name in names)
    )
    running.copy_(covariance)
    return torch.stack([reconstruction + weights["beta"] * kl + dip, reconstruction, kl, dip])


def product(
    a: Float[Tensor, "model batch input"], b: Float[Tensor, "model input output"]
) -> Float[Tensor, "model batch output"]:
    """a @ b of each model.

    bfloat16 on a CPU: float32 products of those numbers, rounded after, as tensor cores do. That is
    the same up to the order of the sums, and some 80 times faster where a CPU has no bfloat16.
    """
    if a.dtype == torch.bfloat16 and a.device.type == "cpu":
        return torch.bmm(a.float(), b.float()).to(a.dtype)
    return torch.bmm(a, b)


def through(modules: nn.Module, x: Tensor, layers: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    """x (M, B, in) through an encoder or decoder of models.py.

    Each Linear takes the next weight (M, in, out) and bias (M, out) of `layers`.
    """
    for module in modules:
        if isinstance(module, nn.Linear):
            weight, bias = next(layers)
            x = product(x.to(weight.dtype), weight) + bias[:, None]
        else:
            x = module(x)
    return x


def unpacked(
    bits: UInt8[Tensor, "model batch byte"], dtype: torch.dtype
) -> Float[Tensor, "model batch pixel"]:
    """Black and white images, 0 and 1, from eight pixels a byte, the first in the highest bit.

    By arithmetic, which is compiled into what reads the pixels; looking bytes up in a table (as
    data.Packed does) would be a kernel of its own, and a slow one.
    """
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=bits.device)
    return ((bits[..., None] >> places) & 1).flatten(2).to(dtype)


def forward(
    template: models.VAE, leaves: list[Tensor], bits: UInt8[Tensor, "model batch byte"],
    noise: Float[Tensor, "model batch latent"], weights: dict[str, Tensor],
    running: Float[Tensor, "model latent latent"],
) -> Float[Tensor, "4 model"]:  # fmt: skip
    """The objective of each model on its own packed images and noise.

    `leaves`: weight, bias, weight, ... in the order of `template`.
    """
    images, layers = unpacked(bits, leaves[0].dtype), iter(zip(leaves[::2], leaves[1::2]))
    code = through(template.encoder, images, layers).float()
    mu, log_var = code.chunk(2, dim=2)  # (M, B, D) each
    logits = through(template.decoder, mu + torch.exp(0.5 * log_var) * noise, layers).float()
    pixels = images.float().flatten(0, 1)  # 0 and 1 by their making: nothing to check
    nll = losses.bernoulli_nll(logits.flatten(0, 1), pixels, check=False)
    return objective(nll.view(images.shape[:2]), mu, log_var, weights, running)


def adam_scale(step: Float[Tensor, ""], learning_rate: float) -> Float[Tensor, " 2"]:
    """Step size and weight of the second moment's root at step 1, 2, ..., both without bias.

    Apart from `adam`: compiled into it, both powers would be taken again for every weight.
    """
    return torch.stack([learning_rate / (1 - 0.9**step), (1 - 0.999**step) ** -0.5]).float()


def adam(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor], first: Sequence[Tensor],
    second: Sequence[Tensor], copies: Sequence[Tensor | None], scale: Float[Tensor, " 2"],
) -> None:  # fmt: skip
    """One step of Adam with PyTorch's defaults, in place, for gradients of any precision.

    New parameters go to `copies` too. For bf16 products: compiled, it is one pass over the state,
    where PyTorch's fused Adam would need the gradients cast first.
    """
    for p, g, m, v, copy in zip(parameters, gradients, first, second, copies):
        g = g.float()
        m.lerp_(g, 0.1)
        v.mul_(0.999).addcmul_(g, g, value=0.001)
        p.sub_(scale[0] * m / (v.sqrt() * scale[1] + 1e-8))
        if copy is not None:
            copy.copy_(p)
