"""Training: equal to a plain loop, equal to itself, and stopped where the loss is no number."""

import dataclasses

import numpy as np
import pytest
import torch
from small import faces

from dipvae_src import evaluate, losses, models
from dipvae_src.settings import Settings
from dipvae_src.train import TrainingDiverged, batches, objective, stream, train
from replication import datasets as data


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
    first, second = (
        [torch.zeros_like(p) for p in parameters],
        [torch.zeros_like(p) for p in parameters],
    )
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
        loss = (
            nll
            + kl
            + tiny.lambda_od * off
            + tiny.lambda_d * on
            + tiny.lambda_3 * (third**2).sum().sqrt()
        )
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for i, (p, g) in enumerate(zip(parameters, gradients)):
                first[i] = 0.9 * first[i] + 0.1 * g
                second[i] = 0.999 * second[i] + 0.001 * g**2
                m, v = first[i] / (1 - 0.9**step), second[i] / (1 - 0.999**step)
                p -= tiny.learning_rate * m / (v.sqrt() + 1e-8)
    moved = (
        (
            weights(plain)
            - weights(models.build("fc", tiny.latents, tiny.width, 1, stream(3, "weights")))
        )
        .abs()
        .max()
    )
    assert moved > 3 * tiny.learning_rate
    # Adam divides tiny gradients by their own size, so a few weights amplify float32's rounding:
    # compare in the mean, too.
    error = (weights(model) - weights(plain)).abs()
    assert error.mean() < 1e-3 * moved and error.quantile(0.99) < 1e-2 * moved


@pytest.mark.parametrize("kind", ["dip-vae-i", "dip-vae-ii"])
def test_training_with_a_memory_equals_a_plain_loop(data_dir, kind):
    """The running covariance spelled out: 0.9 of the matrix of the step before, its gradient the
    minibatch's.
    """
    settings = Settings(
        kind, lambda_od=5.0, lambda_d=50.0 if kind == "dip-vae-i" else 5.0, width=16, steps=5,
        batch_size=32, learning_rate=1e-3, latents=4, memory=0.9,
    )  # fmt: skip
    shapes = data.load("shapes2d", data_dir)
    model, history = train(settings, 3, shapes)
    without, _ = train(dataclasses.replace(settings, memory=0.0), 3, shapes)

    plain = models.build("fc", 4, 16, 1, stream(3, "weights"))
    order, noise = (torch.Generator().manual_seed(stream(3, name)) for name in ("order", "noise"))
    rows = shapes.split()[0]
    rows = rows[torch.randperm(len(rows), generator=order)]
    optimiser = torch.optim.Adam(plain.parameters(), lr=settings.learning_rate)
    kept = np.eye(4)
    for step in range(5):
        x = shapes.images(rows[32 * step : 32 * step + 32])
        mu, log_var = plain.encode(x)
        logits = plain.decode(mu + (log_var / 2).exp() * torch.randn(mu.shape, generator=noise))
        nll = torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / 32
        kl = (mu**2 + log_var.exp() - log_var - 1).sum() / 64
        d = mu - mu.mean(0)
        c = d.T @ d / 32 + (0 if kind == "dip-vae-i" else torch.diag(log_var.exp().mean(0)))
        kept = 0.9 * kept + 0.1 * c.detach().numpy().astype(float)
        # The penalty's value at the running matrix, and its slope there times the minibatch's own
        # gradient.
        off, eye = kept - np.diag(np.diag(kept)), np.eye(4)
        penalty = (
            settings.lambda_od * (off**2).sum()
            + settings.lambda_d * ((np.diag(kept) - 1) ** 2).sum()
        )
        slope = 2 * settings.lambda_od * off + 2 * settings.lambda_d * eye * (kept - eye)
        (nll + kl + (torch.from_numpy(slope).float() * c).sum()).backward()
        optimiser.step()
        optimiser.zero_grad()
        assert history[step]["penalty"] == pytest.approx(penalty, rel=1e-4, abs=1e-4)
    moved = (
        (weights(plain) - weights(models.build("fc", 4, 16, 1, stream(3, "weights")))).abs().max()
    )
    error = (weights(model) - weights(plain)).abs()
    assert error.mean() < 1e-3 * moved and error.quantile(0.99) < 1e-2 * moved
    assert (
        weights(without) - weights(plain)
    ).abs().mean() > 20 * error.mean()  # the memory is felt


