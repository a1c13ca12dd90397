"""The alarm benchmark: faults do what they say and nothing else, and what is counted is counted right."""

import json
import math
from copy import deepcopy
from dataclasses import replace
from functools import cache

import alarm_runs
import alarm_score
import numpy as np
import pytest
import torch
from alarm_runs import ARMS, REPORTING, TUNING, Arm, Cell, Injector, plan, run_cell
from alarm_score import Alarm, Recorded, leads, rate_interval, recall, share_interval, threshold_for
from alarm_table import markdown
from faults import FAULTS, Fault
from scipy import stats
from stable_baselines3.common.callbacks import BaseCallback

import agents
from rl_lab import DivergenceMonitor
from rl_lab.monitor.quantities import Level
from rl_lab.monitor.record.run_directory import read_run

K = 7
TINY = {"n_envs": 2, "n_steps": 8, "updates": K + 4, "fault_at": K}
SMALL = {"n_epochs": 2, "batch_size": 8}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The arms, with rollouts of 16 steps."""
    arms = {
        "ppo": Arm("ppo", {**SMALL, **alarm_runs.NORMALISED}, **TINY),
        "ppo-sb3": Arm("ppo-sb3", SMALL, **TINY),
        "trpo-sb3": Arm("trpo-sb3", {"batch_size": 8}, **TINY),
    }
    for name, arm in arms.items():
        monkeypatch.setitem(ARMS, name, arm)
    monkeypatch.setattr(
        alarm_runs, "_random", lambda task, folder: {"mean": -9.0, "stderr": 1.0, "episodes": 20}
    )
    torch.set_num_threads(1)


class Spy(BaseCallback):
    """Stands behind the fault: what the algorithm is about to learn from, update by update."""

    def __init__(self, env):
        super().__init__()
        self.rollouts, self.policies, self.rates, self.rewards, self.raw, self.pushes = (
            [],
            [],
            [],
            [[]],
            [[]],
            [[]],
        )
        inner = env.venv.step_async
        env.venv.step_async = lambda actions: (self.pushes[-1].append(np.array(actions)), inner(actions))

    def _on_step(self):
        normalizer = self.model.get_vec_normalize_env()
        rewards = normalizer.get_original_reward() if normalizer else self.locals["rewards"]
        self.rewards[-1].append(rewards.copy())
        self.raw[-1].append(normalizer.get_original_obs() if normalizer else self.locals["new_obs"].copy())
        return True

    def _on_rollout_end(self):
        buffer = self.model.rollout_buffer
        self.rollouts.append({k: v.copy() for k, v in vars(buffer).items() if isinstance(v, np.ndarray)})
        self.policies.append({k: v.clone() for k, v in self.model.policy.state_dict().items()})
        self.rates.append(self.model.policy.optimizer.param_groups[0]["lr"])
        for kept in (self.rewards, self.raw, self.pushes):
            kept.append([])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Tiny runs with a fault from update K on (None: healthy): the algorithm, what the spy saw, the run."""

    @cache
    def train(fault, task="chaos/Henon-v0", arm="ppo"):
        model, env = alarm_runs.built(task, arm, 0)
        spy = Spy(env)
        monitor = DivergenceMonitor(
            tmp_path_factory.mktemp("runs") / "healthy.part",
            level="standard" if fault in ("epochs_x10", "nan_gradient") else "light",
            random_return=-9.0,
            guards=(),
            wandb=False,
            say=lambda text: None,
            manifest={"alarm": {}},
        )
        injector = Injector(monitor, env, K, (fault,) if fault else (), fork=False)
        setting = ARMS[arm]
        steps = setting.updates * setting.n_envs * setting.n_steps
        try:
            model.learn(steps, callback=[injector.before, spy, monitor, injector.after])
        except ValueError as error:
            monitor.close("failed", str(error))
        return model, spy, read_run(monitor.run_dir)

    return train


def unlike(one, other):
    """Names of the arrays of two rollouts that differ."""
    return {name for name in one if not np.array_equal(one[name], other[name])}


