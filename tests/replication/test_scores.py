"""What a result keeps of a trained model is what the package's scores say of its codes.

python -m pytest tests/replication/test_scores.py
"""

import numpy as np
import pytest
import torch
from small import ATTRIBUTES, faces

from dipvae_src import evaluate
from dipvae_src.attributes import predict_attributes
from dipvae_src.sap import sap_score
from dipvae_src.settings import Settings
from dipvae_src.train import train
from dipvae_src.zdiff import z_diff_score
from replication import codes, scores
from replication import datasets as data
from replication.machine import device_of


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_devices():
    assert device_of("cpu").type == "cpu"
    with pytest.raises(ValueError, match="unknown device 'tpu'; use cpu or cuda"):
        device_of("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(
            ValueError, match="DEVICE=cuda was asked for, but PyTorch finds no CUDA device"
        ):
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
            torch.distributions.Normal(mu, (log_var / 2).exp()),
            torch.distributions.Normal(0.0, 1.0),
        ).mean(0)
    assert measured["reconstruction_error"] == pytest.approx(error, rel=1e-5)
    assert measured["kl_per_latent"] == pytest.approx(kl.tolist(), rel=1e-3, abs=1e-6)
    metrics, means = scores.evaluate(model, packed, tiny, seed=0)
    assert metrics["images"] == 150  # of 154
    rows = rows[:150]
    mu = mu[:150]
    assert np.allclose(means, mu, atol=1e-6)
    assert np.allclose(
        metrics["covariance_of_means"],
        np.cov(mu.double().numpy().T, bias=True),
        rtol=1e-4,
        atol=1e-7,
    )
    assert metrics["images"] == metrics["sap"]["images"] == len(rows)
    assert metrics["zdiff"]["train"] == tiny.zdiff_train and np.array(
        metrics["sap"]["matrix"]
    ).shape == (10, 5)


def test_faces_are_scored_with_their_attributes(data_dir, tiny_colour):
    packed = data.load("celeba", data_dir)
    model, _ = train(tiny_colour, 0, packed)
    metrics, _ = scores.evaluate(model, packed, tiny_colour, seed=0)
    train_rows, test_rows = packed.split()
    test_rows = test_rows[:100]
    assert (
        metrics["images"] == metrics["sap"]["images"] == metrics["attributes"]["test_images"] == 100
    )
    assert np.array(metrics["sap"]["matrix"]).shape == (12, 14) and metrics["sap"][
        "factors"
    ] == list(ATTRIBUTES)
    assert metrics["zdiff"]["balanced"] is True and metrics["attributes"]["train_images"] == 320

    with torch.no_grad():
        mu = [
            model.encode(packed.images(rows))[0].double().numpy()
            for rows in (train_rows, test_rows)
        ]
    has = [faces()[1][rows] for rows in (train_rows, test_rows)]
    expected = predict_attributes(mu[0], has[0], mu[1], has[1])
    assert metrics["attributes"]["accuracy"] == pytest.approx(expected.accuracy.tolist(), abs=1e-3)
    assert metrics["attributes"]["single_balanced"] == pytest.approx(
        expected.single_balanced.tolist(), abs=1e-3
    )
    share = has[1].mean(axis=0)
    assert metrics["attributes"]["majority"] == pytest.approx(
        (100 * np.maximum(share, 1 - share)).tolist(), abs=1e-3
    )
    halves = [
        sap_score(mu[1][half::2], has[1][half::2].astype(int), [True] * 14).score for half in (0, 1)
    ]
    assert metrics["sap"]["score_of_halves"] == pytest.approx(halves, abs=1e-5)


def test_chairs_are_asked_for_no_score_but_the_error(data_dir):
    small = dict(
        filters=2, width=8, latents=12, steps=2, batch_size=32, learning_rate=1e-3, test_images=100
    )
    settings = Settings("dip-vae-ii", lambda_od=1.0, data="chairs", network="conv-2x2", **small)
    packed = data.load("chairs", data_dir)
    model, _ = train(settings, 0, packed)
    metrics, _ = scores.evaluate(model, packed, settings, seed=0)
    assert metrics["sap"] is None and metrics["zdiff"] is None and "attributes" not in metrics
    assert (
        metrics["images"] == 64
        and 0 < metrics["reconstruction_error"] < 1
        and len(metrics["kl_per_latent"]) == 12
    )


def test_what_moves_by_itself_is_kept_beside_the_scores(data_dir, tiny):
    packed = data.load("shapes2d", data_dir)
    model, _ = train(tiny, 0, packed)
    rows = packed.split()[1][:150]
    metrics, means = scores.evaluate(model, packed, tiny, seed=0)
    assert np.array_equal(means, evaluate.means_of(model, packed, rows))
    mu = codes.restored(*codes.rounded(means))  # what the run publishes is what is scored
    factors = packed.factors(rows)
    halves = [sap_score(mu[half::2], factors[half::2], packed.discrete).score for half in (0, 1)]
    assert metrics["sap"]["score_of_halves"] == pytest.approx(halves, abs=1e-5)
    others = {str(t): sap_score(mu, factors, packed.discrete, t).score for t in (0.0, 0.001, 0.05)}
    assert metrics["sap"]["score_with_inactive_below"] == pytest.approx(others, abs=1e-5)
    seed = metrics["zdiff"]["seed"]
    sizes = dict(train=tiny.zdiff_train, test=tiny.zdiff_test)
    assert metrics["zdiff"]["accuracy"] == pytest.approx(
        z_diff_score(mu, factors, seed=seed, **sizes).accuracy
    )
    assert metrics["unrounded"] == {
        "sap": pytest.approx(sap_score(means, factors, packed.discrete).score, abs=1e-5),
        "zdiff": pytest.approx(z_diff_score(means, factors, seed=seed, **sizes).accuracy),
    }
    assert metrics["zdiff"]["accuracy_again"] == pytest.approx(
        z_diff_score(mu, factors, seed=seed + 1, **sizes).accuracy
    )
    assert metrics["zdiff"]["balanced"] is False
