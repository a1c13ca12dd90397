"""Lorenz's flow: two lobes, and a fixed point in the eye of each."""

from dataclasses import dataclass
from math import isclose, nan, sqrt

import numpy as np

from envs.system import Flow, Reference, TaskDefaults

PRETURBULENCE = 13.926, 24.06
"""Between these rho chaos is a saddle that every orbit leaves for C+ or C- (at sigma 10 and beta 8/3)."""


@dataclass(frozen=True)
class Lorenz(Flow):
    """dx/dt = sigma (y - x),  dy/dt = x (rho - z) - y + push,  dz/dt = x y - beta z.

    The task: hold C+, the unstable focus in the eye of one lobe (growth 0.094 per time unit, 10.2 radians per
    time unit). The push is at most 10 where the flow itself moves y at 66 (root mean square), and a twelfth
    of a turn passes before it may change: enough to catch the orbit when it comes by, too little to fetch it.

    At 13.926 < rho < 24.06 chaos is only a transient: every orbit ends in C+ or C-.

    Source: E. N. Lorenz, Journal of the Atmospheric Sciences 20, 130 (1963); the transient: J. A. Yorke,
    E. D. Yorke, Journal of Statistical Physics 21, 263 (1979).
    """

    sigma: float = 10.0
    rho: float = 28.0
    beta: float = 8.0 / 3.0

    states = ("x", "y", "z")
    start = (1.0, 1.0, 20.0)
    dt = 0.01
    reference = Reference(
        (0.90581, 0.0, -14.57248),
        stderr=0.00026,
        source="RK4 and QR over 4e5 time units at dt 0.005; sprott.physics.wisc.edu: 0.906, 0, -14.572",
    )
    other_references = (
        Reference(
            (1.5010, 0.0, -22.501),
            stderr=0.0011,
            source="RK4 and QR; Wolf et al., Physica D 16, 285 (1985): 1.50, 0, -22.46",
            at={"sigma": 16.0, "rho": 45.92, "beta": 4.0},
        ),
    )
    task = TaskDefaults(push=10.0, control_interval=0.05, steps=200, reward_scale=20.0, goal="hold C+")

    @property
    def target(self):
        """C+ = (r, r, rho - 1) with r = sqrt(beta (rho - 1)); it exists for rho > 1."""
        r = sqrt(self.beta * (self.rho - 1)) if self.rho > 1 else nan
        return r, r, self.rho - 1

    @property
    def transient(self):
        """Known for the standard sigma and beta only."""
        low, high = PRETURBULENCE
        return self.sigma == 10 and isclose(self.beta, 8 / 3, rel_tol=1e-9) and low < self.rho < high

    def decayed(self, states):
        """Inside an ellipsoid around C+ or C- from which no orbit returns.

        With d the distance from C+ and A the Jacobian there, d' = A d + N(d) and |N(d)| <= |d|^2 / 2. Let P
        solve A'P + P A = -1: then V = d'P d falls wherever |P d| < 1, and so all over V <= 1 / (largest
        eigenvalue of P), which therefore nothing leaves. The ellipsoid of C- is its mirror image.
        """
        if not self.transient:
            return super().decayed(states)
        jacobian, identity = self.jacobian(np.array(self.target)), np.eye(3)
        both_sides = np.kron(jacobian.T, identity) + np.kron(identity, jacobian.T)
        form = np.linalg.solve(both_sides, -identity.ravel()).reshape(3, 3)
        side = np.where(states[0] < 0, -1.0, 1.0)
        mirrored = states * np.stack([side, side, np.ones_like(side)])
        away = mirrored - np.array(self.target)[:, None]
        return np.einsum("in,ij,jn->n", away, form, away) <= 1 / np.linalg.eigvalsh(form)[-1]

    def scatter(self, generator, count):
        """As wide as the attractor: some of the orbits come to the saddle wherever it is."""
        width = np.full((3, 1), max(self.rho, 1.0) / 3)
        return np.array([[0.0], [0.0], [self.rho - 1]]) + width * generator.normal(size=(3, count))

    def rate(self, x, y, z, push):
        return self.sigma * (y - x), x * (self.rho - z) - y + push, x * y - self.beta * z
