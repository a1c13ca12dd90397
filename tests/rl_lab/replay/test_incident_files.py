"""An incident may come from anybody: nothing in it is trusted, imported or unpickled."""

import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch
from gymnasium import spaces
from recorded import BATCHES, recorded, stock
from safetensors import safe_open
from stable_baselines3 import PPO

from rl_lab.errors import UserError
from rl_lab.monitor.record.incident_files import fingerprint
from rl_lab.monitor.record.recipe import plain_space
from rl_lab.replay import find, read, replay
from rl_lab.replay.allowed import space
from rl_lab.replay.build import difference, rebuild


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    policy = {"activation_fn": torch.nn.ReLU, "net_arch": {"pi": [4], "vf": [6]}}
    return recorded(stock(PPO, **BATCHES, policy_kwargs=policy), tmp_path_factory.mktemp("whole"), 1)[0].path


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / whole.name)


def change(path, **changes):
    """Entries of incident.json by their path, as algorithm__policy__class."""
    document = json.loads((path / "incident.json").read_text())
    for name, value in changes.items():
        *way, last = name.split("__")
        place = document
        for key in way:
            place = place[key]
        place[last] = value
    (path / "incident.json").write_text(json.dumps(document))


def test_an_incident_is_json_and_safetensors_and_nothing_else(whole):
    names = {"incident.json", "before.safetensors", "batch.safetensors", "after.safetensors"}
    assert {path.name for path in whole.iterdir()} == names
    json.loads((whole / "incident.json").read_text())
    for name in names - {"incident.json"}:
        with safe_open(whole / name, "np") as file:
            assert list(file.keys())


def test_the_order_of_the_minibatches_is_what_the_update_drew(whole):
    """numpy's own generator, started from the recorded state, is what stable-baselines3 drew from."""
    incident = read(whole)
    assert incident.order.dtype == np.int32
    assert incident.order.shape == (3, 64)
    generator = np.random.RandomState()
    generator.set_state(incident.generator("numpy"))
    for epoch in incident.order:
        assert np.array_equal(epoch, generator.permutation(64))
    assert incident.batch["rewards"].shape == (32, 2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"algorithm__policy__class": "os.system"}, "the policy is a os.system, which replay does not know"),
        (
            {"algorithm__class": "antigravity.PPO", "algorithm__parents": []},
            "the algorithm is a antigravity.PPO",
        ),
        (
            {"algorithm__policy__kwargs": {"features_extractor_class": {"!class": "antigravity.Extractor"}}},
            "policy_kwargs.features_extractor_class is a antigravity.Extractor",
        ),
        (
            {"algorithm__policy__kwargs": {"network": {"!dataclass": "antigravity.Net", "fields": {}}}},
            "policy_kwargs.network is a antigravity.Net",
        ),
        (
            {"algorithm__policy__kwargs": {"activation_fn": {"!other": "builtins.function"}}},
            "policy_kwargs.activation_fn is a builtins.function, which no file can hold",
        ),
    ],
)
def test_a_name_that_is_not_known_here_is_refused_and_never_imported(changes, sentence, copy):
    change(copy, **changes)
    before = set(sys.modules)
    with pytest.raises(UserError, match=sentence):
        rebuild(read(copy))
    assert "antigravity" not in set(sys.modules) - before


def cut(name):
    def damage(path):
        (path / name).write_bytes((path / name).read_bytes()[:-40])

    return damage


