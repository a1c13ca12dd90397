"""The policy of the host: stable-baselines3's actor-critic with the laboratory's networks."""

from typing import Any

from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)
from stable_baselines3.common.type_aliases import Schedule

from agents.network import ACTIVATIONS, NetworkSettings
from agents.spaces import policy_name

EXTRACTORS: dict[str, type[BaseFeaturesExtractor]] = {
    "MlpPolicy": FlattenExtractor,
    "CnnPolicy": NatureCNN,
    "MultiInputPolicy": CombinedExtractor,
}


class LabPolicy(ActorCriticPolicy):
    """An actor-critic with the networks that `network` describes; by default SB3's, to the last bit."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        network: NetworkSettings | None = None,
        **kwargs: Any,
    ) -> None:
        self.network = network or NetworkSettings()
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=list(self.network.net_arch),
            activation_fn=ACTIVATIONS[self.network.activation],
            features_extractor_class=EXTRACTORS[policy_name(observation_space)],
            **kwargs,
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters = super()._get_constructor_parameters()
        for name in ("net_arch", "activation_fn", "features_extractor_class"):
            del parameters[name]  # they follow from the network and the observations
        return {**parameters, "network": self.network}
