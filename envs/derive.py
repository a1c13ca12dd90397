"""What a system file need not state, because its equations and its attractor know it.

Scales and bounds come from the system at its *default* parameters, so that a sweep over a parameter keeps one
ruler; the target and the initial states come from the parameters at hand.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import floor, log10
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from envs.system import Floats, System, vector

if TYPE_CHECKING:
    from envs.goals import Goal

Result = TypeVar("Result")


@dataclass(frozen=True)
class Attractor:
    """A settled, uncontrolled orbit: points [M, D]."""

    points: Floats

    @property
    def centre(self) -> Floats:
        """Middle of the range of each state, [D]."""
        return np.asarray((self.points.max(axis=0) + self.points.min(axis=0)) / 2)

    @property
    def half_range(self) -> Floats:
        """Half the range of each state, [D]."""
        return np.asarray((self.points.max(axis=0) - self.points.min(axis=0)) / 2)


def _remembered(function: Callable[[System], Result]) -> Callable[[System], Result]:
    """Systems are frozen values: what is derived from one is derived once per process."""
    return lru_cache(maxsize=64)(function)


@_remembered
def attractor(system: System) -> Attractor:
    """Where the uncontrolled orbit from `start` ends up; ValueError if it runs away."""
    points = _sampled(system)
    if not np.isfinite(points).all():
        raise ValueError(
            f"{system}: the uncontrolled orbit from {system.start} runs away to infinity, so there is no "
            "attractor to start from; choose parameters with a bounded orbit"
        )
    for i, name in enumerate(system.states):
        if name in system.angles:
            points[:, i] = (points[:, i] + np.pi) % (2 * np.pi) - np.pi
    return Attractor(_constant(points))


def _sampled(system: System) -> Floats:
    """`samples` settled states, [samples, D]: of one orbit, or of those whose chaos has not ended yet."""
    if system.ensemble == 1 and not system.transient:
        settled = system.orbit(vector(system.start), 1, system.settle)[0]
        return system.orbit(settled, system.samples, system.sample_every)
    states = system.scatter(np.random.default_rng(0), system.ensemble if system.ensemble > 1 else 256)
    settle = system.settle // 20 if system.transient else system.settle
    states = system.advance(states, np.zeros((system.n_pushes, states.shape[1])), settle)
    kept: list[Floats] = []
    while sum(part.shape[1] for part in kept) < system.samples:
        states = states[:, ~system.decayed(states) & np.isfinite(states).all(axis=0)]
        if states.shape[1] == 0:
            break
        kept.append(states)
        states = system.advance(states, np.zeros((system.n_pushes, states.shape[1])), system.sample_every)
    if not kept:
        raise ValueError(f"{system}: no orbit is still chaotic after {settle} steps")
    return np.ascontiguousarray(np.concatenate(kept, axis=1)[:, : system.samples].T)


def plain(system: System) -> System:
    """The same structure at the default parameters."""
    default = type(system)()
    return replace(system, **{name: getattr(default, name) for name in system.parameter_names()})


@_remembered
def ruler(system: System) -> tuple[Floats, Floats]:
    """(centre [D], scale [D]) of the attractor at the default parameters, rounded to two digits.

    Rounded because chaos magnifies the last bit: the digits that differ between machines are no scale.
    Angles have (0, 1).
    """
    points = attractor(plain(system)).points
    low, high = (_alike(system, extreme(points, axis=0), extreme) for extreme in (np.min, np.max))
    scale = np.array([rounded((b - a) / 2, 2) or 1.0 for a, b in zip(low, high, strict=True)])
    centre = np.array([rounded((a + b) / 2, 2, s) for a, b, s in zip(low, high, scale, strict=True)])
    angle = np.isin(system.states, system.angles)
    return _constant(np.where(angle, 0.0, centre)), _constant(np.where(angle, 1.0, scale))


def _alike(system: System, values: Floats, extreme: Callable[..., Floats]) -> Floats:
    """One value for all sites of a component, [D] -> [D]."""
    if not system.components:
        return values
    blocks = values.reshape(len(system.components), -1)
    return np.repeat(extreme(blocks, axis=1), blocks.shape[1])


@_remembered
def target(system: System) -> Floats:
    """The system's own target, or the fixed point nearest to its attractor, [D]."""
    if system.target is not None:
        if not np.isfinite(system.target).all():
            raise ValueError(f"{system}: at these parameters its target {system.target} does not exist")
        return _constant(vector(system.target))
    points, scale = attractor(system).points, ruler(system)[1]
    found = [
        p for p in (newton(system, guess) for guess in points[:: max(1, len(points) // 64)]) if p is not None
    ]
    if not found and system.middling:
        return _constant(attractor(system).centre)
    if not found:
        raise ValueError(
            f"{system}: no fixed point found near its attractor; state `target` in the system's file"
        )
    distances = [np.min(np.sum(((points - p) / scale) ** 2, axis=1)) for p in found]
    return _constant(found[int(np.argmin(np.round(distances, 9)))])


def newton(system: System, guess: Floats, rounds: int = 50) -> Floats | None:
    """A fixed point of the uncontrolled system by Newton's method, or None."""
    state, shift = guess.copy(), np.eye(len(guess)) if system.kind == "map" else 0.0
    for _ in range(rounds):
        residual = system.law_at(state) - (state if system.kind == "map" else 0.0)
        try:
            correction = np.linalg.solve(system.jacobian(state) - shift, residual)
        except np.linalg.LinAlgError:
            return None
        state = state - correction
        if not np.isfinite(state).all():
            return None
        if np.all(np.abs(correction) <= 1e-13 * (1 + np.abs(state))):
            return state
    return None


@_remembered
def push(system: System) -> float:
    """A tenth (maps) or a fifth (flows) of what the system itself does to the states the push acts on.

    Root mean square over the attractor of the change per iteration, or of the rate. Enough to steer near the
    target, far too little to drag the orbit there.
    """
    default = plain(system)
    points = attractor(default).points[::16]
    quiet = np.zeros((system.n_pushes, len(points)))
    change = default.rates(points.T, quiet).T
    effect = default.rates(points.T, quiet + 1.0).T - change
    acted = np.any(effect != 0, axis=0)
    for n, name in enumerate(system.actuator or [""]):
        alone = quiet.copy()
        alone[n] = 1.0
        if np.array_equal(default.rates(points.T, alone).T, change):
            which = f"actuator {name} does nothing" if name else f"push does not appear in {system.law}"
            raise ValueError(f"{type(system).__name__}: {which}, so nothing can be learned")
    share = 0.1 if system.kind == "map" else 0.2
    return rounded(share * _rms(change[:, acted]) / _rms(effect[:, acted]), 1)


@_remembered
def control_interval(system: System) -> float:
    """One iteration of a map; of a flow an eighth of the time its fastest state needs for its half-range."""
    if system.kind == "map":
        return 1.0
    default = plain(system)
    reached = attractor(default)
    points = reached.points[::16]
    rates = default.rates(points.T, np.zeros((system.n_pushes, len(points)))).T
    moving = np.where(np.isin(system.states, system.angles), 1.0, reached.half_range)
    times = [
        half / _rms(rate) for half, rate in zip(moving, rates.T, strict=True) if half > 0 and _rms(rate) > 0
    ]
    return float(max(1, round(min(times) / 8 / system.dt)) * system.dt)


@lru_cache(maxsize=64)
def reward_scale(system: System, aim: "Goal") -> float:
    """Root mean square of what the uncontrolled system is away from its goal: letting go costs 1 per step."""
    away = aim.away(plain(system), attractor(plain(system)).points.T)
    return 1.0 if away is None else rounded(_rms(np.linalg.norm(away, axis=0)), 1) or 1.0


def _constant(values: Floats) -> Floats:
    """The same array, protected: what is remembered is shared."""
    values.setflags(write=False)
    return values


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def rounded(value: float, digits: int, unit: float | None = None) -> float:
    """To significant digits, of the value itself or of another unit.

    >>> rounded(27.41, 2), rounded(0.0342, 1), rounded(0.02, 2, unit=27.0)
    (27.0, 0.03, 0.0)
    """
    size = abs(value if unit is None else unit)
    return round(float(value), digits - 1 - floor(log10(size))) if size > 0 else 0.0
