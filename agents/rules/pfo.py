"""PFO: PPO whose features may not run away from those of the old policy."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from agents.batch import Batch
from agents.learner import Learner
from agents.rule import Past, View
from agents.rules.ppo import PPO


@dataclass(frozen=True)
class FeaturePast(Past):
    """The old policy, and what its last hidden layer said."""

    features: Tensor
    """[B, F]."""

    def rows(self, index: Tensor) -> "FeaturePast":
        """Return what belongs to these samples only."""
        return FeaturePast(self.distribution.rows(index), self.features[index])


@dataclass(frozen=True)
class FeatureView(View):
    """A minibatch together with what the last hidden layer of the policy says about it."""

    past: FeaturePast
    features: Tensor
    """[B, F], with its graph."""


@dataclass(frozen=True, kw_only=True)
class PFO(PPO):
    """maximise  min(ratio A, clip(ratio, 1 ± clip_range) A) - feature_coef mean_f (phi - phi_old)².

    phi [B, F] is the output of the last linear layer among the policy's hidden layers, before whatever follows it
    (normaliser, nonlinearity, gate, residual sum); mean_f is the mean over features, as in the authors' code.
    Clipping bounds the ratio of sampled actions only; this holds the representation of every state.

    Source: Moalla et al., No Representation, No Trust (arXiv:2405.00662), proximal feature optimization.
    """

    trust_region: ClassVar[str] = (
        "clipping: no gradient beyond ratio 1 ± clip_range; penalty on feature drift"
    )

    feature_coef: Annotated[float, Ge(0)] = 1.0
    """Weight of the mean squared change of the features."""

    def past(self, learner: Learner, batch: Batch) -> FeaturePast:
        """Keep distributions and features of the old policy."""
        with last_hidden_layer_heard(learner.policy) as heard:
            distribution = learner.behaviour(batch.observations)
        return FeaturePast(distribution, heard[-1])

    def look(self, learner: Learner, minibatch: Batch, past: Past) -> FeatureView:
        """Evaluate the present policy and listen to its last hidden layer meanwhile."""
        with last_hidden_layer_heard(learner.policy) as heard:
            view = super().look(learner, minibatch, past)
        return FeatureView(**vars(view), features=heard[-1])

    def loss(self, learner: Learner, view: View) -> Tensor:
        """Add the weighted drift of the features to the loss of ppo."""
        assert isinstance(view, FeatureView)  # from `look`
        drift = feature_drift(view.features, view.past.features).mean()
        learner.note(feature_drift=drift)
        return super().loss(learner, view) + self.feature_coef * drift


def feature_drift(features: Tensor, old: Tensor) -> Tensor:
    """Squared change, mean over features: [..., B, F] -> [..., B]."""
    return ((features - old) ** 2).mean(-1)


@contextmanager
def last_hidden_layer_heard(policy: ActorCriticPolicy) -> Iterator[list[Tensor]]:
    """Collect what the last linear layer of the policy's hidden layers puts out while the context is open.

    ValueError: the policy has no hidden linear layer.
    """
    hidden = policy.mlp_extractor.policy_net
    linear = [module for module in hidden.modules() if isinstance(module, torch.nn.Linear)]
    if not linear:
        raise ValueError("pfo needs a hidden linear layer in the policy, found none: net_arch must name one")
    heard: list[Tensor] = []
    handle = linear[-1].register_forward_hook(lambda layer, inputs, output: heard.append(output))
    try:
        yield heard
    finally:
        handle.remove()