class Nothing(Fault):
    """A fault that is not one."""

    name = "nothing"
    ends = "not at all"

    def begin(self, model, env):
        pass


# What is injected, and that nothing else is.


def test_without_a_fault_the_bits_are_those_of_a_plain_run(trained, monkeypatch):
    monkeypatch.setitem(FAULTS, "nothing", Nothing)

    arm = ARMS["ppo"]
    env = agents.vectorize("chaos/Henon-v0", arm.n_envs, 0, {})
    plain = agents.make("ppo", env, 0, {**arm.settings, **TUNING["chaos/Henon-v0"], "n_steps": arm.n_steps})
    plain.learn(arm.updates * arm.n_envs * arm.n_steps)
    expected = plain.policy.state_dict()
    for fault in (None, "nothing"):
        model, _, run = trained(fault)
        assert len(run.updates) == arm.updates
        assert all(torch.equal(v, expected[name]) for name, v in model.policy.state_dict().items()), fault


def test_every_fault_leaves_the_updates_before_it_alone(trained):
    _, healthy, _ = trained(None)
    for name in FAULTS:
        _, spy, _ = trained(name)
        for before in range(K - 1):
            assert not unlike(spy.rollouts[before], healthy.rollouts[before]), name
        changed = any(
            unlike(a, b) for a, b in zip(spy.rollouts[K - 1 :], healthy.rollouts[K - 1 :], strict=False)
        )
        assert changed or len(spy.rollouts) < len(healthy.rollouts), f"{name} did nothing"


@pytest.mark.parametrize("arm", ["ppo", "ppo-sb3"])
def test_learning_rate(trained, arm):
    model, spy, _ = trained("learning_rate_x100", arm=arm)
    assert spy.rates[K - 1] == pytest.approx(3e-4)
    assert model.policy.optimizer.param_groups[0]["lr"] == pytest.approx(3e-2)


@pytest.mark.parametrize("arm", ["ppo", "ppo-sb3"])
def test_epochs(trained, arm):
    _, _, run = trained("epochs_x10", arm=arm)
    steps = [row["minibatches"] for row in run.updates]
    assert steps == [4] * (K - 1) + [40] * 3 + [4] * 2


def test_reward_outlier(trained):
    _, healthy, _ = trained(None)
    _, spy, _ = trained("reward_outlier")
    now, usual = np.array(spy.rewards[K - 1]), np.array(healthy.rewards[K - 1])
    assert np.argwhere(now != usual).tolist() == [[3, 0]], "one reward of one environment, in the middle"
    before = np.abs(np.array(healthy.rewards[: K - 1])).mean()
    assert abs(now[3, 0]) == pytest.approx(1000 * before, rel=1e-5)


def test_reward_scale(trained):
    _, healthy, _ = trained(None)
    _, spy, _ = trained("reward_scale_x100")
    np.testing.assert_allclose(spy.rewards[K - 1], 100 * np.array(healthy.rewards[K - 1]), rtol=1e-6)


def test_a_changed_reward_is_in_the_return_of_its_episode(trained):
    """CartPole pays 1 a step, so that a healthy return is the length; the outlier pays 1000."""
    _, _, run = trained("reward_outlier", task="CartPole-v1")
    ended = np.diff([0, *(row["episodes"] for row in run.updates)])
    beyond = [
        number * (row["return_mean"] - row["length_mean"])
        for number, row in zip(ended, run.updates, strict=True)
        if number
    ]
    assert sum(beyond) == pytest.approx(999) == max(beyond)
    _, _, run = trained("reward_scale_x100", task="CartPole-v1")
    ratios = [row["return_mean"] / row["length_mean"] for row in run.updates if row["return_mean"]]
    assert (ratios[0], max(ratios)) == (1, 100), "episodes before, and episodes that began after it"


