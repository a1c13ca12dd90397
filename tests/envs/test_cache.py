"""Generated code: written once, found again without sympy, shared by processes, and never in the way."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import envs
from envs import cache
from envs.system import Map

STEP = """
import sys, numpy as np, envs
system = envs.systems()["Henon"]()
print(system.step(np.array([0.1, 0.1])).tolist(), "sympy" in sys.modules, "torch" in sys.modules)
"""


def run(cache_directory: Path | str, code: str = STEP) -> subprocess.Popen[str]:
    environment = {**os.environ, "RL_LAB_CACHE": str(cache_directory)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache that three processes have filled which started at once, and what they printed."""
    folder = tmp_path_factory.mktemp("cache")
    processes = [run(folder) for _ in range(3)]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3
    return folder, printed


def test_processes_that_start_at_once_share_one_directory(filled):
    folder, printed = filled
    assert len({text.split("]")[0] for text in printed}) == 1
    assert len(list(folder.iterdir())) == 1


def test_the_next_process_needs_no_sympy(filled):
    folder, printed = filled
    later, _ = run(folder).communicate(timeout=300)
    assert later.split("]")[0] == printed[0].split("]")[0]
    assert any(text.endswith("True False\n") for text in printed)
    assert later.endswith("False False\n")


def test_importing_the_world_is_light():
    code = "import sys, envs; print([m for m in ('sympy', 'numba', 'torch') if m in sys.modules])"
    assert run("/nowhere", code).communicate(timeout=300)[0] == "[]\n"


def test_a_cache_that_cannot_be_written_costs_one_sentence(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    process = run(blocked / "cache")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert output.startswith("[1.086, 0.03]")
    assert errors.count("generated code cannot be kept in") == 1
    assert "set RL_LAB_CACHE" in errors


def test_the_place_is_the_users_cache_directory(monkeypatch):
    monkeypatch.delenv("RL_LAB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache.root() == Path("/somewhere/rl-lab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.root() == Path.home() / ".cache" / "rl-lab"


def test_parameters_are_arguments_of_the_code_and_structure_is_part_of_it():
    system = envs.systems()["Lorenz"]()
    assert replace(system, rho=99.0).kernels is system.kernels
    one, two = _power(2), _power(3)
    assert one(power=2).law_at(np.array([3.0]))[0] == pytest.approx(0.5 * 9)
    assert one(power=3).law_at(np.array([3.0]))[0] == pytest.approx(0.5 * 27)
    assert two().law_at(np.array([3.0]))[0] == pytest.approx(0.5 * 27), "same name, other equations"


def _power(default: int) -> type[Map]:
    @dataclass(frozen=True)
    class Power(Map):
        """x' = a x^power + push."""

        a: float = 0.5
        power: int = default

        states = ("x",)
        start = (0.1,)

        def image(self, x, push):
            return (self.a * x**self.power + push,)

    return Power
