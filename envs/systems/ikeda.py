"""Ikeda's map: light that goes round in a ring and turns itself."""

from dataclasses import dataclass

from envs.functions import cos, sin
from envs.system import Map, Reference, TaskDefaults


@dataclass(frozen=True)
class Ikeda(Map):
    """x' = 1 + u (x cos t - y sin t) + push,  y' = u (x sin t + y cos t),  t = c1 - c3 / (1 + x^2 + y^2).

    x + i y is the field in an optical ring resonator, once per round trip; `push` is added to the light that
    is fed in. The task is what the equations imply: hold the fixed point (0.533, 0.247) (multipliers -2.39 and
    -0.34) with a push of 0.07. At u = 0.918 and more, orbits from this start fall on a fixed point that attracts.

    Source: S. M. Hammel, C. K. R. T. Jones and J. V. Moloney, Journal of the Optical Society of America B 2,
    552 (1985).
    """

    u: float = 0.9
    c1: float = 0.4
    c3: float = 6.0

    states = ("x", "y")
    start = (0.1, 0.1)
    reference = Reference(
        (0.50759, -0.71831),
        stderr=0.00007,
        source="QR over 4e7 iterations; Sprott, Chaos and Time-Series Analysis: 0.5076, -0.7184",
    )
    other_references = (Reference((0.3341, -1.0475), stderr=0.0001, source="QR", at={"u": 0.7}),)
    task = TaskDefaults(push=0.07, goal="hold the fixed point")

    def image(self, x, y, push):
        t = self.c1 - self.c3 / (1 + x**2 + y**2)
        c, s = cos(t), sin(t)
        return 1 + self.u * (x * c - y * s) + push, self.u * (x * s + y * c)
