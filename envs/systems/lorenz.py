"""Lorenz's flow: two lobes, and a fixed point in the eye of each."""

from dataclasses import dataclass
from math import nan, sqrt

from envs.system import Flow, Reference, TaskDefaults


@dataclass(frozen=True)
class Lorenz(Flow):
    """dx/dt = sigma (y - x),  dy/dt = x (rho - z) - y + push,  dz/dt = x y - beta z.

    The task: hold C+, the unstable focus in the eye of one lobe (growth 0.094 per time unit, 10.2 radians per
    time unit). The push is at most 10 where the flow itself moves y at 66 (root mean square), and a twelfth
    of a turn passes before it may change: enough to catch the orbit when it comes by, too little to fetch it.

    Source: E. N. Lorenz, Journal of the Atmospheric Sciences 20, 130 (1963).
    """

    sigma: float = 10.0
    rho: float = 28.0
    beta: float = 8.0 / 3.0

    states = ("x", "y", "z")
    start = (1.0, 1.0, 20.0)
    dt = 0.01
    reference = Reference(
        (0.90581, 0.0, -14.57248),
        stderr=0.00026,
        source="RK4 and QR over 4e5 time units at dt 0.005; sprott.physics.wisc.edu: 0.906, 0, -14.572",
    )
    task = TaskDefaults(push=10.0, control_interval=0.05, steps=200, reward_scale=20.0, goal="hold C+")

    @property
    def target(self):
        """C+ = (r, r, rho - 1) with r = sqrt(beta (rho - 1)); it exists for rho > 1."""
        r = sqrt(self.beta * (self.rho - 1)) if self.rho > 1 else nan
        return r, r, self.rho - 1

    def rate(self, x, y, z, push):
        return self.sigma * (y - x), x * (self.rho - z) - y + push, x * y - self.beta * z
