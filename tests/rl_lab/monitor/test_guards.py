"""The guards: what they do to a training, to the bit, and what they say of it."""

from dataclasses import dataclass, field
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from safetensors.torch import load_file
from sb3_contrib import TRPO, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.env_util import make_vec_env

from agents import make as make_agent
from rl_lab import DivergenceMonitor
from rl_lab.monitor import observer as observer_module
from rl_lab.monitor.act.brake import Brake
from rl_lab.monitor.act.checkpoints import load_checkpoint
from rl_lab.monitor.detector import judge
from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.guard import Guard, all_guards, new_guards
from rl_lab.monitor.guards.alert import Alert
from rl_lab.monitor.guards.checkpoint import Checkpoint
from rl_lab.monitor.guards.rollback import Rollback
from rl_lab.monitor.guards.shrink import Shrink
from rl_lab.monitor.guards.stop import Stop
from rl_lab.monitor.measure.returns import EpisodeReturns
from rl_lab.monitor.observer import Observer
from rl_lab.monitor.record import recorder as recorder_module
from rl_lab.monitor.record.run_directory import read_run
from rl_lab.monitor.record.wandb_run import WandbRun

N_STEPS, N_ENVS = 32, 2
ROLLOUT = N_STEPS * N_ENVS
BOX, DISCRETE = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(4)


@pytest.fixture(autouse=True)
def _no_questions_to_git(monkeypatch):
    """They take longer than a tiny run."""
    monkeypatch.setattr(recorder_module.provenance, "git", lambda: None)


class Little(gym.Env):
    """Episodes of 17 steps; the reward is a function of the action, and NaN where it is told to be."""

    def __init__(self, action_space=BOX, nan_at=None):
        self.action_space, self.observation_space = action_space, spaces.Box(-1, 1, (3,), np.float32)
        self.nan_at, self.count = nan_at, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._seen(), {}

    def _seen(self):
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)

    def step(self, action):
        self.t, self.count = self.t + 1, self.count + 1
        reward = float("nan") if self.count == self.nan_at else float(np.sum(action))
        return self._seen(), reward, False, self.t == 17, {}

    def action_masks(self):
        masks = np.ones(self.action_space.n, bool)
        masks[self.t % self.action_space.n] = False
        return masks


def stock(algorithm, policy="MlpPolicy", actions=BOX, **settings):
    env = make_vec_env(lambda: Little(actions), n_envs=N_ENVS, seed=5)
    return algorithm(policy, env, n_steps=N_STEPS, seed=5, device="cpu", **settings)


def ours(name, **settings):
    env = make_vec_env(Little, n_envs=N_ENVS, seed=5)
    settings = {"n_envs": N_ENVS, "n_steps": N_STEPS, "batch_size": 32, "net_arch": (16,), **settings}
    return make_agent(name, env, 5, settings)


SMALL = {"batch_size": 32, "n_epochs": 3, "policy_kwargs": {"net_arch": [16]}}
LSTM = {"batch_size": 32, "n_epochs": 2, "policy_kwargs": {"lstm_hidden_size": 8, "net_arch": [8]}}
MODELS = {
    "ppo": lambda **more: stock(PPO, **{**SMALL, **more}),
    "ppo-discrete": lambda **more: stock(PPO, actions=DISCRETE, **{**SMALL, **more}),
    "ppo-gsde": lambda **more: stock(PPO, use_sde=True, **{**SMALL, **more}),
    "a2c": lambda **more: stock(A2C, policy_kwargs={"net_arch": [16]}, **more),
    "trpo": lambda **more: stock(TRPO, batch_size=32, policy_kwargs={"net_arch": [16]}, **more),
    "lstm": lambda **more: stock(RecurrentPPO, "MlpLstmPolicy", **LSTM, **more),
    "maskable": lambda **more: stock(MaskablePPO, actions=DISCRETE, **{**SMALL, **more}),
    "our ppo": lambda **more: ours("ppo", **more),
    "our trpo": lambda **more: ours("trpo", **more),
    "our ppo-adaptive-lr": lambda **more: ours("ppo-adaptive-lr", **more),
}


class Look(BaseCallback):
    """Calls functions of the model at the end of each rollout and, before and after the monitor, at the start."""

    def __init__(self, at_start=None, at_end=None):
        super().__init__()
        self.at_start, self.at_end = at_start, at_end

    def _on_step(self):
        return True

    def _on_rollout_start(self):
        if self.at_start:
            self.at_start(self.model)

    def _on_rollout_end(self):
        if self.at_end:
            self.at_end(self.model)


