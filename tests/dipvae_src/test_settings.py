"""Settings that are of another type, out of range or at odds are refused by name."""

import dataclasses

import pytest

from dipvae_src.settings import Settings, check_settings

GOOD = Settings("dip-vae-ii", lambda_od=5.0, lambda_d=5.0, lambda_3=200.0)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (dict(objective="vae"), ValueError, "unknown objective 'vae'; known: beta-vae"),
        (dict(network="mlp"), ValueError, "unknown network 'mlp'; known: fc, conv, conv-2x2"),
        (dict(data="mnist"), ValueError, "unknown data 'mnist'; known: shapes2d, celeba, chairs"),
        (dict(lambda_od="5"), TypeError, "lambda_od must be a number, not '5'"),
        (dict(steps="100"), TypeError, "steps must be a whole number, not '100'"),
        (dict(steps=1.5), TypeError, "steps must be a whole number, not 1.5"),
        (dict(batch_size=True), TypeError, "batch_size must be a whole number, not True"),
        (dict(lambda_od=-1.0), ValueError, "lambda_od must be a finite number, 0 or more, not -1"),
        (dict(lambda_d=float("inf")), ValueError, "lambda_d must be a finite number"),
        (dict(learning_rate=float("nan")), ValueError, "learning_rate must be a finite number"),
        (dict(learning_rate=0.0), ValueError, "learning_rate must be above 0"),
        (dict(steps=0), ValueError, "steps must be at least 1"),
        (dict(batch_size=1), ValueError, "a covariance needs a batch_size of at least 2"),
        (dict(beta=4.0), ValueError, "dip-vae-ii has beta 1 by definition"),
        (dict(objective="dip-vae-i"), ValueError, "lambda_3 belongs to dip-vae-ii"),
        (dict(objective="beta-vae"), ValueError, "beta-vae has no lambda_od, lambda_d or lambda_3"),
        (dict(latents=1), ValueError, "latents must be at least 2"),
        (dict(filters=0), ValueError, "filters must be at least 1, not 0"),
        (dict(memory=1.0), ValueError, "memory .* below 1, not 1.0 for dip-vae-ii"),
        (dict(memory=-0.5), ValueError, "memory must be a finite number, 0 or more, not -0.5"),
        (dict(third_moments="all"), ValueError, "unknown third_moments 'all'; known: marginal, "),
        (dict(third_moments="joint", lambda_3=0.0), ValueError, "third_moments need a lambda_3"),
        (dict(objective="beta-vae", lambda_od=0.0, lambda_d=0.0, lambda_3=0.0, memory=0.9),
         ValueError, "memory belongs to the DIP objectives and is below 1, not 0.9 for beta-vae"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_by_name(change, error, words):
    settings = dataclasses.replace(GOOD)
    assert check_settings(settings) is settings
    for name, value in change.items():  # past the tests' own type checker, which users do not have
        object.__setattr__(settings, name, value)
    with pytest.raises(error, match=words):
        check_settings(settings)


@pytest.mark.parametrize(
    ("settings", "name", "label", "weight"),
    [
        (Settings("beta-vae"), "beta-vae_1", "VAE", 1.0),
        (Settings("beta-vae", beta=4.0), "beta-vae_4", "beta-VAE (beta 4)", 4.0),
        (GOOD, "dip-vae-ii_5_m3-200", "DIP-VAE-II (lambda_od 5)", 5.0),
        (
            Settings("dip-vae-i", lambda_od=0.5, data="celeba", reading="batch 64"),
            "celeba_dip-vae-i_0.5_batch-64", "DIP-VAE-I (lambda_od 0.5), batch 64", 0.5,
        ),
    ],
)  # fmt: skip
def test_settings_name_their_runs(settings, name, label, weight):
    assert (settings.name, settings.label, settings.weight) == (name, label, weight)
