"""swing_up: from hanging at rest to standing upright."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from envs.goals import Goal, Interval
from envs.system import Floats, System, vector

if TYPE_CHECKING:
    from envs.task import Task


@dataclass(frozen=True)
class SwingUp(Goal):
    """reward = -distance to the upright state; episodes begin near hanging at rest.

    The start is uniform in a box of half-width 0.05 (radians, radians per time unit) around the system's
    hanging state. Distances as for `hold`.
    """

    name: ClassVar[str] = "swing_up"
    steers: ClassVar[bool] = True

    def unfit(self, system: System) -> str | None:
        """Only what can stand."""
        return None if system.upright else "it states no upright position"

    def target(self, system: System) -> Floats:
        """Upright, at rest."""
        return vector(system.upright)

    def start_box(self, system: System) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Around hanging."""
        hanging = vector(system.hanging)
        return tuple((hanging - 0.05).tolist()), tuple((hanging + 0.05).tolist())

    def reward(self, task: "Task", interval: Interval) -> tuple[Floats, npt.NDArray[np.bool_] | None]:
        """Minus the distance to upright."""
        return -task.distance(interval.after, task.target), None

    def worst(self, task: "Task") -> float:
        """At the farthest corner inside the bounds."""
        return -task.farthest(task.target)

    def phrase(self, task: "Task") -> str:
        """In two words."""
        return "swing up"

    def sentence(self, task: "Task") -> str:
        """In words."""
        return f"minus the distance to standing upright over {task.scale_text}"
