"""Hénon's map: stretch, fold and squeeze in one quadratic step."""

from dataclasses import dataclass

from envs.system import Map, Reference, TaskDefaults


@dataclass(frozen=True)
class Henon(Map):
    """x' = 1 - a x^2 + y + push,  y' = b x.

    The task: hold the fixed point (0.6314, 0.1894), whose error doubles, with changed sign, at every
    iteration (multiplier -1.924). A push of 0.05 can hold it only within 0.05 / 0.924 = 0.054 along that
    direction, so the agent must wait for the orbit to come near; pushing at random throws it out of the
    basin.

    Source: M. Hénon, Communications in Mathematical Physics 50, 69 (1976).
    """

    a: float = 1.4
    b: float = 0.3

    states = ("x", "y")
    start = (0.1, 0.1)
    reference = Reference(
        (0.41929, -1.62326),
        stderr=0.00005,
        source="QR over 4e7 iterations; Sprott, Chaos and Time-Series Analysis: 0.41922, -1.62319",
    )
    task = TaskDefaults(push=0.05, steps=100, escape=2.0, goal="hold the fixed point")

    def image(self, x, y, push):
        return 1 - self.a * x**2 + y + push, self.b * x
