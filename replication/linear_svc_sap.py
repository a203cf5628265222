"""NOT the paper's SAP: the score that disentanglement_lib and the libraries that follow it report under that name.

from replication.linear_svc_sap import sap_score_linear_svc
sap_score_linear_svc(latents, factors).score
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Shaped
from sklearn.svm import LinearSVC

from dipvae_src.sap import SAP, check_codes, sap_of


@no_type_check  # its own checks say more
def sap_score_linear_svc(
    latents: Float[np.ndarray, "samples latents"],
    factors: Shaped[np.ndarray, "samples factors"],
    *,
    train: int = 10_000,
    test: int = 5_000,
    seed: int = 0,
) -> SAP:
    """What disentanglement_lib and the libraries that follow it report as SAP.

    Every factor counts as discrete. S_ij is the plain accuracy, on `test` held-out samples, of a one-variable
    LinearSVC(C=0.01, class_weight="balanced") fitted on `train` others; the two sets are drawn from the rows by `seed`.
    A linear classifier on one variable cannot tell many ordered classes apart (the one-vs-rest lines leave most classes
    no interval), so the score of a perfect code is far below 1; and as the SVM's penalty covers the offset too,
    shifting or scaling a latent changes it. No latent counts as inactive. Raises ValueError like `sap_score`.
    """
    latents, factors = check_codes(latents, factors)
    for name, size in (("train", train), ("test", test)):
        if not isinstance(size, (int, np.integer)) or size < 1:
            raise ValueError(f"{name} is a number of samples, at least 1; got {size!r}")
    if train + test > len(latents):
        raise ValueError(
            f"train + test = {train + test} samples were asked for, but there are {len(latents)}"
        )
    rows = np.random.default_rng(seed).permutation(len(latents))
    fit, held_out = rows[:train], rows[train : train + test]

    matrix = np.zeros((latents.shape[1], factors.shape[1]))
    for j in range(factors.shape[1]):
        classes = np.unique(factors[:, j], return_inverse=True)[1]
        if len(np.unique(classes[fit])) < 2:
            raise ValueError(
                f"factor {j} takes one value only in the {train} training samples; raise train"
            )
        for i in range(latents.shape[1]):
            # scikit-learn's defaults moved (dual: True until 1.4, then "auto"), so none is relied upon. The primal
            # problem is solved without random numbers and converges in a few Newton steps.
            svc = LinearSVC(
                C=0.01, class_weight="balanced", penalty="l2", loss="squared_hinge", dual=False, multi_class="ovr",
                fit_intercept=True, intercept_scaling=1.0, tol=1e-4, max_iter=10_000, random_state=0,
            )  # fmt: skip
            svc.fit(latents[fit, i : i + 1], classes[fit])
            matrix[i, j] = svc.score(latents[held_out, i : i + 1], classes[held_out])
    return sap_of(matrix, np.ones(len(matrix), dtype=bool))
