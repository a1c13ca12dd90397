"""Rules that look at how far the policy has gone, and stop, penalise or slow down: each one's own sentence."""

import statistics
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_policies import bits, make_batch, make_learner, mean_kl, rng
from torch import Tensor

from agents.batch import minibatches
from agents.learner import Learner
from agents.rule import FirstOrderRule
from agents.rules.espo import ESPO
from agents.rules.ppo import PPO
from agents.rules.ppo_adaptive_lr import PPOAdaptiveLR
from agents.rules.ppo_early_stop import PPOEarlyStop
from agents.rules.ppo_kl import PPOKL
from agents.rules.ppo_kl_fixed import PPOKLFixed
from agents.rules.ppo_noclip import PPONoClip

FAST = {"learning_rate": 1e-2, "n_epochs": 10}


@dataclass(frozen=True)
class Look:
    """What a rule saw before a step, and what it decided."""

    ratio: Tensor
    policy: bytes
    stopped: bool


def watched_update(rule: type[FirstOrderRule], learner: Learner, **settings: object) -> list[Look]:
    """One update; what was seen before each step that was asked for."""
    looks: list[Look] = []

    @dataclass(frozen=True, kw_only=True)
    class Watched(rule):
        def stops(self, view):
            stopped = super().stops(view)
            looks.append(Look(view.ratio.detach(), bits(learner), stopped))
            return stopped

    Watched(**FAST, **settings).update(learner, make_batch(learner), rng())
    return looks


def estimated_kl(ratio: Tensor) -> float:
    """The estimate of KL(old || new) that is never negative: mean of  ratio - 1 - log ratio."""
    ratio = ratio.double()
    return (ratio - 1 - ratio.log()).mean().item()


def deviation(ratio: Tensor) -> float:
    return (ratio - 1).abs().mean().item()


@pytest.mark.parametrize(
    ("rule", "without", "measure", "limit", "settings"),
    [
        (PPOEarlyStop, PPO, estimated_kl, 0.03, {"target_kl": 0.02}),
        (ESPO, PPONoClip, deviation, 0.2, {"max_deviation": 0.2}),
    ],
    ids=["ppo-early-stop", "espo"],
)
def test_the_update_ends_before_the_step_on_the_first_minibatch_that_is_too_far(
    rule, without, measure, limit, settings
):
    """The policy is left as that minibatch found it, and equal to the rule without a stop until then."""
    learner, free = make_learner(rule()), make_learner(without())
    looks, all_looks = watched_update(rule, learner, **settings), watched_update(without, free)
    assert [look.stopped for look in looks] == [False] * (len(looks) - 1) + [True]
    assert 1 < len(looks) < len(all_looks) == 20, "this case is too easy to test anything"
    assert all(measure(look.ratio) <= limit for look in looks[:-1])
    assert measure(looks[-1].ratio) > limit
    assert bits(learner) == looks[-1].policy
    assert [look.policy for look in looks] == [look.policy for look in all_looks[: len(looks)]]
    assert max(measure(look.ratio) for look in all_looks) > 1.5 * limit, "it would have gone on"


@pytest.mark.parametrize("rule", [PPOEarlyStop, ESPO], ids=["ppo-early-stop", "espo"])
def test_the_default_limit_ends_an_update_that_moves_fast(rule):
    looks = watched_update(rule, make_learner(rule()))
    assert 1 < len(looks) < 20
    assert looks[-1].stopped


def test_espo_stops_at_half_its_limit_in_total_variation():
    """Ten actions of a three-sided coin, exactly as frequent as the coin is fair: mean |ratio - 1| is 2 TV."""
    old, new = (torch.tensor(p, dtype=torch.float64) for p in ([0.5, 0.3, 0.2], [0.35, 0.3, 0.35]))
    actions = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    ratio = (new / old)[actions]
    total_variation = 0.5 * (new - old).abs().sum().item()
    view = SimpleNamespace(ratio=ratio)
    assert ESPO(max_deviation=2 * total_variation * (1 - 1e-9)).stops(view)
    assert not ESPO(max_deviation=2 * total_variation * (1 + 1e-9)).stops(view)


def test_early_stop_judges_the_estimate_from_the_actions_that_were_taken():
    """The mean of k3 and not the exact KL, which differs from it on a batch of this size."""
    learner = make_learner(PPOEarlyStop())
    batch = make_batch(learner)
    past = PPO().past(learner, batch)
    PPO(**FAST).update(learner, batch, rng())
    view = PPO().look(learner, batch, past)
    log_ratio = learner.evaluate(batch).log_prob.double() - batch.log_prob.double()
    estimate, exact = (log_ratio.exp() - 1 - log_ratio).mean().item(), view.kl.mean().item()
    assert abs(estimate / exact - 1) > 0.01, "this case is too easy to test anything"
    assert PPOEarlyStop(target_kl=estimate / 1.5 * 0.999).stops(view)
    assert not PPOEarlyStop(target_kl=estimate / 1.5 * 1.001).stops(view)


