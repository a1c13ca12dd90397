"""Chialvo's neuron: a spike of one exponential and a slow recovery."""

from dataclasses import dataclass

from envs.functions import exp
from envs.system import Map, Reference, TaskDefaults


@dataclass(frozen=True)
class Chialvo(Map):
    """v' = v^2 exp(w - v) + k + push,  w' = a w - b v + c.

    v is the membrane's potential, w its recovery; `push` is an injected current. The task is what the equations
    imply: hold the rest point (0.963, 0.969) between silence and spikes (error times 1.03 per iteration, a
    fifteenth of a turn) with a push of 0.06, a tenth of what moves v by itself.

    Source: D. R. Chialvo, Chaos, Solitons and Fractals 5, 461 (1995).
    """

    a: float = 0.89
    b: float = 0.18
    c: float = 0.28
    k: float = 0.03

    states = ("v", "w")
    start = (0.1, 1.0)
    reference = Reference((0.05023, -0.1463), stderr=(0.00004, 0.0003), source="QR over 4e7 iterations")
    task = TaskDefaults(push=0.08, goal="hold the neuron's fixed point")

    def image(self, v, w, push):
        return v**2 * exp(w - v) + self.k + push, self.a * w - self.b * v + self.c
