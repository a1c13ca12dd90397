"""LoopMonitor: the same monitor for a training loop of your own, in plain PyTorch."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from rl_lab.errors import did_you_mean, one_line
from rl_lab.monitor.detectors.nonfinite import NonFinite
from rl_lab.monitor.event import Event
from rl_lab.monitor.guard import Guard
from rl_lab.monitor.measure.activations import listening
from rl_lab.monitor.measure.clipping import ClipListener
from rl_lab.monitor.measure.distributions import Change, Distribution, Floats, Step
from rl_lab.monitor.measure.drift import evaluating
from rl_lab.monitor.measure.gradients import Gradients
from rl_lab.monitor.measure.limits import Limits
from rl_lab.monitor.measure.on_policy import HELD_OUT, moments
from rl_lab.monitor.measure.path import KLPath, PathRecorder, flat, recorded_path
from rl_lab.monitor.measure.reference import reference
from rl_lab.monitor.measure.returns import Episode, EpisodeReturns
from rl_lab.monitor.measure.rollout import Rollout, unknown
from rl_lab.monitor.measure.torch_policies import Torch, log_prob, read
from rl_lab.monitor.measure.update import Update
from rl_lab.monitor.observer import Observer
from rl_lab.monitor.quantities import Level, level_named
from rl_lab.monitor.record.wandb_run import Wish

Policy = Callable[[Any], Torch]
"""What the present policy would do: observations [N, ...] -> a distribution of torch over N actions."""
NUMBERS = ("log_probs", "rewards", "values", "returns", "advantages")
PARTS = ("observations", "actions", *NUMBERS)


class LoopMonitor:
    """Watches the policy updates of any loop; your loop needs nothing of stable-baselines3.

    Either tell it both policies after each update, `observe(old, new, batch)`, or let it look by itself, which
    also shows gradients, parameter steps and the KL along the update:

        with LoopMonitor(env="CartPole-v1", agent="my ppo", n_envs=8) as monitor:
            for iteration in range(100):
                ...                                            # collect; call monitor.step(...) after each step
                with monitor.update(policy, batch, agent, optimizer):
                    ...                                        # epochs of minibatches

    A batch is a mapping with `observations` and `actions` [N, ...], and where there are such numbers `log_probs` (as
    stored when the action was taken), `rewards`, `values`, `returns`, `advantages`, all [N].

    Distributions are torch's: Normal, Independent, Categorical, Bernoulli, a tanh-transformed Normal, or a
    sequence of them (several choices); and the Gaussian and Categorical of rl_lab.monitor.measure.distributions.

    Args:
        out: the run directory; default runs/<time>-<env>-<agent>-s<seed> in the working directory.
        env, agent, seed, settings: what the manifest says of the run. If `env` is the id of a registered
            environment, the return of a random policy is measured on it.
        n_envs: environments that `step` is told of together.
        clip_range, max_kl, max_grad_norm: what your update rule promises; its updates are judged by it too.
        level, guards, wandb, random_return, say: as of DivergenceMonitor. Of the guards `alert` and `stop` can act
            here; `stop` sets `should_stop`.
    """

    def __init__(
        self,
        out: str | Path | None = None,
        *,
        env: str = "unknown",
        agent: str = "unknown",
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
        n_envs: int = 1,
        clip_range: float | None = None,
        max_kl: float | None = None,
        max_grad_norm: float | None = None,
        level: Literal["light", "standard", "full"] = "standard",
        guards: Iterable[str | Guard] = ("alert",),
        wandb: Wish = None,
        random_return: float | Mapping[str, Any] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.env_steps = 0
        self._limits = Limits(kl=max_kl, clip_range=clip_range, max_grad_norm=max_grad_norm)
        self._held_out: Rollout | None = None
        self._returns = EpisodeReturns(n_envs)
        self._observer = Observer(
            Path(out).absolute() if out is not None else None,
            {
                "env": {"id": env, "settings": {}},
                "agent": {
                    "name": agent,
                    "label": agent,
                    "settings": dict(settings or {}),
                    "trust_region": None,
                },
                "seed": seed,
                "steps": None,
                "study": None,
            },
            returns=self._returns,
            random=reference(random_return, lambda: gym.make(env)),
            level=level_named(level),
            guards=guards,
            wandb=wandb,
            say=say,
        )

    @property
    def should_stop(self) -> bool:
        """Whether the guard `stop` wants training to end."""
        return self._observer.stopped is not None

    @property
    def run_dir(self) -> Path:
        """The run directory."""
        return self._observer.recorder.path

    def step(self, rewards: Any, dones: Any, observations: Any = None) -> None:
        """Tell of one step of all environments: rewards as they were paid, dones = terminated or truncated."""
        rewards, dones = np.asarray(rewards).reshape(-1), np.asarray(dones, dtype=bool).reshape(-1)
        if dones.size not in (1, rewards.size):
            raise ValueError(f"dones: {dones.size} values for the rewards of {rewards.size} environments")
        dones = np.broadcast_to(dones, rewards.shape)
        self.env_steps += len(rewards)
        self._observer.env_steps = self.env_steps
        self._returns.step(rewards, dones, [{}] * len(rewards))
        if self._observer.nonfinite is None:
            found = NonFinite.in_step({} if observations is None else observations, rewards)
            if found is not None:
                self._observer.announce([found], self._observer.updates + 1)

    def episode(self, paid: float, length: int) -> None:
        """Tell of an episode that ended, in place of `step`, where the loop counts returns itself."""
        self._returns.ended(Episode(float(paid), int(length)))

    def observe(
        self,
        old: Torch | Distribution,
        new: Torch | Distribution,
        batch: Mapping[str, Any],
        *,
        env_steps: int | None = None,
    ) -> list[Event]:
        """Measure, judge and record one update, given both policies on the batch's observations."""
        rollout = rollout_of(batch)
        pair = [(read(policy), log_prob(policy, rollout.actions)) for policy in (old, new)]
        return self._conclude(_update(pair[0], pair[1], rollout, self._limits), env_steps)

    @contextmanager
    def update(
        self,
        policy: Policy,
        batch: Mapping[str, Any],
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        env_steps: int | None = None,
    ) -> Iterator[None]:
        """Watch one update from before its first gradient step to after its last.

        policy: observations -> distribution, by the present parameters of the module; it is called without a graph.
        Gradient norms are those that torch.nn.utils.clip_grad_norm_ sees; where a loop does not clip they are missing.
        """
        rollout = rollout_of(batch)
        watching = self._observer.level >= Level.STANDARD
        gradients, path = ClipListener(module), PathRecorder(module, optimizer)
        before = flat(list(module.parameters()))
        # Plain numbers at once: a torch distribution may be a view of parameters that are about to change.
        old = _asked(policy, module, rollout)
        old_held_out = _asked(policy, module, self._held_out) if self._held_out is not None else None
        if watching:
            gradients.attach()
            path.attach()
        heard: Gradients | None = None
        try:
            yield
        except Exception:
            path.detach()
            self._broke(rollout, gradients.detach(), module)
            raise
        finally:
            path.detach()
            heard = gradients.detach()
        with listening(module) if self._observer.level >= Level.FULL else nullcontext() as activations:
            new = _asked(policy, module, rollout, old[0])
        held_out = (
            _asked(policy, module, self._held_out, old_held_out[0])
            if self._held_out is not None and old_held_out is not None
            else None
        )
        change = replace(
            _update(old, new, rollout, self._limits),
            probe=Change(old_held_out[0], held_out[0]) if old_held_out and held_out else None,
            gradients=heard if watching and len(heard.norms) else None,
            path=_path(policy, module, rollout, path) if watching and path.copies else None,
            activations=activations,
            old_parameters=before,
            new_parameters=flat(list(module.parameters())),
            optimizer=moments(optimizer),
        )
        if self._held_out is None and watching:
            self._held_out = rollout.some(HELD_OUT)
        self._conclude(change, env_steps)

    def close(self, status: str = "done", reason: str | None = None) -> None:
        """Write how the run ended: done, failed, interrupted; one whose numbers are not finite has diverged."""
        if not self._observer.recorder.is_open:
            return
        if self._observer.nonfinite is not None and status == "done":
            status, reason = "diverged", self._observer.nonfinite
        self._observer.close(status, reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif isinstance(error, KeyboardInterrupt):
            self.close("interrupted", "stopped by the user")
        else:
            self.close("failed", one_line(error))

    def _broke(self, rollout: Rollout, gradients: Gradients, module: nn.Module) -> None:
        """The loop raised inside an update: was a number not finite before it did?"""
        if self._observer.nonfinite is None:
            broken = Update(
                rollout=rollout, gradients=gradients, new_parameters=flat(list(module.parameters()))
            )
            self._observer.announce(NonFinite.in_update(broken), self._observer.updates + 1)

    def _conclude(self, update: Update, env_steps: int | None) -> list[Event]:
        self.env_steps = self.env_steps if env_steps is None else env_steps
        return self._observer.conclude(update, env_steps=self.env_steps)


def rollout_of(batch: Mapping[str, Any]) -> Rollout:
    """The batch as the monitor's own; ValueError says what is missing or does not fit."""
    unknown = [key for key in batch if key not in PARTS]
    missing = [key for key in ("observations", "actions") if key not in batch]
    if missing:
        raise ValueError(f"batch: has no {missing[0]} (parts: {', '.join(PARTS)})")
    if unknown:
        hint = did_you_mean(str(unknown[0]), PARTS)
        raise ValueError(f"batch: {unknown[0]} is not a part of it.{hint} (parts: {', '.join(PARTS)})")
    actions = torch.as_tensor(batch["actions"])
    numbers: dict[str, Any] = {
        name: torch.as_tensor(batch[name]).detach().cpu().numpy() for name in NUMBERS if name in batch
    }
    for name, array in numbers.items():
        if array.shape != (len(actions),):
            raise ValueError(
                f"batch: {name} must have the shape ({len(actions)},) of one number per action, "
                f"got {array.shape}"
            )
    seen = batch["observations"]
    observations = (
        {key: torch.as_tensor(part) for key, part in seen.items()}
        if isinstance(seen, Mapping)
        else torch.as_tensor(seen)
    )
    return Rollout(observations, actions.detach(), None, **numbers)


Asked = tuple[Distribution, Floats]
"""What a policy said of the states of a batch, and the log-probabilities of its actions."""


def _update(old: Asked, new: Asked, rollout: Rollout, limits: Limits) -> Update:
    stored = rollout.log_probs
    return Update(
        step=Step(old[0], new[0], new[1] - old[1]),
        rollout=rollout,
        behaviour_log_ratio=None if stored is None else old[1] - stored,
        limits=limits,
    )


def _asked(policy: Policy, module: nn.Module, rollout: Rollout, like: Distribution | None = None) -> Asked:
    """Without a graph, and in the mode in which a policy acts: no dropout, no statistics of a batch.

    All NaN in the shape of `like`, if there is one, where torch refuses what the policy puts out.
    """
    with torch.no_grad(), evaluating(module):
        try:
            found = policy(rollout.observations)
            return read(found), log_prob(found, rollout.actions)
        except ValueError:
            if like is None:
                raise
            return unknown(like, len(rollout))


def _path(policy: Policy, module: nn.Module, rollout: Rollout, recorder: PathRecorder) -> KLPath:
    some = rollout.some(HELD_OUT)
    return recorded_path(recorder, lambda like: _asked(policy, module, some, like)[0])
