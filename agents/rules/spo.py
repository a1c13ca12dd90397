"""SPO: a quadratic fence around ratio 1 instead of PPO's flat roof."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt
from torch import Tensor

from agents.rule import FirstOrderRule


@dataclass(frozen=True, kw_only=True)
class SPO(FirstOrderRule):
    """maximise  ratio A - |A| / (2 width) (ratio - 1)²,  best at ratio = 1 + width sign(A).

    The gradient  A - |A| (ratio - 1) / width  is zero only there, so that a sample that went too far comes back.

    Source: Xie et al., Simple Policy Optimization (arXiv:2401.16025).
    """

    trust_region: ClassVar[str] = "quadratic penalty: a sample is best off at ratio 1 ± width"

    width: Annotated[float, Gt(0)] = 0.2
    """Distance from ratio 1 at which a sample is best off."""

    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B]; leading axes are independent agents."""
        del kl
        return ratio * advantage - advantage.abs() / (2 * self.width) * (ratio - 1) ** 2
