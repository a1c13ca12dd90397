"""What must hold before the first gradient step: the policy that learns is the one that acted.

Judged on the whole rollout before train() begins, in the mode in which the policy acts. Where these are not 0, up to
rounding (1e-5 or so in float32), the stored log-probabilities are stale, the observations were normalised differently,
or two programs compute the same network differently; a clipped objective then begins outside its band.
"""

from typing import TYPE_CHECKING

import numpy as np

from rl_lab.monitor.quantities import Level, given

if TYPE_CHECKING:
    from rl_lab.monitor.measure.update import Update

LEVEL = Level.LIGHT


def first_ratio_error(u: "Update") -> float:
    """Largest |log ratio| of any sample before the first gradient step, policy against stored log-probability [0 when
    all is well]."""
    return float(np.abs(given(u.behaviour_log_ratio)).max())


def first_kl(u: "Update") -> float:
    """Mean of (r - 1) - log r before the first gradient step: KL(policy that acted || policy that learns), estimated
    from the actions taken [nats, 0 when all is well]."""
    log_ratio = given(u.behaviour_log_ratio)
    return float((np.expm1(log_ratio) - log_ratio).mean())
