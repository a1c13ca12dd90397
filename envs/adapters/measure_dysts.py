"""Measures what dysts' systems need to be tasks and writes `dysts.json`: `python -m envs.adapters.measure_dysts`.

Names may follow; without names all 158 are measured, which takes a quarter of an hour. Exponents are the business
of `rl-lab probe lyapunov --all --dysts`.

Needs dysts (`envs.adapters.dysts.INSTALL`). The step is halved, from a 32nd of dysts' period on, until one period
of RK4 agrees with two half steps to 1e-8 of the attractor's width; dysts' period serves as a unit of time only.
"""

import json
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.adapters import dysts
from envs.delay import Delay
from envs.system import Floats, Map, System, vector

TOLERANCE = 1e-8
"""Disagreement over one period, in half-ranges of the attractor, that a step may have."""
HALVINGS = range(5, 18)
"""Steps per period tried: 2 to these powers."""
PERIODS = 100
"""Periods settled, and periods looked at twice, to see whether the orbit keeps to its place."""
GROWTH = 1.9
"""An orbit whose range is larger by this factor in the second half does not keep to its place."""


@dataclass
class NoTaskError(Exception):
    """Why a system cannot be a task."""

    reason: str


def measure(name: str) -> dict[str, Any]:
    """The entry of one system in `dysts.json`."""
    if name in dysts.LEFT_OUT:
        return {"left_out": dysts.LEFT_OUT[name]}
    source = dysts.sources()[name]
    try:
        with np.errstate(all="ignore"):
            if source.kind is Map:
                return _map(source)
            return _delay(source) if source.kind is Delay else _flow(source)
    except NoTaskError as fault:
        return {"left_out": fault.reason}


def _flow(source: dysts.Source) -> dict[str, Any]:
    system: Any = source.system({})()
    _require_periodic(system)
    period = float(source.data["period"])
    try:
        start, width = _settled(system, period, PERIODS)
    except NoTaskError:  # a slow wanderer has found its range after ten times as long, a drifting one has not
        start, width = _settled(system, period, 10 * PERIODS)
    steps, error = _steps_per_period(system, start, width, period)
    dt = float(f"{period / steps:.3g}")
    return {"dt": dt, "error": float(f"{error:.1g}"), **_sampling(steps)}


def _map(source: dysts.Source) -> dict[str, Any]:
    system: Any = source.system({})()
    state, seen = list(system.start), []
    for _ in range(4000):
        state = [float(value) for value in system.image(*state, 0.0)]
        seen.append(state)
    _require_in_place(system, np.array(seen))
    return {}


