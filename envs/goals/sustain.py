"""sustain: keep an orbit chaotic that would come to rest."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from envs.goals import Goal, Interval, added
from envs.system import Floats, System

if TYPE_CHECKING:
    from envs.task import Task


@dataclass(frozen=True)
class Sustain(Goal):
    """reward = +bonus where the orbit moves at `speed` or faster at the end of an interval, else -bonus.

    The speed is the length of the rate with the push held, |dx/dt|; of a map, |x' - x|. At the last step of an
    episode the mean reward of its last `window` steps decides: at `floor` or below, the step ends the episode
    as a failure and pays `-penalty` instead.

    Source: Vashishtha and Verma, Chaos 30, 031102 (2020); arXiv:1912.00947.
    """

    speed: float = 1.0
    """Below this the orbit counts as coming to rest."""
    bonus: float = 1.0
    """Paid per step."""
    window: int = 0
    """Steps at the end of an episode that decide about its success; 0: none."""
    floor: float = -0.2
    """Mean reward of a failure."""
    penalty: float = 10.0
    """Price of a failure."""

    name: ClassVar[str] = "sustain"
    memory: ClassVar[int] = 1

    def unfit(self, system: System) -> str | None:
        """Speeds are of states with rates."""
        return None if system.kind in ("flow", "map") else f"speed is not defined for a {system.kind}"

    def check(self) -> None:
        """Signs."""
        for name in ("speed", "bonus", "penalty"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < np.inf:
                raise ValueError(f"{name} must be a positive number, got {value!r}")
        if not isinstance(self.window, int) or self.window < 0:
            raise ValueError(f"window must be a whole number, at least 0, got {self.window!r}")

    def reward(self, task: "Task", interval: Interval) -> tuple[Floats, npt.NDArray[np.bool_] | None]:
        """Plus or minus the bonus, and the verdict at the end."""
        moving = added(task.system.rates(interval.after, interval.push) ** 2) >= self.speed**2
        reward = np.where(moving, self.bonus, -self.bonus)
        if not self.window:
            return reward, None
        window = min(self.window, task.steps)
        late = interval.clock > task.steps - window
        interval.memory[0] += np.where(late, reward, 0.0)
        failed = (interval.clock >= task.steps) & (interval.memory[0] / window <= self.floor)
        return np.where(failed, -self.penalty, reward), failed

    def best(self, task: "Task") -> float:
        """The bonus."""
        return self.bonus

    def worst(self, task: "Task") -> float:
        """Minus the bonus; the penalty is paid once."""
        return -self.bonus

    def forfeit(self, task: "Task") -> float:
        """What a failure costs beyond its last step."""
        return max(self.penalty - self.bonus, 0.0) if self.window else 0.0

    def phrase(self, task: "Task") -> str:
        """In two words."""
        return "sustain chaos"

    def sentence(self, task: "Task") -> str:
        """In words."""
        end = (
            f"; an episode whose last {self.window} steps earned {self.floor:g} or less on average ends as a "
            f"failure with {-self.penalty:g}"
            if self.window
            else ""
        )
        return f"{self.bonus:+g} where the orbit moves at {self.speed:g} or faster, else {-self.bonus:g}{end}"
