"""The state the update left the policy and the value function in."""

from typing import TYPE_CHECKING

import numpy as np

from rl_lab.monitor.distributions import Gaussian
from rl_lab.monitor.quantities import NotApplicable, given

if TYPE_CHECKING:
    from rl_lab.monitor.update import Update


def entropy(u: "Update") -> float:
    """Mean over states of the entropy of pi_new [nats]; of the Gaussian before squashing, if it is squashed."""
    return float(given(u.step).new.entropy().mean())


def log_std_min(u: "Update") -> float:
    """Smallest log standard deviation of pi_new, over states and dimensions; missing for discrete actions."""
    return float(_gaussian(u).log_std.min())


def log_std_max(u: "Update") -> float:
    """Largest log standard deviation of pi_new, over states and dimensions; missing for discrete actions."""
    return float(_gaussian(u).log_std.max())


def explained_variance(u: "Update") -> float:
    """1 - Var(return - value) / Var(return) of the rollout, values as they were before the update [<= 1]."""
    rollout = given(u.rollout)
    returns, values = given(rollout.returns), given(rollout.values)
    variance = np.var(returns, dtype=np.float64)
    if variance == 0:
        raise NotApplicable
    return float(1 - np.var(returns - values, dtype=np.float64) / variance)


def value_scale(u: "Update") -> float:
    """Root mean square of the value predictions on the rollout [units of return]."""
    return float(np.sqrt(np.mean(given(given(u.rollout).values).astype(np.float64) ** 2)))


def _gaussian(u: "Update") -> Gaussian:
    new = given(u.step).new
    if isinstance(new, Gaussian):
        return new
    raise NotApplicable
