"""The guests: off-policy and recurrent algorithms of SB3 and sb3-contrib, unchanged, and the GRU that is ours."""

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_tasks import Guess

import agents
from agents.stock.recurrent import GRUMemory, GRUPolicy

BOX, DISCRETE = spaces.Box(-1.0, 1.0, (1,)), spaces.Discrete(3)
OFF = {"learning_starts": 20, "buffer_size": 500, "batch_size": 16}
TINY = {"net_arch": (8,)}
GUESTS = {
    "sac": (BOX, stable_baselines3.SAC, "MlpPolicy", OFF),
    "td3": (BOX, stable_baselines3.TD3, "MlpPolicy", OFF),
    "dqn": (DISCRETE, stable_baselines3.DQN, "MlpPolicy", OFF),
    "ppo-lstm": (
        BOX,
        sb3_contrib.RecurrentPPO,
        "MlpLstmPolicy",
        {"n_steps": 40, "batch_size": 16, "n_epochs": 2},
    ),
}
OFF_POLICY = ("sac", "td3", "dqn")
NOT_BINARY = {spaces.Box, spaces.Discrete, spaces.MultiDiscrete}
BY_SPACE = {
    "sac": {spaces.Box},
    "td3": {spaces.Box},
    "dqn": {spaces.Discrete},
    "ppo-lstm": NOT_BINARY,
    "ppo-gru": NOT_BINARY,
}
SPACES = [BOX, DISCRETE, spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2)]


def guess(space: spaces.Space, n: int = 1) -> DummyVecEnv:
    return DummyVecEnv([lambda: Guess(space) for _ in range(n)])


def parameters(algorithm) -> list[torch.Tensor]:
    return [p.detach().clone() for p in algorithm.policy.parameters()]


@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_is_sb3s_own_algorithm_to_the_last_bit(name):
    space, theirs, policy, settings = GUESTS[name]
    more, network = {}, {"net_arch": [8]}
    if name == "ppo-lstm":
        more, network = {"lstm_hidden_size": 6}, {**network, "lstm_hidden_size": 6}
    mine = agents.make(name, guess(space), 3, {**settings, **TINY, **more})
    began = parameters(mine)
    mine.learn(80)
    alone = theirs(policy, guess(space), seed=3, device="cpu", policy_kwargs=network, **settings).learn(80)
    assert not any(map(torch.equal, began[:1], parameters(mine)[:1])), (
        "nothing was learned, so nothing is tested"
    )
    assert all(map(torch.equal, parameters(mine), parameters(alone)))


@pytest.mark.parametrize("name", BY_SPACE)
@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_a_guest_acts_where_it_says_and_refuses_in_one_sentence_where_not(name, space):
    allowed = agents.catalogue()[name].action_spaces
    assert set(allowed) == BY_SPACE[name]
    if isinstance(space, allowed):
        small = (
            OFF
            if name in OFF_POLICY
            else {"n_steps": 16, "batch_size": 8, "n_epochs": 1, "lstm_hidden_size": 4}
        )
        agents.make(name, guess(space), 0, {**small, **TINY}).learn(30)
        return
    with pytest.raises(ValueError, match=rf"{name} cannot be used here: it acts in [\w, ]+ only, and .*\.$"):
        agents.make(name, guess(space), 0, {})


@pytest.mark.parametrize("name", OFF_POLICY)
def test_several_environments_fill_one_buffer(name):
    algorithm = agents.make(name, guess(GUESTS[name][0], 3), 0, {**OFF, **TINY})
    algorithm.learn(96)
    assert algorithm.replay_buffer.size() * 3 == 96
    assert algorithm.num_timesteps == 96


