"""Listening to an update: what is heard is true, it changes nothing, and nothing is left behind."""

import importlib.util
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sb3_contrib import TRPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from torch import nn

from rl_lab import DivergenceMonitor
from rl_lab.monitor.measure.clipping import ClipListener
from rl_lab.monitor.measure.gradients import GradientRecorder
from rl_lab.monitor.measure.path import SKETCH, KLPath, PathRecorder, borrowed, flat
from rl_lab.monitor.measure.update import all_quantities
from rl_lab.monitor.quantities import Level
from rl_lab.monitor.record.run_directory import read_run

TORCHS = torch.nn.utils.clip_grad_norm_
PENDULUM = {"n_steps": 64, "batch_size": 16, "n_epochs": 3, "seed": 0, "device": "cpu"}


@pytest.fixture(autouse=True)
def _nothing_survives():
    yield
    assert torch.nn.utils.clip_grad_norm_ is TORCHS, "somebody still listens"


def ppo(**more):
    return PPO("MlpPolicy", "Pendulum-v1", **{**PENDULUM, **more})


def watch(model, folder, steps=64, level="standard", before=()):
    """Train, and return the rows."""
    monitor = DivergenceMonitor(
        folder / "run", level=level, random_return=0.0, wandb=False, say=lambda text: None
    )
    model.learn(steps, callback=CallbackList([*before, monitor]))
    return read_run(folder / "run").updates


def has_hooks(model):
    policy, optimizer = model.policy, model.policy.optimizer
    return (
        any(p._post_accumulate_grad_hooks for p in policy.parameters())
        or any(m._forward_hooks or m._forward_pre_hooks for m in policy.modules())
        or bool(optimizer._optimizer_step_post_hooks)
    )


class At(BaseCallback):
    """Calls functions when a rollout is complete, and when the next begins."""

    def __init__(self, end=None, start=None):
        super().__init__()
        self.end, self.start = end, start

    def _on_step(self):
        return True

    def _on_rollout_end(self):
        if self.end:
            self.end(self.model)

    def _on_rollout_start(self):
        if self.start:
            self.start(self.model)


# Levels.


def test_a_level_has_the_columns_of_those_below_it():
    light, standard, full = (set(all_quantities(level)) for level in Level)
    assert light < standard < full
    assert {"kl_mean", "kl_k3", "first_kl", "reward_max"} <= light
    assert {"probe_kl_mean", "gradient_norm", "gradient_steps"} <= standard - light
    assert {"feature_rank", "kl_path_max"} <= full - standard


@pytest.mark.parametrize("level", ["light", "standard", "full"])
def test_every_column_of_a_level_is_measured_for_ppo(level, tmp_path):
    first, second = watch(ppo(), tmp_path, 128, level)
    here = all_quantities(Level[level.upper()])
    assert set(here) <= set(first)
    assert not (set(all_quantities()) - set(here)) & set(first)
    missing = {name for name in here if second[name] is None}
    assert missing == {"kl_worst_dimension", "observation_outside", "observation_jump"} | {
        n for n in here if n in {"action_drift", "greedy_changed", "probe_entropy", "q_scale"}
    }, (
        "Pendulum has one action dimension, two rollouts have no range, two environments are few, PPO is not off-policy"
    )
    assert first["epochs" if level != "light" else "kl_mean"] is not None
    assert first.get("probe_kl_mean") is None, (
        "the first update is made from the states that are then held out"
    )


def test_light_listens_to_nothing(tmp_path):
    seen = []
    look = At(end=lambda model: seen.append((has_hooks(model), torch.nn.utils.clip_grad_norm_ is TORCHS)))
    monitor = DivergenceMonitor(tmp_path / "a", level="light", random_return=0.0, say=lambda text: None)
    ppo().learn(64, callback=CallbackList([monitor, look]))
    assert seen == [(False, True)]
    monitor = DivergenceMonitor(tmp_path / "b", level="standard", random_return=0.0, say=lambda text: None)
    ppo().learn(64, callback=CallbackList([monitor, look]))
    assert seen[1:] == [(True, False)], "this is how it looks if somebody listens"


