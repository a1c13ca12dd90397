"""What each choice of network does to the quantity it exists for, and that all of them go together."""

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from gymnasium import spaces
from small_policies import ACTION_SPACES, BOX, OBSERVATIONS, bits, make_batch, make_stabilised, rng
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_tasks import Guess
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from agents.host import HostSettings, RuleAlgorithm, host
from agents.learner import Learner
from agents.network import NetworkSettings, Torso
from agents.network.constraint import Spectral, StableRank, constrain, top_singular_vectors
from agents.network.normalise import BatchNorm
from agents.network.route import Gate, GRUGate, LSTMGate, Residual
from agents.network.start import start
from agents.policy import LabPolicy
from agents.rule import Outcome
from agents.rules.ppo import PPO
from agents.rules.trpo import TRPO

STARTS = ("orthogonal", "xavier", "kaiming", "torch")
NORMALISERS = ("none", "layer", "rms", "batch")
CONSTRAINTS = ("none", "spectral", "orthogonal", "stable_rank")
WAYS = ({}, {"residual": True}, {"gate": "gru"}, {"gate": "lstm"})

SEEN = {
    "vector": (OBSERVATIONS, FlattenExtractor),
    "image": (spaces.Box(0, 255, (3, 36, 36), np.uint8), NatureCNN),
    "dict": (spaces.Dict({"a": OBSERVATIONS, "b": spaces.Discrete(4)}), CombinedExtractor),
}


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def network(depth: int, width: int = 64, **settings: object) -> nn.Sequential:
    """The hidden layers of a policy that sees `width` numbers."""
    chosen = NetworkSettings(net_arch=(width,) * depth, **settings)
    torso = Torso(width, chosen)
    start(torso, chosen.init, chosen.hidden_gain)
    constrain(torso, chosen.weight_constraint, chosen.stable_rank)
    return torso.policy_net


def policy(
    observations: spaces.Space = OBSERVATIONS, actions: spaces.Space = BOX, seed: int = 0, **settings: object
) -> LabPolicy:
    torch.manual_seed(seed)
    return LabPolicy(observations, actions, lambda _: 1e-3, network=NetworkSettings(**settings))


def weights(module: nn.Module) -> list[Tensor]:
    """The weight matrices of hidden layers as they act."""
    return [
        layer.weight.detach()
        for layer in module.modules()
        if isinstance(layer, nn.Linear) and not isinstance(layer, Gate)
    ]


