"""How far the policy moved, exactly, over all states of the rollout."""

from typing import TYPE_CHECKING

import numpy as np

from rl_lab.monitor.measure.distributions import Gaussian
from rl_lab.monitor.measure.numbers import percentile
from rl_lab.monitor.quantities import Level, NotApplicable, given

if TYPE_CHECKING:
    from rl_lab.monitor.measure.update import Update

LEVEL = Level.LIGHT


def kl_mean(u: "Update") -> float:
    """Mean over the rollout's states of KL(pi_old || pi_new), summed over action dimensions [nats]."""
    return float(given(u.step).kl.mean())


def kl_p95(u: "Update") -> float:
    """95th percentile over states of KL(pi_old || pi_new) [nats]."""
    return percentile(given(u.step).kl, 95)


def kl_p99(u: "Update") -> float:
    """99th percentile over states of KL(pi_old || pi_new) [nats]."""
    return percentile(given(u.step).kl, 99)


def kl_max(u: "Update") -> float:
    """Largest KL(pi_old || pi_new) of any state of the rollout [nats]."""
    return float(given(u.step).kl.max())


def reverse_kl_mean(u: "Update") -> float:
    """Mean over states of KL(pi_new || pi_old), the direction that TRPO codes often log [nats]."""
    return float(given(u.step).reverse_kl.mean())


def kl_mean_shift(u: "Update") -> float:
    """The part of kl_mean that moving the Gaussian's mean causes [nats]; missing for discrete actions."""
    old, new = _gaussians(u)
    return float(old.mean_shift(new).sum(axis=1).mean())


def kl_covariance(u: "Update") -> float:
    """The part of kl_mean that changing the Gaussian's spread causes [nats]; missing for discrete actions."""
    old, new = _gaussians(u)
    return float(old.covariance_shift(new).sum(axis=1).mean())


def kl_worst_dimension(u: "Update") -> float:
    """Share of kl_mean that the action dimension with the largest part has [1/A..1]; missing where there is one
    dimension, or no KL."""
    parts = given(u.step).kl_per_dimension.mean(axis=0)
    whole = parts.sum()
    if len(parts) == 1 or whole == 0:
        raise NotApplicable
    return float(parts.max() / whole)


def total_variation(u: "Update") -> float:
    """Sample estimate of the mean total variation, E|ratio - 1| / 2 over the actions taken [0..1 in mean]."""
    return float(np.abs(given(u.step).ratio - 1).mean() / 2)


def _gaussians(u: "Update") -> tuple[Gaussian, Gaussian]:
    old, new = given(u.step).old, given(u.step).new
    if isinstance(old, Gaussian) and isinstance(new, Gaussian):
        return old, new
    raise NotApplicable