def test_the_probe_is_the_same_states_for_every_update(tmp_path):
    """Against torch, on the states of the first rollout, with parameters that somebody else has kept."""
    kept, first = [], []

    def keep(model):
        if not first:
            states = torch.as_tensor(RolloutBuffer.swap_and_flatten(model.rollout_buffer.observations))
            first.append(states)
        with torch.no_grad():
            kept.append(model.policy.get_distribution(first[0]).distribution)

    model = ppo(learning_rate=3e-3)
    rows = watch(model, tmp_path, 192, "standard", before=[At(end=keep)])
    keep(model)
    for row, old, new in zip(rows[1:], kept[1:], kept[2:], strict=False):
        kl = torch.distributions.kl_divergence(old, new).sum(1)
        assert row["probe_kl_mean"] == pytest.approx(float(kl.mean()), rel=1e-4)
        assert row["probe_kl_max"] == pytest.approx(float(kl.max()), rel=1e-4)
        assert row["probe_kl_mean"] != pytest.approx(row["kl_mean"], rel=1e-2)


def test_the_first_minibatch_of_a_healthy_update_reads_ratio_1_and_kl_0_and_a_stale_one_does_not(tmp_path):
    def spoil(model):
        if model.num_timesteps == 128:
            model.rollout_buffer.log_probs[3, 0] -= 0.7

    healthy, stale = watch(ppo(), tmp_path, 128, "light", before=[At(end=spoil)])
    assert healthy["first_ratio_error"] < 1e-5
    assert healthy["first_kl"] < 1e-10
    assert stale["first_ratio_error"] == pytest.approx(0.7, abs=1e-5)
    assert stale["first_kl"] == pytest.approx((math.exp(0.7) - 1 - 0.7) / 64, rel=1e-4)


# The path of the KL.


def test_the_path_is_the_kl_after_every_gradient_step_and_ends_where_the_update_ends(tmp_path, monkeypatch):
    """Against torch: a copy of the policy after every step, made by somebody else, judged on all 64 states."""
    model, copies, kept, looked = ppo(learning_rate=1e-2), [], {}, []

    def begin(model):
        kept["states"] = torch.as_tensor(RolloutBuffer.swap_and_flatten(model.rollout_buffer.observations))
        kept["old"] = model.policy.state_dict()
        kept["old"] = {name: value.clone() for name, value in kept["old"].items()}

    step = model.policy.optimizer.step
    monkeypatch.setattr(
        model.policy.optimizer,
        "step",
        lambda *a: (step(*a), copies.append({n: v.clone() for n, v in model.policy.state_dict().items()})),
    )
    original = KLPath.sketch.func

    def look(path):
        looked.append(path)
        return original(path)

    monkeypatch.setattr(KLPath.sketch, "func", look)
    (row,) = watch(model, tmp_path, 64, "full", before=[At(end=begin)])
    monkeypatch.undo()
    fresh = ppo().policy

    def at(state):
        fresh.load_state_dict(state)
        with torch.no_grad():
            return fresh.get_distribution(kept["states"]).distribution

    old = at(kept["old"])
    kl = [torch.distributions.kl_divergence(old, at(copy)).sum(1).mean().item() for copy in copies]
    path = looked[0]
    assert path.steps == tuple(range(1, 13))
    assert (path.total, path.steps_per_epoch) == (12, 4)
    np.testing.assert_allclose(path.kl_mean, kl, rtol=1e-3, atol=1e-7)
    assert path.kl_mean[-1] == pytest.approx(row["kl_mean"], rel=1e-6)
    assert row["kl_path_first"] == pytest.approx(kl[0], rel=1e-3)
    assert row["kl_path_max"] == pytest.approx(max(kl), rel=1e-3)
    assert row["kl_path_jump"] == pytest.approx(max(np.diff([0.0, *kl])), rel=1e-3)
    limit = sorted(kl)[6]
    assert path.first_beyond(limit * 1.0001) == 1 + next(i for i, v in enumerate(kl) if v > limit * 1.0001)


