"""TRPL: each state's Gaussian is projected onto a ball around the old one before it is judged."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt
from gymnasium import spaces
from torch import Tensor

from agents.batch import Batch
from agents.distribution import Gaussian
from agents.learner import Learner
from agents.projection import Metric, project
from agents.rule import Past, View
from agents.rules.ppo_noclip import PPONoClip


@dataclass(frozen=True)
class ProjectedView(View):
    """A minibatch together with the projected policy that ratio and KL are those of."""

    projected: Gaussian


@dataclass(frozen=True, kw_only=True)
class TRPL(PPONoClip):
    """maximise  ratio A - regression KL(raw || projected),  with  ratio = projected(a|s) / pi_old(a|s).

    raw is what the network says, projected the nearest policy with Mahalanobis distance of the means at most
    mean_bound and distance of the covariances at most cov_bound, in every state; in the KL it is a constant. The
    network itself is what acts next: the bounds hold for it as far as the regression has drawn it there. Box
    actions only: other policies have no mean and covariance.

    Source: Otto et al., Differentiable Trust Region Layers for Deep Reinforcement Learning (arXiv:2101.09207).
    """

    trust_region: ClassVar[str] = "projection: mean and covariance of every state near the old ones"
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Box,)

    metric: Metric = "w2"
    """Distance of covariances: frobenius, sum of (s² - s_old²)², or w2, sum of (s / s_old - 1)²."""
    mean_bound: Annotated[float, Gt(0)] = 0.085
    """Largest sum of ((m - m_old) / s_old)² in a state; for w2, the authors' MuJoCo setting."""
    cov_bound: Annotated[float, Gt(0)] = 5e-5
    """Largest distance of the covariances in a state; for w2, the authors' MuJoCo setting."""
    regression: Annotated[float, Ge(0)] = 1.0
    """Weight of the pull of the network towards its projection."""

    def look(self, learner: Learner, minibatch: Batch, past: Past) -> "ProjectedView":
        """Evaluate the present policy; ratio and KL are those of its projection."""
        now = learner.evaluate(minibatch)
        raw, old = now.distribution, past.distribution
        assert isinstance(raw, Gaussian)  # as every policy of a Box is
        assert isinstance(old, Gaussian)
        projected = project(raw, old, self.metric, self.mean_bound, self.cov_bound)
        log_ratio = self.log_ratio(projected.log_prob(minibatch.actions), minibatch.log_prob)
        return ProjectedView(minibatch, past, now, log_ratio, log_ratio.exp(), old.kl(projected), projected)

    def loss(self, learner: Learner, view: View) -> Tensor:
        """Add the regression to the loss of a first-order rule."""
        assert isinstance(view, ProjectedView)  # from `look`
        target = Gaussian(view.projected.mean.detach(), view.projected.std.detach())
        regression = view.now.distribution.kl(target).mean()
        learner.note(regression_loss=regression)
        return super().loss(learner, view) + self.regression * regression
