"""What the value function descends."""

from dataclasses import dataclass

from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor
from torch.nn.functional import mse_loss

from agents.batch import Batch


@dataclass(frozen=True, kw_only=True)
class ValueSettings:
    """The loss of the value function."""


def loss(settings: ValueSettings, policy: ActorCriticPolicy, values: Tensor, batch: Batch) -> Tensor:
    """Mean loss of the values [B] that the policy has just given for the states of this batch."""
    del settings, policy
    return mse_loss(batch.returns, values)
