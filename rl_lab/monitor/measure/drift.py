"""How an off-policy algorithm answers a fixed set of states from its replay buffer, before and after a stretch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rl_lab.monitor.measure.distributions import Change, Floats, Gaussian
from rl_lab.monitor.measure.numbers import float64
from rl_lab.monitor.measure.rollout import Observations

PROBE = 256
"""States of the fixed set."""


@dataclass(frozen=True)
class Answers:
    """What policy and critics say of N states; None: this kind of algorithm does not say it."""

    values: Floats
    """[N] the least of the critics' values of the policy's own most likely action; of a DQN, the largest Q."""
    gaussian: Gaussian | None = None
    """The policy before its tanh; None where it is deterministic."""
    actions: Floats | None = None
    """[N, A] most likely actions, scaled to -1..1."""
    choices: NDArray[np.int64] | None = None
    """[N] greedy actions."""


@dataclass(frozen=True)
class Drift:
    """Answers to the same states before and after a stretch of training."""

    old: Answers
    new: Answers

    @property
    def change(self) -> Change | None:
        """The change of a stochastic policy; a deterministic one has no KL."""
        old, new = self.old.gaussian, self.new.gaussian
        return Change(old, new) if old is not None and new is not None else None


def probe(model: Any) -> Observations | None:
    """At most PROBE observations from the replay buffer, spread evenly over what is in it, as a network takes them.

    No random number is drawn. They are normalised as training does, with the statistics of this moment: what
    moves afterwards is the networks. None until the buffer holds so many, or is full.
    """
    buffer = model.replay_buffer
    seen = getattr(buffer, "observations", None)
    if not isinstance(seen, np.ndarray | Mapping):
        return None  # somebody's own kind of buffer
    stored, room = buffer.size() * buffer.n_envs, buffer.buffer_size * buffer.n_envs
    if stored < min(PROBE, room):
        return None
    rows, envs = np.divmod(np.linspace(0, stored - 1, min(PROBE, stored)).astype(int), buffer.n_envs)
    observations = (
        {name: part[rows, envs] for name, part in seen.items()}
        if isinstance(seen, Mapping)
        else seen[rows, envs]
    )
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        observations = normalizer.normalize_obs(observations)
    if isinstance(observations, Mapping):
        return {name: buffer.to_torch(part) for name, part in observations.items()}
    return buffer.to_torch(observations)  # type: ignore[no-any-return]


def answers(model: Any, observations: Observations) -> Answers:
    """Ask SAC, TD3, DDPG, TQC, CrossQ, DQN, QR-DQN and what is built like them."""
    with torch.no_grad(), evaluating(model.policy):
        if hasattr(model, "actor"):
            return _of_actor(model, observations)
        return _of_q_values(model, observations)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode, and every part of it in its own mode again afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, was_training in modes:
            part.training = was_training


def _of_actor(model: Any, observations: Observations) -> Answers:
    actor = model.actor
    if hasattr(actor, "get_action_dist_params"):
        mean, log_std, more = actor.get_action_dist_params(observations)
        if "latent_sde" in more:
            log_std = _log_std_of_gsde(actor, more["latent_sde"])
        gaussian, actions = Gaussian(float64(mean), float64(log_std)), torch.tanh(mean)
    else:
        gaussian, actions = None, actor(observations)
    q = model.critic(observations, actions)
    return Answers(float64(_least(q)), gaussian, float64(actions))


def _log_std_of_gsde(actor: Any, latent: Tensor) -> Tensor:
    """Of the action in one state, over the noise matrices: var_a = sum_i latent_i^2 std_ia^2 + epsilon."""
    variance = latent**2 @ actor.get_std() ** 2 + actor.action_dist.epsilon
    log_std: Tensor = 0.5 * variance.log()
    return log_std


def _of_q_values(model: Any, observations: Observations) -> Answers:
    # QR-DQN has quantiles [N, n_quantiles, actions], and acts by their mean.
    is_quantile = hasattr(model, "quantile_net")
    q = model.quantile_net(observations).mean(dim=1) if is_quantile else model.q_net(observations)
    best, choices = q.max(dim=1)
    return Answers(float64(best), choices=choices.cpu().numpy())


def _least(q: tuple[Tensor, ...] | Tensor) -> Tensor:
    """From what critics return, [N, 1] each, or in TQC quantiles [N, critics, quantiles], to [N]."""
    each = q.mean(dim=2) if isinstance(q, Tensor) else torch.cat(list(q), dim=1)
    return torch.amin(each, dim=1)