def state(module: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


def second_moment(x: Tensor) -> float:
    return x.square().mean().item()


def depth_exponent(layers: nn.Module, depth: int, x: Tensor) -> float:
    """Mean over samples of log(|w'J| / |w|) / depth: growth per layer of a gradient that enters at the end."""
    x = x.clone().requires_grad_()
    output = layers(x)
    enters = torch.randn_like(output)
    (leaves,) = torch.autograd.grad(output, x, enters)
    return ((leaves.norm(dim=-1) / enters.norm(dim=-1)).log().mean() / depth).item()


# Defaults


@pytest.mark.parametrize(
    ("seen", "kind"), [*(("vector", kind) for kind in ACTION_SPACES), ("image", "box"), ("dict", "discrete")]
)
@pytest.mark.parametrize("orthogonal", [True, False])
def test_the_policy_is_sb3s_to_the_last_bit(seen, kind, orthogonal):
    """Names, values and random draws: by default, and with torch's start without SB3's orthogonal one."""
    (observations, extractor), space = SEEN[seen], ACTION_SPACES[kind]
    torch.manual_seed(5)
    expected = ActorCriticPolicy(
        observations,
        space,
        lambda _: 1e-3,
        net_arch=[64, 64],
        ortho_init=orthogonal,
        features_extractor_class=extractor,
    )
    drawn = torch.get_rng_state()
    settings = {} if orthogonal else {"init": "torch", "policy_gain": 1.0}
    found = policy(observations, space, seed=5, **settings)
    assert state(found) == state(expected)
    assert torch.equal(torch.get_rng_state(), drawn)
    other = policy(observations, space, seed=5, hidden_gain=1.0)
    assert state(other) != state(expected), "the comparison sees nothing"


# Start


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_an_orthogonal_start_stretches_every_direction_alike(shape):
    layer = nn.Linear(*shape)
    start(layer, "orthogonal", 0.7)
    assert torch.linalg.svdvals(layer.weight).tolist() == pytest.approx([0.7] * 12, rel=1e-5)
    assert not layer.bias.any()


@pytest.mark.parametrize(
    ("scheme", "variance"),
    [("xavier", 2 / (300 + 100)), ("kaiming", 2 / 300), ("torch", 1 / (3 * 300))],
)
def test_a_start_draws_the_variance_of_its_source(scheme, variance):
    layer = nn.Linear(300, 100)
    start(layer, scheme)
    assert second_moment(layer.weight.detach()) == pytest.approx(variance, rel=0.03)
    assert layer.bias.any() == (scheme == "torch")
    if scheme != "kaiming":
        assert layer.weight.abs().max() <= math.sqrt(3 * variance) * (1 + 1e-6), "it is uniform"
    torch.manual_seed(9)
    start(twice := nn.Linear(300, 100), scheme, 0.5)
    torch.manual_seed(9)
    start(once := nn.Linear(300, 100), scheme, 1.0)
    assert torch.allclose(twice.weight, 0.5 * once.weight), "gain is a factor on the weights"


@pytest.mark.parametrize(("scheme", "factor"), [("torch", 1 / 6), ("xavier", 1 / 2), ("kaiming", 1.0)])
def test_kaiming_keeps_the_second_moment_that_relu_halves(scheme, factor):
    """30 layers: a ReLU halves E x², so a layer multiplies it by n Var(W) / 2; 2^-30 of it is left of xavier."""
    layers = network(30, 256, activation="relu", init=scheme)
    for layer in layers[::2]:
        layer.bias.data.zero_()
    entering = torch.randn(32, 256)
    per_layer = (second_moment(layers(entering)) / second_moment(entering)) ** (1 / 30)
    assert per_layer == pytest.approx(factor, rel=0.06)


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
def test_the_depth_exponent_of_an_orthogonal_start_is_the_logarithm_of_its_gain(gain):
    """Where tanh is linear: 30 layers lose or gain a factor 2^30, and at gain 1 nothing."""
    layers = network(30, hidden_gain=gain).double()
    found = depth_exponent(layers, 30, 1e-14 * torch.randn(8, 64, dtype=torch.double))
    assert found == pytest.approx(math.log(gain), abs=1e-6)


def test_at_gain_one_a_deep_tanh_network_neither_forgets_nor_explodes():
    """At full amplitude, 64 layers: torch's start forgets, gain 2 is chaotic, gain 1 is between them."""
    x = torch.randn(16, 64)
    exponents = [
        depth_exponent(network(64, **chosen), 64, x)
        for chosen in ({"init": "torch"}, {"hidden_gain": 1.0}, {"hidden_gain": 2.0})
    ]
    assert exponents[0] < -0.4
    assert -0.1 < exponents[1] < 0.0
    assert exponents[2] > 0.1


def test_an_orthogonal_start_keeps_all_directions_where_xavier_keeps_some():
    """Singular values of 20 layers together, tanh linear: all 1, or spread over orders of magnitude."""
    spread = {}
    for scheme in ("xavier", "orthogonal"):
        layers = network(20, 32, init=scheme, hidden_gain=1.0).double()
        jacobian = torch.autograd.functional.jacobian(layers, torch.zeros(32, dtype=torch.double))
        values = torch.linalg.svdvals(jacobian)
        spread[scheme] = (values[0] / values[-1]).log10().item()
    assert spread["xavier"] > 3
    assert spread["orthogonal"] == pytest.approx(0, abs=1e-5)


# Constraints


@cache
def updated(rule: PPO | TRPO, updates: int = 2, **settings: object) -> Learner:
    """A learner after so many updates."""
    learner = make_stabilised(rule, net_arch=(32, 32, 16), **settings)
    for k in range(updates):
        outcome = rule.update(learner, make_batch(learner, seed=k), rng(k))
        assert outcome is Outcome.ACCEPTED
    return learner


FAST = PPO(learning_rate=0.03, n_epochs=3)
FAR = TRPO(max_kl=0.5, learning_rate=0.03, n_epochs=2)
each_kind = pytest.mark.parametrize("rule", [FAST, FAR], ids=["ppo", "trpo"])


@each_kind
def test_spectral_holds_the_norm_of_every_hidden_layer_at_one(rule):
    free = weights(updated(rule, hidden_gain=1.0).policy.mlp_extractor)
    assert max(torch.linalg.matrix_norm(w, 2) for w in free) > 1.1, "nothing pulls at the norm here"
    held = weights(updated(rule, weight_constraint="spectral").policy.mlp_extractor)
    assert len(held) == 6
    for weight in held:
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=1e-5)


