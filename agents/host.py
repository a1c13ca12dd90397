"""The host: stable-baselines3's rollouts, and any update rule where SB3 has `train()`."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import torch
from annotated_types import Ge, Le
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv

from agents.batch import flatten
from agents.learner import Learner
from agents.network import NetworkSettings
from agents.policy import LabPolicy
from agents.rule import Outcome, Rule
from agents.stabilisers import Stabilisers


@dataclass(frozen=True, kw_only=True)
class HostSettings(NetworkSettings, Stabilisers):
    """What collects the data and holds the policy: equal terms for all rules."""

    n_envs: Annotated[int, Ge(1)] = 8
    """Environments that are stepped together."""
    n_steps: Annotated[int, Ge(1)] = 256
    """Steps of each environment in one rollout."""
    gamma: Annotated[float, Ge(0), Le(1)] = 0.99
    """Discount per step."""
    gae_lambda: Annotated[float, Ge(0), Le(1)] = 0.95
    """Decay of the generalised advantage estimator: 0 is one step, 1 the whole return."""
    device: str = "cpu"
    """Where the networks live: cpu, cuda or cuda:0, ... Small networks are fastest on the CPU."""


class RuleAlgorithm(OnPolicyAlgorithm):
    """Collect with SB3, update with a rule.

    `outcome` says how the last update ended. NOT_FINITE ends learn() before the next rollout, with the
    parameters from before that update; callbacks are told in on_training_end as usual.

    Logs go to SB3's logger under SB3's names (train/loss, train/value_loss, ...). `train/n_updates` counts
    updates, one per rollout, where SB3's PPO counts epochs.

    `memory` is what rule and stabilisers carry from one update to the next; save() and load() keep it.
    """

    def __init__(
        self,
        policy: type[ActorCriticPolicy],
        env: VecEnv,
        rule: Rule | None = None,
        *,
        stabilisers: Stabilisers | None = None,
        n_steps: int = 256,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        policy_kwargs: dict[str, Any] | None = None,
        seed: int | None = None,
        device: torch.device | str = "cpu",
        verbose: int = 0,
        _init_setup_model: bool = True,
    ) -> None:
        if rule is None and _init_setup_model:
            raise TypeError("RuleAlgorithm needs a rule: RuleAlgorithm(policy, env, rule)")
        if rule is not None:
            self.rule = rule  # SB3's load() brings the rule itself, after this
        self.stabilisers = stabilisers or Stabilisers()
        self.memory: dict[str, torch.Tensor] = {}
        self.outcome: Outcome | None = None
        # Yields the permutations that SB3 would draw from the global generator after the same seed.
        self.minibatch_rng = np.random.RandomState(seed)
        super().__init__(
            policy,
            env,
            learning_rate=0.0 if rule is None else rule.learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            # SB3 stores these three for subclasses that read them; here the rule has its own.
            ent_coef=0.0,
            vf_coef=0.0,
            max_grad_norm=0.0,
            use_sde=False,
            sde_sample_freq=-1,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=_init_setup_model,
        )

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "rule",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train for (at least) this many environment steps, or until an update is NOT_FINITE."""
        self.outcome = None
        return super().learn(
            total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps, progress_bar
        )

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Collect one rollout; False ends learn(), and does so after an update that was not finite."""
        if self.outcome is Outcome.NOT_FINITE:
            return False
        return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def train(self) -> None:
        """One update of the policy by the rule."""
        learner = Learner(self.policy, self.stabilisers, self.memory, self._current_progress_remaining)
        batch = flatten(self.rollout_buffer, self.action_space)
        self.outcome = self.rule.update(learner, batch, self.minibatch_rng)
        self._n_updates += 1
        for name, values in learner.notes.items():
            self.logger.record(f"train/{name}", torch.stack(values).double().mean().item())
        self.logger.record("train/learning_rate", self.policy.optimizer.param_groups[0]["lr"])
        for name, remembered in self.memory.items():
            if remembered.numel() == 1:
                self.logger.record(f"train/{name}", remembered.item())
        explained = explained_variance(batch.values.cpu().numpy(), batch.returns.cpu().numpy())
        self.logger.record("train/explained_variance", explained)
        if isinstance(log_std := getattr(self.policy, "log_std", None), torch.Tensor):
            self.logger.record("train/std", log_std.exp().mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")


def host(rule: Rule, settings: HostSettings, env: VecEnv, seed: int | None) -> RuleAlgorithm:
    """Build the algorithm: policy by observation space, optimizer by rule."""
    size = settings.n_steps * env.num_envs
    if size < 2:
        raise ValueError(
            f"a rollout of {size} step has no deviation to normalise by: raise n_steps or n_envs"
        )
    return RuleAlgorithm(
        LabPolicy,
        env,
        rule,
        stabilisers=settings,
        n_steps=settings.n_steps,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        policy_kwargs={
            "network": settings,
            **optimizer_arguments(rule, settings),
        },
        seed=seed,
        device=settings.device,
    )


def optimizer_arguments(rule: Rule, settings: HostSettings) -> dict[str, Any]:
    """What SB3's policies take to build their optimizer: that of the rule."""
    del settings
    optimizer_class, optimizer_kwargs = rule.optimizer
    return {"optimizer_class": optimizer_class, "optimizer_kwargs": dict(optimizer_kwargs)}