def counted(values):
    asked = []

    def evaluate(place):
        asked.append(place)
        return values[place]

    return asked, evaluate


def test_a_sketch_of_a_long_path_has_both_ends_and_looks_at_few_steps():
    asked, evaluate = counted(np.linspace(0, 1, 320))
    steps, kl = KLPath(range(1, 321), 320, evaluate).sketch
    assert len(asked) == len(steps) == SKETCH
    assert (steps[0], steps[-1]) == (1, 320)
    assert np.diff(steps).max() <= 6
    np.testing.assert_array_equal(kl, np.linspace(0, 1, 320)[steps - 1])


def test_the_first_step_beyond_a_limit_is_found_without_walking_on():
    values = np.array([0.01, 0.02, 0.09, 0.01, 0.2, *[9.0] * 300])
    asked, evaluate = counted(values)
    path = KLPath(range(1, 306), 305, evaluate, steps_per_epoch=2)
    assert path.first_beyond(0.05) == 3
    assert asked == [0, 1, 2]
    assert path.first_beyond(0.05) == 3
    assert asked == [0, 1, 2], "what is known is not asked again"
    assert path.first_beyond(10.0) is None
    assert [path.epoch_of(step) for step in (1, 2, 3, 4, 5)] == [0, 0, 1, 1, 2]
    assert KLPath([1], 1, lambda i: math.nan).first_beyond(1.0) == 1, "no number is within no limit"
    assert KLPath([1], 1, lambda i: 0.0).epoch_of(1) is None


def test_a_path_without_steps_has_no_sketch():
    steps, kl = KLPath([], 0, lambda i: 1 / 0).sketch
    assert len(steps) == len(kl) == 0


def descend(module, optimizer, times):
    for _ in range(times):
        optimizer.zero_grad()
        sum(p.square().sum() for p in module.parameters()).backward()
        optimizer.step()


def test_a_path_too_long_for_its_memory_is_thinned_evenly_and_keeps_its_first_step():
    module = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(module.parameters(), 1e-3)
    recorder = PathRecorder(module, optimizer, budget=16 * 10)
    recorder.attach()
    descend(module, optimizer, 100)
    recorder.detach()
    descend(module, optimizer, 3)
    assert recorder.total == 100
    assert recorder.steps[0] == 1
    assert set(np.diff(recorder.steps[1:])) == {16}
    assert len(recorder.steps) <= 11
    shrink = (1 - 2e-3) ** np.array(recorder.steps)  # |theta| after so many steps
    norms = np.array([copy.norm() for copy in recorder.copies])
    np.testing.assert_allclose(norms / norms[0], shrink / shrink[0], rtol=1e-5)


def test_the_path_follows_parameters_whose_storage_is_exchanged():
    """As sb3-contrib's TRPO does in its line search: param.data = ..."""
    module = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(module.parameters(), 0.0)
    recorder = PathRecorder(module, optimizer)
    recorder.attach()
    descend(module, optimizer, 1)
    module.weight.data = torch.tensor([[5.0, 6.0]])
    descend(module, optimizer, 1)
    recorder.detach()
    assert recorder.copies[1].tolist() == [5.0, 6.0]


def test_a_borrowed_policy_comes_back_to_the_bit_after_an_error_too():
    module = nn.Linear(4, 3)
    own = flat(list(module.parameters()))
    with borrowed(module, own * math.pi):
        assert torch.equal(flat(list(module.parameters())), own * math.pi)
    assert torch.equal(flat(list(module.parameters())), own)
    with pytest.raises(ZeroDivisionError), borrowed(module, own * math.pi):
        _ = 1 / 0
    assert torch.equal(flat(list(module.parameters())), own)


