"""Comparing two runs: tiny real ones that part for a known reason, and made-up ones whose growth is known."""

import json
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback

from rl_lab.errors import UserError
from rl_lab.monitor import DivergenceMonitor
from rl_lab.monitor.measure.parts import PARTS
from rl_lab.report import causes
from rl_lab.report.difference import compare, document, settings_that_differ
from rl_lab.report.parting import Gap, Pair, gaps, growth, parted, shown, slope

STEPS, UPDATES = 16, 6


class Walk(gym.Env):
    """A point that is pushed; from step `at` on the environment does `what`."""

    def __init__(self, what=None, at=10**9):
        self.action_space = spaces.Box(-1, 1, (1,), np.float32)
        self.observation_space = spaces.Box(-9, 9, (2,), np.float32)
        self.what, self.at, self.total = what, at, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.t = self.np_random.normal(size=2), 0
        return self.place.astype(np.float32), {}

    def step(self, action):
        self.t, self.total = self.t + 1, self.total + 1
        odd = self.what if self.total >= self.at else None
        self.place = 0.9 * self.place + 0.3 * float(action[0])
        reward = -float(self.place @ self.place) + (1e-6 if odd == "pays" else 0.0)
        if odd == "noise":
            self.place += 1e-3 * np.random.default_rng().normal(size=2)
        if odd == "draws":
            np.random.rand()
        return self.place.astype(np.float32), reward, False, self.t == 30, {}


class Nudges(BaseCallback):
    """Adds 1e-7 to one weight before the rollout of an update, or turns the optimizer's beta inside one."""

    def __init__(self, nudge=None, turn=None):
        super().__init__()
        self.nudge, self.turn, self.rollouts = nudge, turn, 0

    def _on_rollout_start(self):
        self.rollouts += 1
        if self.rollouts == self.nudge:
            with torch.no_grad():
                self.model.policy.action_net.weight[0, 0] += 1e-7

    def _on_rollout_end(self):
        if self.rollouts == self.turn:
            self.model.policy.optimizer.param_groups[0]["betas"] = (0.91, 0.999)

    def _on_step(self):
        return True


def run(folder, *, env=None, seed=3, nudge=None, turn=None, updates=UPDATES, **settings):
    model = PPO(
        "MlpPolicy", env or Walk(), seed=seed, device="cpu", policy_kwargs={"net_arch": [8]},
        **{"n_steps": STEPS, "batch_size": 8, "n_epochs": 2, **settings},
    )  # fmt: skip
    monitor = DivergenceMonitor(folder, wandb=False, random_return=-30.0, say=lambda text: None)
    model.learn(STEPS * updates, callback=[monitor, Nudges(nudge, turn)])
    return folder


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    return run(tmp_path_factory.mktemp("runs") / "first")


def test_the_same_training_twice_is_identical(first_run, tmp_path):
    found = compare(first_run, run(tmp_path / "again"))
    assert found.first is None
    assert found.settings == []
    assert found.verdict == "all 6 updates are identical to the bit"
    assert document(found)["identical"] is True


