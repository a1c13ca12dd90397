"""Off-policy algorithms: no rollout, so their policies are compared on states from the replay buffer."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import ARS, QRDQN, TQC, CrossQ
from stable_baselines3 import DDPG, DQN, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch.distributions import Normal, kl_divergence

from rl_lab import DivergenceMonitor
from rl_lab.monitor.measure import drift
from rl_lab.monitor.measure.off_policy import Watched
from rl_lab.monitor.measure.update import all_quantities, measure
from rl_lab.monitor.quantities import Level
from rl_lab.monitor.record.run_directory import read_run

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
OTHERS = {"tqc": (TQC, BOX), "crossq": (CrossQ, BOX), "ddpg": (DDPG, BOX), "qrdqn": (QRDQN, DISCRETE)}


def make(name, **more):
    algorithm, actions = {**ALGORITHMS, **OTHERS}[name]
    of_task = {key: more.pop(key) for key in ("actions", "sours", "broken_at") if key in more}
    # A dictionary of its own: SB3 writes into it.
    return algorithm(
        "MlpPolicy",
        Little(**{"actions": actions, **of_task}),
        **{"policy_kwargs": {"net_arch": [8]}, **SMALL, **more},
    )


def watch(folder, **more):
    return DivergenceMonitor(folder / "run", **{"random_return": 0.0, "every": 40, **more})


@pytest.fixture(params=ALGORITHMS)
def name(request):
    return request.param


@pytest.mark.parametrize("name", [*ALGORITHMS, *OTHERS])
def test_a_watched_run_has_the_same_bits_as_an_unwatched_one(name, tmp_path):
    """The buffer is full at step 60, so that networks are asked about the states in it at 80, 120 and 130."""
    settings = {"buffer_size": 60, "train_freq": 4, **({"use_sde": True} if name == "sac" else {})}
    alone = make(name, **settings).learn(130)
    watched = make(name, **settings).learn(130, callback=watch(tmp_path))
    pairs = list(zip(alone.policy.state_dict().values(), watched.policy.state_dict().values(), strict=True))
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    began = make(name, **settings).policy.state_dict().values()
    assert not all(torch.equal(a, b) for a, (b, _) in zip(began, pairs, strict=True)), "nothing was trained"
    run = read_run(tmp_path / "run")
    assert run.status == "done"
    assert (run.path / "checkpoints" / "final.safetensors").exists()
    moves = "greedy_changed" if name in ("dqn", "qrdqn") else "action_drift"
    assert [row[moves] is None for row in run.updates] == [True, True, False, False]
    assert all(row["q_scale"] > 0 for row in run.updates[2:])
    has_kl = name in ("sac", "tqc", "crossq")
    assert all((row["probe_kl_mean"] is not None) == has_kl for row in run.updates[2:])
    assert run.updates[2]["probe_kl_mean" if has_kl else moves] > 0 or name in ("dqn", "qrdqn")


def test_there_is_one_record_for_every_so_many_steps_and_one_for_the_rest(tmp_path):
    make("sac").learn(130, callback=watch(tmp_path))
    run = read_run(tmp_path / "run")
    assert [row["update"] for row in run.updates] == [1, 2, 3, 4]
    assert [row["env_steps"] for row in run.updates] == [40, 80, 120, 130]
    assert (run.manifest["updates"], run.manifest["env_steps"]) == (4, 130)
    for row in run.updates:
        measured = {key for key in all_quantities(Level.STANDARD) if row[key] is not None}
        paid = {"paid_scale", "paid_max", "paid_inside_max"}
        assert measured == {"step_norm", "relative_step", "weight_norm"} | paid, (
            "the buffer holds too few states for more, and all columns are there"
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


def test_a_model_that_was_repaired_goes_on(tmp_path):
    model, monitor = make("dqn", train_freq=1), watch(tmp_path)
    good = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(200, callback=CallbackList([Poisons(50), monitor]))
    assert model.num_timesteps < 60
    model.policy.load_state_dict(good)
    model.policy.optimizer.state.clear()
    model.learn(100, callback=monitor, reset_num_timesteps=False)
    assert model.num_timesteps > 140
    assert read_run(tmp_path / "run").status == "done"


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


# What the networks answer on states from the replay buffer.


def filled(name, steps=70, **more):
    """An algorithm with a full buffer that has not been trained yet."""
    model = make(name, **{"buffer_size": 60, "learning_starts": 10_000, **more})
    model.learn(steps)
    return model


def disturb(module, by=0.3):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += by * torch.randn(parameter.shape, generator=generator)


def row_of(model, change):
    """The probe states, and the record of a stretch in which `change` is all that happens."""
    watched = Watched(model)
    watched.end_stretch()
    change()
    update = watched.end_stretch()
    return drift.probe(model), update, measure(update, Level.STANDARD)


def gaussian(actor, states):
    """The distribution before its tanh as stable-baselines3 makes it."""
    with torch.no_grad():
        mean, log_std, more = actor.get_action_dist_params(states)
        made = actor.action_dist.proba_distribution(mean, log_std, **more).distribution
        return Normal(made.mean.double(), made.stddev.double())


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("sac", {}),
        ("tqc", {}),
        ("sac", {"use_sde": True}),
        ("sac", {"use_sde": True, "policy_kwargs": {"use_expln": True, "net_arch": [8]}}),
    ],
)
def test_the_kl_on_the_probe_is_that_of_torch(name, more):
    model = filled(name, **more)
    states = drift.probe(model)
    old = gaussian(model.actor, states)
    _, _, row = row_of(model, lambda: disturb(model.actor, 0.05))
    new = gaussian(model.actor, states)
    expected = kl_divergence(old, new).sum(dim=1)
    assert expected.mean() > 1e-3, "nothing moved"
    assert row["probe_kl_mean"] == pytest.approx(float(expected.mean()), rel=1e-5)
    assert row["probe_kl_max"] == pytest.approx(float(expected.max()), rel=1e-5)
    assert row["probe_entropy"] == pytest.approx(float(new.entropy().sum(dim=1).mean()), rel=1e-5)
    assert row["kl_mean"] is None, "that is about a rollout"
    assert row["ratio_max"] is None


def test_squashing_leaves_the_kl_what_it_is():
    """Against the mean log ratio of 40,000 squashed samples, by stable-baselines3's own density of them."""
    model = filled("sac")
    states = drift.probe(model)[:1].repeat(40_000, 1)
    actor = model.actor
    torch.manual_seed(0)
    with torch.no_grad():
        actions, before = actor.action_log_prob(states)
        raw = actor.action_dist.gaussian_actions
    one = drift.answers(model, states[:1]).gaussian
    disturb(actor, 0.1)
    with torch.no_grad():
        mean, log_std, _ = actor.get_action_dist_params(states)
        after = actor.action_dist.proba_distribution(mean, log_std).log_prob(actions, raw)
    ratio = (before - after).double().numpy()
    exact = float(one.kl(drift.answers(model, states[:1]).gaussian)[0])
    assert exact > 0.01, "nothing moved"
    assert abs(ratio.mean() - exact) < 5 * ratio.std() / np.sqrt(len(ratio))


