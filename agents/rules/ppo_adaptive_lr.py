"""PPO with a learning rate that falls while the policy moves too fast and grows while it moves too slowly."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt
from torch import Tensor

from agents.learner import Learner
from agents.rule import View
from agents.rules.ppo import PPO


@dataclass(frozen=True, kw_only=True)
class PPOAdaptiveLR(PPO):
    """maximise  min(ratio A, clip(ratio, 1 ± clip_range) A)  with a learning rate steered by d = mean KL.

    Before every step, d being exact and over the minibatch:  divide by 1.5 if d > 2 target_kl, multiply by 1.5
    if 0 < d < target_kl / 2,  and stay within min_learning_rate .. max_learning_rate. The rate outlives the
    update.

    Source: Rudin et al., Learning to Walk in Minutes Using Massively Parallel Deep Reinforcement Learning
    (arXiv:2109.11978), as written in rsl_rl: 5 epochs of 4 minibatches are 20 steps of the law in one update. With
    many more of them the rate runs from one bound to the other within an update.
    """

    trust_region: ClassVar[str] = (
        "clipping beyond ratio 1 ± clip_range, and a learning rate steered towards KL(old||new) = target_kl"
    )

    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Step size of the optimizer at the very first step."""
    n_epochs: Annotated[int, Ge(1)] = 5
    """Passes over the batch in one update."""
    batch_size: Annotated[int, Ge(2)] = 512
    """Samples in one minibatch; rsl_rl cuts a rollout into 4, as this does with the 8 x 256 steps of the host."""
    target_kl: Annotated[float, Gt(0)] = 0.01
    """Mean KL(pi_old || pi_new) that a minibatch should show."""
    min_learning_rate: Annotated[float, Gt(0)] = 1e-5
    """The learning rate falls no further than this."""
    max_learning_rate: Annotated[float, Gt(0)] = 1e-2
    """The learning rate grows no further than this."""

    def __post_init__(self) -> None:
        if self.min_learning_rate > self.max_learning_rate:
            raise ValueError(
                f"min_learning_rate {self.min_learning_rate} is above max_learning_rate {self.max_learning_rate}"
            )
        if not self.min_learning_rate <= self.learning_rate <= self.max_learning_rate:
            raise ValueError(
                f"learning_rate {self.learning_rate} is not within min_learning_rate {self.min_learning_rate} .. "
                f"max_learning_rate {self.max_learning_rate}"
            )

    def memory(self) -> dict[str, float]:
        """Return the learning rate."""
        return {"learning_rate": self.learning_rate}

    def loss(self, learner: Learner, view: View) -> Tensor:
        """Set the step size for this minibatch, then the loss of ppo."""
        rate = self.next_learning_rate(view.kl.detach(), learner.memory["learning_rate"])
        learner.memory["learning_rate"] = rate
        learner.set_learning_rate(float(rate))
        return super().loss(learner, view)

    def next_learning_rate(self, kl: Tensor, learning_rate: Tensor) -> Tensor:
        """Return the step size for this minibatch, given its KL [B] and the rate of the one before."""
        mean_kl = kl.mean()
        if mean_kl > 2 * self.target_kl:
            learning_rate = learning_rate / 1.5
        elif 0 < mean_kl < self.target_kl / 2:
            learning_rate = learning_rate * 1.5
        return learning_rate.clamp(self.min_learning_rate, self.max_learning_rate)
