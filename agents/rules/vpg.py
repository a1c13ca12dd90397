"""VPG: one plain gradient step of the policy on each rollout, then a value function fitted to it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge
from torch import Tensor

from agents.batch import Batch
from agents.learner import Learner, reached
from agents.rule import FirstOrderRule, Past


@dataclass(frozen=True, kw_only=True)
class VPG(FirstOrderRule):
    """maximise  A log pi(a|s),  written as  ratio A  at ratio 1, where both have the same gradient.

    One Adam step over the whole rollout for the policy. The value function then takes its own n_epochs passes,
    which leave the policy alone. Both use the same learning rate, where the source gives the value function 1e-3.

    Source: Sutton et al., Policy Gradient Methods with Function Approximation, NIPS 12 (1999), with the epochs,
    rollout and gae_lambda of OpenAI's Spinning Up.
    """

    trust_region: ClassVar[str] = "none, but one gradient step per rollout"
    host_defaults: ClassVar[Mapping[str, object]] = {"n_steps": 500, "gae_lambda": 0.97}

    n_epochs: Annotated[int, Ge(1)] = 80
    """Passes of the value function over the batch in one update."""
    batch_size: Annotated[int, Ge(2)] = 4000
    """Samples in one minibatch of the value function; by default a whole rollout."""

    def log_ratio(self, log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
        """Zero with the gradient of log pi_new: the policy that acted is the present one, to the last bit."""
        del old_log_prob
        return log_prob - log_prob.detach()

    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B]; leading axes are independent agents."""
        del kl
        return ratio * advantage

    def descend(self, learner: Learner, batch: Batch, past: Past, rng: np.random.RandomState) -> bool:
        """One step of the policy, then the steps of the value function; False: something was not finite."""
        view = self.look(learner, batch, past)
        policy = reached(view.log_ratio.sum(), learner.parameters)
        loss = replace(self, vf_coef=0.0).loss(learner, view)
        return learner.descend(loss, self.max_grad_norm, policy) and self.fit_values(
            learner, batch, rng, policy
        )
