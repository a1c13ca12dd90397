"""Which states the rollouts of a run visited: mean and variance of every entry of their observations."""

from collections import deque
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
AT_ONCE = 2**20
"""Numbers that are converted at a time."""


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
        if self._moments and len(self._moments[-1][0]) != len(moments[0]):
            self._moments.clear()  # other observations than before
        self._moments.append(moments)
        if len(self._moments) < NEWEST + LEAST:
            return None
        means, variances = zip(*self._moments, strict=True)
        return Visited(np.stack(means), np.stack(variances))


def _moments(rollout: Rollout) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    pairs = [_of_part(part) for part in rollout.continuous()]
    if not pairs:
        return None
    means, variances = zip(*pairs, strict=True)
    return np.concatenate(means), np.concatenate(variances)


def _of_part(part: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance [entries], a piece at a time: images are bytes, and eight times as large as numbers."""
    is_image = part[0].numel() > ENTRIES
    counts, means, variances = [], [], []
    for piece in torch.split(part, max(1, AT_ONCE // part[0].numel())):
        entries = piece.reshape(-1, 1) if is_image else piece.reshape(len(piece), -1)
        # In this order: not every device has float64.
        variance, mean = torch.var_mean(entries.cpu().double(), 0, correction=0)
        counts.append(len(entries))
        means.append(mean.numpy())
        variances.append(variance.numpy())
    shares = np.array(counts)[:, None] / sum(counts)
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean) ** 2)).sum(0)
