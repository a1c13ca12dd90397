"""What others log as "the KL", beside the truth: estimates from the actions that were taken, and their errors.

With r = pi_new(a|s) / pi_old(a|s) and a drawn from pi_old, E[-log r] and E[(r - 1) - log r] are KL(pi_old || pi_new).
Source: J. Schulman, Approximating KL divergence (joschu.net/blog/kl-approx.html), estimators k1 and k3.
"""

from typing import TYPE_CHECKING

from rl_lab.monitor.quantities import Level, NotApplicable, given

if TYPE_CHECKING:
    from rl_lab.monitor.measure.update import Update

LEVEL = Level.LIGHT

SB3S = "train/approx_kl"
"""Where stable-baselines3's PPO logs k3: of the last epoch's minibatches, each judged before its own step."""


def kl_k1(u: "Update") -> float:
    """Estimate of kl_mean, the mean of -log r over the actions taken; it can be negative [nats]."""
    return float(-given(u.step).log_ratio.mean())


def kl_k3(u: "Update") -> float:
    """Estimate of kl_mean, the mean of (r - 1) - log r over the actions taken; never negative [nats]."""
    step = given(u.step)
    return float((step.ratio - 1 - step.log_ratio).mean())


def kl_k1_error(u: "Update") -> float:
    """kl_k1 - kl_mean: by how much the estimate is too large [nats]."""
    return kl_k1(u) - float(given(u.step).kl.mean())


def kl_k3_error(u: "Update") -> float:
    """kl_k3 - kl_mean: by how much the estimate is too large [nats]."""
    return kl_k3(u) - float(given(u.step).kl.mean())


def approx_kl_error(u: "Update") -> float:
    """train/approx_kl - kl_mean: how far stable-baselines3's own number is from the KL of the update, negative where
    it is too small [nats]; missing where the algorithm logs none."""
    if SB3S not in u.logged:
        raise NotApplicable
    return float(u.logged[SB3S]) - float(given(u.step).kl.mean())
