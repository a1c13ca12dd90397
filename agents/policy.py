"""The policy of the host: stable-baselines3's actor-critic with the laboratory's networks."""

from collections.abc import Callable
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
from torch import nn

from agents.network import ACTIVATIONS, NetworkSettings, Torso
from agents.network.constraint import constrain
from agents.network.start import start
from agents.spaces import policy_name

ValueHead = Callable[[int], nn.Module]
"""From the number of features to a module that maps features [B, F] to values [B, 1]."""

EXTRACTORS: dict[str, type[BaseFeaturesExtractor]] = {
    "MlpPolicy": FlattenExtractor,
    "CnnPolicy": NatureCNN,
    "MultiInputPolicy": CombinedExtractor,
}


class LabPolicy(ActorCriticPolicy):
    """An actor-critic with the networks that `network` describes; by default SB3's, to the last bit.

    `value_head` replaces the last layer of the value function, and begins with the weights that it comes with.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        network: NetworkSettings | None = None,
        value_head: ValueHead | None = None,
        **kwargs: Any,
    ) -> None:
        self.network = network or NetworkSettings()
        self.value_head = value_head
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=list(self.network.net_arch),
            activation_fn=ACTIVATIONS[self.network.activation],
            ortho_init=False,  # `_build` starts the networks
            features_extractor_class=EXTRACTORS[policy_name(observation_space)],
            **kwargs,
        )

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = Torso(self.features_dim, self.network, self.device)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        scheme = self.network.init
        for extractor in dict.fromkeys((self.pi_features_extractor, self.vf_features_extractor)):
            start(extractor, scheme, self.network.hidden_gain)
        start(self.mlp_extractor, scheme, self.network.hidden_gain)
        start(self.action_net, scheme, self.network.policy_gain)
        if self.value_head is not None:
            head: Any = self.value_head(self.mlp_extractor.latent_dim_vf)
            self.value_net = head  # SB3's annotation knows Linear only
        start(self.value_net, scheme, self.network.value_gain)
        constrain(self.mlp_extractor, self.network.weight_constraint, self.network.stable_rank)
        optimizer: Any = self.optimizer_class
        self.optimizer = optimizer(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters = super()._get_constructor_parameters()
        for name in ("net_arch", "activation_fn", "features_extractor_class", "ortho_init"):
            del parameters[name]  # they follow from the network and the observations
        return {**parameters, "network": self.network, "value_head": self.value_head}
