"""The networks against the table of their file: layers, shapes, parameters counted by hand, seeds.

python -m pytest tests/test_models.py
"""

import math

import pytest
import torch
from torch import nn

from dipvae_src.models import NETWORKS, build, sample


def layers(module: nn.Module, *kinds: type) -> list[nn.Module]:
    return [layer for layer in module if isinstance(layer, kinds)]


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    ("network", "latents", "width", "channels"),
    [
        ("fc", 10, 64, 1),
        ("fc", 3, 32, 3),
        ("conv", 32, 256, 3),
        ("conv", 5, 32, 1),
        ("conv-2x2", 32, 256, 3),
        ("conv-2x2", 5, 32, 1),
    ],  # fmt: skip
)
def test_shapes(network, latents, width, channels):
    model = build(network, latents, width, channels, seed=0)
    images = torch.rand(2, channels * 64 * 64, generator=torch.Generator().manual_seed(0))
    mu, log_var = model.encode(images)
    assert mu.shape == log_var.shape == (2, latents)
    assert model.decode(mu).shape == images.shape


def test_mu_is_the_first_half_of_the_encoder_and_log_var_the_second():
    model = build("fc", 4, 8, 1, seed=0)
    with torch.no_grad():
        model.encoder[-1].weight.zero_()
        model.encoder[-1].bias.copy_(torch.arange(8.0))
    mu, log_var = model.encode(torch.zeros(1, 4096))
    assert mu.tolist() == [[0.0, 1.0, 2.0, 3.0]] and log_var.tolist() == [[4.0, 5.0, 6.0, 7.0]]


def test_parameters_of_the_fully_connected_pair_counted_by_hand():
    encoder = (4096 * 1200 + 1200) + (1200 * 1200 + 1200) + (1200 * 20 + 20)
    decoder = (10 * 1200 + 1200) + 2 * (1200 * 1200 + 1200) + (1200 * 4096 + 4096)
    assert (encoder, decoder) == (6_381_620, 7_814_896)
    with torch.device("meta"):  # counts without filling 14.2 million weights
        model = NETWORKS["fc"](10, 1200, 1, 32)
    assert sum(p.numel() for p in model.encoder.parameters()) == encoder
    assert sum(p.numel() for p in model.decoder.parameters()) == decoder


def test_parameters_of_the_convolutional_pair_counted_by_hand():
    # a 4 x 4 convolution from a to b channels has 16 a b weights and b biases
    encoder = (16 * 3 * 32 + 32) + (16 * 32 * 32 + 32) + (16 * 32 * 64 + 64) + (16 * 64 * 64 + 64)
    encoder += (1024 * 256 + 256) + (256 * 64 + 64)
    decoder = (32 * 256 + 256) + (256 * 1024 + 1024)
    decoder += (16 * 64 * 64 + 64) + (16 * 64 * 32 + 32) + (16 * 32 * 32 + 32) + (16 * 32 * 3 + 3)
    assert (encoder, decoder) == (395_264, 387_971)
    model = build("conv", 32, 256, 3, seed=0)
    assert sum(p.numel() for p in model.encoder.parameters()) == encoder
    assert sum(p.numel() for p in model.decoder.parameters()) == decoder


def test_parameters_of_the_2x2_pair_counted_by_hand():
    # of its four convolutions the two between 32, 64 and 64 channels have 4 a b weights in the
    # place of 16 a b
    fewer = 12 * 32 * 64 + 12 * 64 * 64
    assert (395_264 - fewer, 387_971 - fewer) == (321_536, 314_243)
    model = build("conv-2x2", 32, 256, 3, seed=0)
    assert sum(p.numel() for p in model.encoder.parameters()) == 321_536
    assert sum(p.numel() for p in model.decoder.parameters()) == 314_243


@pytest.mark.parametrize(("network", "kernel"), [("conv", 4), ("conv-2x2", 2)])
def test_filters_are_those_of_the_first_convolution_and_the_rest_follow(network, kernel):
    model = build(network, 3, 8, 1, 0, filters=4)
    down, up = layers(model.encoder, nn.Conv2d), layers(model.decoder, nn.ConvTranspose2d)
    assert [(c.in_channels, c.out_channels) for c in down] == [(1, 4), (4, 4), (4, 8), (8, 8)]
    assert [(c.in_channels, c.out_channels) for c in up] == [(8, 8), (8, 4), (4, 4), (4, 1)]
    assert (
        [c.kernel_size for c in down]
        == [c.kernel_size for c in reversed(up)]
        == [(4, 4)] * 2 + [(kernel, kernel)] * 2
    )
    encoder = (
        16 * 4
        + 4
        + 16 * 4 * 4
        + 4
        + kernel**2 * 4 * 8
        + 8
        + kernel**2 * 8 * 8
        + 8
        + (128 * 8 + 8)
        + (8 * 6 + 6)
    )
    assert sum(p.numel() for p in model.encoder.parameters()) == encoder


