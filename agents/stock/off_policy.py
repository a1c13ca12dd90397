"""Stock algorithms that learn from a buffer of old transitions; nothing bounds their steps."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import stable_baselines3
from annotated_types import Ge, Gt, Le
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import VecEnv

from agents.spaces import Space
from agents.stock.terms import OffPolicy, Width


@dataclass(frozen=True, kw_only=True)
class StockSAC(OffPolicy):
    """stable-baselines3's SAC, unchanged.

    critics:   Q_i(s, a) -> r + gamma (min_j Q_j'(s', a') - ent_coef log pi(a'|s')),  a' ~ pi
    targets:   Q' follows Q at rate tau
    actor:     maximise  min_j Q_j(s, a) - ent_coef log pi(a|s),  a ~ pi, through the sample
    ent_coef:  where it is "auto", moved until the entropy is target_entropy
    """

    algorithm: ClassVar[type[BaseAlgorithm]] = stable_baselines3.SAC
    trust_region: ClassVar[str] = "none: gradient steps on replayed data, with a slow target network"
    source: ClassVar[str] = "Haarnoja et al. (arXiv:1812.05905), as written in stable-baselines3"
    action_spaces: ClassVar[tuple[type[Space], ...]] = (spaces.Box,)

    learning_rate: Annotated[float, Gt(0)] = 3e-4
    """Step size of all optimizers."""
    tau: Annotated[float, Gt(0), Le(1)] = 0.005
    """Share of the way that the target network goes towards the critics at each of its updates."""
    ent_coef: Annotated[float, Ge(0)] | Literal["auto"] = "auto"
    """Weight of the entropy in the objective; auto: learned."""
    target_update_interval: Annotated[int, Ge(1)] = 1
    """Gradient steps between two updates of the target network."""
    target_entropy: float | Literal["auto"] = "auto"
    """Entropy in nats that a learned ent_coef aims at; auto: minus the number of action dimensions."""
    net_arch: tuple[Width, ...] | None = None
    """Units of the hidden layers; None leaves SB3's choice: 256, 256."""


@dataclass(frozen=True, kw_only=True)
class StockTD3(OffPolicy):
    """stable-baselines3's TD3, unchanged.

    critics:  Q_i(s, a) -> r + gamma min_j Q_j'(s', mu'(s') + noise),  Q', mu' following at rate tau
    actor:    maximise  Q_1(s, mu(s)),  every policy_delay-th step
    """

    algorithm: ClassVar[type[BaseAlgorithm]] = stable_baselines3.TD3
    trust_region: ClassVar[str] = "none: gradient steps on replayed data, with slow target networks"
    source: ClassVar[str] = "Fujimoto et al. (arXiv:1802.09477), as written in stable-baselines3"
    action_spaces: ClassVar[tuple[type[Space], ...]] = (spaces.Box,)

    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """Step size of both optimizers."""
    tau: Annotated[float, Gt(0), Le(1)] = 0.005
    """Share of the way that the target networks go at each of their updates."""
    action_noise: Annotated[float, Gt(0)] | None = None
    """Deviation of Gaussian noise on the actions, scaled to ±1; None: the policy explores nothing by itself."""
    policy_delay: Annotated[int, Ge(1)] = 2
    """Gradient steps of the critics for one of the actor and the targets."""
    target_policy_noise: Annotated[float, Ge(0)] = 0.2
    """Deviation of the noise on the target's actions, which smooths the critics along the action."""
    target_noise_clip: Annotated[float, Ge(0)] = 0.5
    """Limit of that noise."""
    net_arch: tuple[Width, ...] | None = None
    """Units of the hidden layers; None leaves SB3's choice: 400, 300."""

    def keywords(self, env: VecEnv) -> dict[str, Any]:
        """Return the settings as TD3 takes them, the noise as an object."""
        chosen = super().keywords(env)
        if self.action_noise is not None:
            size = int(np.prod(env.action_space.shape or ()))
            chosen["action_noise"] = NormalActionNoise(np.zeros(size), np.full(size, self.action_noise))
        return chosen


@dataclass(frozen=True, kw_only=True)
class StockDQN(OffPolicy):
    """stable-baselines3's DQN, unchanged.

    Q(s, a) -> r + gamma max_a' Q'(s', a'),  Huber's loss
    actions:  argmax Q, or at random with chance epsilon
    """

    algorithm: ClassVar[type[BaseAlgorithm]] = stable_baselines3.DQN
    trust_region: ClassVar[str] = "none: gradient steps on replayed data, with a target network held still"
    source: ClassVar[str] = "Mnih et al. (Nature 518, 529, 2015), as written in stable-baselines3"
    action_spaces: ClassVar[tuple[type[Space], ...]] = (spaces.Discrete,)

    learning_rate: Annotated[float, Gt(0)] = 1e-4
    """Step size of the optimizer."""
    batch_size: Annotated[int, Ge(1)] = 32
    """Transitions drawn for one gradient step."""
    train_freq: Annotated[int, Ge(1)] = 4
    """Steps of each environment between two rounds of training."""
    tau: Annotated[float, Gt(0), Le(1)] = 1.0
    """Share of the way that the target network goes at each of its updates."""
    target_update_interval: Annotated[int, Ge(1)] = 10_000
    """Environment steps between two updates of the target network."""
    exploration_fraction: Annotated[float, Ge(0), Le(1)] = 0.1
    """Part of the training over which epsilon falls."""
    exploration_initial_eps: Annotated[float, Ge(0), Le(1)] = 1.0
    """Chance of a random action at the beginning."""
    exploration_final_eps: Annotated[float, Ge(0), Le(1)] = 0.05
    """Chance of a random action from then on."""
    max_grad_norm: Annotated[float, Gt(0)] = 10.0
    """Gradients longer than this are scaled down to it."""
