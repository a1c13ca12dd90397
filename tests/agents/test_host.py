"""The host around the rules: outcomes, early end, files, spaces."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tiny_tasks import Guess

import agents
from agents.host import RuleAlgorithm

RULES = ["ppo", "ppo-noclip", "trpo", "a2c"]
SMALL = {"n_steps": 32, "n_envs": 2}


def guess(broken_at: int | None = None, n: int = 2) -> DummyVecEnv:
    return DummyVecEnv([lambda: Monitor(Guess(broken_at=broken_at)) for _ in range(n)])


def parameters(algorithm) -> list[torch.Tensor]:
    return [p.detach().clone() for p in algorithm.policy.parameters()]


class Diary(BaseCallback):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.outcomes: list[agents.Outcome | None] = []
        self.before_update: list[torch.Tensor] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.seen.append("rollout")
        self.outcomes.append(self.model.outcome)

    def _on_rollout_end(self) -> None:
        self.before_update = parameters(self.model)

    def _on_training_end(self) -> None:
        self.seen.append("end")
        self.outcomes.append(self.model.outcome)


@pytest.mark.parametrize("name", RULES)
def test_an_update_that_is_not_finite_ends_training_with_the_last_finite_parameters(name):
    """The environment pays NaN in its 70th step, so the third rollout of 32 cannot be learnt from."""
    algorithm = agents.make(name, guess(broken_at=70), 0, SMALL)
    diary = Diary()
    algorithm.learn(1000, callback=diary)
    assert diary.seen == ["rollout", "rollout", "rollout", "end"]
    assert diary.outcomes == [None, *[agents.Outcome.ACCEPTED] * 2, agents.Outcome.NOT_FINITE]
    assert algorithm.num_timesteps == 3 * 64
    for before, after in zip(diary.before_update, parameters(algorithm), strict=True):
        assert torch.equal(before, after)
    assert all(torch.isfinite(p).all() for p in parameters(algorithm))


def test_learning_again_after_that_is_a_new_attempt():
    algorithm = agents.make("ppo", guess(broken_at=10), 0, SMALL)
    assert algorithm.learn(64).outcome is agents.Outcome.NOT_FINITE
    assert algorithm.learn(64).outcome is agents.Outcome.ACCEPTED


@pytest.mark.parametrize("name", RULES)
def test_every_rule_learns(name):
    """From near 0 to most of what there is: guessing right pays |x| a step, 0.5 on average, 4 an episode."""
    pieces = {} if name == "a2c" else {"batch_size": 256, "n_steps": 64}
    algorithm = agents.make(name, guess(n=8), 0, {"learning_rate": 1e-2, **pieces})
    algorithm.learn(8_000)
    assert np.mean([episode["r"] for episode in algorithm.ep_info_buffer]) > 1.0


@pytest.mark.parametrize("name", RULES)
def test_the_same_seed_gives_the_same_training(name):
    runs = [parameters(agents.make(name, guess(), 5, SMALL).learn(256)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    other = parameters(agents.make(name, guess(), 6, SMALL).learn(256))
    assert not torch.equal(runs[0][0], other[0])


@pytest.mark.parametrize("name", RULES)
def test_saving_and_loading_keeps_every_bit_and_the_next_updates(name, tmp_path):
    original = agents.make(name, guess(), 0, SMALL).learn(192)
    original.save(tmp_path / "agent.zip")
    loaded = RuleAlgorithm.load(tmp_path / "agent.zip", env=guess(), device="cpu")
    assert loaded.rule == original.rule
    assert all(torch.equal(a, b) for a, b in zip(parameters(original), parameters(loaded), strict=True))

    for algorithm in (original, loaded):  # what SB3 does not save: where the environments and torch stood
        algorithm.set_env(guess())
        algorithm.env.seed(1)
        torch.manual_seed(1)
        algorithm.learn(192, reset_num_timesteps=False)
    assert all(torch.equal(a, b) for a, b in zip(parameters(original), parameters(loaded), strict=True))


def test_a_host_without_a_rule_says_so():
    with pytest.raises(TypeError, match="needs a rule"):
        RuleAlgorithm("MlpPolicy", guess())


def test_a_rollout_of_one_step_is_refused():
    with pytest.raises(ValueError, match="raise n_steps or n_envs"):
        agents.make("ppo", guess(n=1), 0, {"n_steps": 1})


class Sees(gym.Env):
    """Any observation space, ten steps long."""

    def __init__(self, space: spaces.Space) -> None:
        self.observation_space, self.action_space = space, spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.clock = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.clock += 1
        return self.observation_space.sample(), float(action), False, self.clock == 10, {}


OBSERVED = {
    "vector": (spaces.Box(-1, 1, (4,)), "FlattenExtractor"),
    "float64": (spaces.Box(-1, 1, (4,), np.float64), "FlattenExtractor"),
    "index": (spaces.Discrete(5), "FlattenExtractor"),
    "image": (spaces.Box(0, 255, (40, 40, 3), np.uint8), "NatureCNN"),
    "tiny image": (spaces.Box(0, 255, (8, 8, 3), np.uint8), "FlattenExtractor"),
    "dict": (
        spaces.Dict({"a": spaces.Box(-1, 1, (4,)), "b": spaces.Discrete(3)}),
        "CombinedExtractor",
    ),
}


@pytest.mark.parametrize("name", ["ppo", "trpo", "ppo-sb3", "trpo-sb3"])
@pytest.mark.parametrize("kind", OBSERVED)
def test_the_policy_fits_the_observations(kind, name):
    """trpo on images shares its convolutions with the value function, whose steps must not move them."""
    space, extractor = OBSERVED[kind]
    envs = DummyVecEnv([lambda: Monitor(Sees(space)) for _ in range(2)])
    assert agents.refusal(name, envs.action_space, envs.observation_space) is None
    algorithm = agents.make(name, envs, 0, {"n_steps": 16, "batch_size": 16})
    before = parameters(algorithm)
    algorithm.learn(32)
    assert type(algorithm.policy.features_extractor).__name__ == extractor
    assert any(not torch.equal(a, b) for a, b in zip(before, parameters(algorithm), strict=True))


def test_settings_reach_policy_and_algorithm():
    settings = {"net_arch": (8, 4), "activation": "relu", "gamma": 0.9, "gae_lambda": 0.8, "clip_range": 0.3}
    algorithm = agents.make("ppo", guess(), 0, {**SMALL, **settings})
    assert [layer.out_features for layer in algorithm.policy.mlp_extractor.policy_net[::2]] == [8, 4]
    assert isinstance(algorithm.policy.mlp_extractor.policy_net[1], torch.nn.ReLU)
    assert (algorithm.gamma, algorithm.gae_lambda, algorithm.n_steps) == (0.9, 0.8, 32)
    assert (algorithm.rule.clip_range, algorithm.rule.learning_rate) == (0.3, 3e-4)
    assert algorithm.policy.optimizer.defaults["eps"] == 1e-5


# --- normalisation ----------------------------------------------------------------------------------

NORMALISED = {"normalize_observation": True, "normalize_reward": True}
EVERYTHING = {
    **NORMALISED,
    "clip_spikes": True,
    "gradient_norm": "adaptive",
    "l2_init": 1e-3,
    "adam_reset": True,
    "adam_betas": (0.95, 0.95),
    "entropy": "target",
    "value_loss": "hl_gauss",
    "jacobian_coef": 1e-2,
    "anneal_learning_rate": True,
}


class Notes(gym.Wrapper):
    """Writes down what the environment shows and pays."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.seen: list[np.ndarray] = []
        self.paid: list[float] = []

    def reset(self, **kwargs):
        seen, info = self.env.reset(**kwargs)
        self.seen.append(seen)
        return seen, info

    def step(self, action):
        seen, reward, *rest = self.env.step(action)
        self.paid.append(reward)
        if not (rest[0] or rest[1]):
            self.seen.append(seen)  # after an end the vector environment shows the next beginning instead
        return seen, 10 * reward, *rest


