"""The pieces of a natural gradient against dense linear algebra, and TRPO's promise."""

import math
from dataclasses import replace

import pytest
import torch
from small_policies import ACTION_SPACES, bits, make_batch, make_learner, mean_kl, rng
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch.func import functional_call

from agents.distribution import Gaussian
from agents.natural_gradient import (
    Trial,
    assign,
    backtrack,
    conjugate_gradient,
    fisher_product,
    flat,
    reached,
)
from agents.rule import Outcome, normalised
from agents.rules.npg import NPG
from agents.rules.trpo import TRPO


def positive(n: int, seed: int = 0) -> torch.Tensor:
    root = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T + torch.eye(n, dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 5, 30])
def test_conjugate_gradient_solves_the_linear_system(n):
    matrix, b = positive(n), torch.arange(1.0, n + 1, dtype=torch.float64)
    x = conjugate_gradient(lambda v: matrix @ v, b, iterations=3 * n, tolerance=1e-24)
    assert torch.allclose(x, torch.linalg.solve(matrix, b), rtol=1e-8)


def test_conjugate_gradient_is_exact_after_as_many_steps_as_there_are_eigenvalues():
    """Three different eigenvalues in twelve dimensions: two steps are not enough, three are."""
    matrix = torch.diag(torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64).repeat(4))
    b = torch.ones(12, dtype=torch.float64)
    exact = torch.linalg.solve(matrix, b)
    errors = [(conjugate_gradient(lambda v: matrix @ v, b, k) - exact).norm().item() for k in (2, 3)]
    assert errors[0] > 1e-2
    assert errors[1] < 1e-10


def test_conjugate_gradient_stops_where_there_is_no_positive_curvature():
    b = torch.ones(3)
    assert torch.equal(conjugate_gradient(lambda v: -v, b, 5), torch.zeros(3))
    assert torch.equal(conjugate_gradient(lambda v: v * float("nan"), b, 5), torch.zeros(3))


@pytest.mark.parametrize("kind", ACTION_SPACES)
def test_fisher_products_are_those_of_the_dense_hessian(kind):
    """Hessian of mean KL(old || new) at new = old, by torch.autograd.functional."""
    learner = make_learner(TRPO(), ACTION_SPACES[kind], net_arch=(4,))
    batch = make_batch(learner, size=20)
    old = learner.behaviour(batch.observations)
    kl = old.kl(learner.evaluate(batch).distribution).mean()
    parameters = reached(kl, learner.parameters)
    names = [name for name, p in learner.policy.named_parameters() if any(p is q for q in parameters)]
    sizes = [p.numel() for p in parameters]
    shapes = [p.shape for p in parameters]

    class Kl(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.policy = learner.policy

        def forward(self):
            return old.kl(learner.evaluate(batch).distribution).mean()

    def mean_kl_at(vector):
        pieces = zip(names, torch.split(vector, sizes), shapes, strict=True)
        return functional_call(Kl(), {f"policy.{n}": piece.view(s) for n, piece, s in pieces}, ())

    dense = torch.autograd.functional.hessian(mean_kl_at, flat([p.detach() for p in parameters]))
    v = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(0))
    product = fisher_product(kl, parameters, damping=0.1)(v)
    assert dense.abs().max() > 1e-3, "this case is too easy to test anything"
    assert torch.allclose(product, dense @ v + 0.1 * v, rtol=1e-3, atol=1e-5)


def test_the_gaussian_fisher_matrix_is_the_one_of_the_textbook():
    """diag(1/s², 2) for mean and log std of one normal distribution."""
    mean, log_std = torch.tensor([[0.3]], requires_grad=True), torch.tensor([[-0.5]], requires_grad=True)
    old = Gaussian(mean.detach(), log_std.detach().exp())
    product = fisher_product(old.kl(Gaussian(mean, log_std.exp())).sum(), [mean, log_std], damping=0.0)
    fisher = torch.stack([product(row) for row in torch.eye(2)])
    assert torch.allclose(fisher, torch.diag(torch.tensor([math.exp(1.0), 2.0])), atol=1e-5)


