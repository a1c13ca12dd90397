"""A hub and a ring of Chialvo neurons, coupled in pairs and in threes."""

from dataclasses import dataclass

import numpy as np

from envs.functions import exp
from envs.lattice import LatticeMap, total
from envs.system import Reference, TaskDefaults


@dataclass(frozen=True)
class RingStarChialvo(LatticeMap):
    """x_i' = x_i^2 exp(y_i - x_i) + k + I_i + push_i,  y_i' = a y_i - b x_i + c; site 1 is the hub.

    I_i = sum over wires w (x_j - x_i) + higher * sum over triangles (x_j + x_l - 2 x_i), where w is `mu` between
    hub and ring and `sigma` around the ring, and the triangles are all triples of mutually wired neurons: the
    hub with two neighbours on the ring and, in a ring of three, the ring itself. Four sites are the smallest
    network of its kind, in which everyone is wired to everyone.

    The task: hold the equilibrium at which all neurons rest half-way to firing, with pushes on the hub
    and one neuron of the ring.

    Source: A. S. Nair, I. Ghosh, H. O. Fatoyinbo, S. S. Muni, Chaos 34 (2024), arXiv:2405.06000, after its
    summary: a ring-star of one hub and three neurons, linear diffusive couplings of pairs and of higher order.
    Larger rings, the names of the couplings and the parameters are chosen here.
    """

    sites: int = 4
    actuators: int = 2
    a: float = 0.89
    b: float = 0.18
    c: float = 0.28
    k: float = 0.03
    mu: float = 0.01
    sigma: float = 0.01
    higher: float = 0.005

    components = ("x", "y")
    least_sites = 4
    reference = Reference(
        (0.0384, 0.0142, 0.0039, -0.0007, -0.0564, -0.0936, -0.1284, -0.1432),
        stderr=(0.0002, 0.0002, 0.0001, 0.0001, 0.0006, 0.0007, 0.0005, 0.0005),
        source="measured here: rl_lab.probes.lyapunov.spectrum over 2,000,000 iterations",
    )
    task = TaskDefaults(push=0.04, goal="hold the whole network at rest")

    def profiles(self):
        site = np.arange(self.sites)
        return {
            "hub": 1.0 * (site == 0),
            "first": 1.0 * (site == 1),
            "last": 1.0 * (site == self.sites - 1),
            "around": np.full(self.sites, 2.0 if self.sites == 4 else 1.0),
        }

    @property
    def start(self):
        return (*(0.1 + 0.3 * i % 1 for i in range(self.sites)), *(1.5 + 0.1 * i for i in range(self.sites)))

    def image(self, x, y, push, hub, first, last, around):
        centre, everyone = total(hub[0] * x[0]), total(x[0])
        spokes = everyone - self.sites * x[0]
        left = (1 - first[0]) * x[-1] + first[0] * x[-2]
        right = (1 - last[0]) * x[1] + last[0] * x[2]
        ring, spoke = left + right - 2 * x[0], centre - x[0]
        at_hub = (self.mu + 2 * self.higher) * spokes
        on_ring = (self.mu + 2 * self.higher) * spoke + (self.sigma + self.higher * around[0]) * ring
        current = hub[0] * at_hub + (1 - hub[0]) * on_ring
        fired = x[0] ** 2 * exp(y[0] - x[0]) + self.k
        return fired + current + push, self.a * y[0] - self.b * x[0] + self.c
