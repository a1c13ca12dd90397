"""`rl-lab resume`: what a user sees of it."""

import json
import signal
import subprocess
import time

import pytest
from command import PROGRAM, document, environment, rl_lab

from rl_lab.monitor.record.run_directory import read_run

WORDS = [
    "train",
    "CartPole-v1",
    "ppo",
    "--steps",
    "6400",
    "--checkpoint-every",
    "2",
    "--json",
    "--set",
    "n_epochs=1",
]
SMALL = ["--set", "n_envs=2", "--set", "n_steps=32"]


def chain(path):
    return [row["digest_chain"] for row in read_run(path).updates]


def test_a_run_whose_process_is_killed_goes_on_in_another_and_in_w_and_b(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "killed"
    document(rl_lab(*WORDS, *SMALL, "--out", whole, "--wandb", "off"))
    process = subprocess.Popen(
        [*PROGRAM, *WORDS, *SMALL, "--out", str(out), "--wandb", "offline"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    end = time.monotonic() + 120
    while len(read_run(out).updates) < 5 and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    before = read_run(out)
    assert before.status == "interrupted"
    assert len(before.updates) < 100, "it was done before it was killed"
    result = document(rl_lab("resume", out, "--json"))
    assert (result["status"], result["updates"]) == ("done", 100)
    assert chain(out) == chain(whole)
    after = read_run(out).manifest
    assert after["wandb"]["id"] == before.manifest["wandb"]["id"]
    segments = sorted(path.name for path in (out / "wandb").glob("offline-run-*"))
    assert len(segments) == 2, "the same run in two parts, which `wandb sync` puts together"
    again = rl_lab("resume", out)
    assert again.returncode == 2
    assert "there is nothing to go on with" in again.stderr


def test_what_cannot_go_on_is_said_in_a_sentence(tmp_path, say):
    assert say("resume", tmp_path / "nowhere")[::2] == (
        2,
        f"rl-lab: {tmp_path}/nowhere: there is no such directory\n",
    )
    code, _, said = say("resume", tmp_path)
    assert code == 2
    assert "neither a run nor a study" in said
    (tmp_path / "manifest.json").write_text(json.dumps({"status": "interrupted", "agent": {"name": "sac"}}))
    code, _, said = say("resume", tmp_path)
    assert code == 2
    assert "has no checkpoint" in said
    assert "a replay buffer" in said
    (tmp_path / "manifest.json").write_text(json.dumps({"status": "done"}))
    code, _, said = say("resume", tmp_path)
    assert code == 2
    assert "the run is done; there is nothing to go on with" in said
    (tmp_path / "study.json").write_text(json.dumps({"file": str(tmp_path / "gone.yaml"), "hash": "x"}))
    code, _, said = say("resume", tmp_path)
    assert code == 2
    assert f"was made from {tmp_path}/gone.yaml, which is not there" in said


def test_a_module_that_a_file_names_is_not_imported_unasked(tmp_path, say, monkeypatch):
    """The id their_pkg:Env-v0 imports their_pkg, which a directory that somebody sent may bring along."""
    import sys

    from rl_lab.study.resume import checkpoint

    (tmp_path / "sent_along.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    document = {
        "update": 1, "events": 0, "chain": "0", "env_steps": 1, "device": "cpu", "envs_begin_anew": None,
        "versions": {}, "machine": {}, "wandb": False, "study": None,
        "plan": {
            "run_id": "r", "seed": 0, "steps": 10, "monitor": {}, "agent": {"name": "ppo", "label": "ppo"},
            "env": {"id": "sent_along:Theirs-v0", "label": "theirs"},
        },
    }  # fmt: skip
    (tmp_path / "manifest.json").write_text(json.dumps({"status": "interrupted"}))
    (tmp_path / "updates.jsonl").write_text(json.dumps({"update": 1, "digest_chain": "0"}) + "\n")
    checkpoint.write(tmp_path, document, {"model": {}, "envs": [], "monitor": {}})
    code, _, said = say("resume", tmp_path)
    assert code == 2
    assert "imports the module sent_along; if you trust it, say --trust sent_along" in said
    assert not (tmp_path / "marker").exists()
    assert "sent_along" not in sys.modules


@pytest.mark.parametrize("value", ["0", "-1", "x"])
def test_checkpoints_come_after_a_number_of_updates(value, say):
    code, _, said = say("train", "CartPole-v1", "ppo", "--checkpoint-every", value)
    assert code == 2
    assert "--checkpoint-every" in said
