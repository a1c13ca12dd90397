"""N copies of a task that move together: the part that the single and the vector environment share."""

from typing import Any

import numpy as np

from envs.registry import nearest
from envs.system import Floats, vector
from envs.task import Task


class Lanes:
    """State [D, N], step counters and the compiled control interval; knows nothing of episodes or seeds."""

    def __init__(self, task: Task, count: int) -> None:
        self.task = task
        self.count = count
        self.state = np.zeros((len(task.system.states), count))
        self.clock = np.zeros(count, dtype=np.int64)
        """Control intervals since the reset, per lane."""
        self.constants = task.constants
        self.starts = task.initial_states
        self.seen = np.empty((count, len(task.observation_space().high)))
        self.dtype = np.dtype(task.dtype)
        kernels = task.system.kernels
        self._interval, self._observe = kernels.interval, kernels.observe
        self._substeps, self._steps = task.substeps, task.steps
        self._shape = (count, task.system.n_pushes)

    def advance(self, action: Any, reward: Floats, over: np.ndarray[Any, Any]) -> int:
        """One control interval; fills reward [N], over [2, N] and self.seen, returns how many lanes are over.

        Actions outside [-1, 1] are clipped; ValueError, with nothing moved, if one is not finite.
        """
        pushes = np.ascontiguousarray(action, dtype=np.float64)
        if pushes.shape != self._shape:
            pushes = self._reshaped(pushes)
        done: int = self._interval(
            self.state,
            self.clock,
            pushes,
            self.constants,
            self._substeps,
            self._steps,
            self.seen,
            reward,
            over,
        )
        if done < 0:
            raise ValueError(self._not_finite(-1 - done, pushes))
        return done

    def observe(self, lanes: np.ndarray[Any, Any]) -> Floats:
        """Observations of some lanes, [len(lanes), O]."""
        seen = np.empty((len(lanes), self.seen.shape[1]))
        self._observe(np.ascontiguousarray(self.state[:, lanes]), self.constants, seen)
        return seen

    def draw(self, generator: np.random.Generator) -> int:
        """Index of an initial state; one uniform number, as a whole batch of lanes may reset at once."""
        return int(generator.random() * len(self.starts))

    def place(self, lanes: np.ndarray[Any, Any], states: Floats) -> None:
        """Put some lanes at states [len(lanes), D] and start their clocks."""
        self.state[:, lanes] = states.T
        self.clock[lanes] = 0

    def _reshaped(self, pushes: Floats) -> Floats:
        if pushes.size != self._shape[0] * self._shape[1]:
            want = f"{self._shape[1]} per lane" if self.count > 1 else f"{self._shape[1]}"
            raise ValueError(
                f"{self.task.id}: expected {want} push values, got an action of shape {pushes.shape}"
            )
        return pushes.reshape(self._shape)

    def _not_finite(self, lane: int, pushes: Floats) -> str:
        index = int(np.flatnonzero(~np.isfinite(pushes[lane]))[0])
        where = f"action {index}" if self.count == 1 else f"lane {lane}, action {index}"
        return (
            f"{self.task.id}: push must be finite and within ±{self.task.push}, "
            f"got {pushes[lane, index]} at step {self.clock[lane]} ({where})"
        )


def state_option(task: Task, options: dict[str, Any] | None) -> Floats | None:
    """The start asked for by `reset(options={"state": [...]})`, [D], or None."""
    if not options:
        return None
    for name in options:
        if name not in ("state", "reset_mask"):
            raise ValueError(
                f"{task.id}: {name} is not an option of reset.{nearest(name, ['state', 'reset_mask'])}"
            )
    if "state" not in options:
        return None
    state = vector(options["state"])
    if state.shape != (len(task.system.states),) or not np.isfinite(state).all():
        names = ", ".join(task.system.states)
        raise ValueError(f"{task.id}: the option state must give finite ({names}), got {options['state']!r}")
    outside = task.off_centre(state) > task.escape
    if outside.any():
        name = task.system.states[int(np.argmax(outside))]
        raise ValueError(
            f"{task.id}: the option state puts {name} outside the escape bounds, got {options['state']!r}"
        )
    return state
