"""Finite-time exponents: how unlike the asymptotic one the growth over a short window can be."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.system import Floats, System
from rl_lab.probes.escape import single_orbit_note
from rl_lab.probes.rates import unit_of
from rl_lab.probes.tangent import carry

ALIGN = {"map": 100}
"""Steps in which the leading vector turns into place before the window; 2000 for what moves in small steps."""


@dataclass(frozen=True)
class Distribution:
    """Growth rates [starts] over one window, in the unit of the result they belong to."""

    samples: Floats

    @property
    def mean(self) -> float:
        """Mean over the starts."""
        return float(self.samples.mean())

    @property
    def stderr(self) -> float:
        """Standard error of the mean; the starts are independent."""
        return float(self.samples.std(ddof=1) / np.sqrt(len(self.samples)))

    @property
    def quantiles(self) -> tuple[float, float, float]:
        """5, 50 and 95 %."""
        low, middle, high = np.quantile(self.samples, (0.05, 0.5, 0.95)).tolist()
        return low, middle, high

    def document(self, dt: float) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "mean": self.mean,
            "stderr": self.stderr,
            "quantiles": dict(zip(("5%", "50%", "95%"), self.quantiles, strict=True)),
            "mean_per_step": self.mean * dt,
            "stderr_per_step": self.stderr * dt,
        }


@dataclass(frozen=True)
class FiniteTime:
    """Two answers to "how fast do neighbours part within `steps` steps", over many starts.

    `leading`: of the vector that the past has turned into place; its mean is the Lyapunov exponent, whatever
    the window. `sigma_max`: of the worst possible displacement, the largest singular value of the tangent.
    """

    system: System
    steps: int
    leading: Distribution
    sigma_max: Distribution

    @property
    def unit(self) -> str:
        """Unit of the rates."""
        return unit_of(self.system)

    @property
    def note(self) -> str:
        """How far the two are apart, and which of them is the Lyapunov exponent."""
        excess = self.sigma_max.mean - self.leading.mean
        transient = single_orbit_note(self.system)
        return (f"{transient}; " if transient else "") + (
            "sigma_max is never below the growth of the leading vector and only in the limit of long windows a "
            f"Lyapunov exponent; at this window of {self.steps} steps it is {excess:.3g} {self.unit} above it"
        )

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "window_steps": self.steps,
            "window": self.steps * self.system.dt,
            "starts": len(self.leading.samples),
            "unit": self.unit,
            "dt": self.system.dt,
            "leading": self.leading.document(self.system.dt),
            "sigma_max": self.sigma_max.document(self.system.dt),
            "note": self.note,
        }


def finite_time(
    system: System, *, steps: int, starts: int = 200, settle: float | None = None, seed: int = 0
) -> FiniteTime:
    """Growth over a window of `steps` steps from `starts` settled states that began at `system.scatter`.

    ValueError if an orbit runs away.
    """
    if steps < 1 or starts < 2:
        raise ValueError(
            f"{system}: steps must be at least 1 and starts at least 2, got {steps} and {starts}"
        )
    generator = np.random.default_rng(seed)
    align = ALIGN.get(system.kind, 2000)
    still = np.zeros((system.n_pushes, starts))
    settled = round(settle / system.dt) if settle is not None else 5 * align
    states = system.advance(system.scatter(generator, starts), still, settled)
    if not np.isfinite(states).all():
        raise ValueError(
            f"{system}: orbits from its scattered starts run away to infinity; choose other ones"
        )
    size, time = len(states), steps * system.dt
    leading, largest = np.empty(starts), np.empty(starts)
    for n in range(starts):
        state, vector, _ = system.stretch(states[:, n], generator.normal(size=(size, 1)), align, 1)
        leading[n] = system.stretch(state, vector, steps, steps)[2][0] / time
        _, tangent = carry(system, state, np.eye(size), steps)
        if not np.isfinite(tangent).all():
            raise ValueError(
                f"{system}: tangents overflow within {steps} steps; a window is at most some 700 nats of growth long"
            )
        largest[n] = np.log(np.linalg.norm(tangent, 2)) / time
    return FiniteTime(system, steps, Distribution(leading), Distribution(largest))
