"""The state the update left the policy and the value function in."""

from typing import TYPE_CHECKING

from rl_lab.monitor.measure.distributions import Gaussian
from rl_lab.monitor.measure.numbers import length, rms, variance
from rl_lab.monitor.quantities import Level, NotApplicable, from_level, given

if TYPE_CHECKING:
    from rl_lab.monitor.measure.update import Update


@from_level(Level.LIGHT)
def entropy(u: "Update") -> float:
    """Mean over states of the entropy of pi_new [nats]; of the Gaussian before squashing, if it is squashed."""
    return float(given(u.step).new.entropy().mean())


@from_level(Level.LIGHT)
def log_std_min(u: "Update") -> float:
    """Smallest log standard deviation of pi_new, over states and dimensions; missing for discrete actions."""
    return float(_gaussian(u).log_std.min())


@from_level(Level.LIGHT)
def log_std_max(u: "Update") -> float:
    """Largest log standard deviation of pi_new, over states and dimensions; missing for discrete actions."""
    return float(_gaussian(u).log_std.max())


@from_level(Level.LIGHT)
def log_std_mean(u: "Update") -> float:
    """Mean log standard deviation of pi_new, over states and dimensions; missing for discrete actions."""
    return float(_gaussian(u).log_std.mean())


@from_level(Level.LIGHT)
def explained_variance(u: "Update") -> float:
    """1 - Var(return - value) / Var(return) of the rollout, values as they were before the update [<= 1]."""
    rollout = given(u.rollout)
    returns, values = given(rollout.returns), given(rollout.values)
    spread = variance(returns)
    if spread == 0:
        raise NotApplicable
    return 1 - variance(returns - values) / spread


@from_level(Level.LIGHT)
def value_scale(u: "Update") -> float:
    """Root mean square of the value predictions on the rollout [units of return]."""
    return rms(given(given(u.rollout).values))


@from_level(Level.LIGHT)
def weight_norm(u: "Update") -> float:
    """L2 norm of all parameters after the update, |theta_new|."""
    return length(given(u.new_parameters))


def optimizer_norm(u: "Update") -> float:
    """L2 norm of the optimizer's moments after the update; Adam's first moments, in units of the gradient, and second
    ones, of its square, together."""
    return length(given(u.optimizer))


def _gaussian(u: "Update") -> Gaussian:
    new = given(u.step).new
    if isinstance(new, Gaussian):
        return new
    raise NotApplicable
