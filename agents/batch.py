"""A rollout, flattened: what an update rule learns from."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor

Observations = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """B = T steps x N environments; `log_prob` and `values` are those of the policy that acted."""

    observations: Observations
    """[B, ...] or a dict of such tensors, as the environment gave them."""
    actions: Tensor
    """[B, A], or [B] of integers for Discrete; as sampled, before clipping to the bounds of a Box."""
    log_prob: Tensor
    """[B] log density of the actions."""
    advantages: Tensor
    """[B] GAE(gamma, gae_lambda), not normalised."""
    returns: Tensor
    """[B] targets of the value function, advantages + values."""
    values: Tensor
    """[B] what the value function said."""

    def __len__(self) -> int:
        return self.log_prob.shape[0]

    def rows(self, index: Tensor) -> "Batch":
        """Return these samples only."""
        if isinstance(self.observations, dict):
            observations: Observations = {name: part[index] for name, part in self.observations.items()}
        else:
            observations = self.observations[index]
        return Batch(
            observations,
            self.actions[index],
            self.log_prob[index],
            self.advantages[index],
            self.returns[index],
            self.values[index],
        )


def minibatches(size: int, batch_size: int, rng: np.random.RandomState) -> Iterator[Tensor]:
    """One epoch: the rows 0..size-1 in random order, cut into pieces of batch_size (the last may be shorter).

    One `permutation` per epoch is what stable-baselines3 draws too, so equal seeds give equal minibatches.
    """
    order = torch.from_numpy(rng.permutation(size))
    for start in range(0, size, batch_size):
        yield order[start : start + batch_size]


def flatten(buffer: RolloutBuffer, action_space: spaces.Space[Any]) -> Batch:
    """Copy a full buffer [T, N, ...] into a batch [N * T, ...], environment by environment as in SB3."""

    def tensor(array: np.ndarray) -> Tensor:
        return buffer.to_torch(buffer.swap_and_flatten(array))

    # The annotation in SB3 knows arrays only; DictRolloutBuffer keeps a dict of them here.
    stored: object = buffer.observations
    observations: Observations
    if isinstance(stored, dict):
        observations = {name: tensor(part) for name, part in stored.items()}
    else:
        observations = tensor(buffer.observations)
    # Through float32, because SB3 hands actions to the policy in that type.
    actions = tensor(buffer.actions.astype(np.float32, copy=False))
    return Batch(
        observations,
        actions.long().flatten() if isinstance(action_space, spaces.Discrete) else actions,
        tensor(buffer.log_probs).flatten(),
        tensor(buffer.advantages).flatten(),
        tensor(buffer.returns).flatten(),
        tensor(buffer.values).flatten(),
    )
