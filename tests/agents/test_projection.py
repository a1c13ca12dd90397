"""TRPL's projections against their bounds, their metrics and finite differences, and the rule's own loss."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy.linalg import sqrtm
from small_policies import make_batch, make_learner, rng

from agents.distribution import Gaussian
from agents.learner import reached
from agents.projection import covariance_distance, mean_distance, project
from agents.rule import Outcome
from agents.rules.ppo_noclip import PPONoClip
from agents.rules.trpl import TRPL

METRICS = ("frobenius", "w2")
MEAN_BOUND, COV_BOUND = 0.085, 0.02
BOX_OF_ONE = spaces.Box(-1.0, 1.0, (1,))
every_metric = pytest.mark.parametrize("metric", METRICS)


def pair(*shape: int, spread: float = 0.3, seed: int = 0, dtype=torch.float64) -> tuple[Gaussian, Gaussian]:
    """New and old policies of this shape [..., B, A]; some states within the bounds, some far beyond."""
    generator = torch.Generator().manual_seed(seed)

    def noise() -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    old = Gaussian(noise(), (0.3 * noise()).exp())
    reach = torch.logspace(-2, 0.5, shape[-2], dtype=dtype)[:, None]  # from the first state to the last
    return Gaussian(old.mean + spread * reach * noise(), old.std * (spread * reach * noise()).exp()), old


def drawn(metric: str, new: Gaussian, old: Gaussian) -> Gaussian:
    return project(new, old, metric, MEAN_BOUND, COV_BOUND)


@every_metric
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_beyond_its_bound_a_state_is_put_on_the_bound_and_within_it_is_not_touched(metric, dtype, tolerance):
    new, old = pair(200, 3, dtype=dtype)
    projected = drawn(metric, new, old)
    for distance, bound, before, after in (
        (mean_distance, MEAN_BOUND, new.mean, projected.mean),
        (lambda n, o: covariance_distance(n, o, metric), COV_BOUND, new.std, projected.std),
    ):
        beyond = distance(new, old) > bound
        assert 40 < beyond.sum() < 160, "this case is too easy to test anything"
        assert distance(new, old).max() > 20 * bound, "this case is too easy to test anything"
        at = distance(projected, old)[beyond]
        assert torch.allclose(at, torch.full_like(at, bound), rtol=tolerance, atol=0)
        assert torch.equal(after[~beyond], before[~beyond])
        assert (after[beyond] != before[beyond]).any(-1).all()


@every_metric
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_within_a_wide_bound_every_policy_comes_back_to_the_last_bit(metric, dtype):
    """Also one so far away that even the whole way, old + (new - old), would lose digits."""
    new, _ = pair(200, 3, seed=1, dtype=dtype)
    _, old = pair(200, 3, seed=2, dtype=dtype)
    for there, here in ((new.mean, old.mean), (new.std, old.std)):
        assert (here + (there - here) != there).any(), "this case is too easy to test anything"
    projected = project(new, old, metric, mean_bound=1e6, cov_bound=1e6)
    assert torch.equal(projected.mean, new.mean)
    assert torch.equal(projected.std, new.std)


@every_metric
def test_no_policy_within_the_bound_is_nearer_to_the_new_one(metric):
    """The root of each distance is a norm, so none is nearer than root(d) - root(bound): it is attained."""
    new, old = pair(200, 3)
    projected = drawn(metric, new, old)
    beyond = mean_distance(new, old) > MEAN_BOUND
    least = (mean_distance(new, old).sqrt() - MEAN_BOUND**0.5)[beyond]
    way = ((((new.mean - projected.mean) / old.std) ** 2).sum(-1).sqrt())[beyond]
    assert torch.allclose(way, least, rtol=1e-10)

    beyond = covariance_distance(new, old, metric) > COV_BOUND
    least = (covariance_distance(new, old, metric).sqrt() - COV_BOUND**0.5)[beyond]
    gap = new.std**2 - projected.std**2 if metric == "frobenius" else (new.std - projected.std) / old.std
    assert torch.allclose((gap**2).sum(-1).sqrt()[beyond], least, rtol=1e-10)


def test_mean_and_covariance_do_not_wait_for_each_other():
    old = Gaussian(torch.zeros(1, 2), torch.ones(1, 2))
    far = Gaussian(torch.full((1, 2), 3.0), torch.full((1, 2), 3.0))
    for metric in METRICS:
        assert torch.equal(drawn(metric, Gaussian(far.mean, old.std), old).std, old.std)
        assert torch.equal(drawn(metric, Gaussian(old.mean, far.std), old).mean, old.mean)


def test_the_covariance_distances_are_those_of_matrices():
    """Frobenius norm of the difference; Wasserstein-2 with actions in units of the old deviation."""
    new, old = pair(4, 3)
    for state in range(4):
        a, b = (np.diag(p.std[state].numpy() ** 2) for p in (new, old))
        frobenius = np.linalg.norm(a - b, "fro") ** 2
        assert covariance_distance(new, old, "frobenius")[state].item() == pytest.approx(frobenius, rel=1e-10)
        units = np.diag(1 / old.std[state].numpy())
        a, b = units @ a @ units, units @ b @ units
        w2 = np.trace(a + b - 2 * sqrtm(sqrtm(b) @ a @ sqrtm(b)))
        assert covariance_distance(new, old, "w2")[state].item() == pytest.approx(w2, rel=1e-8)


@every_metric
def test_gradients_are_those_of_finite_differences_inside_and_outside(metric):
    new, old = pair(12, 2)
    mean, std = new.mean.clone().requires_grad_(), new.std.clone().requires_grad_()
    for distance, bound in (
        (mean_distance(new, old), MEAN_BOUND),
        (covariance_distance(new, old, metric), COV_BOUND),
    ):
        assert (distance > 1.1 * bound).any(), "this case is too easy to test anything"
        assert (distance < 0.9 * bound).any(), "this case is too easy to test anything"

    def parameters(mean, std):
        projected = drawn(metric, Gaussian(mean, std), old)
        return projected.mean, projected.std

    assert torch.autograd.gradcheck(parameters, (mean, std))


@every_metric
def test_at_the_old_policy_gradients_pass_unchanged(metric):
    """Where the derivative of a root of the distance would be infinite."""
    _, old = pair(5, 2)
    mean, std = old.mean.clone().requires_grad_(), old.std.clone().requires_grad_()
    projected = drawn(metric, Gaussian(mean, std), old)
    for parameter, out in ((mean, projected.mean), (std, projected.std)):
        assert torch.equal(torch.autograd.grad(out.sum(), parameter)[0], torch.ones_like(parameter))


@every_metric
def test_several_agents_at_once_equal_one_after_the_other(metric):
    new, old = pair(3, 2, 40, 3)
    together = drawn(metric, new, old)
    for i in range(3):
        for j in range(2):
            alone = drawn(
                metric, Gaussian(new.mean[i, j], new.std[i, j]), Gaussian(old.mean[i, j], old.std[i, j])
            )
            assert torch.equal(alone.mean, together.mean[i, j])
            assert torch.equal(alone.std, together.std[i, j])


@every_metric
def test_the_rule_judges_the_projection_and_pulls_the_network_towards_it(metric):
    """Its loss and gradient against the formulas, at a policy that is far beyond both bounds."""
    rule = TRPL(metric=metric, regression=2.5, vf_coef=0.0, normalize_advantage=False)
    learner = make_learner(rule)
    batch = make_batch(learner)
    past = rule.past(learner, batch)
    with torch.no_grad():
        learner.policy.action_net.bias += torch.tensor([1.5, -0.4])
        learner.policy.log_std += torch.tensor([-0.8, 0.2])
    view = rule.look(learner, batch, past)
    raw, old = view.now.distribution, past.distribution
    assert (mean_distance(raw, old) > 5 * rule.mean_bound).all(), "this case is too easy to test anything"
    assert (covariance_distance(raw, old, metric) > 5 * rule.cov_bound).all()

    # The formulas once more, with the factor on the way written as the paper has it.
    w = (mean_distance(raw, old) / rule.mean_bound).sqrt()[:, None] - 1
    mean = (raw.mean + w * old.mean) / (1 + w)
    n = (covariance_distance(raw, old, metric) / rule.cov_bound).sqrt()[:, None] - 1
    power = 2 if metric == "frobenius" else 1
    std = ((raw.std**power + n * old.std**power) / (1 + n)) ** (1 / power)
    normal = torch.distributions.Normal
    ratio = (normal(mean, std).log_prob(batch.actions).sum(-1) - batch.log_prob).exp()
    regression = (((raw.mean - mean.detach()) / std.detach()) ** 2).sum(-1)
    by_hand = -(ratio * batch.advantages).mean() + 2.5 * regression.mean()

    assert torch.allclose(view.ratio, ratio, rtol=1e-4)
    kl = torch.distributions.kl_divergence(normal(old.mean, old.std), normal(mean, std)).sum(-1)
    assert torch.allclose(view.kl, kl, rtol=1e-3)
    assert (old.kl(raw) > 5 * kl).all(), "this case is too easy to test anything"
    ours = rule.loss(learner, view)
    assert torch.allclose(ours, by_hand, rtol=1e-4)
    parameters = reached(by_hand, learner.parameters)
    for a, b in zip(
        torch.autograd.grad(ours, parameters, retain_graph=True),
        torch.autograd.grad(by_hand, parameters),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5)


def test_what_is_judged_stays_within_the_bounds_while_the_network_leaves_them():
    """And the stronger the regression, the less far it leaves."""
    beyond = []
    for regression in (0.0, 1.0, 100.0):
        rule = TRPL(learning_rate=1e-2, regression=regression)
        learner = make_learner(rule)
        batch = make_batch(learner)
        past = rule.past(learner, batch)
        assert rule.update(learner, batch, rng()) is Outcome.ACCEPTED
        view = rule.look(learner, batch, past)
        raw, old, judged = view.now.distribution, past.distribution, view.projected
        assert mean_distance(judged, old).max() <= rule.mean_bound * (1 + 1e-4)
        assert covariance_distance(judged, old, rule.metric).max() <= rule.cov_bound * (1 + 1e-3)
        beyond.append(mean_distance(raw, old).mean().item() / rule.mean_bound)
    assert beyond[0] > 3, "this case is too easy to test anything"
    assert beyond[0] > beyond[1] > beyond[2]


@every_metric
@pytest.mark.parametrize("spread", [-2.0, 0.0, 1.0])
def test_the_deviation_that_acts_meets_its_bound_after_every_step(metric, spread):
    """To the digits that float32 has, and never beyond it. Without a projection the same steps go far beyond."""

    def distances(kind: type[PPONoClip], **settings: object) -> list[float]:
        """Of the covariance from its start, as the policy would act: before every minibatch and at the end."""
        found: list[float] = []

        @dataclass(frozen=True, kw_only=True)
        class Watched(kind):
            def look(self, learner, minibatch, past):
                view = super().look(learner, minibatch, past)
                found.append(from_start(view.now.distribution, past.distribution))
                return view

        def from_start(now: Gaussian, old: Gaussian) -> float:
            return covariance_distance(now, old, metric).max().item()

        rule = Watched(learning_rate=1e-2, **settings)
        learner = make_learner(rule)
        with torch.no_grad():
            learner.policy.log_std.fill_(spread)
        batch = make_batch(learner)
        old = learner.behaviour(batch.observations)
        assert rule.update(learner, batch, rng()) is Outcome.ACCEPTED
        assert not learner.policy.optimizer._optimizer_step_post_hooks
        return [*found, from_start(learner.behaviour(batch.observations), old)]

    bound = 5e-4 * (np.exp(4 * spread) if metric == "frobenius" else 1.0)  # in units of the actions
    held = distances(TRPL, metric=metric, cov_bound=bound)
    assert max(distances(PPONoClip)) > 10 * bound, "this case is too easy to test anything"
    assert max(held) <= bound
    assert max(held) == pytest.approx(bound, rel=2e-3)


def test_a_deviation_at_its_bound_still_has_a_gradient():
    """Rounding that puts it beyond would leave it there: the projection's slope along its own way is zero."""
    rule = TRPL(learning_rate=1e-2)
    learner = make_learner(rule, BOX_OF_ONE)
    batch = make_batch(learner)
    past = rule.past(learner, batch)
    assert rule.update(learner, batch, rng()) is Outcome.ACCEPTED
    view = rule.look(learner, batch, past)
    distance = covariance_distance(view.now.distribution, past.distribution, rule.metric)
    assert (distance > 0.99 * rule.cov_bound).all(), "this case is too easy to test anything"
    assert torch.autograd.grad(view.ratio.sum(), learner.policy.log_std)[0].abs() > 1e-3


def test_the_log_says_how_far_the_acting_policy_is_from_the_old_one():
    rule = TRPL(learning_rate=1e-2, cov_bound=1e-3, mean_bound=0.5)
    learner = make_learner(rule)
    batch = make_batch(learner)
    old = learner.behaviour(batch.observations)
    assert rule.update(learner, batch, rng()) is Outcome.ACCEPTED
    new = learner.behaviour(batch.observations)
    far = ((new.mean - old.mean) / old.std).square().sum(-1) / 0.5
    expected = {
        "mean_over_bound": far.mean().item(),
        "share_beyond_mean_bound": (far > 1).double().mean().item(),
        "covariance_over_bound": ((new.std / old.std - 1) ** 2).sum(-1).mean().item() / 1e-3,
    }
    assert 0.1 < expected["share_beyond_mean_bound"] < 0.9, "this case is too easy to test anything"
    for name, value in expected.items():
        (noted,) = learner.notes[name]
        assert noted.item() == pytest.approx(value, rel=1e-5), name
