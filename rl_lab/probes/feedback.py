"""The plainest controller there is, to show that a task can be done: linear feedback of the full state.

It knows the equations and sees everything, and so is no rival of an agent's. Its gain is the discrete
linear-quadratic regulator of one control interval at the target: the linearisation is taken by central
differences of the very step the task makes. Source of the regulator: Kalman, Boletin de la Sociedad Matematica
Mexicana 5, 102 (1960).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, solve_discrete_are

from envs.system import Floats
from envs.task import Task

LARGEST = 512
"""States up to which a Riccati equation is solved in seconds."""


@dataclass(frozen=True)
class Feedback:
    """push = clip(-gain (state - target), ±bound), or nothing while that exceeds `patience` bounds.

    `patience` 1 is the rule of Ott, Grebogi and Yorke (Physical Review Letters 64, 1196, 1990): wait until the
    orbit comes by itself to where the push is enough. Infinity pushes always.
    """

    task: Task
    target: Floats
    gain: Floats
    patience: float

    def __call__(self, states: Floats) -> Floats:
        """Pushes for N states, [D, N] -> [n_pushes, N]."""
        bound = np.array(self.task.bounds)[:, None]
        wanted = -self.gain @ self.task.shortened(states - self.target[:, None])
        near = np.all(np.abs(wanted) <= self.patience * bound, axis=0)
        return np.asarray(np.where(near, np.clip(wanted, -bound, bound), 0.0))

    @property
    def radius(self) -> float:
        """Spectral radius of the closed loop at the target: below 1 it holds what it has caught."""
        growth, effect = linearised(self.task, self.target)
        return float(np.max(np.abs(np.linalg.eigvals(growth - effect @ self.gain))))


@dataclass(frozen=True)
class Episodes:
    """What became of N initial states: `states` [steps + 1, D, N], `lost` [steps + 1, N] after an escape."""

    states: Floats
    lost: npt.NDArray[np.bool_]


def regulator(task: Task, patience: float = np.inf) -> Feedback:
    """The gain at which a tenth of the attractor's half-range is worth a push at its bound.

    ValueError, in one sentence, where linear feedback of the state cannot do the task.
    """
    target = fixed_point(task)
    growth, effect = linearised(task, target)
    error, price = np.diag((0.1 * task.ruler[1]) ** -2.0), np.diag(np.array(task.bounds) ** -2.0)
    try:
        cost = solve_discrete_are(growth, effect, error, price)
    except (LinAlgError, ValueError) as unsolved:
        raise ValueError("the pushes do not reach every unstable direction at the target") from unsolved
    gain = np.linalg.solve(price + effect.T @ cost @ effect, effect.T @ cost @ growth)
    return Feedback(task, target, np.asarray(gain), patience)


def fixed_point(task: Task) -> Floats:
    """The target, if it is one state [D] that the uncontrolled system keeps; else ValueError."""
    if not task.aim.steers:
        raise ValueError(f"the goal {task.aim.name} is no state to hold")
    target = task.target
    if len(target) > LARGEST:
        raise ValueError(f"{len(target)} states are too many to linearise (at most {LARGEST})")
    moved = task.system.advance(target[:, None], np.zeros((task.system.n_pushes, 1)), task.substeps)
    off = np.abs(task.shortened(moved - target[:, None])[:, 0]) / task.ruler[1]
    if not np.all(off <= 1e-4):
        raise ValueError("the target is no fixed point of the uncontrolled system")
    return target


def linearised(task: Task, target: Floats) -> tuple[Floats, Floats]:
    """Derivatives of one control interval by state [D, D] and push [D, n_pushes] at the target.

    Central differences: the error is of second order in steps of 1e-5 half-ranges and bounds.
    """
    count, acting = len(target), task.system.n_pushes
    steps = 1e-5 * np.concatenate([task.ruler[1], task.bounds])
    moves = np.concatenate([np.diag(steps), -np.diag(steps)], axis=1)
    ends = task.system.advance(target[:, None] + moves[:count], moves[count:], task.substeps)
    slopes = task.shortened(ends[:, : count + acting] - ends[:, count + acting :]) / (2 * steps)
    return slopes[:, :count], slopes[:, count:]


def episodes(task: Task, starts: Floats, law: Feedback | None, steps: int | None = None) -> Episodes:
    """One episode from each start [N, D], all at once; without a law nothing pushes."""
    length = steps or task.steps
    now = np.ascontiguousarray(starts.T)
    still = np.zeros((task.system.n_pushes, now.shape[1]))
    states = np.empty((length + 1, *now.shape))
    lost = np.zeros((length + 1, now.shape[1]), dtype=np.bool_)
    states[0] = now
    for n in range(1, length + 1):
        moved = task.system.advance(now, still if law is None else law(now), task.substeps)
        outside = ~np.isfinite(moved).all(axis=0) | (task.off_centre(moved.T) > task.escape).any(axis=1)
        lost[n] = lost[n - 1] | outside
        now = np.where(lost[n], now, moved)
        states[n] = now
    return Episodes(states, lost)


def distance(task: Task, states: Floats, target: Floats) -> Floats:
    """Euclidean distance [..., N] of states [..., D, N] from the target [D], in half-ranges, angles by chord."""
    apart = (states - target[:, None]) / task.ruler[1][:, None]
    turning = task.turning[:, None]
    return np.asarray(np.linalg.norm(np.where(turning, 2 * np.sin(apart / 2), apart), axis=-2))
