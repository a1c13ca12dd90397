"""The double pendulum: chaos that lasts as long as its energy."""

from dataclasses import dataclass
from math import pi, radians

from envs.functions import cos, sin
from envs.system import Flow, Reference, TaskDefaults


@dataclass(frozen=True)
class DoublePendulum(Flow):
    """Two point masses on massless rods; angles from hanging, `push` is the torque (N m) on the upper rod.

    Lagrange's equations, with d = theta1 - theta2:
    (m1 + m2) l1 alpha1 + m2 l2 alpha2 cos d = push / l1 - m2 l2 omega2^2 sin d - (m1 + m2) g sin theta1,
    l1 alpha1 cos d + l2 alpha2 = l1 omega1^2 sin d - g sin theta2.

    The task: suppress chaos. The torque has to take 29.4 J out of a pendulum released with both rods level
    and bring it to rest; 5 N m is a quarter of the 19.6 N m at which gravity can pull on the upper rod, so it
    can brake but not hold. The free pendulum keeps its energy and its exponents depend on it: it is released
    at rest at (release1, release2), which are not in the equations. RK4 with dt = 0.005 loses 2e-6 J per second
    from (90, 90) degrees.

    Source: L. D. Landau and E. M. Lifshitz, Mechanics, section 5, problem 1 (the Lagrangian).
    """

    m1: float = 1.0
    m2: float = 1.0
    l1: float = 1.0
    l2: float = 1.0
    g: float = 9.81
    release1: float = pi / 2
    release2: float = pi / 2

    states = ("theta1", "theta2", "omega1", "omega2")
    angles = ("theta1", "theta2")
    hamiltonian = True
    hanging = (0.0, 0.0, 0.0, 0.0)
    upright = (pi, pi, 0.0, 0.0)
    dt = 0.005
    reference = Reference(
        (0.911, 0.0, 0.0, -0.911), stderr=0.015, source="RK4 and QR over 5e3 s from rest at (90, 90) degrees"
    )
    other_references = (
        Reference(
            (1.428, 0.0, 0.0, -1.428),
            stderr=0.009,
            source="RK4 and QR over 5e3 s from rest at (120, 120) degrees",
            at={"release1": radians(120), "release2": radians(120)},
        ),
        Reference(
            (1.020, 0.0, 0.0, -1.020),
            stderr=0.020,
            source="RK4 and QR over 5e3 s from rest at (180, 179.4) degrees",
            at={"release1": pi, "release2": radians(179.4)},
        ),
    )
    # Distance 3 costs 1, velocities count by the pendulum's own sqrt(g / l) = 3.1 per second.
    task = TaskDefaults(
        push=5.0,
        control_interval=0.05,
        steps=200,
        reward_scale=(3.0, 3.0, 9.0, 9.0),
        goal="come to rest hanging",
    )
    target = hanging

    @property
    def start(self):
        """At rest at the release angles."""
        return self.release1, self.release2, 0.0, 0.0

    def rate(self, theta1, theta2, omega1, omega2, push):
        m1, m2, l1, l2, g = self.m1, self.m2, self.l1, self.l2, self.g
        c, s = cos(theta1 - theta2), sin(theta1 - theta2)
        first = push / l1 - m2 * l2 * omega2**2 * s - (m1 + m2) * g * sin(theta1)
        second = l1 * omega1**2 * s - g * sin(theta2)
        alpha1 = (first - m2 * c * second) / (l1 * (m1 + m2 * s**2))
        alpha2 = (second - l1 * c * alpha1) / l2
        return omega1, omega2, alpha1, alpha2
