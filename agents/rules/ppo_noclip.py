"""PPO without its clip: the same epochs and minibatches, and nothing that bounds the step."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from agents.rule import FirstOrderRule


@dataclass(frozen=True, kw_only=True)
class PPONoClip(FirstOrderRule):
    """maximise  ratio A.

    The control arm: whatever separates it from ppo is the work of the clip.

    Source: Schulman et al., Proximal Policy Optimization Algorithms (arXiv:1707.06347), equation 6.
    """

    trust_region: ClassVar[str] = "none"

    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B]; leading axes are independent agents."""
        del kl
        return ratio * advantage
