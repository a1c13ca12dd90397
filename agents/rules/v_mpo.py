"""V-MPO: the better half of the actions is imitated, the best of them most."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from agents.distribution import Gaussian
from agents.learner import Learner
from agents.rule import FirstOrderRule, View

SMALLEST, LARGEST = 1e-8, 1e8
"""Where multipliers are held: below by the paper, above so that none can run away for ever."""
FEWEST = 4
"""Samples of which the better half is worth imitating; of one sample it is the sample, however bad."""


@dataclass(frozen=True, kw_only=True)
class VMPO(FirstOrderRule):
    """maximise  sum psi log pi - alpha KL(pi_old || pi),  psi = softmax(A / eta) over the top half of advantages.

    The temperature eta and the multiplier alpha solve the duals of two constraints: KL(psi || uniform over the
    top half) at most eps_eta, and mean KL(pi_old || pi) over all states at most eps_alpha. For Gaussians the
    latter is two constraints, each with its alpha: on the KL that the means alone cause (at old deviations) and
    on the one that the deviations alone cause. The batch of which the paper takes the top half is the data of one
    gradient step, here a minibatch. With each step the logarithm of every multiplier rises by
    dual_rate (kl / eps - 1), the bracket held in ±1: the sign of the dual's gradient, which the paper gives to
    Adam. In a quiet phase alpha falls no further than to smallest_share of its start value, from where it can
    still climb; the temperature, whose scale is that of the advantages, falls as far as the paper lets it. A last
    minibatch of fewer than 4 samples moves the policy by its divergences alone, and no multiplier. The paper
    draws its limits from ranges by task; the defaults here are ours.

    Source: Song et al., V-MPO (arXiv:1909.12238), equations 3 to 5.
    """

    trust_region: ClassVar[str] = (
        "dual ascent: KL of the sample weights, and mean KL(old||new), at limits if averaged over an update's steps"
    )

    batch_size: Annotated[int, Ge(FEWEST)] = 64
    """Samples in one minibatch."""
    eps_eta: Annotated[float, Gt(0)] = 0.01
    """KL of the weights psi from equal weights at which the temperature rests."""
    eps_alpha: Annotated[float, Gt(0)] = 0.01
    """Mean KL(pi_old || pi) of discrete policies at which alpha rests."""
    eps_mean: Annotated[float, Gt(0)] = 0.01
    """Mean KL that the means of a Gaussian cause at which alpha_mean rests."""
    eps_deviation: Annotated[float, Gt(0)] = 5e-5
    """Mean KL that the deviations of a Gaussian cause at which alpha_deviation rests."""
    dual_rate: Annotated[float, Gt(0), Le(1)] = 0.01
    """Largest relative change of a multiplier in one minibatch."""
    smallest_share: Annotated[float, Gt(0), Le(1)] = 1e-2
    """alpha, alpha_mean and alpha_deviation fall no further than to this share of their start values."""

    def memory(self) -> dict[str, float]:
        """Temperature and multipliers; a policy uses either alpha or the other two. Start values of the paper."""
        return {"eta": 1.0, "alpha": 5.0, "alpha_mean": 1.0, "alpha_deviation": 1.0}

    # The contract allows further arguments, entries of the memory; a signature of the parent cannot say so.
    def objective(  # type: ignore[override]
        self, ratio: Tensor, advantage: Tensor, kl: Tensor, eta: Tensor
    ) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B], eta [] or [..., 1]; leading axes are independent agents.

        B psi log ratio, whose mean is the weighted log likelihood but for a constant. 0 where B < 4.
        """
        del kl
        if advantage.shape[-1] < FEWEST:
            return torch.zeros_like(advantage)
        # An action that has become impossible, outside the top half, must weigh 0 and not 0 times infinity.
        log_ratio = ratio.clamp(min=torch.finfo(ratio.dtype).tiny).log()
        return advantage.shape[-1] * top_half_weights(advantage, eta) * log_ratio

    def loss(self, learner: Learner, view: View) -> Tensor:
        """Add the weighted divergences to the loss of a first-order rule, then move the multipliers."""
        loss, memory, start = super().loss(learner, view), learner.memory, self.memory()
        advantages = self.scaled(view.batch.advantages)
        spread = concentration(top_half_weights(advantages, memory["eta"]))
        moved = {"eta": risen(memory["eta"], spread, self.eps_eta, self.dual_rate)}
        for name, (kl, eps) in self.constraints(view).items():
            loss = loss + memory[name] * kl
            smallest = self.smallest_share * start[name]
            moved[name] = risen(memory[name], kl.detach(), eps, self.dual_rate, smallest)
        if advantages.shape[-1] >= FEWEST:
            memory.update(moved)
        return loss

    def constraints(self, view: View) -> dict[str, tuple[Tensor, float]]:
        """Return mean KL and its limit by the name of the multiplier."""
        old, new = view.past.distribution, view.now.distribution
        if isinstance(old, Gaussian) and isinstance(new, Gaussian):
            return {
                "alpha_mean": (old.kl(Gaussian(new.mean, old.std)).mean(), self.eps_mean),
                "alpha_deviation": (old.kl(Gaussian(old.mean, new.std)).mean(), self.eps_deviation),
            }
        return {"alpha": (view.kl.mean(), self.eps_alpha)}


def top_half_weights(advantages: Tensor, eta: Tensor) -> Tensor:
    """softmax(A / eta) over the ceil(B / 2) largest advantages, 0 elsewhere; [..., B], eta [] or [..., 1]."""
    best = advantages.topk(half(advantages), dim=-1).indices
    chosen = torch.zeros_like(advantages, dtype=torch.bool).scatter(-1, best, True)
    return (advantages / eta).masked_fill(~chosen, -math.inf).softmax(-1)


def half(samples: Tensor) -> int:
    """ceil(B / 2) of samples [..., B]."""
    return (samples.shape[-1] + 1) // 2


def concentration(weights: Tensor) -> Tensor:
    """KL(psi || uniform over the top half) = log ceil(B / 2) - entropy(psi), in nats: [..., B] -> [..., 1].

    eps_eta less this is the derivative in eta of the dual  eta eps_eta + eta log mean exp(A / eta).
    """
    return math.log(half(weights)) + torch.xlogy(weights, weights).sum(-1, keepdim=True)


def risen(multiplier: Tensor, kl: Tensor, eps: float, rate: float, smallest: float = SMALLEST) -> Tensor:
    """Multiplier times exp(rate (kl / eps - 1)), with the bracket held in ±1; eps - kl is the dual's gradient."""
    return (multiplier * torch.exp(rate * (kl / eps - 1).clamp(-1, 1))).clamp(smallest, LARGEST)