def test_two_runs_are_equal_to_the_last_bit(data_dir, tiny):
    packed = data.load("shapes2d", data_dir)
    (one, losses_one), (two, losses_two), (other, _) = (
        train(tiny, seed, packed) for seed in (0, 0, 1)
    )
    assert torch.equal(weights(one), weights(two)) and losses_one == losses_two
    assert not torch.equal(weights(one), weights(other))


def test_streams_are_apart():
    seeds = {
        (seed, name): stream(seed, name)
        for seed in range(50)
        for name in ("weights", "order", "noise", "scores")
    }
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
    assert (
        history[-1]["step"] == 150
        and len(history) == 50
        and list(history[0]) == ["step", "reconstruction", "kl", "penalty"]
    )


def test_objectives_are_those_of_the_losses():
    generator = torch.Generator().manual_seed(0)
    nll, mu, log_var = (
        torch.randn(*shape, generator=generator) for shape in ((8,), (8, 3), (8, 3))
    )
    beta_vae = Settings("beta-vae", beta=4.0)
    i, ii = (Settings(kind, lambda_od=2.0, lambda_d=20.0) for kind in ("dip-vae-i", "dip-vae-ii"))
    marginal = dataclasses.replace(ii, lambda_3=200.0)
    joint = dataclasses.replace(marginal, third_moments="joint")
    parts = (nll, mu, log_var)
    assert objective(beta_vae, *parts) == losses.beta_vae(*parts, 4)
    assert objective(i, *parts) == losses.dip_vae_i(*parts, 2, 20)
    assert objective(ii, *parts) == losses.dip_vae_ii(*parts, 2, 20)
    assert objective(marginal, *parts) == losses.dip_vae_ii(*parts, 2, 20, 200)
    assert objective(joint, *parts) == losses.dip_vae_ii(*parts, 2, 20, 200, joint=True)
    assert len({objective(x, *parts).total.item() for x in (beta_vae, i, ii, marginal, joint)}) == 5


def test_an_objective_with_memory_keeps_its_covariance():
    generator = torch.Generator().manual_seed(0)
    nll, mu, log_var = (
        torch.randn(*shape, generator=generator) for shape in ((8,), (8, 3), (8, 3))
    )
    of_means, total = losses.covariance_of_means(mu), losses.total_covariance(mu, log_var)
    for kind, moment in (("dip-vae-i", of_means), ("dip-vae-ii", total)):
        settings = Settings(kind, lambda_od=2.0, lambda_d=20.0, latents=3, memory=0.75)
        running = torch.eye(3)
        first = objective(settings, nll, mu, log_var, running)
        assert (
            torch.allclose(running, 0.75 * torch.eye(3) + 0.25 * moment)
            and not running.requires_grad
        )
        second = objective(settings, nll, mu, log_var, running)
        assert (
            torch.allclose(running, 0.75**2 * torch.eye(3) + (1 - 0.75**2) * moment)
            and second.penalty != first.penalty
        )


def test_a_loss_that_is_no_number_stops_at_its_step(data_dir, tiny):
    wild = dataclasses.replace(tiny, learning_rate=1e30)
    with pytest.raises(
        TrainingDiverged,
        match=r"DIP-VAE-II \(lambda_od 5\), seed 0: the loss is (nan|inf) at step 2",
    ):
        train(wild, 0, data.load("shapes2d", data_dir))


def test_a_batch_larger_than_the_data_is_refused(data_dir, tiny):
    with pytest.raises(
        ValueError, match="batch_size 2,000 is larger than the 1,382 training images"
    ):
        train(dataclasses.replace(tiny, batch_size=2_000), 0, data.load("shapes2d", data_dir))


# --- colour images ---


def test_colour_is_trained_on_its_squared_error(data_dir, tiny_colour):
    """The first step's reconstruction by hand: half the squared distance, summed over all three
    planes.
    """
    packed = data.load("celeba", data_dir)
    model, history = train(dataclasses.replace(tiny_colour, steps=1), 0, packed)
    start = models.build("conv", 12, 8, 3, stream(0, "weights"), filters=2)
    order, noise = (torch.Generator().manual_seed(stream(0, name)) for name in ("order", "noise"))
    rows = packed.split()[0]
    x = torch.from_numpy(
        faces()[0][rows[torch.randperm(len(rows), generator=order)][:32]].reshape(32, -1) / 255
    ).float()
    with torch.no_grad():
        mu, log_var = start.encode(x)
        error = start.decode(mu + (log_var / 2).exp() * torch.randn(mu.shape, generator=noise)) - x
    assert history[0]["reconstruction"] == pytest.approx(
        (error.double() ** 2).sum().item() / 64, rel=1e-5
    )
    assert not torch.equal(weights(model), weights(start))


