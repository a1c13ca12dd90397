"""Chua's circuit: two coils of a double scroll and one piecewise straight diode."""

from dataclasses import dataclass

from envs.functions import absolute
from envs.system import Flow, Reference, TaskDefaults


@dataclass(frozen=True)
class Chua(Flow):
    """dx/dt = alpha (y - x - f(x)),  dy/dt = x - y + z + push,  dz/dt = -beta y.

    x and y are the voltages of two capacitors, z the current in the coil, f the diode's current:
    f(x) = m1 x + (m0 - m1) (|x + 1| - |x - 1|) / 2. `push` is a current into the second capacitor. Each crossing
    of a kink, x = -1 or 1, costs RK4 its fourth order; at dt = 0.005 the exponent along the orbit is within
    0.002 of 0. The task: hold the origin, the saddle between the two scrolls (growth 2.22 per time unit).

    Source: L. O. Chua, M. Komuro and T. Matsumoto, IEEE Transactions on Circuits and Systems 33, 1072 (1986).
    """

    alpha: float = 9.0
    beta: float = 100.0 / 7.0
    m0: float = -8.0 / 7.0
    m1: float = -5.0 / 7.0

    states = ("x", "y", "z")
    start = (0.1, 0.0, 0.0)
    kinked = True
    dt = 0.005
    reference = Reference(
        (0.3283, 0.0, -2.525),
        stderr=(0.0011, 0.0011, 0.005),
        source="RK4 and QR; Sprott, Chaos and Time-Series Analysis: 0.3271, 0, -2.5197",
    )
    other_references = (
        Reference(
            (0.430, 0.0, -4.228),
            stderr=(0.0025, 0.0025, 0.003),
            source="RK4 and QR",
            at={"alpha": 15.6, "beta": 28.0},
        ),
    )
    target = (0.0, 0.0, 0.0)
    task = TaskDefaults(push=0.1, control_interval=0.095, goal="hold the origin")

    def rate(self, x, y, z, push):
        f = self.m1 * x + (self.m0 - self.m1) / 2 * (absolute(x + 1) - absolute(x - 1))
        return self.alpha * (y - x - f), x - y + z + push, -self.beta * y
