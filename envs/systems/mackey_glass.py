"""Mackey and Glass' blood cell production: one variable whose own past makes it chaotic."""

from dataclasses import dataclass

from envs.delay import Delay
from envs.system import Reference, TaskDefaults

SOURCE = "RK4 and QR over 4e6 time units; Farmer: dimension 2.13, 2.8, 3.58 at tau 17, 23, 30"


@dataclass(frozen=True)
class MackeyGlass(Delay):
    """dx/dt = beta x(t - tau) / (1 + x(t - tau)^n) - gamma x + push.

    Source: Mackey and Glass, Science 197, 287 (1977); the delays 17, 23, 30 are those of Farmer, Physica D 4,
    366 (1982).
    """

    beta: float = 0.2
    gamma: float = 0.1
    n: float = 10.0
    tau: float = 17.0
    grid: int = 17

    past = (1.2,)
    reference = Reference(
        (0.00514, 0.0, -0.03876, -0.0527, -0.0695), stderr=(1e-5, 1e-5, 5e-5, 1e-4, 1e-4), source=SOURCE
    )
    other_references = (
        Reference((0.0095, 0.0, -0.0119, -0.0347, -0.0444), 1e-4, SOURCE, at={"tau": 23.0}),
        Reference((0.0071, 0.0021, 0.0, -0.0161, -0.0244), 6e-5, SOURCE, at={"tau": 30.0}),
    )
    settle = 2_000
    sample_every = 5

    task = TaskDefaults(push=0.05, control_interval=2.0, steps=500, goal="keep the count at 1")

    def rate(self, x, delayed, push):
        return self.beta * delayed / (1 + delayed**self.n) - self.gamma * x + push
