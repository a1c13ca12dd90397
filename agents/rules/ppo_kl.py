"""PPO with a KL penalty whose weight is steered until the updates have the KL they should."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Gt
from torch import Tensor

from agents.batch import Batch
from agents.learner import Learner
from agents.rule import FirstOrderRule, Past


@dataclass(frozen=True, kw_only=True)
class PPOKL(FirstOrderRule):
    """maximise  ratio A - kl_coef KL,  and then double kl_coef if d > 1.5 target_kl, halve it if d < target_kl / 1.5.

    KL is that of the state, KL(pi_old || pi_new), exact and summed over action dimensions. d is its mean over
    the whole batch once the update is over. kl_coef stays between two bounds: without them it can grow until
    nothing is learnt any more, and fall until it takes as many updates to come back.

    Source: Schulman et al., Proximal Policy Optimization Algorithms (arXiv:1707.06347), section 4. The bounds
    are ours.
    """

    trust_region: ClassVar[str] = "penalty on mean KL(old||new), its weight steered towards target_kl"

    target_kl: Annotated[float, Gt(0)] = 0.01
    """Mean KL(pi_old || pi_new) that an update should have."""
    initial_kl_coef: Annotated[float, Gt(0)] = 1.0
    """Weight of the KL in the first update."""
    min_kl_coef: Annotated[float, Gt(0)] = 1e-3
    """The weight falls no further than this."""
    max_kl_coef: Annotated[float, Gt(0)] = 1e3
    """The weight grows no further than this."""

    def __post_init__(self) -> None:
        if self.min_kl_coef > self.max_kl_coef:
            raise ValueError(f"min_kl_coef {self.min_kl_coef} is above max_kl_coef {self.max_kl_coef}")

    def memory(self) -> dict[str, float]:
        """Return the weight of the KL."""
        return {"kl_coef": self.initial_kl_coef}

    # The contract allows further arguments, entries of the memory; a signature of the parent cannot say so.
    def objective(  # type: ignore[override]
        self, ratio: Tensor, advantage: Tensor, kl: Tensor, kl_coef: Tensor
    ) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B], kl_coef [] or [..., 1]; leading axes are independent agents."""
        return ratio * advantage - kl_coef * kl

    def descend(self, learner: Learner, batch: Batch, past: Past, rng: np.random.RandomState) -> bool:
        """Take the steps of a first-order rule, then choose the weight for the next update."""
        if not super().descend(learner, batch, past, rng):
            return False
        mean_kl = past.distribution.kl(learner.behaviour(batch.observations)).mean()
        learner.memory["kl_coef"] = self.next_kl_coef(mean_kl, learner.memory["kl_coef"])
        return bool(torch.isfinite(mean_kl))

    def next_kl_coef(self, mean_kl: Tensor, kl_coef: Tensor) -> Tensor:
        """Return the weight for the next update; shapes [] or [..., 1]."""
        kl_coef = torch.where(mean_kl > 1.5 * self.target_kl, 2 * kl_coef, kl_coef)
        kl_coef = torch.where(mean_kl < self.target_kl / 1.5, kl_coef / 2, kl_coef)
        return kl_coef.clamp(self.min_kl_coef, self.max_kl_coef)
