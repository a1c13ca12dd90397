"""Hénon and Heiles' star: order and chaos side by side at one energy."""

from dataclasses import dataclass
from math import nan, sqrt

from envs.system import Flow, Reference, TaskDefaults


@dataclass(frozen=True)
class HenonHeiles(Flow):
    """H = (p^2 + q^2 + x^2 + y^2) / 2 + x^2 y - y^3 / 3: a star (x, y) with momenta (p, q) in a galaxy's plane.

    dx/dt = p,  dy/dt = q,  dp/dt = -x - 2 x y + push,  dq/dt = -y - x^2 + y^2 + push.

    The free star keeps its energy, and the exponents depend on it and on the start: (0, y0) with all momentum
    along x and the given energy, neither of which is in the equations. Orbits stick to islands of order for
    long, so that errors fall more slowly than 1 / sqrt(time). RK4 with dt = 0.02 loses 1e-11 of energy per time
    unit.

    The task: climb to the pass (0, 1) at energy 1/6 and stay there (growth 1 per time unit), with a force along
    the diagonal, which moves the unstable direction y and also the swing in x. Beyond the pass the star is lost.

    Source: M. Hénon and C. Heiles, Astronomical Journal 69, 73 (1964).
    """

    energy: float = 0.125
    y0: float = -0.25

    states = ("x", "y", "p", "q")
    hamiltonian = True
    dt = 0.02
    reference = Reference(
        (0.0425, 0.0, 0.0, -0.0425),
        stderr=(0.0034, 0.0001, 0.0001, 0.0034),
        source="RK4 and QR from (0, -0.25), p = 0.42081",
    )
    other_references = (
        Reference(
            (0.1296, 0.0, 0.0, -0.1296),
            stderr=(0.0020, 0.0001, 0.0001, 0.0020),
            source="RK4 and QR from (0, 0), p = 0.57735",
            at={"energy": 1 / 6, "y0": 0.0},
        ),
    )
    task = TaskDefaults(push=0.1, control_interval=0.2, steps=500, reward_scale=1.0, goal="climb to the pass")
    target = (0.0, 1.0, 0.0, 0.0)

    @property
    def start(self):
        """(0, y0, p, 0) with the p >= 0 that makes up the energy; not a number where there is none."""
        square = 2 * self.energy - self.y0**2 + 2 * self.y0**3 / 3
        return 0.0, self.y0, sqrt(square) if square >= 0 else nan, 0.0

    def rate(self, x, y, p, q, push):
        return p, q, -x - 2 * x * y + push, -y - x**2 + y**2 + push
