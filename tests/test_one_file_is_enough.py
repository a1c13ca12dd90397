"""A new system and a new rule, one file each, dropped into the folders: found, listed, checked, trained, reported."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]

SPROTT = '''"""Sprott's case B: five terms, two of them quadratic."""

from dataclasses import dataclass

from envs.system import Flow


@dataclass(frozen=True)
class SprottB(Flow):
    """dx/dt = y z,  dy/dt = a x - y + push,  dz/dt = 1 - x y.

    Source: J. C. Sprott, Physical Review E 50, R647 (1994).
    """

    a: float = 1.0

    states = ("x", "y", "z")
    start = (0.1, 0.2, 0.3)
    dt = 0.02

    def rate(self, x, y, z, push):
        return y * z, self.a * x - y + push, 1 - x * y
'''

SPO = '''"""SPO: a quadratic fence around ratio 1 instead of PPO's flat roof."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from agents.rule import FirstOrderRule


@dataclass(frozen=True, kw_only=True)
class SPO(FirstOrderRule):
    """maximise  ratio A - |A| / (2 width) (ratio - 1)^2,  best at ratio = 1 + width sign(A).

    Source: Xie et al., Simple Policy Optimization (arXiv:2401.16025).
    """

    trust_region = "penalty: quadratic in ratio - 1"

    width: Annotated[float, Gt(0)] = 0.2
    """Distance from ratio 1 at which a sample is best off."""

    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B]."""
        return ratio * advantage - advantage.abs() / (2 * self.width) * (ratio - 1) ** 2
'''


YAML = """
envs: [chaos/SprottB-v0]
agents: [{name: spo, width: 0.1}]
seeds: 1
steps: 1024
settings: {n_envs: 2, n_steps: 256, n_epochs: 2}
"""
COMMANDS = (
    "envs list",
    "envs check chaos/SprottB-v0",
    "probe lyapunov chaos/SprottB-v0 --time 20000",
    "agents list",
    "agents show spo",
    "study new.yaml --out out --wandb off",
)
PROGRAM = """
import contextlib, io, json, sys
from rl_lab.cli import main

said = {}
for command in json.loads(sys.argv[1]):
    sys.argv = ["rl-lab", *command.split(), "--json"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main()
        except SystemExit as ended:
            said[command] = ended.code, out.getvalue()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A copy of the three packages with one file more in two of them, and what the commands say there.

    All in one process, because importing takes longer than most of them.
    """
    copy = tmp_path_factory.mktemp("checkout")
    for package in ("rl_lab", "envs", "agents"):
        shutil.copytree(CHECKOUT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "envs" / "systems" / "sprott_b.py").write_text(SPROTT)
    (copy / "agents" / "rules" / "spo.py").write_text(SPO)
    (copy / "new.yaml").write_text(YAML)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(COMMANDS)],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(copy), "RL_LAB_CACHE": str(copy / "cache")},
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)

    def call(command):
        code, printed = said[command]
        assert code == 0, done.stderr
        return json.loads(printed)

    return call, copy


def test_the_system_is_listed_with_what_its_equations_imply(lab):
    call, _ = lab
    (card,) = [card for card in call("envs list") if card["id"] == "chaos/SprottB-v0"]
    assert (card["kind"], card["state_dim"], card["action_dim"], card["reference"]) == ("flow", 3, 1, None)
    assert "Physical Review E 50, R647" in card["source"]
    assert card["goal"] == "hold"


def test_the_system_keeps_every_promise_of_a_task(lab):
    call, _ = lab
    checks = call("envs check chaos/SprottB-v0")
    assert checks
    assert [check for check in checks if not check["passed"]] == []


def test_its_exponents_are_measured_and_obey_the_sum_rule(lab):
    """Divergence is -1 everywhere; Sprott (2003) gives 0.210, 0, -1.210 for a = 1."""
    call, _ = lab
    exponents = call("probe lyapunov chaos/SprottB-v0 --time 20000")["exponents"]
    assert sum(exponents) == pytest.approx(-1, abs=1e-4)
    assert exponents[0] == pytest.approx(0.210, abs=0.01)


def test_the_rule_is_listed_with_its_setting(lab):
    call, _ = lab
    (agent,) = [agent for agent in call("agents list") if agent["name"] == "spo"]
    assert agent["trust_region"] == "penalty: quadratic in ratio - 1"
    assert "arXiv:2401.16025" in agent["source"]
    assert "width" in [setting["name"] for setting in call("agents show spo")["settings"]]


def test_both_are_trained_and_reported_together(lab):
    call, copy = lab
    result = call("study new.yaml --out out --wandb off")
    (arm,) = result["arms"]
    assert (arm["agent"], arm["updates"]) == ("spo", 2)
    assert "SprottB" in (copy / "out" / "report" / "index.html").read_text()
