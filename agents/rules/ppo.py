"""PPO: a flat roof over the ratio takes away the reward for leaving 1 ± clip_range."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor

from agents.rule import FirstOrderRule


@dataclass(frozen=True, kw_only=True)
class PPO(FirstOrderRule):
    """maximise  min(ratio A, clip(ratio, 1 - clip_range, 1 + clip_range) A).

    A sample's gradient vanishes once its ratio has left the band on the side its advantage asks for. Nothing
    pulls the ratio back, and nothing holds the states that share parameters with it. Bit-identical to
    stable-baselines3.

    Source: Schulman et al., Proximal Policy Optimization Algorithms (arXiv:1707.06347), equation 7.
    """

    trust_region: ClassVar[str] = (
        "clipping: no gradient beyond ratio 1 ± clip_range on the side that the advantage asks for"
    )

    clip_range: Annotated[float, Gt(0)] = 0.2
    """Width of the band around ratio 1 in which a sample still pays."""

    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B]; leading axes are independent agents."""
        del kl
        return torch.min(ratio * advantage, ratio.clamp(1 - self.clip_range, 1 + self.clip_range) * advantage)
