"""What the manifest says of a model that somebody built himself: enough to build it again, and to compare machines."""

import json
import platform
from dataclasses import dataclass, replace

import pytest
import torch
from stable_baselines3 import PPO, SAC

import agents
from agents.host import RuleAlgorithm
from agents.policy import LabPolicy
from agents.rules.ppo_noclip import PPONoClip
from agents.stabilisers import Stabilisers
from rl_lab import DivergenceMonitor
from rl_lab.monitor.record.provenance import identity
from rl_lab.monitor.record.run_directory import encode, read_run


def envs(count):
    return agents.vectorize("Pendulum-v1", count, 0, {})


def test_a_rule_in_its_host_goes_by_its_name_and_can_be_built_again():
    given = {
        "n_steps": 32,
        "n_epochs": 3,
        "learning_rate": 2e-3,
        "net_arch": [8, 4],
        "activation": "relu",
        "gamma": 0.9,
    }
    model = agents.make("ppo-noclip", envs(2), 5, given)
    agent = json.loads(json.dumps(identity(model)))["agent"]
    assert (agent["name"], agent["label"]) == ("ppo-noclip", "ppo-noclip")
    assert agent["rule"] == "agents.rules.ppo_noclip.PPONoClip"
    assert agent["trust_region"] == PPONoClip.trust_region
    assert agent["settings"] | given == agent["settings"]
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in agent["settings"].items()}
    again = agents.make(agent["name"], envs(2), 5, settings)
    assert again.rule == model.rule
    assert again.stabilisers == replace(model.stabilisers, net_arch=(8, 4))
    pairs = zip(model.policy.parameters(), again.policy.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_rule_algorithm_built_by_hand_says_what_it_really_has():
    model = RuleAlgorithm(
        LabPolicy,
        envs(3),
        PPONoClip(n_epochs=2, vf_coef=0.25),
        stabilisers=Stabilisers(),
        n_steps=16,
        gamma=0.8,
    )
    settings = identity(model)["agent"]["settings"]
    chosen = {"n_envs": 3, "n_steps": 16, "gamma": 0.8, "n_epochs": 2, "vf_coef": 0.25, "net_arch": [64, 64]}
    assert settings | chosen == settings, "vf_coef of the model itself is 0, because the rule has its own"
    again = agents.make("ppo-noclip", envs(3), None, {**settings, "net_arch": (64, 64)})
    assert again.rule == model.rule


@dataclass(frozen=True, kw_only=True)
class Mine(PPONoClip):
    """A rule in no package of rules."""

    boldness: float = 2.0


def test_a_rule_from_elsewhere_goes_by_its_class():
    agent = identity(RuleAlgorithm(LabPolicy, envs(1), Mine(), n_steps=16))["agent"]
    assert (agent["name"], agent["settings"]["boldness"]) == ("Mine", 2.0)
    assert agent["rule"].endswith(".Mine")


def test_stock_algorithms_are_described_as_before():
    agent = identity(PPO("MlpPolicy", "Pendulum-v1", n_steps=16, batch_size=16, device="cpu"))["agent"]
    assert (agent["name"], agent["label"], agent["settings"]["clip_range"]) == ("PPO", "ppo", 0.2)
    assert "rule" not in agent
    assert identity(SAC("MlpPolicy", "Pendulum-v1", device="cpu"))["agent"]["settings"]["tau"] == 0.005


def test_the_manifest_says_on_what_kind_of_machine_and_names_nobody(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = PPO("MlpPolicy", "Pendulum-v1", n_steps=16, batch_size=16, n_epochs=1, device="cpu")
        model.learn(16, callback=DivergenceMonitor(tmp_path / "run", wandb=False, random_return=0.0))
    finally:
        torch.set_num_threads(threads)
    machine = read_run(tmp_path / "run").manifest["machine"]
    assert machine["torch_threads"] == 1
    assert machine["device"] == "cpu"
    assert machine["deterministic_algorithms"] is False
    assert machine["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert platform.node() not in str(machine) or not platform.node()


def test_what_json_does_not_know_stays_out():
    @dataclass(frozen=True, kw_only=True)
    class Odd(PPONoClip):
        device_object: object = object()
        pair: tuple = (1, "a")

    settings = identity(RuleAlgorithm(LabPolicy, envs(1), Odd(), n_steps=16))["agent"]["settings"]
    assert "device_object" not in settings
    assert settings["pair"] == [1, "a"]
    assert encode(settings) == settings
    assert pytest.approx(3e-4) == settings["learning_rate"]
