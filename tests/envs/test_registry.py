"""A system is one file: found, registered and trainable without any other edit, or refused by name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import envs
from envs import registry
from envs.system import ContractError

CHECKOUT = Path(envs.__file__).parent.parent

# The example of the style guide, as a stranger would write it: equations, start, step, nothing about a task.
SPROTT = '''"""Sprott's flow S: a polynomial jerk."""

from dataclasses import dataclass

from envs.system import Flow, Reference


@dataclass(frozen=True)
class SprottS(Flow):
    """dx/dt = -x - 4 y,  dy/dt = x + z^2 + push,  dz/dt = 1 + x.

    Source: J. C. Sprott, Physical Review E 50, R647 (1994).
    """

    four: float = 4.0

    states = ("x", "y", "z")
    start = (-1.0, 0.3, 0.9)
    dt = 0.02
    reference = Reference((0.188, 0.0, -1.188), stderr=0.002, source="Sprott 1994")

    def rate(self, x, y, z, push):
        return -x - self.four * y, x + z**2 + push, 1 + x
'''

LOGISTIC = '''"""The logistic map."""

from dataclasses import dataclass

from envs.system import Map


@dataclass(frozen=True)
class Verhulst(Map):
    """x' = r x (1 - x) + push.

    Source: R. M. May, Nature 261, 459 (1976).
    """

    r: float = 3.9

    states = ("x",)
    start = (0.4,)

    def image(self, x, push):
        return (self.r * x * (1 - x) + push,)
'''

USE = """
import sys, gymnasium, numpy as np, envs
from rl_lab.probes.lyapunov import spectrum
name = sys.argv[1]
env_id = f"chaos/{name}-v0"
assert env_id in envs.ids()
assert envs.card(env_id)["goal"].startswith("hold the fixed point")
failed = [c for c in envs.check(env_id) if not c.passed]
assert not failed, failed
print(spectrum(envs.system_of(env_id), time=4000).exponents[0])
"""


def checkout_with(tmp_path: Path, **files: str) -> Path:
    """A copy of the world with more systems in it."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(CHECKOUT / "envs", tmp_path / "envs", ignore=ignore)
    for name, text in files.items():
        (tmp_path / "envs" / "systems" / f"{name}.py").write_text(text)
    return tmp_path


def python(code: str, *arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code where `import envs` finds the copy in `folder`."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_dropped_in_file_is_a_task(tmp_path):
    """Listed, checked by Gymnasium, with a target, bounds and scales of its own, and measured correctly.

    A map; tests/test_one_file_is_enough.py drops in a flow.
    """
    folder = checkout_with(tmp_path, dropped_in=LOGISTIC)
    done = python(USE, "Verhulst", folder=folder, RL_LAB_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(0.496, abs=0.03)


def test_a_file_that_breaks_the_contract_keeps_the_world_from_being_imported(tmp_path):
    folder = checkout_with(tmp_path, zz_broken=SPROTT.replace("class SprottS", "class Lorenz"))
    last = python("import envs", folder=folder).stderr.strip().splitlines()[-1]
    assert "zz_broken.py" in last
    assert "the name is taken by" in last


@pytest.fixture
def load(tmp_path, monkeypatch):
    """The system in a file zz_broken.py with this text."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("RL_LAB_CACHE", str(tmp_path / "cache"))

    def called(text):
        file = tmp_path / "zz_broken.py"
        file.write_text(text)
        return registry.load("zz_broken", file)

    yield called
    sys.modules.pop("zz_broken", None)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("@dataclass(frozen=True)\n", ""), "must be decorated with @dataclass(frozen=True)"),
        (("(frozen=True)", ""), "cannot inherit non-frozen dataclass from a frozen one"),
        (("    dt = 0.02\n", ""), "dt must be a positive number"),
        (('"z")', '"y")'), "contains a name twice"),
        (("(-1.0, 0.3, 0.9)", "(-1.0, 0.3)"), "start must give 3 finite numbers"),
        (("x, y, z, push)", "x, y, push)"), "rate must take (x, y, z, push), found (x, y, push)"),
        (("Source: ", "From "), "docstring must state the equations and end in 'Source: ...'"),
        (
            ("(0.188, 0.0, -1.188)", "(0.188, 0.0, 0.0, -1.188)"),
            "reference must give at most 3 exponents, found 4",
        ),
        (("four: float = 4.0", "four: float"), "every parameter needs a default value"),
        (("def rate", "def rates"), "has no rate(self, ..., push)"),
        (("import Flow", "import Flo"), "cannot be imported: ImportError"),
        (("class SprottS(Flow)", "class SprottS"), "must define exactly one system, found none"),
    ],
)
def test_a_file_that_breaks_the_contract_is_named_with_its_fault(load, change, fault):
    assert change[0] in SPROTT
    with pytest.raises(ContractError) as refused:
        load(SPROTT.replace(*change))
    assert "zz_broken.py" in str(refused.value)
    assert fault in str(refused.value)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("1 + x\n", "1 + x, 0.0\n"), "returns 4 values for 3 states"),
        (("1 + x\n", "1 + (x if x > 0 else 0)\n"), "cannot be called with symbols"),
        (("1 + x\n", "1 + sympy.gamma(x)\n"), "uses gamma; available in envs.functions: sin"),
        (("1 + x\n", "1 + sympy.Symbol('w')\n"), "contains w, which is no state, parameter or push"),
    ],
)
def test_equations_that_cannot_be_compiled_are_named_with_their_fault(load, change, fault):
    text = SPROTT.replace(*change).replace("import dataclass\n", "import dataclass\n\nimport sympy\n", 1)
    system = load(text)()
    with pytest.raises(ContractError) as refused:
        _ = system.kernels
    assert "zz_broken.py: SprottS: rate" in str(refused.value)
    assert fault in str(refused.value)


def test_unknown_ids_name_the_nearest():
    with pytest.raises(
        ValueError, match=r"chaos/Lorentz-v0 is no chaotic task\. Did you mean chaos/Lorenz-v0\?"
    ):
        envs.system_of("chaos/Lorentz-v0")
