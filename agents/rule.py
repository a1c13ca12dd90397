"""What an update rule is, and the engine of all rules that descend a loss in minibatches.

A rule is ONE file in agents/rules/ with one class: settings as fields of a frozen dataclass, each with a
docstring under it, and (for a FirstOrderRule) one pure function `objective`. It keeps no state of its own (what
must survive an update is named by `memory` and kept by the learner), uses no generator but the one it is given
and never measures itself: what an update did to the policy is for the monitor to say.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt
from gymnasium import spaces
from torch import Tensor
from torch.nn import Parameter

from agents.batch import Batch, minibatches
from agents.distribution import Distribution
from agents.learner import Evaluation, Learner


class Outcome(Enum):
    """How an update ended; the value is the sentence."""

    ACCEPTED = "accepted: the steps were taken"
    REJECTED = "rejected: no trial step met the constraint, policy parameters unchanged"
    NO_GRADIENT = "no gradient: the surrogate is flat at the old policy, policy parameters unchanged"
    NO_CURVATURE = "no curvature: s'Fs was not positive along the step, policy parameters unchanged"
    NOT_FINITE = (
        "not finite: a loss, gradient or parameter was NaN or infinite, policy and optimizer as before"
    )


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
    """Weight of the value function's loss."""
    max_grad_norm: Annotated[float, Gt(0)] = 0.5
    """Gradients longer than this are scaled down to it, unless gradient_norm says otherwise."""
    normalize_advantage: bool = True
    """Whether advantages are shifted and scaled to mean 0 and deviation 1 where they are used."""
    ent_coef: Annotated[float, Ge(0)] = 0.0
    """Weight of the entropy bonus."""

    def memory(self) -> dict[str, float]:
        """Return what this rule carries from one update to the next, by name, with the values it begins with."""
        return {}

    def update(self, learner: Learner, batch: Batch, rng: np.random.RandomState) -> Outcome:
        """Change the learner's policy once; where anything stopped being finite, put everything back."""
        before = learner.snapshot()
        for name, value in self.memory().items():
            learner.memory.setdefault(name, torch.tensor(value, device=learner.policy.device))
        learner.begin_update(self.learning_rate)
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

    def fit_values(
        self, learner: Learner, batch: Batch, rng: np.random.RandomState, policy: Sequence[Parameter]
    ) -> bool:
        """The value steps of a first-order rule, on those parameters alone that the policy does not use."""
        learner.training(True)
        shared = {id(parameter) for parameter in policy}
        only = [parameter for parameter in learner.parameters if id(parameter) not in shared]
        for _ in range(self.n_epochs):
            for rows in minibatches(len(batch), self.batch_size, rng):
                loss = learner.value_loss(batch.rows(rows))
                learner.note(value_loss=loss)
                if not learner.descend(self.vf_coef * loss, self.max_grad_norm, only):
                    return False
        return True

    def scaled(self, advantages: Tensor) -> Tensor:
        """Return the advantages as this rule uses them, shape [..., B] -> [..., B]."""
        return normalised(advantages) if self.normalize_advantage else advantages


def normalised(advantages: Tensor) -> Tensor:
    """(A - mean) / (std + 1e-8) along the last axis; a single sample has no deviation and stays as it is."""
    if advantages.shape[-1] < 2:
        return advantages
    return (advantages - advantages.mean(-1, keepdim=True)) / (advantages.std(-1, keepdim=True) + 1e-8)


@dataclass(frozen=True)
class Past:
    """What is kept of the policy that collected the batch."""

    distribution: Distribution

    def rows(self, index: Tensor) -> "Past":
        """Return what belongs to these samples only."""
        return Past(self.distribution.rows(index))


@dataclass(frozen=True)
class View:
    """One minibatch as a rule sees it before a step, with its graph."""

    batch: Batch
    past: Past
    now: Evaluation
    log_ratio: Tensor
    """[B] log pi_new - log pi_old of the actions."""
    ratio: Tensor
    """[B]."""
    kl: Tensor
    """[B] KL(pi_old || pi_new) of the states, exact and summed over action dimensions."""


