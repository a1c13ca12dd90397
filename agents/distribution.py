"""What a policy says about one batch of states, as parameters: enough for exact divergences.

Shapes: B states, A action dimensions; leading axes `...` are independent agents.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

import torch
from stable_baselines3.common import distributions as sb3
from torch import Tensor
from torch.nn.functional import logsigmoid


class Distribution(ABC):
    """One action distribution per state."""

    @abstractmethod
    def rows(self, index: Tensor) -> Self:
        """Return the distributions of these states only."""

    @abstractmethod
    def kl(self, new: Self) -> Tensor:
        """KL(self || new) in nats, *summed* over action dimensions: shape [..., B].

        The sum is the divergence of the joint action; an average over dimensions would shrink it A-fold.
        """


@dataclass(frozen=True)
class Gaussian(Distribution):
    """Independent normal distributions: mean and std, each [..., B, A]."""

    mean: Tensor
    std: Tensor

    def rows(self, index: Tensor) -> "Gaussian":
        """Return the distributions of these states only."""
        return Gaussian(self.mean[..., index, :], self.std[..., index, :])

    def kl(self, new: "Gaussian") -> Tensor:
        """Sum over dimensions of  log(s'/s) + (s² + (m - m')²) / (2 s'²) - 1/2  (primes: new).

        Written with d = log(s/s') as  (exp(2d) - 1 - 2d + ((m - m')/s')²) / 2: it keeps its digits near zero.
        """
        shrink = torch.log(self.std) - torch.log(new.std)
        shift = (self.mean - new.mean) / new.std
        return 0.5 * (torch.expm1(2 * shrink) - 2 * shrink + shift**2).sum(-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Sum over dimensions of  -(a - m)² / (2 s²) - log s - log(2 pi) / 2,  for actions a [..., B, A]: [..., B]."""
        distance = (actions - self.mean) ** 2 / (2 * self.std**2)
        return (-distance - self.std.log() - math.log(math.sqrt(2 * math.pi))).sum(-1)


@dataclass(frozen=True)
class Categorical(Distribution):
    """One or several independent choices: log probabilities [..., B, n_i] for choice i."""

    log_probs: tuple[Tensor, ...]

    def rows(self, index: Tensor) -> "Categorical":
        """Return the distributions of these states only."""
        return Categorical(tuple(choice[..., index, :] for choice in self.log_probs))

    def kl(self, new: "Categorical") -> Tensor:
        """Sum over choices of  sum_k p_k (log p_k - log p'_k)."""
        choices = zip(self.log_probs, new.log_probs, strict=True)
        return torch.stack([(p.exp() * (p - q)).sum(-1) for p, q in choices]).sum(0)


@dataclass(frozen=True)
class Bernoulli(Distribution):
    """Independent coins: logits [..., B, A]."""

    logits: Tensor

    def rows(self, index: Tensor) -> "Bernoulli":
        """Return the distributions of these states only."""
        return Bernoulli(self.logits[..., index, :])

    def kl(self, new: "Bernoulli") -> Tensor:
        """Sum over coins of  p log(p/p') + (1 - p) log((1 - p)/(1 - p'))."""
        heads = torch.sigmoid(self.logits) * (logsigmoid(self.logits) - logsigmoid(new.logits))
        tails = torch.sigmoid(-self.logits) * (logsigmoid(-self.logits) - logsigmoid(-new.logits))
        return (heads + tails).sum(-1)


def read(distribution: sb3.Distribution) -> Distribution:
    """Return the parameters that a stable-baselines3 distribution holds at this moment (with their graph).

    A squashed Gaussian is read before its squashing: a divergence does not change under a bijection.
    """
    match distribution:
        case sb3.DiagGaussianDistribution():
            return Gaussian(distribution.distribution.mean, distribution.distribution.stddev)
        case sb3.CategoricalDistribution():
            return Categorical((distribution.distribution.logits,))
        case sb3.MultiCategoricalDistribution():
            return Categorical(tuple(choice.logits for choice in distribution.distribution))
        case sb3.BernoulliDistribution():
            return Bernoulli(distribution.distribution.logits)
        case _:
            raise TypeError(f"no exact divergence is known for {type(distribution).__name__}")
