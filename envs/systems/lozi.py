"""Lozi's map: Hénon's with a roof in place of the parabola."""

from dataclasses import dataclass

from envs.functions import absolute
from envs.system import Map, Reference, TaskDefaults


@dataclass(frozen=True)
class Lozi(Map):
    """x' = 1 - a |x| + y + push,  y' = b x.

    Its only nonlinearity is the kink at x = 0. The task: hold the fixed point x = 1 / (1 + a - b) (multipliers
    -1.956 and 0.256) with a push of 0.05, which can hold it within 0.052 along the unstable direction.

    Source: R. Lozi, Journal de Physique Colloques 39, C5-9 (1978).
    """

    a: float = 1.7
    b: float = 0.5

    states = ("x", "y")
    start = (0.1, 0.1)
    reference = Reference(
        (0.47020, -1.16334),
        stderr=0.00004,
        source="QR over 4e7 iterations; Sprott, Chaos and Time-Series Analysis: 0.4702, -1.1633",
    )
    task = TaskDefaults(push=0.05, steps=100, goal="hold the fixed point")

    def image(self, x, y, push):
        return 1 - self.a * absolute(x) + y + push, self.b * x
