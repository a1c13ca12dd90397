"""The hidden layers of policy and value function: how wide, how started, how steadied."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Gt

Width = Annotated[int, Gt(0)]
ACTIVATIONS: dict[str, type[torch.nn.Module]] = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The networks, the same for every rule."""

    net_arch: tuple[Width, ...] = (64, 64)
    """Units of the hidden layers; policy and value function have one such network each."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Nonlinearity between the layers."""
