"""Covariant Lyapunov vectors: the directions that grow at each exponent, wherever the orbit is.

The frame of the QR method is orthogonal by construction and only its first vector is a direction of the flow.
Going back along the orbit through the stored triangles turns an arbitrary combination of its first j vectors
into the one direction that shrinks fastest backwards, which is the covariant vector j. Source: Ginelli et al.,
Physical Review Letters 99, 130601 (2007).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.system import Floats, System, vector
from rl_lab.probes.blocks import block_stderr
from rl_lab.probes.rates import Rates, unit_of
from rl_lab.probes.tangent import carry, orthonormal


@dataclass(frozen=True)
class CovariantVectors:
    """Unit vectors along a segment of an orbit; vector j of point n is carried onto vector j of point n + 1."""

    system: System
    every: int
    """Steps between points."""
    points: Floats
    """[n, D]."""
    vectors: Floats
    """[n, D, k]."""
    growth: Floats
    """Local rates [n, k]: of each vector on its way to the next point, per time unit or iteration."""
    blocks: int = 20

    @property
    def exponents(self) -> Rates:
        """Means of the local rates; over long segments the Lyapunov exponents."""
        length = len(self.growth) // self.blocks
        means = self.growth[: self.blocks * length].reshape(self.blocks, length, -1).mean(axis=1)
        return Rates(
            tuple(means.mean(axis=0).tolist()),
            tuple(block_stderr(means).tolist()),
            self.system.dt,
            unit_of(self.system),
        )

    def angles(self, first: int, second: int) -> Floats:
        """Angle in radians, 0 to pi / 2, between two of the directions (counted from 0) at each point, [n]."""
        cosine = np.abs(np.sum(self.vectors[:, :, first] * self.vectors[:, :, second], axis=1))
        return np.asarray(np.arccos(np.minimum(cosine, 1.0)))

    def document(self) -> dict[str, Any]:
        """Plain values for JSON: the summary, not the vectors."""
        count = self.vectors.shape[2]
        pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
        smallest = {f"{i + 1},{j + 1}": float(self.angles(i, j).min()) for i, j in pairs}
        return self.exponents.document() | {
            "points": len(self.points),
            "steps_between_points": self.every,
            "smallest_angle": smallest,
        }


def covariant(
    system: System,
    *,
    points: int = 2000,
    every: int | None = None,
    vectors: int | None = None,
    forward: int = 500,
    backward: int = 500,
    settle: int = 20_000,
    seed: int = 0,
) -> CovariantVectors:
    """Covariant vectors at `points` states, `every` steps apart, of the settled uncontrolled orbit.

    `forward` intervals before the first point turn the frame into place, `backward` ones after the last point
    turn the combination into place; both errors fall like exp(-(gap between neighbouring exponents) × time).
    ValueError if the orbit runs away.
    """
    count = vectors or len(system.states)
    if not 1 <= count <= len(system.states) or points < 20:
        raise ValueError(
            f"{system}: vectors must be 1 to {len(system.states)} and points at least 20, got {vectors}, {points}"
        )
    every = every or (1 if system.kind == "map" else 10)
    generator = np.random.default_rng(seed)
    state = system.orbit(vector(system.start), 1, settle)[0]
    frame = orthonormal(generator.normal(size=(len(state), count)))[0]
    state, frame, _ = system.stretch(state, frame, forward * every, every)
    if not np.isfinite(state).all():
        raise ValueError(f"{system}: the uncontrolled orbit from {system.start} runs away to infinity")
    states, frames, triangles = np.empty((points, len(state))), [], []
    for n in range(points + backward):
        if n < points:
            states[n] = state
            frames.append(frame)
        state, carried = carry(system, state, frame, every)
        frame, triangle = orthonormal(carried)
        triangles.append(triangle)
    mixture = np.triu(generator.normal(size=(count, count)))
    found, growth = np.empty((points, len(state), count)), np.empty((points, count))
    for n in reversed(range(points + backward)):
        mixture = np.linalg.solve(triangles[n], mixture / np.linalg.norm(mixture, axis=0))
        if n < points:
            lengths = np.linalg.norm(mixture, axis=0)
            growth[n] = -np.log(lengths) / (every * system.dt)
            found[n] = frames[n] @ (mixture / lengths)
    return CovariantVectors(system, every, states, found, growth)