def coefficient_after(mean_kl: float, before: float = 1.0, **settings: float) -> float:
    kl_coef = torch.tensor(before)
    after = PPOKL(**settings).next_kl_coef(torch.tensor(mean_kl), kl_coef)
    assert kl_coef.item() == pytest.approx(before), "an entry is replaced, not edited"
    return after.item()


@pytest.mark.parametrize("target", [0.003, 0.03])
def test_ppo_kl_doubles_above_one_and_a_half_targets_and_halves_below_two_thirds(target):
    for kl, factor in [
        (1.501, 2.0),
        (100.0, 2.0),
        (1.499, 1.0),
        (1.0, 1.0),
        (0.667, 1.0),
        (0.666, 0.5),
        (0, 0.5),
    ]:
        assert coefficient_after(kl * target, 3.0, target_kl=target) == 3.0 * factor


def test_ppo_kls_coefficient_stays_within_its_bounds_and_comes_back_from_both():
    """A hundred updates that go too far, or nowhere, and ten of the other kind: RLlib's grew to infinity."""
    bounds = {"min_kl_coef": 0.25, "max_kl_coef": 8.0}
    for kl, bound, way_back in [(1e9, 8.0, 0.25), (0.0, 0.25, 8.0)]:
        coefficient = 1.0
        for _ in range(100):
            coefficient = coefficient_after(kl, coefficient, **bounds)
        assert coefficient == bound
        for _ in range(10):
            coefficient = coefficient_after(1e9 - kl, coefficient, **bounds)
        assert coefficient == way_back


def test_ppo_kl_steers_each_of_several_agents_by_itself():
    after = PPOKL(target_kl=0.01).next_kl_coef(torch.tensor([[0.1], [0.01], [0.001]]), torch.ones(3, 1))
    assert after.tolist() == [[2.0], [1.0], [0.5]]


def test_ppo_kl_measures_the_exact_mean_kl_of_the_whole_batch_after_the_update():
    """The target has no say in the first update, so that targets a thousandth apart find the KL that was read."""

    def run(target: float) -> tuple[float, float, float]:
        rule = PPOKL(target_kl=target, **FAST)
        learner = make_learner(rule)
        batch = make_batch(learner)
        old = learner.behaviour(batch.observations)
        rule.update(learner, batch, rng())
        estimates = learner.notes["approx_kl"]
        return learner.memory["kl_coef"].item(), mean_kl(learner, batch, old), estimates[-1].item()

    _, kl, estimate = run(0.01)
    assert kl > 0.01
    assert abs(estimate / kl - 1) > 0.01, "the last minibatch would do: too easy to test anything"
    assert run(kl / 1.5 * 0.999)[0] == 2.0
    assert run(kl / 1.5 * 1.001)[0] == 1.0
    assert run(kl * 1.5 * 0.999)[0] == 1.0
    assert run(kl * 1.5 * 1.001)[0] == 0.5


def test_ppo_kl_finds_the_weight_that_gives_its_target():
    """Twenty updates on fresh batches, from a weight that is a hundred times too small."""
    rule = PPOKL(target_kl=0.02, initial_kl_coef=0.01, **FAST)
    learner = make_learner(rule)
    kls = []
    for seed in range(20):
        batch = make_batch(learner, seed=seed)
        old = learner.behaviour(batch.observations)
        rule.update(learner, batch, rng(seed))
        kls.append(mean_kl(learner, batch, old))
    assert min(kls[:5]) > 3 * 0.02, "this case is too easy to test anything"
    assert 0.3 < learner.memory["kl_coef"] < 10
    assert 0.01 < statistics.median(kls[8:]) < 0.04


def test_the_penalties_slope_in_the_kl_is_their_weight():
    ratio, advantage = torch.rand(3, 9), torch.randn(3, 9)
    kl = torch.rand(3, 9, requires_grad=True)
    weights = torch.tensor([[0.5], [1.0], [4.0]])
    adaptive = PPOKL().objective(ratio, advantage, kl, weights)
    assert torch.equal(torch.autograd.grad(adaptive.sum(), kl)[0], -weights.expand(3, 9))
    fixed = PPOKLFixed(kl_coef=4.0).objective(ratio, advantage, kl)
    assert torch.equal(fixed[2], adaptive[2])


def test_a_heavier_penalty_keeps_the_policy_nearer_and_none_is_noclip():
    kl = []
    for rule in (
        PPONoClip(**FAST),
        *(PPOKLFixed(kl_coef=weight, **FAST) for weight in (0.0, 1.0, 3.0, 10.0)),
    ):
        learner = make_learner(rule)
        batch = make_batch(learner)
        old = learner.behaviour(batch.observations)
        rule.update(learner, batch, rng())
        kl.append(mean_kl(learner, batch, old))
    assert kl[0] == kl[1] > 0.1
    assert kl[1] > 1.5 * kl[2]
    assert kl[2] > 4 * kl[3]
    assert kl[3] > 4 * kl[4]


