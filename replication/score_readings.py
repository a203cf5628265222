"""Z-diff and SAP read otherwise, from the codes that a run left: what the choices inside them do.

    from replication.score_readings import score_readings
    score_readings(mu, factors, discrete, settings, seed)

Nothing is trained but the classifiers of Z-diff, on the very pairs that the result's own was.
"""

import warnings
from collections.abc import Sequence
from unittest import mock

import numpy as np
from jaxtyping import Float, Integer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from dipvae_src import zdiff
from dipvae_src.sap import sap_score, without_offset
from dipvae_src.settings import Settings
from replication import provenance

CODE = provenance.hash_of(("replication/score_readings.py",))  # of what made a result's scores
# The classifier in place of ours (squared hinge, C = 0.01). disentanglement_lib takes logistic
# regression. The hinge is solved in the dual, in passes that need not end: stopped at 10,000.
CLASSIFIERS = {
    "Z-diff, squared hinge, C 0.1": lambda: LinearSVC(C=0.1, dual=False),
    "Z-diff, squared hinge, C 1": lambda: LinearSVC(C=1.0, dual=False),
    "Z-diff, hinge, C 0.01": lambda: LinearSVC(
        C=0.01, loss="hinge", max_iter=10_000, random_state=0
    ),
    "Z-diff, hinge, C 0.1": lambda: LinearSVC(C=0.1, loss="hinge", max_iter=10_000, random_state=0),
    "Z-diff, hinge, C 1": lambda: LinearSVC(C=1.0, loss="hinge", max_iter=10_000, random_state=0),
    "Z-diff, logistic regression": lambda: LogisticRegression(max_iter=1_000),
}
STANDARDISED = "Z-diff, latents of variance 1"
FEWER = {f"SAP, {images:,} images": images for images in (2_500, 5_000)}
NAMES = (*CLASSIFIERS, STANDARDISED, *FEWER)


def score_readings(
    mu: Float[np.ndarray, "images latents"],
    factors: Integer[np.ndarray, "images factors"],
    discrete: Sequence[bool],
    settings: Settings,
    seed: int,
) -> dict[str, float]:
    """Each of NAMES: Z-diff in percent, SAP from 0 to 1.

    `settings` and `seed` are those that `scores_of_codes` takes, so that the pairs are the same.
    Latents that are constant stay so where the others get variance 1. Raises ValueError like both
    scores.
    """

    def z_diff(latents: np.ndarray) -> float:
        sizes = dict(train=settings.zdiff_train, test=settings.zdiff_test)
        return zdiff.z_diff_score(latents, factors, **sizes, seed=seed).accuracy

    found = {}
    for name, classifier in CLASSIFIERS.items():
        with mock.patch.object(zdiff, "classifier", classifier), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            found[name] = z_diff(mu)
    deviation = mu.std(axis=0)
    found[STANDARDISED] = z_diff(without_offset(mu)[0] / np.where(deviation > 0, deviation, 1))
    for name, images in FEWER.items():
        found[name] = sap_score(mu[:images], factors[:images], discrete).score
    return found
