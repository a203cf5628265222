"""Training: equal to a plain loop, equal to itself, and stopped where the loss is no number."""

import dataclasses

import numpy as np
import pytest
import torch

from dipvae_src import data, evaluate, experiments, losses, models
from dipvae_src.train import TrainingDiverged, batches, device_of, objective, stream, train


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_equals_a_plain_loop(data_dir, tiny):
    """The slow oracle: NumPy's unpackbits, Adam as written in its paper, the loss spelled out."""
    packed, steps = data.load("shapes2d", data_dir), 5
    model, _ = train(dataclasses.replace(tiny, steps=steps), 3, packed)

    plain = models.build("fc", tiny.latents, tiny.width, 1, stream(3, "weights")).double()
    order = torch.Generator().manual_seed(stream(3, "order"))
    noise = torch.Generator().manual_seed(stream(3, "noise"))
    rows = packed.split()[0]
    rows = rows[torch.randperm(len(rows), generator=order)]
    parameters = list(plain.parameters())
    first, second = [torch.zeros_like(p) for p in parameters], [torch.zeros_like(p) for p in parameters]
    for step in range(1, steps + 1):
        chosen = rows[(step - 1) * tiny.batch_size : step * tiny.batch_size].numpy()
        x = torch.from_numpy(np.unpackbits(packed.bits.numpy()[chosen], axis=1)).double()
        mu, log_var = plain.encoder(x).split(tiny.latents, dim=1)
        z = mu + log_var.exp().sqrt() * torch.randn(mu.shape, generator=noise).double()
        p = plain.decoder(z).sigmoid()
        nll = -(x * p.log() + (1 - x) * (1 - p).log()).sum() / len(x)
        kl = 0.5 * (mu**2 + log_var.exp() - log_var - 1).sum() / len(x)
        d = mu - mu.mean(0)
        c = d.T @ d / len(x) + torch.diag(log_var.exp().mean(0))
        off = sum(c[i, j] ** 2 for i in range(10) for j in range(10) if i != j)
        on = sum((c[i, i] - 1) ** 2 for i in range(10))
        third = (d**3 + 3 * d * log_var.exp()).mean(0)
        loss = nll + kl + tiny.lambda_od * off + tiny.lambda_d * on + tiny.lambda_3 * (third**2).sum().sqrt()
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for i, (p, g) in enumerate(zip(parameters, gradients)):
                first[i] = 0.9 * first[i] + 0.1 * g
                second[i] = 0.999 * second[i] + 0.001 * g**2
                m, v = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
                p -= tiny.learning_rate * m / (v.sqrt() + 1e-8)
    moved = (weights(plain) - weights(models.build("fc", tiny.latents, tiny.width, 1, stream(3, "weights")))).abs().max()
    assert moved > 3 * tiny.learning_rate
    # Adam divides tiny gradients by their own size, so a few weights amplify float32's rounding: compare in the mean, too.
    error = (weights(model) - weights(plain)).abs()
    assert error.mean() < 1e-3 * moved and error.quantile(0.99) < 1e-2 * moved


def test_two_runs_are_equal_to_the_last_bit(data_dir, tiny):
    packed = data.load("shapes2d", data_dir)
    (one, losses_one), (two, losses_two), (other, _) = (train(tiny, seed, packed) for seed in (0, 0, 1))
    assert torch.equal(weights(one), weights(two)) and losses_one == losses_two
    assert not torch.equal(weights(one), weights(other))


def test_streams_are_apart():
    seeds = {(seed, name): stream(seed, name) for seed in range(50) for name in ("weights", "order", "noise", "scores")}
    assert len(set(seeds.values())) == len(seeds)


def test_each_epoch_is_a_new_order_of_all_images():
    rows = torch.arange(100, 130)
    drawn = batches(rows, 10, torch.Generator().manual_seed(0))
    first, second = (torch.cat([next(drawn) for _ in range(3)]).tolist() for _ in range(2))
    assert sorted(first) == sorted(second) == rows.tolist() and first != second


def test_training_lowers_the_loss_and_keeps_its_curve(data_dir, tiny):
    longer = dataclasses.replace(tiny, steps=150)
    _, history = train(longer, 0, data.load("shapes2d", data_dir))
    assert history[-1]["reconstruction"] < 0.5 * history[0]["reconstruction"]
    assert history[-1]["step"] == 150 and len(history) == 50 and list(history[0]) == ["step", "reconstruction", "kl", "penalty"]


