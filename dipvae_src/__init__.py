"""DIP-VAE (Kumar, Sattigeri, Balakrishnan, ICLR 2018): objectives, networks, scores, training.

    from dipvae_src import dip_vae_ii, bernoulli_nll
    loss = dip_vae_ii(bernoulli_nll(logits, images), mu, log_var, lambda_od=5, lambda_d=5).total

Read the files in this order: losses.py (the paper), models.py, sap.py, zdiff.py, attributes.py,
data.py, settings.py, train.py, evaluate.py. Nothing here imports anything else of the repository,
and each name below is imported when it is first used.
"""

from importlib import import_module

_LOSSES = (
    "dip_vae_i", "dip_vae_ii", "beta_vae", "covariance_of_means", "total_covariance",
    "dip_penalty", "bernoulli_nll", "gaussian_nll",
)  # fmt: skip
_HOMES = dict.fromkeys(_LOSSES, "losses")
_HOMES |= {"build": "models", "sap_score": "sap", "z_diff_score": "zdiff"}
__all__ = list(_HOMES)  # noqa: PLE0604


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