@pytest.mark.parametrize("name", ["td3", "ddpg", "sac", "crossq"])
def test_action_drift_is_the_change_of_the_predicted_action_in_shares_of_its_range(name):
    low, high = np.array([-3.0, 0.0], np.float32), np.array([5.0, 0.5], np.float32)
    model = filled(name, actions=spaces.Box(low, high))
    states = drift.probe(model).numpy()
    old, _ = model.predict(states, deterministic=True)
    _, _, row = row_of(model, lambda: disturb(model.actor))
    new, _ = model.predict(states, deterministic=True)
    expected = np.sqrt((((new - old) / (high - low)) ** 2).mean())
    assert expected > 0.01, "nothing moved"
    assert row["action_drift"] == pytest.approx(expected, rel=1e-5)
    assert row["greedy_changed"] is None
    assert (row["probe_kl_mean"] is None) == (name in ("td3", "ddpg"))


@pytest.mark.parametrize("name", ["dqn", "qrdqn"])
def test_greedy_changed_is_the_share_of_states_with_another_argmax(name):
    model = filled(name)
    states = drift.probe(model).numpy()
    old, _ = model.predict(states, deterministic=True)
    _, _, row = row_of(model, lambda: disturb(model.policy))
    new, _ = model.predict(states, deterministic=True)
    assert 0 < (old != new).mean() < 1, "this case is too easy to test anything"
    assert row["greedy_changed"] == (old != new).mean()
    assert row["action_drift"] is None
    assert row["probe_kl_mean"] is None, "the KL of greedy policies is 0 or infinite"


def test_q_scale_is_the_root_mean_square_of_the_least_critic():
    for name in ("sac", "tqc", "td3", "dqn", "qrdqn"):
        model = filled(name)
        states, _, row = row_of(model, lambda: None)
        with torch.no_grad():
            if name == "dqn":
                values = [max(model.q_net(state[None])[0].tolist()) for state in states]
            elif name == "qrdqn":
                values = [
                    max(np.mean(model.quantile_net(state[None])[0].numpy(), axis=0)) for state in states
                ]
            else:
                actions = [
                    model.actor(state[None], True) if name != "td3" else model.actor(state[None])
                    for state in states
                ]
                said = [model.critic(state[None], a) for state, a in zip(states, actions, strict=True)]
                if name == "tqc":
                    values = [min(np.mean(critic) for critic in q[0].numpy()) for q in said]
                else:
                    values = [min(float(critic) for critic in q) for q in said]
        assert row["q_scale"] == pytest.approx(np.sqrt(np.mean(np.square(values))), rel=1e-5), name


