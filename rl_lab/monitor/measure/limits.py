"""What an update rule promises, so that an update can be judged by its own rule too."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

EARLY_STOP = 1.5
"""stable-baselines3's PPO stops beyond this multiple of target_kl."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """None: the rule makes no such promise."""

    kl: float | None = None
    """Bound of the mean over states of KL(pi_old || pi_new), summed over action dimensions [nats]."""
    clip_range: float | None = None
    """Half-width of the band around 1 beyond which the rule gives the ratio no reason to go."""
    max_grad_norm: float | None = None
    """Gradients longer than this are scaled down to it."""


NO_LIMITS = Limits()


def limits_of(model: Any) -> Limits:
    """Read off a stable-baselines3 algorithm, or off the rule of one that has a rule, at its present progress."""
    rule = getattr(model, "rule", model)
    return Limits(
        kl=_kl(model, rule),
        clip_range=_number(getattr(rule, "clip_range", None), model),
        max_grad_norm=_number(getattr(rule, "max_grad_norm", None), model) or None,
    )


def _kl(model: Any, rule: Any) -> float | None:
    maximum = _number(getattr(rule, "max_kl", None), model)
    if maximum is not None:
        return maximum
    target = _number(getattr(rule, "target_kl", None), model)
    if target is None:
        return None
    if hasattr(model, "cg_max_steps"):
        # sb3-contrib's TRPO limits the mean over action dimensions, of MultiDiscrete actions the sum.
        space = model.action_space
        averages = isinstance(space, spaces.Box | spaces.MultiBinary)
        return target * (int(np.prod(space.shape)) if averages else 1)
    return EARLY_STOP * target


def _number(value: Any, model: Any) -> float | None:
    if callable(value):
        value = value(model._current_progress_remaining)
    return float(value) if isinstance(value, int | float) else None
