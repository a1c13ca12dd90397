"""The state the update left the policy and the value function in."""

from typing import TYPE_CHECKING

from rl_lab.monitor.measure.distributions import Gaussian
from rl_lab.monitor.measure.numbers import rms, variance
from rl_lab.monitor.quantities import Level, NotApplicable, given

if TYPE_CHECKING:
    from rl_lab.monitor.measure.update import Update

LEVEL = Level.LIGHT


def entropy(u: "Update") -> float:
    """Mean over states of the entropy of pi_new [nats]; of the Gaussian before squashing, if it is squashed."""
    return float(given(u.step).new.entropy().mean())


def log_std_min(u: "Update") -> float:
    """Smallest log standard deviation of pi_new, over states and dimensions; missing for discrete actions."""
    return float(_gaussian(u).log_std.min())


def log_std_max(u: "Update") -> float:
    """Largest log standard deviation of pi_new, over states and dimensions; missing for discrete actions."""
    return float(_gaussian(u).log_std.max())


def log_std_mean(u: "Update") -> float:
    """Mean log standard deviation of pi_new, over states and dimensions; missing for discrete actions."""
    return float(_gaussian(u).log_std.mean())


def explained_variance(u: "Update") -> float:
    """1 - Var(return - value) / Var(return) of the rollout, values as they were before the update [<= 1]."""
    rollout = given(u.rollout)
    returns, values = given(rollout.returns), given(rollout.values)
    spread = variance(returns)
    if spread == 0:
        raise NotApplicable
    return 1 - variance(returns - values) / spread


def value_scale(u: "Update") -> float:
    """Root mean square of the value predictions on the rollout [units of return]."""
    return rms(given(given(u.rollout).values))


def _gaussian(u: "Update") -> Gaussian:
    new = given(u.step).new
    if isinstance(new, Gaussian):
        return new
    raise NotApplicable
