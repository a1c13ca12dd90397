"""A system is one file: found, registered and trainable without any other edit, or refused by name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import envs

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


@pytest.mark.parametrize(
    ("name", "text", "exponent"), [("SprottS", SPROTT, 0.188), ("Verhulst", LOGISTIC, 0.496)]
)
def test_a_dropped_in_file_is_a_task(tmp_path, name, text, exponent):
    """Listed, checked by Gymnasium, with a target, bounds and scales of its own, and measured correctly."""
    folder = checkout_with(tmp_path, dropped_in=text)
    done = python(USE, name, folder=folder, RL_LAB_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(exponent, abs=0.03)


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
        (("class SprottS", "class Lorenz"), "the name is taken by"),
    ],
)
def test_a_file_that_breaks_the_contract_is_named_with_its_fault(tmp_path, change, fault):
    assert change[0] in SPROTT
    folder = checkout_with(tmp_path, zz_broken=SPROTT.replace(*change))
    done = python("import envs", folder=folder)
    last = done.stderr.strip().splitlines()[-1]
    assert "zz_broken.py" in last, done.stderr
    assert fault in last


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("1 + x\n", "1 + x, 0.0\n"), "returns 4 values for 3 states"),
        (("1 + x\n", "1 + (x if x > 0 else 0)\n"), "cannot be called with symbols"),
        (("1 + x\n", "1 + sympy.gamma(x)\n"), "uses gamma; available in envs.functions: sin"),
        (("1 + x\n", "1 + sympy.Symbol('w')\n"), "contains w, which is no state, parameter or push"),
    ],
)
def test_equations_that_cannot_be_compiled_are_named_with_their_fault(tmp_path, change, fault):
    text = SPROTT.replace(*change).replace("import dataclass\n", "import dataclass\n\nimport sympy\n", 1)
    folder = checkout_with(tmp_path, zz_broken=text)
    code = "import gymnasium, envs; gymnasium.make('chaos/SprottS-v0')"
    done = python(code, folder=folder, RL_LAB_CACHE=str(tmp_path / "cache"))
    assert "zz_broken.py: SprottS: rate" in done.stderr
    assert fault in done.stderr


def test_unknown_ids_name_the_nearest():
    with pytest.raises(
        ValueError, match=r"chaos/Lorentz-v0 is no chaotic task\. Did you mean chaos/Lorenz-v0\?"
    ):
        envs.system_of("chaos/Lorentz-v0")