def test_the_first_update_of_ppo_kl_is_that_of_a_fixed_penalty_to_the_last_bit():
    ends = []
    for rule in (PPOKL(initial_kl_coef=7.0, **FAST), PPOKLFixed(kl_coef=7.0, **FAST)):
        learner = make_learner(rule)
        rule.update(learner, make_batch(learner), rng())
        ends.append(bits(learner))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("target", [0.01, 0.1])
def test_the_learning_rate_follows_the_kl_within_its_bounds(target):
    rule = PPOAdaptiveLR(target_kl=target, min_learning_rate=1e-4, max_learning_rate=1e-2)

    def after(kl: float, rate: float = 1e-3) -> float:
        # A minibatch whose states differ, with this mean.
        seen = torch.tensor([0.5, 1.5]) * kl * target
        return rule.next_learning_rate(seen, torch.tensor(rate)).item()

    for kl, factor in [
        (2.01, 1 / 1.5),
        (1.99, 1.0),
        (1.0, 1.0),
        (0.51, 1.0),
        (0.49, 1.5),
        (1e-6, 1.5),
        (0.0, 1.0),
    ]:
        assert after(kl) == pytest.approx(1e-3 * factor, rel=1e-6), kl
    assert after(50.0, 1.2e-4) == pytest.approx(1e-4)
    assert after(0.1, 9e-3) == pytest.approx(1e-2)


def test_on_the_hosts_rollout_the_default_minibatch_keeps_the_rate_between_its_bounds():
    """Four minibatches an epoch. With 32 of them the rate is at its lower bound most of the time."""

    def rates(updates: int, **settings: int) -> list[float]:
        rule, used = PPOAdaptiveLR(**settings), []
        learner = make_learner(rule)
        optimizer, step = learner.policy.optimizer, learner.policy.optimizer.step
        optimizer.step = lambda: (used.append(optimizer.param_groups[0]["lr"]), step())  # type: ignore[method-assign]
        for seed in range(updates):
            rule.update(learner, make_batch(learner, size=2048, seed=seed), rng(seed))
        return used

    many, default = rates(1, batch_size=64), rates(3)
    assert np.mean(np.array(many) < 1.01e-5) > 0.5, "this case is too easy to test anything"
    assert len(default) == 3 * 5 * 4
    assert min(default) > 1e-4
    assert max(default) > 1e-3, "it does move"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"learning_rate": 2e-2}, "learning_rate 0.02 is not within"),
        ({"learning_rate": 1e-6}, "learning_rate 1e-06 is not within"),
        ({"min_learning_rate": 1e-2, "max_learning_rate": 1e-3}, "min_learning_rate 0.01 is above"),
    ],
)
def test_a_learning_rate_outside_its_bounds_is_a_mistake(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        PPOAdaptiveLR(**settings)
    PPOAdaptiveLR(learning_rate=1e-2)
    PPOAdaptiveLR(learning_rate=1e-5)


def test_the_optimizer_uses_the_rate_that_the_exact_kl_of_each_minibatch_asks_for():
    """By hand over two updates: the second begins with the rate at which the first has ended."""
    rule = PPOAdaptiveLR(learning_rate=5e-3, n_epochs=3, batch_size=64)
    learner, used = make_learner(rule), []
    optimizer, step = learner.policy.optimizer, learner.policy.optimizer.step
    optimizer.step = lambda: (used.append(optimizer.param_groups[0]["lr"]), step())  # type: ignore[method-assign]
    by_hand = make_learner(rule)
    expected, rate = [], 5e-3
    for seed in (0, 1):
        batch = make_batch(learner, seed=seed)
        rule.update(learner, batch, rng(seed))

        old, order = by_hand.behaviour(batch.observations), rng(seed)
        by_hand.training(True)
        for _ in range(3):
            for rows in minibatches(len(batch), 64, order):
                view = PPO().look(by_hand, batch.rows(rows), PPO().past(by_hand, batch.rows(rows)))
                kl = old.rows(rows).kl(view.now.distribution).mean().item()
                rate = rate / 1.5 if kl > 0.02 else rate * 1.5 if 0 < kl < 0.005 else rate
                rate = min(max(rate, 1e-5), 1e-2)
                expected.append(rate)
                by_hand.set_learning_rate(rate)
                by_hand.descend(PPO().loss(by_hand, view), 0.5)
    assert used == pytest.approx(expected, rel=1e-5)
    assert learner.memory["learning_rate"].item() == pytest.approx(rate, rel=1e-5)
    assert min(used) < 5e-3 < max(used), "this case is too easy to test anything"
    for ours, theirs in zip(learner.parameters, by_hand.parameters, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
