"""PPO with dual clip: one bad action whose ratio has grown large cannot dominate the gradient."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor

from agents.rules.ppo import PPO


@dataclass(frozen=True, kw_only=True)
class PPODualClip(PPO):
    """maximise  C = min(ratio A, clip(ratio, 1 ± clip_range) A)  where A >= 0,  max(C, dual_clip A)  where A < 0.

    For A < 0 the objective of ppo falls without bound as the ratio grows. Here it ends at dual_clip A, and with
    it the gradient.

    Source: Ye et al., Mastering Complex Control in MOBA Games with Deep Reinforcement Learning
    (arXiv:1912.09729).
    """

    trust_region: ClassVar[str] = (
        "clipping: no gradient beyond ratio 1 ± clip_range, nor beyond dual_clip if A < 0"
    )

    dual_clip: Annotated[float, Gt(1)] = 3.0
    """Ratio beyond which a sample of negative advantage has no gradient."""

    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B]; leading axes are independent agents."""
        clipped = super().objective(ratio, advantage, kl)
        return torch.where(advantage < 0, torch.max(clipped, self.dual_clip * advantage), clipped)