def copied(value):
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def state(model):
    """All that an update starts from, but for generators; the optimizer's rate is set anew by every train()."""
    optimizer = copied(model.policy.optimizer.state_dict())
    for group in optimizer["param_groups"]:
        group["lr"] = None
    memory = {k: v for k, v in copied(getattr(model, "memory", {})).items() if k != "learning_rate"}
    return {"policy": copied(dict(model.policy.state_dict())), "optimizer": optimizer, "memory": memory}


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def spikes(monkeypatch, *updates, threshold=0.05, event="kl_spike", times=1):
    """The detectors find nothing but these; returns the records that each update was judged against."""
    judged = []

    def found(detectors, seen):
        judged.append([row["update"] for row in seen.history])
        if seen.row["update"] not in updates:
            return []
        value = seen.row["kl_mean"] or 0.0
        return times * [Finding(event=event, value=value, threshold=threshold, message="injected")]

    monkeypatch.setattr(observer_module, "observe_all", found)
    return judged


def learn(model, tmp_path, guards, updates=3, before=None, after=None, at_end=None, **settings):
    settings = {"random_return": 0.0, "wandb": False, "incidents": None, "level": "light", **settings}
    monitor = DivergenceMonitor(tmp_path / "run", guards=guards, **settings)
    callbacks = [Look(before, at_end), monitor, Look(after)]
    model.learn(updates * ROLLOUT, callback=CallbackList(callbacks), log_interval=None)
    return read_run(tmp_path / "run")


def of_guard(run, name):
    return [event for event in run.events if event["event"] == f"guard_{name}"]


# Rollback


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("ppo-discrete", "maskable")])
def test_rollback_puts_everything_back_to_the_bit_and_the_next_rollout_is_another(
    name, tmp_path, monkeypatch
):
    model, kept, proposed, rollouts = MODELS[name](), [], [], []
    spikes(monkeypatch, 1, 2)

    def at_end(model):
        kept.append(state(model))
        rollouts.append(model.rollout_buffer.observations.copy())

    run = learn(model, tmp_path, ["rollback"], before=lambda m: proposed.append(state(m)), at_end=at_end)
    assert not same(proposed[1], kept[0]), "the update did nothing, so there is nothing to take back"
    assert same(kept[1], kept[0])
    assert same(kept[2], kept[0])
    assert not same(state(model), kept[0]), "the third update is no spike and stays"
    assert not np.array_equal(rollouts[0], rollouts[1])
    events = of_guard(run, "rollback")
    assert [(e["update"], e["details"]["steps_lost"]) for e in events] == [(1, ROLLOUT), (2, ROLLOUT)]
    assert "took update 1 back, 64 environment steps thrown away; learning_rate" in events[0]["message"]
    assert events[0]["details"]["because"] == 1


def lengths(model):
    """What sets the length of the next update's steps, as train() itself asks for it."""
    rule = getattr(model, "rule", None)
    if rule is None:
        limit = model.target_kl if isinstance(model, TRPO) else None
        return model.lr_schedule(model._current_progress_remaining), limit
    return rule.learning_rate, getattr(rule, "max_kl", None)


@pytest.mark.parametrize("name", ["ppo", "a2c", "trpo", "lstm", "our ppo", "our trpo"])
def test_the_learning_rate_halves_stays_halved_and_is_its_own_after_learn(name, tmp_path, monkeypatch):
    """KL grows with the square of the step: half a step is a quarter of the limit that sets it."""
    model, found = MODELS[name](learning_rate=1e-2), []
    before = {key: getattr(model, key, None) for key in ("lr_schedule", "target_kl", "rule")}
    own = lengths(model)
    spikes(monkeypatch, 1, 3)
    run = learn(model, tmp_path, ["rollback"], updates=5, at_end=lambda m: found.append(lengths(m)))
    shares = [1, 0.5, 0.5, 0.25, 0.25]
    assert [rate for rate, _ in found] == pytest.approx([own[0] * s for s in shares])
    if own[1] is not None:
        assert [limit for _, limit in found] == pytest.approx([own[1] * s**2 for s in shares])
    rates = [row.get("train/learning_rate") for row in run.updates]
    assert rates == pytest.approx([1e-2 * s for s in shares]), "that is what the optimizer got"
    after = {key: getattr(model, key, None) for key in before}
    assert all(after[key] is before[key] for key in before), "nothing survives the run"


def test_a_learning_rate_that_a_rule_steers_itself_is_cut_where_it_lives(tmp_path, monkeypatch):
    model, found = MODELS["our ppo-adaptive-lr"](), []
    spikes(monkeypatch, 1)
    learn(model, tmp_path, ["rollback"], updates=2, at_end=lambda m: found.append(dict(m.memory)))
    assert found[0] == {}, "before the first update it remembers nothing"
    model = MODELS["our ppo-adaptive-lr"]()
    found.clear()
    spikes(monkeypatch, 2)
    learn(
        model,
        tmp_path / "second",
        ["rollback"],
        at_end=lambda m: found.append(float(m.memory.get("learning_rate", 0))),
    )
    assert found[2] == pytest.approx(found[1] / 2)
    assert found[2] >= model.rule.min_learning_rate


