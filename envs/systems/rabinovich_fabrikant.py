"""Rabinovich and Fabrikant's flow: waves in a plasma that pump each other."""

from dataclasses import dataclass

from envs.system import Flow, Reference, TaskDefaults


@dataclass(frozen=True)
class RabinovichFabrikant(Flow):
    """dx/dt = y (z - 1 + x^2) + gamma x,  dy/dt = x (3 z + 1 - x^2) + gamma y + push,
    dz/dt = -2 z (alpha + x y).

    The task is what the equations imply: hold the saddle focus (-0.518, 2.122, 0.944) (growth 1.25 per time
    unit) with a push of 0.4 on y, a fifth of what moves y by itself. Too much of it and the orbit runs away.

    Source: M. I. Rabinovich and A. L. Fabrikant, Soviet Physics JETP 50, 311 (1979).
    """

    alpha: float = 1.1
    gamma: float = 0.87

    states = ("x", "y", "z")
    start = (-1.0, 0.0, 0.5)
    dt = 0.01
    reference = Reference(
        (0.2009, 0.0, -0.6609),
        stderr=0.0018,
        source="RK4 and QR; Sprott, Chaos and Time-Series Analysis: 0.1981, 0, -0.6581",
    )
    task = TaskDefaults(push=0.4, control_interval=0.09, goal="hold a fixed point")

    def rate(self, x, y, z, push):
        dx = y * (z - 1 + x**2) + self.gamma * x
        dy = x * (3 * z + 1 - x**2) + self.gamma * y + push
        return dx, dy, -2 * z * (self.alpha + x * y)
