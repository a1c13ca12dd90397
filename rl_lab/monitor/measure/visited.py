"""Which states the rollouts of a run visited: mean and variance of every entry of their observations."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl_lab.monitor.measure.rollout import Rollout

NEWEST, BEFORE = 3, 40
"""Rollouts that are compared with those before them, and how many of these."""
LEAST = 20
"""Rollouts before them that are needed."""
ENTRIES = 1024
"""Entries beyond which a part of the observations is an image, and counts as a single entry."""


@dataclass(frozen=True)
class Visited:
    """Of the newest three rollouts and of up to 40 before them."""

    means: NDArray[np.float64]
    """[rollouts, entries], the newest last; all parts of an observation one after the other."""
    variances: NDArray[np.float64]


class Visits:
    """Remembers the last rollouts of a run."""

    def __init__(self) -> None:
        self._moments: deque[tuple[NDArray[np.float64], NDArray[np.float64]]] = deque(maxlen=NEWEST + BEFORE)

    def follow(self, rollout: Rollout | None) -> Visited | None:
        """The rollout beside those before it; None where there are too few, or nothing in it is a finite number."""
        moments = None if rollout is None else _moments(rollout)
        if moments is None or not np.isfinite(moments[1]).all():
            return None
        self._moments.append(moments)
        if len(self._moments) < NEWEST + LEAST:
            return None
        means, variances = zip(*self._moments, strict=True)
        return Visited(np.stack(means), np.stack(variances))


def _moments(rollout: Rollout) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    seen = rollout.observations
    parts = [_entries(part) for part in (seen.values() if isinstance(seen, Mapping) else [seen])]
    pairs = [torch.var_mean(part.double(), 0, correction=0) for part in parts if part is not None]
    if not pairs:
        return None
    variance, mean = (torch.cat([pair[i] for pair in pairs]).cpu().numpy() for i in (0, 1))
    return mean, variance


def _entries(part: Tensor) -> Tensor | None:
    """[N, entries]; None where they are numbers of choices."""
    if not part.numel() or not (part.is_floating_point() or part.dtype == torch.uint8):
        return None
    return part.reshape(len(part), -1) if part[0].numel() <= ENTRIES else part.reshape(-1, 1)