def test_a_full_step_has_the_kl_it_aims_at_to_second_order():
    """KL / max_kl - 1 shrinks with the root of max_kl: the error is the third order."""
    errors = []
    for limit in (1e-2, 1e-4):
        rule = NPG(max_kl=limit, cg_damping=0.0, cg_iterations=5, n_epochs=1)
        learner = make_learner(rule, ACTION_SPACES["discrete"], net_arch=(4,))
        batch = make_batch(learner)
        old = learner.behaviour(batch.observations)
        rule.update(learner, batch, rng())
        errors.append(abs(mean_kl(learner, batch, old) / limit - 1))
    assert errors[0] < 0.05
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.5)


@pytest.mark.parametrize(
    ("kls", "surrogates", "expected"),
    [
        ([0.1], [2.0], 1.0),
        ([0.9, 0.4, 0.2], [2.0, 2.0, 2.0], 0.5),
        ([0.1, 0.1, 0.1], [0.5, 1.0, 1.5], 0.25),
        ([math.inf, math.nan, 0.1], [2.0, 2.0, math.nan], None),
        ([0.9, 0.9, 0.9], [2.0, 2.0, 2.0], None),
        ([0.5], [2.0], 1.0),
    ],
    ids=["at once", "after the KL", "after the surrogate", "not finite", "never", "exactly at the limit"],
)
def test_backtracking_takes_the_first_trial_that_meets_both_conditions(kls, surrogates, expected):
    asked = []

    def trial(fraction: float) -> Trial:
        asked.append(fraction)
        return Trial(kls[len(asked) - 1], surrogates[len(asked) - 1])

    assert backtrack(trial, limit=0.5, surrogate=1.0, shrink=0.5, trials=len(kls)) == expected
    assert asked == [0.5**k for k in range(len(asked))]


def hard_case(rule, kind: str):
    """Advantages along which KL(old || new) grows faster than its quadratic model.

    Continuous: reward for the middle, so the deviation shrinks. Discrete: reward for a rare choice.
    """
    learner = make_learner(rule, ACTION_SPACES[kind])
    if kind == "discrete":
        with torch.no_grad():
            learner.policy.action_net.bias.copy_(torch.tensor([2.0, 2.0, -1.0]))
    batch = make_batch(learner, size=512)
    rewarded = -(batch.actions**2).sum(-1) if kind == "box" else (batch.actions == 2).float()
    return learner, replace(batch, advantages=rewarded)


@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_trpo_keeps_the_kl_limit_where_npg_breaks_it(kind):
    limit, kl = 0.5, {}
    for rule in (TRPO(max_kl=limit, cg_damping=1e-3), NPG(max_kl=limit, cg_damping=1e-3)):
        learner, batch = hard_case(rule, kind)
        old = learner.behaviour(batch.observations)
        assert rule.update(learner, batch, rng()) is Outcome.ACCEPTED
        kl[type(rule)] = mean_kl(learner, batch, old)
    assert kl[NPG] > limit, "this case is too easy to test anything"
    assert 0 < kl[TRPO] <= limit * (1 + 1e-6)


def test_the_whole_step_is_what_npg_takes_and_where_trpo_begins():
    """Where the line search has nothing to object to, the two are one rule to the last bit."""
    parameters, steps = [], []
    for rule in (NPG(max_kl=1e-4), TRPO(max_kl=1e-4), NPG(max_kl=4e-4)):
        learner = make_learner(rule)
        batch = make_batch(learner)
        policy = reached(learner.evaluate(batch).log_prob.sum(), learner.parameters)
        before = flat([p.detach() for p in policy])
        assert rule.update(learner, batch, rng()) is Outcome.ACCEPTED
        steps.append(flat([p.detach() for p in policy]) - before)
        parameters.append(bits(learner))
    assert parameters[0] == parameters[1] != parameters[2]
    assert steps[2].norm().item() == pytest.approx(2 * steps[0].norm().item(), rel=1e-3), (
        "sqrt(2 max_kl / s'Fs)"
    )