def _delay(source: dysts.Source) -> dict[str, Any]:
    """The grid is doubled until the leading step error over one delay is small."""
    for grid in (16, 32, 64, 128):
        coarse: Any = source.system({"grid": grid})()
        fine: Any = source.system({"grid": 4 * grid})()
        start = fine.orbit(vector(fine.start), 1, 200 * fine.grid)[0]
        if not np.isfinite(start).all():
            raise NoTaskError("the orbit runs away to infinity")
        width = float(np.ptp(fine.orbit(start, 400, fine.grid // 4)[:, 0])) / 2 or 1.0
        after = coarse.orbit(start[::4], 1, grid)[0][0] - fine.orbit(start, 1, fine.grid)[0][0]
        if abs(after) / width < 1e-5:
            break
    delay = float(source.parameters["tau"])
    task = {"control_interval": max(1, grid // 8) * delay / grid, "steps": 200}
    return {"grid": grid, "error": float(f"{abs(after) / width:.1g}"), "task": task}


def _require_periodic(system: Any) -> None:
    """Every angle may turn once without changing the rates."""
    state = vector(system.start) + 0.1
    for i, name in enumerate(system.states):
        if name in system.angles:
            turned = state.copy()
            turned[i] += 2 * np.pi
            here, there = (np.array(system.rate(*s.tolist(), 0.0), dtype=np.float64) for s in (state, turned))
            if not np.allclose(here, there, rtol=1e-9, atol=1e-9):
                raise NoTaskError(f"{name} grows without bound and is no angle")


def _settled(system: System, period: float, periods: int) -> tuple[Floats, Floats]:
    """A point on the attractor and its half-ranges."""
    for power in (9, 11, 13, 15, 17):
        h, start = period / 2**power, vector(system.start)
        once, twice = _moved(system, start, h, 2**power), _moved(system, start, h / 2, 2 * 2**power)
        if not np.max(np.abs(once - twice)) < 1e-3 * (np.abs(start).max() + np.abs(twice).max()):
            continue
        state = _moved(system, start, h, periods * 2**power)
        if not np.isfinite(state).all():
            continue
        seen = []
        for _ in range(2 * 512):
            state = _moved(system, state, h, 2**power * periods // 512)
            seen.append(state)
        if np.isfinite(seen).all():
            return state, _require_in_place(system, np.array(seen))
    raise NoTaskError("the orbit runs away to infinity")


def _require_in_place(system: System, seen: Floats) -> Floats:
    """Half-ranges [D] of an orbit [samples, D]; NoTaskError if the orbit does not stay."""
    if not np.isfinite(seen).all():
        raise NoTaskError("the orbit runs away to infinity")
    first, all_of_it = np.ptp(seen[: len(seen) // 2], axis=0), np.ptp(seen, axis=0)
    for i, name in enumerate(system.states):
        if name not in system.angles and all_of_it[i] > GROWTH * first[i] + 1e-6 * (
            1 + np.abs(seen[:, i]).max()
        ):
            raise NoTaskError(f"{name} grows without bound and is no angle")
    width = np.where(np.isin(system.states, system.angles), 1.0, all_of_it / 2)
    return np.asarray(np.where(width > 1e-9 * (1 + np.abs(seen).max(axis=0)), width, 1.0))


def _steps_per_period(system: System, start: Floats, width: Floats, period: float) -> tuple[int, float]:
    """The smallest number that is accurate, or the most accurate one, and its error."""
    points = [start]
    for _ in range(7):
        points.append(_moved(system, points[-1], period / 4096, 4096 + 1234))
    ends = {}

    def end(power: int) -> Floats:
        if power not in ends:
            ends[power] = np.array([_moved(system, p, period / 2**power, 2**power) for p in points])
        return np.asarray(ends[power])

    errors = {}
    for power in HALVINGS:
        error = np.max(np.abs(end(power) - end(power + 1)) / width)
        errors[power] = float(error) if np.isfinite(error) else np.inf
        if errors[power] < TOLERANCE:
            break
    best = min(errors, key=lambda power: errors[power])
    return 2**best, errors[best]


def _sampling(steps: int) -> dict[str, int]:
    """100 periods to settle and 20 samples per period, within what a process can wait for."""
    return {"settle": min(PERIODS * steps, 2_000_000), "sample_every": max(1, min(steps // 20, 1000))}


def _moved(system: System, state: Floats, h: float, steps: int) -> Floats:
    """RK4 with another step than the system's own; the tangent's kernel with no vectors to carry."""
    moved = state.copy()
    system.kernels.stretch(moved, np.empty((len(state), 0)), steps, steps, h, system.parameter_vector)
    return moved


def describe(names: list[str]) -> None:
    """Measure the named systems, or all, and write them into the catalogue."""
    entries = dict(dysts.catalogue())
    for name in names or dysts.sources():
        entries[name] = measure(name)
        print(name, entries[name], flush=True)
        dysts.CATALOGUE.write_text(_lines(entries), encoding="utf-8")


def _lines(entries: dict[str, Any]) -> str:
    """A JSON object with one line per entry, in alphabetical order."""
    return "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(entries[k])}" for k in sorted(entries)) + "\n}\n"


if __name__ == "__main__":
    describe(sys.argv[1:])
