"""The nine-mode shear flow: the smallest model whose turbulence is a long transient beside a stable laminar flow."""

from dataclasses import dataclass
from math import pi

import numpy as np

from envs.functions import sqrt
from envs.system import Flow, Reference, TaskDefaults

SOURCE = "RK4 and QR over the orbits of 120 starts that survive 4500 time units"


@dataclass(frozen=True)
class NineModeShear(Flow):
    """Amplitudes of nine Fourier modes of a sheared fluid between free-slip walls, in a box Lx × 2 × Lz.

    a1 is the mean profile, a2 the streaks, a3 the downstream vortices, a4 and a5 spanwise flows, a6 and a7
    normal vortex modes, a8 a fully three-dimensional mode, a9 the change of the mean profile. Only viscosity
    changes the energy |a|^2 / 2: the quadratic terms keep it. The laminar flow a = (1, 0, ..., 0) is stable at
    every Reynolds number, so turbulence is a chaotic saddle: an orbit stays for about 1e4 time units and then
    becomes laminar for good. The push is a force on the mean profile, on top of the one that drives it.

    Source: J. Moehlis, H. Faisst, B. Eckhardt, New Journal of Physics 6, 56 (2004).
    """

    re: float = 400.0
    lx: float = 4 * pi
    lz: float = 2 * pi

    states = tuple(f"a{i}" for i in range(1, 10))
    start = (0.15, 0.08, -0.07, 0.13, 0.07, 0.12, 0.1, 0.1, -0.09)
    dt = 0.25
    reference = Reference(
        (0.01557, 0.0060, 0.0, -0.0057, -0.0125, -0.0198, -0.0310, -0.0367, -0.0426),
        stderr=0.0003,
        source=SOURCE,
        survivors=True,
    )
    other_references = (
        Reference((0.0138, 0.0054, 0.0), stderr=0.0002, source=SOURCE, at={"re": 600.0}, survivors=True),
    )
    task = TaskDefaults(push=0.0007, control_interval=6.5, goal="hold a steady state off the laminar flow")

    @property
    def transient(self):
        """At every Reynolds number: the laminar flow is stable."""
        return True

    def decayed(self, states):
        """Kinetic energy above 0.48 of at most 0.5: the flow is laminar but for a remainder that decays."""
        return 0.5 * np.sum(states**2, axis=0) > 0.48

    def scatter(self, generator, count):
        """Finite disturbances of a much reduced mean profile: they become turbulent, most of them."""
        around = np.array(self.start)[:, None]
        return around + 0.02 * generator.normal(size=(len(around), count))

    def rate(self, a1, a2, a3, a4, a5, a6, a7, a8, a9, push):
        a, b, g = 2 * pi / self.lx, pi / 2, 2 * pi / self.lz
        k_ag, k_bg, k_abg = sqrt(a**2 + g**2), sqrt(b**2 + g**2), sqrt(a**2 + b**2 + g**2)
        six, r = sqrt(6.0), 1 / self.re
        shear, lift = sqrt(1.5) * b * g / k_bg, sqrt(1.5) * b * g / k_abg
        twist = a * b * g / (six * k_ag * k_bg)
        bend = a * b * g / (six * k_ag * k_abg)
        carry = a / six
        product = six * k_ag * k_bg * k_abg
        return (
            b**2 * r * (1 - a1) - lift * a6 * a8 + shear * a2 * a3 + push,
            -(4 * b**2 / 3 + g**2) * r * a2
            + 10 * g**2 / (3 * six * k_ag) * a4 * a6
            - g**2 / (six * k_ag) * a5 * a7
            - bend * a5 * a8
            - shear * a3 * (a1 + a9),
            -(b**2 + g**2) * r * a3
            + 2 * twist * (a4 * a7 + a5 * a6)
            + (b**2 * (3 * a**2 + g**2) - 3 * g**2 * (a**2 + g**2)) / product * a4 * a8,
            -(3 * a**2 + 4 * b**2) / 3 * r * a4
            - carry * a5 * (a1 + a9)
            - 10 * a**2 / (3 * six * k_ag) * a2 * a6
            - 3 * twist * a3 * a7
            - 3 * a**2 * b**2 / product * a3 * a8,
            -(a**2 + b**2) * r * a5
            + carry * a4 * (a1 + a9)
            + a**2 / (six * k_ag) * a2 * a7
            - bend * a2 * a8
            + 2 * twist * a3 * a6,
            -(3 * a**2 + 4 * b**2 + 3 * g**2) / 3 * r * a6
            + carry * a7 * (a1 + a9)
            + lift * a8 * (a1 + a9)
            + 10 * (a**2 - g**2) / (3 * six * k_ag) * a2 * a4
            - 4 * twist * a3 * a5,
            -(a**2 + b**2 + g**2) * r * a7
            - carry * a6 * (a1 + a9)
            + (g**2 - a**2) / (six * k_ag) * a2 * a5
            + twist * a3 * a4,
            -(a**2 + b**2 + g**2) * r * a8
            + 2 * bend * a2 * a5
            + g**2 * (3 * a**2 - b**2 + 3 * g**2) / product * a3 * a4,
            -9 * b**2 * r * a9 + shear * a2 * a3 - lift * a6 * a8,
        )
