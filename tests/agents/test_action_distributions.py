"""Divergences against numerical integration, torch's own, and sums over all joint actions."""

import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm
from small_policies import ACTION_SPACES
from stable_baselines3.common import distributions as sb3
from torch.distributions import Normal, kl_divergence

from agents.distribution import Bernoulli, Categorical, Gaussian, read


def test_gaussian_kl_is_the_integral():
    p = Gaussian(torch.tensor([[0.3]]), torch.tensor([[0.7]]))
    q = Gaussian(torch.tensor([[-0.4]]), torch.tensor([[1.9]]))

    def integrand(x: float) -> float:
        a, b = Normal(0.3, 0.7), Normal(-0.4, 1.9)
        at = torch.tensor(x, dtype=torch.float64)
        return float(a.log_prob(at).exp() * (a.log_prob(at) - b.log_prob(at)))

    assert p.kl(q).item() == pytest.approx(quad(integrand, -8, 8)[0], rel=1e-5)


def test_gaussian_kl_is_summed_over_dimensions_not_averaged():
    """17 dimensions that each move by 0.1 sigma: 17 * 0.005, where an average would say 0.005."""
    one = Gaussian(torch.zeros(1, 1), torch.ones(1, 1)).kl(
        Gaussian(torch.full((1, 1), 0.1), torch.ones(1, 1))
    )
    many = Gaussian(torch.zeros(1, 17), torch.ones(1, 17)).kl(
        Gaussian(torch.full((1, 17), 0.1), torch.ones(1, 17))
    )
    assert one.item() == pytest.approx(0.005, rel=1e-5)
    assert many.item() == pytest.approx(17 * 0.005, rel=1e-5)


def test_gaussian_kl_agrees_with_torch_and_has_its_direction():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(2, 40, 3, generator=generator, dtype=torch.float64)
    std = torch.rand(2, 40, 3, generator=generator, dtype=torch.float64) + 0.1
    p, q = Gaussian(mean[0], std[0]), Gaussian(mean[1], std[1])
    theirs = kl_divergence(Normal(mean[0], std[0]), Normal(mean[1], std[1])).sum(-1)
    assert torch.allclose(p.kl(q), theirs, rtol=1e-12)
    assert not torch.allclose(p.kl(q), q.kl(p), rtol=0.1)


def test_gaussian_kl_keeps_its_digits_for_tiny_steps():
    """log std moves by 1e-3: 1e-6 to first order, where the textbook form in float32 has rounding of 1e-7."""
    old = Gaussian(torch.zeros(1, 1), torch.ones(1, 1))
    new = Gaussian(torch.zeros(1, 1), torch.full((1, 1), 1e-3).exp())
    d = -float(new.std.double().log())
    exact = 0.5 * (np.expm1(2 * d) - 2 * d)
    textbook = -torch.log(old.std / new.std) + (old.std**2) / (2 * new.std**2) - 0.5
    assert abs(textbook.item() / exact - 1) > 1e-2, "this case is too easy to test anything"
    assert old.kl(new).item() == pytest.approx(exact, rel=2e-3)


def test_gaussian_log_densities_are_those_that_sb3_stores_in_a_batch():
    """To the bit, or a first ratio would not be 1; and for several agents at once."""
    generator = torch.Generator().manual_seed(3)
    mean, actions = torch.randn(2, 4, 6, 2, generator=generator)
    log_std = 0.3 * torch.randn(2, generator=generator)
    together = Gaussian(mean, log_std.exp().expand_as(mean)).log_prob(actions)
    assert together.shape == (4, 6)
    by_scipy = norm.logpdf(actions.numpy(), mean.numpy(), log_std.exp().numpy()).sum(-1)
    assert np.allclose(together.numpy(), by_scipy, rtol=1e-5)
    for agent in range(4):
        made = sb3.make_proba_distribution(ACTION_SPACES["box"]).proba_distribution(mean[agent], log_std)
        assert torch.equal(together[agent], made.log_prob(actions[agent]))
        assert torch.equal(read(made).log_prob(actions[agent]), together[agent])


@pytest.mark.parametrize("kind", ["categorical", "bernoulli"])
def test_discrete_kl_is_the_sum_over_all_joint_actions(kind):
    generator = torch.Generator().manual_seed(1)
    if kind == "categorical":
        p = [torch.log_softmax(torch.randn(1, n, generator=generator), -1) for n in (2, 3, 4)]
        q = [torch.log_softmax(torch.randn(1, n, generator=generator), -1) for n in (2, 3, 4)]
        ours = Categorical(tuple(p)).kl(Categorical(tuple(q)))
    else:
        logits = torch.randn(2, 1, 3, generator=generator)
        ours = Bernoulli(logits[0]).kl(Bernoulli(logits[1]))
        p, q = (
            [
                torch.log(torch.stack([1 - torch.sigmoid(row), torch.sigmoid(row)], -1))
                for row in side[0, :, None]
            ]
            for side in logits
        )
    total = 0.0
    for action in itertools.product(*(range(part.shape[-1]) for part in p)):
        a = sum(float(part[0, k]) for part, k in zip(p, action, strict=True))
        b = sum(float(part[0, k]) for part, k in zip(q, action, strict=True))
        total += np.exp(a) * (a - b)
    assert ours.item() == pytest.approx(total, rel=1e-5)


def test_an_action_that_has_become_impossible_costs_much_but_is_no_nan():
    old = Categorical((torch.log_softmax(torch.tensor([[0.0, 0.0]]), -1),))
    new = Categorical((torch.log_softmax(torch.tensor([[0.0, -300.0]]), -1),))
    assert old.kl(new).item() == pytest.approx(150 - np.log(2), rel=1e-4)
    assert new.kl(old).item() == pytest.approx(np.log(2), rel=1e-4)


@pytest.mark.parametrize("kind", ACTION_SPACES)
def test_parameters_are_read_from_sb3_as_its_own_divergence_sees_them(kind):
    space = ACTION_SPACES[kind]
    generator = torch.Generator().manual_seed(2)

    def distribution() -> sb3.Distribution:
        made = sb3.make_proba_distribution(space)
        size = {"box": 2, "discrete": 3, "multidiscrete": 5, "multibinary": 2}[kind]
        outputs = torch.randn(6, size, generator=generator)
        if kind == "box":
            return made.proba_distribution(outputs, torch.randn(2, generator=generator) * 0.3)
        return made.proba_distribution(outputs)

    p, q = distribution(), distribution()
    theirs = sb3.kl_divergence(p, q)
    if theirs.ndim == 2:
        theirs = theirs.sum(-1)  # SB3 leaves the sum over dimensions to its caller
    assert torch.allclose(read(p).kl(read(q)), theirs, rtol=1e-4, atol=1e-6)


def test_rows_are_the_rows():
    p = Gaussian(torch.arange(12.0).reshape(6, 2), torch.ones(6, 2))
    index = torch.tensor([4, 0])
    assert torch.equal(p.rows(index).mean, torch.tensor([[8.0, 9.0], [0.0, 1.0]]))
    several = Gaussian(p.mean.expand(3, 6, 2), p.std.expand(3, 6, 2))
    assert torch.equal(several.rows(index).mean, p.rows(index).mean.expand(3, 2, 2))


def test_a_distribution_without_a_closed_form_is_refused():
    made = sb3.StateDependentNoiseDistribution(2)
    with pytest.raises(TypeError, match="StateDependentNoiseDistribution"):
        read(made)
