"""How strongly the policy may react to small changes of what it sees."""

from dataclasses import dataclass

from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from agents.batch import Observations


@dataclass(frozen=True, kw_only=True)
class SmoothnessSettings:
    """The penalty on the policy's sensitivity to its observations."""


def penalty(
    settings: SmoothnessSettings, policy: ActorCriticPolicy, observations: Observations
) -> Tensor | None:
    """Weighted penalty, a scalar with its graph; None where none is asked."""
    del settings, policy, observations
    return None
