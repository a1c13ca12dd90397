"""Two Lorenz flows: a leader, and a follower that listens too little."""

from dataclasses import dataclass
from math import nan, sqrt

from envs.system import Flow, Reference, TaskDefaults


@dataclass(frozen=True)
class CoupledLorenz(Flow):
    """Leader: Lorenz's flow in (x1, y1, z1). Follower: the same in (x2, y2, z2), and k (y1 - y2) + push on dy2/dt.

    Half of the exponents are Lorenz's own; the other half, the follower's, say what becomes of a small difference
    between the two. The largest of them is negative for k > 2.6: then the follower falls into step by itself. At
    the default k = 1 it does not. The task: synchronise the two with a push of at most 10 on the follower;
    feedback 5 (y1 - y2) inside this bound does it in nine of ten episodes.

    Source: L. M. Pecora and T. L. Carroll, Physical Review Letters 64, 821 (1990).
    """

    sigma: float = 10.0
    rho: float = 28.0
    beta: float = 8.0 / 3.0
    k: float = 1.0

    states = ("x1", "y1", "z1", "x2", "y2", "z2")
    pairs = (("x1", "x2"), ("y1", "y2"), ("z1", "z2"))
    start = (1.0, 1.0, 20.0, -5.0, 2.0, 30.0)
    dt = 0.01
    reference = Reference(
        (0.9058, 0.2257, 0.0, -0.1508, -14.5723, -14.7415),
        stderr=(0.0003, 0.0032, 0.0001, 0.0010, 0.0003, 0.0036),
        source="RK4 and QR over 2e5 time units",
    )
    task = TaskDefaults(
        push=10.0, control_interval=0.05, reward_scale=20.0, aim="synchronise", goal="follow the leader"
    )

    @property
    def target(self):
        """Both at C+ = (r, r, rho - 1) with r = sqrt(beta (rho - 1)); it exists for rho > 1."""
        r = sqrt(self.beta * (self.rho - 1)) if self.rho > 1 else nan
        return (r, r, self.rho - 1) * 2

    def rate(self, x1, y1, z1, x2, y2, z2, push):
        heard = self.k * (y1 - y2) + push
        dx1, dy1, dz1 = self._lorenz(x1, y1, z1)
        dx2, dy2, dz2 = self._lorenz(x2, y2, z2)
        return dx1, dy1, dz1, dx2, dy2 + heard, dz2

    def _lorenz(self, x, y, z):
        return self.sigma * (y - x), x * (self.rho - z) - y, x * y - self.beta * z
