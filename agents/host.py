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
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from agents.batch import flatten
from agents.learner import Learner
from agents.network import NetworkSettings
from agents.policy import LabPolicy
from agents.rule import Outcome, Rule
from agents.stabilisers import Stabilisers, gradient, rollout, smoothness, value


@dataclass(frozen=True, kw_only=True)
class HostSettings(NetworkSettings, Stabilisers, rollout.RolloutSettings):
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

    `normalizer` is the VecNormalize around the environments, where there is one. save() keeps its statistics;
    load() and set_env() put it around environments that come without.
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
        self.normalizer: VecNormalize | None = None
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

    def _setup_model(self) -> None:
        if self.normalizer is not None:
            # A loaded one: SB3's pickling and copying want to drop again what they have not brought.
            for name in ("venv", "class_attributes", "returns"):
                vars(self.normalizer).setdefault(name, None)
        if self.env is not None:
            self.env = self._normalised(self.env)
            self.normalizer = self._vec_normalize_env = unwrap_vec_normalize(self.env)
        super()._setup_model()
        self.memory = {name: kept.to(self.device) for name, kept in self.memory.items()}

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save as SB3 does; the memory is written from the CPU, so that a machine without this device can load it."""
        here = self.memory
        self.memory = {name: kept.cpu() for name, kept in here.items()}
        try:
            super().save(*args, **kwargs)
        finally:
            self.memory = here

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Go on in these environments, with the same normalisation unless they have their own."""
        new = self._normalised(self._wrap_env(env, self.verbose))
        super().set_env(new, force_reset)
        self.normalizer = self._vec_normalize_env

    def _normalised(self, env: VecEnv) -> VecEnv:
        if self.normalizer is None or unwrap_vec_normalize(env) is not None:
            return env
        return rollout.renormalised(env, self.normalizer)

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
        if self.normalizer is not None:
            self.running_before = rollout.running(self.normalizer)
        return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)

    def train(self) -> None:
        """One update of the policy by the rule."""
        # SB3 lets it fall below 0 where the last rollout goes beyond the steps that were asked for.
        remaining = max(0.0, self._current_progress_remaining)
        learner = Learner(self.policy, self.stabilisers, self.memory, remaining)
        batch = flatten(self.rollout_buffer, self.action_space)
        self.outcome = self.rule.update(learner, batch, self.minibatch_rng)
        if self.outcome is Outcome.NOT_FINITE and self.normalizer is not None:
            # What made the update fail is in the statistics too, and would be in every number after.
            rollout.write_running(self.normalizer, self.running_before)
        self._n_updates += 1
        for name, values in learner.notes.items():
            self.logger.record(f"train/{name}", torch.stack(values).double().mean().item())
        for name, remembered in self.memory.items():
            if remembered.numel() == 1:
                self.logger.record(f"train/{name}", remembered.item())
        # After the memory, because a learning rate that is remembered may have been annealed before it was used.
        self.logger.record("train/learning_rate", self.policy.optimizer.param_groups[0]["lr"])
        explained = explained_variance(batch.values.cpu().numpy(), batch.returns.cpu().numpy())
        self.logger.record("train/explained_variance", explained)
        if isinstance(log_std := getattr(self.policy, "log_std", None), torch.Tensor):
            self.logger.record("train/std", log_std.exp().mean().item())
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")


def host(rule: Rule, settings: HostSettings, env: VecEnv, seed: int | None) -> RuleAlgorithm:
    """Build the algorithm: policy by observation space, optimizer by rule.

    ValueError: settings that contradict each other, the rule or the environments.
    """
    size = settings.n_steps * env.num_envs
    if size < 2:
        raise ValueError(
            f"a rollout of {size} step has no deviation to normalise by: raise n_steps or n_envs"
        )
    smoothness.check(settings, env.observation_space)
    if settings.jacobian_coef and settings.normalize_layers == "batch":
        raise ValueError(
            "jacobian_coef looks at one state at a time, and normalize_layers: batch mixes them: choose one of them"
        )
    if settings.entropy == "annealed" and not rule.ent_coef:
        raise ValueError("entropy: annealed lowers ent_coef to 0, and ent_coef is 0 from the beginning")
    return RuleAlgorithm(
        LabPolicy,
        rollout.normalised(env, settings, settings.gamma),
        rule,
        stabilisers=settings,
        n_steps=settings.n_steps,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        policy_kwargs=policy_arguments(rule, settings),
        seed=seed,
        device=settings.device,
    )


def policy_arguments(rule: Rule, settings: HostSettings) -> dict[str, Any]:
    """What LabPolicy takes besides spaces and learning rate: networks, value head, the rule's optimizer."""
    head = value.head(settings)
    return {"network": settings, "value_head": head, **optimizer_arguments(rule, settings)}


def optimizer_arguments(rule: Rule, settings: HostSettings) -> dict[str, Any]:
    """What SB3's policies take to build their optimizer: that of the rule, with the settings chosen for it."""
    optimizer, given = rule.optimizer
    kwargs = gradient.optimizer_kwargs(settings, optimizer, given)
    return {"optimizer_class": optimizer, "optimizer_kwargs": kwargs}
