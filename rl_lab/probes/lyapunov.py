"""Lyapunov spectrum of an uncontrolled system: how fast, and in how many directions, neighbours part.

Benettin's method: carry a frame of tangent vectors along a settled orbit, orthonormalise it now and then, and
average the logarithms of the lengths taken out. Source: Benettin, Galgani, Giorgilli, Strelcyn, Meccanica 15,
9 and 21 (1980). The steps are the environment's own fixed steps and the tangent is their exact derivative: an
adaptive solver reports 0 for a stable focus when its tolerance exceeds the distance it follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.card import reference as reference_of
from envs.system import Floats, System, vector

STEPS = 20_000_000
"""Default number of steps for up to three states: about two seconds."""
SETTLE = 100_000
"""Default number of discarded steps; the frame turns into place in them too."""
QR_EVERY = {"flow": 10, "map": 1}
"""Steps between orthonormalisations; few enough that no vector is lost in the shadow of another."""


@dataclass(frozen=True)
class Spectrum:
    """All Lyapunov exponents of a system, largest first, in nats per time unit or per iteration."""

    system: System
    exponents: tuple[float, ...]
    stderr: tuple[float, ...]
    """One standard error each, from the means of equally long blocks."""
    time: float
    """Time units or iterations averaged over."""
    note: str | None = None
    """A sentence, if the orbit ended on a fixed point: then these are its eigenvalues, not chaos."""

    @property
    def unit(self) -> str:
        """Unit of the exponents."""
        return "nats per iteration" if self.system.kind == "map" else "nats per time unit"

    @property
    def kaplan_yorke(self) -> float:
        """Kaplan-Yorke dimension of the attractor."""
        return kaplan_yorke(self.exponents)

    @property
    def reference(self) -> dict[str, Any] | None:
        """Published exponents, or None: none stated, or other parameters than theirs."""
        return reference_of(self.system)

    @property
    def deviations(self) -> tuple[float, ...] | None:
        """Distance from the reference in combined standard errors, per exponent."""
        if self.reference is None:
            return None
        off = np.subtract(self.exponents, self.reference["exponents"])
        return tuple((off / np.hypot(self.stderr, self.reference["stderr"])).tolist())

    def document(self, env_id: str) -> dict[str, Any]:
        """What `rl-lab probe lyapunov --json` prints."""
        return {
            "env": env_id,
            "exponents": list(self.exponents),
            "stderr": list(self.stderr),
            "unit": self.unit,
            "kaplan_yorke": self.kaplan_yorke,
            "time": self.time,
            "reference": self.reference,
        }


def spectrum(
    system: System,
    *,
    time: float | None = None,
    settle: float | None = None,
    blocks: int = 20,
    seed: int = 0,
) -> Spectrum:
    """Measure the spectrum over `time` (time units, iterations) after discarding `settle`.

    The orbit starts at the system's `start`; `seed` chooses the first frame. ValueError if the orbit runs
    away.
    """
    block = _steps(system, "time", time, _default_steps(system)) // blocks if blocks > 1 else 0
    if block < 1:
        raise ValueError(
            f"{system}: blocks must be at least 2 and no more than the steps in time, got {blocks}"
        )
    frame, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(system.states),) * 2))
    state, every = vector(system.start), QR_EVERY[system.kind]
    state, frame, _ = system.stretch(state, frame, _steps(system, "settle", settle, SETTLE), every)
    _require_bounded(system, state)
    rates = np.empty((blocks, len(system.states)))
    for b in range(blocks):
        state, frame, growth = system.stretch(state, frame, block, every)
        _require_bounded(system, state)
        rates[b] = growth / (block * system.dt)
    order = np.argsort(-rates.mean(axis=0), kind="stable")
    rates = rates[:, order]
    return Spectrum(
        system,
        exponents=tuple(rates.mean(axis=0).tolist()),
        stderr=tuple(block_stderr(rates).tolist()),
        time=blocks * block * system.dt,
        note=_fixed_point_note(system, state),
    )


def kaplan_yorke(exponents: Sequence[float]) -> float:
    """j + (l_1 + ... + l_j) / |l_{j+1}| with j the largest number of exponents whose sum is not negative.

    0 if all are negative, their number if all together do not contract. Source: Kaplan and Yorke, Lecture
    Notes in Mathematics 730, 204 (1979).

    >>> round(kaplan_yorke([0.9, 0.0, -14.5]), 4)
    2.0621
    """
    falling = sorted(exponents, reverse=True)
    sums = np.cumsum(falling)
    kept = int(np.sum(np.logical_and.accumulate(sums >= 0)))
    if kept == 0 or kept == len(falling):
        return float(kept)
    return float(kept + sums[kept - 1] / abs(falling[kept]))


def block_stderr(rates: Floats) -> Floats:
    """Standard error of the mean of blocks, [blocks, k] -> [k]."""
    return np.asarray(rates.std(axis=0, ddof=1) / np.sqrt(len(rates)))


def _default_steps(system: System) -> int:
    """A few seconds for any dimension: k vectors of k entries through a k x k matrix."""
    return int(STEPS * min(1.0, 3 / len(system.states)) ** 5)


def _steps(system: System, name: str, time: float | None, default: int) -> int:
    if time is None:
        return default
    if not np.isfinite(time) or time < system.dt:
        raise ValueError(f"{system}: {name} must be at least one step of {system.dt:g}, got {time!r}")
    return round(time / system.dt)


def _require_bounded(system: System, state: Floats) -> None:
    if not np.isfinite(state).all():
        raise ValueError(
            f"{system}: the uncontrolled orbit from {system.start} runs away to infinity, so it has no "
            "exponents; choose parameters with a bounded orbit"
        )


def _fixed_point_note(system: System, state: Floats) -> str | None:
    """A sentence if the orbit stands still to rounding."""
    moved = system.step(state) - state
    if np.max(np.abs(moved) / system.dt) > 1e-9 * (1 + np.max(np.abs(state))):
        return None
    point = ", ".join(f"{value:.6g}" for value in state)
    return f"the orbit ended on the fixed point ({point}): these are its eigenvalues' real parts, not chaos"