def test_exploration_noise_is_drawn_anew_for_the_policy_that_was_put_back(tmp_path, monkeypatch):
    """gSDE draws the noise of a rollout before callbacks hear of it, with the deviations that are taken back."""
    spikes(monkeypatch, 1)
    drawn, used = [], []
    learn(
        MODELS["ppo-gsde"](),
        tmp_path,
        ["rollback"],
        before=lambda m: drawn.append(m.policy.action_dist.exploration_mat.clone()),
        after=lambda m: used.append(m.policy.action_dist.exploration_mat.clone()),
    )
    assert [torch.equal(*pair) for pair in zip(drawn, used, strict=True)] == [True, False, True]


def test_the_brake_holds_for_schedules_and_has_an_end():
    model = PPO(
        "MlpPolicy", Little(), n_steps=32, batch_size=32, learning_rate=lambda left: 0.1 * left, device="cpu"
    )
    own, brake = model.lr_schedule, Brake(model)
    assert brake.cut(0.5, 0.2) == "learning_rate 0.1 -> 0.05"
    assert model.lr_schedule(0.5) == pytest.approx(0.025)
    brake.cut(0.5, 0.2)
    assert model.lr_schedule(1.0) == pytest.approx(0.025)
    assert brake.cut(0.5, 0.2) == "learning_rate 0.025 -> 0.02"
    assert brake.cut(0.5, 0.2) == "learning_rate 0.02 -> 0.02 (already the least)"
    brake.release()
    assert model.lr_schedule is own


def test_a_model_saved_while_the_brake_is_on_loads_with_its_own_rate(tmp_path):
    model = PPO("MlpPolicy", Little(), n_steps=32, batch_size=32, learning_rate=0.1, device="cpu")
    Brake(model).cut(0.5, 1e-3)
    model.save(tmp_path / "model.zip")
    assert PPO.load(tmp_path / "model.zip", device="cpu").lr_schedule(1.0) == 0.1


def test_rollback_ends_the_spikes_of_a_step_size_that_is_too_large(tmp_path):
    def policy_moves(guards, folder):
        model = MODELS["ppo"](learning_rate=0.3)
        return model, learn(model, tmp_path / folder, guards, updates=12)

    _, alone = policy_moves([], "alone")
    model, guarded = policy_moves(["rollback"], "guarded")
    wild = sum(event["event"] == "kl_spike" for event in alone.events)
    assert wild >= 3, "this case is too easy to test anything"
    taken = {event["update"] for event in of_guard(guarded, "rollback")}
    stayed = [row["kl_mean"] for row in guarded.updates if row["update"] not in taken]
    assert 0 < len(taken) < 12
    assert max(stayed) <= 1.0 < max(row["kl_mean"] for row in alone.updates)
    assert guarded.status == "done"
    assert model.lr_schedule(1.0) == 0.3


def test_however_much_is_found_in_an_update_it_is_taken_back_once(tmp_path, monkeypatch):
    spikes(monkeypatch, 2, times=3)
    model = MODELS["ppo"](learning_rate=0.1)
    run = learn(model, tmp_path, ["checkpoint", "rollback"])
    assert [event["event"] for event in run.events] == 3 * ["kl_spike"] + [
        "guard_checkpoint",
        "guard_rollback",
    ]
    assert run.updates[2]["train/learning_rate"] == pytest.approx(0.05)


def test_after_so_many_rollbacks_the_guard_gives_up_and_says_so_once(tmp_path, monkeypatch):
    spikes(monkeypatch, 1, 2, 3, 4)
    model, kept = MODELS["ppo"](), []
    run = learn(model, tmp_path, [Rollback(most=2)], updates=4, at_end=lambda m: kept.append(state(m)))
    messages = [event["message"] for event in of_guard(run, "rollback")]
    assert len(messages) == 3
    assert messages[2] == "gives up after 2 updates taken back; this one stays"
    assert same(kept[2], kept[0])
    assert not same(kept[3], kept[0])


def test_an_update_that_was_taken_back_is_no_measure_of_what_is_normal(tmp_path, monkeypatch):
    judged = spikes(monkeypatch, 2, 3)
    run = learn(MODELS["ppo"](), tmp_path, ["rollback"], updates=5)
    assert judged == [[], [1], [1], [1], [1, 4]]
    assert [row["taken_back"] for row in run.updates] == [None, None, 1, 1, None]