@dataclass(frozen=True, kw_only=True)
class FirstOrderRule(Rule):
    """Epochs of minibatch steps up `objective`, with value loss and entropy bonus in the same loss.

    A rule must say its `objective`. Where that is not all, it may override, from small to large: `memory`, `stops`,
    `log_ratio`, `past`, `look`, `loss`, `descend`.
    """

    @abstractmethod
    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """What to maximise, per sample: shapes [..., B] -> [..., B]; leading axes are independent agents.

        `ratio` is pi_new / pi_old of the action taken, `kl` is KL(pi_old || pi_new) of the state, exact and
        summed over action dimensions. Further arguments are entries of `memory`, by name, each of shape [] or
        [..., 1].
        """

    def stops(self, view: View) -> bool:
        """Whether the update ends before the step on this minibatch."""
        del view
        return False

    def log_ratio(self, log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
        """Return log pi_new - log pi_old, where pi_old is the policy that acted."""
        return log_prob - old_log_prob

    def attempt(self, learner: Learner, batch: Batch, rng: np.random.RandomState) -> Outcome:
        """n_epochs passes over the batch, one optimizer step per minibatch."""
        past = self.past(learner, batch)
        learner.training(True)
        return Outcome.ACCEPTED if self.descend(learner, batch, past, rng) else Outcome.NOT_FINITE

    def descend(self, learner: Learner, batch: Batch, past: Past, rng: np.random.RandomState) -> bool:
        """All steps of one update; False once a loss or gradient is not finite."""
        for _ in range(self.n_epochs):
            learner.notes.pop("approx_kl", None)  # as in SB3, this number is about the last epoch only
            for rows in minibatches(len(batch), self.batch_size, rng):
                view = self.look(learner, batch.rows(rows), past.rows(rows))
                learner.note(approx_kl=(view.ratio.detach() - 1 - view.log_ratio.detach()).mean())
                if self.stops(view):
                    return True
                loss = self.loss(learner, view)
                learner.notes["loss"] = [loss.detach()]  # and this one about the last minibatch
                if not learner.descend(loss, self.max_grad_norm):
                    return False
        return True

    def past(self, learner: Learner, batch: Batch) -> Past:
        """Keep what the policy says about the batch before the first step."""
        return Past(learner.behaviour(batch.observations))

    def look(self, learner: Learner, minibatch: Batch, past: Past) -> View:
        """Evaluate the present policy on a minibatch."""
        now = learner.evaluate(minibatch)
        log_ratio = self.log_ratio(now.log_prob, minibatch.log_prob)
        return View(minibatch, past, now, log_ratio, log_ratio.exp(), past.distribution.kl(now.distribution))

    def loss(self, learner: Learner, view: View) -> Tensor:
        """-mean objective + ent_coef * (-mean entropy) + vf_coef * value loss, and what the stabilisers add."""
        recalled = {name: learner.memory[name] for name in recalled_by(type(self))}
        advantages = self.scaled(view.batch.advantages)
        policy_loss = -self.objective(view.ratio, advantages, view.kl, **recalled).mean()
        value_loss = learner.value_loss(view.batch, view.now.values)
        entropy_loss = -view.now.entropy.mean()
        learner.note(policy_gradient_loss=policy_loss, value_loss=value_loss, entropy_loss=entropy_loss)
        weight = learner.entropy_coef(self.ent_coef, view.now.entropy)
        loss = policy_loss + weight * entropy_loss + self.vf_coef * value_loss
        roughness = learner.roughness(view.batch)
        return loss if roughness is None else loss + roughness


@cache
def recalled_by(rule: type[FirstOrderRule]) -> tuple[str, ...]:
    """Names of the entries of the memory that a rule's objective takes, after ratio, advantage and kl."""
    return tuple(inspect.signature(rule.objective).parameters)[4:]