# Where the norms of gradients are read.


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.actor, self.critic = nn.Linear(2, 2), nn.Linear(2, 1)
        self.optimizer = torch.optim.SGD(self.parameters(), 0.1)

    def backward(self, *names):
        self.optimizer.zero_grad()
        for name in names:
            getattr(self, name)(torch.ones(3, 2)).square().sum().backward()

    def norms(self):
        return [math.nan if p.grad is None else p.grad.norm().item() for p in self.parameters()]


def listened(network, train):
    """What both kinds of listeners hear of the same training."""
    path = PathRecorder(network, network.optimizer)
    ears = [kind(network, lambda: path.total) for kind in (ClipListener, GradientRecorder)]
    for ear in [path, *ears]:
        ear.attach()
    train()
    path.detach()
    return [ear.detach() for ear in ears]


def test_parts_of_a_gradient_that_are_clipped_one_by_one_make_one_gradient():
    network, true = Two(), []

    def train():
        for _ in range(3):
            network.backward("actor", "critic")
            true.append(network.norms())
            torch.nn.utils.clip_grad_norm_(network.actor.parameters(), 0.1)
            torch.nn.utils.clip_grad_norm_(network.critic.parameters(), 0.1)
            network.optimizer.step()

    by_clip, by_hook = listened(network, train)
    np.testing.assert_allclose(by_clip.norms, true, rtol=1e-6)
    np.testing.assert_allclose(by_hook.norms, true, rtol=1e-6)


def test_a_gradient_that_is_clipped_twice_has_the_norm_it_had_before():
    network, true = Two(), []

    def train():
        for _ in range(2):
            network.backward("actor", "critic")
            true.append(network.norms())
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
            network.optimizer.step()

    by_clip, _ = listened(network, train)
    assert min(by_clip.total()) > 0.5, "too short a gradient to test anything"
    np.testing.assert_allclose(by_clip.norms, true, rtol=1e-6)


def test_a_gradient_that_is_added_up_from_several_passes_has_the_norm_of_the_sum():
    network, true = Two(), []

    def train():
        for _ in range(2):
            network.backward("actor", "actor", "critic", "actor")
            true.append(network.norms())
            network.optimizer.step()

    _, by_hook = listened(network, train)
    np.testing.assert_allclose(by_hook.norms, true, rtol=1e-6)


def test_alternating_steps_stay_apart():
    network = Two()

    def train():
        for name in ("actor", "critic", "critic"):
            network.backward(name)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
            network.optimizer.step()

    for heard in listened(network, train):
        reached = ~np.isneginf(heard.norms)
        assert reached.tolist() == [
            [True, True, False, False],
            [False, False, True, True],
            [False, False, True, True],
        ]


def test_somebody_elses_clipping_is_called_and_heard():
    calls = []

    def own(parameters, max_norm, **more):
        calls.append((max_norm, more))
        return TORCHS(parameters, max_norm, **more)

    network = Two()
    torch.nn.utils.clip_grad_norm_ = own
    try:
        network.backward("actor", "critic")
        true = network.norms()
        listener = ClipListener(network)
        listener.attach()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1, error_if_nonfinite=True)
        heard = listener.detach()
        assert torch.nn.utils.clip_grad_norm_ is own
    finally:
        torch.nn.utils.clip_grad_norm_ = TORCHS
    assert calls == [(0.1, {"error_if_nonfinite": True})]
    np.testing.assert_allclose(heard.norms, [true], rtol=1e-6)


def test_a_patch_over_ours_stays_and_never_calls_itself():
    """Somebody who patches while we listen keeps our function inside his; the next update must not go in circles."""
    network, calls = Two(), []
    listener = ClipListener(network)
    listener.attach()
    inner = torch.nn.utils.clip_grad_norm_

    def over(*args, **kwargs):
        calls.append(1)
        return inner(*args, **kwargs)

    torch.nn.utils.clip_grad_norm_ = over
    try:
        for update in range(3):
            network.backward("actor", "critic")
            torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
            assert len(listener.detach().norms) == 1
            assert torch.nn.utils.clip_grad_norm_ is over, f"his patch was taken away in update {update}"
            listener.attach()
        listener.detach()
    finally:
        torch.nn.utils.clip_grad_norm_ = TORCHS
    assert len(calls) == 3