def test_recorded_rows_are_judged_again_without_what_was_taken_back():
    """One spike that stays raises the next threshold; one that was taken back does not."""
    calm = [{"update": i, "kl_mean": 0.03, "kl_max": 0.1, "ratio_max": 1.2} for i in range(1, 6)]
    wild = [{**calm[0], "update": i, "kl_mean": 0.5} for i in range(6, 15)]
    stayed = [update for update, finding in judge([*calm, *wild]) if finding.event == "kl_spike"]
    marked = [wild[0], *({**row, "taken_back": 1} for row in wild[1:])]
    taken = [update for update, finding in judge([*calm, *marked]) if finding.event == "kl_spike"]
    assert len(stayed) < 9, "the spikes themselves must have become the usual, or nothing is shown"
    assert taken == list(range(6, 15))


def test_a_nan_that_came_from_the_environment_is_rolled_back_where_training_outlives_it(tmp_path):
    """A2C takes one gradient step and does not look at its own parameters until the next rollout."""

    def model():
        env = make_vec_env(lambda: Little(nan_at=40), n_envs=N_ENVS, seed=5)
        return A2C("MlpPolicy", env, n_steps=N_STEPS, seed=5, device="cpu")

    with pytest.raises(ValueError, match="to satisfy the constraint"):
        model().learn(5 * ROLLOUT)
    run = learn(model(), tmp_path, ["rollback"], updates=5)
    (event,) = of_guard(run, "rollback")
    assert (run.events[0]["event"], run.events[0]["update"], event["update"]) == ("nonfinite", 2, 2)
    assert (run.status, len(run.updates)) == ("done", 5)
    assert np.isfinite([row["kl_mean"] for row in run.updates if row["update"] != 2]).all()


# Shrink

VALUE_ONLY = {
    "ppo": ("mlp_extractor.value_net", "value_net"),
    "ppo-discrete": ("mlp_extractor.value_net", "value_net"),
    "ppo-gsde": ("mlp_extractor.value_net", "value_net"),
    "trpo": ("mlp_extractor.value_net", "value_net"),
    "lstm": ("mlp_extractor.value_net", "value_net", "lstm_critic"),
    "maskable": ("mlp_extractor.value_net", "value_net"),
    "our ppo": ("mlp_extractor.value_net", "value_net"),
}


def kl_of(model, old, new, rollout):
    """By torch.distributions, policies made of the two states."""
    policy, found = model.policy, []
    own = copied(dict(policy.state_dict()))
    observations, masks = rollout
    for weights in (old, new):
        policy.load_state_dict(weights)
        with torch.no_grad():
            more = (masks,) if masks is not None else ()
            found.append(policy.get_distribution(observations, *more).distribution)
    policy.load_state_dict(own)
    kl = torch.distributions.kl_divergence(found[0], found[1])
    return float((kl.sum(1) if kl.ndim > 1 else kl).mean())


@pytest.mark.parametrize("name", VALUE_ONLY)
def test_shrink_keeps_the_kl_limit_where_the_whole_step_broke_it(name, tmp_path, monkeypatch):
    limit = 1e-3
    model, old, new, left, rollouts = MODELS[name](learning_rate=0.02), [], [], [], []
    spikes(monkeypatch, 1, 2)
    flat = RolloutBuffer.swap_and_flatten

    def at_end(model):
        buffer = model.rollout_buffer
        old.append(state(model)["policy"])
        masks = flat(buffer.action_masks.reshape(N_STEPS, N_ENVS, -1)) if name == "maskable" else None
        rollouts.append((torch.as_tensor(flat(buffer.observations)), masks))

    run = learn(
        model,
        tmp_path,
        [Shrink(limit=limit, most=20)],
        before=lambda m: new.append(state(m)["policy"]),
        after=lambda m: left.append(state(m)["policy"]),
        at_end=at_end,
    )
    events = of_guard(run, "shrink")
    assert [event["update"] for event in events] == [1, 2]
    for i, event in enumerate(events):
        share, was, now = event["details"]["share"], new[i + 1], left[i + 1]
        assert share == 0.5 ** (event["details"]["passes"] - 1) < 1
        for key, value in now.items():
            whole, before = was[key], old[i][key]
            if key.startswith(VALUE_ONLY[name]):
                assert torch.equal(value, whole), f"{key} is none of the policy's"
            else:
                assert torch.equal(value, before + share * (whole - before)), key
        moved = [k for k in now if k.startswith(VALUE_ONLY[name]) and not torch.equal(now[k], old[i][k])]
        assert moved, "the value function's step is there to be kept"
        if name == "lstm":  # its distributions depend on the past, so the monitor's own judgement must do
            assert event["details"]["kl_mean"] <= limit < event["details"]["kl_was"]
            continue
        at = {
            part: kl_of(model, old[i], {k: old[i][k] + part * (was[k] - old[i][k]) for k in was}, rollouts[i])
            for part in (1.0, 2 * share, share)
        }
        assert at[1.0] > limit, "the case is too easy"
        assert at[2 * share] > limit, "one halving fewer would not have been enough"
        assert at[share] <= limit * (1 + 1e-3)
        assert event["details"]["kl_mean"] == pytest.approx(at[share], rel=1e-3)
        assert run.updates[i]["kl_mean"] == pytest.approx(event["details"]["kl_was"]), (
            "the record says what it was"
        )


