"""Steps measured by the divergence they cause: s = F⁻¹ g, scaled to a mean KL, then (perhaps) a line search.

F is the Fisher matrix, the Hessian of mean KL(pi_old || pi_new) at pi_new = pi_old. It is never formed: only
its products F v are computed.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt
from torch import Tensor
from torch.nn import Parameter

from agents.batch import Batch
from agents.distribution import Distribution
from agents.learner import Evaluation, Learner, reached
from agents.rule import Outcome, Rule


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float = 1e-10
) -> Tensor:
    """Solve A x = b for symmetric positive A, given v -> A v; starts at x = 0.

    Stops after `iterations`, at |b - A x|² < tolerance |b|², or with x so far where a direction has no positive
    curvature. Source: Hestenes and Stiefel, J. Res. NBS 49, 409 (1952).
    """
    x = torch.zeros_like(b)
    residual, direction = b.clone(), b.clone()
    square = residual @ residual
    enough = tolerance * square
    for _ in range(iterations):
        if square <= enough:
            break
        image = product(direction)
        curvature = direction @ image
        if not curvature > 0:
            break
        length = square / curvature
        x = x + length * direction
        residual = residual - length * image
        previous, square = square, residual @ residual
        direction = residual + (square / previous) * direction
    return x


def fisher_product(kl: Tensor, parameters: Sequence[Tensor], damping: float) -> Callable[[Tensor], Tensor]:
    """Return v -> F v + damping v for F the Hessian of the scalar `kl`, by differentiating it twice."""
    gradient = flat(torch.autograd.grad(kl, parameters, create_graph=True))

    def product(vector: Tensor) -> Tensor:
        return flat(torch.autograd.grad(gradient @ vector, parameters, retain_graph=True)) + damping * vector

    return product


@dataclass(frozen=True)
class Trial:
    """What the policy is at some fraction of the full step."""

    kl: float
    """Mean KL(pi_old || pi_new) over the batch."""
    surrogate: float
    """What `surrogate` says over the batch."""


def backtrack(
    trial: Callable[[float], Trial], limit: float, surrogate: float, shrink: float, trials: int
) -> float | None:
    """Return the first of 1, shrink, shrink², ... with KL within the limit and a better surrogate, or None.

    A trial that is NaN meets neither condition.
    """
    for k in range(trials):
        found = trial(shrink**k)
        if found.kl <= limit and found.surrogate > surrogate:
            return float(shrink**k)
    return None


@dataclass(frozen=True, kw_only=True)
class NaturalGradientRule(Rule):
    """One natural-gradient step of the policy, then the value function by minibatches of the equal terms."""

    max_kl: Annotated[float, Gt(0)] = 0.01
    """Mean KL(pi_old || pi_new) over the batch, summed over action dimensions, that a full step aims at; with damping
    it reaches less."""
    cg_iterations: Annotated[int, Ge(1)] = 10
    """Iterations of the conjugate gradient."""
    cg_damping: Annotated[float, Ge(0)] = 0.1
    """Multiple of the identity added to the Fisher matrix."""

    def scaled(self, advantages: Tensor) -> Tensor:
        """Return the advantages as this rule uses them, and zeros where they differ by rounding alone.

        The length of a natural-gradient step does not depend on that of the gradient: what a normalisation makes
        of the last bits of equal advantages would move the policy as far as a real preference.
        """
        if advantages.std() <= 1e-6 * advantages.abs().max():
            return torch.zeros_like(advantages)
        return super().scaled(advantages)

    @abstractmethod
    def choose(self, trial: Callable[[float], Trial], surrogate: float) -> float | None:
        """Return the fraction of the full step to take, given the old policy's surrogate; None rejects it."""

    def attempt(self, learner: Learner, batch: Batch, rng: np.random.RandomState) -> Outcome:
        """Move the policy once, then fit the value function."""
        old = learner.behaviour(batch.observations)
        now = learner.evaluate(batch)
        kl, surrogate = old.kl(now.distribution).mean(), self.surrogate(learner, now, batch)
        parameters = reached(kl, learner.parameters)
        step = self.full_step(surrogate, kl, parameters)
        if isinstance(step, Outcome):
            outcome = step
        else:
            outcome = self.move(learner, batch, old, parameters, step, surrogate.item())
        if outcome is Outcome.NOT_FINITE or not self.fit_values(learner, batch, rng, parameters):
            return Outcome.NOT_FINITE
        return outcome

    def surrogate(self, learner: Learner, evaluation: Evaluation, batch: Batch) -> Tensor:
        """Return mean ratio times advantage, with the entropy bonus and less what the stabilisers take off."""
        gain = ((evaluation.log_prob - batch.log_prob).exp() * self.scaled(batch.advantages)).mean()
        gain = gain + learner.entropy_coef(self.ent_coef, evaluation.entropy) * evaluation.entropy.mean()
        roughness = learner.roughness(batch)
        return gain if roughness is None else gain - roughness

    def full_step(self, surrogate: Tensor, kl: Tensor, parameters: Sequence[Tensor]) -> Tensor | Outcome:
        """sqrt(2 max_kl / s'Fs) s  with  s = F⁻¹ grad surrogate, where F has the damping in it.

        Without damping the KL of this step is max_kl to second order; with it, less (the defaults reach 60 to 90 %
        of it on small policies).

        An Outcome says why there is no such step.
        """
        gradient = flat(torch.autograd.grad(surrogate, parameters, retain_graph=True))
        if not torch.isfinite(surrogate.detach() + gradient.norm()):
            return Outcome.NOT_FINITE
        if not gradient.any():
            return Outcome.NO_GRADIENT
        product = fisher_product(kl, parameters, self.cg_damping)
        direction = conjugate_gradient(product, gradient, self.cg_iterations)
        curvature = (direction @ product(direction)).item()
        if not math.isfinite(curvature):
            return Outcome.NOT_FINITE
        if curvature <= 0:
            return Outcome.NO_CURVATURE
        return math.sqrt(2 * self.max_kl / curvature) * direction

    def move(
        self,
        learner: Learner,
        batch: Batch,
        old: Distribution,
        parameters: Sequence[Parameter],
        step: Tensor,
        surrogate: float,
    ) -> Outcome:
        """Add the chosen fraction of the step to the policy's parameters, or leave them as they are."""
        origin = flat([parameter.detach() for parameter in parameters])

        def trial(fraction: float) -> Trial:
            assign(parameters, origin + fraction * step)
            try:
                with torch.no_grad():
                    new = learner.evaluate(batch)
                    kl = old.kl(new.distribution).mean().item()
                    return Trial(kl, self.surrogate(learner, new, batch).item())
            except FloatingPointError:  # too far to be a policy at all; a shorter step may still be one
                return Trial(math.inf, math.nan)

        fraction = self.choose(trial, surrogate)
        learner.note(is_line_search_success=torch.tensor(float(fraction is not None)))
        if fraction is None:
            assign(parameters, origin)
            return Outcome.REJECTED
        assign(parameters, origin + fraction * step)
        return Outcome.ACCEPTED


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """Return all numbers of these tensors in one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def assign(parameters: Sequence[Parameter], vector: Tensor) -> None:
    """Write the numbers of a vector into these parameters, in the order of `flat`."""
    with torch.no_grad():
        pieces = torch.split(vector, [parameter.numel() for parameter in parameters])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.copy_(piece.view_as(parameter))
