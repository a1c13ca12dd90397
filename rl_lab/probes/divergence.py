"""Sum rule: all exponents together are the mean rate at which volumes shrink, which needs no tangent vectors."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.system import Floats, System, vector
from rl_lab.probes.blocks import block_stderr
from rl_lab.probes.rates import unit_of

QR_EVERY = 5
"""Steps between orthonormalisations of a flow's frame, which holds all directions, the fastest shrinking too."""


@dataclass(frozen=True)
class SumRule:
    """The same number twice, along the same orbit: once from the frame, once from the equations."""

    system: System
    exponents: float
    """Sum of all exponents."""
    exponents_stderr: float
    divergence: float
    """Mean trace of the Jacobian of a flow, mean log |det| of the Jacobian of a map."""
    divergence_stderr: float
    difference_stderr: float
    """Of their difference: block by block, so that what both have in common drops out."""

    @property
    def difference(self) -> float:
        """Sum minus divergence: the error of the tangent, or the step's own error of order dt^4."""
        return self.exponents - self.divergence

    @property
    def unit(self) -> str:
        """Unit of both."""
        return unit_of(self.system)

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "exponents": self.exponents,
            "exponents_stderr": self.exponents_stderr,
            "divergence": self.divergence,
            "divergence_stderr": self.divergence_stderr,
            "difference": self.difference,
            "difference_stderr": self.difference_stderr,
            "unit": self.unit,
            "per_step": [self.exponents * self.system.dt, self.divergence * self.system.dt],
            "dt": self.system.dt,
        }


def sum_rule(system: System, *, steps: int = 20_000, settle: int = 20_000, blocks: int = 20) -> SumRule:
    """Measure both sides over `steps` steps after `settle`; for flows and maps, whose Jacobian is all there is.

    ValueError for delay and field kinds, whose tangent holds more directions than can be summed.
    """
    if system.kind not in ("flow", "map"):
        raise ValueError(
            f"{system}: a {system.kind} has too many directions to sum over all; the sum rule is for flows and maps"
        )
    size, length = len(system.states), steps // blocks
    state = system.orbit(vector(system.start), 1, settle)[0]
    frame, sums, divergences = np.eye(size), np.empty((blocks, 1)), np.empty((blocks, 1))
    for b in range(blocks):
        orbit = np.vstack([state, system.orbit(state, length)])
        every = 1 if system.kind == "map" else QR_EVERY
        _, frame, growth = system.stretch(state, frame, length, every)
        sums[b] = growth.sum() / (length * system.dt)
        divergences[b] = _divergence(system, orbit)
        state = orbit[-1]
    return SumRule(
        system,
        float(sums.mean()),
        float(block_stderr(sums)[0]),
        float(divergences.mean()),
        float(block_stderr(divergences)[0]),
        float(block_stderr(sums - divergences)[0]),
    )


def _divergence(system: System, orbit: Floats) -> float:
    """Mean over the steps of one orbit [steps + 1, D]; the trapezoid rule for flows."""
    jacobians = np.array([system.jacobian(state) for state in orbit])
    if system.kind == "map":
        return float(np.linalg.slogdet(jacobians[:-1])[1].mean())
    return float(np.trapezoid(np.trace(jacobians, axis1=1, axis2=2)) / (len(orbit) - 1))
