"""A policy's step made shorter: theta_old + 2^-n (theta_new - theta_old), until its exact KL is within a limit."""

import math
from typing import Any

import torch
from torch import Tensor

from rl_lab.monitor.guard import Shrunk
from rl_lab.monitor.measure import snapshot
from rl_lab.monitor.measure.on_policy import Pending
from rl_lab.monitor.measure.rollout import Rollout

FEW = 8
"""States on which it is asked which parameters the policy uses."""


def shrink(model: Any, pending: Pending, limit: float | None, most: int) -> Shrunk | None:
    """Halve the update's step in what the policy uses, at most so often; None: it is within the limit as it is.

    The KL is the mean over all states of the rollout of KL(pi_old || pi_new), exact [nats]. Parameters that only
    the value function uses keep their step. Where no halving is enough the policy's step is taken back whole. A
    step that has made a parameter non-finite is taken back with everything else: optimizer and memory too.
    """
    policy = model.policy
    if not all(bool(torch.isfinite(p).all()) for p in policy.parameters()):
        snapshot.restore(model, pending.snapshot)
        return Shrunk(share=0.0, kl_mean=0.0, was=math.nan, passes=0)
    if limit is None:
        return None
    was = pending.kl_mean()
    if was <= limit:
        return None
    step = _Moved(policy, pending)
    for n in range(1, most + 1):
        step.take(0.5**n)
        kl = pending.kl_mean()
        if kl <= limit:
            return Shrunk(share=0.5**n, kl_mean=kl, was=was, passes=n + 1)
    step.take(0.0)
    return Shrunk(share=0.0, kl_mean=0.0, was=was, passes=most + 1)


class _Moved:
    """What the policy uses, before and after an update: parameters, and running statistics of its layers."""

    def __init__(self, policy: Any, pending: Pending) -> None:
        used = used_by_policy(policy, pending.rollout)
        parameters = dict(policy.named_parameters())
        state = policy.state_dict(keep_vars=True)
        self._now = {
            name: value
            for name, value in state.items()
            if value.is_floating_point() and (name in used or name not in parameters)
        }
        self._old = {name: pending.snapshot.policy[name] for name in self._now}
        self._new = {name: value.detach().clone() for name, value in self._now.items()}

    def take(self, share: float) -> None:
        """Go this share of the way from before the update to after it."""
        with torch.no_grad():
            for name, value in self._now.items():
                old = self._old[name]
                value.copy_(old + share * (self._new[name] - old) if share else old)


def used_by_policy(policy: Any, rollout: Rollout) -> set[str]:
    """Names of the parameters that the action distribution depends on, by asking autograd."""
    named = dict(policy.named_parameters())
    was_training = policy.training
    policy.set_training_mode(False)
    try:
        with torch.enable_grad():
            few = rollout.some(FEW)
            log_prob = _distribution(policy, few).log_prob(few.actions).sum()
            gradients = torch.autograd.grad(log_prob, list(named.values()), allow_unused=True)
    finally:
        policy.set_training_mode(was_training)
    return {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}


def _distribution(policy: Any, rollout: Rollout) -> Any:
    context: dict[str, Tensor | tuple[Tensor, ...]] = rollout.context
    if "lstm_states" in context:
        seen, states, starts = rollout.observations, context["lstm_states"], context["episode_starts"]
        return policy.get_distribution(seen, states, starts)[0]
    if "action_masks" in context:
        return policy.get_distribution(rollout.observations, context["action_masks"])
    return policy.get_distribution(rollout.observations)
