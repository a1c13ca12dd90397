"""Rules whose objective alone bounds a sample: each one's own sentence, in values and slopes."""

import pytest
import torch
from small_policies import make_batch, make_learner, mean_kl, rng
from torch import Tensor

from agents.rule import FirstOrderRule
from agents.rules.ppo import PPO
from agents.rules.ppo_dual_clip import PPODualClip
from agents.rules.ppo_noclip import PPONoClip
from agents.rules.ppo_rollback import PPORollback
from agents.rules.spo import SPO
from agents.rules.tr_ppo import TRPPO
from agents.rules.truly_ppo import TrulyPPO

RATIO = torch.linspace(0.2, 5.0, 241, dtype=torch.float64)


def judged(
    rule: FirstOrderRule, ratio: Tensor, advantage: float, kl: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """The objective at each ratio, and its slopes in ratio and KL."""
    ratio = ratio.clone().requires_grad_()
    divergence = torch.full_like(ratio, kl).requires_grad_()
    value = rule.objective(ratio, torch.full_like(ratio, advantage), divergence)
    slopes = torch.autograd.grad(value.sum(), (ratio, divergence), allow_unused=True, materialize_grads=True)
    return value.detach(), *slopes


@pytest.mark.parametrize("width", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("advantage", [2.0, -0.7])
def test_spos_best_ratio_is_1_plus_width_towards_the_advantage(width, advantage):
    rule, sign = SPO(width=width), 1.0 if advantage > 0 else -1.0
    best = torch.tensor([1 + width * sign], dtype=torch.float64)
    top, slope, _ = judged(rule, best, advantage)
    assert slope.item() == pytest.approx(0, abs=1e-12)
    assert top.item() == pytest.approx(advantage + abs(advantage) * width / 2)

    value, slope, _ = judged(rule, RATIO, advantage)
    assert (value <= top + 1e-12).all()
    expected = advantage - abs(advantage) * (RATIO - 1) / width
    assert torch.allclose(slope, expected), "the way back becomes steeper the further a ratio has gone"


def test_spo_brings_a_ratio_back_that_ppo_leaves_where_it_is():
    """Gradient ascent on one sample of advantage 1, from ratio 3."""
    ends = {}
    for rule in (PPO(clip_range=0.2), SPO(width=0.2)):
        ratio = torch.tensor([3.0], dtype=torch.float64)
        for _ in range(200):
            ratio = ratio + 0.02 * judged(rule, ratio, 1.0)[1]
        ends[type(rule)] = ratio.item()
    assert ends[PPO] == 3.0, "this case is too easy to test anything"
    assert ends[SPO] == pytest.approx(1.2, abs=1e-6)


@pytest.mark.parametrize("rollback", [0.02, 0.3])
@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_rollback_slopes_back_only_beyond_the_band_on_the_side_that_the_advantage_asks_for(
    rollback, advantage
):
    rule = PPORollback(clip_range=0.2, rollback=rollback)
    _, slope, _ = judged(rule, RATIO, advantage)
    beyond = RATIO > 1.2 + 1e-6 if advantage > 0 else RATIO < 0.8 - 1e-6
    within = RATIO < 1.2 - 1e-6 if advantage > 0 else RATIO > 0.8 + 1e-6
    assert torch.allclose(slope[beyond], torch.tensor(-rollback * advantage, dtype=torch.float64))
    assert (slope[within] == advantage).all(), "also on the far side: the way back stays open"
    assert (judged(PPO(clip_range=0.2), RATIO, advantage)[1][beyond] == 0).all()


@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_rollback_has_no_step_at_the_edge_and_is_ppo_with_slope_0(advantage):
    edges = torch.tensor([0.8 - 1e-9, 0.8 + 1e-9, 1.2 - 1e-9, 1.2 + 1e-9], dtype=torch.float64)
    value = judged(PPORollback(), edges, advantage)[0]
    assert abs(value[0] - value[1]) < 1e-8
    assert abs(value[2] - value[3]) < 1e-8
    flat, ppo = judged(PPORollback(rollback=0.0), RATIO, advantage), judged(PPO(), RATIO, advantage)
    assert torch.equal(flat[0], ppo[0])
    assert torch.equal(flat[1], ppo[1])


@pytest.mark.parametrize("bound", [1.5, 3.0])
def test_dual_clip_bounds_what_a_bad_action_can_cost_and_its_gradient(bound):
    rule = PPODualClip(dual_clip=bound)
    far = bound + 1e-6 < RATIO
    cost, slope, _ = judged(PPO(), RATIO, -2.0)
    assert (cost[far] < -2.0 * bound).all(), "ppo has no such bound, or there would be nothing to test"
    assert (slope[far] == -2.0).all()

    value, slope, _ = judged(rule, RATIO, -2.0)
    assert value.min() == -2.0 * bound
    assert (slope[far] == 0).all()
    near = bound - 1e-6 > RATIO
    assert torch.equal(value[near], cost[near]), "nearer than that it is ppo"


def test_dual_clip_leaves_good_actions_to_ppo():
    for found, expected in zip(judged(PPODualClip(), RATIO, 2.0), judged(PPO(), RATIO, 2.0), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_tr_ppos_zone_without_gradient_is_given_by_the_kl_and_not_by_the_ratio(advantage):
    rule = TRPPO(max_kl=0.035)
    for kl in (0.0, 0.0349):
        value, slope, pull = judged(rule, RATIO, advantage, kl)
        assert torch.equal(value, RATIO * advantage)
        assert (slope == advantage).all(), "inside the trust region every ratio pays"
        assert (pull == 0).all()
    better = RATIO * advantage > advantage
    for kl in (0.035, 2.0):
        value, slope, pull = judged(rule, RATIO, advantage, kl)
        assert (value[better] == advantage).all()
        assert (slope[better] == 0).all()
        assert (slope[~better] == advantage).all(), "the way back to ratio 1 stays open"
        assert (pull == 0).all()
    assert better.any()
    assert not better.all()


@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_truly_ppo_adds_a_gradient_down_the_kl_where_tr_ppo_has_none(advantage):
    rule = TrulyPPO(max_kl=0.03, kl_coef=5.0)
    better = RATIO * advantage > advantage
    for kl in (0.0, 0.0299, 0.03, 2.0):
        _, slope, pull = judged(rule, RATIO, advantage, kl)
        assert (slope == advantage).all(), "the surrogate itself is never clipped"
        expected = torch.where(better & (kl >= 0.03), -5.0, 0.0).double()
        assert torch.equal(pull, expected)


def test_truly_ppos_objective_has_no_step_where_the_trust_region_ends():
    inside = judged(TrulyPPO(), RATIO, 2.0, 0.03 - 1e-9)[0]
    outside = judged(TrulyPPO(), RATIO, 2.0, 0.03 + 1e-9)[0]
    assert torch.allclose(inside, outside, atol=1e-7)
    assert judged(TrulyPPO(), torch.ones(1), 2.0, 1.0)[0].item() == pytest.approx(2.0 - 5.0 * 0.03)


@pytest.mark.parametrize(
    "rule", [PPODualClip, PPORollback, SPO, TRPPO, TrulyPPO], ids=lambda rule: rule.__name__
)
def test_each_of_them_holds_where_no_clip_runs_away(rule):
    """Thirty epochs at a high learning rate on one batch."""
    kl = {}
    for kind in (PPONoClip, rule):
        once = kind(learning_rate=1e-2, n_epochs=30)
        learner = make_learner(once)
        batch = make_batch(learner)
        old = learner.behaviour(batch.observations)
        once.update(learner, batch, rng())
        kl[kind] = mean_kl(learner, batch, old)
    assert kl[PPONoClip] > 2, "this case is too easy to test anything"
    assert kl[rule] < kl[PPONoClip] / 4


def test_truly_ppo_pulls_a_policy_back_that_tr_ppo_leaves_outside():
    """First both go too far without any bound; then ten epochs of each rule from there, on the same batch."""
    kl = {}
    for rule in (TRPPO(n_epochs=10, learning_rate=3e-3), TrulyPPO(n_epochs=10, learning_rate=3e-3)):
        learner = make_learner(rule)
        batch = make_batch(learner)
        old = learner.behaviour(batch.observations)
        PPONoClip(n_epochs=10, learning_rate=1e-2).update(learner, batch, rng())
        start = mean_kl(learner, batch, old)
        assert start > 0.3, "this case is too easy to test anything"
        past = rule.past(make_learner(rule), batch)  # the policy that acted, before all of this
        rule.descend(learner, batch, past, rng(1))
        kl[type(rule)] = mean_kl(learner, batch, old) / start
    assert kl[TrulyPPO] < 0.5
    assert kl[TRPPO] > 0.8