CASES = {
    "pays": ({"env": Walk("pays", 3 * STEPS + 5)}, 4, "rewards", "environment is not deterministic"),
    "noise": ({"env": Walk("noise", 3 * STEPS + 5)}, 4, "observations", "environment is not deterministic"),
    "draws": ({"env": Walk("draws", 3 * STEPS + 5)}, 4, "random", "draws from a global generator"),
    # The observation after the last step is not in the rollout, but its value is in the returns.
    "last step": ({"env": Walk("noise", 3 * STEPS)}, 3, "returns", "on the last step of the rollout"),
    "nudge": ({"nudge": 3}, 3, "before", "no update changed the parameters before update 3"),
    "turn": ({"turn": 5}, 5, "after", "it is the update itself"),
    "seed": ({"seed": 4}, 1, "before", "they began with different parameters"),
    "rate": ({"learning_rate": 1e-3}, 1, "after", "learning_rate (0.0003 | 0.001)"),
    "gamma": ({"gamma": 0.98}, 1, "returns", "agent.settings.gamma (0.99 | 0.98)"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_update_and_the_cause_are_named(case, first_run, tmp_path):
    changes, update, part, words = CASES[case]
    found = compare(first_run, run(tmp_path / "other", **changes))
    assert found.first is not None
    assert (found.first.update, found.first.part) == (update, part), found.verdict
    assert words in found.verdict
    if update > 1:
        assert f"updates 1-{update - 1} are identical to the bit" in found.verdict
    before = list(PARTS)[: list(PARTS).index(part)]
    assert not set(before) & set(found.first.different), "causal order"
    has_reason = case in ("seed", "rate", "gamma")
    assert ("the manifests give no reason" in found.verdict) is not has_reason
    assert [gap.after for gap in found.gaps] == list(range(UPDATES - update + 1))


def test_another_draw_for_the_same_policy_is_told_from_another_policy(first_run, tmp_path):
    class Shifts(Nudges):
        def _on_rollout_start(self):
            super()._on_rollout_start()
            if self.rollouts == 2:
                torch.rand(1)

    model = PPO(
        "MlpPolicy", Walk(), seed=3, n_steps=STEPS, batch_size=8, n_epochs=2, policy_kwargs={"net_arch": [8]}
    )
    monitor = DivergenceMonitor(tmp_path / "b", wandb=False, random_return=-30.0, say=lambda text: None)
    model.learn(STEPS * 3, callback=[monitor, Shifts()])
    found = compare(first_run, tmp_path / "b")
    assert (found.first.update, found.first.part) == (2, "answers")
    assert found.first.cause == causes.OTHER_NUMBERS


def test_an_off_policy_run_says_what_a_stretch_can_tell(tmp_path):
    def trained(name, env, every):
        model = SAC(
            "MlpPolicy", env, seed=0, learning_starts=8, batch_size=4, buffer_size=100, train_freq=4, device="cpu",
            policy_kwargs={"net_arch": [4]},
        )  # fmt: skip
        monitor = DivergenceMonitor(tmp_path / name, wandb=False, random_return=-30.0, every=every, say=print)
        model.learn(40, callback=monitor)
        return tmp_path / name

    same = compare(trained("a", Walk(), 20), trained("b", Walk(), 20))
    assert same.first is None
    coarse = compare(tmp_path / "a", trained("c", Walk("noise", 26), 20))
    assert (coarse.first.update, coarse.first.part) == (2, "observations")
    assert coarse.first.cause == causes.LEARNS_MEANWHILE
    paid = compare(tmp_path / "a", trained("d", Walk("pays", 40), 20))
    assert (paid.first.update, paid.first.part) == (2, "rewards")


# Made-up runs.


def row(update, *, salt="", **values):
    digests = {f"digest_{part}": f"{part}{update}{salt}" for part in PARTS}
    return {
        "update": update,
        "env_steps": 100 * update,
        "kl_mean": 0.01,
        "step_norm": 1.0,
        **digests,
        **values,
    }


def write(folder, rows, events=(), tail="", **manifest):
    folder.mkdir()
    record = {
        "run_id": folder.name,
        "status": "done",
        "seed": 1,
        "agent": {"name": "ppo", "settings": {}},
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(record))
    (folder / "updates.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + tail)
    (folder / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
    return folder


def test_runs_of_different_length_are_compared_as_far_as_both_go(tmp_path):
    a, b = write(tmp_path / "a", [row(1), row(2), row(3)]), write(tmp_path / "b", [row(1), row(2)])
    found = compare(a, b)
    assert found.verdict == "the 2 updates that both have are identical to the bit; A has 1 more"
    assert compare(b, a).verdict.endswith("B has 1 more")


def test_a_half_written_line_is_left_out_and_said(tmp_path):
    a = write(tmp_path / "a", [row(1), row(2)], tail='{"update": 3, "digest_af')
    found = compare(a, write(tmp_path / "b", [row(1), row(2), row(3, salt="x")]))
    assert found.first is None
    assert any("the last line was cut off" in note for note in found.notes)


def test_a_part_that_only_one_run_has_is_no_difference(tmp_path):
    less = {**row(1), "digest_values": None, "digest_start": None}
    assert compare(write(tmp_path / "a", [row(1)]), write(tmp_path / "b", [less])).first is None


def test_the_same_directory_twice(tmp_path):
    a = write(tmp_path / "a", [row(1)])
    found = compare(a, tmp_path / "." / "a")
    assert found.notes == ["A and B are the same directory"]
    assert found.first is None


def test_different_algorithms_are_compared_and_said(tmp_path):
    a = write(tmp_path / "a", [row(1)])
    b = write(tmp_path / "b", [row(1, salt="x")], agent={"name": "trpo", "settings": {}})
    assert "these are different algorithms: ppo and trpo" in compare(a, b).notes


def test_wrong_input_is_one_sentence(tmp_path):
    good = write(tmp_path / "good", [row(1)])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="nowhere: there is no such directory"):
        compare(good, tmp_path / "nowhere")
    with pytest.raises(UserError, match="file is a file; name the run"):
        compare(tmp_path / "file", good)
    with pytest.raises(
        UserError, match=r"not a run directory: it has no manifest.json; did you mean \S*good\?"
    ):
        compare(good, tmp_path)
    with pytest.raises(UserError, match="empty holds no updates: there is nothing to compare"):
        compare(write(tmp_path / "empty", []), good)
    old = {key: value for key, value in row(1).items() if not key.startswith("digest")}
    with pytest.raises(UserError, match="old has no digests: it was recorded by an earlier version"):
        compare(good, write(tmp_path / "old", [old]))
    with pytest.raises(UserError, match="no update in common"):
        compare(good, write(tmp_path / "later", [row(2)]))
    foreign = {**dict.fromkeys(row(1)), "update": 1, "digest_start": "s"}
    own = {**dict.fromkeys(row(1)), "update": 1, "digest_after": "s"}
    with pytest.raises(UserError, match="no digest of the same part"):
        compare(write(tmp_path / "own", [own]), write(tmp_path / "foreign", [foreign]))


def test_events_that_only_one_run_had(tmp_path):
    def event(name, update):
        return {"id": 1, "event": name, "update": update, "env_steps": 1, "message": f"{name} {update}"}

    both, spike, late = event("kl_spike", 1), event("kl_spike", 2), event("nonfinite", 3)
    a = write(tmp_path / "a", [row(1), row(2)], [both, spike, event("kl_spike", 2)])
    b = write(tmp_path / "b", [row(1), row(2), row(3)], [both, spike, late])
    found = compare(a, b)
    assert [(e["event"], e["update"]) for e in found.only_a] == [("kl_spike", 2)]
    assert found.only_b == [], "update 3 is not in A at all"


def test_settings_are_found_by_their_path_and_words_that_decide_nothing_are_not():
    def manifest(torch_version, label, rate):
        return {
            "run_id": label, "started": label, "seed": 0, "versions": {"torch": torch_version, "numpy": "2"},
            "agent": {"name": "ppo", "label": label, "settings": {"lr": rate, "net_arch": [64, 64]}},
        }  # fmt: skip

    found = settings_that_differ(manifest("2.12", "x", 1e-3), manifest("2.13", "y", 2e-3))
    assert [(s.key, s.a, s.b) for s in found] == [
        ("agent.settings.lr", 1e-3, 2e-3),
        ("versions.torch", "2.12", "2.13"),
    ]
    one_sided = settings_that_differ({"machine": {"device": "cpu"}}, {})
    assert [(s.key, s.a, s.b) for s in one_sided] == [
        ("machine", None, None),
        ("machine.device", "cpu", None),
    ][1:]


def test_every_part_has_words_and_a_cause():
    assert list(causes.IN_WORDS) == list(causes.CAUSES) == list(PARTS)
    same, other = ("x", "x"), ("x", "y")
    everything = dict.fromkeys(PARTS, same)
    assert causes.cause(5, "answers", {**everything, "answers": other}) == causes.CAUSES["answers"]
    assert (
        causes.cause(5, "answers", {**everything, "answers": other, "random": other}) == causes.OTHER_NUMBERS
    )
    own_loop = {"observations": other, "rewards": same}
    assert causes.cause(5, "observations", own_loop) == causes.GENERATORS_UNKNOWN
    assert causes.cause(5, "rewards", {"rewards": other}) == causes.CAUSES["rewards"]


# How they part.


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(1.0, 1.1, 0.1 / 1.1), (-2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (0.0, 3.0, 1.0), (math.nan, math.nan, 0.0)],
)
def test_the_relative_difference(a, b, expected):
    assert Pair(a, b).relative == pytest.approx(expected)
    assert Pair(b, a).relative == pytest.approx(expected)
    assert math.isnan(Pair(1.0, math.inf).relative)


def parting(rate, start=1e-7, noise=0.0, count=60, seed=0, ar=0.0):
    """Rows of two runs whose columns differ by start * exp(rate * update), until they have nothing in common."""
    rng = np.random.default_rng(seed)
    wiggles = rng.normal(size=count) * noise
    for i in range(1, count):
        wiggles[i] += ar * wiggles[i - 1]
    pairs = []
    for update in range(1, count + 1):
        far = min(start * math.exp(rate * update + wiggles[update - 1]), 1.0)
        pairs.append((row(update), row(update, kl_mean=0.01 / (1 + far), step_norm=1.0 + far)))
    return gaps(pairs)


def test_the_rate_at_which_they_part_is_found_and_fitted_only_until_they_have():
    found = parting(0.4)
    fitted = growth(found)
    assert parted(found) == 35, "1e-7 exp(0.4 n) > 0.1 from n = ln(1e6) / 0.4 = 34.5 on"
    assert (fitted.first, fitted.last) == (1, 34)
    assert fitted.rate == pytest.approx(0.4, abs=0.005)
    assert fitted.is_exponential


def test_the_interval_covers_the_true_rate_as_often_as_it_says():
    """With noise as large as ten updates of growth, independent and correlated."""
    for ar, least in ((0.0, 0.9), (0.6, 0.85)):
        fits = [
            growth(parting(0.1, noise=1.0, count=60, seed=seed, ar=ar, start=1e-12)) for seed in range(200)
        ]
        covered = np.mean([fit.interval.low <= 0.1 <= fit.interval.high for fit in fits])
        assert covered > least, ar
        assert covered < 1


def test_a_difference_that_stays_is_no_growth():
    fits = [growth(parting(0.0, noise=0.5, start=1e-3, seed=seed)) for seed in range(100)]
    assert np.mean([fit.is_exponential for fit in fits]) < 0.1


def test_too_few_updates_give_no_rate():
    assert growth(parting(3.0)) is None
    assert growth([]) is None
    assert growth([Gap(1, 0, {"kl_mean": Pair(1.0, 1.0)})] * 20) is None, "nothing differs"


def test_the_slope_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    x, y = np.arange(20.0), rng.normal(size=20)
    (expected, _), covariance = np.polyfit(x, y, 1, cov=True)
    rate, error = slope(x, y)
    assert rate == pytest.approx(expected)
    assert error >= math.sqrt(covariance[0, 0]) * (1 - 1e-9), "correlation can only widen it"


def test_what_is_shown_are_the_first_ones_and_then_fewer_and_fewer():
    assert [gap.after for gap in shown(parting(0.1, count=60))] == [0, 1, 2, 5, 10, 20, 50]