def test_torchs_spectral_norm_does_not_hold_where_a_rule_moves_the_policy_as_it_acts():
    """Why there is one of our own: torch's power iteration runs in training mode only."""
    learner = make_stabilised(FAR, net_arch=(32, 32, 16), init="xavier")
    for layer in learner.policy.mlp_extractor.policy_net[::2]:
        spectral_norm(layer)
    learner = Learner(learner.policy)
    for k in range(3):
        FAR.update(learner, make_batch(learner, seed=k), rng(k))
    norms = [torch.linalg.matrix_norm(w, 2) for w in weights(learner.policy.mlp_extractor.policy_net)]
    assert max(norms) > 1.01


def test_spectral_is_torchs_spectral_norm_at_convergence_with_the_derivative_of_the_largest_singular_value():
    weight = torch.randn(7, 5, dtype=torch.double, requires_grad=True)
    layer = nn.Linear(5, 7).double()
    layer.weight.data.copy_(weight)
    expected = spectral_norm(layer, n_power_iterations=500).weight
    found = Spectral()(weight)
    assert torch.allclose(found, expected, atol=1e-10)
    direction = torch.randn_like(weight)
    (gradient,) = torch.autograd.grad((direction * found).sum(), weight)
    exact = weight / torch.linalg.svdvals(weight)[0]
    (expected_gradient,) = torch.autograd.grad((direction * exact).sum(), weight)
    assert torch.allclose(gradient, expected_gradient, atol=1e-10)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_the_top_singular_vectors_are_those_of_the_singular_value_decomposition(shape, size):
    matrix = torch.randn(shape)
    u, v = top_singular_vectors(size * matrix)
    left, values, right = torch.linalg.svd(matrix)
    assert torch.allclose(torch.outer(u, v), torch.outer(left[:, 0], right[0]), atol=1e-5)
    assert (u @ matrix @ v).item() == pytest.approx(values[0].item(), rel=1e-6)


@each_kind
def test_orthogonal_holds_every_hidden_layer_to_an_orthogonal_matrix(rule):
    def error(weight: Tensor) -> float:
        tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
        return (tall.T @ tall - torch.eye(tall.shape[1])).abs().max().item()

    free = weights(updated(rule, hidden_gain=1.0).policy.mlp_extractor)
    assert max(map(error, free)) > 0.03, "nothing pulls at orthogonality here"
    begun = make_stabilised(rule, net_arch=(32, 32, 16), weight_constraint="orthogonal", init="kaiming")
    held = updated(rule, weight_constraint="orthogonal", init="kaiming")
    for before, after in zip(*(weights(x.policy.mlp_extractor) for x in (begun, held)), strict=True):
        assert error(after) < 1e-4
        assert not torch.allclose(before, after, atol=1e-4), "it may turn, and did not"


def stable_rank(weight: Tensor) -> float:
    values = torch.linalg.svdvals(weight)
    return (values.square().sum() / values[0] ** 2).item()


@each_kind
@pytest.mark.parametrize("fraction", [0.1, 0.25])
def test_the_stable_rank_stays_below_its_bound(rule, fraction):
    rule = replace(rule, learning_rate=0.003)
    free = weights(updated(rule).policy.mlp_extractor)
    above = [stable_rank(weight) > 1.2 * max(2, fraction * min(weight.shape)) for weight in free]
    assert sum(above) >= 2, "no bound is active"
    held = updated(rule, weight_constraint="stable_rank", stable_rank=fraction)
    for weight in weights(held.policy.mlp_extractor):
        assert stable_rank(weight) <= max(2, fraction * min(weight.shape)) * (1 + 1e-4)
        assert torch.linalg.matrix_norm(weight, 2).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_a_bound_on_the_stable_rank_leaves_every_layer_something_to_learn(inputs):
    """With uv' alone, u and v held fixed, the gradient of the weights would be zero."""
    weight = torch.randn(8, inputs, requires_grad=True)
    (StableRank(0.1)(weight) * torch.randn(8, inputs)).sum().backward()
    assert weight.grad.norm() > 1e-3


