"""dysts' equations as systems of ours: against dysts' own code, run with numpy, and against closed forms."""

import ast
import importlib.util
import json
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest

from envs import functions
from envs.adapters import dysts
from envs.delay import Delay
from envs.system import Flow, Map

INSTALLED = importlib.util.find_spec("dysts") is not None
needs_dysts = pytest.mark.skipif(not INSTALLED, reason=f"needs dysts: {dysts.INSTALL}")


@cache
def classes(file: str) -> dict[str, Any]:
    tree = ast.parse((dysts.required() / file).read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    bases = {base: type(base, (), {}) for base in ("DynSys", "DynSysDelay", "DynMap")}
    scope: dict[str, Any] = {"np": np, "staticjit": staticmethod, **bases}
    exec(compile(tree, file, "exec"), scope)
    return scope


def theirs(name: str, state: list[float], delayed: list[float]) -> np.ndarray:
    """dysts' class as it stands in its file, executed with numpy itself."""
    source = dysts.sources()[name]
    host = classes("maps.py" if source.kind is Map else "flows.py")[source.equations.__name__]()
    values = {k: np.array(v) if isinstance(v, list) else v for k, v in source.parameters.items()}
    host.__dict__.update(values)
    time = () if source.kind is Map else (0.0,)
    arguments = [values[key] for key in sorted(values)]
    if hasattr(host, "rhs"):
        return np.ravel(host.rhs(np.array(state), *time))
    return np.ravel(host._rhs(*state, *delayed, *time, *arguments))


def test_the_catalogue_accounts_for_every_system_of_dysts():
    """129 + 6 + 23 systems: each is a task, or the table says why not."""
    assert len(dysts.catalogue()) == 158
    assert len(dysts.names()) + len(dysts.left_out()) == 158
    assert all(reason for reason in dysts.left_out().values())
    assert len(set(dysts.ids())) == len(dysts.names()) > 140


def test_no_annotation_of_dysts_is_in_the_catalogue():
    known = {"dt", "error", "settle", "sample_every", "grid", "task", "left_out"}
    assert {key for entry in dysts.catalogue().values() for key in entry} <= known


@pytest.mark.skipif(INSTALLED, reason="dysts is installed")
def test_without_dysts_a_system_names_the_command_that_installs_it():
    with pytest.raises(
        ModuleNotFoundError, match=r"need the equations of dysts: pip install --no-deps dysts=="
    ):
        dysts.system("Lorenz")


@needs_dysts
def test_dysts_itself_is_never_imported():
    code = (
        "import sys; from envs.adapters import dysts; dysts.systems(); "
        "print([name for name in sys.modules if name.split('.')[0] in ('dysts', 'sympy')])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


@needs_dysts
@pytest.mark.parametrize("name", dysts.names())
def test_the_equations_are_those_of_dysts(name):
    """At its initial condition and beside it; a rescaled angle is scaled back."""
    source, system = dysts.sources()[name], dysts.system(name)()
    periods = dysts.PERIODS.get(name, {})
    unit = np.array([periods[s](system) / (2 * np.pi) if s in periods else 1.0 for s in source.states])
    for nudge in (0.0, 0.013):
        state = np.array(source.initial) + nudge
        delayed = [float(state[0]) + 0.2] if source.kind is Delay else []
        with np.errstate(all="ignore"):
            expected = theirs(name, state.tolist(), delayed)
        arguments = [*(state / unit).tolist(), *delayed, 0.0]
        found = np.ravel(np.array(getattr(system, system.law)(*arguments), dtype=np.float64))
        np.testing.assert_allclose(
            found * (1.0 if source.kind is Delay else unit), expected, rtol=1e-9, atol=1e-9
        )


@needs_dysts
@pytest.mark.parametrize("name", dysts.names())
def test_every_system_is_a_complete_class_of_ours(name):
    cls = dysts.system(name)
    system = cls()
    assert issubclass(cls, Flow | Map | Delay)
    assert len(system.states) == len(system.start) == len(set(system.states))
    assert set(system.angles) <= set(system.states)
    assert not {*system.parameters} & {*functions.NAMES, *(system.components or system.states)}
    assert system.dt > 0
    assert "Source: " in cls.__doc__
    assert json.dumps(system.parameters)


@needs_dysts
def test_the_exponent_of_the_chebyshev_map_is_the_logarithm_of_its_degree():
    """x -> cos(a arccos x) stretches the angle a-fold: ln 6."""
    system = dysts.system("Chebyshev")()
    _, _, growth = system.stretch(system.start, np.eye(1), 200_000)
    assert growth[0] / 200_000 == pytest.approx(np.log(6), abs=1e-3)


@needs_dysts
def test_duffing_exponents_sum_to_minus_the_damping_and_its_phase_is_an_angle():
    system = dysts.system("Duffing")()
    assert system.angles == ("z",)
    frame, steps = np.eye(3), 200_000
    _, _, growth = system.stretch(np.array(system.start), frame, steps, 10)
    assert growth.sum() / (steps * system.dt) == pytest.approx(-system.delta, rel=1e-6)


@needs_dysts
def test_the_jumps_of_the_baker_map_are_those_of_floor():
    """floor is written with atan and tan, which has neither another value nor another slope."""
    system, generator = dysts.system("Baker")(), np.random.default_rng(0)
    for x, y in generator.random((200, 2)):
        doubled = (2.0 - 1e-10) * x
        expected = doubled % 1, (system.a * y + np.floor(doubled)) / 2
        np.testing.assert_allclose(system.law_at([x, y]), expected, atol=1e-12)
        np.testing.assert_allclose(system.jacobian([x, y]), [[2.0 - 1e-10, 0], [0, 0.5]], atol=1e-9)
