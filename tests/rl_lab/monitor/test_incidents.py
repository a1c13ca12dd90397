"""What the monitor keeps of the updates behind events: whole, bounded, and never in the way of training."""

import errno
import json
import math
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC

from rl_lab import DivergenceMonitor
from rl_lab.monitor.event import Finding
from rl_lab.monitor.record import incident as incidents
from rl_lab.monitor.record.incident import Bounds, Incidents, Remembered, suspects
from rl_lab.monitor.record.run_directory import read_run
from rl_lab.replay import find, read, replay
from rl_lab.replay.incident import incidents_of

SMALL = {"n_steps": 32, "batch_size": 16, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}, "device": "cpu"}


def finding(event="kl_spike", **details):
    return Finding(event=event, value=1.0, threshold=None, message="", details=details)


class Scene:
    """An update of a given size."""

    unfit = None

    def __init__(self, nbytes):
        self.size = nbytes

    def nbytes(self):
        return self.size


@pytest.fixture
def keeper(tmp_path, monkeypatch):
    """Incidents that write nothing but their directory; `said` holds their sentences."""
    monkeypatch.setattr(
        incidents,
        "write_incident",
        lambda folder, scene, _: (folder / "incident.json").write_bytes(bytes(scene.size)),
    )

    def make(**bounds):
        said = []
        made = Incidents(tmp_path, {}, Bounds(**bounds), said.append)
        return SimpleNamespace(
            incidents=made,
            said=said,
            number=0,
            there=lambda: {p.name for p in incidents_of(tmp_path / "incidents")},
        )

    return make


def happens(keeper, update, *events, nbytes=10, row=None):
    """An update and the events in it; the details of these."""
    keeper.incidents.saw(update, row or {}, Scene(nbytes))
    found = keeper.incidents.keep([finding(event) for event in events], keeper.number + 1, update)
    keeper.number += len(events)
    return [one.details for one in found]


def test_the_oldest_healthy_one_goes_first_and_the_first_of_a_kind_never(keeper):
    kept = keeper(count=4)
    happens(kept, 1, "kl_spike")  # the first of its kind
    happens(kept, 20, "kl_spike")  # not healthy: a NaN follows within ten updates
    happens(kept, 30, "nonfinite")  # the first of its kind
    happens(kept, 50, "kl_spike")  # healthy, though younger than number 2
    assert kept.there() == {"1-kl_spike", "2-kl_spike", "3-nonfinite", "4-kl_spike"}
    happens(kept, 70, "kl_spike")
    assert kept.there() == {"1-kl_spike", "2-kl_spike", "3-nonfinite", "5-kl_spike"}
    happens(kept, 75, "kl_spike")  # number 5 is too young to be known as healthy: the oldest goes
    assert kept.there() == {"1-kl_spike", "3-nonfinite", "5-kl_spike", "6-kl_spike"}
    happens(kept, 76, "performance_collapse")
    happens(kept, 77, "kl_spike")
    assert kept.there() == {"1-kl_spike", "3-nonfinite", "7-performance_collapse", "8-kl_spike"}


def test_a_collapse_ten_updates_later_is_not_healthy_and_one_eleven_later_is(keeper):
    for lead, gone in ((10, "3-kl_spike"), (11, "2-kl_spike")):
        kept = keeper(count=4)
        kept.number = 100 * lead
        happens(kept, 1, "kl_spike")
        happens(kept, 100 - lead, "kl_spike")
        happens(kept, 101, "kl_spike")  # healthy
        kept.incidents.keep([finding("nonfinite")], 9999, 100)
        before = kept.there()
        happens(kept, 120, "kl_spike")
        happens(kept, 121, "kl_spike")
        (name,) = before - kept.there()
        assert name == f"{100 * lead + int(gone[0])}-kl_spike"


def test_all_of_them_together_stay_within_their_size(keeper):
    kept = keeper(size=100)
    happens(kept, 1, "kl_spike", nbytes=40)
    happens(kept, 2, "kl_spike", nbytes=40)
    happens(kept, 3, "kl_spike", nbytes=30)
    assert kept.there() == {"1-kl_spike", "3-kl_spike"}
    (details,) = happens(kept, 4, "nonfinite", nbytes=61)
    assert kept.there() == {"1-kl_spike", "3-kl_spike"}, "nothing is thrown away for what cannot be kept"
    assert "incident" not in details
    assert "Bounds(count=..., size=...)" in kept.said[0]
    happens(kept, 5, "nonfinite", nbytes=200)
    assert len(kept.said) == 1, "once is enough"