def test_a_listener_that_was_forgotten_is_put_away_at_the_next_call():
    network = Two()
    ClipListener(network).attach()
    network.backward("actor")
    torch.nn.utils.clip_grad_norm_(network.parameters(), 0.1)
    assert torch.nn.utils.clip_grad_norm_ is TORCHS


@pytest.mark.parametrize("norm", [0.1, 1e9])
def test_watched_clipping_has_the_bits_of_torchs(norm):
    alone, watched = Two(), Two()
    watched.load_state_dict(alone.state_dict())
    listener = ClipListener(watched)
    alone.backward("actor", "critic")
    watched.backward("actor", "critic")
    total = TORCHS(alone.parameters(), norm)
    listener.attach()
    also = torch.nn.utils.clip_grad_norm_((p for p in watched.parameters()), norm)
    listener.detach()
    assert torch.equal(total, also)
    assert all(
        torch.equal(a.grad, b.grad) for a, b in zip(alone.parameters(), watched.parameters(), strict=True)
    )


class ClipsItsActorOnly(A2C):
    """Clips a part, so that what clipping shows is not the whole."""

    def train(self):
        own, found = list(self.policy.value_net.parameters()), torch.nn.utils.clip_grad_norm_

        def some(parameters, *args):
            keys = {id(p) for p in own}
            return found([p for p in parameters if id(p) not in keys], *args)

        torch.nn.utils.clip_grad_norm_ = some
        try:
            super().train()
        finally:
            torch.nn.utils.clip_grad_norm_ = found


class ClipsElsewhere(A2C):
    """As a program that imported the function by its name, before we came."""

    def train(self):
        found, torch.nn.utils.clip_grad_norm_ = torch.nn.utils.clip_grad_norm_, TORCHS
        try:
            super().train()
        finally:
            torch.nn.utils.clip_grad_norm_ = found


@pytest.mark.parametrize("algorithm", [A2C, ClipsItsActorOnly, ClipsElsewhere])
def test_the_whole_gradient_is_measured_in_every_update_wherever_it_is_clipped(algorithm, tmp_path):
    def columns(kind):
        model = kind("MlpPolicy", "Pendulum-v1", seed=0, device="cpu", max_grad_norm=1e9)
        return watch(model, tmp_path / kind.__name__, 15)

    names = ("gradient_norm", "gradient_norm_policy", "gradient_norm_value", "minibatches")
    (tmp_path / "truth").mkdir()
    truth = watch(
        A2C("MlpPolicy", "Pendulum-v1", seed=0, device="cpu", max_grad_norm=1e9), tmp_path / "truth", 15
    )
    for row, true in zip(columns(algorithm), truth, strict=True):
        assert [row[n] for n in names] == pytest.approx([true[n] for n in names])
        assert row["gradient_norm_value"] > 0


def test_of_an_update_that_is_no_descent_the_rest_is_not_taken_for_the_whole(tmp_path):
    model = TRPO(
        "MlpPolicy", "Pendulum-v1", n_steps=64, batch_size=32, seed=0, device="cpu", n_critic_updates=2
    )
    (row,) = watch(model, tmp_path, 64, "full")
    assert row["gradient_norm"] is row["gradient_norm_policy"] is row["gradient_clipped_share"] is None
    assert row["gradient_norm_value"] > 0
    assert (row["minibatches"], row["gradient_steps"], row["epochs"]) == (4, 4, None)
    assert row["kl_path_first"] == pytest.approx(row["kl_mean"], rel=1e-6), (
        "the policy moved before the first step"
    )


