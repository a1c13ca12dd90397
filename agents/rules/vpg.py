"""VPG: one plain gradient step of the policy on each rollout, then a value function fitted to it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from agents.batch import Batch
from agents.learner import Learner, reached
from agents.policy_gradient import PolicyGradientRule
from agents.rule import Past


@dataclass(frozen=True, kw_only=True)
class VPG(PolicyGradientRule):
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

    def descend(self, learner: Learner, batch: Batch, past: Past, rng: np.random.RandomState) -> bool:
        """One step of the policy, then the steps of the value function; False: something was not finite."""
        view = self.look(learner, batch, past)
        policy = reached(view.log_ratio.sum(), learner.parameters)
        loss = replace(self, vf_coef=0.0).loss(learner, view)
        return learner.descend(loss, self.max_grad_norm, policy) and self.fit_values(
            learner, batch, rng, policy
        )
