"""dissipate_less: keep a field quiet at little power."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from envs.goals import Goal, Interval, added
from envs.system import Floats, System

if TYPE_CHECKING:
    from envs.task import Task


@dataclass(frozen=True)
class DissipateLess(Goal):
    """reward = -(D + P), with D = <u_xx^2> and P = <u_x^2> + <u f>, averages over space; f is the forcing.

    The dissipation and the total power input of a Kuramoto-Sivashinsky field at the end of the interval.

    Source: Zeng and Graham, Physical Review E 104, 014210 (2021); arXiv:2104.05437.
    """

    name: ClassVar[str] = "dissipate_less"

    def unfit(self, system: System) -> str | None:
        """Written for one equation."""
        known = type(system).__name__ == "KuramotoSivashinsky"
        return None if known else "dissipation and power are those of the Kuramoto-Sivashinsky equation"

    def reward(self, task: "Task", interval: Interval) -> tuple[Floats, npt.NDArray[np.bool_] | None]:
        """Minus dissipation and power."""
        u, system = interval.after.T, task.system
        points = u.shape[1]
        wave = 2 * np.pi / system.L * np.arange(points // 2 + 1)  # type: ignore[attr-defined]
        spectrum = np.fft.rfft(u)
        slope = np.fft.irfft(1j * wave * spectrum, n=points)
        bend = np.fft.irfft(-(wave**2) * spectrum, n=points)
        shapes: Floats = system.bumps  # type: ignore[attr-defined]
        forcing = added(shapes[:, :, None] * interval.push[:, None, :])
        return -added((bend**2 + slope**2).T + interval.after * forcing) / points, None

    def best(self, task: "Task") -> float:
        """A bound: the power that pushes at their bounds could draw from a field at its own."""
        shapes: Floats = task.system.bumps  # type: ignore[attr-defined]
        low, high = task.bounding_box
        largest = float(np.maximum(np.abs(low), np.abs(high)).max())
        return largest * float(np.mean(np.array(task.bounds) @ np.abs(shapes)))

    def worst(self, task: "Task") -> float:
        """About: the attractor's largest price at `escape` times its size, and the power of all pushes."""
        reached = task.initial_states.T
        quiet = np.zeros((task.system.n_pushes, reached.shape[1]))
        interval = Interval(reached, reached, quiet, np.ones(reached.shape[1], dtype=np.int64), quiet[:0])
        return float(task.escape**2 * self.reward(task, interval)[0].min()) - self.best(task)

    def phrase(self, task: "Task") -> str:
        """In one phrase."""
        return "least dissipation and power"

    def sentence(self, task: "Task") -> str:
        """In words."""
        return "minus the dissipation <u_xx^2> and the power input <u_x^2> + <u f>"
