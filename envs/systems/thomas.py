"""Thomas' flow: a walk in a lattice of sines with friction."""

from dataclasses import dataclass

from envs.functions import sin
from envs.system import Flow, Reference, TaskDefaults


@dataclass(frozen=True)
class Thomas(Flow):
    """dx/dt = sin y - b x + push,  dy/dt = sin z - b y,  dz/dt = sin x - b z.

    Without friction every point of the lattice sin x = sin y = sin z = 0 would rest. The task is what the
    equations imply: hold the focus x = y = z = -2.645 (growth 0.26 per time unit, a turn in 8.3) with a push of
    0.1, a fifth of what moves x by itself.

    Source: R. Thomas, International Journal of Bifurcation and Chaos 9, 1889 (1999).
    """

    b: float = 0.18

    states = ("x", "y", "z")
    start = (0.1, 0.0, 0.0)
    dt = 0.1
    reference = Reference(
        (0.0352, 0.0, -0.5752),
        stderr=0.0003,
        source="RK4 and QR over 2e6 time units; Sprott, Chaos and Time-Series Analysis: 0.0349, 0, -0.5749",
    )
    other_references = (Reference((0.0552, 0.0, -0.3552), stderr=0.0005, source="RK4 and QR", at={"b": 0.1}),)
    task = TaskDefaults(push=0.1, control_interval=1.0, goal="hold a fixed point")

    def rate(self, x, y, z, push):
        return sin(y) - self.b * x + push, sin(z) - self.b * y, sin(x) - self.b * z
