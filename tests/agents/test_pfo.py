"""PFO's penalty by hand, and what it holds still."""

from dataclasses import replace

import pytest
import torch
from small_policies import ACTION_SPACES, bits, make_batch, make_learner, make_stabilised, rng

from agents.batch import minibatches
from agents.rule import Outcome
from agents.rules.pfo import PFO, feature_drift, last_hidden_layer_heard
from agents.rules.ppo import PPO


def features(learner, observations) -> torch.Tensor:
    """What the last hidden layer says before its tanh, one layer after the other."""
    *layers, last, _ = learner.policy.mlp_extractor.policy_net
    with torch.no_grad():
        for layer in layers:
            observations = layer(observations)
        return last(observations)


@pytest.mark.parametrize("kind", ACTION_SPACES)
def test_the_penalty_is_the_mean_squared_change_of_the_last_pre_activations(kind):
    """By hand: loss with the penalty less loss without, at a policy whose features have moved."""
    rule = PFO(feature_coef=3.0)
    learner = make_learner(rule, ACTION_SPACES[kind], net_arch=(16, 8))
    batch = make_batch(learner)
    past = rule.past(learner, batch)
    before = features(learner, batch.observations)
    assert torch.equal(past.features, before)
    PPO(learning_rate=1e-2).update(learner, batch, rng())
    after = features(learner, batch.observations)

    by_hand = sum(((after[i] - before[i]) ** 2).sum() / 8 for i in range(len(batch))) / len(batch)
    assert by_hand > 1e-3, "this case is too easy to test anything"
    view = rule.look(learner, batch, past)
    penalty = rule.loss(learner, view) - replace(rule, feature_coef=0.0).loss(learner, view)
    assert penalty.item() == pytest.approx(3 * by_hand.item(), rel=1e-3)
    activated = ((after.tanh() - before.tanh()) ** 2).mean()
    assert penalty.item() != pytest.approx(3 * activated.item(), rel=0.05)


def test_the_gradient_of_the_penalty_reaches_the_hidden_layers_of_the_policy_and_nothing_else():
    rule = PFO()
    learner = make_learner(rule, net_arch=(16, 8))
    batch = make_batch(learner)
    past = rule.past(learner, batch)
    PPO(learning_rate=1e-2).update(learner, batch, rng())
    view = rule.look(learner, batch, past)
    drift = feature_drift(view.features, past.features).mean()
    named = dict(learner.policy.named_parameters())
    gradients = torch.autograd.grad(drift, list(named.values()), allow_unused=True)
    moved = {name for name, g in zip(named, gradients, strict=True) if g is not None and g.abs().max() > 0}
    assert moved == {name for name in named if "policy_net" in name}


def test_the_first_minibatch_pays_nothing():
    """Bit for bit zero: the same network on the same states, row by row."""
    drifts = []

    class Watched(PFO):
        def loss(self, learner, view):
            drifts.append(feature_drift(view.features, view.past.features).detach())
            return super().loss(learner, view)

    learner = make_learner(PFO())
    batch = make_batch(learner)
    Watched(n_epochs=2).update(learner, batch, rng())
    assert drifts[0].max() < 1e-12
    assert drifts[-1].mean() > 1e-9, "nothing moved: this case is too easy to test anything"


def test_a_heavy_penalty_holds_the_features_where_ppo_moves_them():
    drift = {}
    for rule in (PPO(learning_rate=3e-3), PFO(learning_rate=3e-3, feature_coef=1e4)):
        learner = make_learner(rule)
        batch = make_batch(learner)
        before = features(learner, batch.observations)
        assert rule.update(learner, batch, rng()) is Outcome.ACCEPTED
        drift[type(rule)] = feature_drift(features(learner, batch.observations), before).mean().item()
    assert drift[PPO] > 1e-3, "this case is too easy to test anything"
    assert drift[PFO] < drift[PPO] / 20


def test_without_its_penalty_it_is_ppo_to_the_last_bit():
    results = set()
    for rule in (PPO(learning_rate=1e-2), PFO(learning_rate=1e-2, feature_coef=0.0), PFO(learning_rate=1e-2)):
        learner = make_learner(rule)
        for seed in range(3):
            rule.update(learner, make_batch(learner, seed=seed), rng(seed))
        results.add(bits(learner))
    assert len(results) == 2, "feature_coef 0 is ppo, feature_coef 1 is not"


def test_one_look_is_one_pass_through_the_network_and_leaves_no_hook():
    passes = []
    learner = make_learner(PFO(), net_arch=(16, 8))
    batch = make_batch(learner)
    hidden = learner.policy.mlp_extractor.policy_net
    hidden[0].register_forward_hook(lambda *_: passes.append(1))
    rule = PFO(n_epochs=2)
    rule.update(learner, batch, rng())
    steps = 2 * len(list(minibatches(len(batch), rule.batch_size, rng())))
    assert len(passes) == 1 + steps, "one for the old features, one for each step"
    assert not hidden[2]._forward_hooks

    with pytest.raises(RuntimeError, match="on the way"), last_hidden_layer_heard(learner.policy):
        raise RuntimeError("on the way")
    assert not hidden[2]._forward_hooks


@pytest.mark.parametrize(
    "network",
    [
        {"weight_constraint": "spectral"},
        {"normalize_layers": "layer"},
        {"residual": True},
        {"gate": "gru"},
        {"gate": "lstm"},
    ],
    ids=lambda network: "-".join(map(str, network)),
)
def test_the_last_hidden_layer_is_found_in_every_network(network):
    """Whatever constrains, normalises or bypasses it: shift its bias, and exactly that is what is heard."""
    learner = make_stabilised(PFO(), net_arch=(12, 12), **network)
    batch = make_batch(learner)
    before = PFO().past(learner, batch).features
    last = [p for name, p in learner.policy.named_parameters() if "policy_net" in name and "bias" in name]
    bias = last[-2] if "normalize_layers" in network else last[-1]
    with torch.no_grad():
        bias += 0.5
    assert torch.allclose(PFO().past(learner, batch).features, before + 0.5, atol=1e-6)
    assert PFO().update(learner, batch, rng()) is Outcome.ACCEPTED


def test_without_a_hidden_layer_it_says_what_is_missing():
    learner = make_learner(PFO(), net_arch=())
    with pytest.raises(ValueError, match="hidden linear layer"):
        PFO().update(learner, make_batch(learner), rng())


def test_several_agents_at_once_equal_one_after_the_other():
    generator = torch.Generator().manual_seed(0)
    new, old = torch.randn(2, 3, 2, 40, 16, generator=generator)
    together = feature_drift(new, old)
    assert together.shape == (3, 2, 40)
    for i in range(3):
        for j in range(2):
            assert torch.equal(feature_drift(new[i, j], old[i, j]), together[i, j])
