"""A chain of unlike neurons: Chialvo and Rulkov maps in turn, wired to their neighbours both ways."""

from dataclasses import dataclass

import numpy as np

from envs.functions import exp
from envs.lattice import LatticeMap
from envs.system import Reference, TaskDefaults


@dataclass(frozen=True)
class ChialvoRulkovChain(LatticeMap):
    """Odd sites are Chialvo neurons, even sites Rulkov neurons; x is the membrane, y the slow recovery.

    Chialvo: x' = x^2 exp(y - x) + k + I + push,  y' = a y - b x + c.
    Rulkov:  x' = alpha / (1 + x^2) + y + I + push,  y' = y - mu (x - rest).
    I = sigma (x_{i-1} - x_i) + sigma (x_{i+1} - x_i), without the missing neighbour at an end.

    The task: hold the equilibrium of the chain, silent but for leaking currents, against the bursts.

    Source: the chain of I. Ghosh, A. S. Nair, H. O. Fatoyinbo, S. S. Muni, European Physical Journal Plus 139
    (2024), arXiv:2405.05675, after its summary: a bidirectionally coupled heterogeneous chain of these maps. Of
    their maps (D. R. Chialvo, Chaos, Solitons & Fractals 5, 461 (1995); N. F. Rulkov, Physical Review Letters
    86, 183 (2001)) the order along the chain, the currents by difference and the parameters are chosen here.
    """

    sites: int = 10
    a: float = 0.89
    b: float = 0.18
    c: float = 0.28
    k: float = 0.03
    alpha: float = 4.1
    mu: float = 0.001
    rest: float = -1.0
    sigma: float = 0.01

    components = ("x", "y")
    periodic = False
    least_sites = 2
    # fmt: off
    reference = Reference(
        (
            0.5170, 0.4293, 0.3246, 0.2160, 0.1213, -0.0251, -0.0375, -0.0451, -0.0528, -0.0610,
            -0.0767, -0.0866, -0.1094, -0.1550, -0.2238, -0.4532, -0.7925, -1.1643, -1.5704,
            -1.9289,
        ),
        stderr=(
            0.0021, 0.0027, 0.0006, 0.0026, 0.0022, 0.0003, 0.0002, 0.0003, 0.0003, 0.0004, 0.0002,
            0.0004, 0.0006, 0.0008, 0.0012, 0.0046, 0.0064, 0.0061, 0.0096, 0.0094,
        ),
        source="measured here: rl_lab.probes.lyapunov.spectrum over 400,000 iterations",
    )
    # fmt: on
    task = TaskDefaults(push=0.07, goal="hold the whole chain at rest")

    def profiles(self):
        site = np.arange(self.sites)
        return {
            "rulkov": site % 2.0,
            "before": 1.0 * (site > 0),
            "after": 1.0 * (site < self.sites - 1),
        }

    @property
    def start(self):
        x = [-1.0 if i % 2 else 0.1 + 0.01 * i for i in range(self.sites)]
        y = [-3.0 + 0.01 * i if i % 2 else 2.0 for i in range(self.sites)]
        return (*x, *y)

    def image(self, x, y, push, rulkov, before, after):
        current = self.sigma * (before[0] * (x[-1] - x[0]) + after[0] * (x[1] - x[0]))
        chialvo_x = x[0] ** 2 * exp(y[0] - x[0]) + self.k
        chialvo_y = self.a * y[0] - self.b * x[0] + self.c
        rulkov_x = self.alpha / (1 + x[0] ** 2) + y[0]
        rulkov_y = y[0] - self.mu * (x[0] - self.rest)
        r = rulkov[0]
        return (1 - r) * chialvo_x + r * rulkov_x + current + push, (1 - r) * chialvo_y + r * rulkov_y