def test_training_on_colour_lowers_the_loss_and_repeats_to_the_last_bit(data_dir, tiny_colour):
    packed = data.load("celeba", data_dir)
    longer = dataclasses.replace(tiny_colour, steps=60, learning_rate=1e-2)
    (one, history), (two, again) = (train(longer, 0, packed) for _ in range(2))
    assert history[-1]["reconstruction"] < 0.5 * history[0]["reconstruction"]
    assert torch.equal(weights(one), weights(two)) and history == again


def test_measures_of_colour_are_those_of_the_definition(data_dir, tiny_colour):
    packed = data.load("celeba", data_dir)
    model, _ = train(tiny_colour, 0, packed)
    rows = packed.split()[1]
    measured = evaluate.measure(model, packed, rows)
    x = torch.from_numpy(faces()[0][rows].reshape(len(rows), -1) / 255)
    with torch.no_grad():
        mu, log_var = model.encode(x.float())
        error = model.decode(mu).double() - x  # the decoder's output is the mean itself
        noise = torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))
        sampled = model.decode(mu + (log_var / 2).exp() * noise).double() - x
    assert measured["reconstruction_error"] == pytest.approx(
        (error**2).sum().item() / (160 * 3 * 64 * 64), rel=1e-5
    )
    assert measured["other_errors"]["absolute"] == pytest.approx(
        error.abs().mean().item(), rel=1e-5
    )
    assert measured["other_errors"]["sampled"] == pytest.approx(
        (sampled**2).mean().item(), rel=1e-5
    )
    assert torch.allclose(measured["mu"], mu.double()) and torch.allclose(
        measured["log_var"], log_var.double()
    )


def test_colour_sheet_has_two_rows_of_images_and_the_ten_most_used_latents(data_dir, tiny_colour):
    packed = data.load("celeba", data_dir)
    model, _ = train(tiny_colour, 0, packed)
    kl = [
        0.1,
        5.0,
        0.2,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
        1.0,
        0.05,
    ]  # the first and the last of twelve are left out
    sheet = evaluate.traversal_sheet(model, packed, kl)
    assert sheet.shape == (12 * 64, 11 * 64, 3) and sheet.dtype == np.uint8
    rows = packed.split()[1][:11]
    images = faces()[0][rows]
    for column in range(11):
        assert np.array_equal(
            sheet[:64, column * 64 : column * 64 + 64], images[column].transpose(1, 2, 0)
        )
    with torch.no_grad():
        mu, _ = model.encode(packed.images(rows))
        z = mu[0].clone()
        z[1] = 2.5  # the most used latent, moved to the end
        expected = (
            (255 * model.decode(z[None]).clamp(0, 1))
            .round()
            .view(3, 64, 64)
            .permute(1, 2, 0)
            .numpy()
        )
    assert np.abs(sheet[2 * 64 : 3 * 64, -64:].astype(int) - expected).max() <= 1
    reconstructed = (
        (255 * model.decode(mu[:1]).detach().clamp(0, 1))
        .round()
        .view(3, 64, 64)
        .permute(1, 2, 0)
        .numpy()
    )
    assert np.abs(sheet[64:128, :64].astype(int) - reconstructed).max() <= 1


def test_traversal_sheet_moves_one_latent_a_row(data_dir):
    """A decoder that paints each latent's value into a pixel of its own shows which latent moves in
    which row.
    """
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
    assert np.array_equal(
        sheet[:64, :64], 255 * packed.images(packed.split()[1][:1]).view(64, 64).numpy()
    )
    values = torch.linspace(-2.5, 2.5, 11).sigmoid().mul(255).round().numpy()
    for row, latent in ((2, 1), (3, 2), (4, 0)):  # by falling KL
        first_pixels = sheet[row * 64, :].reshape(11, 64)[:, :3]
        assert np.array_equal(first_pixels[:, latent], values)
        assert (np.delete(first_pixels, latent, axis=1) == 128).all()
