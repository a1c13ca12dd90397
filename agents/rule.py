"""What an update rule is, and the engine of all rules that descend a loss in minibatches.

A rule is ONE file in agents/rules/ with one class: settings as fields of a frozen dataclass, each with a
docstring under it, and (for a FirstOrderRule) one pure function `objective`. It keeps no state, uses no
generator but the one it is given and never measures itself: what an update did to the policy is for the
monitor to say.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt
from gymnasium import spaces
from torch import Tensor
from torch.nn.functional import mse_loss

from agents.batch import Batch, minibatches
from agents.distribution import Distribution
from agents.learner import Learner


class Outcome(Enum):
    """How an update ended; the value is the sentence."""

    ACCEPTED = "accepted: the policy changed"
    REJECTED = "rejected: no trial step met the constraint, policy parameters unchanged"
    NO_GRADIENT = "no gradient: the surrogate is flat at the old policy, policy parameters unchanged"
    NO_CURVATURE = "no curvature: s'Fs was not positive along the step, policy parameters unchanged"
    NOT_FINITE = "not finite: a loss, gradient or parameter was NaN or infinite, all as before the update"


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """One policy change from one batch. The fields here are equal terms: every rule has them."""

    trust_region: ClassVar[str] = "its objective alone"
    """What bounds the step, in one phrase."""
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (
        spaces.Box,
        spaces.Discrete,
        spaces.MultiDiscrete,
        spaces.MultiBinary,
    )
    """Kinds of actions the method is defined for."""
    host_defaults: ClassVar[Mapping[str, object]] = {}
    """Settings of the host for which this rule's source has another default."""
    optimizer: ClassVar[tuple[type[torch.optim.Optimizer], Mapping[str, float]]] = (
        torch.optim.Adam,
        {"eps": 1e-5},
    )
    """Optimizer and its settings besides the learning rate."""

    learning_rate: Annotated[float, Gt(0)] = 3e-4
    """Step size of the optimizer."""
    n_epochs: Annotated[int, Ge(1)] = 10
    """Passes over the batch in one update."""
    batch_size: Annotated[int, Ge(2)] = 64
    """Samples in one minibatch."""
    vf_coef: Annotated[float, Ge(0)] = 0.5
    """Weight of the value function's squared error in the loss."""
    max_grad_norm: Annotated[float, Gt(0)] = 0.5
    """Gradients longer than this are scaled down to it."""
    normalize_advantage: bool = True
    """Whether advantages are shifted and scaled to mean 0 and deviation 1 where they are used."""

    def update(self, learner: Learner, batch: Batch, rng: np.random.RandomState) -> Outcome:
        """Change the learner's policy once; where anything stopped being finite, put everything back."""
        before = learner.snapshot()
        learner.set_learning_rate(self.learning_rate)
        try:
            outcome = self.attempt(learner, batch, rng)
        except FloatingPointError:
            outcome = Outcome.NOT_FINITE
        if outcome is Outcome.NOT_FINITE or not learner.is_finite():
            learner.restore(before)
            return Outcome.NOT_FINITE
        return outcome

    @abstractmethod
    def attempt(self, learner: Learner, batch: Batch, rng: np.random.RandomState) -> Outcome:
        """Change the learner's policy once, without the guard that `update` puts around it."""

    def scaled(self, advantages: Tensor) -> Tensor:
        """Return the advantages as this rule uses them, shape [..., B] -> [..., B]."""
        return normalised(advantages) if self.normalize_advantage else advantages


def normalised(advantages: Tensor) -> Tensor:
    """(A - mean) / (std + 1e-8) along the last axis; a single sample has no deviation and stays as it is."""
    if advantages.shape[-1] < 2:
        return advantages
    return (advantages - advantages.mean(-1, keepdim=True)) / (advantages.std(-1, keepdim=True) + 1e-8)


@dataclass(frozen=True, kw_only=True)
class FirstOrderRule(Rule):
    """Epochs of minibatch steps up `objective`, with value loss and entropy bonus in the same loss."""

    ent_coef: Annotated[float, Ge(0)] = 0.0
    """Weight of the entropy bonus."""

    @abstractmethod
    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """What to maximise, per sample: shapes [..., B] -> [..., B]; leading axes are independent agents.

        `ratio` is pi_new / pi_old of the action taken, `kl` is KL(pi_old || pi_new) of the state, exact and
        summed over action dimensions.
        """

    def log_ratio(self, log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
        """Return log pi_new - log pi_old, where pi_old is the policy that acted."""
        return log_prob - old_log_prob

    def attempt(self, learner: Learner, batch: Batch, rng: np.random.RandomState) -> Outcome:
        """n_epochs passes over the batch, one optimizer step per minibatch."""
        old = learner.behaviour(batch.observations)
        learner.training(True)
        for _ in range(self.n_epochs):
            learner.notes.pop("approx_kl", None)  # as in SB3, this number is about the last epoch only
            for rows in minibatches(len(batch), self.batch_size, rng):
                loss = self.loss(learner, batch.rows(rows), old.rows(rows))
                learner.notes["loss"] = [loss.detach()]  # and this one about the last minibatch
                if not learner.descend(loss, self.max_grad_norm):
                    return Outcome.NOT_FINITE
        return Outcome.ACCEPTED

    def loss(self, learner: Learner, minibatch: Batch, old: Distribution) -> Tensor:
        """-mean objective + ent_coef * (-mean entropy) + vf_coef * mean squared value error."""
        now = learner.evaluate(minibatch)
        log_ratio = self.log_ratio(now.log_prob, minibatch.log_prob)
        ratio = log_ratio.exp()
        kl = old.kl(now.distribution)
        policy_loss = -self.objective(ratio, self.scaled(minibatch.advantages), kl).mean()
        value_loss = mse_loss(minibatch.returns, now.values)
        entropy_loss = -now.entropy.mean()
        learner.note(
            policy_gradient_loss=policy_loss,
            value_loss=value_loss,
            entropy_loss=entropy_loss,
            approx_kl=(ratio.detach() - 1 - log_ratio.detach()).mean(),
        )
        return policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss
