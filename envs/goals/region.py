"""region: stay where a state is between two bounds."""

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from envs.goals import Goal, Interval
from envs.system import Floats, System

if TYPE_CHECKING:
    from envs.task import Task


@dataclass(frozen=True)
class Region(Goal):
    """reward = 1 where low < state < high at the end of an interval, else `outside`.

    Source: Beintema, Corbetta, Biferale, Toschi, Journal of Turbulence 21, 585 (2020), for the Lorenz flow
    with x < 0.
    """

    state: str = ""
    """Which state; empty: the first."""
    low: float = -inf
    """Lower bound."""
    high: float = 0.0
    """Upper bound."""
    outside: float = 0.0
    """Reward outside."""

    name: ClassVar[str] = "region"

    def unfit(self, system: System) -> str | None:
        """The state must exist."""
        return None if not self.state or self.state in system.states else f"it has no state {self.state!r}"

    def check(self) -> None:
        """An open interval, and a price below the prize."""
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low!r} and {self.high!r}")
        if not -inf < self.outside < 1:
            raise ValueError(f"outside must be below 1, got {self.outside!r}")

    def reward(self, task: "Task", interval: Interval) -> tuple[Floats, npt.NDArray[np.bool_] | None]:
        """1 inside, `outside` elsewhere."""
        value = interval.after[task.system.states.index(self._name(task))]
        return np.where((value > self.low) & (value < self.high), 1.0, self.outside), None

    def best(self, task: "Task") -> float:
        """Inside."""
        return 1.0

    def worst(self, task: "Task") -> float:
        """Outside."""
        return self.outside

    def phrase(self, task: "Task") -> str:
        """The inequality."""
        left = "" if self.low == -inf else f"{self.low:g} < "
        right = "" if self.high == inf else f" < {self.high:g}"
        return f"stay where {left}{self._name(task)}{right}"

    def sentence(self, task: "Task") -> str:
        """In words."""
        return f"1 inside the region ({self.phrase(task)}), {self.outside:g} outside"

    def _name(self, task: "Task") -> str:
        return self.state or task.system.states[0]
