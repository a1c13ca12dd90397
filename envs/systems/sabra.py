"""Shell models of turbulence: energy handed from large scales to small ones, one complex number per octave."""

from dataclasses import dataclass

import numpy as np

from envs.lattice import LatticeFlow
from envs.system import Reference, TaskDefaults


@dataclass(frozen=True)
class Sabra(LatticeFlow):
    """du_n/dt = i N_n - nu k_n^2 u_n + f_n + push_n,  k_n = k0 2^n, f_n = (1 + i) f on shell 1 only,

    N_n = k_{n+1} u_{n+2} u*_{n+1} - e k_n u_{n+1} u*_{n-1} + (1 - e) k_{n-1} u_{n-1} u_{n-2},
    u_n = x_n + i y_n and u_n = 0 outside n = 1 ... N. With `goy` the older model, same energy, other phases:
    N_n = (k_n u_{n+1} u_{n+2} - e k_{n-1} u_{n-1} u_{n+1} - (1 - e) k_{n-2} u_{n-1} u_{n-2})*.

    N_n keeps the energy sum |u_n|^2; what f puts in at the largest scale, viscosity takes out at the smallest.
    The divergence is constant, so the exponents sum to -2 nu sum k_n^2. The task: hold an equilibrium with a
    steady cascade, with pushes on the real parts of `actuators` shells. It is a ring of equilibria, as turning
    shell 2 by any angle and the others along is a symmetry; the one with phase pi / 2 of shell 2 is meant.

    Source: V. S. L'vov, E. Podivilov, A. Pomyalov, I. Procaccia, D. Vandembroucq, Physical Review E 58, 1811
    (1998); for `goy` M. Yamada, K. Ohkitani, Journal of the Physical Society of Japan 56, 4210 (1987).
    """

    sites: int = 15
    goy: bool = False
    nu: float = 1e-4
    e: float = 0.5
    k0: float = 0.0625
    f: float = 5e-3

    components = ("x", "y")
    periodic = False
    dt = 5e-4
    least_sites = 3
    # fmt: off
    reference = Reference(
        (
            0.1338, 0.0799, 0.0482, 0.0311, 0.0107, 0.0041, 0.0004, -0.0020, -0.0077, -0.0154,
            -0.0282, -0.0377, -0.0532, -0.0814, -0.1061, -0.1515, -0.2334, -0.3138, -0.4794,
            -0.6804, -1.3053, -1.5843, -6.1017, -6.2216, -26.3191, -26.3267, -104.9316, -104.9316,
            -419.4306, -419.4306,
        ),
        stderr=(
            0.0084, 0.0052, 0.0047, 0.0037, 0.0026, 0.0020, 0.0015, 0.0027, 0.0017, 0.0023, 0.0025,
            0.0027, 0.0035, 0.0044, 0.0030, 0.0044, 0.0089, 0.0072, 0.0100, 0.0204, 0.0167, 0.0193,
            0.0365, 0.0272, 0.0141, 0.0138, 0.0044, 0.0044, 0.0009, 0.0009,
        ),
        source="measured here: rl_lab.probes.lyapunov.spectrum over 2,000 time units",
    )
    # fmt: on
    task = TaskDefaults(push=0.0008, control_interval=0.22, goal="hold a steady cascade")

    def profiles(self):
        shells = np.arange(1, self.sites + 1)
        return {"k": self.k0 * 2.0**shells, "force": self.f * (shells == 1)}

    @property
    def start(self):
        phases = np.arange(self.sites) ** 2.0
        size = 0.1 * 2.0 ** (-np.arange(self.sites) / 3)
        return (*(size * np.cos(phases)), *(size * np.sin(phases)))

    @property
    def target(self):
        """Newton's method along the phases that force and interaction agree on: u_n = v_n exp(i phase_n)."""
        phases = [np.pi / 4, np.pi / 2]
        while len(phases) < self.sites:
            both = phases[-1] + phases[-2]
            phases.append(np.pi / 2 - both if self.goy else both - np.pi / 2)
        turn = np.vstack([np.diag(np.cos(phases)), np.diag(np.sin(phases))])
        k = self.profiles()["k"]
        sizes = 0.1 * k ** (-1 / 3) * np.exp(-k / (0.3 * k[-1]))
        for _ in range(100):
            state = turn @ sizes
            change = np.linalg.solve(turn.T @ self.jacobian(state) @ turn, turn.T @ self.law_at(state))
            sizes = sizes - change
            if np.abs(change).max() < 1e-14:
                return tuple(turn @ sizes)
        return (np.nan,) * len(self.states)

    def rate(self, x, y, push, k, force):
        def u(n):
            return x[n], y[n]

        if self.goy:
            a = times(u(1), u(2))
            b = times(u(-1), u(1))
            c = times(u(-1), u(-2))
            re, im = (
                k[0] * p - self.e / 2 * k[0] * q - (1 - self.e) / 4 * k[0] * r
                for p, q, r in zip(a, b, c, strict=True)
            )
            im = -im
        else:
            a = times(u(2), conjugate(u(1)))
            b = times(u(1), conjugate(u(-1)))
            c = times(u(-1), u(-2))
            re, im = (
                2 * k[0] * p - self.e * k[0] * q + (1 - self.e) / 2 * k[0] * r
                for p, q, r in zip(a, b, c, strict=True)
            )
        loss = self.nu * k[0] ** 2
        return -im - loss * x[0] + force[0] + push, re - loss * y[0] + force[0]


def times(a, b):
    """Product of complex numbers (real, imaginary)."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def conjugate(a):
    """Complex conjugate."""
    return a[0], -a[1]
