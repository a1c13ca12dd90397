"""Lorenz' model of a circle of latitude: waves that grow, break and pass their energy on, at any number of sites."""

from dataclasses import dataclass

from envs.lattice import LatticeFlow
from envs.system import Reference, TaskDefaults


@dataclass(frozen=True)
class Lorenz96(LatticeFlow):
    """dx_i/dt = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F + push_i,  i = 1 ... N on a ring.

    The quadratic terms move energy sum x^2 / 2 about without changing it, -x takes it out, F feeds it in.
    The task: hold the uniform state x = F, from which waves some five sites long grow fastest, with pushes at
    `actuators` evenly spaced sites.

    Source: E. N. Lorenz, Predictability: a problem partly solved, Proc. Seminar on Predictability, ECMWF (1996).
    """

    F: float = 8.0

    dt = 0.02
    least_sites = 4
    settle = 2500
    sample_every = 10
    # fmt: off
    reference = Reference(
        (
            1.6828, 1.4834, 1.3069, 1.1570, 1.0105, 0.8760, 0.7497, 0.6186, 0.4998, 0.3815, 0.2646,
            0.1461, 0.0344, 0.0003, -0.0808, -0.1989, -0.3194, -0.4317, -0.5528, -0.6668, -0.7767,
            -0.8838, -0.9968, -1.1121, -1.2301, -1.3445, -1.4724, -1.6161, -1.7601, -1.9273,
            -2.1199, -2.3286, -2.5699, -2.8825, -3.2466, -3.6682, -4.0647, -4.3867, -4.6548,
            -4.9192,
        ),
        stderr=(
            0.0069, 0.0050, 0.0052, 0.0035, 0.0043, 0.0037, 0.0028, 0.0034, 0.0042, 0.0034, 0.0028,
            0.0035, 0.0033, 0.0010, 0.0033, 0.0024, 0.0028, 0.0034, 0.0038, 0.0027, 0.0029, 0.0025,
            0.0033, 0.0026, 0.0027, 0.0037, 0.0037, 0.0044, 0.0043, 0.0030, 0.0044, 0.0054, 0.0062,
            0.0059, 0.0061, 0.0084, 0.0064, 0.0054, 0.0070, 0.0056,
        ),
        source="measured here: rl_lab.probes.lyapunov.spectrum over 12,000 time units; an independent code: "
        "1.692 ± 0.008, 13 positive",
    )
    other_references = (
        Reference(
            (1.1917, 0.7086, 0.0905, 0.0001, -0.4342, -0.8827, -1.3142, -1.9473, -2.8101, -4.6022),
            stderr=(0.0064, 0.0048, 0.0057, 0.0011, 0.0075, 0.0043, 0.0056, 0.0077, 0.0103, 0.0092),
            source="measured here: rl_lab.probes.lyapunov.spectrum over 20,000 time units",
            at={"sites": 10},
        ),
        Reference(
            (
                1.6691, 1.4542, 1.2726, 1.1079, 0.9467, 0.7906, 0.6661, 0.5297, 0.3893, 0.2469,
                0.1158, 0.0015, -0.0034, -0.1409, -0.2707, -0.3911, -0.5237, -0.6417, -0.7808,
                -0.9008, -1.0369, -1.1466, -1.2920, -1.4300, -1.5850, -1.7342, -1.9225, -2.1180,
                -2.3728, -2.6673, -2.9973, -3.4712, -3.9314, -4.3140, -4.6176, -4.9003,
            ),
            stderr=(
                0.0059, 0.0089, 0.0080, 0.0080, 0.0081, 0.0060, 0.0066, 0.0050, 0.0054, 0.0061,
                0.0077, 0.0016, 0.0052, 0.0065, 0.0062, 0.0086, 0.0071, 0.0062, 0.0062, 0.0069,
                0.0059, 0.0059, 0.0052, 0.0070, 0.0088, 0.0070, 0.0088, 0.0089, 0.0081, 0.0129,
                0.0131, 0.0132, 0.0132, 0.0108, 0.0119, 0.0134,
            ),
            source="measured here: rl_lab.probes.lyapunov.spectrum over 4,000 time units",
            at={"sites": 36},
        ),
        Reference(
            (0.4721, -0.0000, -0.5184, -1.3095, -3.6442),
            stderr=(0.0035, 0.0001, 0.0032, 0.0041, 0.0035),
            source="measured here: rl_lab.probes.lyapunov.spectrum over 50,000 time units",
            at={"sites": 5},
        ),
    )
    # fmt: on
    task = TaskDefaults(push=4.0, control_interval=0.06, goal="hold the uniform state")

    @property
    def start(self):
        return tuple(self.F + 0.01 * (i == 0) for i in range(self.sites))

    @property
    def target(self):
        return (self.F,) * self.sites

    def rate(self, x, push):
        return ((x[1] - x[-2]) * x[-1] - x[0] + self.F + push,)