@pytest.mark.parametrize("name", OFF_POLICY)
def test_a_buffer_smaller_than_a_batch_is_refused(name):
    """SB3 would draw each transition many times, and say nothing."""
    with pytest.raises(ValueError, match="batch_size is 64, but the buffer keeps 63 transitions; raise"):
        agents.make(name, guess(GUESTS[name][0]), 0, {"buffer_size": 63, "batch_size": 64})
    assert agents.make(name, guess(GUESTS[name][0]), 0, {"buffer_size": 64, "batch_size": 64})


def test_what_bounds_a_guests_step_is_told_honestly():
    found = agents.catalogue()
    assert all(found[name].trust_region.startswith("none") for name in OFF_POLICY)
    assert all(found[name].trust_region.startswith("clipping") for name in ("ppo-lstm", "ppo-gru"))
    assert "n_steps" not in found["sac"].fields, (
        "in SB3's off-policy algorithms the word means something else"
    )


def test_td3s_noise_has_the_deviation_that_was_asked_for():
    space = spaces.Box(-2.0, 2.0, (2,))
    quiet = agents.make("td3", guess(space), 0, {**OFF, **TINY})
    loud = agents.make("td3", guess(space), 0, {**OFF, **TINY, "action_noise": 0.1})
    assert quiet.action_noise is None
    np.random.seed(0)
    drawn = np.stack([loud.action_noise() for _ in range(2000)])
    assert drawn.shape == (2000, 2)
    np.testing.assert_allclose(drawn.std(0), 0.1, rtol=0.1)


# The GRU.


def policy_with_gru(observations: spaces.Space | None = None, layers: int = 1, **keywords) -> GRUPolicy:
    torch.manual_seed(0)
    seen = observations or spaces.Box(-1.0, 1.0, (3,))
    keywords = {"lstm_hidden_size": 5, "n_lstm_layers": layers, "net_arch": [8], **keywords}
    return GRUPolicy(seen, BOX, lambda _: 1e-3, **keywords)


def test_the_memory_is_the_gru_of_its_docstring():
    torch.manual_seed(0)
    memory = GRUMemory(3, 4, 1)
    x, h, c = torch.randn(1, 2, 3), torch.randn(1, 2, 4), torch.randn(1, 2, 4)
    output, (after, cell) = memory(x, (h, c))
    of_x = x[0] @ memory.gru.weight_ih_l0.T + memory.gru.bias_ih_l0
    of_h = h[0] @ memory.gru.weight_hh_l0.T + memory.gru.bias_hh_l0
    (rx, zx, nx), (rh, zh, nh) = of_x.chunk(3, 1), of_h.chunk(3, 1)
    r, z = torch.sigmoid(rx + rh), torch.sigmoid(zx + zh)
    expected = (1 - z) * torch.tanh(nx + r * nh) + z * h[0]
    torch.testing.assert_close(after[0], expected)
    torch.testing.assert_close(output[0], expected)
    assert torch.equal(cell, c)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_batch_of_sequences_says_the_same_as_step_after_step(layers):
    """Two environments, seven steps, episodes that begin in the middle; some starts fall on one of them only."""
    policy = policy_with_gru(layers=layers)
    steps, envs = 7, 2
    observations = torch.rand(steps, envs, 3)
    actions = torch.rand(steps, envs, 1)
    starts = torch.zeros(steps, envs)
    starts[3, 0] = starts[5, 0] = starts[5, 1] = 1.0
    begin = (torch.randn(layers, envs, 5), torch.zeros(layers, envs, 5))
    states, one_by_one = RNNStates(begin, begin), []
    with torch.no_grad():
        for t in range(steps):
            values, log_prob, _ = policy.evaluate_actions(observations[t], actions[t], states, starts[t])
            one_by_one.append(torch.stack([values.flatten(), log_prob]))
            _, _, _, states = policy(observations[t], states, starts[t])
        flat = [
            tensor.transpose(0, 1).reshape(steps * envs, -1) for tensor in (observations, actions, starts)
        ]
        values, log_prob, _ = policy.evaluate_actions(
            flat[0], flat[1], RNNStates(begin, begin), flat[2].flatten()
        )
    at_once = torch.stack([values.flatten(), log_prob]).reshape(2, envs, steps).permute(2, 0, 1)
    torch.testing.assert_close(at_once, torch.stack(one_by_one))


