"""Spiral waves in an excitable sheet: they turn for ever, break up into turbulence, or die out."""

from dataclasses import dataclass
from math import pi

import numpy as np

from envs.field import Field, Structure
from envs.system import Floats, Reference, TaskDefaults


@dataclass(frozen=True)
class SpiralWaves(Field):
    """u_t = u (1 - u) (u - (v + b) / a) / epsilon + u_xx + u_yy + push,  v_t = f(u) - v, both of period L.

    The slow v inhibits late: f(u) = 0 below u = 1/3, 1 above u = 1, 1 - 6.75 u (u - 1)^2 between (once
    continuously differentiable). At a = 0.84 three regimes, from a crossed-field start of four spirals:

        epsilon=0.06, b=0.07   stable: the four spirals turn for ever
        epsilon=0.1,  b=0.07   turbulent (the default): spirals break up, the number of tips fluctuates
        epsilon=0.06, b=0.2    decaying: too little excitable, waves retract and the sheet comes to rest

    Spiral turbulence of a finite sheet is a transient, of a lifetime that grows exponentially with its area.
    The task: bring the sheet to rest, u = v = 0, with four bumps of width 1.5 in a row that push u.

    Grid of points x points; a state lists u row by row, then v. Diffusion and the decay of v are exact. The
    reaction is not dealiased: fronts are as wide as two or three grid points, as in the literature's runs.
    A step of the default sheet (4608 states) costs about a millisecond.

    Source: M. Bär and M. Eiswirth, Physical Review E 48, R1635 (1993); lifetimes: M. C. Strain and
    H. S. Greenside, Physical Review Letters 80, 2306 (1998).
    """

    dt: Structure = 0.1  # type: ignore[misc]  # chosen, not given
    L: Structure = 24.0
    points: int = 48
    actuators: int = 4
    actuator_width: Structure = 1.5
    epsilon: float = 0.1
    a: float = 0.84
    b: float = 0.07

    components = ("u", "v")
    axes = 2
    coarsest = 0.5
    settle = 300
    sample_every = 10
    samples = 48
    ensemble = 4
    reference = Reference(
        (0.130, 0.098, 0.082, 0.070),
        stderr=(0.006, 0.005, 0.003, 0.004),
        source="ETDRK4 and QR, six sheets that stayed turbulent, over 160 time units each",
        survivors=True,
    )
    task = TaskDefaults(push=0.3, control_interval=0.1, goal="bring the sheet to rest")

    @property
    def start(self):  # depends on the grid
        """Crossed fields: a stripe of u over a stripe of v, a quarter period apart; four spirals."""
        return tuple(self._crossed(0.0, 0.0).tolist())

    @property
    def target(self):
        """The sheet at rest."""
        return (0.0,) * (2 * self.points**2)

    @property
    def transient(self):
        """Turbulence ends by itself."""
        return True

    @property
    def latex(self):
        return (
            "\\begin{aligned}\n\\partial_t u &= \\tfrac{1}{\\epsilon} u (1 - u) \\left(u - \\tfrac{v + b}{a}\\right)"
            " + \\nabla^2 u + \\sum_i a_i\\, e^{-|x - x_i|^2 / 2 w^2} \\\\\n\\partial_t v &= f(u) - v\n"
            "\\end{aligned}\n"
        )

    def linear(self, qx, qy):
        square = qx**2 + qy**2
        return np.stack([-square, -np.ones_like(square)])

    def local(self, u, v):
        between = u.clip(1 / 3, 1)
        excited = u * (1 - u) * (u - (v + self.b) / self.a) / self.epsilon
        return excited, 1 - 6.75 * between * (between - 1) ** 2

    def local_tangent(self, fields, changes):
        (u, v), (du, dv) = fields, changes
        between, above = u.clip(1 / 3, 1), u - (v + self.b) / self.a
        excited = ((1 - 2 * u) * above + u * (1 - u)) * du - u * (1 - u) / self.a * dv
        return excited / self.epsilon, -6.75 * (between - 1) * (3 * between - 1) * du

    def scatter(self, generator, count):
        """The crossed fields at random places under random long waves of amplitude 0.1, [D, count]."""
        places = generator.uniform(0, 2 * pi, size=(count, 2))
        return np.stack([self._crossed(*place) for place in places], 1) + 0.1 * self.smooth(
            generator, count, 1.0
        )

    def tips(self, states):
        """Number of spiral tips, [D, N] -> [N]: grid cells around which the phase in the (u, v) plane turns."""
        u, v = states.reshape(2, *self.grid, -1)
        phase = np.arctan2(v - 0.35, u - 0.5)
        down, right = (_turn(np.roll(phase, -1, axis) - phase) for axis in (0, 1))
        winding = down + np.roll(right, -1, 0) - np.roll(down, -1, 1) - right
        return np.rint(np.abs(winding) / (2 * pi)).sum(axis=(0, 1)).astype(int)

    def decayed(self, states):
        """Sheets with u below the threshold b / a everywhere: from there every point returns to rest.

        Having no tip is not enough: waves without a tip may break up again.
        """
        u, v = states.reshape(2, -1, states.shape[1])
        return (u.max(axis=0) < self.b / self.a) & (v.min(axis=0) > -self.b / 2)

    def _crossed(self, shift: float, other: float) -> Floats:
        """States with the stripes moved by two phases, and bent a little so that nothing is symmetric, [D]."""
        x, y = (2 * pi * self.x[:, None] / self.L + shift, 2 * pi * self.x / self.L + other)
        bent = x + 0.2 * np.sin(y + 1)
        u = 0.5 + 0.5 * np.tanh(6 * np.cos(bent) - 1.2)
        v = 0.3 + 0.3 * np.tanh(4 * np.sin(y + 0.2 * np.cos(x + 2)))
        return np.asarray(np.concatenate([u.ravel(), v.ravel()]))


def _turn(angle: Floats) -> Floats:
    """The same angle between -pi and pi."""
    return (angle + pi) % (2 * pi) - pi
