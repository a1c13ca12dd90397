"""The logistic map: a population that eats its own food."""

from dataclasses import dataclass
from math import nan

from envs.system import Map, Reference, TaskDefaults


@dataclass(frozen=True)
class Logistic(Map):
    """x' = (r + push) x (1 - x).

    The push acts on the growth rate, so that the population never leaves [0, 1] while r + push <= 4. The task:
    hold 1 - 1 / r, whose error doubles, with changed sign, at every iteration (multiplier 2 - r = -1.9). A push
    of 0.1 moves x there by 0.019 and can hold it only within 0.019 / 0.9 = 0.021.

    Source: R. M. May, Nature 261, 459 (1976).
    """

    r: float = 3.9

    states = ("x",)
    start = (0.4,)
    reference = Reference((0.49600,), stderr=0.00006, source="mean of log |f'| over 4e7 iterations")
    task = TaskDefaults(push=0.1, steps=100, goal="hold the population")

    @property
    def target(self):
        """Where births and deaths are even: 1 - 1 / r."""
        return (1 - 1 / self.r,) if self.r != 0 else (nan,)

    def image(self, x, push):
        return ((self.r + push) * x * (1 - x),)
