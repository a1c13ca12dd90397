"""What all stock algorithms have in common, and how one is built from its settings."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from agents.spaces import Space, policy_name

Width = Annotated[int, Gt(0)]


@dataclass(frozen=True, kw_only=True)
class Stock:
    """Settings of every stock algorithm."""

    algorithm: ClassVar[type[BaseAlgorithm]]
    trust_region: ClassVar[str]
    source: ClassVar[str]
    action_spaces: ClassVar[tuple[type[Space], ...]] = (
        spaces.Box,
        spaces.Discrete,
        spaces.MultiDiscrete,
        spaces.MultiBinary,
    )
    of_policy: ClassVar[tuple[str, ...]] = ("net_arch",)
    """Settings that SB3 takes as keywords of the policy."""

    n_envs: Annotated[int, Ge(1)] = 1
    """Environments that are stepped together."""
    gamma: Annotated[float, Ge(0), Le(1)] = 0.99
    """Discount per step."""
    net_arch: tuple[Width, ...] | None = None
    """Units of the hidden layers; None leaves SB3's choice, which for vectors is 64, 64."""
    device: str = "cpu"
    """Where the networks live: cpu, cuda, auto."""

    def build(self, env: VecEnv, seed: int | None) -> BaseAlgorithm:
        """Build the algorithm for these environments. ValueError: settings that contradict each other."""
        # Each subclass takes its own keywords; the test of defaults checks them against the signature.
        algorithm: Any = self.algorithm
        policy = self.policy(env.observation_space)
        built: BaseAlgorithm = algorithm(policy, env, seed=seed, **self.keywords(env))
        return built

    def policy(self, observation_space: Space) -> str | type[BasePolicy]:
        """Return the policy that reads these observations, by SB3's name or as a class."""
        return policy_name(observation_space)

    def keywords(self, env: VecEnv) -> dict[str, Any]:
        """Return the settings as the algorithm takes them."""
        del env
        chosen: dict[str, Any] = asdict(self)
        del chosen["n_envs"]
        of_policy = {name: chosen.pop(name) for name in self.of_policy}
        given = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in of_policy.items()
            if value is not None
        }
        return {**chosen, "policy_kwargs": given} if given else chosen


@dataclass(frozen=True, kw_only=True)
class OnPolicy(Stock):
    """Settings of those that learn from one rollout at a time."""

    n_steps: Annotated[int, Ge(1)] = 2048
    """Steps of each environment in one rollout."""
    gae_lambda: Annotated[float, Ge(0), Le(1)] = 0.95
    """Decay of the generalised advantage estimator: 0 is one step, 1 the whole return."""


@dataclass(frozen=True, kw_only=True)
class OffPolicy(Stock):
    """Settings of those that keep transitions and learn from them again and again.

    SB3's `n_steps` (returns over several steps) is left at its 1: elsewhere here the word means the length of a
    rollout, and a study that sets it for all its agents would mean that.
    """

    buffer_size: Annotated[int, Ge(1)] = 1_000_000
    """Transitions that are kept; the oldest give way."""
    learning_starts: Annotated[int, Ge(0)] = 100
    """Steps of random actions before the first gradient step."""
    train_freq: Annotated[int, Ge(1)] = 1
    """Steps of each environment between two rounds of training."""
    gradient_steps: Annotated[int, Ge(-1)] = 1
    """Gradient steps in one round; -1: as many as steps were taken since the last."""
    batch_size: Annotated[int, Ge(1)] = 256
    """Transitions drawn for one gradient step."""

    def keywords(self, env: VecEnv) -> dict[str, Any]:
        """Return the settings as the algorithm takes them. ValueError: with these nothing could be learnt."""
        if self.batch_size > self.buffer_size:
            raise ValueError(
                f"batch_size is {self.batch_size}, but the buffer keeps {self.buffer_size} transitions; "
                "raise buffer_size or lower batch_size"
            )
        if self.gradient_steps == 0:
            raise ValueError("gradient_steps is 0, with which nothing is ever learnt: give 1 or more, or -1")
        return super().keywords(env)


SHARED: tuple[type[Stock], ...] = (Stock, OnPolicy, OffPolicy)
"""The classes whose settings are about data and networks, not about one algorithm."""
