"""The paper's networks, as a table one can read.

An encoder maps images to (mu, log_var), a decoder maps z to the parameters of p(x|z) (logits for
Bernoulli pixels, means for Gaussian ones). Both follow Higgins et al. 2017, as the paper does.
Images are flat: (batch, channels * 64 * 64).

    fc        2D Shapes   encoder FC width - FC width, ReLU
              width 1200  decoder FC width - FC width - FC width, tanh
    conv      CelebA      encoder 4 x conv 4x4 stride 2 (32, 32, 64, 64) - FC 256, ReLU
              width 256   decoder FC 256 - FC - 4 x transposed conv 4x4 stride 2, ReLU
    conv-2x2  3D Chairs   the same, the encoder's last two and the decoder's first two of 2x2

`filters` is the first convolution's number of channels, 32 in the paper; the four have filters,
filters, 2 filters, 2 filters.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

Images = Float[Tensor, "batch pixel"]
Codes = Float[Tensor, "batch latent"]  # mu, log_var or z
SIDE = 64  # images are 64 x 64 everywhere in the paper


class VAE(nn.Module):
    """An encoder and a decoder around `latents` latent variables."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, images: Images) -> tuple[Codes, Codes]:
        """The mean and the log of the variance of q(z|x)."""
        mu, log_var = self.encoder(images).chunk(2, dim=1)
        return mu, log_var

    def decode(self, z: Codes) -> Images:
        """The parameters of p(x|z): logits (Bernoulli) or means (Gaussian) of each pixel."""
        return self.decoder(z)


def sample(mu: Codes, log_var: Codes, generator: torch.Generator | None = None) -> Codes:
    """z ~ q(z|x) by reparameterisation, the noise drawn from `generator`."""
    noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return mu + torch.exp(0.5 * log_var) * noise


def fc_vae(latents: int = 10, width: int = 1200, channels: int = 1) -> VAE:
    """The fully connected pair for 2D Shapes (Higgins et al. 2017, Table 1)."""
    pixels = channels * SIDE * SIDE
    encoder = nn.Sequential(
        nn.Linear(pixels, width), nn.ReLU(),
        nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, 2 * latents),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(latents, width), nn.Tanh(),
        nn.Linear(width, width), nn.Tanh(),
        nn.Linear(width, width), nn.Tanh(),
        nn.Linear(width, pixels),
    )  # fmt: skip
    return VAE(encoder, decoder)


def conv_vae(
    latents: int = 32, width: int = 256, channels: int = 3, filters: int = 32, last_kernel: int = 4
) -> VAE:
    """The convolutional pair (Higgins et al. 2017, Table 1): sides 64 - 32 - 16 - 8 - 4."""
    counts = (channels, filters, filters, 2 * filters, 2 * filters)
    kernels = (4, 4, last_kernel, last_kernel)
    down, up = [], []
    for inputs, outputs, kernel in zip(counts, counts[1:], kernels):
        # Each halves, or doubles, the side.
        shape = dict(kernel_size=kernel, stride=2, padding=kernel // 2 - 1)
        down += [nn.Conv2d(inputs, outputs, **shape), nn.ReLU()]
        up = [nn.ConvTranspose2d(outputs, inputs, **shape), nn.ReLU(), *up]
    features = counts[-1] * 4 * 4
    encoder = nn.Sequential(
        nn.Unflatten(1, (channels, SIDE, SIDE)), *down, nn.Flatten(),
        nn.Linear(features, width), nn.ReLU(),
        nn.Linear(width, 2 * latents),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Linear(latents, width), nn.ReLU(),
        nn.Linear(width, features), nn.ReLU(),
        nn.Unflatten(1, (counts[-1], 4, 4)), *up[:-1], nn.Flatten(),
    )  # fmt: skip
    return VAE(encoder, decoder)


NETWORKS = {
    "fc": lambda latents, width, channels, filters: fc_vae(latents, width, channels),
    "conv": conv_vae,
    "conv-2x2": partial(conv_vae, last_kernel=2),
}


def build(
    network: str, latents: int, width: int, channels: int, seed: int, filters: int = 32
) -> VAE:
    """A network of the table, its weights drawn from `seed` alone; ValueError for an unknown one.

    The global random state is left as it was.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}; the networks are {', '.join(NETWORKS)}")
    with torch.random.fork_rng(devices=[]):
        # The CPU's alone; torch.manual_seed would reseed a GPU's, too.
        torch.default_generator.manual_seed(seed)
        return NETWORKS[network](latents, width, channels, filters)
