"""N copies of a task that move together: the part that the single and the vector environment share."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.goals import Interval
from envs.registry import nearest
from envs.system import Floats, vector
from envs.task import Task


class Lanes:
    """State [D, N], step counters and the control interval; knows nothing of episodes or seeds.

    A task whose kernel knows everything is stepped by one compiled call; every other one by the same sequence
    in numpy: push, carry, process noise, reward, observation, sensor noise, delay. Random numbers come from
    the lane's own generator, in this order and only where there is noise.
    """

    def __init__(self, task: Task, count: int) -> None:
        self.task = task
        self.count = count
        size = len(task.system.states)
        self.state = np.zeros((size, count))
        self.clock = np.zeros(count, dtype=np.int64)
        """Control intervals since the reset, per lane."""
        self.memory = np.zeros((task.aim.memory, count))
        """What the goal remembers, per lane."""
        self.dtype = np.dtype(task.dtype)
        self._width = task.system.n_pushes
        self._levelled = task.levels > 0
        self._compiled = task.compiled
        self._kernels = task.system.kernels if self._compiled else None
        self._columns = None if task.columns is None else list(task.columns)
        self._counts = task.substeps, task.steps
        self.constants = task.constants if self._compiled else np.empty(0)
        self._full: npt.NDArray[np.float64] = (
            np.empty((count, size + int(task.turning.sum()))) if self._compiled else np.empty(0)
        )
        self._noise = task.observation_noise
        self._high = task.observation_space().high.astype(np.float64)
        self._low = task.observation_space().low.astype(np.float64)
        self.late: npt.NDArray[np.float64] = np.zeros((task.observation_delay, count, len(self._high)))
        """Observations on their way, the oldest first."""
        self._starts = task.initial_states if task.start_box is None else np.empty((0, size))
        self._wanted = np.zeros((count, self._width))

    def __getstate__(self) -> dict[str, Any]:
        """Without the compiled module, which is found again."""
        return {**self.__dict__, "_kernels": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._kernels = self.task.system.kernels if self._compiled else None

    @property
    def push(self) -> Floats:
        """What was held in the last interval, [n_pushes, N]."""
        return np.array(self.task.bounds)[:, None] * np.clip(self._wanted, -1.0, 1.0).T

    def advance(
        self,
        action: Any,
        reward: Floats,
        over: np.ndarray[Any, Any],
        generators: Sequence[np.random.Generator],
    ) -> tuple[int, Floats]:
        """One control interval; fills reward [N] and over [2, N]; returns how many lanes are over and what is seen.

        Actions outside [-1, 1] are clipped; ValueError, with nothing moved, if one is not finite or no level.
        """
        wanted = self._pushes(action)
        if self._kernels is not None:
            done: int = self._kernels.interval(
                self.state, self.clock, wanted, self.constants, *self._counts, self._full, reward, over
            )
            if done < 0:
                raise ValueError(self._not_finite(-1 - done, wanted))
            self._wanted = wanted
            seen = self._full if self._columns is None else self._full[:, self._columns]
        else:
            if not np.isfinite(wanted).all():
                raise ValueError(self._not_finite(int(np.argmin(np.isfinite(wanted).all(axis=1))), wanted))
            done = self._interval(wanted, reward, over, generators)
            seen = self.task.observed(self.state, self.push)
        return done, self._perceived(seen, generators)

    def _interval(
        self,
        wanted: Floats,
        reward: Floats,
        over: np.ndarray[Any, Any],
        generators: Sequence[np.random.Generator],
    ) -> int:
        task, low_high = self.task, self.task.bounding_box
        self._wanted = wanted
        push = np.ascontiguousarray(self.push)
        before, alive = self.state.copy(), np.ones(self.count)
        task.system.carry(self.state, push, alive, task.substeps, *low_high)
        if task.process_noise:
            self._shake(alive, generators)
        self.clock += 1
        paid, ended = task.aim.reward(task, Interval(before, self.state, push, self.clock, self.memory))
        escaped = alive == 0.0
        reward[:] = np.where(
            escaped, -task.worst * (task.steps - self.clock + 1) - task.aim.forfeit(task), paid
        )
        over[0] = escaped if ended is None else escaped | ended
        over[1] = (self.clock >= task.steps) & ~over[0]
        return int(over.any(axis=0).sum())

    def _shake(self, alive: Floats, generators: Sequence[np.random.Generator]) -> None:
        """A random walk of one interval; a lane that it would throw out stays and is over."""
        task = self.task
        size = task.process_noise * task.ruler[1] * np.sqrt(task.control_interval)
        low, high = task.bounding_box
        for n, generator in enumerate(generators):
            moved = self.state[:, n] + size * generator.standard_normal(len(size))
            if not np.all((moved >= low) & (moved <= high)):
                alive[n] = 0.0
            if alive[n]:
                self.state[:, n] = moved

    def _perceived(self, seen: Floats, generators: Sequence[np.random.Generator]) -> Floats:
        """With noise, inside the box, and late: [N, O]."""
        seen = self._noisy(seen, generators)
        if not len(self.late):
            return seen
        arrived: Floats = self.late[0].copy()
        self.late[:-1] = self.late[1:]
        self.late[-1] = seen
        return arrived

    def _noisy(self, seen: Floats, generators: Sequence[np.random.Generator]) -> Floats:
        """Observations [n, O] with noise from the generator of each, inside the box."""
        if not self._noise:
            return seen
        noise = np.array([generator.standard_normal(seen.shape[1]) for generator in generators])
        return np.clip(seen + self._noise * noise, self._low, self._high)

    def observe(self, lanes: np.ndarray[Any, Any], generators: Sequence[np.random.Generator]) -> Floats:
        """First observations of lanes that were just placed, [len(lanes), O]: what arrives late starts as these."""
        state = np.ascontiguousarray(self.state[:, lanes])
        if self._kernels is not None:
            seen = np.empty((len(lanes), self._full.shape[1]))
            self._kernels.observe(state, self.constants, seen)
            seen = seen if self._columns is None else seen[:, self._columns]
        else:
            seen = self.task.observed(state, np.zeros((self._width, len(lanes))))
        seen = self._noisy(seen, [generators[n] for n in lanes.tolist()])
        self.late[:, lanes] = seen
        return seen

    def draw(self, generators: Sequence[np.random.Generator]) -> Floats:
        """An initial state per generator, [n, D]: a settled point by one uniform number, or one of the start box."""
        if self.task.start_box is not None:
            return np.array([generator.uniform(*self.task.start_box) for generator in generators])
        uniform = np.array([generator.random() for generator in generators])
        return np.asarray(self._starts[(uniform * len(self._starts)).astype(np.intp)])

    def place(self, lanes: np.ndarray[Any, Any], states: Floats) -> None:
        """Put some lanes at states [len(lanes), D] and start their clocks."""
        self.state[:, lanes] = states.T
        self.clock[lanes] = 0
        self.memory[:, lanes] = 0.0

    def extras(self) -> dict[str, Any]:
        """What the future depends on beside state, clock and generators, as plain values."""
        return {"memory": self.memory.tolist(), "late": self.late.tolist()}

    def set_extras(self, saved: dict[str, Any]) -> None:
        """Go back to what extras() returned."""
        self.memory[:] = np.reshape(saved["memory"], self.memory.shape)
        self.late[:] = np.reshape(saved["late"], self.late.shape)

    def _pushes(self, action: Any) -> Floats:
        """Actions as numbers in units of the bounds, [N, n_pushes]."""
        if self._levelled:
            return self._levels(action)
        pushes = np.ascontiguousarray(action, dtype=np.float64)
        if pushes.shape == (self.count, self._width):
            return pushes
        if pushes.size != self.count * self._width:
            want = f"{self._width} per lane" if self.count > 1 else f"{self._width}"
            raise ValueError(
                f"{self.task.id}: expected {want} push values, got an action of shape {pushes.shape}"
            )
        return pushes.reshape(self.count, self._width)

    def _levels(self, action: Any) -> Floats:
        chosen, levels = np.asarray(action), self.task.levels
        if chosen.size != self.count * self._width or chosen.dtype.kind not in "iu":
            raise ValueError(f"{self.task.id}: actions are whole numbers below {levels}, got {action!r}")
        if chosen.min() < 0 or chosen.max() >= levels:
            raise ValueError(
                f"{self.task.id}: actions are whole numbers from 0 to {levels - 1}, got {action!r}"
            )
        return (2.0 * chosen / (levels - 1) - 1.0).reshape(self.count, self._width)

    def _not_finite(self, lane: int, pushes: Floats) -> str:
        index = int(np.flatnonzero(~np.isfinite(pushes[lane]))[0])
        where = f"action {index}" if self.count == 1 else f"lane {lane}, action {index}"
        return (
            f"{self.task.id}: push must be finite and within ±{self.task.bounds[index]}, "
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
