"""Hindmarsh and Rose's neuron: bursts of spikes, none like the last."""

from dataclasses import dataclass

from envs.system import Flow, Reference, TaskDefaults


@dataclass(frozen=True)
class HindmarshRose(Flow):
    """dx/dt = y - a x^3 + b x^2 - z + I + push,  dy/dt = c - d x^2 - y,  dz/dt = r (s (x - xr) - z).
    I is the field `current`.

    x is the membrane's potential, y the fast currents, z the slow adaptation; `push` is a current added to the
    stimulus `current`. The task: keep the neuron silent, at the rest point x = -0.695 between two bursts, from
    which it departs by 0.173 per time unit and, far more slowly, by 0.014.

    Source: J. L. Hindmarsh and R. M. Rose, Proceedings of the Royal Society B 221, 87 (1984).
    """

    a: float = 1.0
    b: float = 3.0
    c: float = 1.0
    d: float = 5.0
    r: float = 0.006
    s: float = 4.0
    xr: float = -1.6
    current: float = 3.25

    states = ("x", "y", "z")
    start = (-1.0, 0.0, 3.0)
    dt = 0.02
    reference = Reference((0.01318, 0.0, -8.416), stderr=(0.00015, 0.00015, 0.01), source="RK4 and QR")
    task = TaskDefaults(push=0.2, control_interval=0.5, steps=400, goal="keep the neuron silent")

    def rate(self, x, y, z, push):
        dx = y - self.a * x**3 + self.b * x**2 - z + self.current + push
        return dx, self.c - self.d * x**2 - y, self.r * (self.s * (x - self.xr) - z)
