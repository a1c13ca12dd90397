"""hold: stay at an unstable equilibrium."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from envs import derive
from envs.goals import Goal, Interval, added
from envs.system import Floats, System, vector

if TYPE_CHECKING:
    from envs.task import Task


@dataclass(frozen=True)
class Hold(Goal):
    """reward = -(distance to the target)^power - action_cost |action|^power, the action in units of its bound.

    The distance counts each state in units of `reward_scale`, angles by chord. With a `ball`, the episode ends
    well where the distance, in the unit of the states, falls below it.
    """

    target_state: str | tuple[float, ...] | None = None
    """Where: a state, the name of one of the system's equilibria, or None for the system's own target."""
    power: int = 1
    """1: the distance; 2: its square."""
    action_cost: float = 0.0
    """Price of a push at its bound."""
    ball: float = 0.0
    """Distance at which the goal counts as reached for good; 0: never."""

    name: ClassVar[str] = "hold"
    steers: ClassVar[bool] = True

    @property
    def compiled(self) -> bool:  # type: ignore[override]
        """The kernels know the plain distance."""
        return self.power == 1 and self.action_cost == 0 and self.ball == 0

    def check(self) -> None:
        """Signs and whole numbers."""
        if self.power not in (1, 2):
            raise ValueError(f"power must be 1 or 2, got {self.power!r}")
        for name in ("action_cost", "ball"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < np.inf:
                raise ValueError(f"{name} must be a number, at least 0, got {value!r}")

    def target(self, system: System) -> Floats:
        """The state to hold."""
        wanted: Any = self.target_state
        if wanted is None:
            return derive.target(system)
        if isinstance(wanted, str):
            if wanted not in system.equilibria:
                there = ", ".join(system.equilibria) or "none"
                raise ValueError(f"{wanted} is no equilibrium with a name (there are: {there})")
            wanted = system.equilibria[wanted]
        if not isinstance(wanted, Sequence | np.ndarray) or len(wanted) != len(system.states):
            raise ValueError(f"target_state must give {len(system.states)} numbers, got {wanted!r}")
        found = vector(wanted)
        if not np.isfinite(found).all():
            raise ValueError(f"target_state must be finite, got {wanted!r}")
        return found

    def reward(self, task: "Task", interval: Interval) -> tuple[Floats, npt.NDArray[np.bool_] | None]:
        """Minus the price of the distance and of the push."""
        price = task.distance(interval.after, task.target) ** self.power
        if self.action_cost:
            relative = interval.push / np.array(task.bounds)[:, None]
            price = price + self.action_cost * np.sqrt(added(relative**2)) ** self.power
        if not self.ball:
            return -price, None
        away = task.shortened(interval.after - task.target[:, None])
        apart = np.sqrt(added(np.where(task.weights[:, None] > 0, away, 0.0) ** 2))
        return -price, apart < self.ball

    def worst(self, task: "Task") -> float:
        """At the farthest corner inside the bounds, with every push at its own."""
        farthest = task.farthest(task.target) ** self.power
        return -farthest - self.action_cost * float(np.sqrt(task.system.n_pushes)) ** self.power

    def phrase(self, task: "Task") -> str:
        """The target, by name or value."""
        if isinstance(self.target_state, str):
            return f"hold {self.target_state}"
        if self.target_state is None and task.system.task.goal:
            return task.system.task.goal
        point = ", ".join(f"{value:.4g}" for value in task.target[:4])
        return f"hold the fixed point ({point}{', ...' if len(task.target) > 4 else ''})"

    def sentence(self, task: "Task") -> str:
        """In words."""
        squared = "the square of " if self.power == 2 else ""
        cost = (
            f", minus {self.action_cost:g} times {squared}the push in units of its bound"
            if self.action_cost
            else ""
        )
        ball = f"; within {self.ball:g} of the target the episode ends" if self.ball else ""
        return f"minus {squared}the distance to the target over {task.scale_text}{cost}{ball}"
