"""The algorithms of stable-baselines3 and sb3-contrib as they are: which of their settings may be chosen.

Names and defaults are theirs (a test holds them to the installed version), except `device`: theirs is "auto",
and SB3 itself warns that small networks are slower on a GPU.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

import sb3_contrib
import stable_baselines3
from annotated_types import Ge, Gt, Le, Lt
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents.spaces import policy_name

Width = Annotated[int, Gt(0)]


@dataclass(frozen=True, kw_only=True)
class Stock:
    """Settings that all three have in common."""

    algorithm: ClassVar[type[OnPolicyAlgorithm]]
    trust_region: ClassVar[str]
    source: ClassVar[str]

    n_envs: Annotated[int, Ge(1)] = 1
    """Environments that are stepped together."""
    n_steps: Annotated[int, Ge(1)] = 2048
    """Steps of each environment in one rollout."""
    learning_rate: Annotated[float, Gt(0)] = 3e-4
    """Step size of the optimizer."""
    gamma: Annotated[float, Ge(0), Le(1)] = 0.99
    """Discount per step."""
    gae_lambda: Annotated[float, Ge(0), Le(1)] = 0.95
    """Decay of the generalised advantage estimator: 0 is one step, 1 the whole return."""
    normalize_advantage: bool = True
    """Whether advantages are shifted and scaled to mean 0 and deviation 1."""
    net_arch: tuple[Width, ...] | None = None
    """Units of the hidden layers; None leaves SB3's choice: 64, 64, or none behind convolutions."""
    device: str = "cpu"
    """Where the networks live: cpu, cuda, auto."""


@dataclass(frozen=True, kw_only=True)
class StockPPO(Stock):
    """stable-baselines3's PPO, unchanged."""

    algorithm: ClassVar[type[OnPolicyAlgorithm]] = stable_baselines3.PPO
    trust_region: ClassVar[str] = "clipping: no gradient beyond ratio 1 ± clip_range"
    source: ClassVar[str] = "Schulman et al. (arXiv:1707.06347), as written in stable-baselines3"

    batch_size: Annotated[int, Ge(2)] = 64
    """Samples in one minibatch."""
    n_epochs: Annotated[int, Ge(1)] = 10
    """Passes over the batch in one update."""
    clip_range: Annotated[float, Gt(0)] = 0.2
    """Width of the band around ratio 1 in which a sample still pays."""
    clip_range_vf: Annotated[float, Gt(0)] | None = None
    """The same for the value function, in units of the return; None: no clipping."""
    ent_coef: Annotated[float, Ge(0)] = 0.0
    """Weight of the entropy bonus."""
    vf_coef: Annotated[float, Ge(0)] = 0.5
    """Weight of the value function's squared error."""
    max_grad_norm: Annotated[float, Gt(0)] = 0.5
    """Gradients longer than this are scaled down to it."""
    target_kl: Annotated[float, Gt(0)] | None = None
    """Epochs end once a minibatch's estimate of the KL exceeds 1.5 times this; None: never."""


@dataclass(frozen=True, kw_only=True)
class StockA2C(Stock):
    """stable-baselines3's A2C, unchanged."""

    algorithm: ClassVar[type[OnPolicyAlgorithm]] = stable_baselines3.A2C
    trust_region: ClassVar[str] = "none, but one gradient step per rollout"
    source: ClassVar[str] = "Mnih et al. (arXiv:1602.01783), as written in stable-baselines3"

    n_steps: Annotated[int, Ge(1)] = 5
    """Steps of each environment in one rollout."""
    learning_rate: Annotated[float, Gt(0)] = 7e-4
    """Step size of the optimizer."""
    gae_lambda: Annotated[float, Ge(0), Le(1)] = 1.0
    """Decay of the generalised advantage estimator: 0 is one step, 1 the whole return."""
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
class StockTRPO(Stock):
    """sb3-contrib's TRPO, unchanged: it averages the KL over action dimensions; the joint KL is the sum."""

    algorithm: ClassVar[type[OnPolicyAlgorithm]] = sb3_contrib.TRPO
    trust_region: ClassVar[str] = (
        "line search: mean KL(new||old), averaged over action dimensions, below target_kl"
    )
    source: ClassVar[str] = "Schulman et al. (arXiv:1502.05477), as written in sb3-contrib"

    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Step size of the value function's optimizer."""
    batch_size: Annotated[int, Ge(2)] = 128
    """Samples in one minibatch of the value function."""
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


STOCK: Mapping[str, type[Stock]] = {"ppo-sb3": StockPPO, "a2c-sb3": StockA2C, "trpo-sb3": StockTRPO}


def stock(settings: Stock, env: VecEnv, seed: int | None) -> OnPolicyAlgorithm:
    """Build the stock algorithm with these settings."""
    chosen: dict[str, Any] = asdict(settings)
    chosen.pop("n_envs")
    net_arch = chosen.pop("net_arch")
    if net_arch is not None:
        chosen["policy_kwargs"] = {"net_arch": list(net_arch)}
    # Each subclass takes its own keywords; the test of defaults checks them against the signature.
    algorithm: Any = settings.algorithm
    built: OnPolicyAlgorithm = algorithm(policy_name(env.observation_space), env, seed=seed, **chosen)
    return built