@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_the_entropy_bonus_enters_the_surrogate(kind):
    """Damping so heavy that F + damping is a multiple of the identity: the step is the gradient, by autograd."""
    steps = {}
    for ent_coef in (0.0, 3.0):
        rule = NPG(ent_coef=ent_coef, cg_damping=1e6, max_kl=5e3, vf_coef=0.0, n_epochs=1)
        learner = make_learner(rule, ACTION_SPACES[kind])
        with torch.no_grad():  # at its start a discrete policy has all the entropy there is
            learner.policy.action_net.weight *= 100
        batch = make_batch(learner)
        now = learner.evaluate(batch)
        gain = ((now.log_prob - batch.log_prob).exp() * normalised(batch.advantages)).mean()
        parameters = reached(now.log_prob.sum(), learner.parameters)
        gradient = flat(torch.autograd.grad(gain + ent_coef * now.entropy.mean(), parameters))
        before = flat([p.detach() for p in parameters])
        assert rule.update(learner, batch, rng()) is Outcome.ACCEPTED
        step = flat([p.detach() for p in parameters]) - before
        assert torch.allclose(step / step.norm(), gradient / gradient.norm(), atol=1e-3)
        assert step.norm().item() == pytest.approx(0.1, rel=1e-3), "sqrt(2 max_kl / damping)"
        steps[ent_coef] = step / step.norm()
    assert steps[0.0] @ steps[3.0] < 0.9, "this case is too easy to test anything"


def test_the_line_search_counts_the_entropy_bonus():
    """Without advantages the bonus alone makes a surrogate, and every accepted step must improve it."""
    learner = make_learner(TRPO(), ACTION_SPACES["discrete"])
    with torch.no_grad():
        learner.policy.action_net.bias.copy_(torch.tensor([2.0, 0.0, -1.0]))
    batch = make_batch(learner)
    batch.advantages[:] = 0.0
    assert TRPO().update(learner, batch, rng()) is Outcome.NO_GRADIENT
    entropy = learner.evaluate(batch).entropy.mean().item()
    old = learner.behaviour(batch.observations)
    assert TRPO(ent_coef=0.1).update(learner, batch, rng()) is Outcome.ACCEPTED
    assert learner.evaluate(batch).entropy.mean().item() > entropy + 1e-2
    assert mean_kl(learner, batch, old) <= TRPO().max_kl * (1 + 1e-6)


def test_trpo_keeps_the_limit_over_many_updates():
    rule = TRPO(max_kl=0.02)
    learner = make_learner(rule)
    for seed in range(10):
        batch = make_batch(learner, seed=seed)
        old = learner.behaviour(batch.observations)
        rule.update(learner, batch, rng(seed))
        assert mean_kl(learner, batch, old) <= 0.02 * (1 + 1e-6)


def policy_bits(learner, names=("action_net", "policy_net", "log_std")) -> bytes:
    parameters = learner.policy.named_parameters()
    return b"".join(p.detach().numpy().tobytes() for name, p in parameters if any(n in name for n in names))


def test_a_failed_line_search_leaves_the_policy_as_it_was_to_the_last_bit():
    rule = TRPO(max_kl=5.0, line_search_trials=1, cg_damping=1e-3)
    learner, batch = hard_case(rule, "box")
    before = policy_bits(learner), bits(learner)
    assert rule.update(learner, batch, rng()) is Outcome.REJECTED
    assert policy_bits(learner) == before[0]
    assert bits(learner) != before[1], "the value function is trained all the same"
    assert rule.update(learner, batch, rng()) is Outcome.REJECTED
    assert TRPO(max_kl=5.0, cg_damping=1e-3).update(learner, batch, rng()) is Outcome.ACCEPTED


