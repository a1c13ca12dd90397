"""TR-PPO: PPO's flat roof, raised where the state's KL is too large and not where the ratio is."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor

from agents.rule import FirstOrderRule


@dataclass(frozen=True, kw_only=True)
class TRPPO(FirstOrderRule):
    """maximise  A  where  KL >= max_kl and ratio A > A,  ratio A  elsewhere.

    KL is that of the state, KL(pi_old || pi_new), exact and summed over action dimensions. A sample has no
    gradient while its state is out of the trust region and the sample is better off than at ratio 1.

    Source: Wang et al., Truly Proximal Policy Optimization (arXiv:1903.07940); the default is the one of the
    authors' code for most MuJoCo tasks (0.05 for Humanoid, 0.001 for Atari).
    """

    trust_region: ClassVar[str] = (
        "clipping: no gradient towards what the advantage asks for once a state's KL(old||new) reaches max_kl"
    )

    max_kl: Annotated[float, Gt(0)] = 0.035
    """KL(pi_old || pi_new) of a state from which on its samples have no gradient."""

    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B]; leading axes are independent agents."""
        gain = ratio * advantage
        return torch.where((kl >= self.max_kl) & (gain > advantage), advantage, gain)
