"""The light form of the monitor: off-policy algorithms, which have no rollout to measure a KL on."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import ARS
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from rl_lab import DivergenceMonitor
from rl_lab.monitor.off_policy import Watched
from rl_lab.monitor.run_directory import read_run
from rl_lab.monitor.update import all_quantities

SMALL = {
    "learning_starts": 30,
    "buffer_size": 500,
    "batch_size": 8,
    "device": "cpu",
    "seed": 4,
}


class Little(gym.Env):
    """Three random numbers; the reward is the action until `sours`, then 0; episodes last 7 steps."""

    def __init__(self, actions, sours=None, broken_at=None):
        self.action_space, self.observation_space = actions, spaces.Box(-1, 1, (3,), np.float32)
        self.sours, self.broken_at, self.total = sours, broken_at, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.look(), {}

    def look(self):
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def step(self, action):
        self.t += 1
        self.total += 1
        reward = float(np.sum(action)) if self.sours is None else float(self.total <= self.sours)
        if self.total == self.broken_at:
            reward = float("nan")
        return self.look(), reward, False, self.t == 7, {}


BOX, DISCRETE = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(3)
ALGORITHMS = {"sac": (SAC, BOX), "td3": (TD3, BOX), "dqn": (DQN, DISCRETE)}


def make(name, **more):
    algorithm, actions = ALGORITHMS[name]
    of_task = {key: more.pop(key) for key in ("sours", "broken_at") if key in more}
    # A dictionary of its own: SB3 writes into it.
    return algorithm(
        "MlpPolicy", Little(actions, **of_task), policy_kwargs={"net_arch": [8]}, **{**SMALL, **more}
    )


def watch(folder, **more):
    return DivergenceMonitor(folder / "run", **{"random_return": 0.0, "every": 40, **more})


@pytest.fixture(params=ALGORITHMS)
def name(request):
    return request.param


def test_a_watched_run_has_the_same_bits_as_an_unwatched_one(name, tmp_path):
    alone = make(name).learn(130)
    watched = make(name).learn(130, callback=watch(tmp_path))
    pairs = list(zip(alone.policy.parameters(), watched.policy.parameters(), strict=True))
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    began = make(name).policy.parameters()
    assert not all(torch.equal(a, b) for a, (b, _) in zip(began, pairs, strict=True)), "nothing was trained"
    run = read_run(tmp_path / "run")
    assert run.status == "done"
    assert (run.path / "checkpoints" / "final.safetensors").exists()


def test_there_is_one_record_for_every_so_many_steps_and_one_for_the_rest(tmp_path):
    make("sac").learn(130, callback=watch(tmp_path))
    run = read_run(tmp_path / "run")
    assert [row["update"] for row in run.updates] == [1, 2, 3, 4]
    assert [row["env_steps"] for row in run.updates] == [40, 80, 120, 130]
    assert (run.manifest["updates"], run.manifest["env_steps"]) == (4, 130)
    for row in run.updates:
        measured = {key for key in all_quantities() if row[key] is not None}
        assert measured == {"step_norm", "relative_step"}, (
            "the rest has no meaning here, and all columns are there"
        )
        assert row["length_mean"] == 7
    assert [row["episodes"] for row in run.updates] == [5, 11, 17, 18]
    assert {"train/critic_loss", "train/actor_loss"} <= set(run.updates[-1])
    assert run.manifest["agent"]["settings"]["train_freq"] == "1 step"
    assert run.manifest["agent"]["settings"]["buffer_size"] == 500


def test_steps_are_those_of_the_trained_parameters_between_two_records(name, tmp_path):
    class Keeps(BaseCallback):
        """What the networks were at steps 0, 40, 80, 120, without those that only follow."""

        def __init__(self):
            super().__init__()
            self.kept = {}

        def _on_rollout_start(self):
            if self.num_timesteps % 40 == 0:
                networks = [self.model.q_net] if name == "dqn" else [self.model.actor, self.model.critic]
                flat = [p.detach().double().flatten() for net in networks for p in net.parameters()]
                self.kept[self.num_timesteps] = torch.cat(flat).clone()

        def _on_step(self):
            return True

    keeps = Keeps()
    make(name, train_freq=1).learn(121, callback=CallbackList([keeps, watch(tmp_path)]))
    rows = read_run(tmp_path / "run").updates
    for row, start in zip(rows, (0, 40, 80), strict=False):
        old, new = keeps.kept[start], keeps.kept[start + 40]
        assert row["step_norm"] == pytest.approx(float((new - old).norm()), rel=1e-4)
        assert row["relative_step"] == pytest.approx(float((new - old).norm() / old.norm()), rel=1e-4)
    assert rows[2]["step_norm"] > 0


def test_learning_on_continues_the_same_run(tmp_path):
    model, monitor = make("dqn"), watch(tmp_path)
    model.learn(60, callback=monitor)
    model.learn(60, callback=monitor, reset_num_timesteps=False)
    run = read_run(tmp_path / "run")
    assert [row["env_steps"] for row in run.updates] == [40, 60, 100, 120]
    assert run.status == "done"


class Poisons(BaseCallback):
    """Writes a NaN into one parameter at one step."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def _on_step(self):
        if self.num_timesteps == self.at:
            with torch.no_grad():
                next(p for n, p in self.model.policy.named_parameters() if n == "q_net.q_net.2.bias")[1] = (
                    np.nan
                )
        return True


