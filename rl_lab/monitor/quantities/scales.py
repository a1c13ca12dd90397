"""How large the numbers are that came into the update, as the algorithm saw them.

Where rewards or observations are normalised (VecNormalize), these are the normalised ones. stable-baselines3 adds the
discounted value of the last state to the reward of an episode that the clock ended.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from rl_lab.monitor.measure.numbers import length, rms, variance
from rl_lab.monitor.quantities import Level, NotApplicable, from_level, given

if TYPE_CHECKING:
    from torch import Tensor

    from rl_lab.monitor.measure.update import Update

ROWS = 4096
"""Observations that are converted at a time: images are bytes, and four times as large as numbers."""

ENTRIES, LEAST = 1024, 0.01
"""Entries of an observation beyond which each by itself says little; share of the largest that an entry counts as."""


@from_level(Level.LIGHT)
def return_scale(u: "Update") -> float:
    """Root mean square of the returns that the value function learns [units of return]."""
    return rms(given(given(u.rollout).returns))


@from_level(Level.LIGHT)
def advantage_scale(u: "Update") -> float:
    """Standard deviation of the advantages, before an algorithm normalises them [units of return]."""
    return math.sqrt(variance(given(given(u.rollout).advantages)))


@from_level(Level.LIGHT)
def reward_scale(u: "Update") -> float:
    """Root mean square of the rewards [units of reward]."""
    return rms(given(given(u.rollout).rewards))


@from_level(Level.LIGHT)
def reward_max(u: "Update") -> float:
    """Largest |reward| of any step [units of reward]."""
    return float(np.abs(given(given(u.rollout).rewards)).max())


@from_level(Level.LIGHT)
def observation_scale(u: "Update") -> float:
    """Root mean square of all entries of the observations [their unit]; missing where they are numbers of choices."""
    parts = _continuous(u)
    squares = sum(length(piece.reshape(-1)) ** 2 for part in parts for piece in torch.split(part, ROWS))
    return math.sqrt(squares / sum(part.numel() for part in parts))


@from_level(Level.LIGHT)
def observation_typical(u: "Update") -> float:
    """Geometric mean over the entries of an observation of their root mean square, each counted as at least 1 % of the
    largest: what one entry in another unit moves as much as another [their unit]; missing for images."""
    parts = [part.reshape(len(part), -1) for part in _continuous(u) if part[0].numel() <= ENTRIES]
    if not parts:
        raise NotApplicable
    sizes = torch.cat([part.double().square().mean(0).sqrt() for part in parts])
    return float(torch.maximum(sizes, LEAST * sizes.max()).log().mean().exp())


@from_level(Level.LIGHT)
def observation_max(u: "Update") -> float:
    """Largest |entry| of any observation [its unit]; missing where they are numbers of choices."""
    ends = [float(end) for part in _continuous(u) for end in torch.aminmax(part)]
    return float(np.abs(ends).max())


def _continuous(u: "Update") -> "list[Tensor]":
    """The parts of the observations that measure something: floats, and the bytes of images."""
    seen = given(u.rollout).observations
    parts = list(seen.values()) if isinstance(seen, dict) else [seen]
    found = [p for p in parts if p.numel() and (p.is_floating_point() or p.dtype == torch.uint8)]
    if not found:
        raise NotApplicable
    return found
