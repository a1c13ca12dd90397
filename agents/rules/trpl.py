"""TRPL: each state's Gaussian is projected onto a ball around the old one before it is judged."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt
from gymnasium import spaces
from torch import Tensor
from torch.nn import Parameter

from agents.batch import Batch
from agents.distribution import Distribution, Gaussian
from agents.learner import Learner
from agents.projection import Metric, covariance_distance, mean_distance, project, project_std
from agents.rule import Past, View
from agents.rules.ppo_noclip import PPONoClip

WITHIN = 1 - 1e-3
"""Share of the bound at which a deviation is put: rounding must not carry it beyond, where it has no gradient."""


@dataclass(frozen=True)
class ProjectedView(View):
    """A minibatch together with the projected policy that ratio and KL are those of."""

    projected: Gaussian


@dataclass(frozen=True, kw_only=True)
class TRPL(PPONoClip):
    """maximise  ratio A - regression |(m - m') / s'|²,  with  ratio = projected(a|s) / pi_old(a|s).

    m is the mean that the network says, m' and s' those of the projected policy, the nearest one with Mahalanobis
    distance of the means at most mean_bound and distance of the covariances at most cov_bound, in every state; in
    the regression they are constants. The deviation is one vector for all states: it is put back within its bound
    after every step, so that the regression has nothing to say about it. The network itself is what acts next:
    its covariance meets the bound, its means meet theirs only as far as the regression has drawn them there. How
    far they are is logged after every update: mean_over_bound and covariance_over_bound are means over the states
    of distance / bound, share_beyond_mean_bound is the share of states whose mean is beyond. Box actions only:
    other policies have no mean and covariance.

    The bounds are those that the authors use with 20 epochs and a learning rate of 5e-5; the epochs and learning
    rate here are those of all rules, and larger steps leave the bound of the means further behind.

    Source: Otto et al., Differentiable Trust Region Layers for Deep Reinforcement Learning (arXiv:2101.09207).
    """

    trust_region: ClassVar[str] = "projection of the policy that is judged; the one that acts is drawn there"
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Box,)

    metric: Metric = "w2"
    """Distance of covariances: frobenius, sum of (s² - s_old²)², or w2, sum of (s / s_old - 1)²."""
    mean_bound: Annotated[float, Gt(0)] = 0.085
    """Largest sum of ((m - m_old) / s_old)² in a state; for w2, the authors' MuJoCo setting."""
    cov_bound: Annotated[float, Gt(0)] = 5e-5
    """Largest distance of the covariances in a state; for w2, the authors' MuJoCo setting."""
    regression: Annotated[float, Ge(0)] = 1.0
    """Weight of the pull of the network's means towards their projection."""

    def look(self, learner: Learner, minibatch: Batch, past: Past) -> "ProjectedView":
        """Evaluate the present policy; ratio and KL are those of its projection."""
        now = learner.evaluate(minibatch)
        raw, old = gaussian(now.distribution), gaussian(past.distribution)
        projected = project(raw, old, self.metric, self.mean_bound, self.cov_bound)
        log_ratio = self.log_ratio(projected.log_prob(minibatch.actions), minibatch.log_prob)
        return ProjectedView(minibatch, past, now, log_ratio, log_ratio.exp(), old.kl(projected), projected)

    def loss(self, learner: Learner, view: View) -> Tensor:
        """Add the regression to the loss of a first-order rule."""
        assert isinstance(view, ProjectedView)  # from `look`
        target = Gaussian(view.projected.mean.detach(), view.projected.std.detach())
        regression = mean_distance(gaussian(view.now.distribution), target).mean()
        learner.note(regression_loss=regression)
        return super().loss(learner, view) + self.regression * regression

    def descend(self, learner: Learner, batch: Batch, past: Past, rng: np.random.RandomState) -> bool:
        """Take the steps of a first-order rule, each with the deviation put back; then note how far they led."""
        old = gaussian(past.distribution)
        with self.deviation_held(learner, old):
            finite = super().descend(learner, batch, past, rng)
        if finite:
            acting = gaussian(learner.behaviour(batch.observations))
            means = mean_distance(acting, old) / self.mean_bound
            covariances = covariance_distance(acting, old, self.metric) / self.cov_bound
            learner.note(
                mean_over_bound=means.mean(),
                share_beyond_mean_bound=(means > 1).float().mean(),
                covariance_over_bound=covariances.mean(),
            )
        return finite

    @contextmanager
    def deviation_held(self, learner: Learner, old: Gaussian) -> Iterator[None]:
        """Put the deviation of the policy within its bound around `old` after every step of the optimizer."""
        log_std = learner.policy.log_std
        assert isinstance(log_std, Parameter)  # one for all states, as in every policy of a Box here
        first = Gaussian(old.mean[0], old.std[0])

        def put_back(*_: object) -> None:
            with torch.no_grad():
                now = Gaussian(first.mean, log_std.exp())
                if covariance_distance(now, first, self.metric) > WITHIN * self.cov_bound:
                    log_std.copy_(project_std(now, first, self.metric, WITHIN * self.cov_bound).log())

        hook = learner.policy.optimizer.register_step_post_hook(put_back)
        try:
            yield
        finally:
            hook.remove()


def gaussian(distribution: Distribution) -> Gaussian:
    """Return the same, as what it is for every policy of a Box."""
    assert isinstance(distribution, Gaussian)
    return distribution
