"""The objectives against answers known by hand, by Monte Carlo, by numpy, by torch.distributions
and by finite differences.

python -m pytest tests/dipvae_src/test_losses.py
"""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from dipvae_src.losses import (
    bernoulli_nll,
    beta_vae,
    covariance_of_means,
    dip_penalty,
    dip_vae_i,
    dip_vae_ii,
    gaussian_nll,
    joint_third_central_moments,
    kl_to_standard_normal,
    negative_elbo,
    running_covariance,
    third_central_moments,
    third_moment_penalty,
    total_covariance,
)


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def encoder_outputs(batch: int, latents: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and log-variances with a correlated, shifted, skewed code, so that no term of any
    moment vanishes.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, latents, generator=generator, dtype=torch.float64)
    mixing = torch.eye(latents, dtype=torch.float64) + 0.5
    mu = (noise + 0.3 * noise**2) @ mixing + torch.arange(latents)
    log_var = (
        torch.randn(batch, latents, generator=generator, dtype=torch.float64) * 0.7
        + 0.2 * noise
        - 0.5
    )
    return mu, log_var


def perfect_for_ii(latents: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of 2^latents corners with Cov(mu) = 0.5 I exactly, and sigma^2 = 0.5: Cov(z) = I."""
    corners = torch.cartesian_prod(*[tensor([-1.0, 1.0])] * latents)  # (2^D, D), covariance I
    return math.sqrt(0.5) * corners, torch.full_like(corners, math.log(0.5))


# --- the penalty on a matrix ---


@pytest.mark.parametrize(
    ("matrix", "lambda_od", "lambda_d", "expected"),
    [
        (
            torch.ones(10, 10),
            1.0,
            1.0,
            90.0,
        ),  # 90 ordered pairs of 1; the diagonal is where it should be
        (torch.zeros(10, 10), 7.0, 3.0, 30.0),  # 10 * 3 * (0 - 1)^2
        (torch.eye(10), 7.0, 3.0, 0.0),
        (2 * torch.eye(10), 7.0, 3.0, 30.0),  # 10 * 3 * (2 - 1)^2
        (
            torch.tensor([[3.0, 0.5], [0.5, 0.0]]),
            10.0,
            100.0,
            505.0,
        ),  # 10 * 2 * 0.25 + 100 * (4 + 1)
        (
            torch.tensor([[1.0, -2.0], [-2.0, 1.0]]),
            1.0,
            100.0,
            8.0,
        ),  # the pair (1, 2) counts twice, its sign does not
    ],
)
def test_penalty_by_hand(matrix, lambda_od, lambda_d, expected):
    assert dip_penalty(matrix, lambda_od, lambda_d).item() == pytest.approx(expected, rel=1e-6)


def test_each_weight_scales_its_own_term():
    matrix = tensor([[1.5, 0.3], [0.3, 0.2]])
    off_diagonal, diagonal = dip_penalty(matrix, 1.0, 0.0), dip_penalty(matrix, 0.0, 1.0)
    assert off_diagonal.item() == pytest.approx(0.18)  # 2 * 0.09
    assert diagonal.item() == pytest.approx(0.89)  # 0.25 + 0.64
    assert dip_penalty(matrix, 5.0, 50.0).item() == pytest.approx(5 * 0.18 + 50 * 0.89)


def test_penalty_is_the_double_loop_of_the_equation():
    matrix = total_covariance(*encoder_outputs(20, 5))
    expected = 0.0
    for i in range(5):
        for j in range(5):
            c = matrix[i, j].item()
            expected += 3.0 * c**2 if i != j else 11.0 * (c - 1) ** 2
    assert dip_penalty(matrix, 3.0, 11.0).item() == pytest.approx(expected, rel=1e-12)


# --- the covariance of the means ---


def test_covariance_of_means_by_hand():
    mu = tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]])  # centred: (-2, -1), (0, -1), (2, 2)
    assert torch.allclose(covariance_of_means(mu), tensor([[8 / 3, 2.0], [2.0, 2.0]]))


def test_covariance_of_means_is_numpys_with_divisor_b():
    mu, _ = encoder_outputs(50, 6)
    np.testing.assert_allclose(
        covariance_of_means(mu), np.cov(mu.numpy(), rowvar=False, bias=True), atol=1e-12
    )


def test_covariance_of_one_image_is_zero():
    assert torch.equal(
        covariance_of_means(tensor([[3.0, -7.0]])), torch.zeros(2, 2, dtype=torch.float64)
    )


@pytest.mark.parametrize(
    "moment", [total_covariance, third_central_moments, joint_third_central_moments]
)
def test_moments_keep_their_value_when_shifted_permuted_or_duplicated(moment):
    mu, log_var = encoder_outputs(40, 4)
    expected = moment(mu, log_var)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(
        moment(mu + tensor([5.0, -3.0, 0.0, 100.0]), log_var), expected, atol=1e-8
    )
    assert torch.allclose(moment(mu[order], log_var[order]), expected)
    assert torch.allclose(moment(mu.repeat(3, 1), log_var.repeat(3, 1)), expected)


def test_covariances_are_symmetric_and_positive_semidefinite():
    mu, log_var = encoder_outputs(4, 8)  # fewer images than latents: rank 3 at most
    for matrix in (covariance_of_means(mu), total_covariance(mu, log_var)):
        assert torch.allclose(matrix, matrix.T, rtol=0, atol=1e-12)
        assert torch.linalg.eigvalsh(matrix).min() > -1e-12
    assert torch.linalg.matrix_rank(covariance_of_means(mu)) == 3


def test_rotating_the_code_rotates_its_covariance():
    mu, _ = encoder_outputs(30, 4)
    matrix = torch.randn(4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert torch.allclose(
        covariance_of_means(mu @ matrix.T), matrix @ covariance_of_means(mu) @ matrix.T
    )


# --- the covariance of z ---


def sample_mixture(mu: torch.Tensor, log_var: torch.Tensor, draws: int) -> torch.Tensor:
    """`draws` samples of z from each q(z|x) of the batch: together they are samples of q(z).
    Independent of the package.
    """
    noise = torch.randn(
        draws, *mu.shape, generator=torch.Generator().manual_seed(3), dtype=mu.dtype
    )
    return (mu + log_var.div(2).exp() * noise).flatten(0, 1)  # (draws * B, D)


def test_total_covariance_against_monte_carlo():
    mu, log_var = encoder_outputs(8, 3)
    z = sample_mixture(mu, log_var, 100_000)
    centred = z - z.mean(dim=0)
    products = centred[:, :, None] * centred[:, None, :]  # (draws * B, D, D)
    bound = 5 * products.std(dim=0) / math.sqrt(len(z))  # five standard errors of each entry
    estimate = products.mean(dim=0)
    assert (total_covariance(mu, log_var) - estimate).abs().le(bound).all()
    # the bound tells the right matrix from one without the variances, and from one with sigma^4 in
    # place of sigma^2
    assert (covariance_of_means(mu) - estimate).abs().gt(bound).diagonal().all()
    assert (total_covariance(mu, 2 * log_var) - estimate).abs().gt(bound).diagonal().any()


def test_total_covariance_by_hand():
    mu = tensor([[-1.0, 0.0], [1.0, 0.0]])
    log_var = tensor([[1.0, 0.25], [3.0, 4.0]]).log()
    assert torch.allclose(total_covariance(mu, log_var), tensor([[1 + 2.0, 0.0], [0.0, 2.125]]))


def test_log_var_changes_the_diagonal_alone():
    mu, log_var = encoder_outputs(30, 5)
    difference = total_covariance(mu, log_var) - covariance_of_means(mu)
    off_diagonal = ~torch.eye(5, dtype=torch.bool)
    assert torch.equal(difference[off_diagonal], torch.zeros(20, dtype=torch.float64))
    np.testing.assert_allclose(
        difference.diagonal(), np.exp(log_var.numpy()).mean(axis=0), rtol=1e-10
    )


def test_perfect_solution_of_ii_costs_nothing():
    mu, log_var = perfect_for_ii(4)
    assert dip_penalty(total_covariance(mu, log_var), 10.0, 10.0).item() == pytest.approx(
        0.0, abs=1e-24
    )
    # I asks the means themselves for unit variance: 4 * 100 * 0.5^2
    assert dip_penalty(covariance_of_means(mu), 10.0, 100.0).item() == pytest.approx(100.0)


# --- the third moments ---


def test_third_moments_by_hand():
    mu = tensor([[-1.0], [-1.0], [2.0]])  # E[d^3] = (-1 - 1 + 8) / 3 = 2
    assert third_central_moments(mu, torch.zeros_like(mu)).item() == pytest.approx(
        2.0
    )  # a constant variance adds nothing
    variances = tensor([[1.0], [1.0], [4.0]])  # 3 E[d sigma^2] = 3 * (-1 - 1 + 8) / 3 = 6
    assert third_central_moments(mu, variances.log()).item() == pytest.approx(8.0)


def test_third_moments_of_a_symmetric_code_are_zero():
    mu, log_var = perfect_for_ii(3)
    assert torch.allclose(
        third_central_moments(mu, log_var), torch.zeros(3, dtype=torch.float64), atol=1e-15
    )


def test_third_moments_against_monte_carlo():
    mu, log_var = encoder_outputs(8, 3)
    z = sample_mixture(mu, log_var, 100_000)
    cubes = (z - mu.mean(dim=0)) ** 3
    bound = 5 * cubes.std(dim=0) / math.sqrt(len(z))
    assert (third_central_moments(mu, log_var) - cubes.mean(dim=0)).abs().le(bound).all()
    # the bound is tight enough to notice a missing E[d sigma^2]
    means_alone = ((mu - mu.mean(dim=0)) ** 3).mean(dim=0)
    assert (means_alone - cubes.mean(dim=0)).abs().gt(bound).any()


def test_third_moment_penalty_is_the_l2_norm():
    assert third_moment_penalty(tensor([3.0, 0.0, -4.0]), 200.0).item() == pytest.approx(1000.0)


def test_third_moment_penalty_has_a_finite_gradient_at_zero():
    mu, log_var = (t.requires_grad_() for t in perfect_for_ii(2))
    third_moment_penalty(third_central_moments(mu, log_var) * 0, 200.0).backward()
    assert mu.grad.isfinite().all() and log_var.grad.isfinite().all()


# --- all third moments ---


def test_joint_third_moments_by_hand():
    """Two images, d = (-1, -2) and (1, 2), variances (1, 5) and (3, 1): E[d sigma^2] is 1, 2 with
    sigma_0^2 and -2, -4 with sigma_1^2.
    """
    moments = joint_third_central_moments(
        tensor([[-1.0, -2.0], [1.0, 2.0]]), tensor([[1.0, 5.0], [3.0, 1.0]]).log()
    )
    # E[d d d] = 0. i = j = k: 3 E[d_i sigma_i^2]; two alike and one other: E[d_other sigma_alike^2]
    assert torch.allclose(
        moments, tensor([[[3.0, 2.0], [2.0, -2.0]], [[2.0, -2.0], [-2.0, -12.0]]]), atol=1e-12
    )


def test_joint_third_moments_are_the_triple_loop_of_their_definition():
    """Each image's z is mu + sigma e: the product of three of its latents' deviations, its mean
    taken index by index.
    """
    mu, log_var = encoder_outputs(11, 4)
    d, variance = (mu - mu.mean(dim=0)).tolist(), log_var.exp().tolist()
    moments = joint_third_central_moments(mu, log_var)
    assert moments.shape == (4, 4, 4)
    for i in range(4):
        for j in range(4):
            for k in range(4):
                expected = 0.0
                for b in range(11):
                    expected += d[b][i] * d[b][j] * d[b][k]
                    expected += (
                        d[b][i] * variance[b][j] if j == k else 0.0
                    )  # E[e_j e_k] = 1 where j = k
                    expected += d[b][j] * variance[b][i] if i == k else 0.0
                    expected += d[b][k] * variance[b][i] if i == j else 0.0
                assert moments[i, j, k].item() == pytest.approx(
                    expected / 11, rel=1e-10, abs=1e-12
                ), (i, j, k)


def test_joint_third_moments_against_monte_carlo():
    mu, log_var = encoder_outputs(8, 3)
    z = sample_mixture(mu, log_var, 50_000)
    centred = z - mu.mean(dim=0)
    products = torch.einsum("bi,bj,bk->bijk", centred, centred, centred)
    bound, estimate = 5 * products.std(dim=0) / math.sqrt(len(z)), products.mean(dim=0)
    assert (joint_third_central_moments(mu, log_var) - estimate).abs().le(bound).all()
    # the bound notices where the shared noise of two equal indices is left out
    d = mu - mu.mean(dim=0)
    means_alone = torch.einsum("bi,bj,bk->ijk", d, d, d) / len(d)
    assert (means_alone - estimate).abs().gt(bound).any()


def test_joint_third_moments_have_the_marginal_ones_on_their_diagonal():
    mu, log_var = encoder_outputs(30, 5)
    moments = joint_third_central_moments(mu, log_var)
    each = torch.arange(5)
    assert torch.allclose(moments[each, each, each], third_central_moments(mu, log_var), rtol=1e-12)
    for order in (
        (0, 2, 1),
        (1, 0, 2),
        (1, 2, 0),
        (2, 0, 1),
        (2, 1, 0),
    ):  # the order of a triple means nothing
        assert torch.allclose(moments.permute(*order), moments, rtol=1e-10, atol=1e-12)


def test_permuting_the_latents_permutes_the_joint_third_moments():
    mu, log_var = encoder_outputs(30, 5)
    moments, order = joint_third_central_moments(mu, log_var), torch.tensor([3, 0, 4, 2, 1])
    permuted = joint_third_central_moments(mu[:, order], log_var[:, order])
    assert torch.allclose(permuted, moments[order][:, order][:, :, order], rtol=1e-10, atol=1e-12)
    assert not torch.allclose(permuted, moments)


def test_joint_third_moments_of_a_symmetric_code_are_zero():
    mu, log_var = perfect_for_ii(3)
    assert joint_third_central_moments(mu, log_var).abs().max() < 1e-15


# --- a running covariance ---


def test_running_covariance_by_hand():
    covariance, before = tensor([[2.0, 0.4], [0.4, 1.0]]), tensor([[1.0, 0.0], [0.0, 3.0]])
    expected = tensor([[1.1, 0.04], [0.04, 2.8]])  # 0.9 of what was and 0.1 of what is
    assert torch.allclose(running_covariance(covariance, before, 0.9), expected)
    assert torch.equal(running_covariance(covariance, before, 0.0), covariance)


def test_running_covariance_of_a_code_that_stays_the_same_comes_to_it():
    covariance, running = tensor([[2.0, 0.4], [0.4, 1.0]]), torch.eye(2, dtype=torch.float64)
    for steps in range(1, 30):
        running = running_covariance(covariance, running, 0.9)
        assert torch.allclose(
            running - covariance, 0.9**steps * (torch.eye(2).double() - covariance)
        )


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_a_running_covariance_passes_the_minibatchs_gradient_on(memory):
    """dC_running/dmu = dC/dmu whatever the memory: only the matrix at which the penalty's own slope
    is taken is another.
    """
    mu, log_var = (t.requires_grad_() for t in encoder_outputs(12, 4))
    before = 0.5 * torch.eye(4, dtype=torch.float64)
    weights = torch.linspace(-1, 1, 16, dtype=torch.float64).view(4, 4)
    gradients = []
    for running in (False, True):
        covariance = total_covariance(mu, log_var)
        covariance = running_covariance(covariance, before, memory) if running else covariance
        gradients.append(torch.autograd.grad((weights * covariance).sum(), (mu, log_var)))
    for own, minibatch in zip(*gradients):
        assert torch.allclose(own, minibatch, rtol=1e-12, atol=0) and minibatch.abs().max() > 0.01


def test_objectives_take_the_covariance_they_are_given():
    mu, log_var = encoder_outputs(16, 4)
    nll, given = torch.zeros(16, dtype=torch.float64), 2 * torch.eye(4, dtype=torch.float64) + 0.5
    expected = (
        10.0 * 12 * 0.25 + 100.0 * 4 * 1.5**2
    )  # 12 ordered pairs of 0.5, four diagonal entries of 2.5
    for loss in (
        dip_vae_i(nll, mu, log_var, 10.0, 100.0, given),
        dip_vae_ii(nll, mu, log_var, 10.0, 100.0, covariance=given),
    ):
        assert loss.penalty.item() == pytest.approx(expected) == 930
        assert loss.total.item() == pytest.approx(expected + loss.kl.item())


def test_joint_third_moments_take_the_place_of_the_marginal_ones():
    mu, log_var = encoder_outputs(16, 4)
    nll = torch.zeros(16, dtype=torch.float64)
    for joint, moments in ((False, third_central_moments), (True, joint_third_central_moments)):
        expected = 200 * np.linalg.norm(moments(mu, log_var).flatten().numpy())
        assert dip_vae_ii(nll, mu, log_var, 0.0, 0.0, 200.0, joint).penalty.item() == pytest.approx(
            expected
        )


# --- gradients ---


def penalty_i(mu):
    return dip_penalty(covariance_of_means(mu), 3.0, 7.0)


def penalty_ii(mu, log_var):
    return dip_penalty(total_covariance(mu, log_var), 3.0, 7.0)


def penalty_3(mu, log_var):
    return third_moment_penalty(third_central_moments(mu, log_var), 5.0)


def penalty_joint(mu, log_var):
    return third_moment_penalty(joint_third_central_moments(mu, log_var).flatten(), 5.0)


def test_gradients_against_finite_differences():
    mu, log_var = (t.requires_grad_() for t in encoder_outputs(5, 3))
    assert torch.autograd.gradcheck(penalty_i, (mu,))
    assert torch.autograd.gradcheck(penalty_ii, (mu, log_var))
    assert torch.autograd.gradcheck(penalty_3, (mu, log_var))
    assert torch.autograd.gradcheck(penalty_joint, (mu, log_var))


@pytest.mark.parametrize("kind", ["I", "II"])
def test_gradient_is_the_closed_form(kind):
    """dP/dC = G with G_ij = 2 lambda_od C_ij and G_ii = 2 lambda_d (C_ii - 1); dP/dmu = 2/B (mu -
    mean) G; dP/dlog_var = G_ii sigma^2 / B.
    """
    mu, log_var = (t.requires_grad_() for t in encoder_outputs(12, 4))
    (penalty_i(mu) if kind == "I" else penalty_ii(mu, log_var)).backward()
    with torch.no_grad():
        c = covariance_of_means(mu) if kind == "I" else total_covariance(mu, log_var)
        g = 2 * 3.0 * c
        g.diagonal().copy_(2 * 7.0 * (c.diagonal() - 1))
        assert torch.allclose(mu.grad, 2 / 12 * (mu - mu.mean(dim=0)) @ g)
        if kind == "II":
            assert torch.allclose(log_var.grad, log_var.exp() * g.diagonal() / 12)


def test_every_log_variance_gets_a_gradient_from_ii_and_none_from_i():
    mu, log_var = (t.requires_grad_() for t in encoder_outputs(64, 10))
    nll = torch.zeros(64, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(dip_vae_ii(nll, mu, log_var, 10.0, 10.0).penalty, log_var)
    assert gradient.ne(0).all()
    (gradient,) = torch.autograd.grad(
        dip_vae_i(nll, mu, log_var, 10.0, 100.0).penalty,
        log_var,
        allow_unused=True,
        materialize_grads=True,
    )
    assert gradient.eq(0).all()


# --- the bound ---


def test_bernoulli_nll_by_hand():
    logits = tensor([[0.0, math.log(3)], [0.0, math.log(3)]])  # probabilities 1/2 and 3/4
    images = tensor([[1.0, 0.0], [1.0, 1.0]])
    expected = tensor([math.log(2) + math.log(4), math.log(2) + math.log(4 / 3)])
    assert torch.allclose(bernoulli_nll(logits, images), expected)


def test_bernoulli_nll_is_torchs_and_stays_finite():
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(3, 50, generator=generator, dtype=torch.float64)
    images = torch.randint(0, 2, (3, 50), generator=generator).double()
    expected = -Bernoulli(logits=logits).log_prob(images).sum(dim=1)
    assert torch.allclose(bernoulli_nll(logits, images), expected)
    assert bernoulli_nll(tensor([[1000.0, -1000.0]]), tensor([[0.0, 0.0]])).tolist() == [1000.0]


@pytest.mark.parametrize("pixel", [-0.1, 1.5, 255.0, math.nan, math.inf])
def test_bernoulli_nll_refuses_pixels_that_are_no_probabilities(pixel):
    logits, images = torch.zeros(2, 3), torch.tensor([[0.0, 0.5, 1.0], [0.0, pixel, 1.0]])
    with pytest.raises(ValueError, match="pixels from 0 to 1, not .*: divide bytes by 255"):
        bernoulli_nll(logits, images)
    assert bernoulli_nll(logits, images, check=False).shape == (2,)
    images[1, 1] = 0.25
    assert torch.equal(bernoulli_nll(logits, images), bernoulli_nll(logits, images, check=False))


def test_gaussian_nll_by_hand_and_up_to_its_constant():
    means, images = tensor([[0.0, 1.0], [2.0, 2.0]]), tensor([[1.0, 3.0], [2.0, 2.0]])
    assert gaussian_nll(means, images).tolist() == [2.5, 0.0]
    constant = 2 * 0.5 * math.log(2 * math.pi)
    assert torch.allclose(
        gaussian_nll(means, images) + constant, -Normal(means, 1.0).log_prob(images).sum(dim=1)
    )


def test_kl_by_hand_and_against_torch():
    # mean 1: 1/2. variance 2: (2 - 1 - ln 2) / 2
    kl = kl_to_standard_normal(
        tensor([[1.0, 0.0], [0.0, 0.0]]), tensor([[0.0, math.log(2)], [0.0, 0.0]])
    )
    assert kl.tolist() == pytest.approx([0.5 + (1 - math.log(2)) / 2, 0.0])
    mu, log_var = encoder_outputs(20, 4)
    expected = kl_divergence(
        Normal(mu, log_var.div(2).exp()), Normal(tensor(0.0), tensor(1.0))
    ).sum(dim=1)
    assert torch.allclose(kl_to_standard_normal(mu, log_var), expected)


def test_parts_are_batch_means_and_sum_to_the_total():
    mu, log_var = encoder_outputs(16, 4)
    nll = torch.linspace(100, 200, 16, dtype=torch.float64)
    kl = kl_to_standard_normal(mu, log_var).mean().item()

    loss = beta_vae(nll, mu, log_var, beta=4.0)
    assert loss.reconstruction.item() == pytest.approx(150.0)
    assert loss.kl.item() == pytest.approx(kl)  # the KL itself, not yet weighted
    assert loss.penalty.item() == 0.0
    assert loss.total.item() == pytest.approx(150 + 4 * kl)

    loss = dip_vae_i(nll, mu, log_var, 10.0, 100.0)
    penalty = dip_penalty(covariance_of_means(mu), 10.0, 100.0).item()
    assert loss.penalty.item() == pytest.approx(penalty)
    assert loss.total.item() == pytest.approx(150 + kl + penalty)

    loss = dip_vae_ii(nll, mu, log_var, 10.0, 20.0, lambda_3=200.0)
    penalty = dip_penalty(total_covariance(mu, log_var), 10.0, 20.0).item()
    penalty += 200 * np.linalg.norm(third_central_moments(mu, log_var))
    assert loss.penalty.item() == pytest.approx(penalty)
    assert loss.total.item() == pytest.approx(150 + kl + penalty)


def test_without_weights_every_objective_is_the_negative_elbo():
    mu, log_var = encoder_outputs(16, 4)
    nll = torch.linspace(100, 200, 16, dtype=torch.float64)
    expected = nll.mean() + kl_to_standard_normal(mu, log_var).mean()
    for loss in (
        negative_elbo(nll, mu, log_var),
        beta_vae(nll, mu, log_var, beta=1.0),
        dip_vae_i(nll, mu, log_var, 0.0, 0.0),
        dip_vae_ii(nll, mu, log_var, 0.0, 0.0, 0.0),
    ):
        assert loss.total.item() == pytest.approx(expected.item(), rel=1e-12)
