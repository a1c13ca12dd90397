"""Rewards as the environment paid them, before any wrapper of the algorithm normalises or clips them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS = 256
"""Steps that are added up at a time."""


@dataclass(frozen=True)
class Paid:
    """What was paid in all steps since the update before."""

    scale: float
    """Root mean square of the rewards."""
    largest: float
    """Largest |reward|."""
    largest_inside: float | None
    """Largest |reward| of a step that did not end the episode, or at which it was merely cut off, as by a time limit,
    from the second update with such cuts on: at the first nobody knows yet what may be paid with them. None where there
    was no such step."""


def paid_of(rewards: NDArray[Any]) -> Paid:
    """The rewards of a batch, where nobody has told of them step by step."""
    sizes = np.abs(np.asarray(rewards, dtype=np.float64)).ravel()
    return Paid(math.sqrt(float(sizes @ sizes) / len(sizes)), float(sizes.max()), None)


class Payments:
    """Adds up rewards from one update to the next."""

    def __init__(self) -> None:
        self.is_told = False
        """Whether anybody tells of steps."""
        self._waiting: list[tuple[NDArray[Any], NDArray[np.bool_]]] = []
        self._count, self._squares, self._largest, self._inside = 0, 0.0, 0.0, -math.inf
        self._cuts = self._known_cuts = False

    def step(
        self, rewards: NDArray[np.floating[Any]], dones: NDArray[np.bool_], cut: Sequence[int] = ()
    ) -> None:
        """Account for one step of all environments; `cut` are those of them whose episode was merely cut off."""
        self.is_told = True
        # Copies: stable-baselines3 adds values to these very rewards.
        ended = dones.copy()
        if cut:
            self._cuts = True
            ended[list(cut)] = not self._known_cuts
        self._waiting.append((rewards.copy(), ended))
        if len(self._waiting) == STEPS:
            self._add_up()

    def take(self) -> Paid | None:
        """What was paid since the last call; None if nothing was."""
        self._add_up()
        self._known_cuts = self._cuts
        if not self._count:
            return None
        paid = Paid(
            math.sqrt(self._squares / self._count),
            self._largest,
            None if self._inside == -math.inf else self._inside,
        )
        self._count, self._squares, self._largest, self._inside = 0, 0.0, 0.0, -math.inf
        return paid

    def _add_up(self) -> None:
        if not self._waiting:
            return
        sizes = np.abs(np.concatenate([rewards for rewards, _ in self._waiting]).astype(np.float64))
        inside = sizes[~np.concatenate([ended for _, ended in self._waiting])]
        self._waiting.clear()
        self._count += len(sizes)
        self._squares += float(sizes @ sizes)
        # numpy's maximum keeps a NaN, Python's may lose it
        self._largest = float(np.maximum(self._largest, sizes.max()))
        if len(inside):
            self._inside = float(np.maximum(self._inside, inside.max()))