def test_normalisation_is_by_what_was_seen_and_paid_so_far():
    """One environment, by hand: running mean and variance; the return discounted and begun anew."""
    notes = Notes(Guess())
    envs = DummyVecEnv([lambda: Monitor(notes)])
    algorithm = agents.make("ppo", envs, 0, {"n_steps": 64, "n_envs": 1, "gamma": 0.9, **NORMALISED})
    algorithm.learn(64)
    buffer = algorithm.rollout_buffer

    seen, paid = np.array(notes.seen[:65], dtype=np.float64), 10 * np.array(notes.paid[:64])
    # SB3 begins with mean 0 and variance 1 of 1e-4 samples that nobody saw.
    for t in (0, 10, 63):
        mean, spread = seen[: t + 1].mean(0), seen[: t + 1].std(0)
        expected = np.clip((seen[t] - mean) / np.sqrt(spread**2 + 1e-8), -10, 10)
        assert np.allclose(buffer.observations[t, 0], expected, atol=0.02), t
    total, totals = 0.0, []
    for t in range(64):
        total = 0.9 * total + paid[t]
        totals.append(total)
        if t < 63 and buffer.episode_starts[t + 1, 0]:
            total = 0.0
    # Where an episode ran out of time SB3 adds the value of its last state.
    inside = [t for t in range(20, 63) if not buffer.episode_starts[t + 1, 0]]
    assert len(inside) > 20
    for t in inside:
        assert buffer.rewards[t, 0] == pytest.approx(paid[t] / np.std(totals[: t + 1]), rel=1e-3), t


