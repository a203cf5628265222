"""Results for the tests of what reads them: one that is made, one that is made up and fits."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from dipvae_src.settings import Settings
from replication import profiles, provenance, results
from replication.codes import FACTORS
from replication.engine import runner

IDENTITY = "d" * 64
STEPS = ("reconstruction", "kl", "penalty")


def made(settings: Settings, data_dir: Path, folder: Path) -> dict:
    """The result of seed 1 of an experiment, made by the plain loop if it is not there."""
    where = (data_dir, folder, "cpu", "single")
    return runner.train_unit("smoke", [(settings, 1)], *where, log=[].append).results()[0]


def whole_result(settings: Settings, seed: int = 2) -> dict:
    """A whole result of a run, its picture and codes left out."""
    rng, latents = np.random.default_rng(seed), settings.latents
    names = ["a", "b", "c"]
    root = rng.normal(size=(latents, latents))
    matrix = rng.random((latents, len(names))).round(4)
    top = np.sort(matrix, axis=0)[-2:]
    kl = rng.random(latents).round(4)
    metrics = {
        "images": 9, "reconstruction_error": 0.01, "kl": float(kl.sum().round(4)),
        "other_errors": {"absolute": 0.03, "sampled": 0.02}, "kl_per_latent": kl.tolist(),
        "covariance_of_means": (root @ root.T).tolist(),
        "mean_variance": rng.random(latents).tolist(),
        "sap": None, "zdiff": None, "unrounded": None,
    }  # fmt: skip
    if settings.data != "chairs":
        score = float((top[1] - top[0]).mean())
        metrics["sap"] = {
            "score": score, "matrix": matrix.tolist(), "gaps": (top[1] - top[0]).tolist(),
            "factors": names, "discrete": [True, False, False], "images": 9, "inactive_below": 0.01,
            "score_with_inactive_below": {"0.0": score}, "score_of_halves": [score, score],
        }  # fmt: skip
        metrics["zdiff"] = {
            "accuracy": 59.5, "accuracy_again": 60.0, "chance": 100 / 3, "pairs": 64, "seed": 7,
            "train": settings.zdiff_train, "test": settings.zdiff_test,
            "balanced": settings.data == "celeba",
        }  # fmt: skip
    if settings.data == "celeba":
        kinds = ("accuracy", "balanced", "majority", "single_accuracy", "single_balanced")
        metrics["attributes"] = {
            "names": list(names), "train_images": 90, "test_images": 9, "single_latent": [0, 1, 2],
        } | {kind: [70.0, 80.0, 90.0] for kind in kinds}  # fmt: skip
    return {
        "format": results.FORMAT, "profile": "smoke", "settings": dataclasses.asdict(settings),
        "seed": seed, "code": provenance.LOADED, "versions": {"python": "3.11.7"}, "device": "cpu",
        "data": {"name": "2D Shapes", "source": "rendered", "identity": IDENTITY}, "threads": 1,
        "minutes": 0.5, "metrics": metrics, "picture": None, "codes": None,
        "losses": [{"step": step} | dict.fromkeys(STEPS, 1.0) for step in (1, settings.steps)],
    }  # fmt: skip


def write_whole_result(folder: Path, settings: Settings, seed: int) -> None:
    """A made-up result, with picture and codes where its run leaves them."""
    path, result = results.path_of(folder, settings, seed), whole_result(settings, seed)
    if profiles.keeps_pictures(settings, seed):
        results.write_whole(path.with_suffix(".png"), b"picture")
        digest = hashlib.sha256(b"picture").hexdigest()
        result["picture"] = {"file": path.with_suffix(".png").name, "sha256": digest}
    if profiles.leaves_codes(settings):
        left, digest = path.with_suffix(".codes.npz"), hashlib.sha256(b"codes").hexdigest()
        results.write_whole(left, b"codes")
        results.write_whole(path.with_name(FACTORS), b"factors")
        result["codes"] = {"file": left.name, "sha256": digest}
    results.write(path, result)