def test_a_parameter_that_is_nan_is_named_at_once_and_ends_what_would_go_on(tmp_path):
    """DQN's argmax takes NaN without complaint: unwatched, it acts on to the last step."""
    deaf = make("dqn")
    deaf.learn(200, callback=Poisons(50))
    assert deaf.num_timesteps == 200, "this case is too easy to test anything"
    model = make("dqn", train_freq=1)
    model.learn(200, callback=CallbackList([Poisons(50), watch(tmp_path)]))
    run = read_run(tmp_path / "run")
    assert run.status == "diverged"
    assert 50 < model.num_timesteps <= 52
    (nonfinite,) = [event for event in run.events if event["event"] == "nonfinite"]
    assert (
        nonfinite["message"]
        == "first non-finite quantity: parameter q_net.q_net.0.weight after a gradient step"
    )
    assert nonfinite["details"]["quantity"] == "parameter"
    assert nonfinite["env_steps"] == 50
    (collapse,) = [event for event in run.events if event["event"] == "performance_collapse"]
    assert collapse["details"] == {"cause": "nonfinite"}


def test_a_step_size_that_destroys_the_networks_is_a_diverged_run(name, tmp_path):
    """SAC dies in torch.distributions, the other two would not."""
    monitor = watch(tmp_path)
    try:
        make(name, learning_rate=1e30).learn(200, callback=monitor)
    except ValueError:
        monitor.close("failed", "ValueError")
    run = read_run(tmp_path / "run")
    assert run.status == "diverged", run.manifest["reason"]
    assert run.manifest["events"] == {"nonfinite": 1, "performance_collapse": 1}
    assert run.manifest["env_steps"] < 100


class Overflows(BaseCallback):
    """Makes the actor's first layer so large at step 50 that what follows overflows; all parameters stay finite."""

    def _on_step(self):
        if self.num_timesteps == 50:
            with torch.no_grad():
                self.model.actor.latent_pi[0].weight.fill_(3e38)
                self.model.actor.latent_pi[0].bias.fill_(3e38)
        return True


def test_an_output_that_overflows_is_no_error_of_the_program(tmp_path):
    model, monitor = make("sac"), watch(tmp_path)
    with pytest.raises(ValueError, match="satisfy the constraint"):
        model.learn(100, callback=CallbackList([Overflows(), monitor]))
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
    monitor.close("failed", "ValueError")
    run = read_run(tmp_path / "run")
    assert run.status == "diverged"
    assert "the policy's output, though all parameters are finite" in run.manifest["reason"]


@pytest.mark.parametrize("value", [1e30, 3e38])
def test_a_large_parameter_is_still_a_number(value):
    model = make("sac")
    watched = Watched(model)
    parameter = model.actor.mu.weight
    with torch.no_grad():
        parameter[0, 0] = value
        assert not torch.isfinite(parameter.norm()), "its square does not overflow"
        assert watched.first_nonfinite() is None
        parameter[0, 0] = np.inf
        assert watched.first_nonfinite() == "actor.mu.weight"
        parameter[0, 0] = 0.0
        next(model.critic_target.parameters())[0, 0] = np.nan
    assert watched.first_nonfinite() is None, "target networks only follow"


def test_a_nan_that_the_environment_paid_is_the_environments_fault(name, tmp_path):
    """It lies in the buffer and is drawn sooner or later."""
    monitor = watch(tmp_path)
    try:
        make(name, broken_at=60).learn(400, callback=monitor)
    except ValueError:
        monitor.close("failed", "ValueError")
    run = read_run(tmp_path / "run")
    assert run.status == "failed"
    assert "reward returned by environment 0" in run.manifest["reason"]
    assert run.manifest["events"]["nonfinite"] == 1
    assert run.events[0]["env_steps"] == 60
    assert run.manifest["env_steps"] < 400


def test_a_lasting_loss_of_return_is_a_collapse(tmp_path):
    """Episodes pay 7, and from step 400 on nothing; nobody learns here."""
    make("dqn", sours=400, learning_starts=10_000).learn(1000, callback=watch(tmp_path, every=100))
    run = read_run(tmp_path / "run")
    (collapse,) = run.events
    assert collapse["event"] == "performance_collapse"
    assert collapse["details"]["return_best"] == 7.0
    assert collapse["env_steps"] in range(600, 1001)


def test_what_is_no_policy_gradient_at_all_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(TypeError, match=r"on-policy algorithms .* and off-policy ones .*; ARS is neither"):
        ARS("LinearPolicy", "Pendulum-v1").learn(10, callback=watch(tmp_path))


def test_a_record_takes_at_least_a_step():
    with pytest.raises(ValueError, match="every must be at least 1 environment step, got 0"):
        DivergenceMonitor(every=0)