def test_an_incident_counts_with_its_bytes_on_the_disk_and_displaces_none_if_it_cannot_be_written(
    keeper, monkeypatch
):
    kept = keeper(size=1000)
    monkeypatch.setattr(Scene, "nbytes", lambda self: 1)
    happens(kept, 1, "kl_spike", nbytes=400)
    happens(kept, 20, "kl_spike", nbytes=400)
    happens(kept, 40, "kl_spike", nbytes=400)
    assert kept.there() == {"1-kl_spike", "3-kl_spike"}
    assert "incident" not in happens(kept, 60, "kl_spike", nbytes=601)[0]

    def refuse(folder, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(incidents, "write_incident", refuse)
    happens(kept, 80, "kl_spike", nbytes=400)
    assert kept.there() == {"1-kl_spike", "3-kl_spike"}


class Shaped(PPO):
    """A user's algorithm with a function among its arguments, and one whose value cannot be read."""

    def __init__(self, *args, shaper=None, broken=None, **kwargs):
        self.shaper, self._fails = shaper, broken
        super().__init__(*args, **kwargs)

    @property
    def broken(self):
        if self._fails:
            raise RuntimeError("nobody may look")
        return self._fails


@pytest.mark.parametrize("broken", [None, True])
def test_arguments_of_a_users_algorithm_do_not_stop_its_training(broken, tmp_path):
    said = []
    settings = {**SMALL, "learning_rate": 1.0, "shaper": lambda obs, act: 0, "broken": broken}
    monitor = DivergenceMonitor(tmp_path / "run", random_return=20.0, say=said.append, wandb=False)
    Shaped("MlpPolicy", "CartPole-v1", seed=1, **settings).learn(64, callback=monitor)
    complaints = [sentence for sentence in said if "nobody may look" in sentence]
    assert len(complaints) == bool(broken)
    assert bool(incidents_of(tmp_path / "run" / "incidents")) != bool(broken)


def test_memory_is_bounded_by_bytes(keeper):
    kept = keeper(memory=100)
    for update in range(1, 30):
        happens(kept, update, nbytes=30, row={"kl_mean": 1.0, "return_smooth": -update})
    assert [one.update for one in kept.incidents._ring] == [27, 28, 29]
    assert kept.incidents.keep([finding("performance_collapse", onset_update=5)], 1, 29)[0].details == {
        "onset_update": 5
    }
    assert "no longer remembered" in kept.said[0]


def remembered(*rows):
    return [
        Remembered(update, {"kl_mean": kl, "return_smooth": paid}, Scene(1), 1) for update, kl, paid in rows
    ]


def test_the_cause_of_a_collapse_lies_between_the_best_return_and_the_fall():
    """The record of an update holds the return before it: the update with the best return may be the cause itself."""
    rows = remembered(
        (1, 9.0, 1.0), (2, 0.5, 10.0), (3, 2.0, 9.0), (4, 0.1, 8.0), (5, 7.0, 2.0), (6, 8.0, 1.0)
    )
    assert [one.update for one in suspects(rows, 5)] == [2, 3, 4]
    assert [one.update for one in suspects(rows[4:], 5)] == [5], "if no other is remembered, the onset itself"
    assert suspects(rows, 0) == []
    tied = remembered((1, 1.0, 5.0), (2, 1.0, 5.0), (3, 1.0, 1.0))
    assert [one.update for one in suspects(tied, 3)] == [2]


def test_of_the_suspects_the_one_with_the_largest_kl_is_kept(keeper, monkeypatch):
    written, kept = {}, keeper()
    monkeypatch.setattr(incidents, "write_incident", lambda folder, scene, told: written.update(told))
    for update, kl, paid in ((1, 9.0, 1.0), (2, 0.5, 10.0), (3, 2.0, 9.0), (4, 0.1, 8.0), (5, 7.0, 2.0)):
        happens(kept, update, row={"kl_mean": kl, "return_smooth": paid})
    kept.incidents.keep([finding("performance_collapse", onset_update=5)], 1, 5)
    assert (written["update"], written["event"]["update"]) == (3, 5)
    assert "the one with the largest KL (2 nats)" in written["why_this_update"]


def test_an_update_that_a_guard_took_back_is_no_suspect(keeper):
    kept = keeper()
    happens(kept, 1)
    happens(kept, 2)
    kept.incidents.undone()
    assert [one.update for one in kept.incidents._ring] == [1]


@pytest.mark.parametrize("value", [-1, 1.5, None])
def test_bounds_are_whole_numbers(value):
    with pytest.raises(ValueError, match="count must be a whole number of at least 0, got"):
        Bounds(count=value)


# With a training.


def spiking(path, learning_rate=1.0, env="Pendulum-v1", updates=2, **settings):
    model = PPO("MlpPolicy", env, learning_rate=learning_rate, seed=1, **SMALL)
    monitor = DivergenceMonitor(
        path, random_return=-1200.0, say=settings.pop("say", lambda _: None), **settings
    )
    model.learn(32 * updates, callback=monitor)
    return model


@pytest.mark.parametrize("level", ["light", "full"])
def test_an_event_names_its_incident_and_the_replay_is_what_happened(level, tmp_path):
    model = spiking(tmp_path / "run", level=level)
    events = [event for event in read_run(tmp_path / "run").events if event["event"] == "kl_spike"]
    assert len(events) == 2, "this case is too easy to test anything"
    for event in events:
        assert event["details"]["incident"] == f"incidents/{event['id']}-kl_spike"
    path, others = find(tmp_path / "run")
    assert path == tmp_path / "run" / events[-1]["details"]["incident"]
    assert len(others) == 1
    incident = read(path)
    found = replay(incident, [])
    assert found.verdict.identical
    for name, value in model.policy.state_dict().items():
        assert torch.equal(found.redone[0].after[name], value)
    assert incident.document["record"]["kl_mean"] == pytest.approx(found.redone[0].row["kl_mean"], rel=1e-12)
    assert incident.document["event"]["id"] == events[-1]["id"]
    assert incident.document["run_id"] == "run"
    assert incident.document["env"]["id"] == "Pendulum-v1"


class Pays(gym.Wrapper):
    """Pendulum that pays NaN at one step."""

    def __init__(self, at):
        super().__init__(gym.make("Pendulum-v1"))
        self.at = at

    def step(self, action):
        self.at -= 1
        seen, reward, *more = super().step(action)
        return seen, math.nan if self.at == 0 else reward, *more


def test_a_nan_that_an_environment_pays_is_kept_with_the_update_that_learns_from_it(tmp_path):
    model = PPO("MlpPolicy", Pays(40), seed=1, **SMALL)
    monitor = DivergenceMonitor(tmp_path / "run", random_return=-1200.0, say=lambda _: None)
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        model.learn(96, callback=monitor)
    monitor.close("failed", "ValueError: to satisfy the constraint")
    events = read_run(tmp_path / "run").events
    first = next(event for event in events if event["event"] == "nonfinite")
    path = tmp_path / "run" / "incidents" / f"{first['id']}-nonfinite"
    incident = read(path)
    assert incident.document["update"] == first["update"] == 2
    assert incident.document["raised"] == "ValueError: to satisfy the constraint"
    found = replay(incident, [])
    assert found.redone[0].outcome == "raised ValueError"
    assert found.verdict.identical


def test_a_run_that_ends_in_nan_names_the_update_that_made_it(tmp_path):
    """Parameters of 1e30 overflow inside train(), which raises: the incident is written all the same."""
    monitor = DivergenceMonitor(tmp_path / "run", random_return=-1200.0, say=lambda _: None)
    model = PPO("MlpPolicy", "Pendulum-v1", learning_rate=1e30, seed=0, **{**SMALL, "n_epochs": 10})
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        model.learn(320, callback=monitor)
    monitor.close("failed")
    last = [e for e in read_run(tmp_path / "run").events if e["event"] == "performance_collapse"][-1]
    incident = read(tmp_path / "run" / last["details"]["incident"])
    assert incident.path.name.endswith("-nonfinite")
    assert replay(incident, []).verdict.identical


def test_a_full_disk_does_not_stop_training(tmp_path, monkeypatch):
    said = []

    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("rl_lab.monitor.record.incident_files._write", full)
    spiking(tmp_path / "run", say=said.append)
    run = read_run(tmp_path / "run")
    assert run.status == "done"
    assert len(run.updates) == 2
    assert sum("No space left on device" in sentence for sentence in said) == 1
    assert list((tmp_path / "run" / "incidents").iterdir()) == []
    assert all("incident" not in event["details"] for event in run.events)


def test_a_process_that_dies_while_it_writes_leaves_no_half_incident(tmp_path, monkeypatch):
    from rl_lab.monitor.record import incident_files

    write, documents = incident_files._write, []

    class Killed(BaseException):
        pass

    def dies(path, content):
        nonlocal documents
        write(path, content)
        documents += [path] * (path.name == "incident.json")
        if len(documents) == 2:
            raise Killed

    monkeypatch.setattr(incident_files, "_write", dies)
    with pytest.raises(Killed):
        spiking(tmp_path / "run", updates=3)
    there = {path.name for path in (tmp_path / "run" / "incidents").iterdir()}
    assert sorted(name.startswith(".unfinished-") for name in there) == [False, True], "it died elsewhere"
    assert [path.name for path in incidents_of(tmp_path / "run" / "incidents")] == ["1-kl_spike"]
    assert find(tmp_path / "run")[0].name == "1-kl_spike"


def test_nothing_is_kept_where_nobody_wants_it_or_no_update_can_be_done_again(tmp_path):
    spiking(tmp_path / "none", incidents=None)
    assert not (tmp_path / "none" / "incidents").exists()
    model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=10, policy_kwargs={"net_arch": [4]}, device="cpu")
    model.learn(30, callback=DivergenceMonitor(tmp_path / "sac", random_return=-1200.0, every=10))
    assert not (tmp_path / "sac" / "incidents").exists()


def test_the_document_is_strict_json_although_numbers_are_not_finite(tmp_path):
    spiking(tmp_path / "run", updates=1)
    path, _ = find(tmp_path / "run")

    def refuse(text):
        raise AssertionError(f"{text} is no JSON")

    document = json.loads((path / "incident.json").read_text(), parse_constant=refuse)
    assert document["algorithm"]["settings"]["clip_range"] == 0.2
    assert np.isfinite(document["record"]["kl_mean"])