def test_no_more_of_the_step_is_given_up_than_needed(tmp_path, monkeypatch):
    spikes(monkeypatch, 1)
    (row,) = learn(MODELS["ppo"](learning_rate=0.02), tmp_path / "whole", [], updates=1).updates
    limit = 0.9 * row["kl_mean"]
    run = learn(MODELS["ppo"](learning_rate=0.02), tmp_path / "half", [Shrink(limit=limit)], updates=1)
    (event,) = of_guard(run, "shrink")
    assert (event["details"]["share"], event["details"]["passes"]) == (0.5, 2)
    generous = learn(
        MODELS["ppo"](learning_rate=0.02), tmp_path / "b", [Shrink(limit=row["kl_mean"])], updates=1
    )
    assert of_guard(generous, "shrink") == [], "what is within the limit is left alone"


def test_where_no_halving_is_enough_the_policys_step_is_taken_back(tmp_path, monkeypatch):
    spikes(monkeypatch, 1)
    model, old, new, left = MODELS["ppo"](learning_rate=1.0), [], [], []
    run = learn(
        model,
        tmp_path,
        [Shrink(limit=1e-12, most=3)],
        updates=2,
        before=lambda m: new.append(state(m)),
        after=lambda m: left.append(state(m)),
        at_end=lambda m: old.append(state(m)),
    )
    (event,) = of_guard(run, "shrink")
    assert (event["details"]["share"], event["details"]["kl_mean"], event["details"]["passes"]) == (0, 0, 4)
    for key, value in left[1]["policy"].items():
        whose = new[1] if key.startswith(VALUE_ONLY["ppo"]) else old[0]
        assert torch.equal(value, whose["policy"][key]), key
    assert same(left[1]["optimizer"], new[1]["optimizer"])


@pytest.mark.parametrize("guard", ["shrink", "rollback"])
def test_parameters_that_are_not_finite_go_back_with_the_optimizer(guard, tmp_path):
    """Nobody injects the event: the detector sees the parameter. The run goes on and is healthy."""
    model, old, left = MODELS["ppo"](), [], []

    def poison(model):
        if model.num_timesteps == 2 * ROLLOUT:
            with torch.no_grad():
                model.policy.action_net.weight[0, 0] = float("nan")

    run = learn(
        model,
        tmp_path,
        [guard],
        updates=4,
        before=poison,
        after=lambda m: left.append(state(m)),
        at_end=lambda m: old.append(state(m)),
    )
    assert run.events[0]["event"] == "nonfinite"
    assert [event["update"] for event in of_guard(run, guard)] == [2]
    assert same(left[2], old[1])
    assert (run.status, len(run.updates)) == ("done", 4)
    assert np.isfinite(run.updates[-1]["kl_mean"])


def test_the_limit_is_the_rules_own_then_the_events(tmp_path, monkeypatch):
    spikes(monkeypatch, 1, threshold=1e-3)
    promised = learn(MODELS["ppo"](target_kl=2e-3, learning_rate=0.1), tmp_path / "a", ["shrink"], updates=1)
    (event,) = of_guard(promised, "shrink")
    assert event["details"]["limit"] == pytest.approx(1.5 * 2e-3), "SB3 stops at 1.5 target_kl"
    crossed = learn(MODELS["ppo"](learning_rate=0.1), tmp_path / "b", ["shrink"], updates=1)
    (event,) = of_guard(crossed, "shrink")
    assert event["details"]["limit"] == 1e-3


# Stop


def test_stop_wastes_one_step_and_the_manifest_says_why(tmp_path, monkeypatch):
    spikes(monkeypatch, 2, event="performance_collapse")
    model = MODELS["ppo"]()
    run = learn(model, tmp_path, ["stop"], updates=50)
    assert model.num_timesteps == 2 * ROLLOUT + N_ENVS
    assert (run.status, len(run.updates)) == ("done", 2)
    assert run.manifest["reason"].startswith(
        "stopped by the guard stop, because of performance_collapse at update 2"
    )
    (event,) = of_guard(run, "stop")
    assert event["details"]["steps_unused"] == 48 * ROLLOUT
    assert f"{48 * ROLLOUT:,} environment steps unused" in event["message"]


def test_whoever_calls_learn_again_after_a_stop_wants_it_to_go_on(tmp_path, monkeypatch):
    spikes(monkeypatch, 1, event="performance_collapse")
    model, monitor = MODELS["ppo"](), DivergenceMonitor(tmp_path / "run", guards=["stop"], random_return=0.0)
    model.learn(5 * ROLLOUT, callback=monitor)
    model.learn(2 * ROLLOUT, callback=monitor, reset_num_timesteps=False)
    run = read_run(tmp_path / "run")
    assert (len(run.updates), run.status, run.manifest["reason"]) == (3, "done", None)


