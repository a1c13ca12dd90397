"""The distributions of torch as the monitor's own: what a policy outside stable-baselines3 says about its states."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributions, nn

from rl_lab.monitor.measure.distributions import Categorical, Distribution, Floats, Gaussian
from rl_lab.monitor.measure.numbers import float64

Torch = distributions.Distribution | Sequence[distributions.Distribution]


def read(policy: Torch | Distribution) -> Distribution:
    """The monitor's own form of a torch distribution; TypeError for one that it cannot measure."""
    if isinstance(policy, Gaussian | Categorical):
        return policy
    if isinstance(policy, distributions.Independent):
        return read(policy.base_dist)
    if isinstance(policy, distributions.TransformedDistribution):
        return read(policy.base_dist)  # KL and ratios do not change under an invertible map of the action
    if isinstance(policy, distributions.Normal):
        return Gaussian(_columns(policy.loc), _columns(policy.scale.log()))
    if isinstance(policy, distributions.Categorical):
        log_probs = float64(policy.logits.log_softmax(-1))
        choices = log_probs.reshape(len(log_probs), -1, log_probs.shape[-1])
        return Categorical(tuple(choices[:, i] for i in range(choices.shape[1])))
    if isinstance(policy, distributions.Bernoulli):
        logits = policy.logits.reshape(len(policy.logits), -1)
        both = torch.stack([nn.functional.logsigmoid(-logits), nn.functional.logsigmoid(logits)], dim=-1)
        return Categorical(tuple(float64(both[:, i]) for i in range(both.shape[1])))
    if isinstance(policy, Sequence):
        parts = [read(part) for part in policy]
        if all(isinstance(part, Categorical) for part in parts):
            return Categorical(tuple(p for part in parts for p in part.log_probs))  # type: ignore[union-attr]
    raise TypeError(
        f"the monitor cannot measure a {type(policy).__name__} yet; it knows Normal, Categorical, Bernoulli, "
        "Independent and transformed ones of them, and sequences of Categorical"
    )


def log_prob(policy: Torch | Distribution, actions: Tensor) -> Floats:
    """log pi(a|s) of every action, summed over action dimensions, shape [N]."""
    if isinstance(policy, Gaussian | Categorical):
        return _own_log_prob(policy, np.asarray(actions.detach().cpu()))
    if isinstance(policy, distributions.Distribution):
        shape = policy.batch_shape + policy.event_shape
        if actions.numel() != shape.numel():
            raise ValueError(
                f"batch: actions must have the shape {tuple(shape)} of the policy, got {tuple(actions.shape)}"
            )
        found = policy.log_prob(actions.reshape(shape))  # [N, 1] and [N] would make N x N of it
        return float64(found.reshape(len(actions), -1).sum(1))
    return np.asarray(sum(log_prob(part, actions[:, i]) for i, part in enumerate(policy)))


def _own_log_prob(policy: Distribution, actions: "np.ndarray[Any, Any]") -> Floats:
    if isinstance(policy, Gaussian):
        z = (actions.reshape(policy.mean.shape) - policy.mean) * np.exp(-policy.log_std)
        return np.asarray((-0.5 * z**2 - policy.log_std - 0.5 * np.log(2 * np.pi)).sum(axis=1))
    chosen = actions.reshape(len(actions), -1).astype(int)
    rows = np.arange(len(actions))
    return np.asarray(sum(p[rows, chosen[:, i]] for i, p in enumerate(policy.log_probs)))


def _columns(tensor: Tensor) -> Floats:
    return float64(tensor).reshape(len(tensor), -1)