def test_the_memory_lasts_through_an_episode_and_not_beyond():
    policy = policy_with_gru()

    def last(first: float, start: float) -> torch.Tensor:
        observations = torch.full((4, 3), 0.2)
        observations[0] = first
        zero = (torch.zeros(1, 1, 5), torch.zeros(1, 1, 5))
        distribution, _ = policy.get_distribution(observations, zero, torch.tensor([1.0, 0.0, start, 0.0]))
        return distribution.distribution.mean[-1].detach()

    assert not torch.allclose(last(1.0, 0.0), last(-1.0, 0.0), atol=1e-4)
    assert torch.equal(last(1.0, 1.0), last(-1.0, 1.0))


def test_the_optimizer_moves_the_gru_and_nothing_that_is_gone():
    algorithm = agents.make(
        "ppo-gru", guess(BOX), 0, {"n_steps": 32, "batch_size": 16, **TINY, "lstm_hidden_size": 6}
    )
    policy = algorithm.policy
    held = [parameter for group in policy.optimizer.param_groups for parameter in group["params"]]
    assert [id(parameter) for parameter in held] == [id(parameter) for parameter in policy.parameters()]
    assert not any(isinstance(module, torch.nn.LSTM) for module in policy.modules())
    before = {name: value.clone() for name, value in policy.named_parameters()}
    algorithm.learn(32)
    for name in ("lstm_actor.gru.weight_hh_l0", "lstm_critic.gru.weight_hh_l0"):
        assert not torch.equal(before[name], dict(policy.named_parameters())[name]), name


@pytest.mark.parametrize("name", ["ppo-lstm", "ppo-gru"])
def test_a_recurrent_guest_survives_save_and_load_to_the_bit(name, tmp_path):
    algorithm = agents.make(
        name, guess(BOX), 0, {"n_steps": 32, "batch_size": 16, "lstm_hidden_size": 6, **TINY}
    )
    algorithm.learn(32)
    algorithm.save(tmp_path / "saved")
    loaded = type(algorithm).load(tmp_path / "saved", device="cpu")
    assert all(map(torch.equal, parameters(algorithm), parameters(loaded)))
    seen, state = np.full((1, 3), 0.3, np.float32), None
    for _ in range(3):
        (mine, after), (theirs, also) = (
            one.predict(seen, state, np.array([False]), deterministic=True) for one in (algorithm, loaded)
        )
        assert np.array_equal(mine, theirs)
        assert np.array_equal(after[0], also[0])
        assert state is None or not np.array_equal(after[0], state[0]), "it remembers nothing"
        state = after


@pytest.mark.parametrize("name", ["ppo-lstm", "ppo-gru"])
@pytest.mark.parametrize(
    "seen",
    [
        spaces.Dict({"a": spaces.Box(-1.0, 1.0, (2,)), "b": spaces.Discrete(3)}),
        spaces.Box(0, 255, (36, 36, 1), np.uint8),
    ],
    ids=["dict", "image"],
)
def test_a_recurrent_guest_reads_whatever_others_read(name, seen):
    class Look(gym.Env):
        observation_space, action_space = seen, DISCRETE

        def reset(self, *, seed=None, options=None):
            self.observation_space.seed(seed)
            return self.observation_space.sample(), {}

        def step(self, action):
            return self.observation_space.sample(), float(action), False, False, {}

    settings = {"n_steps": 8, "batch_size": 4, "n_epochs": 1, "lstm_hidden_size": 4, **TINY}
    algorithm = agents.make(name, DummyVecEnv([Look]), 0, settings)
    before = parameters(algorithm)
    algorithm.learn(8)
    assert not all(map(torch.equal, before, parameters(algorithm)))
