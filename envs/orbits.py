"""Unstable periodic orbits of flows and maps, from close returns and Newton's method.

A chaotic orbit comes back close to where it was; from there Newton's method closes the gap. Of a flow the
unknowns are a state and the period T, which is divided into a whole number of RK4 steps of length T / n near
the system's own dt; the correction is kept perpendicular to the flow. Source: Cvitanović et al., Chaos:
Classical and Quantum, chapter "Fixed points, and how to get them".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from envs import derive
from envs.system import Floats, System

STEPS = 60_000
"""Length of the chaotic orbit searched for close returns."""
CANDIDATES = 64
"""Close returns tried, the closest first."""
CORNERS = 128
"""Points at most that stand for an orbit of a flow."""


@dataclass(frozen=True)
class PeriodicOrbit:
    """A closed orbit of the uncontrolled system."""

    points: Floats
    """[P, D]: all points of a map's orbit; of a flow's, up to 128 at equal times."""
    period: float
    """Time units; iterations of a map."""
    multipliers: npt.NDArray[np.complex128]
    """Eigenvalues of the derivative over one period, largest modulus first; of a flow one of them is 1."""


@lru_cache(maxsize=64)
def periodic_orbit(system: System, period: float) -> PeriodicOrbit:
    """The orbit whose period is nearest to `period`; of several, the least unstable one.

    ValueError if none is found within a tenth of it.
    """
    found = list(_found(system, period))
    if not found:
        raise ValueError(
            f"{system}: no periodic orbit with a period near {period:g} was found among the closest "
            f"{CANDIDATES} returns of {STEPS} steps"
        )
    spread = [round(abs(orbit.period - period), 6 if system.kind == "flow" else 0) for orbit in found]
    best = min(spread)
    nearest = [orbit for orbit, off in zip(found, spread, strict=True) if off == best]
    return min(nearest, key=lambda orbit: round(abs(orbit.multipliers[0]), 6))


def _found(system: System, period: float) -> Iterator[PeriodicOrbit]:
    known: list[PeriodicOrbit] = []
    for start, steps in _close_returns(system, period):
        closed = _closed(system, start, steps)
        if closed is None:
            continue
        state, length = closed
        if abs(length * steps - period) > 0.1 * period or _passes(system, state, known):
            continue
        if _is_prime(system, state, length, steps):
            known.append(_orbit(system, state, length, steps))
            yield known[-1]


def _close_returns(system: System, period: float) -> list[tuple[Floats, int]]:
    """(state, steps until it comes back) for the closest returns after about a period."""
    scale = derive.ruler(system)[1]
    orbit = system.orbit(derive.attractor(system).points[-1], STEPS)
    around = period / system.dt
    lags = [round(around)] if system.kind == "map" else range(round(0.9 * around), round(1.1 * around) + 1)
    closest: list[tuple[float, int, int]] = []
    for lag in lags:
        if not 1 <= lag < len(orbit):
            continue
        gap = np.linalg.norm(wrapped(system, (orbit[lag:] - orbit[:-lag]).T).T / scale, axis=1)
        first = np.argpartition(gap, min(4 * CANDIDATES, len(gap) - 1))[: 4 * CANDIDATES]
        closest += [(float(gap[i]), int(i), lag) for i in first]
    return _apart([(orbit[i] / scale, i, lag) for _, i, lag in sorted(closest)], orbit)


def _apart(closest: list[tuple[Floats, int, int]], orbit: Floats) -> list[tuple[Floats, int]]:
    """The first ones that are no neighbours of each other: many close returns are of the same orbit."""
    chosen: list[Floats] = []
    guesses: list[tuple[Floats, int]] = []
    for place, i, lag in closest:
        if len(guesses) == CANDIDATES:
            break
        if all(np.sum((place - other) ** 2) > 0.1**2 for other in chosen):
            chosen.append(place)
            guesses.append((orbit[i], lag))
    return guesses


def _closed(system: System, guess: Floats, steps: int) -> tuple[Floats, float] | None:
    """Newton: (state on the orbit, length of a step), or None where it does not converge."""
    state, length = guess.copy(), system.dt
    flow, size = system.kind == "flow", len(guess)
    for _ in range(12):
        gap = wrapped(system, (_after(system, state[:, None], length, steps)[:, 0] - state)[:, None])[:, 0]
        matrix = np.zeros((size + flow, size + flow))
        matrix[:size, :size] = _difference(system, state, length, steps) - np.eye(size)
        if flow:
            matrix[:size, size] = system.law_at(state + gap) * steps
            matrix[size, :size] = system.law_at(state)
        try:
            correction = np.linalg.lstsq(matrix, np.append(-gap, [0.0] * flow), rcond=1e-12)[0]
        except np.linalg.LinAlgError:
            return None
        state = state + correction[:size]
        length += correction[size] if flow else 0.0
        if not np.isfinite(state).all() or not 0.5 < length / system.dt < 2:
            return None
        if np.all(np.abs(correction[:size]) <= 1e-9 * (1 + np.abs(state))):
            return state, float(length)
    return None


def _passes(system: System, state: Floats, orbits: list[PeriodicOrbit]) -> bool:
    """Whether one of the orbits passes a state, up to the distance of its points."""
    scale = derive.ruler(system)[1]
    for orbit in orbits:
        away = wrapped(system, (orbit.points - state).T).T / scale
        step = wrapped(system, np.diff(orbit.points, axis=0).T).T / scale
        reach = 1e-4 if system.kind == "map" else float(np.linalg.norm(step, axis=1).max())
        if np.linalg.norm(away, axis=1).min() < reach:
            return True
    return False


def _is_prime(system: System, state: Floats, length: float, steps: int) -> bool:
    """Whether the orbit closes after a whole period and not after a part of it, nor stands still."""
    scale = derive.ruler(system)[1]
    for parts in range(1, 13):
        if parts > 1 and system.kind == "map" and steps % parts:
            continue
        step = length if system.kind == "map" else length * steps / parts / max(1, round(steps / parts))
        after = _after(system, state[:, None], step, max(1, round(steps / parts)))[:, 0]
        gap = np.linalg.norm(wrapped(system, (after - state)[:, None])[:, 0] / scale)
        if (gap > 1e-6) == (parts == 1):
            return False
    return True


def _orbit(system: System, state: Floats, length: float, steps: int) -> PeriodicOrbit:
    points, monodromy = [state], np.eye(len(state))
    for n in range(steps):
        monodromy = _difference(system, points[-1], length, 1) @ monodromy
        if n < steps - 1:
            points.append(_after(system, points[-1][:, None], length, 1)[:, 0])
    multipliers = np.linalg.eigvals(monodromy).astype(np.complex128)
    corners = np.unique(np.linspace(0, steps - 1, min(steps, CORNERS)).round().astype(int))
    standing = np.array(points)[corners]
    standing.setflags(write=False)
    return PeriodicOrbit(standing, length * steps, multipliers[np.argsort(-np.abs(multipliers))])


def _difference(system: System, state: Floats, length: float, steps: int) -> Floats:
    """Derivative of the state after `steps` steps by the state, by central differences: [D, D]."""
    size, h = len(state), 1e-6 * (1 + np.abs(state))
    both = np.hstack([state[:, None] + np.diag(h), state[:, None] - np.diag(h)])
    moved = _after(system, both, length, steps)
    return np.asarray((moved[:, :size] - moved[:, size:]) / (2 * h))


def _after(system: System, states: Floats, length: float, steps: int) -> Floats:
    moved = np.array(states, order="C")
    quiet = np.zeros((system.n_pushes, moved.shape[1]))
    system.kernels.advance(moved, quiet, length, steps, system.parameter_vector)
    return moved


def wrapped(system: System, differences: Floats) -> Floats:
    """Differences of states [D, N] with those of angles in [-pi, pi)."""
    turns = np.isin(system.states, system.angles)
    differences = differences.copy()
    differences[turns] = (differences[turns] + np.pi) % (2 * np.pi) - np.pi
    return differences
