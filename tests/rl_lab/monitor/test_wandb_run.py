"""Weights & Biases offline: the same keys and numbers as in the files, read back with wandb's own reader."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from stable_baselines3 import PPO

from rl_lab import DivergenceMonitor
from rl_lab.monitor.detect.precursors import Precursor
from rl_lab.monitor.event import Event
from rl_lab.monitor.record.run_directory import read_run
from rl_lab.monitor.record.wandb_run import WandbRun, mode_from_environment

SCRIPT = """
import sys
import wandb
from stable_baselines3 import PPO
from rl_lab import DivergenceMonitor

if sys.argv[1] == "mine":
    run = wandb.init(mode="offline", project="p", id="mine")
    run.log({"my_metric": 7})
    monitor = DivergenceMonitor("run")
else:
    monitor = DivergenceMonitor("run", wandb=True)
PPO("MlpPolicy", "Pendulum-v1", n_steps=256, batch_size=64, seed=3, learning_rate=0.1).learn(1024, callback=monitor)
if sys.argv[1] == "start":
    monitor.model.learn(256, callback=monitor, reset_num_timesteps=False)
else:
    assert wandb.run is run, "somebody else's run is not finished by the monitor"
    run.log({"my_metric": 8})
    run.finish()
"""


def train(folder, how, **environment):
    home = folder / "home"
    home.mkdir()
    variables = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**variables, "HOME": str(home), "NETRC": str(home / "none"), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done


def records(run_file):
    """wandb's own reader prints one JSON line a record."""
    program = Path(sys.executable).with_name("wandb")
    done = subprocess.run(
        [program, "leet", "inspect", "--json", str(run_file)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A run that the monitor was asked to start, without a login; four updates, and one when learning went on."""
    folder = tmp_path_factory.mktemp("start")
    done = train(folder, "start")
    first, second = map(records, sorted(folder.glob("run/wandb/offline-run-*/*.wandb")))
    return folder, read_run(folder / "run"), (first, second), done


def summary(found):
    updates = [record["summary"]["update"] for record in found if record["type"] == "summary"]
    return {key: value for update in updates for key, value in update.items()}


def history_rows(found):
    return [record["history"]["item"] for record in found if record["type"] == "history"]


def test_every_number_of_the_file_is_in_wandb_under_the_same_key(started):
    _, run, segments, _ = started
    counts = [sum("kl_mean" in row for row in history_rows(found)) for found in segments]
    assert counts == [4, 1]
    by_update = {row["update"]: row for found in segments for row in history_rows(found) if "kl_mean" in row}
    assert len(by_update) == len(run.updates) == 5
    for mine in run.updates:
        theirs = by_update[mine["update"]]
        for key, value in mine.items():
            if value is not None and not key.startswith("digest"):  # those are for comparing files
                assert theirs[key] == pytest.approx(value), key


def test_the_run_says_what_it_is(started):
    _, run, (found, _), _ = started
    described = run.manifest["wandb"]
    assert described["mode"] == "offline"
    assert (run.path / described["dir"]).is_dir()
    (run_record,) = [record["run"] for record in found if record["type"] == "run"]
    assert run_record["run_group"] == "Pendulum-v1 ppo", "the group is the arm"
    assert run_record["config"]["update"]["agent"]["settings"]["learning_rate"] == 0.1
    assert "Pendulum-v1-ppo-s3" in described["id"], "viewers list runs by id"


def test_spikes_arrive_as_events_alerts_and_a_count_in_the_summary(started):
    _, run, (found, _), _ = started
    spikes = [event for event in run.events if event["event"] == "kl_spike" and event["update"] <= 4]
    assert spikes, "at this step size the KL cannot stay small"
    rows = [row for row in history_rows(found) if row.get("event") == "kl_spike"]
    assert [row["event/value"] for row in rows] == pytest.approx([event["value"] for event in spikes])
    alerts = [record["alert"] for record in found if record["type"] == "alert"]
    (alert,) = [one for one in alerts if one["title"] == "kl_spike"]
    assert spikes[0]["message"] in alert["text"], (
        "the alert carries the numbers; later spikes do not alert again"
    )
    assert rows[0]["event/id"] == spikes[0]["id"]
    last = summary(found)
    assert last["events/kl_spike"] == len(spikes)
    assert last["largest/kl_mean"] == pytest.approx(max(row["kl_mean"] for row in run.updates[:4]))
    assert last["status"] == "done"


def test_learning_on_keeps_the_id_and_the_counts(started):
    _, run, segments, _ = started
    ids = {record["run"]["run_id"] for found in segments for record in found if record["type"] == "run"}
    assert len(ids) == 1
    last = summary(segments[-1])
    assert last["largest/kl_max"] == pytest.approx(max(row["kl_max"] for row in run.updates))
    assert max(row["kl_max"] for row in run.updates) > run.updates[-1]["kl_max"], "the largest was before"
    assert last["events/kl_spike"] == sum(event["event"] == "kl_spike" for event in run.events)


def test_nothing_is_written_outside_the_run_directory_and_nobody_is_asked(started):
    folder, _, _, done = started
    assert sorted(path.name for path in folder.iterdir()) == ["home", "run"]
    assert [p for p in (folder / "home").rglob("*") if p.is_file()] == []
    assert "wandb:" not in done.stderr + done.stdout


def test_a_run_that_the_user_started_gets_the_numbers_and_stays_his(tmp_path):
    train(tmp_path, "mine")
    (run_file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    found = records(run_file)
    rows = history_rows(found)
    assert [row["my_metric"] for row in rows if "my_metric" in row] == [7, 8]
    assert sum("kl_mean" in row for row in rows) == 4
    assert read_run(tmp_path / "run").manifest["wandb"]["mode"] == "yours"


def test_false_means_no_wandb_at_all(tmp_path, monkeypatch):
    """Although the user is logged in and is logging to a run of his own."""
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setattr("wandb.run", Broken())
    monkeypatch.setattr("wandb.init", lambda *_, **__: pytest.fail("a run was started"))
    model = PPO("MlpPolicy", "Pendulum-v1", n_steps=32, batch_size=32, n_epochs=1, device="cpu")
    model.learn(32, callback=DivergenceMonitor(tmp_path / "run", random_return=-1200.0, wandb=False))
    assert not (tmp_path / "run" / "wandb").exists()
    assert read_run(tmp_path / "run").manifest["wandb"] is None


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ("dryrun", "offline"),
        ("online", "online"),
        ("garbage", "offline"),
        ("disabled", "disabled"),
        ("shared", "online"),
    ],
)
def test_only_a_known_word_means_upload(said, mode, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", said)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert mode_from_environment() == mode


class Listening:
    """A W&B run that remembers what it was told."""

    id, dir, offline = "x", "/tmp/x/files", True

    def __init__(self):
        self.rows, self.summary, self.alerts = [], {}, []

    def log(self, row):
        self.rows.append(row)

    def alert(self, **told):
        self.alerts.append(told)

    def define_metric(self, *_, **__): ...


def test_numbers_and_names_are_shown_lists_and_digests_are_not():
    heard = Listening()
    row = {
        "update": 1,
        "kl_mean": 0.1,
        "outcome": "ACCEPTED",
        "kl_path": [1, 2],
        "digest_before": "ab12",
        "x": None,
    }
    WandbRun(heard, owned=False).update({**row, "essay": "word " * 100})
    assert heard.rows == [{"update": 1, "kl_mean": 0.1, "outcome": "ACCEPTED"}]


def test_an_event_tells_what_had_warned_of_it_and_only_what_is_bad_warns():
    heard = Listening()
    run = WandbRun(heard, owned=False)
    place = {"value": 1.0, "threshold": None, "message": "m", "run": "r", "update": 3, "env_steps": 9}
    warned = (
        Precursor(quantity="entropy", lead=4, value=0.1, low=1.0, high=2.0),
        Precursor(quantity="ratio_max", lead=0, value=9.0, low=1.0, high=2.0),
    )
    event = Event(event="kl_spike", id=1, precursors=warned, **place)
    run.event(event, 1)
    assert heard.rows[0]["event/precursors"] == "entropy 4 ahead, ratio_max 0 ahead"
    assert heard.summary == {"events/kl_spike": 1}
    for name in ("kl_spike", "recovery", "guard_rollback"):
        assert run.alert(Event(event=name, id=1, **place), "text")
    assert [alert["level"] for alert in heard.alerts] == ["WARN", "INFO", "INFO"]


class Broken:
    """A W&B run that the user has finished."""

    id, dir, offline = "x", "/tmp/x/files", True

    def __getattr__(self, name):
        raise RuntimeError("run x is finished")


def test_a_wandb_run_that_stops_working_is_said_once_and_does_not_stop_training(capsys):
    run = WandbRun(Broken(), owned=False)
    for update in (1, 2):
        run.update({"update": update, "env_steps": update, "kl_mean": 0.1})
    run.finish("done", {})
    assert capsys.readouterr().err.count("W&B no longer takes the numbers (run x is finished)") == 1
