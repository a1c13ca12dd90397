"""Importance ratios pi_new(a|s) / pi_old(a|s) of the actions taken."""

from typing import TYPE_CHECKING

import numpy as np

from rl_lab.monitor.measure.numbers import percentile
from rl_lab.monitor.quantities import Level, given

if TYPE_CHECKING:
    from rl_lab.monitor.measure.update import Update

LEVEL = Level.LIGHT

WIDTH = 0.2
"""Half-width of the band that ratio_outside counts against, PPO's usual clip_range: one ruler for every rule."""


def ratio_max(u: "Update") -> float:
    """Largest ratio of any sample [1 = unchanged]."""
    return float(given(u.step).ratio.max())


def ratio_min(u: "Update") -> float:
    """Smallest ratio of any sample [1 = unchanged]."""
    return float(given(u.step).ratio.min())


def ratio_p99(u: "Update") -> float:
    """99th percentile of the ratio [1 = unchanged]."""
    return percentile(given(u.step).ratio, 99)


def ratio_outside(u: "Update") -> float:
    """Fraction of samples whose ratio left 1 ± 0.2 [0..1]; the same band for every rule."""
    return float((~(np.abs(given(u.step).ratio - 1) <= WIDTH)).mean())  # a NaN is not inside


def effective_sample_size(u: "Update") -> float:
    """(sum r)^2 / (N sum r^2): the share of the rollout that still counts under pi_new [0..1]."""
    # Scaling by the largest ratio changes nothing but keeps the squares finite.
    weight = np.exp(given(u.step).log_ratio - given(u.step).log_ratio.max())
    return float(weight.sum() ** 2 / (len(weight) * (weight**2).sum()))
