"""Rössler's flow: one folded band from one quadratic term."""

from dataclasses import dataclass

from envs.system import Flow, Reference, TaskDefaults


@dataclass(frozen=True)
class Rossler(Flow):
    """dx/dt = -y - z,  dy/dt = x + a y + push,  dz/dt = b + z (x - c).

    The task is what its equations imply: hold the unstable focus in the middle of the band (growth 0.097 per
    time unit, a turn in 2 pi) with a push of 1, a fifth of what moves y by itself.

    Source: O. E. Rössler, Physics Letters A 57, 397 (1976).
    """

    a: float = 0.2
    b: float = 0.2
    c: float = 5.7

    states = ("x", "y", "z")
    start = (-9.0, 0.0, 0.0)
    dt = 0.02
    reference = Reference(
        (0.0712, 0.0, -5.3942),
        stderr=0.0003,
        source="RK4 and QR over 6e5 time units; Sprott: 0.0714, 0, -5.3943",
    )
    other_references = (
        Reference(
            (0.0880, 0.0, -9.799),
            stderr=(0.0009, 0.0009, 0.004),
            source="RK4 and QR; Wolf et al., Physica D 16, 285 (1985): 0.090, 0, -9.77",
            at={"a": 0.15, "b": 0.2, "c": 10.0},
        ),
    )
    task = TaskDefaults(push=1.0, control_interval=0.16, goal="hold the inner fixed point")

    def rate(self, x, y, z, push):
        return -y - z, x + self.a * y + push, self.b + z * (x - self.c)
