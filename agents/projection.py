"""Projections of a Gaussian policy onto a ball around the old one, state by state, in closed form.

Each moves a parameter along the straight line to its old value until a distance d meets its bound:

    new' = (new + w old) / (1 + w),   w = sqrt(d / bound) - 1,   where d > bound;

d shrinks with the square of what is left of the way, so that d(new', old) = bound exactly. Where d <= bound the
parameter comes back bit for bit. All are differentiable in `new`.

Shapes: mean and std are [..., B, A] for B states and A action dimensions; leading axes `...` are independent
agents; distances are [..., B], summed over action dimensions. The covariance is diagonal.

Source: Otto et al., Differentiable Trust Region Layers for Deep Reinforcement Learning (arXiv:2101.09207).
"""

from typing import Literal

import torch
from torch import Tensor

from agents.distribution import Gaussian

Metric = Literal["frobenius", "w2"]
"""How far two covariances are from each other."""


def mean_distance(new: Gaussian, old: Gaussian) -> Tensor:
    """Squared Mahalanobis distance of the means, sum over dimensions of ((m - m_old) / s_old)²: [..., B]."""
    return (((new.mean - old.mean) / old.std) ** 2).sum(-1)


def covariance_distance(new: Gaussian, old: Gaussian, metric: Metric) -> Tensor:
    """Distance of the covariances: [..., B].

    frobenius: squared norm of the difference, sum of (s² - s_old²)², in units of the actions to the fourth power.
    w2: squared Wasserstein-2 distance in units of the old deviation, sum of (s / s_old - 1)².
    """
    if metric == "frobenius":
        return ((new.std**2 - old.std**2) ** 2).sum(-1)
    return ((new.std / old.std - 1) ** 2).sum(-1)


def project(new: Gaussian, old: Gaussian, metric: Metric, mean_bound: float, cov_bound: float) -> Gaussian:
    """Return the policy on the way from `new` to `old` whose mean and covariance meet their bounds."""
    mean = _drawn(new.mean, old.mean, mean_distance(new, old), mean_bound)
    return Gaussian(mean, project_std(new, old, metric, cov_bound))


def project_std(new: Gaussian, old: Gaussian, metric: Metric, cov_bound: float) -> Tensor:
    """Return the deviation [..., B, A] on the way from `new` to `old` whose covariance meets its bound."""
    distance = covariance_distance(new, old, metric)
    if metric == "w2":
        return _drawn(new.std, old.std, distance, cov_bound)
    # The root of a square is the number itself, to the last bit.
    return _drawn(new.std**2, old.std**2, distance, cov_bound).sqrt()


def _drawn(new: Tensor, old: Tensor, distance: Tensor, bound: float) -> Tensor:
    """Leave sqrt(bound / distance) of the way from old to new where the distance [..., B] is beyond its bound."""
    # The clamp keeps the derivative of a root at zero distance out of the graph.
    left = torch.sqrt(bound / distance.clamp(min=bound))[..., None]
    return torch.where(distance[..., None] > bound, old + left * (new - old), new)
