"""What a task pays for: one file each, found by looking here.

A goal is a frozen dataclass whose fields are settings of the task; it sees the two ends of every control
interval, for N lanes at once, and says what they are worth.
"""

import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from envs.system import Floats, System

if TYPE_CHECKING:
    from envs.task import Task


def added(terms: Floats) -> Floats:
    """Sum over the first axis, term after term: the same bits whatever the number of lanes."""
    return np.asarray(np.add.accumulate(terms, axis=0)[-1])


@dataclass(frozen=True)
class Interval:
    """One control interval of N lanes, seen at its end."""

    before: Floats
    """States at its beginning, [D, N]."""
    after: Floats
    """States at its end, [D, N]."""
    push: Floats
    """What was held, in the unit of the equations, [n_pushes, N]."""
    clock: npt.NDArray[np.int64]
    """Intervals since the reset, this one included, [N]."""
    memory: Floats
    """What the goal wants to remember until the next reset, [memory, N]; zero at first, changed in place."""


@dataclass(frozen=True)
class Goal:
    """Base of every goal; `best` and `worst` are the extremes of the reward per step inside the bounds."""

    name: ClassVar[str]
    memory: ClassVar[int] = 0
    """Numbers per lane to remember during an episode."""
    compiled: ClassVar[bool] = False
    """Whether the generated kernels know this goal; they know `hold` as it is by default."""
    steers: ClassVar[bool] = False
    """Whether there is a state to hold: then the task has a `target`."""

    def unfit(self, system: System) -> str | None:
        """Why this goal means nothing for a system, as the rest of a sentence, or None."""
        return None

    def check(self) -> None:
        """ValueError names a setting whose value makes no sense."""

    def target(self, system: System) -> Floats | None:
        """The state to hold, [D], or None where there is none."""
        return None

    def away(self, system: System, points: Floats) -> Floats | None:
        """What points [D, M] of the attractor are away from the goal, [D, M]; None where no distance counts."""
        target = self.target(system)
        return None if target is None else points - target[:, None]

    def reward(self, task: "Task", interval: Interval) -> tuple[Floats, npt.NDArray[np.bool_] | None]:
        """Reward [N] of an interval and, where this goal can end an episode, which lanes end, [N]."""
        raise NotImplementedError

    def best(self, task: "Task") -> float:
        """Largest reward per step."""
        return 0.0

    def worst(self, task: "Task") -> float:
        """Smallest reward per step inside the escape bounds."""
        raise NotImplementedError

    def forfeit(self, task: "Task") -> float:
        """What an escape pays once, beside the worst reward for every step left."""
        return 0.0

    def prepare(self, system: System) -> None:
        """Work that should not wait for the first step; ValueError if it cannot be done."""

    def start_box(self, system: System) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Corners (low, high) of the box in which episodes begin; None: on the attractor."""
        return None

    def phrase(self, task: "Task") -> str:
        """One phrase for listings."""
        raise NotImplementedError

    def sentence(self, task: "Task") -> str:
        """What is paid, in one sentence."""
        raise NotImplementedError


@cache
def goals() -> MappingProxyType[str, type[Goal]]:
    """Name -> class of every goal in this folder."""
    files = sorted(f.stem for f in Path(__file__).parent.glob("*.py") if not f.stem.startswith(("_", ".")))
    found: dict[str, type[Goal]] = {}
    for stem in files:
        for value in vars(importlib.import_module(f"envs.goals.{stem}")).values():
            own = isinstance(value, type) and value.__module__ == f"envs.goals.{stem}"
            if own and issubclass(value, Goal) and "name" in vars(value):
                found[value.name] = value
    return MappingProxyType(found)
