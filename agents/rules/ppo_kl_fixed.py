"""PPO with a KL penalty of fixed weight: a soft wall whose place nobody chose."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge
from torch import Tensor

from agents.rule import FirstOrderRule


@dataclass(frozen=True, kw_only=True)
class PPOKLFixed(FirstOrderRule):
    """maximise  ratio A - kl_coef KL.

    KL is that of the state, KL(pi_old || pi_new), exact and summed over action dimensions. How far an update
    goes depends on the scale of the advantages and on everything else; ppo-kl steers the weight instead.

    Source: Schulman et al., Proximal Policy Optimization Algorithms (arXiv:1707.06347), equation 8; the default
    is the best of the fixed weights in its table 1 (0.3, 1, 3, 10).
    """

    trust_region: ClassVar[str] = "penalty: kl_coef times mean KL(old||new)"

    kl_coef: Annotated[float, Ge(0)] = 3.0
    """Weight of the KL."""

    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B]; leading axes are independent agents."""
        return ratio * advantage - self.kl_coef * kl
