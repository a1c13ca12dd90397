"""Chen's flow: Lorenz's dual, with two foci ten times as unstable."""

from dataclasses import dataclass
from math import nan, sqrt

from envs.system import Flow, Reference, TaskDefaults


@dataclass(frozen=True)
class Chen(Flow):
    """dx/dt = a (y - x),  dy/dt = (c - a) x - x z + c y + push,  dz/dt = x y - b z.

    The task: hold the focus (7.94, 7.94, 21) in the eye of one lobe. It throws an orbit out 45 times as fast as
    Lorenz's (growth 4.21 per time unit, 14.9 radians per time unit); the push is at most 10 where the flow
    itself moves y at 140 (root mean square).

    Source: G. Chen and T. Ueta, International Journal of Bifurcation and Chaos 9, 1465 (1999).
    """

    a: float = 35.0
    b: float = 3.0
    c: float = 28.0

    states = ("x", "y", "z")
    start = (-10.0, 0.0, 37.0)
    dt = 0.002
    reference = Reference(
        (2.040, 0.0, -12.040),
        stderr=0.003,
        source="RK4 and QR; Sprott, Chaos and Time-Series Analysis: 2.0272, 0, -12.0272",
    )
    task = TaskDefaults(push=10.0, control_interval=0.024, goal="hold C+")

    @property
    def target(self):
        """(r, r, 2 c - a) with r = sqrt(b (2 c - a)); it exists for 2 c > a."""
        r = sqrt(self.b * (2 * self.c - self.a)) if 2 * self.c > self.a else nan
        return r, r, 2 * self.c - self.a

    def rate(self, x, y, z, push):
        return self.a * (y - x), (self.c - self.a) * x - x * z + self.c * y + push, x * y - self.b * z