def test_the_stable_rank_is_lowered_by_shrinking_all_singular_values_but_the_first():
    weight = torch.randn(8, 6, dtype=torch.double)
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    others = values[1:] / values[0]
    shrunk = others * math.sqrt((0.4 * 6 - 1) / others.square().sum())
    expected = left @ torch.diag(torch.cat([torch.ones(1), shrunk])) @ right
    assert torch.allclose(StableRank(0.4)(weight), expected)
    assert torch.allclose(StableRank(1.0)(weight), weight / values[0]), "no bound, no change but the scale"


@pytest.mark.parametrize("constraint", CONSTRAINTS[1:])
def test_a_constraint_is_the_same_while_acting_and_learning(constraint):
    """The first minibatch reads ratio 1 and KL 0, and looking at a policy does not change it."""
    learner = make_stabilised(FAST, net_arch=(16, 16), weight_constraint=constraint)
    batch, before = make_batch(learner), state(learner.policy)
    past = FAST.past(learner, batch)
    learner.training(True)
    view = FAST.look(learner, batch, past)
    assert view.ratio.tolist() == pytest.approx([1] * len(batch), abs=1e-5)
    assert view.kl.abs().max() < 1e-10
    assert state(learner.policy) == before


# Normalisers


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_a_normalised_layer_does_not_see_how_large_its_weights_are(kind):
    """All weights times 100: what enters the nonlinearities stays, and without a normaliser tanh is saturated."""
    x = torch.randn(32, 64)
    outputs, exponents = {}, {}
    for normalize_layers in ("none", kind):
        layers = network(4, init="kaiming", hidden_gain=1.0, normalize_layers=normalize_layers)
        before = layers(x)
        for layer in layers:
            if isinstance(layer, nn.Linear):
                layer.weight.data *= 100
        outputs[normalize_layers] = (before, layers(x))
        exponents[normalize_layers] = depth_exponent(layers, 4, x)
    before, after = outputs["none"]
    assert after.abs().median() > 0.99 > before.abs().median()
    assert exponents["none"] < -1
    before, after = outputs[kind]
    assert torch.allclose(before, after, atol=1e-3)
    assert abs(exponents[kind]) < 1
    assert second_moment(torch.atanh(after)) == pytest.approx(1, rel=0.05)


def test_the_normalisers_are_their_formulas():
    sums = 3 * torch.randn(16, 64) + 2
    tail = {kind: network(1, normalize_layers=kind)[1] for kind in NORMALISERS[1:]}
    centred = sums - sums.mean(1, keepdim=True)
    layer = centred / centred.square().mean(1, keepdim=True).sqrt()
    assert torch.allclose(tail["layer"](sums), layer, atol=1e-4)
    assert torch.allclose(tail["rms"](sums), sums / sums.square().mean(1, keepdim=True).sqrt(), atol=1e-4)
    batch = (sums - sums.mean(0)) / sums.var(0, correction=0).sqrt()
    assert torch.allclose(tail["batch"](sums), batch, atol=1e-4)
    acting = tail["batch"].eval()
    running = 0.1 * sums.mean(0), 0.9 + 0.1 * sums.var(0)
    assert torch.allclose(acting(sums), (sums - running[0]) / running[1].sqrt(), atol=1e-4)


@pytest.mark.parametrize("kind", NORMALISERS)
def test_with_batch_norm_the_policy_learns_as_another_than_the_one_that_acted(kind):
    learner = make_stabilised(FAST, net_arch=(16, 16), normalize_layers=kind)
    batch = make_batch(learner)
    past = FAST.past(learner, batch)
    learner.training(True)
    view = FAST.look(learner, batch, past)
    if kind == "batch":
        assert (view.ratio - 1).abs().max() > 0.01
        assert view.kl.mean() > 1e-5
    else:
        assert view.ratio.tolist() == pytest.approx([1] * len(batch), abs=1e-5)


