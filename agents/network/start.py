"""The weights that training starts from."""

import math
from typing import Literal

import torch
from torch import nn

from agents.network.route import Gate

Scheme = Literal["orthogonal", "xavier", "kaiming", "torch"]
GAINS: dict[Scheme, float] = {
    "orthogonal": math.sqrt(2),
    "xavier": 1.0,
    "kaiming": math.sqrt(2),
    "torch": 1.0,
}
"""Gain of hidden layers that each scheme has by itself; SB3's orthogonal start has that of ReLU even for tanh."""


def start(network: nn.Module, scheme: Scheme, gain: float | None = None) -> None:
    """Draw the weights of all linear maps and convolutions in a network; `gain` None: the scheme's own.

    Gates are drawn by the same scheme with gain 1, and their biases begin at their openings.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            chosen = GAINS[scheme] if gain is None else gain
            draw(module, scheme, 1.0 if isinstance(module, Gate) else chosen)
        if isinstance(module, Gate):
            module.open()


@torch.no_grad()
def draw(layer: nn.Linear | nn.Conv2d, scheme: Scheme, gain: float) -> None:
    """Draw one layer from torch's global generator; biases are 0, except in torch's own scheme.

    orthogonal   W'W = gain² 1, or WW' = gain² 1 where W is wide: every direction kept is stretched by gain
    xavier       U(-a, a), a = gain sqrt(6 / (inputs + outputs)): between keeping signal and keeping gradient
    kaiming      N(0, gain² / inputs): with gain sqrt(2) ReLU layers keep the second moment of the signal
    torch        what the layer was built with, U(-1/sqrt(inputs), 1/sqrt(inputs)), bias included, times gain

    Sources: Saxe et al. (arXiv:1312.6120), as used in stable-baselines3; Glorot and Bengio, AISTATS 2010,
    eq. 16; He et al. (arXiv:1502.01852), eq. 10; torch.nn.Linear.
    """
    match scheme:
        case "orthogonal":
            nn.init.orthogonal_(layer.weight, gain)
        case "xavier":
            nn.init.xavier_uniform_(layer.weight, gain)
        case "kaiming":
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            layer.weight *= gain
        case "torch":
            layer.weight *= gain
    if layer.bias is None:
        return
    if scheme == "torch":
        layer.bias *= gain
    else:
        layer.bias.zero_()
