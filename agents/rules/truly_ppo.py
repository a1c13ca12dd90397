"""Truly PPO: where a state's KL is too large, its samples are pulled back by the KL itself."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from agents.rule import FirstOrderRule


@dataclass(frozen=True, kw_only=True)
class TrulyPPO(FirstOrderRule):
    """maximise  ratio A - kl_coef (KL  where  KL >= max_kl and ratio A > A,  max_kl  elsewhere).

    KL is that of the state, KL(pi_old || pi_new), exact and summed over action dimensions. The trigger is that
    of tr-ppo; the answer is a gradient down the KL and not just the end of the one up the advantage.

    Source: Wang et al., Truly Proximal Policy Optimization (arXiv:1903.07940); the defaults are those of the
    authors' code for most MuJoCo tasks (max_kl 0.0008 and kl_coef 20 for Atari).
    """

    trust_region: ClassVar[str] = (
        "rollback: down a state's KL(old||new) once it reaches max_kl on the side that the advantage asks for"
    )

    max_kl: Annotated[float, Gt(0)] = 0.03
    """KL(pi_old || pi_new) of a state from which on it is pulled back."""
    kl_coef: Annotated[float, Ge(0)] = 5.0
    """Weight of the KL where it pulls back."""

    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B]; leading axes are independent agents."""
        gain = ratio * advantage
        outside = (kl >= self.max_kl) & (gain > advantage)
        return gain - self.kl_coef * torch.where(outside, kl, self.max_kl)