def test_batch_norm_bears_a_minibatch_of_one_sample():
    rule = PPO(n_epochs=1, batch_size=32)
    learner = make_stabilised(rule, net_arch=(16, 16), normalize_layers="batch")
    assert rule.update(learner, make_batch(learner, size=65), rng()) is Outcome.ACCEPTED
    with pytest.raises(ValueError, match="more than 1 value"):
        nn.BatchNorm1d(4)(torch.ones(1, 4))
    layer, x = BatchNorm(4), torch.randn(1, 4)
    assert torch.equal(layer(x), layer.eval()(x))
    assert not layer.running_mean.any()


def test_under_trpo_batch_norm_moves_the_running_averages_of_the_value_function_only():
    learner = make_stabilised(FAR, net_arch=(16,), normalize_layers="batch")
    assert FAR.update(learner, make_batch(learner), rng()) is Outcome.ACCEPTED
    assert not learner.policy.mlp_extractor.policy_net[1].running_mean.any()
    assert learner.policy.mlp_extractor.value_net[1].running_mean.any()


# Ways around a layer


def growth(layers: nn.Module, x: Tensor) -> float:
    return second_moment(layers(x)) / second_moment(x)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_residual_layers_keep_variance_and_gradient_at_any_depth(activation):
    """From 2 to 64 layers, (1 + 1/L)^L < e. Plain layers of torch's start lose both."""
    x = torch.randn(64, 64)
    assert depth_exponent(network(64, init="torch", activation=activation), 64, x) < -0.4
    for depth in (2, 8, 64):
        _, *layers, _ = network(depth + 1, init="kaiming", activation=activation, residual=True)
        branches = nn.Sequential(*layers)
        assert len(branches) == depth
        assert 1.3 < growth(branches, x) < 1.3 * math.e
        assert 0.1 < depth * depth_exponent(branches, depth, x) < 0.8


def test_other_scales_of_residual_layers_explode_or_vanish():
    """And so does the right scale where the nonlinearity comes last, as it does in a gated layer."""
    x = torch.randn(64, 64)
    _, *layers, _ = network(65, init="kaiming", activation="relu", residual=True)
    branches = nn.Sequential(*layers)
    for scale, low, high in ((1.0, 2**56, 2**72), (1 / 64, 1.0, 1.05)):
        for layer in branches:
            layer.scale = scale
        assert low < growth(branches, x) < high
    ends_in_relu = nn.Sequential(
        *(Residual(nn.Sequential(*reversed(layer.layer)), 1 / 8) for layer in branches)
    )
    assert growth(ends_in_relu, x) > 100


def test_gradients_of_the_first_layer_do_not_vanish_behind_residual_layers():
    norms = {}
    for residual in (False, True):
        layers = network(64, hidden_gain=0.8, residual=residual)
        layers(torch.randn(32, 64)).square().mean().backward()
        norms[residual] = layers[0].weight.grad.norm().item()
    assert norms[False] < 1e-8
    assert norms[True] > 1e-2


def test_a_residual_layer_is_its_formula():
    """Four of five layers are residual: scale 1/sqrt(4), around tanh and a linear map."""
    layers = network(5, residual=True)
    x = torch.randn(3, 64)
    sums = layers[0](x)
    for layer in layers[1:5]:
        sums = sums + 0.5 * layer.layer[1](torch.tanh(sums))
    assert torch.allclose(layers(x), torch.tanh(sums), atol=1e-6)


def test_the_lstm_gate_is_the_cell_of_torchs_lstm():
    """The cell of an LSTM that is given x as input and as cell, and no output of the past."""
    layer = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
    gate, cell = LSTMGate(layer, 6, bias=1.5), nn.LSTMCell(6, 6)
    gate.gates.open()
    forget, enter = gate.gates.weight.chunk(2)
    cell.weight_ih.data = torch.cat([enter, forget, layer[0].weight, torch.zeros(6, 6)]).detach()
    cell.bias_ih.data = torch.cat(
        [-torch.full((6,), 1.5), torch.full((6,), 1.5), layer[0].bias, torch.zeros(6)]
    )
    cell.bias_hh.data.zero_()
    x = torch.randn(9, 6)
    _, expected = cell(x, (torch.zeros(9, 6), x))
    assert torch.allclose(gate(x), expected, atol=1e-6)