def test_a_2x2_kernel_looks_at_blocks_of_its_own():
    """Of the third layer's output a pixel sees a block of its input, and blocks do not overlap: 2 x
    2 at stride 2, nothing padded.
    """
    third = layers(build("conv-2x2", 2, 8, 3, seed=0).encoder, nn.Conv2d)[2]
    one = torch.zeros(1, 32, 16, 16)
    one[0, 0, 6, 7] = 1.0
    moved = (third(one) - third(torch.zeros_like(one))).abs().sum(dim=(0, 1)).nonzero().tolist()
    assert moved == [[3, 3]]


def test_fully_connected_pair_is_the_row_of_the_table():
    model = build("fc", 10, 16, 1, seed=0)
    assert [type(layer) for layer in model.encoder] == [nn.Linear, nn.ReLU] * 2 + [nn.Linear]
    assert [type(layer) for layer in model.decoder] == [nn.Linear, nn.Tanh] * 3 + [
        nn.Linear
    ]  # ends in logits


def test_convolutional_pair_is_the_row_of_the_table():
    model = build("conv", 32, 256, 3, seed=0)
    down, up = layers(model.encoder, nn.Conv2d), layers(model.decoder, nn.ConvTranspose2d)
    assert [c.out_channels for c in down] == [32, 32, 64, 64]
    assert [c.out_channels for c in up] == [64, 32, 32, 3]
    assert all(c.kernel_size == (4, 4) and c.stride == (2, 2) for c in down + up)
    assert len(layers(model.encoder, nn.ReLU)) == 5 and len(layers(model.decoder, nn.ReLU)) == 5
    assert isinstance(model.decoder[-2], nn.ConvTranspose2d)  # no activation after the last layer
    assert not layers(model.encoder, nn.Tanh) and not layers(model.decoder, nn.Tanh, nn.Sigmoid)


@pytest.mark.parametrize("network", ["conv", "conv-2x2"])
def test_sides_halve_from_64_to_4_and_double_back(network):
    model = build(network, 2, 8, 1, seed=0)
    sides = []
    for layer in layers(model.encoder, nn.Conv2d) + layers(model.decoder, nn.ConvTranspose2d):
        layer.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
    mu, _ = model.encode(torch.zeros(1, 4096))
    model.decode(mu)
    assert sides == [32, 16, 8, 4, 8, 16, 32, 64]


@pytest.mark.parametrize("network", NETWORKS)
def test_same_seed_same_weights_and_the_global_state_is_left_alone(network):
    torch.manual_seed(123)
    expected = torch.rand(5)
    torch.manual_seed(123)
    first, second, other = (weights(build(network, 4, 16, 1, seed=seed)) for seed in (7, 7, 8))
    assert torch.equal(torch.rand(5), expected)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_global_state_does_not_reach_the_weights():
    torch.manual_seed(1)
    first = weights(build("fc", 4, 16, 1, seed=7))
    torch.manual_seed(2)
    assert torch.equal(first, weights(build("fc", 4, 16, 1, seed=7)))


def test_unknown_network_is_refused_with_the_names_of_the_known():
    with pytest.raises(
        ValueError, match="unknown network 'resnet'; the networks are fc, conv, conv-2x2$"
    ):
        build("resnet", 10, 1200, 1, seed=0)


def test_sample_has_the_mean_and_variance_asked_for():
    mu, variance = torch.tensor([[3.0, -1.0]]), torch.tensor([[4.0, 0.25]])
    count = 200_000
    z = sample(
        mu.expand(count, 2), variance.log().expand(count, 2), torch.Generator().manual_seed(0)
    )
    # five standard errors: sigma / sqrt(n) of a mean, sigma^2 sqrt(2 / n) of a variance
    assert (z.mean(dim=0) - mu[0]).abs().le(5 * variance[0].sqrt() / math.sqrt(count)).all()
    assert (z.var(dim=0) - variance[0]).abs().le(5 * variance[0] * math.sqrt(2 / count)).all()


def test_sample_draws_from_its_generator_alone():
    mu, log_var = torch.zeros(4, 3), torch.zeros(4, 3)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first, second = (sample(mu, log_var, torch.Generator().manual_seed(9)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_sample_lets_the_gradient_through():
    """z = mu + sigma e: dz/dmu = 1 and dz/dlog_var = (z - mu) / 2."""
    mu = torch.zeros(5, 2, requires_grad=True)
    log_var = torch.full((5, 2), 0.3, requires_grad=True)
    z = sample(mu, log_var, torch.Generator().manual_seed(0))
    z.sum().backward()
    assert torch.equal(mu.grad, torch.ones(5, 2))
    assert torch.allclose(log_var.grad, (z - mu).detach() / 2)
