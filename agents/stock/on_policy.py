"""Stock algorithms that learn from one rollout at a time and forget it."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import sb3_contrib
import stable_baselines3
from annotated_types import Ge, Gt, Le, Lt
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.stock.terms import OnPolicy


@dataclass(frozen=True, kw_only=True)
class StockPPO(OnPolicy):
    """stable-baselines3's PPO, unchanged.

    maximise  min(ratio A, clip(ratio, 1 - clip_range, 1 + clip_range) A),  n_epochs passes in minibatches.
    """

    algorithm: ClassVar[type[BaseAlgorithm]] = stable_baselines3.PPO
    trust_region: ClassVar[str] = "clipping: no gradient beyond ratio 1 ± clip_range"
    source: ClassVar[str] = "Schulman et al. (arXiv:1707.06347), as written in stable-baselines3"

    learning_rate: Annotated[float, Gt(0)] = 3e-4
    """Step size of the optimizer."""
    batch_size: Annotated[int, Ge(2)] = 64
    """Samples in one minibatch."""
    n_epochs: Annotated[int, Ge(1)] = 10
    """Passes over the batch in one update."""
    clip_range: Annotated[float, Gt(0)] = 0.2
    """Width of the band around ratio 1 in which a sample still pays."""
    clip_range_vf: Annotated[float, Gt(0)] | None = None
    """The same for the value function, in units of the return; None: no clipping."""
    normalize_advantage: bool = True
    """Whether advantages are shifted and scaled to mean 0 and deviation 1."""
    ent_coef: Annotated[float, Ge(0)] = 0.0
    """Weight of the entropy bonus."""
    vf_coef: Annotated[float, Ge(0)] = 0.5
    """Weight of the value function's squared error."""
    max_grad_norm: Annotated[float, Gt(0)] = 0.5
    """Gradients longer than this are scaled down to it."""
    target_kl: Annotated[float, Gt(0)] | None = None
    """Epochs end once a minibatch's estimate of the KL exceeds 1.5 times this; None: never."""


@dataclass(frozen=True, kw_only=True)
class StockA2C(OnPolicy):
    """stable-baselines3's A2C, unchanged.

    maximise  log pi(a|s) A,  one gradient step per rollout.
    """

    algorithm: ClassVar[type[BaseAlgorithm]] = stable_baselines3.A2C
    trust_region: ClassVar[str] = "none, but one gradient step per rollout"
    source: ClassVar[str] = "Mnih et al. (arXiv:1602.01783), as written in stable-baselines3"

    n_steps: Annotated[int, Ge(1)] = 5
    """Steps of each environment in one rollout."""
    gae_lambda: Annotated[float, Ge(0), Le(1)] = 1.0
    """Decay of the generalised advantage estimator: 0 is one step, 1 the whole return."""
    learning_rate: Annotated[float, Gt(0)] = 7e-4
    """Step size of the optimizer."""
    normalize_advantage: bool = False
    """Whether advantages are shifted and scaled to mean 0 and deviation 1."""
    ent_coef: Annotated[float, Ge(0)] = 0.0
    """Weight of the entropy bonus."""
    vf_coef: Annotated[float, Ge(0)] = 0.5
    """Weight of the value function's squared error."""
    max_grad_norm: Annotated[float, Gt(0)] = 0.5
    """Gradients longer than this are scaled down to it."""
    use_rms_prop: bool = True
    """RMSprop as in the paper, or Adam."""
    rms_prop_eps: Annotated[float, Gt(0)] = 1e-5
    """Added to RMSprop's denominator."""


@dataclass(frozen=True, kw_only=True)
class StockTRPO(OnPolicy):
    """sb3-contrib's TRPO, unchanged: it averages the KL over action dimensions; the joint KL is the sum.

    maximise  ratio A  along the natural gradient, as far as the mean KL allows and the surrogate improves.
    """

    algorithm: ClassVar[type[BaseAlgorithm]] = sb3_contrib.TRPO
    trust_region: ClassVar[str] = (
        "line search: mean KL(new||old), averaged over action dimensions, below target_kl"
    )
    source: ClassVar[str] = "Schulman et al. (arXiv:1502.05477), as written in sb3-contrib"

    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Step size of the value function's optimizer."""
    batch_size: Annotated[int, Ge(2)] = 128
    """Samples in one minibatch of the value function."""
    normalize_advantage: bool = True
    """Whether advantages are shifted and scaled to mean 0 and deviation 1."""
    n_critic_updates: Annotated[int, Ge(1)] = 10
    """Passes of the value function over the batch in one update."""
    target_kl: Annotated[float, Gt(0)] = 0.01
    """Limit of the mean KL."""
    cg_max_steps: Annotated[int, Ge(1)] = 15
    """Iterations of the conjugate gradient."""
    cg_damping: Annotated[float, Ge(0)] = 0.1
    """Multiple of the identity added to the Fisher matrix."""
    line_search_shrinking_factor: Annotated[float, Gt(0), Lt(1)] = 0.8
    """Each trial step is this fraction of the one before."""
    line_search_max_iter: Annotated[int, Ge(1)] = 10
    """Trials before the update is rejected."""
    sub_sampling_factor: Annotated[int, Ge(1)] = 1
    """Use every n-th sample of the batch for the policy step."""
