"""PPO with a KL penalty whose weight is steered until the updates have the KL they should."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor

from agents.rule import FirstOrderRule


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

    def memory(self) -> dict[str, float]:
        """Return the weight of the KL."""
        return {"kl_coef": self.initial_kl_coef}

    # The contract allows further arguments, entries of the memory; a signature of the parent cannot say so.
    def objective(  # type: ignore[override]
        self, ratio: Tensor, advantage: Tensor, kl: Tensor, kl_coef: Tensor
    ) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B], kl_coef [] or [..., 1]; leading axes are independent agents."""
        return ratio * advantage - kl_coef * kl

    def remember(self, mean_kl: Tensor, memory: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weight of the next update; shapes [] or [..., 1]."""
        too_far, too_near = mean_kl > 1.5 * self.target_kl, mean_kl < self.target_kl / 1.5
        factor = torch.where(too_far, 2.0, torch.where(too_near, 0.5, 1.0))
        return {"kl_coef": (factor * memory["kl_coef"]).clamp(self.min_kl_coef, self.max_kl_coef)}
