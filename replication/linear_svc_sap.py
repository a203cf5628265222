"""NOT the paper's SAP: what disentanglement_lib and the libraries that follow it report as SAP.

from replication.linear_svc_sap import sap_score_linear_svc
sap_score_linear_svc(latents, factors).score
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Shaped

from dipvae_src.sap import SAP, check_codes, check_whole
from dipvae_src.zdiff import classifier, for_classifier


@no_type_check  # its own checks say more
def sap_score_linear_svc(
    latents: Float[np.ndarray, "samples latents"],
    factors: Shaped[np.ndarray, "samples factors"],
    *,
    train: int = 10_000,
    test: int = 5_000,
    seed: int = 0,
) -> SAP:
    """That score of latents (N, D) for factors (N, K).

    Every factor counts as discrete. S_ij is the plain accuracy, on `test` held-out samples, of a
    one-variable LinearSVC(C=0.01, class_weight="balanced") fitted on `train` others; the two sets
    are drawn from the rows by `seed`. A linear classifier on one variable cannot tell many ordered
    classes apart (the one-vs-rest lines leave most classes no interval), so the score of a perfect
    code is far below 1; and as the SVM's penalty covers the offset too, shifting or scaling a
    latent changes it. No latent counts as inactive. Raises ValueError like `z_diff_score`.
    """
    latents, factors = check_codes(latents, factors)
    check_whole(0, seed=seed)
    check_whole(1, train=train, test=test)
    if (wanted := train + test) > len(latents):
        there = f"there are {len(latents)}"
        raise ValueError(f"train + test = {wanted} samples were asked for, but {there}")
    latents = for_classifier(latents)
    rows = np.random.default_rng(seed).permutation(len(latents))
    fit, held_out = rows[:train], rows[train : train + test]

    matrix = np.zeros((latents.shape[1], factors.shape[1]))
    for j in range(factors.shape[1]):
        classes = np.unique(factors[:, j], return_inverse=True)[1]
        if len(np.unique(classes[fit])) < 2:
            wrong = f"factor {j} takes one value only in the {train} training samples"
            raise ValueError(f"{wrong}; raise train")
        for i in range(latents.shape[1]):
            svc = classifier("balanced").fit(latents[fit, i : i + 1], classes[fit])
            matrix[i, j] = svc.score(latents[held_out, i : i + 1], classes[held_out])
    return SAP(matrix, np.ones(len(matrix), dtype=bool))