def test_zeroed_std(trained):
    _, spy, _ = trained("zeroed_std")
    assert (spy.policies[K - 1]["log_std"] == -20).all()
    assert (spy.policies[K - 2]["log_std"] > -1).all()
    _, discrete, _ = trained("zeroed_std", task="CartPole-v1")
    w = "action_net.weight"
    assert torch.equal(discrete.policies[K - 1][w] != 0, discrete.policies[K - 2][w] != 0)
    assert (
        np.median(np.exp(discrete.rollouts[K - 1]["log_probs"]))
        > 0.99
        > np.exp(np.median(discrete.rollouts[K - 2]["log_probs"]))
    )


@pytest.mark.parametrize("task", ["chaos/Henon-v0", "CartPole-v1"])
def test_stale_log_probs(trained, task):
    _, healthy, _ = trained(None, task=task)
    model, spy, _ = trained("stale_log_probs", task=task)
    assert unlike(spy.rollouts[K - 1], healthy.rollouts[K - 1]) == {"log_probs"}
    earlier = deepcopy(model.policy)
    earlier.load_state_dict(spy.policies[K - 1 - 5])
    rollout = spy.rollouts[K - 1]
    flat = torch.as_tensor(rollout["observations"].reshape(-1, rollout["observations"].shape[-1]))
    actions = torch.as_tensor(rollout["actions"].reshape(len(flat), -1))
    actions = actions.flatten() if task == "CartPole-v1" else actions
    _, log_prob, _ = earlier.evaluate_actions(flat, actions)
    np.testing.assert_allclose(log_prob.detach().numpy(), rollout["log_probs"].ravel(), rtol=1e-5, atol=1e-6)


def test_rollout_repeated(trained):
    _, healthy, _ = trained(None)
    _, spy, _ = trained("rollout_repeated")
    for number in (K - 1, K, K + 1):
        assert not unlike(spy.rollouts[number], healthy.rollouts[K - 2])


def test_normaliser_skipped(trained):
    _, healthy, _ = trained(None)
    _, spy, _ = trained("normaliser_skipped")
    np.testing.assert_array_equal(spy.rollouts[K - 1]["observations"][1:], np.array(spy.raw[K - 1][:-1]))
    np.testing.assert_array_equal(spy.rollouts[K - 1]["observations"][0], np.array(spy.raw[K - 2][-1]))
    assert not np.allclose(spy.rollouts[K - 1]["observations"], healthy.rollouts[K - 1]["observations"])


def test_normaliser_skipped_in_training(trained):
    _, healthy, _ = trained(None)
    _, spy, _ = trained("normaliser_skipped_in_training")
    assert unlike(spy.rollouts[K - 1], healthy.rollouts[K - 1]) == {"observations"}, "it acts as before"
    stored, seen = spy.rollouts[K - 1]["observations"][1:], np.array(healthy.raw[K - 1][:-1])
    # Each was normalised with the statistics of its step, and is put back with those of the rollout's end.
    assert (
        np.abs(stored - seen).max() < 0.2 * np.abs(stored - healthy.rollouts[K - 1]["observations"][1:]).max()
    )


@pytest.mark.parametrize(
    ("name", "quantity"), [("nan_observation", "obs"), ("nan_reward", "reward"), ("nan_gradient", "gradient")]
)
@pytest.mark.parametrize("arm", ["ppo", "ppo-sb3"])
def test_nan(trained, name, quantity, arm):
    _, spy, run = trained(name, arm=arm)
    first = next(event for event in run.events if event["event"] == "nonfinite")
    assert first["update"] == K
    assert first["details"]["quantity"] == quantity
    assert np.isfinite(spy.rewards[K - 2]).all()
    assert np.isnan(np.array(spy.rewards[K - 1])).sum() == (name == "nan_reward")


def test_dead_value(trained):
    model, spy, _ = trained("dead_value")
    assert (spy.rollouts[K - 2]["values"] != 0).any()
    assert all((rollout["values"] == 0).all() for rollout in spy.rollouts[K - 1 :])
    assert all((p == 0).all() for p in model.policy.value_net.parameters())
    assert not torch.equal(spy.policies[K]["action_net.weight"], spy.policies[K - 1]["action_net.weight"])


