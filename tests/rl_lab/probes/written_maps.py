"""Maps written in numpy for these tests: their answers are known in closed form, and nothing is generated."""

from dataclasses import dataclass, field

import numpy as np

from envs.system import Map


@dataclass(frozen=True)
class Written(Map):
    """A map of states [D, N] with its derivative at one state [D, D]."""

    states = ("x", "y")
    start = (0.1, 0.2)

    def move(self, states):
        raise NotImplementedError

    def slope(self, state):
        raise NotImplementedError

    def jacobian(self, state, push=0.0):
        return self.slope(np.asarray(state))

    def step(self, state, push=0.0):
        return self.move(np.asarray(state, dtype=float)[:, None])[:, 0]

    def advance(self, states, push, steps=1):
        for _ in range(steps):
            states = self.move(states)
        return states

    def orbit(self, state, samples, every=1):
        points = []
        for _ in range(samples):
            for _ in range(every):
                state = self.step(state)
            points.append(state)
        return np.array(points)

    def stretch(self, state, frame, steps, qr_every=1):
        growth = np.zeros(frame.shape[1])
        for n in range(steps):
            frame = self.slope(state) @ frame
            state = self.step(state)
            if (n + 1) % qr_every == 0 or n + 1 == steps:
                frame, triangle = np.linalg.qr(frame)
                sign = np.sign(np.diag(triangle))
                frame, growth = frame * sign, growth + np.log(np.abs(np.diag(triangle)))
        return state, frame, growth


@dataclass(frozen=True)
class Torus(Written):
    """x' = matrix x modulo 1: exponents are the logarithms of the moduli of the eigenvalues."""

    matrix: tuple = ((2, 1), (1, 1))

    def move(self, states):
        return np.array(self.matrix) @ states % 1.0

    def slope(self, state):
        return np.array(self.matrix, dtype=float)


@dataclass(frozen=True)
class Linear(Torus):
    """x' = matrix x, without the modulus."""

    matrix: tuple = ((1.1, 0.0), (0.0, 0.8))
    start = (1e-3, 1e-3)

    def move(self, states):
        return np.array(self.matrix) @ states


@dataclass(frozen=True)
class LeakyTent(Written):
    """Slopes `left` and `right` from 0 and from 1 up to 1; what lands above 1 has left for good.

    Of each interval of survivors shares 1/left and 1/right survive: escape rate -log(1/left + 1/right), and the
    survivors' exponent is the mean of log slope with these weights.
    """

    left: float = 3.0
    right: float = 6.0
    states = ("x",)
    start = (0.4,)
    transient = True

    @property
    def shares(self):
        return np.array([1 / self.left, 1 / self.right])

    def move(self, states):
        rising = states < self.left**-1 + (1 - self.left**-1 - self.right**-1) / 2
        moved = np.where(rising, self.left * states, self.right * (1 - states))
        return np.where(np.abs(moved) > 1e6, 1e6, moved)

    def slope(self, state):
        return np.array([[self.left if state[0] < 0.5 else -self.right]])

    def decayed(self, states):
        return (states[0] < 0) | (states[0] > 1)

    def scatter(self, generator, count):
        return generator.uniform(size=(1, count))


@dataclass(frozen=True)
class Ikeda(Written):
    """z' = 1 + u z exp(i (0.4 - 6 / (1 + |z|^2))). Source: K. Ikeda, Optics Communications 30, 257 (1979)."""

    u: float = 0.9
    start = (0.1, 0.1)
    wide: float = field(default=1.0)

    def move(self, states):
        z = states[0] + 1j * states[1]
        z = 1 + self.u * z * np.exp(1j * (0.4 - 6 / (1 + np.abs(z) ** 2)))
        return np.array([z.real, z.imag])

    def slope(self, state):
        x, y = state
        turn = 0.4 - 6 / (1 + x * x + y * y)
        c, s = self.u * np.cos(turn), self.u * np.sin(turn)
        by_turn = np.array([-s * x - c * y, c * x - s * y])
        by_state = 12 * state / (1 + x * x + y * y) ** 2
        return np.array([[c, -s], [s, c]]) + np.outer(by_turn, by_state)

    def scatter(self, generator, count):
        return self.wide * generator.normal(size=(2, count))


@dataclass(frozen=True)
class Tent(Written):
    """x' = 2 min(x, 1 - x): exactly ln 2, and in binary numbers exactly 0 after 53 iterations."""

    states = ("x",)
    start = (0.3141592653589793,)

    def move(self, states):
        return 2 * np.minimum(states, 1 - states)

    def slope(self, state):
        return np.array([[2.0 if state[0] < 0.5 else -2.0]])
