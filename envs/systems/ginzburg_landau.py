"""Complex Ginzburg-Landau in one dimension: coupled oscillators whose phases and amplitudes go turbulent."""

from dataclasses import dataclass
from math import pi

import numpy as np

from envs.field import Field, Structure
from envs.system import Reference, TaskDefaults


@dataclass(frozen=True)
class GinzburgLandau(Field):
    """A_t = (1 + i c) A + (1 + i b) A_xx - (1 + i c) |A|^2 A + push,  A = re + i im of period L.

    Written in the frame that turns with the uniform oscillation, which is therefore the equilibrium A = 1 (the
    usual form has A in place of (1 + i c) A; the exponents are the same). Where 1 + b c < 0 (Benjamin and
    Feir) every wave is unstable; at the default, 1 + b c = -2.5, phases slip where |A| touches zero: defect
    turbulence. The task: bring all oscillators into step, at A = 1, with four bumps of width 1 that push re.

    Three exponents are zero, for shifts of time, of space and of phase. The cube is
    dealiased by the 1/2 rule; a point every 0.35 resolves the defects (kept modes fall by five digits).

    Source: B. I. Shraiman et al., Physica D 57, 241 (1992), with c1 = b and c3 = -c.
    """

    dt: Structure = 0.1  # type: ignore[misc]  # chosen, not given
    L: Structure = 32.0
    points: int = 96
    actuators: int = 8
    actuator_width: Structure = 1.0
    b: float = 3.5
    c: float = -1.0

    components = ("re", "im")
    complex_valued = True
    coarsest = 0.35
    ensemble = 16
    settle = 1000
    sample_every = 10
    samples = 512
    reference = Reference(
        (0.1395, 0.080, 0.005, 0.0, 0.0, 0.0, -0.086, -0.2555),
        stderr=(0.0024, 0.0036, 0.0042, 0.0005, 0.0005, 0.002, 0.008, 0.004),
        source="ETDRK4 and QR over 2 x 8e3 time units; errors from the difference of the two where it is larger",
    )
    task = TaskDefaults(push=0.5, control_interval=0.3, goal="bring all oscillators into step")

    @property
    def start(self):  # depends on the grid
        """The uniform oscillation under long waves without symmetry."""
        x = 2 * pi * self.x / self.L
        re = 1 + 0.3 * np.cos(x + 1) + 0.2 * np.cos(2 * x + 3) - 0.2 * np.cos(3 * x)
        im = 0.3 * np.cos(x) - 0.2 * np.cos(2 * x + 5) + 0.1 * np.cos(3 * x + 2)
        return (*re.tolist(), *im.tolist())

    @property
    def target(self):
        """The uniform oscillation."""
        return (1.0,) * self.points + (0.0,) * self.points

    @property
    def latex(self):
        return (
            "\\begin{aligned}\n\\partial_t A &= (1 + i c) A + (1 + i b)\\,\\partial_x^2 A - (1 + i c) |A|^2 A"
            " + \\sum_j a_j\\, e^{-(x - x_j)^2 / 2 w^2}\n\\end{aligned}\n"
        )

    def linear(self, q):
        return 1 + 1j * self.c - (1 + 1j * self.b) * q**2

    def outer(self, q):
        return -(1 + 1j * self.c) * self.within(1 / 2)

    def local(self, a):
        return (a * a.conj() * a,)

    def local_tangent(self, fields, changes):
        (a,), (change,) = fields, changes
        return (2 * a * a.conj() * change + a * a * change.conj(),)

    def scatter(self, generator, count):
        """Long waves of amplitude 0.5 about zero, [2 points, count]."""
        return 0.5 * self.smooth(generator, count, length=1.5)
