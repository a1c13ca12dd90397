"""A run that somebody else sends is read, wherever anything of it is read, without running anything of his."""

import json
import os
import pickle
from contextlib import suppress

import pytest
import safetensors.torch
import torch
import yaml
from resumed import killed, plan_for, run, spikes

from rl_lab.errors import UserError
from rl_lab.monitor.act.checkpoints import load_checkpoint
from rl_lab.monitor.guards.checkpoint import Checkpoint
from rl_lab.monitor.record.incident import Incidents
from rl_lab.monitor.record.run_directory import glance, read_run
from rl_lab.replay import read as read_incident
from rl_lab.report.difference import compare
from rl_lab.study import resume
from rl_lab.study.agents import read_agent
from rl_lab.study.execute import execute
from rl_lab.study.resume import checkpoint
from rl_lab.study.store import find_runs, read_study_document
from rl_lab.study.yaml import read_mapping, read_setting, read_value


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_the_bomb_goes_off(tmp_path):
    """Else all tests below would show nothing."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    plan = plan_for("CartPole-v1", "ppo", guards=[{"name": "checkpoint"}], batch_size=16, n_epochs=2)
    with pytest.MonkeyPatch.context() as patched:
        spikes(patched, 1)
        return plan, run(plan, tmp_path_factory.mktemp("whole") / "run").path


def as_pickle(path, marker):
    path.write_bytes(pickle.dumps(Bomb(marker)))


def as_torch(path, marker):
    torch.save({"policy": Bomb(marker)}, path)


READERS = {
    "can_resume": lambda path: resume.can_resume(path),
    "newest": lambda path: resume.newest(path),
    "read": lambda path: [checkpoint.read(p) for p in checkpoint.checkpoints(path)],
    "of a guard": lambda path: [
        load_checkpoint(p) for p in path.glob("checkpoints/before-*") if "optimizer" not in p.name
    ],
    "run": lambda path: [read_run(path), glance(path), find_runs(path), read_study_document(path)],
    "incidents": lambda path: [read_incident(p) for p in (path / "incidents").iterdir()],
    "diff": lambda path: compare(path, path),
}


@pytest.mark.parametrize("poison", [as_pickle, as_torch])
def test_a_pickle_in_the_place_of_any_file_of_a_run_is_not_executed(poison, whole, tmp_path):
    plan, path = whole
    cut, marker = killed(path, tmp_path / "run"), tmp_path / "marker"
    (cut / "study.json").write_text("{}")
    files = sorted(p for p in cut.rglob("*") if p.is_file())
    kinds = {p.suffix for p in files}
    assert {".json", ".jsonl", ".safetensors"} <= kinds
    assert any(p.parent.parent.name == "incidents" for p in files)
    assert any("before" in p.name for p in files)
    for file in files:
        poison(file, marker)
    for read in READERS.values():
        with suppress(UserError, safetensors.SafetensorError):
            read(cut)
    with pytest.raises(UserError):
        execute(plan, cut, wandb=False, resume=True)
    assert not marker.exists()


def test_a_pickle_inside_of_a_checkpoint_is_not_executed(whole, tmp_path):
    """In its bytes as an array, and in its text as whatever name a reader might look up."""
    plan, path = whole
    cut, marker = killed(path, tmp_path / "run"), tmp_path / "marker"
    file = checkpoint.checkpoints(cut)[-1]
    bomb = pickle.dumps(Bomb(marker))
    with safetensors.safe_open(file, "pt") as opened:
        told = json.loads(opened.metadata()["rl_lab"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    tensors["bomb"] = torch.frombuffer(bytearray(bomb), dtype=torch.uint8)
    for form in (
        {"!array": "bomb", "dtype": "|O8", "shape": [1]},
        {"!object": "builtins.eval", "state": ["1"]},
        {"!pickle": "bomb"},
    ):
        told["state"]["model"]["carried"]["_last_obs"] = form
        file.write_bytes(safetensors.torch.save(tensors, {"rl_lab": json.dumps(told)}))
        assert not resume.can_resume(cut)
        with pytest.raises(UserError):
            execute(plan, cut, wandb=False, resume=True)
    told["state"]["model"]["carried"] = {"__class__": 1, "policy_class": bomb.hex()}
    file.write_bytes(safetensors.torch.save(tensors, {"rl_lab": json.dumps(told)}))
    with pytest.raises(UserError, match="nothing that an algorithm carries on"):
        execute(plan, cut, wandb=False, resume=True)
    assert not marker.exists()


@pytest.mark.parametrize(
    "text", ["!!python/object/apply:os.mkdir ['{}']", "!!python/object/apply:subprocess.call [[mkdir, '{}']]"]
)
def test_a_config_that_names_a_function_does_not_call_it(text, tmp_path):
    marker = tmp_path / "marker"
    text = text.format(marker)
    yaml.unsafe_load(text)
    assert marker.exists(), "this is harmless, and tests nothing"
    marker.rmdir()
    config = tmp_path / "config.yaml"
    config.write_text(f"envs: {text}\n")
    for read in (
        lambda: read_mapping(config),
        lambda: read_agent(str(config)),
        lambda: read_setting(f"learning_rate={text}"),
        lambda: read_value(text, "--guard"),
    ):
        with pytest.raises(UserError):
            read()
    assert not marker.exists()


def test_names_in_a_checkpoint_lead_to_no_file_outside_of_its_run(tmp_path):
    """Guards and incidents remove what they have kept: from a name that climbs out of the run nothing is made."""
    precious = tmp_path / "precious.safetensors"
    precious.write_text("")
    guard = Checkpoint(most=2)
    guard.begin()
    names = ["../../precious.safetensors", str(precious), "before-1.safetensors"]
    kept = [{"files": [name], "bytes": 1} for name in names]
    guard.go_on_from({"done": 3, "last": 3, "kept": kept}, tmp_path / "run")
    assert [f.name for one in guard._kept for f in one.files] == ["before-1.safetensors"]
    incidents = Incidents(tmp_path / "run", {}, None, print)
    climbing = [
        {"name": name, "kind": "kl_spike", "update": 1, "nbytes": 1} for name in ("../..", "1-kl_spike")
    ]
    incidents.go_on_from({"kept": climbing, "firsts": {"kl_spike": "../.."}, "bad": [], "complained": False})
    assert [one.name for one in incidents._kept] == ["1-kl_spike"]
    assert incidents._firsts == {}