def test_the_gru_gate_is_torchs_gru_where_reset_and_matrix_commute():
    """torch resets U x and the paper x, the same for diagonal U; torch's update gate is 1 - z."""
    layer = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
    gate, cell = GRUGate(layer, 6, bias=1.5), nn.GRUCell(6, 6)
    gate.gates.open()
    gate.candidate.weight.data[:, :6] = torch.diag(torch.randn(6))
    (reset, update), new = gate.gates.weight.chunk(2), gate.candidate.weight
    cell.weight_hh.data = torch.cat([reset[:, :6], -update[:, :6], new[:, :6]]).detach()
    cell.weight_ih.data = torch.cat([reset[:, 6:], -update[:, 6:], new[:, 6:]]).detach()
    cell.bias_ih.data = torch.cat([torch.zeros(6), torch.full((6,), 1.5), gate.candidate.bias]).detach()
    cell.bias_hh.data.zero_()
    x = torch.randn(9, 6)
    assert torch.allclose(gate(x), cell(layer(x), x), atol=1e-6)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("bias", [2.0, 6.0])
def test_gates_begin_near_the_identity(kind, bias):
    """|J - 1| of one layer is of order 1 - sigmoid(bias), where a plain layer is nowhere near the identity."""
    x = torch.randn(8, 32)
    distance = {}
    for gate in ("none", kind):
        (layer,) = network(2, 32, gate=gate, gate_bias=bias)[2:3] if gate != "none" else (network(1, 32),)
        jacobian = torch.stack([torch.autograd.functional.jacobian(layer, row[None])[0, :, 0] for row in x])
        distance[gate] = (torch.linalg.matrix_norm(jacobian - torch.eye(32)).mean() / math.sqrt(32)).item()
    assert distance["none"] > 1
    assert 0.5 < distance[kind] / (1 - 1 / (1 + math.exp(-bias))) < 4


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_gated_layers_pass_gradients_through_a_depth_where_plain_ones_lose_them(kind):
    """64 layers: each lets sigmoid(bias) of the gradient through at least, where plain ones keep a factor 1/sqrt(3)."""
    x = torch.randn(8, 64)
    assert depth_exponent(network(64, init="torch"), 64, x) < -0.5
    for bias in (2.0, 5.0):
        layers = network(65, init="torch", gate=kind, gate_bias=bias)[2:]
        assert -1.3 * math.log1p(math.exp(-bias)) < depth_exponent(layers, 64, x) < 0


