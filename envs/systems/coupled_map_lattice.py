"""A ring of logistic maps that leak into their neighbours: chaos in space as well as in time."""

from dataclasses import dataclass
from math import sqrt

from envs.lattice import LatticeMap
from envs.system import Reference, TaskDefaults


@dataclass(frozen=True)
class CoupledMapLattice(LatticeMap):
    """x_i' = (1 - epsilon) g(x_i) + epsilon / 2 (g(x_{i-1}) + g(x_{i+1})) + push_i,  g(x) = 1 - a x^2, on a ring.

    The logistic form r x (1 - x) is the same lattice, stretched and shifted, at a = r (r - 2) / 4: r = 4 is a = 2.
    The task: hold the uniform fixed point x = (sqrt(1 + 4 a) - 1) / (2 a) with one push per site. A single map
    multiplies errors there by 1 - sqrt(1 + 4 a), a wave of length L by that times 1 - epsilon + epsilon cos(2 pi
    / L). At a = 1.9, epsilon = 0.4, another common choice, most orbits end in still patterns instead of chaos.

    Source: K. Kaneko, Progress of Theoretical Physics 72, 480 (1984).
    """

    sites: int = 20
    actuators: int = 20
    a: float = 2.0
    epsilon: float = 0.1

    least_sites = 3
    # fmt: off
    reference = Reference(
        (
            0.4469, 0.4419, 0.4363, 0.4307, 0.4251, 0.4193, 0.4132, 0.4064, 0.3995, 0.3916, 0.3840,
            0.3743, 0.3652, 0.3540, 0.3417, 0.3270, 0.3113, 0.2920, 0.2676, 0.2404,
        ),
        stderr=(
            0.0004, 0.0003, 0.0002, 0.0002, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003,
            0.0002, 0.0003, 0.0004, 0.0004, 0.0004, 0.0005, 0.0004, 0.0006, 0.0008,
        ),
        source="measured here: rl_lab.probes.lyapunov.spectrum over 200,000 iterations; another run: 0.4467(6)",
    )
    # fmt: on
    task = TaskDefaults(push=0.25, goal="hold every site at the fixed point")

    @property
    def start(self):
        return tuple(0.9 * (0.618 * (i + 1) ** 2 % 1) for i in range(self.sites))

    @property
    def target(self):
        return ((sqrt(1 + 4 * self.a) - 1) / (2 * self.a),) * self.sites

    def image(self, x, push):
        left, own, right = (1 - self.a * x[k] ** 2 for k in (-1, 0, 1))
        return ((1 - self.epsilon) * own + self.epsilon / 2 * (left + right) + push,)
