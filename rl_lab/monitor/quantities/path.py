"""The KL inside the update, after some of its gradient steps: see KLPath.sketch for which, and on which states.

All from the level `full` on, because every point costs a forward pass. An update may leave its trust region and come
back before it ends, which no number from before and after can show.
"""

from typing import TYPE_CHECKING

import numpy as np

from rl_lab.monitor.quantities import Level, NotApplicable, given

if TYPE_CHECKING:
    from rl_lab.monitor.measure.distributions import Floats
    from rl_lab.monitor.measure.update import Update

LEVEL = Level.FULL


def kl_path_first(u: "Update") -> float:
    """Mean KL(pi_old || pi_1) after the first gradient step [nats]; of rules that move the policy before it by other
    means (TRPO), all of their step."""
    steps, kl = given(u.path).sketch
    if not len(steps) or steps[0] != 1:
        raise NotApplicable
    return float(kl[0])


def kl_path_max(u: "Update") -> float:
    """Largest mean KL(pi_old || pi_i) after any of the gradient steps looked at [nats]."""
    return float(_kl(u).max())


def kl_path_overshoot(u: "Update") -> float:
    """kl_path_max over the KL after the last of those steps [1 = the update ended at its farthest]; missing where it
    ended where it began."""
    kl = _kl(u)
    if kl[-1] == 0:
        raise NotApplicable
    return float(kl.max() / kl[-1])


def kl_path_jump(u: "Update") -> float:
    """Largest rise of the mean KL from one of the steps looked at to the next, pi_old included [nats]."""
    return float(np.diff(_kl(u), prepend=0.0).max())


def _kl(u: "Update") -> "Floats":
    _, kl = given(u.path).sketch
    if not len(kl):
        raise NotApplicable
    return kl
