"""Duffing's oscillator: a driven ball between two wells, or in one of Ueda's."""

from dataclasses import dataclass
from math import inf

from envs.functions import cos
from envs.system import Flow, Reference, TaskDefaults

UEDA = {"delta": 0.05, "alpha": 0.0, "beta": 1.0, "gamma": 7.5, "omega": 1.0}


@dataclass(frozen=True)
class Duffing(Flow):
    """dx/dt = v,  dv/dt = -delta v - alpha x - beta x^3 + gamma cos(phase) + push,  dphase/dt = omega.

    `push` is a force. Default: two wells at x = -1 and 1 and a hill between them. Ueda's oscillator has
    alpha = 0, beta = 1, delta = 0.05, gamma = 7.5, omega = 1 (needs a larger push).

    The task: stay on the hilltop (growth 0.883 per time unit). With the drive on nothing rests: the pull on the
    state at x = v = 0 is gamma cos(phase), which the push, at most 0.6, has to cancel all the time with 0.2 to
    spare. The phase is a clock: it is observed and does not count in the distance.

    Source: P. Holmes, Philosophical Transactions of the Royal Society A 292, 419 (1979); Y. Ueda, Journal of
    Statistical Physics 20, 181 (1979).
    """

    delta: float = 0.25
    alpha: float = -1.0
    beta: float = 1.0
    gamma: float = 0.4
    omega: float = 1.0

    states = ("x", "v", "phase")
    angles = ("phase",)
    start = (1.0, 0.0, 0.0)
    dt = 0.02
    reference = Reference((0.1585, 0.0, -0.4085), stderr=(0.0015, 1e-9, 0.0015), source="RK4 and QR")
    other_references = (
        Reference(
            (0.1058, 0.0, -0.4058),
            stderr=(0.0008, 1e-9, 0.0008),
            source="RK4 and QR",
            at={"delta": 0.3, "gamma": 0.5, "omega": 1.2},
        ),
        Reference(
            (0.1024, 0.0, -0.1524),
            stderr=(0.0010, 1e-9, 0.0010),
            source="RK4 and QR; Sprott, Chaos and Time-Series Analysis: 0.1034, 0, -0.1534",
            at=UEDA,
        ),
    )
    task = TaskDefaults(
        push=0.6, control_interval=0.2, reward_scale=(1.0, 1.0, inf), goal="stay on the hilltop"
    )
    target = (0.0, 0.0, 0.0)

    def rate(self, x, v, phase, push):
        force = -self.alpha * x - self.beta * x**3 + self.gamma * cos(phase)
        return v, -self.delta * v + force + push, self.omega
