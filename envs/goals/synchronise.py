"""synchronise: make a follower do what its leader does."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from envs.goals import Goal, Interval
from envs.system import Floats, System

if TYPE_CHECKING:
    from envs.task import Task


@dataclass(frozen=True)
class Synchronise(Goal):
    """reward = -|follower - leader|, over the pairs of states that the system names, in units of reward_scale.

    The leader goes on being chaotic: what is controlled is the difference.
    """

    name: ClassVar[str] = "synchronise"

    def unfit(self, system: System) -> str | None:
        """Only what has a leader and a follower."""
        return None if system.pairs else "it has no leader and follower"

    def away(self, system: System, points: Floats) -> Floats:
        """Follower minus leader."""
        leader, follower = self._rows(system)
        return points[follower] - points[leader]

    def reward(self, task: "Task", interval: Interval) -> tuple[Floats, npt.NDArray[np.bool_] | None]:
        """Minus the distance of the two."""
        leader, follower = self._rows(task.system)
        difference = np.zeros_like(interval.after)
        difference[follower] = interval.after[follower] - interval.after[leader]
        return -task.length(difference), None

    def worst(self, task: "Task") -> float:
        """Leader and follower at opposite bounds."""
        leader, follower = self._rows(task.system)
        low, high = task.bounding_box
        widest = np.zeros(len(low))
        widest[follower] = np.maximum(high[follower] - low[leader], high[leader] - low[follower])
        return -float(task.length(widest[:, None])[0])

    def phrase(self, task: "Task") -> str:
        """In one phrase."""
        return "synchronise the follower with the leader"

    def sentence(self, task: "Task") -> str:
        """In words."""
        return f"minus the distance between follower and leader over {task.scale_text}"

    def _rows(self, system: System) -> tuple[list[int], list[int]]:
        leaders, followers = zip(*system.pairs, strict=True)
        return [system.states.index(n) for n in leaders], [system.states.index(n) for n in followers]