@pytest.mark.parametrize("rule", [TRPO(), NPG()], ids=["trpo", "npg"])
@pytest.mark.parametrize(("advantage", "size"), [(0.0, 128), (0.1, 1000), (123.456, 1000)])
def test_without_a_preference_there_is_no_gradient(rule, advantage, size):
    """Normalised, a thousand times 0.1 is not a thousand zeros: the mean is rounded, and so is what is left."""
    learner = make_learner(rule)
    batch = make_batch(learner, size=size)
    batch.advantages[:] = advantage
    if advantage:
        assert normalised(batch.advantages).abs().max() > 0.1, "this case is too easy to test anything"
    before = policy_bits(learner)
    assert rule.update(learner, batch, rng()) is Outcome.NO_GRADIENT
    assert policy_bits(learner) == before


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_step_does_not_depend_on_the_unit_of_the_advantages(scale):
    """Not normalised, they scale the gradient, and a natural-gradient step has the length the KL allows."""
    ends = []
    for unit in (1.0, scale):
        rule = NPG(normalize_advantage=False)
        learner = make_learner(rule)
        batch = make_batch(learner)
        old = learner.behaviour(batch.observations)
        scaled = replace(batch, advantages=batch.advantages * unit)
        assert rule.update(learner, scaled, rng()) is Outcome.ACCEPTED
        ends.append(mean_kl(learner, batch, old))
    assert ends[0] > 1e-3
    assert ends[1] == pytest.approx(ends[0], rel=0.02)


def test_a_flat_divergence_has_no_curvature():
    """Zero Fisher matrix and no damping: s'Fs = 0 is no length to divide by."""
    x = torch.ones(3, requires_grad=True)
    step = TRPO(cg_damping=0.0).full_step(surrogate=x.sum(), kl=(0 * x**2).sum(), parameters=[x])
    assert step is Outcome.NO_CURVATURE


class Shared(BaseFeaturesExtractor):
    """One layer that policy and value function both see through, as convolutions are."""

    def __init__(self, space):
        super().__init__(space, features_dim=5)
        self.layer = torch.nn.Linear(3, 5)

    def forward(self, observations):
        return self.layer(observations)


def test_value_steps_do_not_move_what_the_policy_sees_through():
    """Or the KL that the line search has just bounded would be anything again."""
    rule = TRPO(learning_rate=1e-2)
    learner = make_learner(rule, extractor=Shared)
    with torch.no_grad():
        learner.policy.action_net.weight *= 100  # at its start the policy hardly looks
    batch = make_batch(learner)
    old = learner.behaviour(batch.observations)
    loss = learner.value_loss(batch)
    seen_by_both = reached(loss, list(learner.policy.features_extractor.parameters()))
    assert len(seen_by_both) == 2, "this case is too easy to test anything"
    assert rule.update(learner, batch, rng()) is Outcome.ACCEPTED
    assert 0 < mean_kl(learner, batch, old) <= rule.max_kl * (1 + 1e-6)
    assert learner.value_loss(batch) < loss


def test_the_value_function_trains_on_the_minibatches_of_a_first_order_rule_and_leaves_the_policy_alone():
    rule = TRPO()
    learner = make_learner(rule)
    batch = make_batch(learner)
    policy = reached(learner.evaluate(batch).log_prob.sum(), learner.parameters)
    before = policy_bits(learner)
    generator, expected = rng(4), rng(4)
    assert rule.fit_values(learner, batch, generator, policy)
    assert policy_bits(learner) == before
    for _ in range(rule.n_epochs):
        expected.permutation(len(batch))
    assert repr(generator.get_state()) == repr(expected.get_state())


def test_parameters_keep_their_own_memory():
    """A view into one long vector would be saved once per parameter, and safetensors refuses it."""
    learner = make_learner(TRPO())
    TRPO().update(learner, make_batch(learner), rng())
    for parameter in learner.parameters:
        assert parameter.untyped_storage().nbytes() == parameter.numel() * parameter.element_size()


def test_assign_and_flat_are_inverse():
    learner = make_learner(TRPO())
    vector = torch.arange(sum(p.numel() for p in learner.parameters), dtype=torch.float32)
    assign(learner.parameters, vector)
    assert torch.equal(flat(learner.parameters).detach(), vector)
