"""What the weight matrix of a hidden layer may be: held by a parametrisation, whatever the optimizer does."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrizations import orthogonal
from torch.nn.utils.parametrize import register_parametrization

from agents.network.route import Gate

Constraint = Literal["none", "spectral", "orthogonal", "stable_rank"]


def constrain(network: nn.Module, constraint: Constraint, stable_rank: float) -> None:
    """Hold the weights of all hidden layers of a network, those of gates excepted.

    orthogonal is torch's parametrisation by a Cayley map (Lezcano-Casado, arXiv:1909.09501; its other maps take
    three to ten times as long to differentiate): W'W = 1, or WW' = 1 where W is wide. It begins at the orthogonal
    factor of the weights as they are. For the others see Spectral and StableRank.
    """
    for layer in [found for found in network.modules() if isinstance(found, nn.Linear)]:
        if isinstance(layer, Gate):
            continue
        match constraint:
            case "spectral":
                register_parametrization(layer, "weight", Spectral())
            case "stable_rank":
                register_parametrization(layer, "weight", StableRank(stable_rank))
            case "orthogonal":
                orthogonal(layer, orthogonal_map="cayley")


class Spectral(nn.Module):
    """W / s, where s is the largest singular value of W: the layer stretches no direction by more than 1.

    s = u'Wv with the singular vectors computed anew from W and held fixed in the derivative, which makes
    ds = u'dW v exact. torch's own spectral_norm follows u and v by a power iteration that runs in training mode
    only: under a rule that moves the policy as it acts (trpo, npg) it stands still while W moves, and it makes
    the policy that learns another one than the policy that acted.

    Source: Miyato et al. (arXiv:1802.05957).
    """

    def forward(self, weight: Tensor) -> Tensor:
        """Shape [outputs, inputs] -> [outputs, inputs]."""
        u, v = top_singular_vectors(weight)
        return weight / (u @ weight @ v)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Begin at the weights as they are."""
        return weight


class StableRank(nn.Module):
    """uv' + k (W/s - uv'),  k = min(1, sqrt(r - 1) / |W/s - uv'|):  stable rank at most r, largest value 1.

    The stable rank of a matrix is |W|² / s², with the Frobenius norm and the largest singular value s; r is
    `fraction` times the smaller side of W, at least 2 (at 1 only uv' would be left, and with it no gradient). Of
    all matrices with this bound and the same u, s, v it is
    the nearest to W/s. u and v are held fixed in the derivative. (Where the largest singular values are equal, as
    an orthogonal start makes them, small changes of W exchange u and v for others and the result jumps.)

    Source: Sanyal et al. (arXiv:1906.04659), Algorithm 1.
    """

    def __init__(self, fraction: float) -> None:
        super().__init__()
        self.fraction = fraction

    def forward(self, weight: Tensor) -> Tensor:
        """Shape [outputs, inputs] -> [outputs, inputs]."""
        u, v = top_singular_vectors(weight)
        top = torch.outer(u, v)
        rest = weight / (u @ weight @ v) - top
        bound = max(2.0, self.fraction * min(weight.shape))
        norm = torch.linalg.matrix_norm(rest).clamp_min(torch.finfo(weight.dtype).tiny)
        held: Tensor = top + (math.sqrt(bound - 1) / norm).clamp_max(1.0) * rest
        return held

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Begin at the weights as they are."""
        return weight


@torch.no_grad()
def top_singular_vectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return u [m] and v [n] with  matrix v = s u  for the largest singular value s of a matrix [m, n].

    One of them is the last eigenvector of the smaller Gram matrix, twice as fast as a singular value
    decomposition. Of a matrix that is not finite they are those of another one, so that what is made of both is
    not finite either.
    """
    finite = torch.where(torch.isfinite(matrix), matrix, 0.0)
    largest = finite.abs().amax().clamp_min(torch.finfo(matrix.dtype).tiny)
    scaled = finite / largest  # so that its square is finite too
    if matrix.shape[0] < matrix.shape[1]:
        u = torch.linalg.eigh(scaled @ scaled.T).eigenvectors[:, -1]
        return u, normalize(scaled.T @ u, dim=0)
    v = torch.linalg.eigh(scaled.T @ scaled).eigenvectors[:, -1]
    return normalize(scaled @ v, dim=0), v
