"""ESPO: no clip at all, but an update that ends once the ratios have left 1 on average."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt

from agents.rule import View
from agents.rules.ppo_noclip import PPONoClip


@dataclass(frozen=True, kw_only=True)
class ESPO(PPONoClip):
    """maximise  ratio A  until  mean |ratio - 1| > max_deviation.

    Half of that mean estimates the total variation between old and new policy. It is looked at before every
    step, over the minibatch; the step that it forbids is not taken, and with it ends the update. The step that went
    too far stays.

    Source: Sun et al., You May Not Need Ratio Clipping in PPO (arXiv:2202.00079); the default is the one that two
    independent implementations of it have (github.com/nico-bohlinger/RL-X and kilroy).
    """

    trust_region: ClassVar[str] = (
        "early stop: no step after the one that brings mean |ratio - 1|, twice the TV, beyond max_deviation"
    )

    max_deviation: Annotated[float, Gt(0)] = 0.25
    """The update ends once the mean of |ratio - 1| over a minibatch exceeds this."""

    def stops(self, view: View) -> bool:
        """Whether the ratios are too far from 1 on average over the minibatch."""
        return bool((view.ratio - 1).abs().mean() > self.max_deviation)
