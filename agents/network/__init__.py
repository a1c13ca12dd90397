"""The hidden layers of policy and value function: how wide, how started, how steadied.

A module per thing: `start` (the first weights), `normalise` (what a layer hands to its nonlinearity),
`constraint` (what a weight matrix may be) and `route` (what goes around a layer). Every choice goes with every
other, except `residual` and `gate`, which are two answers to one question. All default to what
stable-baselines3 does.

The choices change the hidden layers only: a convolution in front of them keeps its form (`init` starts it, as in
SB3), and the last layers that yield actions and values are neither normalised nor constrained.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from stable_baselines3.common.torch_layers import MlpExtractor
from torch import nn

from agents.network.normalise import normaliser
from agents.network.route import GRUGate, LSTMGate, Residual

Width = Annotated[int, Gt(0)]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}


@dataclass(frozen=True, kw_only=True)
class NetworkSettings:
    """The networks, the same for every rule."""

    net_arch: tuple[Width, ...] = (64, 64)
    """Units of the hidden layers; policy and value function have one such network each."""
    activation: Literal["tanh", "relu", "elu", "silu", "gelu"] = "tanh"
    """Nonlinearity between the layers."""
    init: Literal["orthogonal", "xavier", "kaiming", "torch"] = "orthogonal"
    """How weights are drawn: as in SB3, by Glorot and Bengio, by He et al., or as torch's layers come."""
    hidden_gain: Annotated[float, Gt(0)] | None = None
    """Factor on the hidden weights; None: sqrt(2) for orthogonal (SB3) and kaiming (ReLU), otherwise 1."""
    policy_gain: Annotated[float, Gt(0)] = 0.01
    """The same for the layer that yields actions."""
    value_gain: Annotated[float, Gt(0)] = 1.0
    """The same for the layer that yields values."""
    normalize_layers: Literal["none", "layer", "rms", "batch"] = "none"
    """What stands between a hidden layer and its nonlinearity: LayerNorm, RMSNorm or BatchNorm."""
    weight_constraint: Literal["none", "spectral", "orthogonal", "stable_rank"] = "none"
    """What hidden weights W are held to, whatever hidden_gain: norm 1, W'W = 1, or norm 1 and low stable rank."""
    stable_rank: Annotated[float, Gt(0), Le(1)] = 0.5
    """Where weight_constraint bounds the stable rank: the bound, as a fraction of what the shape allows, at least 2.
    With init: orthogonal, whose singular values are equal, small steps can make the constrained weights jump."""
    residual: bool = False
    """Whether the input of a layer is added to its output, the layer weighed 1/sqrt(number of such layers)."""
    gate: Literal["none", "gru", "lstm"] = "none"
    """Gates, in depth, between the input of a layer and its output; instead of residual."""
    gate_bias: Annotated[float, Ge(0)] = 2.0
    """How far gates begin towards the identity: the share sigmoid(gate_bias) of the input passes each."""


class Torso(MlpExtractor):
    """The hidden layers of policy (`policy_net`) and value function (`value_net`), alike and separate.

    A layer is a linear map, its normaliser and its nonlinearity. Ways around it need as many units as there are
    before it; where the width changes, and at the first layer, there is none. A gate's way leads from output to
    output (as in highway networks); a residual one from sums to sums, around the nonlinearity before and the
    linear map, so that what is added has mean 0 over the weights (pre-activation: He et al., arXiv:1603.05027).

    With default settings it is SB3's MlpExtractor, names and random draws included. ValueError: `residual` and
    `gate` together, or either with no layer to go around.
    """

    def __init__(
        self, features_dim: int, settings: NetworkSettings, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(features_dim, [], ACTIVATIONS[settings.activation], device)
        self.policy_net = hidden_layers(features_dim, settings).to(device)
        self.value_net = hidden_layers(features_dim, settings).to(device)
        self.latent_dim_pi = self.latent_dim_vf = (features_dim, *settings.net_arch)[-1]


def hidden_layers(features_dim: int, settings: NetworkSettings) -> nn.Sequential:
    """Return one network, [B, features_dim] -> [B, last width], weights as torch's layers come."""
    widths, bypassed = (features_dim, *settings.net_arch), bypassed_layers(settings)
    linears: list[nn.Module] = [nn.Linear(inputs, width) for inputs, width in pairwise(widths)]
    tails: list[list[nn.Module]] = [
        [*normaliser(settings.normalize_layers, width), ACTIVATIONS[settings.activation]()]
        for width in settings.net_arch
    ]
    if settings.residual:
        inner = [[*tail, linear] for tail, linear in zip(tails, linears[1:], strict=False)]
        groups = [[linears[0]], *inner, tails[-1]]
    else:
        groups = [[linear, *tail] for linear, tail in zip(linears, tails, strict=True)]
    layers: list[nn.Module] = []
    for index, group in enumerate(groups):
        layers += [bypass(settings, widths[index], nn.Sequential(*group))] if index in bypassed else group
    return nn.Sequential(*layers)


def bypassed_layers(settings: NetworkSettings) -> list[int]:
    """Return the layers that the input also goes around, counted from 0. ValueError: as of Torso."""
    if not settings.residual and settings.gate == "none":
        return []
    asked = "residual" if settings.residual else "gate"
    if settings.residual and settings.gate != "none":
        raise ValueError(
            f"residual and gate (here {settings.gate!r}) are two ways around one layer: choose one of them"
        )
    found = [k for k, (before, after) in enumerate(pairwise(settings.net_arch), 1) if before == after]
    if not found:
        raise ValueError(
            f"{asked} goes around a layer as wide as the one before it, and net_arch {settings.net_arch} has none"
        )
    return found


def bypass(settings: NetworkSettings, width: int, layer: nn.Module) -> nn.Module:
    """Return the layer with what goes around it."""
    match settings.gate:
        case "gru":
            return GRUGate(layer, width, settings.gate_bias)
        case "lstm":
            return LSTMGate(layer, width, settings.gate_bias)
        case "none":
            return Residual(layer, len(bypassed_layers(settings)) ** -0.5)