@pytest.mark.parametrize("way", [{"residual": True}, {"gate": "lstm"}], ids=str)
def test_nothing_goes_around_a_layer_where_the_width_changes(way):
    torso = Torso(8, NetworkSettings(net_arch=(8, 8, 8, 4, 4), **way))
    around = [module for module in torso.value_net if isinstance(module, Residual | LSTMGate)]
    inside = [
        [layer.in_features for layer in module.layer if isinstance(layer, nn.Linear)] for module in around
    ]
    assert inside == [[8], [8], [4]], "nor around the first layer"
    assert all(module.scale == 3**-0.5 for module in around if isinstance(module, Residual))
    assert torso(torch.ones(2, 8))[0].shape == (2, 4)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"residual": True, "gate": "gru"}, "residual and gate .here 'gru'. are two ways around one layer"),
        ({"residual": True, "net_arch": (64,)}, r"residual goes around .* net_arch \(64,\) has none"),
        ({"gate": "lstm", "net_arch": (64, 32)}, r"gate goes around .* net_arch \(64, 32\) has none"),
    ],
)
def test_what_does_not_go_together_is_said(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        policy(**settings)


# All together

EVERY = [
    {
        "init": STARTS[(a + b + c) % 4],
        "normalize_layers": NORMALISERS[a],
        "weight_constraint": CONSTRAINTS[b],
        **WAYS[c],
    }
    for a, b, c in itertools.product(range(4), repeat=3)
]
"""All normalisers, constraints and ways together; each pair of these meets every start."""


def expected_parameters(settings: dict[str, object], inputs: int, widths: tuple[int, ...]) -> int:
    """Of one of the two networks."""
    count = 0
    for before, after in itertools.pairwise((inputs, *widths)):
        count += before * after + after
        count += {"none": 0, "layer": 2, "rms": 1, "batch": 2}[settings["normalize_layers"]] * after
        if before == after:
            gate = settings.get("gate", "none")
            count += {"none": 0, "gru": 3 * (2 * after + 1), "lstm": 2 * (after + 1)}[gate] * after
    return count


def test_every_choice_goes_with_every_other():
    """On four kinds of actions: forward, backward, optimizer, copies, names."""
    widths, observations = (5, 5, 4, 4), torch.randn(6, 3)
    kinds = random.Random(0).choices(list(ACTION_SPACES.values()), k=len(EVERY))
    for settings, space in zip(EVERY, kinds, strict=True):
        built = policy(actions=space, net_arch=widths, **settings)
        torso = built.mlp_extractor
        for part in (torso.policy_net, torso.value_net):
            assert sum(p.numel() for p in part.parameters()) == expected_parameters(settings, 3, widths), (
                settings
            )
            (*_, last) = (module for module in part.modules() if isinstance(module, nn.Linear))
            assert (last.in_features, last.out_features) == (4, 4), settings
            assert not isinstance(last, Gate), settings
            held = [m for m in part.modules() if isinstance(m, nn.Linear) and is_parametrized(m)]
            assert len(held) == (0 if settings["weight_constraint"] == "none" else 4), (
                "hidden layers, no gates"
            )

        held = [id(p) for group in built.optimizer.param_groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in built.parameters()), settings
        assert len(set(held)) == len(held), settings

        _, values, log_prob = built(observations)
        for loss, part in ((values.square().mean(), "value"), (log_prob.mean(), "policy")):
            built.zero_grad()
            loss.backward()
            for name, parameter in built.named_parameters():
                belongs = ("value_net" in name) == (part == "value")
                assert (parameter.grad is not None) == belongs, (settings, name)
                assert not belongs or parameter.grad.isfinite().all(), (settings, name)
        built.optimizer.step()

        other = policy(actions=space, seed=1, net_arch=widths, **settings)
        assert state(other) != state(built), settings
        other.load_state_dict(built.state_dict())
        for one in (built, other):
            one.set_training_mode(False)
        assert torch.equal(other.predict_values(observations), built.predict_values(observations)), settings
        assert torch.equal(
            other.get_distribution(observations).mode(), built.get_distribution(observations).mode()
        ), settings


def test_the_optimizer_holds_another_value_head_instead_of_the_one_it_replaces():
    built = LabPolicy(
        OBSERVATIONS,
        BOX,
        lambda _: 1e-3,
        network=NetworkSettings(weight_constraint="orthogonal"),
        value_head=lambda features: nn.Sequential(nn.Linear(features, 3), nn.Linear(3, 1)),
    )
    held = [id(p) for group in built.optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in built.parameters())


def test_a_seed_makes_the_network():
    for settings in EVERY[::7]:
        assert state(policy(seed=3, **settings)) == state(policy(seed=3, **settings))
        assert state(policy(seed=3, **settings)) != state(policy(seed=4, **settings))


COMPONENTS = [
    *({"init": name} for name in STARTS[1:]),
    *({"normalize_layers": name} for name in NORMALISERS[1:]),
    *({"weight_constraint": name} for name in CONSTRAINTS[1:]),
    *WAYS[1:],
    *({"activation": name} for name in ("relu", "elu", "silu", "gelu")),
    {"gate": "gru", "normalize_layers": "batch", "weight_constraint": "stable_rank", "init": "kaiming"},
    {"residual": True, "normalize_layers": "rms", "weight_constraint": "orthogonal", "activation": "gelu"},
]


@pytest.mark.parametrize("settings", COMPONENTS, ids=lambda s: ",".join(map(str, s.values())))
@pytest.mark.parametrize("rule", [PPO(n_epochs=1), TRPO(n_epochs=1)], ids=["ppo", "trpo"])
def test_an_update_goes_through_every_component(rule, settings):
    """First-order steps, and a natural gradient that differentiates the KL twice, on all kinds of actions."""
    for space in ACTION_SPACES.values():
        learner = make_stabilised(rule, space, net_arch=(8, 8), **settings)
        batch, before = make_batch(learner), bits(learner)
        assert rule.update(learner, batch, rng()) in (Outcome.ACCEPTED, Outcome.REJECTED)
        assert learner.is_finite()
        assert bits(learner) != before


@pytest.mark.parametrize(
    "settings", [*({"weight_constraint": c} for c in CONSTRAINTS), {"gate": "gru"}], ids=str
)
def test_an_update_that_ends_in_nan_restores_buffers_too(settings):
    """Several minibatches are learned from, and move running averages, before one of them is NaN."""
    rule = PPO(n_epochs=1, batch_size=16)
    learner = make_stabilised(rule, net_arch=(8, 8), normalize_layers="batch", **settings)
    batch, before = make_batch(learner), state(learner.policy)
    norms = [module for module in learner.policy.modules() if isinstance(module, BatchNorm)]
    seen = []
    norms[0].register_forward_hook(lambda module, *_: seen.append(module.running_mean.clone()))
    batch.advantages[rng().permutation(128)[-1]] = math.nan
    assert rule.update(learner, batch, rng()) is Outcome.NOT_FINITE
    assert state(learner.policy) == before
    assert seen[-1].any(), "nothing had moved"
    assert not norms[0].running_mean.any()


@pytest.mark.parametrize("constraint", CONSTRAINTS[1:])
def test_a_weight_that_is_not_finite_is_an_outcome_and_no_error(constraint):
    """Linear algebra refuses such matrices by raising."""
    for broken in (math.nan, math.inf):
        learner = make_stabilised(FAST, net_arch=(8, 8), weight_constraint=constraint)
        batch = make_batch(learner)
        learner.policy.mlp_extractor.policy_net[2].parametrizations.weight.original.data[3, 1] = broken
        assert FAST.update(learner, batch, rng()) is Outcome.NOT_FINITE


def test_a_rejected_step_leaves_the_policy_with_its_buffers():
    settings = {"normalize_layers": "batch", "weight_constraint": "orthogonal", "residual": True}
    rule = TRPO(line_search_trials=1, max_kl=1e4)
    learner = make_stabilised(rule, net_arch=(8, 8), **settings)
    batch, before = make_batch(learner), state(learner.policy)
    assert rule.update(learner, batch, rng()) is Outcome.REJECTED
    after = state(learner.policy)
    changed = {name for name in before if before[name] != after[name]}
    assert changed
    assert all("value_net" in name for name in changed)


@pytest.mark.parametrize("settings", COMPONENTS[-2:], ids=["gated", "residual"])
def test_saving_and_loading_keeps_every_bit(settings, tmp_path):
    envs = DummyVecEnv([lambda: Guess(BOX)] * 2)
    algorithm = host(FAST, HostSettings(n_steps=32, net_arch=(8, 8), **settings), envs, seed=0).learn(128)
    algorithm.save(tmp_path / "agent")
    algorithm.policy.save(tmp_path / "policy")
    loaded = RuleAlgorithm.load(tmp_path / "agent", env=envs)
    assert state(loaded.policy) == state(algorithm.policy)
    assert state(LabPolicy.load(tmp_path / "policy")) == state(algorithm.policy)
    for each in (algorithm, loaded):
        each.set_random_seed(4)
        each.minibatch_rng = rng(4)
        each._last_obs = None
        each.learn(128)
    assert state(loaded.policy) == state(algorithm.policy), "it does not go on as it would have"


@pytest.mark.parametrize("seen", ["image", "dict"])
def test_only_the_hidden_layers_change_behind_an_extractor(seen):
    observations, _ = SEEN[seen]
    plain, changed = (
        policy(observations, net_arch=(8, 8), **settings)
        for settings in (
            {},
            {"normalize_layers": "layer", "weight_constraint": "spectral", "gate": "gru"},
        )
    )
    for part in ("features_extractor", "action_net", "value_net"):
        assert str(getattr(changed, part)) == str(getattr(plain, part))
    assert str(changed.mlp_extractor) != str(plain.mlp_extractor)
    sample = changed.obs_to_tensor(observations.sample())[0]
    assert all(part.isfinite().all() for part in changed(sample))
