"""DivergenceMonitor: pass it as `callback=` and every policy update is measured, judged and recorded."""

import atexit
import os
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from safetensors.torch import save_file
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecMonitor, is_vecenv_wrapped
from torch import Tensor

from rl_lab.monitor import provenance
from rl_lab.monitor.detector import Seen, new_detectors, observe_all
from rl_lab.monitor.detectors.nonfinite import NonFinite
from rl_lab.monitor.distributions import Distribution, Floats, Step
from rl_lab.monitor.event import Finding
from rl_lab.monitor.gradients import GradientRecorder
from rl_lab.monitor.off_policy import Watched
from rl_lab.monitor.recorder import Recorder
from rl_lab.monitor.reference import random_return
from rl_lab.monitor.returns import EpisodeReturns, Mean, mean_of
from rl_lab.monitor.rollout import Rollout, judge, judge_or_nan, read
from rl_lab.monitor.update import Change, Update, measure
from rl_lab.monitor.wandb_run import Wish

FIRST_EPISODES = 5
"""Episodes that stand in for a random policy where none could be run: an untrained policy is close to one."""


class _Before:
    """What is kept from before an update until it is over."""

    def __init__(self, model: Any) -> None:
        self.rollout: Rollout = read(model)
        self.old: Distribution
        self.log_prob: Floats
        self.old, self.log_prob = judge(model.policy, self.rollout)
        self.parameters = _parameters(model.policy)
        self.recorder = GradientRecorder(model.policy)
        self.recorder.attach()


