"""Interrupted and resumed is the same as never interrupted, to the last bit."""

import json
import os
import signal
from copy import deepcopy

import gymnasium as gym
import numpy as np
import pytest
from resumed import UPDATES, chain, killed, lines, plan_for, run, spikes

from rl_lab.errors import UserError
from rl_lab.monitor.record.run_directory import read_run
from rl_lab.study import resume
from rl_lab.study.monitor import Watch
from rl_lab.study.plan import Agent, Env, plan_run
from rl_lab.study.resume import checkpoint, keeper, worlds

LORENZ = "chaos/Lorenz-v0"
STEPS = {"batch_size": 16, "n_epochs": 2}
NORMALISED = {"normalize_observation": True, "normalize_reward": True}
NOISY = {"observation_noise": 0.1, "observation_delay": 2, "process_noise": 0.01, "steps": 10}
CASES = {
    "ppo": (LORENZ, "ppo", STEPS),
    "ppo, in Gymnasium's own, normalised": ("Pendulum-v1", "ppo", {**STEPS, **NORMALISED}),
    "trpo, normalised": (LORENZ, "trpo", {**NORMALISED, "task": NOISY}),
    "a2c": ("CartPole-v1", "a2c", {}),
    "a rule that steers its KL coefficient": ("CartPole-v1", "ppo-kl", STEPS),
    "one that steers its learning rate, which is annealed": (
        "Pendulum-v1",
        "ppo-adaptive-lr",
        {**STEPS, "anneal_learning_rate": True},
    ),
    "stabilisers with a memory, a network with statistics": (
        "CartPole-v1",
        "ppo",
        {**STEPS, "gradient_norm": "adaptive", "l2_init": 0.01, "normalize_layers": "batch"},
    ),
    "v-mpo": ("Pendulum-v1", "v-mpo", {"n_epochs": 2}),
    "a policy that remembers": ("CartPole-v1", "ppo-lstm", {**STEPS, "lstm_hidden_size": 8}),
    "stable-baselines3's ppo": (LORENZ, "ppo-sb3", STEPS),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of each case that nobody has interrupted; each is made once."""
    made = {}

    def of(case):
        if case not in made:
            env, agent, settings = CASES[case]
            out = tmp_path_factory.mktemp("whole") / "run"
            made[case] = plan_for(env, agent, **settings), run(plan_for(env, agent, **settings), out).path
        return made[case]

    return of


@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_that_goes_on_is_the_same_to_the_last_bit(case, whole, tmp_path):
    """The process wrote five updates and was killed, the checkpoint is from after the second."""
    plan, path = whole(case)
    assert read_run(path).status == "done"
    assert len(chain(path)) == UPDATES
    cut = killed(path, tmp_path / "run")
    assert resume.can_resume(cut)
    again = run(plan, cut, resume=True)
    assert again.status == "done"
    assert not again.problems
    assert chain(cut) == chain(path)
    assert lines(cut) == lines(path), "what is measured, smoothed and counted goes on, too"
    assert (again.manifest["return_final"], again.manifest["events"]) == (
        read_run(path).manifest["return_final"],
        read_run(path).manifest["events"],
    )
    (note,) = again.manifest["resumed"]
    assert (note["update"], note["episodes"], note["changed"]) == (2, "go on", [])
    kept = (cut / note["set_aside"] / "updates.jsonl").read_text()
    assert [json.loads(line)["update"] for line in kept.splitlines()] == [3, 4, 5], "nothing is lost"


@pytest.mark.parametrize("part", [None, "optimizers", "generators", "policy", "carried", "envs"])
def test_every_part_of_a_checkpoint_is_needed(part, whole, tmp_path, monkeypatch):
    plan, path = whole("ppo, in Gymnasium's own, normalised")
    cut = killed(path, tmp_path / "run")

    def without(model, saved, seed):
        fresh = {**keeper.learner.state_of(model)}
        kept = deepcopy(saved.state)
        state = {**kept["model"], **({part: fresh[part]} if part in fresh else {})}
        if part == "carried":
            state[part] = {**kept["model"][part], "_last_obs": fresh[part]["_last_obs"]}
        keeper.learner.put_back(model, state)
        if part != "envs":
            worlds.put_back(model.env, kept["envs"], whole=True)

    monkeypatch.setattr("rl_lab.study.execute.put_back", without)
    again = run(plan, cut, resume=True)
    assert again.status == "done"
    assert chain(cut)[:2] == chain(path)[:2]
    assert (chain(cut)[2:] == chain(path)[2:]) is (part is None)


def test_the_chain_says_that_all_updates_before_are_the_same(whole):
    _, path = whole("a2c")
    rows = read_run(path).updates
    assert len(set(chain(path))) == UPDATES
    from rl_lab.monitor.measure.digest import digest
    from rl_lab.monitor.measure.parts import PARTS, PREFIX

    link = None
    for row in rows:
        link = digest(link, {PREFIX + part: row[PREFIX + part] for part in PARTS})
        assert row["digest_chain"] == link


def test_a_wish_to_stop_waits_for_the_update_and_then_for_nothing_else(whole, tmp_path):
    """SIGTERM, as a supervisor or a cluster sends it."""
    plan, path = whole("ppo")
    out, seen = tmp_path / "run", []

    def told(progress):
        seen.append(progress)
        if progress.last_row and progress.last_row["update"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(plan, out, told=told)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    stopped = read_run(out)
    assert stopped.status == "interrupted"
    assert len(stopped.updates) == 3
    assert resume.newest(out).update == 3
    run(plan, out, resume=True)
    assert chain(out) == chain(path)
    assert not (out / "set_aside" / "1" / "updates.jsonl").exists(), "there was nothing after it"


def test_a_checkpoint_that_was_cut_off_is_never_used(whole, tmp_path):
    plan, path = whole("ppo")
    cut = killed(path, tmp_path / "run", checkpoint=4)
    newest = cut / "checkpoints" / "update-4.safetensors"
    (cut / "checkpoints" / ".update-6.safetensors.unfinished").write_bytes(b"half of it")
    assert resume.newest(cut).update == 4
    newest.write_bytes(newest.read_bytes()[:-100])
    assert resume.newest(cut).update == 2, "the one before it is still there"
    with pytest.raises(UserError, match=r"update-4.safetensors is no checkpoint, or damaged"):
        checkpoint.read(newest)
    run(plan, cut, resume=True)
    assert chain(cut) == chain(path)
    assert (cut / "set_aside" / "1" / "checkpoints" / "update-4.safetensors").exists()


def test_while_a_checkpoint_is_written_the_one_before_stays(whole, tmp_path, monkeypatch):
    _, path = whole("ppo")
    cut = killed(path, tmp_path / "run", checkpoint=4)
    found = resume.newest(cut)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.write(cut, {**found.document, "update": 6}, found.state)
    assert [p.name for p in checkpoint.checkpoints(cut)] == ["update-2.safetensors", "update-4.safetensors"]
    assert sorted(p.name for p in (cut / "checkpoints").iterdir() if p.name.startswith(".")) == []


def test_a_checkpoint_of_other_updates_is_not_used(whole, tmp_path):
    """The record was cut shorter than the checkpoint, or is another run's."""
    plan, path = whole("ppo")
    cut = killed(path, tmp_path / "run")
    rows = (cut / "updates.jsonl").read_text().splitlines(keepends=True)
    (cut / "updates.jsonl").write_text(rows[0])
    assert not resume.can_resume(cut)
    other = rows[1].replace(chain(path)[1], "0" * 16)
    (cut / "updates.jsonl").write_text(rows[0] + other)
    assert not resume.can_resume(cut)
    before = (cut / "updates.jsonl").read_text()
    with pytest.raises(UserError, match="no checkpoint from which the run could go on"):
        run(plan, cut, resume=True)
    assert (cut / "updates.jsonl").read_text() == before


def test_what_cannot_go_on_says_so(whole, tmp_path):
    plan, path = whole("ppo")
    assert not resume.can_resume(path)
    assert not resume.can_resume(tmp_path / "nowhere")
    with pytest.raises(UserError, match="the run is done; there is nothing to go on with"):
        run(plan, path, resume=True)
    cut = killed(path, tmp_path / "run")
    other = plan_for(LORENZ, "ppo", **{**STEPS, "n_epochs": 3})
    with pytest.raises(UserError, match="is of another run than"):
        run(other, cut, resume=True)
    assert chain(cut) == chain(path)
    assert not (cut / "set_aside").exists(), "nothing was changed"


def test_guards_events_and_incidents_go_on_and_what_came_after_is_set_aside(tmp_path, monkeypatch):
    """Update 2 was taken back right before the checkpoint; the spike of update 4 has been seen by the dead already."""
    judged = spikes(monkeypatch, 2, 4)
    plan = plan_for("CartPole-v1", "ppo", guards=[{"name": "checkpoint"}, {"name": "rollback"}], **STEPS)
    path = run(plan, tmp_path / "whole").path
    of_whole = dict(judged)
    judged.clear()
    assert [row["taken_back"] for row in read_run(path).updates] == [None, None, 1, None, 1]
    assert of_whole == {1: [], 2: [1], 3: [1], 4: [1, 3], 5: [1, 3]}
    cut = killed(path, tmp_path / "run")
    again = run(plan, cut, resume=True)
    assert judged == {update: of_whole[update] for update in (3, 4, 5)}
    assert lines(cut) == lines(path)
    assert told(cut) == told(path)
    assert [(id_, event) for id_, event, *_ in told(path)] == [
        (1, "kl_spike"),
        (2, "guard_checkpoint"),
        (3, "guard_rollback"),
        (4, "kl_spike"),
        (5, "guard_checkpoint"),
        (6, "guard_rollback"),
    ]
    assert "learning_rate 0.00015 -> 7.5e-05" in again.events[-1]["message"], "the brake was still on"
    aside = cut / "set_aside" / "1"
    assert [event["id"] for event in read_run(aside).events] == [4, 5, 6]
    assert (aside / "incidents" / "4-kl_spike" / "incident.json").exists()
    assert (aside / "checkpoints" / "before-4.safetensors").exists()
    for folder in ("incidents", "checkpoints"):
        here, there = (
            sorted(p.name for p in (one / folder).iterdir() if p.name != "lock") for one in (cut, path)
        )
        assert here == there


def told(path):
    """Events, without how long it took to write a file."""
    return [
        (e["id"], e["event"], e["update"], e["env_steps"], e["value"], e["message"].partition(" (")[0])
        for e in read_run(path).events
    ]


class Hidden(gym.Env):
    """Counts in a closure, where nobody can look."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, shown=False):
        self.shown, self.count = shown, 0
        count = iter(range(10**9))
        self.tick = lambda: next(count)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.time = 0, 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        self.time += 1
        ticks = self.count if self.shown else self.tick()
        seen = np.array([np.sin(ticks), np.cos(ticks)], np.float32)
        return seen, float(action), self.time == 9, False, {}


gym.register("Hidden-v0", Hidden)


def test_an_environment_that_hides_its_state_begins_its_episodes_anew_and_the_record_says_so(tmp_path):
    said = []
    plan = plan_for("Hidden-v0", "ppo", **STEPS, **NORMALISED)
    path = run(plan, tmp_path / "whole", say=said.append).path
    (sentence,) = [text for text in said if "does not give its state" in text]
    assert "another way, 1 steps later" in sentence
    assert "begin anew" in sentence
    cut = killed(path, tmp_path / "run")
    again = run(plan, cut, resume=True)
    assert again.status == "done"
    assert len(again.updates) == UPDATES
    assert again.manifest["resumed"][0]["episodes"].startswith("begin anew: a copy that was put")
    assert chain(cut)[:2] == chain(path)[:2]
    assert chain(cut)[2:] != chain(path)[2:]
    assert {row["length_mean"] for row in again.updates} == {9.0}, "no episode is made of two halves"


@pytest.mark.parametrize(
    "env_id", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0"]
)
def test_classic_control_gives_its_state(env_id):
    import agents

    envs = agents.vectorize(env_id, 2, 0, {})
    assert worlds.unkept(lambda: gym.make(env_id), envs) is None


def test_the_trial_of_copies_sees_what_is_hidden_and_what_is_not():
    import agents

    envs = agents.vectorize("Hidden-v0", 2, 0, {"shown": True})
    state = np.random.get_state()[1].tolist()
    assert worlds.unkept(lambda: gym.make("Hidden-v0", shown=True), envs) is None
    assert worlds.unkept(lambda: gym.make("Hidden-v0"), envs) is not None
    assert np.random.get_state()[1].tolist() == state, "nobody else's random numbers were used"


def test_a_replay_buffer_is_not_kept(tmp_path):
    agent = Agent("dqn", "dqn", {"n_envs": 1, "learning_starts": 10, "buffer_size": 100})
    plan = plan_run(Env("CartPole-v1", "cart"), agent, 0, 60, {}, Watch(checkpoint_every=1))
    assert run(plan, tmp_path / "run").status == "done"
    assert not checkpoint.checkpoints(tmp_path / "run")
