"""How much of the networks is in use: what their units do on states of the rollout, after the update.

In Moalla et al. (arXiv:2405.00662) the pre-activations grow first, then the rank of the policy's features falls, then
the bound on the ratio stops holding, then the policy collapses. All from the level `full` on.

Phi [N, units] are the features: what enters the last linear map of the policy, or of the value function. Its singular
values s are the square roots of the eigenvalues of Phi' Phi, computed in float64; those below 1e-7 of the largest are
rounding, and count as 0.
"""

from typing import TYPE_CHECKING

import torch

from rl_lab.monitor.quantities import Level, NotApplicable, given

if TYPE_CHECKING:
    from torch import Tensor

    from rl_lab.monitor.measure.update import Update

LEVEL = Level.FULL

ENERGY = 0.99
"""Share of the energy, sum s^2, that feature_rank_99 wants explained."""
DORMANT = 0.025
"""Mean |h| of a dormant unit, relative to the mean of its layer: ReDo's tau (Sokar et al., arXiv:2302.12902)."""
STILL = 1e-3
"""Standard deviation over states below which a unit says the same of all of them (Moalla et al., for dead tanh)."""


def feature_rank(u: "Update") -> float:
    """Effective rank of the policy's features, exp(H(s / sum s)) with the entropy H [1..units] (Roy and Vetterli,
    EUSIPCO 2007)."""
    return _effective_rank(given(given(u.activations).features))


def feature_rank_99(u: "Update") -> float:
    """Approximate rank of the policy's features: how many singular values make 99 % of sum s^2 [1..units] (Yang et
    al., arXiv:1909.12255)."""
    energy = _energies(given(given(u.activations).features))
    share = energy.cumsum(0) / energy.sum()
    return float((share < ENERGY).sum() + 1) if bool(share.isfinite().all()) else torch.nan


def stable_rank(u: "Update") -> float:
    """Stable rank of the policy's features, sum s^2 / max s^2 [1..units]."""
    energy = _energies(given(given(u.activations).features))
    return float(energy.sum() / energy[0])


def feature_norm(u: "Update") -> float:
    """Root mean square over states of the length of the policy's feature vector."""
    return _mean_length(given(given(u.activations).features))


def preactivation_norm(u: "Update") -> float:
    """Root mean square over states of the length of what enters the policy's last nonlinearity."""
    return _mean_length(given(given(u.activations).preactivations))


def value_feature_rank(u: "Update") -> float:
    """Effective rank, as of feature_rank, of the value function's features [1..units]."""
    return _effective_rank(given(given(u.activations).value_features))


def dormant_share(u: "Update") -> float:
    """Share of all hidden units, policy and value function, whose mean |h| over states is at most 0.025 of the mean of
    their layer, or whose whole layer is 0 [0..1] (Sokar et al., arXiv:2302.12902)."""
    sizes = [layer.abs().mean(0) for layer in _layers(u)]
    return _share([size <= DORMANT * size.mean() for size in sizes], sizes)


def saturated_share(u: "Update") -> float:
    """Share of all hidden units, policy and value function, whose standard deviation over states is below 0.001: dead,
    or at the end of their range [0..1] (Moalla et al., arXiv:2405.00662)."""
    deviations = [layer.std(0, correction=0) for layer in _layers(u)]
    return _share([deviation < STILL for deviation in deviations], deviations)


def _layers(u: "Update") -> "list[Tensor]":
    layers = list(given(u.activations).layers.values())
    if not layers:
        raise NotApplicable
    return layers


def _share(flags: "list[Tensor]", of: "list[Tensor]") -> float:
    """Share of units that are flagged; NaN where a number they are judged by is not finite."""
    if not bool(torch.cat(of).isfinite().all()):
        return torch.nan
    return float(torch.cat(flags).double().mean())


def _energies(features: "Tensor") -> "Tensor":
    """Squares of the singular values up to a common factor, the largest first, shape [min(N, units)]; NaN where a
    feature is not finite."""
    phi = features.detach().cpu().double()
    if not bool(phi.isfinite().all()):
        return torch.full((phi.shape[1],), torch.nan, dtype=torch.float64)
    largest = phi.abs().max()
    if largest == 0:
        raise NotApplicable
    phi = phi / largest  # so that its square is finite too
    gram = phi.T @ phi if phi.shape[0] >= phi.shape[1] else phi @ phi.T
    energy = torch.linalg.eigvalsh(gram).flip(0).clamp_min(0)
    return torch.where(energy < 1e-14 * energy[0], 0.0, energy)


def _effective_rank(features: "Tensor") -> float:
    values = _energies(features).sqrt()
    share = values / values.sum()
    return float(torch.special.entr(share).sum().exp())


def _mean_length(vectors: "Tensor") -> float:
    return float(vectors.detach().cpu().double().square().sum(1).mean().sqrt())