def test_stop_ends_training_before_a_nan_of_the_environment_is_learned_from(tmp_path):
    env = make_vec_env(lambda: Little(nan_at=40), n_envs=N_ENVS, seed=5)
    model = PPO("MlpPolicy", env, n_steps=N_STEPS, seed=5, device="cpu", **SMALL)
    run = learn(model, tmp_path, ["stop"], updates=5)
    assert model.num_timesteps == 40 * N_ENVS
    assert all(torch.isfinite(p).all() for p in model.policy.parameters())
    assert run.status == "failed", "the environment broke"
    assert [(e["event"], e["update"], e["env_steps"]) for e in run.events] == [
        ("nonfinite", 2, 40 * N_ENVS),
        ("guard_stop", 2, 40 * N_ENVS),
    ]


# Checkpoint


def test_the_checkpoint_holds_policy_and_optimizer_from_before(tmp_path, monkeypatch):
    spikes(monkeypatch, 2)
    model, kept = MODELS["ppo"](), []
    run = learn(model, tmp_path, ["checkpoint"], at_end=lambda m: kept.append(state(m)))
    (event,) = of_guard(run, "checkpoint")
    path = run.path / event["details"]["file"]
    assert path.name == "before-2.safetensors"
    assert same(dict(load_file(path)), kept[1]["policy"]), "load_state_dict() takes it as it is"
    policy, optimizers = load_checkpoint(path)
    assert same(policy, kept[1]["policy"])
    fresh = MODELS["ppo"]()
    fresh.policy.load_state_dict(policy)
    fresh.policy.optimizer.load_state_dict(optimizers["policy.optimizer"])
    assert kept[1]["optimizer"]["state"], "an optimizer without a past shows nothing"
    assert same(state(fresh), kept[1])
    beside = path.with_name("before-2.optimizer.safetensors")
    assert event["details"]["bytes"] == path.stat().st_size + beside.stat().st_size
    assert event["details"]["seconds"] >= 0


def test_checkpoints_are_bounded_and_the_first_stays(tmp_path, monkeypatch):
    spikes(monkeypatch, 1, 2, 3, 4, 5)
    run = learn(MODELS["ppo"](), tmp_path, [Checkpoint(most=3)], updates=5)
    names = sorted(p.name for p in (run.path / "checkpoints").iterdir())
    kept = [n for n in names if n.startswith("before") and "optimizer" not in n]
    assert kept == ["before-1.safetensors", "before-4.safetensors", "before-5.safetensors"]
    assert len(names) == 7, "three with their optimizers, and final.safetensors"


# Alert


class People:
    """A hand whose alerts are counted."""

    took_back, steps_left = False, None

    def __init__(self):
        self.told = []

    def alert(self, event, text):
        self.told.append(text)
        return True


def an_event(kind="kl_spike", number=1):
    return Event(
        event=kind,
        value=1.0,
        threshold=None,
        message="m",
        id=number,
        run="r",
        update=number,
        env_steps=number,
    )


def test_alerts_are_the_1st_10th_100th_of_each_kind_and_say_how_many_were_held_back():
    guard, people = Alert(seconds=0), People()
    guard.begin()
    for number in range(1, 1001):
        guard.act(an_event(number=number), None, people)
        if number == 500:
            guard.act(an_event("nonfinite", number), None, people)
    numbers = [text.rpartition("; ")[2] if "; " in text else text for text in people.told]
    assert len(numbers) == 5
    assert numbers[0] == "kl_spike at update 1 (1 env steps): m"
    assert numbers[1] == "number 10 of this kind (8 held back since the last alert)"
    assert numbers[2] == "number 100 of this kind (89 held back since the last alert)"
    assert numbers[3].startswith("nonfinite at update 500")
    assert numbers[4] == "number 1000 of this kind (899 held back since the last alert)"


def test_no_two_alerts_of_a_kind_within_a_minute_and_none_is_forgotten():
    guard, people, now = Alert(), People(), [0.0]
    guard.clock = lambda: now[0]
    guard.begin()
    for number in range(1, 61):  # an event every 2 s
        guard.act(an_event(number=number), None, people)
        now[0] += 2.0
    assert [text.split()[3] for text in people.told] == ["1", "31"], (
        "the 10th had to wait for the minute to end"
    )
    assert "29 held back" in people.told[1]


class Run:
    """A W&B run that remembers its alerts."""

    id, dir, offline = "x", "/tmp/x/files", True
    summary: ClassVar[dict] = {}

    def __init__(self):
        self.alerts, self.rows = [], []

    def alert(self, **told):
        self.alerts.append(told)

    def log(self, row):
        self.rows.append(row)

    def define_metric(self, *_, **__): ...


