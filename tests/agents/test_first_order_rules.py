"""The engine of the first-order rules, and the own sentences of ppo, ppo-noclip, a2c and vpg."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_policies import make_batch, make_learner, mean_kl, rng
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor

from agents.batch import minibatches
from agents.host import HostSettings
from agents.learner import reached
from agents.rule import Outcome, normalised
from agents.rules.a2c import A2C
from agents.rules.ppo import PPO
from agents.rules.ppo_noclip import PPONoClip
from agents.rules.vpg import VPG

RATIO = torch.linspace(0.2, 2.0, 181)


def gradient(rule, advantage: float) -> torch.Tensor:
    """d objective / d ratio at each of RATIO."""
    ratio = RATIO.clone().requires_grad_()
    value = rule.objective(ratio, torch.full_like(ratio, advantage), torch.zeros_like(ratio))
    return torch.autograd.grad(value.sum(), ratio)[0]


@pytest.mark.parametrize("width", [0.1, 0.2, 0.5])
def test_ppos_roof_is_flat_only_on_the_side_that_the_advantage_asks_for(width):
    rule = PPO(clip_range=width)
    roof, floor = 1 + width, 1 - width
    above, below = RATIO - roof > 1e-4, RATIO - floor < -1e-4
    good, bad = gradient(rule, 2.0), gradient(rule, -2.0)
    assert (good[above] == 0).all()
    assert (good[RATIO - roof < -1e-4] == 2.0).all(), "also far below: the way back stays open"
    assert (bad[below] == 0).all()
    assert (bad[RATIO - floor > 1e-4] == -2.0).all()


def test_ppos_objective_never_exceeds_the_unclipped_one():
    advantage = torch.linspace(-2, 2, len(RATIO))
    kl = torch.zeros_like(RATIO)
    clipped, plain = PPO().objective(RATIO, advantage, kl), PPONoClip().objective(RATIO, advantage, kl)
    assert (clipped <= plain).all()
    assert (clipped < plain - 0.1).any()
    inside = (RATIO - 1).abs() < 0.2 - 1e-4
    assert torch.equal(clipped[inside], plain[inside])


def test_noclip_is_ppo_with_an_unreachable_clip():
    """Bit for bit, over whole updates."""
    learners = [make_learner(PPO()), make_learner(PPO())]
    batch = make_batch(learners[0])
    for _ in range(3):
        PPONoClip(learning_rate=1e-2).update(learners[0], batch, rng(1))
        PPO(learning_rate=1e-2, clip_range=1e9).update(learners[1], batch, rng(1))
    for a, b in zip(learners[0].parameters, learners[1].parameters, strict=True):
        assert torch.equal(a, b)


def test_the_clip_holds_where_no_clip_runs_away():
    """Thirty epochs at a high learning rate on one batch."""
    settings = {"learning_rate": 1e-2, "n_epochs": 30}
    kl = {}
    for rule in (PPO(**settings), PPONoClip(**settings)):
        learner = make_learner(rule)
        batch = make_batch(learner)
        old = learner.behaviour(batch.observations)
        rule.update(learner, batch, rng())
        kl[type(rule)] = mean_kl(learner, batch, old)
    assert kl[PPONoClip] > 2, "this case is too easy to test anything"
    assert kl[PPO] < kl[PPONoClip] / 5


def test_a2c_follows_the_gradient_of_the_log_density():
    """One RMSprop step down the clipped gradient of -mean(A log pi) + vf_coef * value loss, by hand."""
    rule = A2C()
    ours, by_hand = make_learner(rule), make_learner(rule)
    batch = make_batch(ours)
    rule.update(ours, batch, rng(5))

    shuffled = batch.rows(next(minibatches(len(batch), len(batch), rng(5))))
    now = by_hand.evaluate(shuffled)
    loss = -(shuffled.advantages * now.log_prob).mean() + 0.5 * ((shuffled.returns - now.values) ** 2).mean()
    gradients = torch.autograd.grad(loss, by_hand.parameters)
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    assert norm > 0.5, "unclipped: this case is too easy to test anything"
    for parameter, g, moved in zip(by_hand.parameters, gradients, ours.parameters, strict=True):
        g = g * 0.5 / norm
        expected = parameter - 7e-4 * g / ((0.01 * g**2).sqrt() + 1e-5)
        assert torch.allclose(moved, expected, atol=1e-6)


def test_a2c_cannot_be_given_epochs():
    with pytest.raises(TypeError, match="n_epochs"):
        A2C(n_epochs=4)  # type: ignore[call-arg]


def test_the_entropy_bonus_widens_the_policy():
    narrow, wide = make_learner(PPO()), make_learner(PPO())
    batch = make_batch(narrow)
    PPO(ent_coef=0.0, learning_rate=1e-2).update(narrow, batch, rng())
    PPO(ent_coef=1.0, learning_rate=1e-2).update(wide, batch, rng())
    assert (wide.policy.log_std > narrow.policy.log_std + 0.05).all()


def test_a_gradient_that_overflows_is_not_finite_although_the_loss_is_finite():
    """exp(200) is infinite in float32. The clip hides it from the loss, not from its derivative: 0 * inf."""
    learner = make_learner(PPO())
    batch = make_batch(learner)
    batch.log_prob[3] -= 200.0
    batch.advantages[3] = 5.0
    loss = PPO().loss(learner, PPO().look(learner, batch, PPO().past(learner, batch)))
    assert torch.isfinite(loss), "this case is too easy to test anything"
    assert PPO().update(learner, batch, rng()) is Outcome.NOT_FINITE


def test_parameters_that_overflow_without_a_bad_loss_are_put_back():
    """The very last optimizer step of an update has no loss after it that could tell."""
    rule = A2C(learning_rate=1e38)  # RMSprop's first step is ten times that, which is no float32
    learner = make_learner(rule)
    before = [p.detach().clone() for p in learner.parameters]
    assert rule.update(learner, make_batch(learner), rng()) is Outcome.NOT_FINITE
    assert all(torch.equal(a, b) for a, b in zip(before, learner.parameters, strict=True))
    assert not learner.policy.optimizer.state


def test_a_deviation_that_underflows_is_not_finite():
    """log std = -120 is a finite parameter, but its exponential is 0 and no density."""
    learner = make_learner(PPO())
    batch = make_batch(learner)
    with torch.no_grad():
        learner.policy.log_std.fill_(-120.0)
    assert PPO().update(learner, batch, rng()) is Outcome.NOT_FINITE


def test_somebody_elses_value_error_is_not_called_a_number():
    learner = make_learner(PPO())
    batch = make_batch(learner)
    three_columns = replace(batch, actions=batch.actions[:, [0, 1, 1]])
    with pytest.raises(ValueError, match="not broadcastable"):
        PPO().update(learner, three_columns, rng())


def test_minibatches_are_one_permutation_cut_into_pieces():
    pieces = list(minibatches(10, 4, rng(3)))
    assert [len(piece) for piece in pieces] == [4, 4, 2]
    np.random.seed(3)  # what SB3 would draw
    assert torch.cat(pieces).tolist() == np.random.permutation(10).tolist()


def test_normalised_has_mean_0_and_deviation_1_for_each_agent():
    advantages = torch.randn(3, 400, generator=torch.Generator().manual_seed(0)) * 7 + 2
    scaled = normalised(advantages)
    assert torch.allclose(scaled.mean(-1), torch.zeros(3), atol=1e-6)
    assert torch.allclose(scaled.std(-1), torch.ones(3), atol=1e-5)
    assert normalised(torch.tensor([4.0])).tolist() == [4.0]


class Shared(BaseFeaturesExtractor):
    """A layer with parameters that policy and value function have in common."""

    def __init__(self, observation_space):
        super().__init__(observation_space, features_dim=8)
        self.layer = torch.nn.Linear(3, 8)

    def forward(self, observations):
        return torch.tanh(self.layer(observations))


@pytest.mark.parametrize("extractor", [FlattenExtractor, Shared], ids=["apart", "shared"])
@pytest.mark.parametrize("settings", [{}, {"ent_coef": 0.3}, {"vf_coef": 3.0, "n_epochs": 5}], ids=str)
def test_vpg_takes_one_policy_step_up_the_gradient_of_the_log_density(extractor, settings):
    """Adam's first step by hand; the value function moves by itself afterwards, and never what the policy uses."""
    rule = VPG(learning_rate=1e-3, **settings)
    ours, by_hand = (make_learner(rule, extractor=extractor) for _ in range(2))
    batch = make_batch(ours)
    assert rule.update(ours, batch, rng()) is Outcome.ACCEPTED

    now = by_hand.evaluate(batch)
    gain = (normalised(batch.advantages) * now.log_prob).mean() + rule.ent_coef * now.entropy.mean()
    policy = reached(now.log_prob.sum(), by_hand.parameters)
    gradients = dict(zip(policy, torch.autograd.grad(gain, policy), strict=True))
    norm = torch.cat([g.flatten() for g in gradients.values()]).norm()
    assert 0 < len(policy) < len(by_hand.parameters)
    moved = 0
    for before, after in zip(by_hand.parameters, ours.parameters, strict=True):
        steps = int(ours.policy.optimizer.state[after]["step"])
        if before in gradients:
            g = gradients[before] * min(1.0, 0.5 / norm)
            assert steps == 1
            assert torch.allclose(after, before + 1e-3 * g / (g.abs() + 1e-5), atol=1e-7)
        else:
            assert steps == rule.n_epochs
            moved += int(not torch.equal(before, after))
    assert moved, "the value function learns too"


def test_vpgs_rollout_is_one_minibatch_of_its_value_function():
    """4000 steps, as in its source, if the host keeps its 8 environments."""
    n_steps = VPG.host_defaults["n_steps"]
    assert n_steps * HostSettings().n_envs == VPG().batch_size == 4000
