"""orbit: follow an unstable periodic orbit."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from envs import derive, orbits
from envs.goals import Goal, Interval
from envs.system import Floats, System

if TYPE_CHECKING:
    from envs.task import Task


@dataclass(frozen=True)
class Orbit(Goal):
    """reward = -distance to the nearest point of a periodic orbit of the uncontrolled system.

    The orbit is the one whose period is nearest to `period` (time units; iterations of a map), found by
    Newton's method from close returns (envs.orbits). Of a flow the distance is to the nearest piece of the
    polygon through its steps. Where on the orbit the state is does not matter: time is not controlled.
    """

    period: float = 1.0
    """Period of the orbit wanted."""

    name: ClassVar[str] = "orbit"

    def unfit(self, system: System) -> str | None:
        """Searched in low dimensions only."""
        if system.kind not in ("flow", "map") or len(system.states) > 12:
            return "periodic orbits are searched for in flows and maps of up to 12 states only"
        return None

    def check(self) -> None:
        """A period is positive."""
        if not isinstance(self.period, int | float) or not 0 < self.period < np.inf:
            raise ValueError(f"period must be a positive number, got {self.period!r}")

    def prepare(self, system: System) -> None:
        """Find the orbit."""
        orbits.periodic_orbit(system, self.period)

    def away(self, system: System, points: Floats) -> Floats:
        """As if the orbit went around the middle of the attractor."""
        return points - derive.attractor(system).centre[:, None]

    def reward(self, task: "Task", interval: Interval) -> tuple[Floats, npt.NDArray[np.bool_] | None]:
        """Minus the distance to the nearest piece."""
        orbit = orbits.periodic_orbit(task.system, self.period).points.T
        shortest = np.full(interval.after.shape[1], np.inf)
        ends = orbit if task.system.kind == "map" else np.roll(orbit, -1, axis=1)
        for a, b in zip(orbit.T, ends.T, strict=True):
            piece = (b - a)[:, None]
            away = task.shortened(interval.after - a[:, None])
            square = task.length(piece) ** 2
            along = np.clip(task.inner(away, piece) / square, 0.0, 1.0) if square[0] > 0 else 0.0
            shortest = np.minimum(shortest, task.length(away - along * piece))
        return -shortest, None

    def worst(self, task: "Task") -> float:
        """At the corner farthest from the orbit's farthest point."""
        points = orbits.periodic_orbit(task.system, self.period).points
        return -max(task.farthest(point) for point in points)

    def phrase(self, task: "Task") -> str:
        """The period."""
        found = orbits.periodic_orbit(task.system, self.period)
        return f"follow the unstable periodic orbit of period {found.period:.5g}"

    def sentence(self, task: "Task") -> str:
        """In words."""
        return f"minus the distance to the nearest point of the orbit over {task.scale_text}"