DAMAGES = {
    "json-cut": (cut("incident.json"), "incident.json is damaged"),
    "json-list": (lambda p: (p / "incident.json").write_text("[]"), "it is not a JSON object"),
    "json-binary": (lambda p: (p / "incident.json").write_bytes(b"\x80\x04\x95"), "incident.json is damaged"),
    "schema": (lambda p: change(p, schema=99), "its schema is 99, and this version knows 1"),
    "no-algorithm": (lambda p: change(p, algorithm=None), "algorithm is missing or is no dict"),
    "before-cut": (cut("before.safetensors"), "before.safetensors is damaged"),
    "batch-cut": (cut("batch.safetensors"), "batch.safetensors is damaged"),
    "after-gone": (lambda p: (p / "after.safetensors").unlink(), "after.safetensors is missing"),
    "other-rollout": (lambda p: change(p, algorithm__n_envs=3), r"has shape \(32, 2, 3\)|has shape \(32, 2"),
    "other-network": (
        lambda p: change(p, algorithm__policy__kwargs={"net_arch": [5]}),
        "before.safetensors is damaged or does not fit",
    ),
    "no-optimizer": (lambda p: change(p, optimizers={}), "does not fit"),
    "wrong-setting": (lambda p: change(p, algorithm__settings__n_steps="many"), "does not fit"),
    "huge": (lambda p: change(p, algorithm__policy__kwargs={"net_arch": [10**14]}), "does not fit|more than"),
    "pickle": (
        lambda p: (p / "before.safetensors").write_bytes(b"\x80\x04N."),
        "before.safetensors is damaged",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_in_a_sentence(damage, copy):
    do, sentence = DAMAGES[damage]
    do(copy)
    with pytest.raises(UserError, match=sentence) as told:
        rebuild(read(copy))
    assert "\n" not in str(told.value)
    assert str(copy) in str(told.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm__policy": None},
        {"algorithm__parents": None, "algorithm__class": "mine.PPO"},
        {"algorithm__settings__clip_range": [1]},
        {"generators__python": {}},
        {"generators__numpy__gauss": "x"},
        {"machine__threads": "x"},
        {"optimizers": {"policy.optimizer": {"class": "x", "groups": [{}], "entries": {}}}},
    ],
    ids=str,
)
def test_a_value_of_a_strange_kind_is_one_sentence(changes, copy):
    change(copy, **changes)
    with pytest.raises(UserError, match="damaged or does not fit") as told:
        replay(read(copy), [])
    assert str(copy) in str(told.value)


@pytest.mark.parametrize(("threads", "here"), [(-1, 1), (10**9, os.cpu_count())])
def test_a_number_of_threads_that_is_not_possible_here_is_told(threads, here, copy):
    change(copy, machine__threads=threads)
    before = torch.get_num_threads()
    assert f"threads was {threads} and is {here}" in replay(read(copy), []).verdict.changed
    assert torch.get_num_threads() == before


def test_the_newest_whole_incident_of_a_run_is_found(whole, tmp_path):
    for name in ("2-kl_spike", "10-nonfinite", "9-kl_spike", ".unfinished-11-kl_spike"):
        shutil.copytree(whole, tmp_path / "incidents" / name)
    (tmp_path / "incidents" / "12-kl_spike").mkdir()
    path, others = find(tmp_path)
    assert path.name == "10-nonfinite"
    assert [other.name for other in others] == ["2-kl_spike", "9-kl_spike"]
    assert find(path) == find(path / "incident.json") == (path, [])
    assert find(tmp_path / "incidents")[0] == path


def test_a_place_without_incidents_says_what_is_there(whole, tmp_path):
    with pytest.raises(UserError, match=r"no such incident \(there are: 1-kl_spike"):
        find(whole.parent / "3-kl_spike")
    with pytest.raises(UserError, match="no incident was recorded there"):
        find(tmp_path)
    (tmp_path / "3-kl_spike").mkdir()
    with pytest.raises(UserError, match=r"it has no incident\.json"):
        find(tmp_path / "3-kl_spike")


@pytest.mark.parametrize(
    "one",
    [
        spaces.Box(-1, np.inf, (2, 3), np.float64),
        spaces.Box(np.array([0, -1], np.float32), np.array([1, 0.1], np.float32)),
        spaces.Box(0, 255, (4, 5, 3), np.uint8),
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(4),
        spaces.Dict({"z": spaces.Discrete(2), "a": spaces.Box(-1, 1, (1,))}),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_space_comes_back_as_it_was(one):
    from rl_lab.monitor.record.run_directory import decode, encode

    back = space(decode(json.loads(json.dumps(encode(plain_space(one)), allow_nan=False))))
    assert back == one
    assert list(getattr(back, "spaces", {})) == list(getattr(one, "spaces", {}))


def test_a_fingerprint_is_of_every_bit_and_a_difference_of_every_number():
    a = {"x": torch.tensor([0.0, 1.0]), "n": torch.tensor(3)}
    assert fingerprint(a) == fingerprint(dict(reversed(a.items())))
    assert fingerprint({**a, "x": torch.tensor([-0.0, 1.0])}) != fingerprint(a)
    assert difference({**a, "x": torch.tensor([0.25, float("nan")])}, a) == float("inf")
    assert difference({**a, "x": torch.tensor([0.25, 1.0])}, a) == 0.25
    both = {"x": torch.tensor([float("nan"), float("inf")])}
    assert difference(both, both) == 0
