"""Episode returns as the environment paid them, their noise, and how long episodes last."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_lab.monitor.measure.paid import Payments

WINDOW = 20
"""Episodes in the smoothed return."""


@dataclass(frozen=True)
class Mean:
    """Mean of n episode returns with its standard error."""

    mean: float
    stderr: float
    episodes: int


def mean_of(returns: Sequence[float]) -> Mean:
    """Mean and standard error of independent episodes; one episode has an unknown (infinite) error."""
    values = np.asarray(returns, dtype=np.float64)
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.inf
    return Mean(float(values.mean()), error, len(values))


@dataclass(frozen=True)
class Episode:
    """One episode that has ended."""

    paid: float
    """Its return."""
    length: int
    """Its steps."""


class EpisodeReturns:
    """Adds up rewards and steps per environment, vectorised, and remembers the last episodes.

    Where stable-baselines3's Monitor reports an episode itself, its return is taken: it knows about
    wrappers (life loss, reward clipping) that sit above it.
    """

    def __init__(self, n_envs: int, *, monitored: bool = False) -> None:
        self._running: NDArray[np.float64] = np.zeros(n_envs)
        self._steps: NDArray[np.int64] = np.zeros(n_envs, dtype=np.int64)
        self._monitored = monitored
        self.payments = Payments()
        self.window: deque[float] = deque(maxlen=WINDOW)
        self.total = 0
        self.fresh: list[Episode] = []
        """Episodes that ended since take()."""

    def step(
        self, rewards: NDArray[np.floating[Any]], dones: NDArray[np.bool_], infos: Sequence[Mapping[str, Any]]
    ) -> None:
        """Account for one step of all environments."""
        self._running += rewards
        self._steps += 1
        if not np.count_nonzero(dones):
            self.payments.step(rewards, dones)
            return
        ended = np.flatnonzero(dones).tolist()
        # As a rule nothing is paid because the time is up: such a step is like any other.
        cut = [index for index in ended if infos[index].get("TimeLimit.truncated")]
        self.payments.step(rewards, dones, cut)
        for index in ended:
            reported = infos[index].get("episode")
            if reported is not None:
                self._monitored = True
                self.ended(Episode(float(reported["r"]), int(reported["l"])))
            elif not self._monitored:
                self.ended(Episode(float(self._running[index]), int(self._steps[index])))
            self._running[index], self._steps[index] = 0.0, 0

    def begin_anew(self) -> None:
        """All environments begin new episodes; those that were cut off have never been."""
        self._running[:], self._steps[:] = 0.0, 0

    def take(self) -> list[Episode]:
        """The episodes that ended since the last call."""
        fresh, self.fresh = self.fresh, []
        return fresh

    def smooth(self) -> Mean | None:
        """The last 20 episodes, or as many as there are."""
        return mean_of(self.window) if self.window else None

    def ended(self, episode: Episode) -> None:
        """Account for an episode that somebody else has counted."""
        self.window.append(episode.paid)
        self.fresh.append(episode)
        self.total += 1
