"""What goes around a hidden layer, so that signal and gradient pass many of them.

All take and give [B, width]. The layer is registered last: the last linear map of a network stays the one of its
last hidden layer.
"""

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """x + scale layer(x).

    In L layers whose weights have mean 0, scale 1/sqrt(L) bounds the variance of the output in L: each layer adds
    the share 1/L, and (1 + 1/L)^L < e. With scale 1 it doubles in every layer; with 1/L the layers vanish as L
    grows. (A layer that ends in a nonlinearity has no mean 0: ReLU's would add up to exp(c sqrt(L)).)

    Sources: He et al. (arXiv:1512.03385); the scale: Hayou et al. (arXiv:2010.12859), Marion et al.
    (arXiv:2206.06929).
    """

    def __init__(self, layer: nn.Module, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Shape [B, width] -> [B, width]."""
        both: Tensor = x + self.scale * self.layer(x)
        return both


class Gate(nn.Linear):
    """The affine map of one or several gates, side by side, with the value at which the bias of each begins."""

    def __init__(self, inputs: int, width: int, *openings: float) -> None:
        super().__init__(inputs, width * len(openings))
        self.openings = openings

    def open(self) -> None:
        """Set the biases to where they begin."""
        with torch.no_grad():
            self.bias.copy_(
                self.bias.new_tensor(self.openings).repeat_interleave(len(self.bias) // len(self.openings))
            )


class GRUGate(nn.Module):
    """(1 - z) x + z h  with  h = tanh(U (r x) + W y + c),  r, z = sigmoid(R (x, y) + b),  y = layer(x).

    The bias of z begins at -bias: at 2 the input passes with weight 0.88, and a layer begins near the identity.

    Source: Parisotto et al. (arXiv:1910.06764), GRU-type gating; here r and h have biases too, which begin at 0.
    """

    def __init__(self, layer: nn.Module, width: int, bias: float) -> None:
        super().__init__()
        self.gates = Gate(2 * width, width, 0.0, -bias)
        self.candidate = Gate(2 * width, width, 0.0)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Shape [B, width] -> [B, width]."""
        y = self.layer(x)
        r, z = torch.sigmoid(self.gates(torch.cat([x, y], -1))).chunk(2, -1)
        h = torch.tanh(self.candidate(torch.cat([r * x, y], -1)))
        return (1 - z) * x + z * h


class LSTMGate(nn.Module):
    """f x + i layer(x)  with  f, i = sigmoid(G x + b): forget and input gate of an LSTM's cell, in depth.

    The biases begin at bias and -bias: f + i is near 1, and at 2 the input passes with weight 0.88.

    Source: Srivastava et al. (arXiv:1505.00387), carry and transform gate before they are tied to sum to 1; the
    cell of Gers et al., Neural Computation 12, 2451 (2000).
    """

    def __init__(self, layer: nn.Module, width: int, bias: float) -> None:
        super().__init__()
        self.gates = Gate(width, width, bias, -bias)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Shape [B, width] -> [B, width]."""
        f, i = torch.sigmoid(self.gates(x)).chunk(2, -1)
        cell: Tensor = f * x + i * self.layer(x)
        return cell
