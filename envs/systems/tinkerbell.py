"""The Tinkerbell map: a complex square that came off its axis."""

from dataclasses import dataclass

from envs.system import Map, Reference, TaskDefaults


@dataclass(frozen=True)
class Tinkerbell(Map):
    """x' = x^2 - y^2 + a x + b y + push,  y' = 2 x y + c x + d y.

    The task: hold the origin, an unstable focus (error times 1.29 per iteration). A push of 0.04 holds it within
    a small circle, and the attractor has a thin skin: pushed at random the orbit runs away.

    Source: H. E. Nusse and J. A. Yorke, Dynamics: Numerical Explorations (1994).
    """

    a: float = 0.9
    b: float = -0.6013
    c: float = 2.0
    d: float = 0.5

    states = ("x", "y")
    start = (-0.72, -0.64)
    reference = Reference((0.19980, -0.5002), stderr=(0.00005, 0.0003), source="QR over 4e7 iterations")
    target = (0.0, 0.0)
    task = TaskDefaults(push=0.04, steps=100, goal="hold the origin")

    def image(self, x, y, push):
        return x**2 - y**2 + self.a * x + self.b * y + push, 2 * x * y + self.c * x + self.d * y
