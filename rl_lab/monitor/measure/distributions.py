"""The ruler: action distributions as plain numbers, and the exact divergences between them.

Everything is float64 and per state; nothing here samples. One ruler for every algorithm, because the
quantities that algorithms log under the name "KL" differ by factors (direction, averaging over action
dimensions, last minibatch only).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gaussian:
    """Diagonal Gaussian per state: mean and log_std, shapes [N, A].

    A tanh-squashed Gaussian is represented by the Gaussian it squashes: KL and probability ratios do
    not change under an invertible map of the action.
    """

    mean: Floats
    log_std: Floats

    def kl_per_dimension(self, other: "Gaussian") -> Floats:
        """KL(self || other) of every action dimension, shape [N, A], nats.

        log(s_q/s_p) + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1/2   with p = self, q = other.
        """
        return self.mean_shift(other) + self.covariance_shift(other)

    def mean_shift(self, other: "Gaussian") -> Floats:
        """The part of the KL that moving the mean causes: (m_p - m_q)^2 / (2 s_q^2), shape [N, A]."""
        with np.errstate(over="ignore", invalid="ignore"):
            return 0.5 * ((self.mean - other.mean) * np.exp(-other.log_std)) ** 2

    def covariance_shift(self, other: "Gaussian") -> Floats:
        """The rest of the KL, from changing the spread: (e^{2d} - 1) / 2 - d, d = log(s_p/s_q), [N, A]."""
        d = self.log_std - other.log_std
        with np.errstate(over="ignore", invalid="ignore"):
            return 0.5 * np.expm1(2 * d) - d

    def kl(self, other: "Gaussian") -> Floats:
        """KL(self || other), summed over action dimensions, shape [N], nats."""
        return np.asarray(self.kl_per_dimension(other).sum(axis=1))

    def entropy(self) -> Floats:
        """Differential entropy, sum_i [log s_i + log(2 pi e)/2], shape [N], nats."""
        return np.asarray((self.log_std + 0.5 * np.log(2 * np.pi * np.e)).sum(axis=1))


@dataclass(frozen=True)
class Categorical:
    """Independent categorical choices per state: one array of log-probabilities [N, K_i] per choice."""

    log_probs: tuple[Floats, ...]

    def kl_per_dimension(self, other: "Categorical") -> Floats:
        """KL(self || other) of every choice, shape [N, A], nats: sum_k p_k (log p_k - log q_k), 0 log 0 = 0."""
        columns = []
        for p, q in zip(self.log_probs, other.log_probs, strict=True):
            with np.errstate(invalid="ignore"):
                terms = np.exp(p) * (p - q)
            # Summing rounds a KL of zero to about -1e-17, and a logarithmic axis has no place for that.
            columns.append(np.maximum(np.where(np.isneginf(p), 0.0, terms).sum(axis=1), 0.0))
        return np.stack(columns, axis=1)

    def kl(self, other: "Categorical") -> Floats:
        """KL(self || other), summed over the choices, shape [N], nats."""
        return np.asarray(self.kl_per_dimension(other).sum(axis=1))

    def entropy(self) -> Floats:
        """Entropy summed over the choices, shape [N], nats."""
        total = np.zeros(self.log_probs[0].shape[0])
        for p in self.log_probs:
            with np.errstate(invalid="ignore"):
                total -= np.where(np.isneginf(p), 0.0, np.exp(p) * p).sum(axis=1)
        return total


Distribution = Gaussian | Categorical


@dataclass(frozen=True)
class Change:
    """Two policies on the same N states: how far apart are they?"""

    old: Distribution
    new: Distribution

    @cached_property
    def kl_per_dimension(self) -> Floats:
        """KL(pi_old || pi_new) per state and action dimension, shape [N, A], nats."""
        if type(self.old) is not type(self.new):
            raise TypeError(f"cannot compare {type(self.old).__name__} with {type(self.new).__name__}")
        return self.old.kl_per_dimension(self.new)  # type: ignore[arg-type]

    @cached_property
    def kl(self) -> Floats:
        """KL(pi_old || pi_new) per state, summed over action dimensions, shape [N], nats."""
        return np.asarray(self.kl_per_dimension.sum(axis=1))

    @cached_property
    def reverse_kl(self) -> Floats:
        """KL(pi_new || pi_old) per state, shape [N], nats."""
        return self.new.kl(self.old)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Step(Change):
    """A change of the policy that collected the N states, and the N actions that it took there."""

    log_ratio: Floats
    """log pi_new(a|s) - log pi_old(a|s), shape [N]."""

    @cached_property
    def ratio(self) -> Floats:
        """pi_new(a|s) / pi_old(a|s) of the actions taken, shape [N]."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_ratio)