def an_observer(tmp_path, monkeypatch, guards):
    run, said = Run(), []
    monkeypatch.setattr(recorder_module, "open_run", lambda *_: WandbRun(run, owned=False))
    described = {"env": {"id": "e"}, "agent": {"label": "a"}, "seed": 0}
    observed = Observer(
        tmp_path / "run", described, returns=EpisodeReturns(1), guards=guards, wandb=None, say=said.append
    )
    return observed, run, said


def findings(*kinds):
    return [Finding(event=kind, value=1.0, threshold=None, message="m") for kind in kinds]


def test_without_any_framework_the_observer_alerts_and_asks_the_loop_to_stop(tmp_path, monkeypatch):
    observed, run, _ = an_observer(tmp_path, monkeypatch, ["alert", "stop"])
    observed.announce(findings("kl_spike", "recovery", "performance_collapse"), 1)
    assert [(alert["title"], alert["level"]) for alert in run.alerts] == [
        ("kl_spike", "WARN"),
        ("recovery", "INFO"),
        ("performance_collapse", "WARN"),
        ("guard_stop", "INFO"),
    ]
    assert observed.stopped.startswith("stopped by the guard stop, because of performance_collapse")
    observed.close("done")
    assert read_run(tmp_path / "run").manifest["reason"] == observed.stopped


def test_without_guards_nobody_is_alerted_and_without_wandb_nobody_is_told_so(tmp_path, monkeypatch):
    observed, run, _ = an_observer(tmp_path, monkeypatch, [])
    observed.announce(findings("kl_spike"), 1)
    assert run.alerts == []
    assert [row["event"] for row in run.rows] == ["kl_spike"]
    monkeypatch.undo()
    said = []
    observed = Observer(
        tmp_path / "b",
        {"env": {"id": "e"}, "agent": {"label": "a"}, "seed": 0},
        returns=EpisodeReturns(1),
        guards=["alert"],
        wandb=False,
        say=said.append,
    )
    observed.announce(findings("kl_spike"), 1)
    assert len(said) == 1
    assert said[0].startswith("kl_spike")


def unheard(text):
    raise BrokenPipeError


def test_a_full_disk_and_closed_ears_cost_lines_and_no_training(tmp_path, monkeypatch):
    observed, _, said = an_observer(tmp_path, monkeypatch, [])
    writer = observed.recorder._writer
    good, writer._events = writer._events, writer._open("/dev/full")
    monkeypatch.setattr(writer, "update", lambda row: writer._events.write("{}\n"))
    observed.recorder.update({"update": 1})
    observed.announce(findings("kl_spike"), 1)
    assert len([line for line in said if "No space left on device" in line]) == 1
    writer._events, observed.recorder._say = good, unheard
    observed.announce(findings("recovery"), 2)
    observed.close("done")
    run = read_run(tmp_path / "run")
    assert [event["id"] for event in run.events] == [2]
    assert run.status == "done"


def test_events_are_in_the_order_of_updates_and_a_broken_update_owes_no_guard(tmp_path, monkeypatch):
    observed, _, _ = an_observer(tmp_path, monkeypatch, ["rollback"])
    observed.broke(findings("nonfinite"), None, None)
    assert observed._guarding._waiting == []
    observed.announce(findings("nonfinite"), 1)
    observed.go_on()
    assert observed._guarding._waiting == []
    observed.close("diverged")
    events = read_run(tmp_path / "run").events
    assert [(event["event"], event["update"]) for event in events][-1] == ("performance_collapse", 1)


def test_a_brake_that_outlived_its_learn_is_let_go(tmp_path):
    model = MODELS["ppo"]()
    own = model.lr_schedule
    Brake(model).cut(0.5, 1e-3)
    Brake(model).cut(0.5, 1e-3)
    Brake(model)
    assert model.lr_schedule is own


class RestoresOnly(People):
    def restore(self):
        return 64

    def cut(self, factor, least):
        raise KeyError("no schedule")


def test_what_was_taken_back_is_said_also_where_the_rate_cannot_be_cut():
    guard = Rollback()
    guard.begin()
    did = guard.act(an_event(), None, RestoresOnly())
    assert "took update 1 back" in did.message
    assert "could not be cut" in did.message


# All of them together


def test_guards_act_in_the_order_given_and_after_a_rollback_there_is_nothing_to_shrink(tmp_path, monkeypatch):
    spikes(monkeypatch, 1)
    one = learn(MODELS["ppo"](), tmp_path / "one", ["checkpoint", "rollback", Shrink(limit=1e-9)], updates=2)
    assert [event["event"] for event in one.events] == ["kl_spike", "guard_checkpoint", "guard_rollback"]
    other = learn(MODELS["ppo"](), tmp_path / "other", [Shrink(limit=1e-9), "checkpoint"], updates=2)
    assert [event["event"] for event in other.events] == ["kl_spike", "guard_shrink", "guard_checkpoint"]
    first, second = (load_file(run.path / "checkpoints" / "before-1.safetensors") for run in (one, other))
    assert same(dict(first), dict(second)), "what was before does not depend on what was done since"