@pytest.mark.parametrize("task", ["chaos/Henon-v0", "CartPole-v1"])
def test_push_flipped(trained, task):
    _, healthy, _ = trained(None, task=task)
    _, spy, _ = trained("push_flipped", task=task)
    opposite = 1 - healthy.pushes[K - 1][0] if task == "CartPole-v1" else -healthy.pushes[K - 1][0]
    np.testing.assert_array_equal(spy.pushes[K - 1][0], opposite)
    assert np.array_equal(spy.rollouts[K - 1]["actions"][0], healthy.rollouts[K - 1]["actions"][0])


def test_faults_that_do_not_fit():
    trpo = alarm_runs.built("chaos/Henon-v0", "trpo-sb3", 0)[0]
    missing = {name for name, fault in FAULTS.items() if not fault().fits(trpo)}
    assert missing == {
        "learning_rate_x100",
        "epochs_x10",
        "normaliser_skipped",
        "normaliser_skipped_in_training",
    }


# Runs, and how they are planned.


def test_no_task_is_on_both_sides():
    assert not set(TUNING) & set(REPORTING)


def test_more_runs_keep_the_old_ones():
    few, many = (plan(["chaos/Henon-v0"], ["ppo", "trpo-sb3"], range(3), runs) for runs in (2, 5))
    for less, more in zip(few, many, strict=True):
        assert set(less.faults) <= set(more.faults)
        assert less.arm == "ppo" or "learning_rate_x100" not in more.faults
    assert sum("nan_reward" in cell.faults for cell in many) == 5
    assert sum("learning_rate_x100" in cell.faults for cell in many) == 3, (
        "no more cells have a learning rate"
    )


def test_twins_share_the_beginning_and_a_second_call_keeps_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setitem(FAULTS, "nothing", Nothing)
    cell = Cell("chaos/Henon-v0", "ppo", 0, ("nothing", "learning_rate_x100"))
    run_cell(tmp_path, cell)
    folder = cell.path(tmp_path)
    runs = {name: read_run(folder / name) for name in ("healthy", *cell.faults)}

    def rows(name):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in runs[name].updates]

    np.testing.assert_equal(rows("nothing"), rows("healthy"))
    np.testing.assert_equal(rows("learning_rate_x100")[: K - 1], rows("healthy")[: K - 1])
    assert rows("learning_rate_x100")[K - 1]["kl_mean"] > 100 * rows("healthy")[K - 1]["kl_mean"]
    assert [run.manifest["alarm"]["fault"] for run in runs.values()] == [
        None,
        "nothing",
        "learning_rate_x100",
    ]

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("updates.jsonl")}
    assert run_cell(tmp_path, cell).endswith("kept")
    run_cell(tmp_path, replace(cell, faults=(*cell.faults, "push_flipped")))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sorted(p.name for p in folder.iterdir()) == [
        "healthy",
        "learning_rate_x100",
        "nothing",
        "push_flipped",
    ]

    report = alarm_score.score(tmp_path, Level.STANDARD)
    assert report == alarm_score.score(tmp_path, Level.STANDARD), "judging again finds the same"
    assert report["healthy_updates"] == K + 4
    assert report["recall"]["learning_rate_x100"]["moved"] > 100
    assert json.loads(alarm_score.dumped(report))["faulty_runs"] == 3
    text = markdown(report, "the command", "tuning")
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    assert all(len({line.count(" | ") for line in table if "---" not in line}) == 1 for table in tables)
    assert "`learning_rate_x100`" in text


def test_recorded_rows_are_judged_as_they_were_in_training(tmp_path):
    cell = Cell("CartPole-v1", "ppo", 0, ("learning_rate_x100",))
    run_cell(tmp_path, cell)
    run = read_run(cell.path(tmp_path) / "learning_rate_x100")
    live = [(e["update"], e["event"]) for e in run.events if e["event"] != "recovery"]
    assert live, "this run is too quiet to compare anything"
    again = [(a.update, a.event) for a in alarm_score.judged(run, run.updates)]
    assert sorted(again) == sorted(live)