def test_objectives_are_those_of_the_losses():
    generator = torch.Generator().manual_seed(0)
    nll, mu, log_var = (torch.randn(*shape, generator=generator) for shape in ((8,), (8, 3), (8, 3)))
    common = dict(latents=3)
    assert objective(experiments.beta_vae(4, **common), nll, mu, log_var) == losses.beta_vae(nll, mu, log_var, 4)
    assert objective(experiments.dip_vae_i(2, **common), nll, mu, log_var) == losses.dip_vae_i(nll, mu, log_var, 2, 20)
    assert objective(experiments.dip_vae_ii(2, **common), nll, mu, log_var) == losses.dip_vae_ii(nll, mu, log_var, 2, 2, 200)


def test_a_loss_that_is_no_number_stops_at_its_step(data_dir, tiny):
    wild = dataclasses.replace(tiny, learning_rate=1e30)
    with pytest.raises(TrainingDiverged, match=r"DIP-VAE-II \(lambda_od 5\), seed 0: the loss is (nan|inf) at step 2"):
        train(wild, 0, data.load("shapes2d", data_dir))


def test_a_batch_larger_than_the_data_is_refused(data_dir, tiny):
    with pytest.raises(ValueError, match="batch_size 2,000 is larger than the 1,382 training images"):
        train(dataclasses.replace(tiny, batch_size=2_000), 0, data.load("shapes2d", data_dir))


def test_devices():
    assert device_of("cpu").type == "cpu"
    with pytest.raises(ValueError, match="unknown device 'tpu'; use cpu or cuda"):
        device_of("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="DEVICE=cuda was asked for, but PyTorch finds no CUDA device"):
            device_of("cuda")


def test_measures_are_those_of_the_definition(data_dir, tiny):
    packed = data.load("shapes2d", data_dir)
    model, _ = train(tiny, 0, packed)
    rows = packed.split()[1]
    measured = evaluate.measure(model, packed, rows)
    x = packed.images(rows)
    with torch.no_grad():
        mu, log_var = model.encode(x)
        error = ((torch.sigmoid(model.decode(mu)) - x) ** 2).mean().item()
        kl = torch.distributions.kl_divergence(
            torch.distributions.Normal(mu, (log_var / 2).exp()), torch.distributions.Normal(0.0, 1.0)
        ).mean(0)
    assert measured["reconstruction_error"] == pytest.approx(error, rel=1e-5)
    assert measured["kl_per_latent"] == pytest.approx(kl.tolist(), rel=1e-3, abs=1e-6)
    metrics = evaluate.evaluate(model, packed, tiny, seed=0)
    assert metrics["images"] == 150  # of 154
    rows = rows[:150]
    mu = mu[:150]
    assert np.allclose(metrics["covariance_of_means"], np.cov(mu.double().numpy().T, bias=True), rtol=1e-4, atol=1e-7)
    assert metrics["images"] == metrics["sap"]["images"] == len(rows)
    assert metrics["zdiff"]["train"] == tiny.zdiff_train and np.array(metrics["sap"]["matrix"]).shape == (10, 5)


def test_traversal_sheet_moves_one_latent_a_row(data_dir):
    """A decoder that paints each latent's value into a pixel of its own shows which latent moves in which row."""
    packed = data.load("shapes2d", data_dir)

    class Painter(models.VAE):
        def __init__(self):
            torch.nn.Module.__init__(self)

        def encode(self, images):
            return torch.zeros(len(images), 3), torch.zeros(len(images), 3)

        def decode(self, z):
            return torch.nn.functional.pad(z, (0, 4096 - z.shape[1]), value=-20.0)

    sheet = evaluate.traversal_sheet(Painter(), packed, [0.1, 2.0, 1.0])
    assert sheet.shape == (5 * 64, 11 * 64) and sheet.dtype == np.uint8
    assert np.array_equal(sheet[:64, :64], 255 * packed.images(packed.split()[1][:1]).view(64, 64).numpy())
    values = torch.linspace(-2.5, 2.5, 11).sigmoid().mul(255).round().numpy()
    for row, latent in ((2, 1), (3, 2), (4, 0)):  # by falling KL
        first_pixels = sheet[row * 64, :].reshape(11, 64)[:, :3]
        assert np.array_equal(first_pixels[:, latent], values)
        assert (np.delete(first_pixels, latent, axis=1) == 128).all()
