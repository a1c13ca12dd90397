"""The contract of the monitor with every on-policy algorithm of stable-baselines3 and sb3-contrib."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import TRPO, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from agents.stock.recurrent import GRUPolicy
from rl_lab import DivergenceMonitor
from rl_lab.monitor.measure.path import KLPath
from rl_lab.monitor.measure.rollout import appraise, judge, read
from rl_lab.monitor.record.run_directory import read_run


class Little(gym.Env):
    """A task for any action space: reward depends on the action, episodes last 17 steps."""

    def __init__(self, action_space, observation_space=None):
        self.action_space = action_space
        self.observation_space = observation_space or spaces.Box(-1, 1, (3,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample(), {}

    def step(self, action):
        self.t += 1
        return self.observation_space.sample(), float(np.sum(action)), False, self.t == 17, {}

    def action_masks(self):
        masks = np.ones(self.action_space.n, bool)
        masks[self.t % self.action_space.n] = False
        return masks


BOX, DISCRETE = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(4)
MULTI, BINARY = spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(3)
DICT = spaces.Dict({"a": spaces.Box(-1, 1, (2,), np.float32), "b": spaces.Discrete(3)})
MEMORY = {"batch_size": 32, "n_epochs": 3, "policy_kwargs": {"lstm_hidden_size": 16}}
CASES = {
    "ppo-box": (PPO, "MlpPolicy", BOX, None, {"batch_size": 32}),
    "ppo-discrete": (PPO, "MlpPolicy", DISCRETE, None, {"batch_size": 32}),
    "ppo-multidiscrete": (PPO, "MlpPolicy", MULTI, None, {"batch_size": 32}),
    "ppo-multibinary": (PPO, "MlpPolicy", BINARY, None, {"batch_size": 32}),
    "ppo-gsde": (PPO, "MlpPolicy", BOX, None, {"batch_size": 32, "use_sde": True}),
    "ppo-squashed": (
        PPO, "MlpPolicy", BOX, None, {"batch_size": 32, "use_sde": True, "policy_kwargs": {"squash_output": True}},
    ),
    "ppo-dict": (PPO, "MultiInputPolicy", BOX, DICT, {"batch_size": 32}),
    "a2c": (A2C, "MlpPolicy", BOX, None, {}),
    "trpo": (TRPO, "MlpPolicy", BOX, None, {"batch_size": 32}),
    "trpo-discrete": (TRPO, "MlpPolicy", DISCRETE, None, {"batch_size": 32}),
    "lstm": (RecurrentPPO, "MlpLstmPolicy", BOX, None, MEMORY),
    "lstm-discrete": (RecurrentPPO, "MlpLstmPolicy", DISCRETE, None, MEMORY),
    "gru": (RecurrentPPO, GRUPolicy, BOX, None, MEMORY),
    "maskable": (MaskablePPO, "MlpPolicy", DISCRETE, None, {"batch_size": 32}),
}  # fmt: skip
N_STEPS, N_ENVS, UPDATES = 48, 2, 3
CLIP = torch.nn.utils.clip_grad_norm_
EVERYWHERE = (
    "kl_mean", "kl_k3", "first_kl", "probe_kl_mean", "gradient_norm_value", "gradient_steps", "optimizer_norm",
    "return_scale", "kl_path_first", "dormant_share", "feature_norm", "preactivation_norm",
)  # fmt: skip
"""Columns that no algorithm lacks."""


def make(case, **more):
    algorithm, policy, actions, observations, settings = CASES[case]
    env = make_vec_env(lambda: Little(actions, observations), n_envs=N_ENVS, seed=5)
    return algorithm(policy, env, n_steps=N_STEPS, seed=5, device="cpu", **settings, **more)


@pytest.fixture(params=CASES)
def case(request):
    return request.param


def hooks(model):
    policy = model.policy
    return [
        *(h for p in policy.parameters() for h in p._post_accumulate_grad_hooks or ()),
        *(h for m in policy.modules() for h in (*m._forward_hooks, *m._forward_pre_hooks)),
        *policy.optimizer._optimizer_step_post_hooks,
    ]


class AtRolloutEnd(BaseCallback):
    """Calls a function when a rollout is complete."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        self.function(self.model)