def test_a_guard_may_answer_another_guard(tmp_path, monkeypatch):
    spikes(monkeypatch, 1, 2)
    run = learn(MODELS["ppo"](), tmp_path, [Rollback(most=1), Stop(on="guard_rollback")], updates=9)
    assert [event["event"] for event in run.events] == ["kl_spike", "guard_rollback", "guard_stop"]
    assert len(run.updates) == 1


@dataclass(kw_only=True)
class Mine(Guard):
    name = "mine"
    answers = frozenset({"kl_spike"})
    seen: list = field(default_factory=list, init=False)
    breaks: bool = False

    def act(self, event, update, hand):
        self.seen.append(event.update)
        if self.breaks:
            raise KeyError("my mistake")
        return self.did(event, f"saw {update.step.kl.mean():.3g} nats", wisdom=42)


def test_a_guard_of_the_users_own(tmp_path, monkeypatch):
    spikes(monkeypatch, 2)
    run = learn(MODELS["ppo"](), tmp_path, [Mine()])
    (event,) = of_guard(run, "mine")
    assert (event["details"]["wisdom"], event["update"]) == (42, 2)
    assert run.manifest["guards"] == [{"name": "mine", "on": None, "breaks": False}]


def test_a_guard_that_breaks_costs_one_sentence(tmp_path, monkeypatch):
    spikes(monkeypatch, 1, 2)
    guard, said = Mine(breaks=True), []
    run = learn(MODELS["ppo"](), tmp_path, [guard, Rollback()], say=said.append)
    assert guard.seen == [1, 2]
    told = [line for line in said if "mine" in line]
    assert told == ["the guard mine failed (KeyError: 'my mistake'); training goes on"]
    assert len(of_guard(run, "rollback")) == 2, "the others act"
    assert run.status == "done"


def test_off_policy_alert_stop_and_a_checkpoint_of_now_the_others_say_once_that_they_cannot(
    tmp_path, monkeypatch
):
    spikes(monkeypatch, 1, 2, event="nonfinite")
    said = []
    model = DQN(
        "MlpPolicy",
        Little(DISCRETE),
        learning_starts=8,
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": [8]},
    )
    monitor = DivergenceMonitor(
        tmp_path / "run",
        guards=["rollback", "shrink", "checkpoint", Stop(on="guard_checkpoint")],
        random_return=0.0,
        every=20,
        say=said.append,
    )
    model.learn(200, callback=monitor)
    run = read_run(tmp_path / "run")
    why = (
        "can do nothing here: only stable-baselines3's on-policy algorithms let go of an update from outside"
    )
    for name in ("rollback", "shrink"):
        assert said.count(f"the guard {name} {why}") == 1
    assert (run.path / "checkpoints" / "at-1.safetensors").exists()
    assert len(of_guard(run, "stop")) == 1
    assert model.num_timesteps < 200


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        (
            "rolback",
            "'rolback' is not a guard. Did you mean rollback? (guards: alert, checkpoint, rollback, shrink, stop)",
        ),
        ({"name": "rollback", "facter": 0.3}, "facter is not a setting of rollback. Did you mean factor?"),
        ({"name": "rollback", "factor": 0}, "rollback: factor must be greater than 0, got 0"),
        ({"name": "shrink", "limit": -1}, "shrink: limit must be greater than 0, got -1"),
        ({"name": "checkpoint", "most": "many"}, "checkpoint: most must be at least 2, got 'many'"),
    ],
)
def test_a_wrong_wish_is_said_when_the_monitor_is_made(wish, sentence, tmp_path):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the sentence is compared below
        DivergenceMonitor(tmp_path, guards=["stop", wish])
    assert str(caught.value).startswith(sentence)


def test_every_guard_is_found_described_and_starts_each_run_afresh():
    assert sorted(all_guards()) == ["alert", "checkpoint", "rollback", "shrink", "stop"]
    for guard in new_guards(list(all_guards())):
        assert guard.described()["name"] == guard.name
        assert new_guards([guard.described()])[0].described() == guard.described()
        guard.did(an_event(), "something")
        guard.begin()
        assert guard.done == 0
    assert new_guards("stop")[0].name == "stop", "one word is one guard"


def test_healthy_training_under_all_guards_keeps_its_bits(tmp_path):
    alone = MODELS["ppo"]()
    alone.learn(3 * ROLLOUT)
    watched = MODELS["ppo"]()
    run = learn(watched, tmp_path, list(all_guards()))
    assert [event for event in run.events if event["event"] in ("kl_spike", "nonfinite")] == []
    assert same(state(alone), state(watched))
