"""The observations of a rollout in the order in which they were made, beside the last ones of the rollout before."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rl_lab.monitor.measure.rollout import Rollout
from rl_lab.monitor.measure.visited import ENTRIES as IMAGE

BEFORE = 5
"""Steps of the rollout before: what happens between two rollouts is compared with what happens beside it."""
ENVS = 4
"""Environments that are needed: what they all do at once is nobody's policy. With so few, a reset of one of them hides
the steps beside it."""
ENTRIES = 64
"""Most entries of a part of the observations that are looked at; of more, so many evenly spread ones."""


@dataclass(frozen=True)
class Course:
    """Of all environments side by side."""

    observations: NDArray[np.float64]
    """[steps, entries, envs], of floats; images are left out."""
    starts: NDArray[np.bool_]
    """[steps, envs]: whether an episode began with it."""


class Courses:
    """Remembers the end of the last rollout of a run."""

    def __init__(self) -> None:
        self._last: Course | None = None

    def follow(self, rollout: Rollout | None) -> Course | None:
        """The rollout behind the end of the one before; None where the order of its rows is not known, or where it has
        too few environments."""
        course, last = _course(rollout), self._last
        if course is not None and last is not None and _are_alike(course, last):
            course = Course(
                np.concatenate([last.observations, course.observations]),
                np.concatenate([last.starts, course.starts]),
            )
        self._last = (
            None if course is None else Course(course.observations[-BEFORE:], course.starts[-BEFORE:])
        )
        return course


def _are_alike(course: Course, last: Course) -> bool:
    return last.observations.shape[1:] == course.observations.shape[1:]


def _course(rollout: Rollout | None) -> Course | None:
    if rollout is None or rollout.n_steps is None or rollout.starts is None:
        return None
    n_envs = len(rollout) // rollout.n_steps
    if n_envs < ENVS:
        return None
    parts = [
        part.reshape(n_envs, rollout.n_steps, -1)
        for part in rollout.continuous()
        if part.dtype != torch.uint8 and part[0].numel() <= IMAGE
    ]
    if not parts:
        return None
    some = [part[:, :, _spread(part.shape[2])] for part in parts]
    observations = torch.cat([part.cpu().double() for part in some], 2).permute(1, 2, 0).contiguous().numpy()
    starts = np.asarray(rollout.starts, dtype=bool).reshape(n_envs, rollout.n_steps).T
    return Course(observations, starts)


def _spread(entries: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, entries - 1, ENTRIES).astype(np.int64))
