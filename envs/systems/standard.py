"""Chirikov's standard map: a rotor, kicked once a turn of the clock."""

from dataclasses import dataclass

from envs.functions import atan, sin, tan
from envs.system import Map, Reference, TaskDefaults


def wrapped(angle):
    """The same angle in (-pi, pi]; derivative 1."""
    return 2 * atan(tan(angle / 2))


@dataclass(frozen=True)
class Standard(Map):
    """p' = p + k sin theta + push,  theta' = theta + p',  both modulo 2 pi.

    A rotor of angle theta and momentum p is kicked once per unit of time; `push` is an additional kick. The map
    keeps areas: the exponents are a pair. For k < 4 there are islands of order around theta = pi, and orbits
    stick to their shores for long: standard errors of k = 1 and 2 fall more slowly than 1 / sqrt(time).

    The task: balance the rotor at theta = p = 0, where the error grows nearly sevenfold per kick, with a push of
    0.3. On a torus nothing escapes.

    Source: B. V. Chirikov, Physics Reports 52, 263 (1979).
    """

    k: float = 5.0

    states = ("theta", "p")
    angles = ("theta", "p")
    start = (0.001, 0.008)
    reference = Reference((0.9746, -0.9746), stderr=0.0007, source="QR over 4e7 iterations")
    other_references = (
        Reference((0.1045, -0.1045), stderr=0.0057, source="QR; Sprott: 0.10497", at={"k": 1.0}),
        Reference((0.431, -0.431), stderr=0.006, source="QR", at={"k": 2.0}),
        Reference((1.2614, -1.2614), stderr=0.0020, source="QR", at={"k": 6.9087}),
        Reference((1.6202, -1.6202), stderr=0.0002, source="QR", at={"k": 10.0}),
    )
    task = TaskDefaults(push=0.3, reward_scale=2.0, goal="balance the rotor")
    target = (0.0, 0.0)

    def image(self, theta, p, push):
        kicked = p + self.k * sin(theta) + push
        return wrapped(theta + kicked), wrapped(kicked)
