"""PPO that ends its update once a minibatch shows too large an estimate of the KL."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Gt

from agents.rule import View
from agents.rules.ppo import PPO


@dataclass(frozen=True, kw_only=True)
class PPOEarlyStop(PPO):
    """maximise  min(ratio A, clip(ratio, 1 ± clip_range) A)  until  mean(ratio - 1 - log ratio) > 1.5 target_kl.

    The mean over the minibatch estimates KL(pi_old || pi_new) from the actions taken. It is looked at before
    every step; the step that it forbids is not taken, and with it ends the update, value function and all. The step
    that went too far stays.
    Bit-identical to stable-baselines3 with its `target_kl`.

    Source: Raffin et al., Stable-Baselines3, JMLR 22 (2021); the default of target_kl is OpenAI's Spinning Up's.
    """

    trust_region: ClassVar[str] = (
        "clipping beyond ratio 1 ± clip_range, and no step after the one that takes the KL beyond 1.5 target_kl"
    )

    target_kl: Annotated[float, Gt(0)] = 0.01
    """The update ends once a minibatch's estimate of the KL exceeds 1.5 times this."""

    def stops(self, view: View) -> bool:
        """Whether the mean of the estimates over the minibatch is too large."""
        return bool(((view.ratio - 1) - view.log_ratio).mean() > 1.5 * self.target_kl)
