"""PPO-RB: where PPO's roof is flat, this one slopes down and pulls the ratio back."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor

from agents.rules.ppo import PPO


@dataclass(frozen=True, kw_only=True)
class PPORollback(PPO):
    """maximise  min(ratio A, F(ratio) A),  F = c - rollback (ratio - c)  with  c = clip(ratio, 1 ± clip_range).

    Inside the band F is the ratio itself. Beyond it, on the side that the advantage asks for, the slope of the
    objective is -rollback A: the gradient asks for the way back. rollback = 0 is ppo.

    Source: Wang et al., Truly Proximal Policy Optimization (arXiv:1903.07940), where it is PPO-RB; the default
    is the one of the authors' code for most MuJoCo tasks (0.02 for Humanoid, 0.01 for Atari).
    """

    trust_region: ClassVar[str] = (
        "rollback: back from beyond ratio 1 ± clip_range on the side that the advantage asks for"
    )

    rollback: Annotated[float, Ge(0)] = 0.3
    """How steeply the objective falls beyond the band, in units of the advantage."""

    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B]; leading axes are independent agents."""
        del kl
        clipped = ratio.clamp(1 - self.clip_range, 1 + self.clip_range)
        rolled_back = clipped - self.rollback * (ratio - clipped)
        return torch.min(ratio * advantage, rolled_back * advantage)
