"""Predators and prey that have an age: two Leslie matrices, each of which reads the other's population."""

from dataclasses import dataclass
from math import log, nan

from envs.functions import exp
from envs.system import Map, Reference, TaskDefaults


@dataclass(frozen=True)
class PredatorPrey(Map):
    """Young and adult prey x1, x2 and predators y1, y2; with x = x1 + x2 and y = y1 + y2, year by year:

    x1' = F x exp(-x - beta y + push),  x2' = P x1,  y1' = G y (1 - exp(-gamma x)),  y2' = Q y1.

    Leslie matrices: all prey bear F young, of which exp(-x - beta y) survive crowding and predation, and grow
    adult with probability P; predators that find prey, 1 - exp(-gamma x) of them, bear G young, which grow adult
    with probability Q. `push` acts on the prey's fertility: births are multiplied by exp(push).

    The task: keep both populations at the point where each replaces itself (an unstable focus, errors grow by
    1.28 per year) by raising or lowering births by at most a third. Two exponents are positive.

    Source: Leslie matrices that depend on both populations, as in A. Wikan, Journal of Mathematical Biology 43,
    471 (2001); births after W. E. Ricker (1954), predation after A. J. Nicholson and V. A. Bailey (1935). The
    combination and its parameters are chosen here, the exponents measured here.
    """

    F: float = 25.0
    P: float = 0.8
    G: float = 1.25
    Q: float = 0.5
    beta: float = 1.0
    gamma: float = 1.0

    states = ("x1", "x2", "y1", "y2")
    start = (0.5, 0.3, 1.0, 0.5)
    reference = Reference(
        (0.10982, 0.05404, -0.74168, -0.98008), stderr=0.0001, source="QR over 2e7 iterations"
    )
    task = TaskDefaults(push=0.3, goal="hold both populations")

    @property
    def target(self):
        """Each individual leaves one: G (1 + Q) (1 - exp(-gamma x)) = 1 and F (1 + P) exp(-x - beta y) = 1."""
        births = self.G * (1 + self.Q)
        x = -log(1 - 1 / births) / self.gamma if births > 1 else nan
        y = (log(self.F * (1 + self.P)) - x) / self.beta
        return x / (1 + self.P), self.P * x / (1 + self.P), y / (1 + self.Q), self.Q * y / (1 + self.Q)

    def image(self, x1, x2, y1, y2, push):
        x, y = x1 + x2, y1 + y2
        born = self.F * x * exp(-x - self.beta * y + push)
        return born, self.P * x1, self.G * y * (1 - exp(-self.gamma * x)), self.Q * y1