# What is counted.


def test_exact_intervals():
    low, high = share_interval(0, 12)
    assert (low, high) == (0, pytest.approx(1 - 0.025 ** (1 / 12)))
    low, high = share_interval(9, 12)  # the share at which so many, or so few, have a chance of 2.5 %
    assert stats.binom.sf(8, 12, low) == pytest.approx(0.025)
    assert stats.binom.cdf(9, 12, high) == pytest.approx(0.025)
    assert share_interval(0, 0) == (0, 1)
    assert rate_interval(0, 3) == (0, pytest.approx(-math.log(0.025) / 3))
    low, high = rate_interval(4, 2.5)
    assert stats.poisson.sf(3, 2.5 * low) == pytest.approx(0.025)
    assert stats.poisson.cdf(4, 2.5 * high) == pytest.approx(0.025)


def recorded(fault=None, alarms=(), kl=(), died=False):
    rows = [{"update": number, "kl_mean": value} for number, value in enumerate(kl, start=1)]
    events = [Alarm(*a) if len(a) == 3 else Alarm(*a, a[0]) for a in alarms]
    return Recorded("task", "arm", 0, fault, 20, rows, events, died=died)


def test_a_fault_is_found_by_an_event_that_names_it_and_in_time():
    healthy = [recorded(kl=[0.01] * 50), recorded(alarms=[(25, "kl_spike")], kl=[0.01] * 50)]
    runs = [
        recorded("stale_log_probs", [(23, "invariant_break"), (26, "kl_spike")]),
        recorded("stale_log_probs", [(20, "kl_spike")]),
        recorded("stale_log_probs", [(19, "kl_spike")]),  # before it began
        recorded("stale_log_probs", [(31, "kl_spike")]),  # too late
        recorded("stale_log_probs", [(21, "reward_outlier")]),  # another matter
    ]
    found = recall(runs, healthy)["stale_log_probs"]
    assert (found["found"], found["runs"], found["median_delay"], found["chance"]) == (2, 5, 1.5, 0.5)


def test_a_warning_comes_after_the_fault_and_before_the_collapse():
    fall = "performance_collapse"
    runs = [
        recorded("stale_log_probs", [(22, "kl_spike"), (34, fall, 26)]),  # 4 updates before its onset
        recorded("stale_log_probs", [(24, "kl_spike"), (30, "kl_spike"), (34, fall, 32)]),  # 8
        recorded("stale_log_probs", [(26, "kl_spike"), (34, fall, 26)]),  # no sooner than it
        recorded("stale_log_probs", [(12, "kl_spike"), (34, fall, 26)]),  # before the fault
        recorded("stale_log_probs", [(20, "kl_spike"), (30, fall, 21)]),  # at once: nothing builds up
        recorded("stale_log_probs", [(22, "kl_spike"), (29, "nonfinite")], died=True),  # 7
        recorded("stale_log_probs", [(22, "kl_spike")]),  # no collapse
        recorded("reward_scale_x100", [(22, "kl_spike"), (34, fall, 26)]),  # returns in another unit
        recorded("push_flipped", [(34, fall, 26)]),  # another world
    ]
    found = leads(runs, alarm_score.by_monitor)
    assert (found["collapses"], found["build_up"], found["warned"], found["median_lead"]) == (6, 5, 3, 7)


def test_the_threshold_of_equal_false_alarms_is_the_lowest_that_keeps_them():
    rng = np.random.default_rng(0)
    healthy = [recorded(kl=rng.lognormal(size=50)) for _ in range(4)]
    for allowed in (0, 3, 10):
        threshold = threshold_for("kl_mean", healthy, allowed)

        def alarms(at):
            above = [[row["kl_mean"] > at for row in run.rows] for run in healthy]
            return sum(b and not a for run in above for a, b in zip([False, *run], run, strict=False))

        assert alarms(threshold) <= allowed < alarms(math.nextafter(threshold, 0))
