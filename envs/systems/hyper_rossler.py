"""Rössler's hyperchaos: the first flow with two positive exponents."""

from dataclasses import dataclass

from envs.system import Flow, Reference, TaskDefaults


@dataclass(frozen=True)
class HyperRossler(Flow):
    """dx/dt = -y - z,  dy/dt = x + a y + w + push,  dz/dt = b + x z,  dw/dt = -c z + d w.

    The task: hold the fixed point in the middle, unstable in three directions (growth 0.102 and twice 0.049 per
    time unit, a turn in 2 pi), with a push of 8 where the flow itself moves y at 21 (root mean square). Slow
    to leave and slow to reach: an episode is 120 time units. Random pushes make most orbits run away.

    Source: O. E. Rössler, Physics Letters A 71, 155 (1979).
    """

    a: float = 0.25
    b: float = 3.0
    c: float = 0.5
    d: float = 0.05

    states = ("x", "y", "z", "w")
    start = (-20.0, 0.0, 0.0, 15.0)
    dt = 0.01
    reference = Reference(
        (0.1143, 0.0194, 0.0, -25.5),
        stderr=(0.0019, 0.0018, 0.0018, 0.6),
        source="RK4 and QR; Wolf et al. (1985): 0.111, 0.021, 0, -27.0",
    )
    task = TaskDefaults(push=8.0, control_interval=0.2, steps=600, goal="hold the outer fixed point")

    def rate(self, x, y, z, w, push):
        return -y - z, x + self.a * y + w + push, self.b + x * z, -self.c * z + self.d * w