def test_early_stopping_shows_in_steps_and_epochs(tmp_path):
    (row,) = watch(ppo(target_kl=1e-9, learning_rate=1e-2), tmp_path)
    assert (row["gradient_steps"], row["epochs"]) == (1, 0.25)


# What is left behind.


class BreaksDown(PPO):
    """train() fails after its second gradient step."""

    def train(self):
        step, count = self.policy.optimizer.step, []

        def stepping(*args):
            count.append(step(*args))
            if len(count) == 2:
                raise KeyboardInterrupt

        self.policy.optimizer.step = stepping
        try:
            super().train()
        finally:
            del self.policy.optimizer.step


@pytest.mark.parametrize("level", ["standard", "full"])
def test_nothing_survives_a_train_that_fails_although_the_monitor_lives_on(level, tmp_path):
    model = BreaksDown("MlpPolicy", "Pendulum-v1", **PENDULUM)
    monitor = DivergenceMonitor(tmp_path / "run", level=level, random_return=0.0, say=lambda text: None)
    with pytest.raises(KeyboardInterrupt):
        model.learn(64, callback=monitor)
    assert torch.nn.utils.clip_grad_norm_ is TORCHS
    assert not has_hooks(model)
    assert type(model) is BreaksDown
    assert not {"train"} & vars(model).keys()
    monitor.close("interrupted")


def test_a_model_saved_between_rollout_and_update_is_whole(tmp_path):
    """Another callback may save the model, or copy it, while ours is listening."""

    def save(model):
        model.save(tmp_path / "model.zip")

    model = ppo()
    monitor = DivergenceMonitor(tmp_path / "run", random_return=0.0, say=lambda text: None)
    model.learn(64, callback=CallbackList([monitor, At(end=save)]))
    loaded = PPO.load(tmp_path / "model.zip", env=model.get_env())
    assert "train" not in vars(loaded)
    loaded.learn(64)
    assert type(loaded) is type(model) is PPO


def test_a_monitor_may_watch_one_model_after_another(tmp_path):
    monitor = DivergenceMonitor(None, random_return=0.0, say=lambda text: None)
    monitor._out = tmp_path / "a"
    ppo().learn(64, callback=monitor)
    monitor._out = tmp_path / "b"
    model = ppo(n_epochs=1)
    model.learn(64, callback=monitor)
    assert read_run(tmp_path / "b").updates[0]["gradient_steps"] == 4
    assert not has_hooks(model)


# What it costs.


def the_benchmark():
    script = Path(__file__).parents[3] / "benchmarks" / "monitor_overhead.py"
    spec = importlib.util.spec_from_file_location("monitor_overhead", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_of_the_overhead_adds_up(tmp_path, monkeypatch):
    """A few steps: the figures mean nothing, but the parts make up the whole."""
    benchmark = the_benchmark()
    monkeypatch.setattr(benchmark, "WANDB", False)
    monkeypatch.setattr(benchmark, "LEVELS", ("light", "full"))
    threads = torch.get_num_threads()
    measured = benchmark.compare("A2C", 200, 1, tmp_path)["levels"]
    assert torch.get_num_threads() == threads
    assert set(measured) == {"light", "full"}
    for level in measured.values():
        assert 0 < level["share"]["median"] < 1
        assert sum(level["share_of"].values()) == pytest.approx(level["share"]["median"], rel=1e-6)
    assert measured["full"]["share_of"].keys() - measured["light"]["share_of"].keys() == {
        "gradients",
        "optimizer_hook",
        "clipping",
    }


def test_what_is_timed_inside_of_what_is_timed_counts_once():
    benchmark = the_benchmark()
    watch = benchmark.Stopwatch()

    def work():
        return sum(range(1_000_000))

    inner = watch.wrap(work, "inner")
    outer = watch.wrap(lambda: (inner(), work()), "outer")
    began = time.thread_time()
    outer()
    spent = time.thread_time() - began
    assert set(watch.seconds) == {"outer"}
    assert watch.seconds["outer"] == pytest.approx(spent, rel=0.2)