class DivergenceMonitor(BaseCallback):
    """Watches every policy update of a stable-baselines3 or sb3-contrib on-policy algorithm.

    After each update it computes the exact KL(pi_old || pi_new) over all states of the rollout, the
    ratios, gradient norms before clipping, step norms, entropy and explained variance (the columns are
    documented in rl_lab/monitor/quantities/), looks for events, and writes a run directory. It consumes no
    random numbers, changes no parameter and leaves no hook behind.

    An off-policy algorithm (SAC, TD3, DQN, ...) has no rollout that one policy collected, and takes a gradient
    step at nearly every environment step. Its record has one line for every `every` environment steps, which
    counts as an update: returns and lengths of episodes, how far the trained parameters went, the losses that
    SB3 logs; the columns about KL, ratios and gradients are missing, and so are their events. What is looked
    for is performance_collapse, and after every round of training whether a parameter has become NaN or
    infinite: such an algorithm would go on to its end without a word, so that ends learn().

    Args:
        out: the run directory; default runs/<time>-<env>-<algorithm>-s<seed> in the working directory.
        wandb: None logs to the run that is active, if there is one. "online", "offline" or True starts a
            run (True: online if logged in, else offline). False: no W&B.
        random_return: return of a random policy on this task, the floor for performance_collapse. Default:
            measured once on a fresh copy of the environment, or else the mean of the first episodes.
        say: what to do with one line of text about an event; default: print it on standard error.
        manifest: entries for manifest.json, in place of what the model says of itself.
        every: environment steps from one record of an off-policy algorithm to the next.
    """

    def __init__(
        self,
        out: str | Path | None = None,
        *,
        wandb: Wish = None,
        random_return: float | Mapping[str, Any] | None = None,
        say: Callable[[str], None] | None = None,
        manifest: Mapping[str, Any] | None = None,
        every: int = 1000,
    ) -> None:
        super().__init__()
        if wandb not in (None, True, False, "online", "offline"):
            raise ValueError(f'wandb must be None, True, False, "online" or "offline", got {wandb!r}')
        if every < 1:
            raise ValueError(f"every must be at least 1 environment step, got {every}")
        self._every = every
        self._out = Path(out).absolute() if out is not None else None
        self._wandb: Wish = wandb
        self._random_wish = random_return
        self._say = say
        self._manifest = dict(manifest or {})
        self._recorder: Recorder | None = None
        self._before: _Before | None = None
        self._off_policy: Watched | None = None
        self._watched: Any = None
        self._update = 0
        self._env_steps = 0
        self._nonfinite: str | None = None
        self._is_lost = False
        self.environment_broke: str | None = None
        """The sentence about the first NaN or infinity that an environment returned, if one did."""
        self.last_row: Mapping[str, Any] | None = None
        """The record of the last update."""

    @property
    def has_begun(self) -> bool:
        """Whether there is a run directory yet."""
        return self._recorder is not None

    @property
    def run_dir(self) -> Path:
        """The run directory; known once training has begun."""
        return self._record.path

    @property
    def events(self) -> dict[str, int]:
        """How many events of each name there were."""
        return dict(self._recorder.events) if self._recorder is not None else {}

    @property
    def _record(self) -> Recorder:
        if self._recorder is None:
            raise RuntimeError("the run directory is known once training has begun")
        return self._recorder

    # What stable-baselines3 calls, in its order.

    def _on_training_start(self) -> None:
        if not isinstance(self.model, OnPolicyAlgorithm | OffPolicyAlgorithm):
            raise TypeError(
                "DivergenceMonitor watches on-policy algorithms (PPO, A2C, TRPO, RecurrentPPO, MaskablePPO) and "
                f"off-policy ones (SAC, TD3, DQN, ...); {type(self.model).__name__} is neither"
            )
        if self._before is not None:  # the last learn() was cut off inside an update, which never was
            self._before.recorder.detach()
            self._before = None
        if self._watched is self.model and self._update and self.num_timesteps > 0:
            if not self._record.is_open:
                self._record.go_on()
            return
        self.close("failed", "training stopped before its end")
        self._begin()

    def _on_rollout_start(self) -> None:
        if self._off_policy is not None:
            self._follow(self._off_policy, self._every)
        self._finish_update()

    def _on_step(self) -> bool:
        seen = self.locals
        self._env_steps = self.num_timesteps
        normalizer = self.model.get_vec_normalize_env()
        rewards = normalizer.get_original_reward() if normalizer is not None else seen["rewards"]
        self._returns.step(rewards, seen["dones"], seen["infos"])
        if self._nonfinite is None:
            finding = NonFinite.in_step(seen["new_obs"], rewards)
            if finding is None and seen["dones"].any():
                finding = NonFinite.in_terminal(seen["infos"], seen["dones"])
            if finding is not None:
                self._announce([finding], self._update + 1)
                self.environment_broke = self._nonfinite
        return not self._is_lost

    def _on_rollout_end(self) -> None:
        if self._off_policy is None:
            self._before = _Before(self.model)

    def _on_training_end(self) -> None:
        if self._off_policy is not None:
            self._follow(self._off_policy, 1)
        self._finish_update()
        self.close("done")

    # What happens in a run.

    def close(self, status: str, reason: str | None = None) -> None:
        """Write how the run ended; called by stable-baselines3 at the end, by others when it never gets there.

        A run that an environment broke has failed, one that went non-finite by itself has diverged,
        whatever the caller believes; only an interruption stays one.
        """
        if self._recorder is None or self._watched is None or not self._record.is_open:
            return
        before, self._before = self._before, None
        if before is not None:
            self._examine_broken_update(before)
        if self._off_policy is not None:
            self._look_at_parameters(self._off_policy)
            if status == "failed" and self._nonfinite is None and not self._off_policy.can_act():
                self._announce([NonFinite.in_output(self._off_policy.parameters())], self._update + 1)
        if self._nonfinite is not None and status != "interrupted":
            status, reason = ("failed" if self.environment_broke else "diverged"), self._nonfinite
        if status == "diverged":
            self._announce([_ended_nonfinite()], self._update)
        smooth = self._returns.smooth()
        self._record.close(
            status,
            reason,
            return_final=smooth.mean if smooth else None,
            updates=self._update,
            env_steps=self._env_steps,
        )
        # Last, because the status matters more: what can go wrong here is a full disk.
        try:
            _save_policy(self._watched.policy, self.run_dir / "checkpoints" / "final.safetensors")
        except Exception as error:
            self._record.say(f"the final policy could not be saved ({error})")

    def _begin(self) -> None:
        self._update, self._env_steps, self._nonfinite, self._is_lost = 0, 0, None, False
        self._watched = self.model
        self._off_policy = Watched(self.model) if isinstance(self.model, OffPolicyAlgorithm) else None
        self.environment_broke = self.last_row = None
        self._detectors = new_detectors()
        monitored = is_vecenv_wrapped(self.training_env, VecMonitor) or any(
            self.training_env.env_is_wrapped(Monitor)
        )
        self._returns = EpisodeReturns(self.training_env.num_envs, monitored=monitored)
        self._clock = time.perf_counter()
        self._random = self._measure_random()
        started = provenance.now()
        described = {**provenance.identity(self.model), **self._manifest}
        described = {
            "steps": self.locals.get("total_timesteps"),
            "study": None,
            **described,
            "started": started,
            "random_return": self._random,
        }
        self._recorder = Recorder(self._out, described, self._wandb, self._say)
        atexit.register(_abandoned, weakref.ref(self))  # after wandb's own hook, so that it runs before

    def _measure_random(self) -> dict[str, Any] | None:
        wish = self._random_wish
        if isinstance(wish, Mapping):
            return dict(wish)
        if wish is not None:
            return {"mean": float(wish), "stderr": 0.0, "episodes": 0, "how": "given"}
        spec = provenance.plain_spec_of(self.model)
        try:
            return random_return(lambda: gym.make(spec)) if spec is not None else None
        except Exception:  # someone's environment that cannot be made twice must not stop his training
            return None

    def _finish_update(self) -> None:
        before, self._before = self._before, None
        if before is None:
            return
        gradients = before.recorder.detach()
        new, log_prob = judge_or_nan(self.model.policy, before.rollout, before.old)
        update = Update(
            step=Step(before.old, new, log_prob - before.log_prob),
            rollout=before.rollout,
            gradients=gradients,
            old_parameters=before.parameters,
            new_parameters=_parameters(self.model.policy),
        )
        self._conclude(update)

    def _follow(self, watched: Watched, least: int) -> None:
        """Look at the parameters after a round of training; a record once a stretch has `least` steps."""
        self._look_at_parameters(watched)
        if watched.length >= least:
            self._conclude(watched.end_stretch())

    def _conclude(self, update: Change) -> None:
        """Measure a change of the policy, record it, and announce what the detectors find in it."""
        self._update += 1
        smooth, returned = self._returns.smooth(), self._take_returns()
        outcome = getattr(self.model, "outcome", None)
        row: dict[str, Any] = {
            "update": self._update,
            "env_steps": self.num_timesteps,
            "seconds": time.perf_counter() - self._clock,
            "outcome": getattr(outcome, "name", None),
            **measure(update),
            **returned,
            # Under SB3's own names: they are other quantities than the monitor's.
            **{k: v for k, v in self.logger.name_to_value.items() if k.startswith("train/")},
        }
        self.last_row = row
        self._record.update(row)
        seen = Seen(row, update, smooth, self._returns.total, self._random_mean())
        self._announce_new(observe_all(self._detectors, seen))

    def _look_at_parameters(self, watched: Watched) -> None:
        """Has training made a parameter NaN? Nothing that is learned from then on can be used."""
        name = None if self._is_lost else watched.first_nonfinite()
        if name is not None:
            self._is_lost = True
            if self._nonfinite is None:
                self._announce([NonFinite.in_parameter(name)], self._update + 1)

    def _take_returns(self) -> dict[str, Any]:
        """The columns about episodes; the first episodes become the reference where there is no better one."""
        fresh, smooth = self._returns.take(), self._returns.smooth()
        if self._random is None and smooth is not None and smooth.episodes >= FIRST_EPISODES:
            self._random = {**smooth.__dict__, "how": "first episodes"}
            self._record.note(random_return=self._random)
        return {
            "return_mean": mean_of([episode.paid for episode in fresh]).mean if fresh else None,
            "return_smooth": smooth.mean if smooth else None,
            "length_mean": mean_of([episode.length for episode in fresh]).mean if fresh else None,
            "episodes": self._returns.total,
        }

    def _announce_new(self, findings: list[Finding]) -> None:
        """Announce, but what follows from a NaN that was announced when it came is not announced again."""
        nonfinite = [f for f in findings if f.event == NonFinite.name]
        if self._nonfinite is not None:
            findings = [f for f in findings if f.event != NonFinite.name]
        # What an update has survived is over; a replay buffer keeps a NaN, and training never loses one.
        if not nonfinite and self._off_policy is None:
            self._nonfinite = self.environment_broke = None
        self._announce(findings, self._update)

    def _examine_broken_update(self, before: "_Before") -> None:
        """train() raised: was a number not finite before it did?"""
        _, log_prob = judge_or_nan(self.model.policy, before.rollout, before.old)
        found = NonFinite.in_update(
            before.rollout,
            before.recorder.detach(),
            _parameters(self.model.policy),
            policy_is_bad=bool(np.isnan(log_prob).any()),
        )
        if self._nonfinite is None:
            self._announce(found, self._update + 1)

    def _random_mean(self) -> Mean | None:
        r = self._random
        return Mean(float(r["mean"]), float(r["stderr"]), int(r["episodes"])) if r else None

    def _announce(self, findings: list[Finding], update: int) -> None:
        for event in self._record.announce(findings, update, self._env_steps):
            if event.event == NonFinite.name:
                self._nonfinite = event.sentence()


def _parameters(policy: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in policy.parameters()])


def _save_policy(policy: torch.nn.Module, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    # Clones, because safetensors refuses tensors that share memory, as shared feature extractors do.
    save_file(
        {name: value.detach().clone().contiguous() for name, value in policy.state_dict().items()}, unfinished
    )
    os.replace(unfinished, path)


def _ended_nonfinite() -> Finding:
    return Finding(
        event="performance_collapse",
        value=1.0,
        threshold=None,
        message="the run ended with non-finite numbers",
        details={"cause": NonFinite.name},
    )


def _abandoned(reference: "weakref.ref[DivergenceMonitor]") -> None:
    """At exit: training that never reached its end did not end well, and the manifest must not say `running`."""
    monitor = reference()
    if monitor is None:
        return
    error = getattr(sys, "last_value", None)  # what ended the script, if something did
    if isinstance(error, KeyboardInterrupt):
        monitor.close("interrupted", "stopped by the user")
    else:
        reason = (
            f"{type(error).__name__}: {error}".splitlines()[0] if error else "training stopped before its end"
        )
        monitor.close("failed", reason)