def test_episode_returns_stay_as_paid():
    notes = Notes(Guess())
    envs = DummyVecEnv([lambda: Monitor(notes)])
    algorithm = agents.make("ppo", envs, 0, {"n_steps": 64, "n_envs": 1, **NORMALISED}).learn(64)
    first = algorithm.ep_info_buffer[0]
    assert first["r"] == pytest.approx(10 * sum(notes.paid[: first["l"]]), abs=1e-5)


def test_discounts_of_normaliser_and_advantages_are_the_same():
    algorithm = agents.make("ppo", guess(), 0, {**SMALL, **NORMALISED, "gamma": 0.7})
    assert algorithm.normalizer.gamma == 0.7
    assert agents.make("ppo", guess(), 0, SMALL).normalizer is None


@pytest.mark.parametrize("kind", ["index", "image"])
def test_observations_that_are_no_floats_are_not_normalised(kind):
    envs = DummyVecEnv([lambda: Sees(OBSERVED[kind][0])])
    with pytest.raises(ValueError, match="needs observations that are floats, and the observation space is"):
        agents.make("ppo", envs, 0, {"n_envs": 1, "normalize_observation": True})
    with pytest.raises(ValueError, match="needs observations that are floats, and the observation space is"):
        agents.make("ppo", envs, 0, {"n_envs": 1, "jacobian_coef": 0.1})
    assert agents.make("ppo", envs, 0, {"n_envs": 1, "normalize_reward": True}).normalizer is not None


def test_parts_of_a_dict_that_are_floats_are_normalised_and_the_others_seen_as_they_are():
    space = spaces.Dict(
        {
            "a": spaces.Box(0, 100, (2,)),
            "b": spaces.Discrete(3),
            "c": spaces.Box(0, 255, (40, 40, 1), np.uint8),
        }
    )
    envs = DummyVecEnv([lambda: Monitor(Sees(space)) for _ in range(2)])
    algorithm = agents.make("ppo", envs, 0, {"n_steps": 16, "n_envs": 2, "normalize_observation": True})
    algorithm.learn(32)
    seen = algorithm.rollout_buffer.observations
    assert np.abs(seen["a"]).max() < 6
    assert set(np.unique(seen["b"])) == {0, 1, 2}
    assert seen["c"].max() > 200


def test_saving_and_loading_keeps_stabilisers_memory_and_statistics(tmp_path):
    original = agents.make("ppo", guess(), 0, {**SMALL, **EVERYTHING}).learn(192)
    original.save(tmp_path / "agent.zip")
    loaded = RuleAlgorithm.load(tmp_path / "agent.zip", env=guess(), device="cpu")
    assert loaded.stabilisers == original.stabilisers
    assert len(original.memory) == 6
    assert loaded.memory.keys() == original.memory.keys()
    assert all(torch.equal(loaded.memory[name], entry) for name, entry in original.memory.items())
    assert isinstance(loaded.get_env(), VecNormalize)
    assert loaded.get_vec_normalize_env() is loaded.normalizer
    assert np.array_equal(loaded.normalizer.obs_rms.mean, original.normalizer.obs_rms.mean)
    assert loaded.normalizer.ret_rms.var == original.normalizer.ret_rms.var != 1.0

    for algorithm in (original, loaded):
        algorithm.set_env(guess())
        assert algorithm.normalizer.ret_rms.count > 192
        algorithm.env.seed(1)
        torch.manual_seed(1)
        algorithm.learn(192, reset_num_timesteps=False)
    assert all(torch.equal(a, b) for a, b in zip(parameters(original), parameters(loaded), strict=True))
    assert np.array_equal(loaded.normalizer.obs_rms.mean, original.normalizer.obs_rms.mean)


