"""Kuramoto-Sivashinsky: flame fronts, and the smallest equation with chaos in space and time."""

from dataclasses import dataclass
from functools import lru_cache
from math import pi

import numpy as np

from envs.field import Field, Structure
from envs.system import Reference, TaskDefaults

QR = "ETDRK4 with dt 0.25 and QR"


@dataclass(frozen=True)
class KuramotoSivashinsky(Field):
    """u_t = -u u_x - u_xx - u_xxxx + push,  u of period L.

    The task: hold the zero state, unstable in six directions at L = 22 (a wave exp(i q x) grows at
    q^2 - q^4); `equilibria` has three more states to hold. Four bumps of width 0.4 push.

    The mean of u is removed, of the state and of the push, so the spectrum has two zero exponents (time and
    space shifts) where a count with the mean has three. With `drift` a push moves the mean, as in the
    literature's controlled versions; perturbations are without mean even then. The square is dealiased by the
    2/3 rule; a point every 0.5 resolves the attractor (at L = 22 the modes of the default grid fall by seven digits).

    The form w_t = -w w_y - w_yy - nu w_yyyy on period 2 pi is the same at L = 2 pi / sqrt(nu), with
    y = sqrt(nu) x, w = u / sqrt(nu) and time multiplied by nu: nu = 0.08 is L = 22.21.

    Source: P. Cvitanović, R. L. Davidchack and E. Siminos, SIAM Journal on Applied Dynamical Systems 9, 1
    (2010); bumps as in M. A. Bucci et al., Proceedings of the Royal Society A 475, 20190351 (2019).
    """

    dt: Structure = 0.25  # type: ignore[misc]  # chosen, not given
    L: Structure = 22.0
    points: int = 64
    actuators: int = 8
    actuator_width: Structure = 0.4
    drift: bool = False
    """Whether a push moves the mean of u."""

    coarsest = 0.5
    ensemble = 16
    settle = 1000
    sample_every = 8
    samples = 512
    task = TaskDefaults(push=0.5, control_interval=0.25, goal="hold the zero state")
    reference = Reference(
        (0.0494, 0.0, 0.0, -0.0033, -0.189, -0.257, -0.2906, -0.3112, -1.964, -1.968, -5.602),
        stderr=0.0006,
        source=f"{QR} over 2 x 6e4 time units; Cvitanović, Davidchack and Siminos (2010): 0.048",
    )
    other_references = (
        Reference(
            (0.0779, 0.0478, 0.0155, 0.0, 0.0, -0.0198, -0.0877, -0.1615, -0.236, -0.309),
            stderr=0.0009,
            source=f"{QR} over 4e4 time units",
            at={"L": 36.0, "points": 96},
        ),
        Reference(
            (0.0841, 0.0673, 0.0510, 0.0383, 0.0237, 0.0087, 0.0, 0.0, -0.0077, -0.0299, -0.0592),
            stderr=0.0011,
            source=f"{QR} over 4e4 time units",
            at={"L": 60.0, "points": 128},
        ),
        Reference(
            (0.0902,),
            stderr=0.0024,
            source=f"{QR} over 3e3 time units",
            at={"L": 32 * pi, "points": 256},
        ),
    )

    @property
    def start(self):  # depends on the grid
        """A fixed sum of the longest waves, without symmetry."""
        waves = [
            height * np.cos(2 * pi * (n + 1) * self.x / self.L + n * n + 1)
            for n, height in enumerate((0.9, -0.7, 0.8, 0.5, -0.3))
        ]
        return tuple(np.sum(waves, axis=0).tolist())

    @property
    def target(self):
        """The zero state."""
        return (0.0,) * self.points

    @property
    def equilibria(self):
        """Name -> state: zero, and E1, E2, E3 with 1, 2, 3 waves, odd and falling through zero at x = 0.

        Found by Newton's method from a sine of amplitude 2; those that exist at this L. Their energies
        <u^2> / 2 at L = 22 are 0.2609, 0.4382 and 1.5876.
        """
        return _equilibria(self)

    @property
    def latex(self):
        return (
            "\\begin{aligned}\n\\partial_t u &= -u\\,\\partial_x u - \\partial_x^2 u - \\partial_x^4 u"
            " + \\sum_i a_i\\, e^{-(x - x_i)^2 / 2 w^2}\n\\end{aligned}\n"
        )

    def linear(self, q):
        return q**2 - q**4

    def outer(self, q):
        return -0.5j * q * self.within(2 / 3)

    def removed(self, q):
        return False if self.drift else q == 0

    def conserved(self, q):
        return q == 0

    def local(self, u):
        return (u * u,)

    def local_tangent(self, fields, changes):
        return (2 * fields[0] * changes[0],)

    def scatter(self, generator, count):
        """Random long waves of amplitude 0.5 and mean 0, [points, count]."""
        waves = 0.5 * self.smooth(generator, count, length=1.5)
        return waves - waves.mean(axis=0)

    def _control(self):
        return {**super()._control(), "drift": self.drift}


@lru_cache(maxsize=16)
def _equilibria(system: KuramotoSivashinsky):
    found = {"zero": system.target}
    for waves in (1, 2, 3):
        state = system.equilibrium(-2 * np.sin(2 * pi * waves * system.x / system.L))
        if state is not None and np.abs(state).max() > 1e-6:
            found[f"E{waves}"] = tuple(state.tolist())
    return found