def test_the_probe_is_spread_evenly_over_the_buffer_and_draws_no_random_number():
    envs = DummyVecEnv([lambda: Little(BOX), lambda: Little(BOX)])
    model = SAC("MlpPolicy", envs, policy_kwargs={"net_arch": [8]}, **{**SMALL, "learning_starts": 10_000})
    model.learn(240)
    assert drift.probe(model) is None, "240 states are not 256"
    model.learn(80, reset_num_timesteps=False)
    numpy, generator = np.random.get_state()[1].copy(), torch.get_rng_state()
    states = drift.probe(model)
    assert (np.random.get_state()[1] == numpy).all()
    assert torch.equal(torch.get_rng_state(), generator)
    in_order = model.replay_buffer.observations[:160].reshape(320, 3)
    rows = [int(np.flatnonzero((in_order == state).all(axis=1))[0]) for state in states.numpy()]
    assert len(rows) == len(set(rows)) == 256
    assert (rows[0], rows[-1]) == (0, 319)
    assert set(np.diff(rows)) == {1, 2}


def test_the_probe_is_normalised_as_training_does():
    envs = VecNormalize(DummyVecEnv([lambda: Little(BOX)]), clip_obs=1.0)
    model = SAC("MlpPolicy", envs, policy_kwargs={"net_arch": [8]}, **{**SMALL, "buffer_size": 60})
    model.learn(62)
    statistics, stored = envs.obs_rms, model.replay_buffer.observations[:, 0]
    expected = np.clip((stored - statistics.mean) / np.sqrt(statistics.var + 1e-8), -1, 1)
    assert np.abs(expected).max() == 1
    assert not np.allclose(stored, expected, atol=0.1)
    assert drift.probe(model).numpy() == pytest.approx(expected, abs=1e-6)


class Parts(Little):
    """The observation in two parts."""

    def __init__(self, actions):
        super().__init__(actions)
        part = spaces.Box(-1, 1, (3,), np.float32)
        self.observation_space = spaces.Dict({"place": part, "goal": part})

    def look(self):
        return {"place": super().look(), "goal": super().look()}


def test_observations_may_have_parts(tmp_path):
    settings = {**SMALL, "buffer_size": 60, "train_freq": 4, "policy_kwargs": {"net_arch": [8]}}
    alone = SAC("MultiInputPolicy", Parts(BOX), **settings).learn(100)
    model = SAC("MultiInputPolicy", Parts(BOX), **{**settings, "policy_kwargs": {"net_arch": [8]}})
    model.learn(100, callback=watch(tmp_path))
    assert all(
        torch.equal(a, b) for a, b in zip(alone.policy.parameters(), model.policy.parameters(), strict=True)
    )
    states = drift.probe(model)
    assert {name: tuple(part.shape) for name, part in states.items()} == {"place": (60, 3), "goal": (60, 3)}
    assert read_run(tmp_path / "run").updates[-1]["probe_kl_mean"] > 0


def test_every_part_of_the_networks_is_in_its_own_mode_again():
    model = filled("crossq")
    model.critic.set_training_mode(True)
    model.actor.set_training_mode(False)
    modes = [part.training for part in model.policy.modules()]
    assert len(set(modes)) == 2
    buffers = [b.clone() for b in model.policy.buffers()]
    drift.answers(model, drift.probe(model))
    assert [part.training for part in model.policy.modules()] == modes
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.policy.buffers(), strict=True)), (
        "statistics moved"
    )


def test_at_the_level_light_nobody_is_asked():
    model = filled("sac")
    for level, is_asked in ((Level.LIGHT, False), (Level.STANDARD, True)):
        watched = Watched(model, level)
        watched.end_stretch()
        update = watched.end_stretch()
        assert (update.drift is not None) is (update.probe is not None) is is_asked


def test_networks_of_somebodys_own_kind_are_left_alone(tmp_path):
    class Own(TD3):
        """Its critic wants more than anyone here knows of."""

        def _setup_model(self):
            super()._setup_model()
            forward = self.critic.forward
            self.critic.forward = lambda observations, actions, *, mood: forward(observations, actions)

    model = Own("MlpPolicy", Little(BOX), **{**SMALL, "learning_starts": 10_000, "buffer_size": 60})
    model.learn(130, callback=watch(tmp_path))
    run = read_run(tmp_path / "run")
    assert run.status == "done"
    assert all(row["action_drift"] is None for row in run.updates)


def test_networks_that_are_nan_answer_nan():
    model = filled("sac")
    _, _, row = row_of(model, lambda: disturb(model.actor, float("nan")))
    assert np.isnan([row["probe_kl_mean"], row["action_drift"], row["q_scale"]]).all()
