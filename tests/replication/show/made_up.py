"""Made-up results for the tests of what is shown: scores as told, whole as results.py asks.

Scores are told by run name (without a reading's ending, unless it is meant): in the order of SCORES
or by their names, each a number, to which seed s adds the same for all models, or a list by seed.
"""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from small import ATTRIBUTES

from dipvae_src.settings import Settings
from replication import profiles, provenance, results
from replication.show import summary

SEEDS = 3
SCORES = {  # what a run has if nothing is told, and what a seed adds
    "zdiff": (50.0, 0.01), "sap": (0.2, 0.01), "error": (0.01, 1e-5), "correlation": (0.1, 0.01),
    "kl": (5.0, 0.0), "accuracy": (70.0, 0.01), "balanced": (60.0, 0.01),
}  # fmt: skip
SHEET, CODES = b"sheet", b"codes"  # what lies in the place of a picture and of codes
NAMES = {"shapes2d": "2D Shapes", "celeba": "small faces", "chairs": "small chairs"}


def scores(settings: Settings, seed: int, told: dict) -> dict[str, float]:
    """The scores of one run; another reading of which nothing is told has those of its model."""
    plain = dataclasses.replace(settings, reading="", lambda_3=0.0, third_moments="marginal")
    own = told.get(settings.name, told.get(plain.name, {}))
    if isinstance(own, tuple):
        own = dict(zip(SCORES, own))
    found = {}
    for name, (default, step) in SCORES.items():
        value = own.get(name, default)
        found[name] = float(value[seed] if isinstance(value, list) else value + step * seed)
    return found


def sap_of(score: float, names: list[str], latents: int, images: int) -> dict:
    """Of every other factor latent 0 is the best, of the rest latent 2; each gap is `score`."""
    matrix = np.zeros((latents, len(names)))
    matrix[0, ::2], matrix[1, ::2] = score + 0.1, 0.1
    matrix[2, 1::2], matrix[0, 1::2] = score + 0.2, 0.2
    moved = {"0.0": 0.1, "0.001": 0.05, "0.05": -0.05}
    return {
        "score": score, "matrix": matrix.tolist(), "gaps": [score] * len(names), "factors": names,
        "discrete": [True] * len(names), "images": images, "inactive_below": 0.01,
        "score_with_inactive_below": {t: max(score + by, 0.0) for t, by in moved.items()},
        "score_of_halves": [max(score - 0.01, 0.0), score + 0.03],
    }  # fmt: skip


def result(
    profile: str, settings: Settings, seed: int, told: dict | None = None, source: str = ""
) -> dict:
    """A whole result. Two latents are in use, with variances 1 and 0.5; the third has most KL."""
    own, faces = scores(settings, seed, told or {}), settings.data == "celeba"
    covariance = np.diag([1.0, 0.5, *[0.001] * (settings.latents - 2)])
    covariance[0, 1] = covariance[1, 0] = -own["correlation"] * np.sqrt(0.5)
    kl = np.zeros(settings.latents)
    kl[:3] = 0.2 * own["kl"], 0.1 * own["kl"], 0.7 * own["kl"]
    names, images = list(ATTRIBUTES) if faces else ["a", "b"], 9
    metrics = {
        "images": images, "reconstruction_error": own["error"], "kl": own["kl"],
        "kl_per_latent": kl.tolist(), "covariance_of_means": covariance.tolist(),
        "mean_variance": [0.1, 0.4, *[0.9] * (settings.latents - 2)],
        "other_errors": {"absolute": 3 * own["error"], "sampled": 2 * own["error"]},
        "sap": sap_of(own["sap"], names, settings.latents, images),
        "zdiff": {
            "accuracy": own["zdiff"], "accuracy_again": own["zdiff"] - 3, "balanced": faces,
            "chance": 100 / len(names), "pairs": 8, "train": settings.zdiff_train,
            "test": settings.zdiff_test, "seed": 0,
        },
    }  # fmt: skip
    if faces:  # fourteen attributes, a point apart
        each = np.arange(len(names)) - np.mean(range(len(names)))
        tables = {"accuracy": own["accuracy"], "balanced": own["balanced"], "majority": 75.0}
        tables |= {f"single_{kind}": own[kind] - 10 for kind in ("accuracy", "balanced")}
        metrics["attributes"] = {name: (mean + each).tolist() for name, mean in tables.items()}
        metrics["attributes"] |= {"names": names, "train_images": 90, "test_images": images}
        metrics["attributes"] |= {"single_latent": [0] * len(names)}
    elif settings.data == "chairs":
        metrics |= {"sap": None, "zdiff": None}
    coded = profiles.leaves_codes(settings)
    metrics["unrounded"] = {"sap": own["sap"], "zdiff": own["zdiff"]} if coded else None
    picture, codes = (
        {"file": f"{settings.name}_seed{seed}{end}", "sha256": hashlib.sha256(what).hexdigest()}
        for end, what in ((".png", SHEET), (".codes.npz", CODES))
    )
    data = {
        "name": NAMES[settings.data],
        "source": source or ("rendered" if settings.data == "shapes2d" else "stand-in"),
        "identity": hashlib.sha256(settings.data.encode()).hexdigest(),
    }
    losses = [{"step": settings.steps, "reconstruction": 9.0, "kl": own["kl"], "penalty": 1.0}]
    return {
        "format": results.FORMAT, "profile": profile, "settings": dataclasses.asdict(settings),
        "seed": seed, "code": provenance.LOADED, "data": data, "versions": {"python": "3"},
        "device": "cpu: made up", "threads": 1, "minutes": 0.5, "losses": losses,
        "metrics": metrics, "picture": picture if profiles.keeps_pictures(settings, seed) else None,
        "codes": codes if coded else None,
    }  # fmt: skip


def shown(
    profile: str,
    data: str = "shapes2d",
    seeds: int = SEEDS,
    told: dict | None = None,
    source: str = "",
) -> summary.ProfileResults:
    """The results of a profile on a data set, nothing written."""
    plan = profiles.plan(profile, seeds, data)
    made = [result(profile, s, seed, told, source) for s, its in plan for seed in its]
    ours, others = (
        [r for r in made if bool(r["settings"]["reading"]) == other] for other in (False, True)
    )
    return summary.ProfileResults(profile, ours, "", data, others)


def write(folder: Path, profile: str, plan: profiles.Plan, told: dict | None = None) -> None:
    """Result files, and the pictures and codes that belong to them."""
    for settings, its in plan:
        for seed in its:
            made = result(profile, settings, seed, told)
            path = results.path_of(folder, settings, seed)
            for what, content in (("picture", SHEET), ("codes", CODES)):
                if made[what]:
                    results.write_whole(path.with_name(made[what]["file"]), content)
            results.write(path, made)
