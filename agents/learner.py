"""What a rule may touch: a policy, its optimizer, its stabilisers, a memory, and a notebook for the log."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor
from torch.nn import Parameter

from agents.batch import Batch, Observations
from agents.distribution import Distribution, read
from agents.stabilisers import Stabilisers, entropy, gradient, smoothness, value


@dataclass(frozen=True)
class Evaluation:
    """What the present policy says about a batch, with its graph."""

    log_prob: Tensor
    """[B] log density of the batch's actions."""
    values: Tensor
    """[B] value of the batch's states."""
    entropy: Tensor
    """[B] entropy of the action distribution, summed over action dimensions."""
    distribution: Distribution


@dataclass(frozen=True)
class Snapshot:
    """Copies of everything that an update changes."""

    policy: dict[str, Tensor]
    optimizer: dict[Tensor, dict[str, Any]]
    memory: dict[str, Tensor]
    learning_rates: list[float]


class Learner:
    """A policy and its optimizer, seen by a rule.

    `memory` holds what rule and stabilisers carry from one update to the next, by name; entries are replaced,
    never edited in place. `progress_remaining` falls from 1 at the beginning of training to 0 at its end.
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        stabilisers: Stabilisers | None = None,
        memory: dict[str, Tensor] | None = None,
        progress_remaining: float = 1.0,
    ) -> None:
        self.policy = policy
        self.stabilisers = stabilisers or Stabilisers()
        self.memory: dict[str, Tensor] = {} if memory is None else memory
        self.progress_remaining = progress_remaining
        self.parameters: list[Parameter] = list(policy.parameters())
        self.notes: dict[str, list[Tensor]] = {}
        self._entropy_coef: float | Tensor | None = None

    def note(self, **quantities: Tensor) -> None:
        """Keep numbers for the log; the host writes the mean of each as `train/<name>`."""
        for name, quantity in quantities.items():
            self.notes.setdefault(name, []).append(quantity.detach())

    def begin_update(self, learning_rate: float) -> None:
        """Prepare optimizer and stabilisers for one update with this step size."""
        self.set_learning_rate(learning_rate)
        gradient.begin_update(self.stabilisers, self.policy.optimizer, self.parameters, self.memory)
        self._entropy_coef = None

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the optimizer's step size, which falls to 0 with the training that remains if it is annealed."""
        if self.stabilisers.anneal_learning_rate:
            learning_rate *= self.progress_remaining
        for group in self.policy.optimizer.param_groups:
            group["lr"] = learning_rate

    def training(self, on: bool) -> None:
        """Switch dropout and its like on or off; SB3 walks all modules for it, so only where it matters."""
        if self.policy.training != on:
            self.policy.set_training_mode(on)

    def behaviour(self, observations: Observations) -> Distribution:
        """Return what the present policy would do, without a graph and in the mode in which it acts.

        FloatingPointError, here and in `evaluate`: the policy's output is no distribution.
        """
        self.training(False)
        with torch.no_grad(), _refused_numbers_named():
            return read(self.policy.get_distribution(observations))

    def evaluate(self, batch: Batch) -> Evaluation:
        """Return log densities, values, entropies and distributions of the present policy on this batch."""
        with _refused_numbers_named():
            values, log_prob, entropy = self.policy.evaluate_actions(batch.observations, batch.actions)
        assert entropy is not None  # only gSDE policies have none, and the host builds no such policy
        # SB3 returns no distribution, but leaves the one it has just used in `action_dist`.
        return Evaluation(log_prob, values.flatten(), entropy, read(self.policy.action_dist))

    def value_loss(self, batch: Batch, values: Tensor | None = None) -> Tensor:
        """Return the mean loss of the value function; `values` [B] spares a second look at the states."""
        if values is None:
            values = self.policy.predict_values(batch.observations).flatten()
        if (beyond := value.share_beyond(self.stabilisers, batch.returns)) is not None:
            self.note(returns_beyond_bins=beyond)
        return value.loss(self.stabilisers, self.policy, values, batch)

    def entropy_coef(self, ent_coef: float, entropies: Tensor) -> float | Tensor:
        """Return the weight of the entropy bonus in this update, given the entropies [B] of a minibatch.

        The first minibatch decides for the whole update, so that a controller counts updates under every rule.
        """
        if self._entropy_coef is None:
            self._entropy_coef = entropy.coefficient(
                self.stabilisers, ent_coef, entropies, self.memory, self.progress_remaining
            )
            if self.stabilisers.entropy != "fixed":
                self.note(ent_coef=torch.as_tensor(self._entropy_coef))
        return self._entropy_coef

    def roughness(self, batch: Batch) -> Tensor | None:
        """Return the weighted penalty on the policy's sensitivity to its observations; None: none is asked."""
        with _refused_numbers_named():
            found = smoothness.penalty(self.stabilisers, self.policy, batch.observations)
        if found is not None:
            self.note(roughness=found)
        return found

    def descend(self, loss: Tensor, max_grad_norm: float, only: Sequence[Parameter] | None = None) -> bool:
        """One optimizer step down the loss, on all parameters or on `only` these.

        Returns False, and takes no step, where the loss or the norm of its gradient is not finite. (Clipping to
        an infinite norm would scale the gradient to zero: an update that did nothing and says nothing.)
        """
        optimizer = self.policy.optimizer
        optimizer.zero_grad()
        torch.autograd.backward(loss, inputs=only)
        norm = gradient.treat(self.stabilisers, self.parameters, max_grad_norm, self.memory)
        self.note(grad_norm=norm)
        if not torch.isfinite(loss.detach() + norm):
            return False
        optimizer.step()
        return True

    def snapshot(self) -> Snapshot:
        """Copy policy (parameters and buffers), optimizer state and memory."""
        return Snapshot(
            {name: value.clone() for name, value in self.policy.state_dict().items()},
            copied(self.policy.optimizer.state),
            dict(self.memory),
            [group["lr"] for group in self.policy.optimizer.param_groups],
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Put policy, optimizer and memory back, bit for bit."""
        self.policy.load_state_dict(snapshot.policy)
        state = self.policy.optimizer.state
        state.clear()
        state.update(copied(snapshot.optimizer))
        for group, rate in zip(self.policy.optimizer.param_groups, snapshot.learning_rates, strict=True):
            group["lr"] = rate
        self.memory.clear()
        self.memory.update(snapshot.memory)

    def is_finite(self) -> bool:
        """Whether every parameter is a finite number, and so is every standard deviation and its inverse."""
        numbers = [parameter.detach().reshape(-1) for parameter in self.parameters]
        if isinstance(log_std := getattr(self.policy, "log_std", None), Tensor):
            numbers += [log_std.detach().exp(), (-log_std.detach()).exp()]
        return bool(torch.cat(numbers).isfinite().all())


def copied(state: Mapping[Tensor, Mapping[str, Any]]) -> dict[Tensor, dict[str, Any]]:
    """Copy the state of an optimizer, tensors included."""
    return {
        parameter: {k: v.clone() if isinstance(v, Tensor) else v for k, v in entries.items()}
        for parameter, entries in state.items()
    }


def reached(scalar: Tensor, parameters: Sequence[Parameter]) -> list[Parameter]:
    """Return the parameters that this scalar depends on."""
    gradients = torch.autograd.grad(scalar, parameters, retain_graph=True, allow_unused=True)
    return [
        parameter for parameter, gradient in zip(parameters, gradients, strict=True) if gradient is not None
    ]


@contextmanager
def _refused_numbers_named() -> Iterator[None]:
    """Turn torch's refusal to build a distribution from NaN or a zero deviation into a FloatingPointError.

    torch says it with a ValueError, which could be anyone's mistake; this one is told by its words.
    """
    try:
        yield
    except ValueError as error:
        if "to satisfy the constraint" in str(error):
            raise FloatingPointError("the policy's output is no distribution") from error
        raise