def test_the_recomputed_log_probabilities_and_values_are_those_the_algorithm_acted_with(case):
    """Order of rows, masks and recurrent states are right, or these numbers differ."""

    def check(model):
        rollout = read(model)
        _, log_prob = judge(model.policy, rollout)
        stored = RolloutBuffer.swap_and_flatten(model.rollout_buffer.log_probs).ravel()
        np.testing.assert_allclose(log_prob, stored, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(appraise(model.policy, rollout), rollout.values, rtol=1e-4, atol=1e-5)

    make(case).learn(UPDATES * N_STEPS * N_ENVS, callback=AtRolloutEnd(check))


def test_a_watched_run_has_the_same_bits_as_an_unwatched_one(case, tmp_path):
    """The monitor draws no random number and changes nothing, even where it looks at everything."""
    alone = make(case).learn(UPDATES * N_STEPS * N_ENVS)
    monitor = DivergenceMonitor(tmp_path / "run", level="full", random_return=0.0)
    watched = make(case).learn(UPDATES * N_STEPS * N_ENVS, callback=monitor)
    for mine, theirs in zip(watched.policy.parameters(), alone.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert not hooks(watched), "a hook was left behind"
    assert torch.nn.utils.clip_grad_norm_ is CLIP
    rows = read_run(tmp_path / "run").updates
    assert [row["update"] for row in rows] == [1, 2, 3], "every update is there, the last one too"
    assert all(np.isfinite(row["kl_mean"]) and row["kl_mean"] > 0 for row in rows)
    assert rows[-1]["env_steps"] == UPDATES * N_STEPS * N_ENVS
    assert all(rows[-1][name] is not None and np.isfinite(rows[-1][name]) for name in EVERYWHERE)
    assert all(0 < row["kl_path_max"] < 10 for row in rows)
    assert all(
        1 <= row[name] <= 64 for row in rows for name in ("feature_rank", "stable_rank", "value_feature_rank")
    )


@pytest.mark.parametrize("level", ["light", "standard"])
@pytest.mark.parametrize("case", ["ppo-box", "trpo", "maskable"])
def test_the_lower_levels_change_nothing_either(case, level, tmp_path):
    alone = make(case).learn(2 * N_STEPS * N_ENVS)
    monitor = DivergenceMonitor(tmp_path / "run", level=level, random_return=0.0)
    watched = make(case).learn(2 * N_STEPS * N_ENVS, callback=monitor)
    for mine, theirs in zip(watched.policy.parameters(), alone.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_path_ends_at_the_update_for_every_kind_of_policy(case, tmp_path, monkeypatch):
    """On all states of the rollout, the KL after the last gradient step is that of the update."""
    monkeypatch.setattr("rl_lab.monitor.measure.on_policy.HELD_OUT", N_STEPS * N_ENVS)
    ends, sketch = [], KLPath.sketch.func
    monkeypatch.setattr(KLPath.sketch, "func", lambda path: ends.append(path.kl_mean[-1]) or sketch(path))
    make(case).learn(
        N_STEPS * N_ENVS, callback=DivergenceMonitor(tmp_path / "run", level="full", random_return=0.0)
    )
    (row,) = read_run(tmp_path / "run").updates
    assert ends[0] == pytest.approx(row["kl_mean"], rel=1e-5)


def test_of_a_recurrent_rollout_a_part_is_judged_as_in_the_whole():
    """The first steps of all environments, with the states of the memory that belong to them."""
    seen = []
    make("lstm").learn(
        2 * N_STEPS * N_ENVS, callback=AtRolloutEnd(lambda model: seen.append((read(model), model.policy)))
    )
    whole, policy = seen[-1]
    some = whole.some(40)
    rows = [env * N_STEPS + step for env in range(N_ENVS) for step in range(20)]
    assert torch.equal(some.actions, whole.actions[rows])
    (part, log_prob), (full, full_log_prob) = judge(policy, some), judge(policy, whole)
    np.testing.assert_allclose(part.mean, full.mean[rows], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(log_prob, full_log_prob[rows], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(appraise(policy, some), appraise(policy, whole)[rows], rtol=1e-4, atol=1e-6)
    assert len(whole.some(1)) == 1


def test_kl_and_ratio_are_those_of_the_whole_update_over_the_whole_rollout(tmp_path):
    """Against torch, with the policies before and after kept by somebody else."""
    model = make("ppo-box", learning_rate=3e-2)
    kept = {}

    def keep(model):
        flat = RolloutBuffer.swap_and_flatten
        kept["observations"] = torch.as_tensor(flat(model.rollout_buffer.observations))
        kept["actions"] = torch.as_tensor(flat(model.rollout_buffer.actions))
        with torch.no_grad():
            kept["before"] = model.policy.get_distribution(kept["observations"]).distribution

    monitor = DivergenceMonitor(tmp_path / "run", random_return=0.0)
    model.learn(N_STEPS * N_ENVS, callback=CallbackList([AtRolloutEnd(keep), monitor]))
    with torch.no_grad():
        before, after = kept["before"], model.policy.get_distribution(kept["observations"]).distribution
    kl = torch.distributions.kl_divergence(before, after).sum(1)
    reverse = torch.distributions.kl_divergence(after, before).sum(1)
    ratio = (after.log_prob(kept["actions"]) - before.log_prob(kept["actions"])).sum(1).exp()
    (row,) = read_run(tmp_path / "run").updates
    assert kl.mean() > 0.05, "an update too small to test anything"
    assert row["kl_mean"] == pytest.approx(float(kl.mean()), rel=1e-5)
    assert row["kl_max"] == pytest.approx(float(kl.max()), rel=1e-5)
    assert row["reverse_kl_mean"] == pytest.approx(float(reverse.mean()), rel=1e-5)
    assert row["kl_mean_shift"] + row["kl_covariance"] == pytest.approx(row["kl_mean"])
    assert row["ratio_max"] == pytest.approx(float(ratio.max()), rel=1e-4)
    assert row["ratio_outside"] == pytest.approx(float((abs(ratio - 1) > 0.2).float().mean()))


@pytest.mark.parametrize("case", ["ppo-box", "a2c", "lstm", "gru"])
def test_gradient_norms_are_those_that_clipping_sees(case, tmp_path, monkeypatch):
    seen = []
    clip = torch.nn.utils.clip_grad_norm_

    def listen(*args, **kwargs):
        seen.append(float(clip(*args, **kwargs)))
        return torch.tensor(seen[-1])

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", listen)
    make(case).learn(N_STEPS * N_ENVS, callback=DivergenceMonitor(tmp_path / "run", random_return=0.0))
    (row,) = read_run(tmp_path / "run").updates
    assert row["minibatches"] == len(seen)
    assert row["gradient_norm"] == pytest.approx(np.mean(seen), rel=1e-5)
    assert row["gradient_norm_max"] == pytest.approx(np.max(seen), rel=1e-5)


def test_policy_and_value_gradients_make_up_the_whole():
    from rl_lab.monitor.measure.gradients import GradientRecorder

    policy = make("ppo-box").policy
    recorder = GradientRecorder(policy)
    recorder.attach()
    observations = torch.zeros(4, 3)
    policy.predict_values(observations).sum().backward()
    policy.zero_grad()
    policy.get_distribution(observations).log_prob(torch.zeros(4, 2)).sum().backward()
    gradients = recorder.detach()
    value_only, policy_only = gradients.norms
    names = np.array(gradients.names)
    assert {n.split(".")[0] for n in names[value_only >= 0]} == {"mlp_extractor", "value_net"}
    assert {n.split(".")[0] for n in names[policy_only >= 0]} == {"mlp_extractor", "action_net", "log_std"}
    assert len(gradients.total("value")) == 1
    assert len(gradients.total("policy")) == 1
    assert gradients.total("all") == pytest.approx(
        np.concatenate([gradients.total("value"), gradients.total("policy")])
    )


def test_returns_are_what_the_environment_paid_although_the_normaliser_rescales(tmp_path):
    env = VecNormalize(make_vec_env(lambda: Little(BOX), n_envs=2, seed=1))
    model = PPO("MlpPolicy", env, n_steps=64, batch_size=32, seed=1)
    model.learn(256, callback=DivergenceMonitor(tmp_path / "run", random_return=0.0))
    paid = [episode["r"] for episode in model.ep_info_buffer]
    rows = read_run(tmp_path / "run").updates
    assert rows[-1]["episodes"] == len(paid)
    assert rows[-1]["return_smooth"] == pytest.approx(np.mean(paid[-20:]))
    assert rows[-1]["length_mean"] == 17


@pytest.mark.parametrize("wrapped", [VecNormalize, lambda env: env])
@pytest.mark.parametrize(("is_cut", "inside"), [(False, 16), (True, 517)])
def test_rewards_are_those_that_the_environment_paid_although_wrappers_and_sb3_change_them(
    wrapped, is_cut, inside, tmp_path
):
    """What is paid goes up by 1 a step, and with the last one by 500; VecNormalize rescales, SB3 adds values.

    With a step after which an episode is merely cut off nothing is paid that ends it: it is one like any other.
    """

    class Growing(Little):
        def step(self, action):
            observation, _, _, is_over, info = super().step(action)
            return (
                observation,
                float(self.t + 500 * is_over),
                is_over and not is_cut,
                is_cut and is_over,
                info,
            )

    env = wrapped(make_vec_env(lambda: Growing(BOX), n_envs=2, seed=1))
    PPO("MlpPolicy", env, n_steps=34, batch_size=17, seed=1).learn(
        136, callback=DivergenceMonitor(tmp_path / "run", level="light", random_return=0.0)
    )
    paid = [*range(1, 17), 517]
    for row in read_run(tmp_path / "run").updates:
        known = inside if row["update"] > 1 else 16  # what is paid with the first cuts is news
        assert (row["paid_max"], row["paid_inside_max"]) == (517, known)
        assert row["paid_scale"] == pytest.approx(np.sqrt(np.mean(np.square(paid))))
        assert (row["reward_max"] == 517) == (not is_cut and wrapped is not VecNormalize)


class Own:
    """A distribution of a user's own, of none of the classes of stable-baselines3."""

    def __init__(self, inner):
        self.distribution = inner

    def get_actions(self, deterministic=False):
        return self.distribution.sample()

    def mode(self):
        return self.distribution.mode

    def log_prob(self, actions):
        return self.distribution.log_prob(actions)

    def entropy(self):
        return self.distribution.entropy()


def with_own(inner):
    model = make("ppo-discrete")
    model.policy.action_dist = Own(None)
    model.policy._get_action_dist_from_latent = lambda latent: Own(inner(model.policy.action_net(latent)))
    return model


def test_a_policy_that_cannot_be_measured_is_refused_before_training_begins(tmp_path):
    model = with_own(lambda output: torch.distributions.Poisson(output.exp()))
    with pytest.raises(TypeError, match="cannot measure a Own; it knows those of the kinds DiagGaussian"):
        model.learn(N_STEPS * N_ENVS, callback=DivergenceMonitor(tmp_path / "run", random_return=0.0))
    assert not (tmp_path / "run").exists()


def test_a_distribution_of_ones_own_that_can_be_read_is_measured(tmp_path):
    model = with_own(lambda logits: torch.distributions.Categorical(logits=logits))
    model.learn(N_STEPS * N_ENVS, callback=DivergenceMonitor(tmp_path / "run", random_return=0.0))
    assert read_run(tmp_path / "run").updates[0]["kl_mean"] > 0


def test_without_sb3s_monitor_the_returns_are_added_up(tmp_path):
    from stable_baselines3.common.vec_env import DummyVecEnv

    class OneAStep(Little):
        def step(self, action):
            observation, _, terminated, truncated, info = super().step(action)
            return observation, 1.0, terminated, truncated, info

    env = DummyVecEnv([lambda: OneAStep(BOX)])
    PPO("MlpPolicy", env, n_steps=64, batch_size=32).learn(64, callback=DivergenceMonitor(tmp_path / "run"))
    (row,) = read_run(tmp_path / "run").updates
    assert row["return_mean"] == row["length_mean"] == 17
    assert row["episodes"] == 3


def test_learning_on_continues_the_same_run(tmp_path):
    model, monitor = make("ppo-box"), DivergenceMonitor(tmp_path / "run", random_return=0.0)
    model.learn(N_STEPS * N_ENVS, callback=monitor)
    model.learn(N_STEPS * N_ENVS, callback=monitor, reset_num_timesteps=False)
    run = read_run(tmp_path / "run")
    assert [row["update"] for row in run.updates] == [1, 2]
    assert run.status == "done"


def test_steps_that_nobody_saw_between_two_calls_of_learn_are_no_jump(tmp_path):
    """A rollout that was broken off lies between: ten steps of a fall that went on all the while."""

    class Falling(Little):
        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return np.zeros(3, np.float32), {}

        def step(self, action):
            self.t += 1
            return np.full(3, (self.t / 100) ** 2, np.float32), 0.0, False, False, {}

    class AfterTenSteps(BaseCallback):
        def _on_step(self):
            return self.num_timesteps < 4 * (20 + 10)

    env = make_vec_env(lambda: Falling(BOX), n_envs=4)
    monitor = DivergenceMonitor(tmp_path / "run", level="light", random_return=0.0)
    model = PPO("MlpPolicy", env, n_steps=20, batch_size=80, n_epochs=1, seed=1)
    model.learn(10**6, callback=CallbackList([AfterTenSteps(), monitor]))
    model.learn(2 * 80, callback=monitor, reset_num_timesteps=False)
    jumps = [row["observation_jump"] for row in read_run(tmp_path / "run").updates]
    assert len(jumps) == 3
    assert max(jumps) < 1.1