def test_environments_with_their_own_normalisation_keep_it():
    algorithm = agents.make("ppo", guess(), 0, {**SMALL, **NORMALISED}).learn(64)
    own = VecNormalize(guess(), norm_obs=False)
    algorithm.set_env(own)
    assert algorithm.get_env() is own
    assert algorithm.normalizer is own


def test_without_environments_a_loaded_agent_still_knows_the_statistics(tmp_path):
    agents.make("ppo", guess(), 0, {**SMALL, **NORMALISED}).learn(64).save(tmp_path / "agent.zip")
    loaded = RuleAlgorithm.load(tmp_path / "agent.zip", device="cpu")
    action, _ = loaded.predict(loaded.normalizer.normalize_obs(np.zeros(3, np.float32)))
    assert action.shape == (1,)


def test_a_reward_that_is_not_finite_does_not_stay_in_the_statistics():
    algorithm = agents.make("ppo", guess(broken_at=40), 0, {**SMALL, **NORMALISED})
    algorithm.learn(64)
    before = algorithm.normalizer.ret_rms.var
    assert algorithm.learn(64).outcome is agents.Outcome.NOT_FINITE
    assert algorithm.normalizer.ret_rms.var == before
    assert np.isfinite(algorithm.normalizer.returns).all()
    assert algorithm.learn(64, reset_num_timesteps=False).outcome is agents.Outcome.ACCEPTED


def test_a_loaded_agent_without_environments_can_be_saved_again(tmp_path):
    original = agents.make("ppo", guess(), 0, {**SMALL, **NORMALISED}).learn(64)
    original.save(tmp_path / "a")
    type(original).load(tmp_path / "a").save(tmp_path / "b")
    again = type(original).load(tmp_path / "b", env=guess())
    assert np.array_equal(again.normalizer.obs_rms.mean, original.normalizer.obs_rms.mean)
    assert again.learn(64).outcome is agents.Outcome.ACCEPTED


@pytest.mark.parametrize("steps", [100, 20])
def test_an_annealed_rate_never_turns_negative(steps):
    """The last rollout goes beyond the steps that were asked for, or is the only one."""
    settings = {**SMALL, "anneal_learning_rate": True, "entropy": "annealed", "ent_coef": 0.01}
    algorithm = agents.make("ppo", guess(), 0, settings).learn(steps)
    assert algorithm.num_timesteps > steps
    assert algorithm.logger.name_to_value["train/learning_rate"] == 0.0
    assert algorithm.logger.name_to_value["train/ent_coef"] == 0.0


def test_the_log_says_the_share_of_returns_that_the_bins_cannot_hold():
    """A sixth of the width that the task needs; the share is that of the returns in the buffer."""
    settings = {**SMALL, "value_loss": "hl_gauss", "value_min": -0.1, "value_max": 0.1, "n_epochs": 1}
    algorithm = agents.make("ppo", guess(), 0, settings).learn(64)
    beyond = (abs(algorithm.rollout_buffer.returns) > 0.1).mean()
    assert 0.1 < beyond < 1.0
    assert algorithm.logger.name_to_value["train/returns_beyond_bins"] == pytest.approx(beyond)


def test_the_log_says_what_the_stabilisers_did():
    algorithm = agents.make("ppo", guess(), 0, {**SMALL, **EVERYTHING}).learn(64)
    logged = algorithm.logger.name_to_value
    for name in ("ent_coef", "entropy_target", "entropy_integral", "roughness", "grad_norm"):
        assert np.isfinite(logged[f"train/{name}"]), name
    assert "train/initial_parameters" not in logged


def test_the_log_says_the_learning_rate_that_was_used_and_not_the_one_that_is_remembered():
    """ppo-adaptive-lr remembers the rate it has found; annealed to the end of training, what is used is 0."""
    settings = {**SMALL, "anneal_learning_rate": True}
    algorithm = agents.make("ppo-adaptive-lr", guess(), 0, settings).learn(128)
    assert algorithm.memory["learning_rate"] > 0
    assert algorithm.logger.name_to_value["train/learning_rate"] == 0.0
