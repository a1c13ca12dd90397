"""How large the numbers are that came into the update, as the algorithm saw them.

Where rewards or observations are normalised (VecNormalize), these are the normalised ones, except for `paid_*`.
stable-baselines3 adds the discounted value of the last state to the reward of an episode that the clock ended.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from rl_lab.monitor.measure.course import ENVS
from rl_lab.monitor.measure.numbers import length, rms, variance
from rl_lab.monitor.measure.visited import NEWEST
from rl_lab.monitor.quantities import Level, NotApplicable, given

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from rl_lab.monitor.measure.update import Update

LEVEL = Level.LIGHT

ROWS = 4096
"""Observations that are converted at a time: images are bytes, and four times as large as numbers."""

TINY = 1e-24
STILL = 1e-6
"""Standard deviations by which the course of an entry bends in a step, if it bends at all."""


def return_scale(u: "Update") -> float:
    """Root mean square of the returns that the value function learns [units of return]."""
    return rms(given(given(u.rollout).returns))


def advantage_scale(u: "Update") -> float:
    """Standard deviation of the advantages, before an algorithm normalises them [units of return]."""
    return math.sqrt(variance(given(given(u.rollout).advantages)))


def reward_scale(u: "Update") -> float:
    """Root mean square of the rewards [units of reward]."""
    return rms(given(given(u.rollout).rewards))


def reward_max(u: "Update") -> float:
    """Largest |reward| of any step [units of reward]."""
    return float(np.abs(given(given(u.rollout).rewards)).max())


def paid_scale(u: "Update") -> float:
    """Root mean square of the rewards as the environment paid them, before any normalisation [units of reward]."""
    return given(u.paid).scale


def paid_max(u: "Update") -> float:
    """Largest |reward| that the environment paid [units of reward]."""
    return given(u.paid).largest


def paid_inside_max(u: "Update") -> float:
    """Largest |reward| that it paid for a step that did not end an episode, or merely cut it off [units of reward]:
    prizes and penalties are often paid with the last step, and may be a thousand times what is paid before."""
    return given(given(u.paid).largest_inside)


def observation_scale(u: "Update") -> float:
    """Root mean square of all entries of the observations [their unit]; missing where they are numbers of choices."""
    parts = _continuous(u)
    squares = sum(length(piece.reshape(-1)) ** 2 for part in parts for piece in torch.split(part, ROWS))
    return math.sqrt(squares / sum(part.numel() for part in parts))


def observation_outside(u: "Update") -> float:
    """How far the states of the last three rollouts are outside of the range of the 40 rollouts before, in widths of
    that range, for the mean or the log standard deviation of the entry that is furthest; negative inside [].

    Of the three the nearest counts, and the width is at least the range of the three: a policy that gets better
    changes its states step by step, another unit at once. The least width is log 1.4, and half a standard deviation.
    Entries that stood still in most of the 40 say nothing: a flag that is up for the first time has no range yet.
    """
    visited = given(u.visited)
    still = 1e-6 * (visited.means**2 + visited.variances) + TINY
    moves = np.median(visited.variances[:-NEWEST] / still[:-NEWEST], 0) > 1
    if not moves.any():
        raise NotApplicable
    means, variances = visited.means[:, moves], visited.variances[:, moves]
    spreads = 0.5 * np.log(np.maximum(variances, still[:, moves]))
    half = np.exp(np.median(spreads[:-NEWEST], 0)) / 2
    return max(_outside(spreads, np.full_like(half, math.log(1.4))), _outside(means, half))


def _outside(values: "NDArray[np.float64]", least: "NDArray[np.float64]") -> float:
    """Of the newest rows from the range of those before, the entry that is furthest; [rows, entries]."""
    before, newest = values[:-NEWEST], values[-NEWEST:]
    low, high = before.min(0), before.max(0)
    width = np.maximum(np.maximum(high - low, np.ptp(newest, 0)), least)
    return float((np.maximum(newest.min(0) - high, low - newest.max(0)) / width).max())


def observation_jump(u: "Update") -> float:
    """How far the observations of the environments leave their course in one and the same step []: max over steps and
    entries of min(l(t), l(t+1)) / max(h(t-1), h(t+2)), where l and h are the lower and upper quartile over environments
    of |o(t+1) - 2 o(t) + o(t-1)|. Of fewer than eight environments least and largest stand for the quartiles.

    A force, and so a policy, bends a course, which shows in one such difference at most; another unit, or another zero,
    breaks it, which shows in two. Steps between episodes do not count, the last steps of the rollout before do. The
    entry's standard deviation / 100 is the least that a break is compared with; entries that stand still or move evenly
    in most steps, as flags and clocks do, are left out.
    """
    course = given(u.course)
    deviations = course.observations.std(axis=(0, 2))
    bends = np.abs(np.diff(course.observations, n=2, axis=0))
    lower, upper = _quartiles(bends, course.starts[1:-1] | course.starts[2:])
    known = np.isfinite(upper).any(1)
    if not known.any():
        raise NotApplicable
    moves = np.median(upper[known], axis=0) > STILL * deviations
    lower, upper = lower[:, moves], upper[:, moves]
    beside = np.maximum(np.maximum(upper[:-3], upper[3:]), deviations[moves] / 100)
    jumps = np.minimum(lower[1:-2], lower[2:-1]) / beside
    judged = jumps[np.isfinite(jumps)]
    if not judged.size:
        raise NotApplicable
    return float(judged.max())


def _quartiles(
    sizes: "NDArray[np.float64]", starts: "NDArray[np.bool_]"
) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Both [steps, entries], over environments in which no episode began; NaN where they are too few."""
    step, env = np.nonzero(starts)
    sizes[step, :, env] = np.inf
    sizes.sort(axis=2)
    count = starts.shape[1] - np.bincount(step, minlength=len(starts))
    steps, many = np.arange(len(sizes)), count >= 2 * ENVS
    lower = sizes[steps, :, np.where(many, count // 4, 0)]
    upper = sizes[steps, :, np.maximum(np.where(many, (3 * count - 1) // 4, count - 1), 0)]
    few = count < ENVS
    lower[few] = upper[few] = np.nan
    return lower, upper


def observation_max(u: "Update") -> float:
    """Largest |entry| of any observation [its unit]; missing where they are numbers of choices."""
    ends = [float(end) for part in _continuous(u) for end in torch.aminmax(part)]
    return float(np.abs(ends).max())


def _continuous(u: "Update") -> "list[Tensor]":
    """The parts of the observations that measure something: floats, and the bytes of images."""
    found = given(u.rollout).continuous()
    if not found:
        raise NotApplicable
    return found
