"""DivergenceMonitor: pass it as `callback=` and every policy update is measured, judged and recorded."""

import atexit
import os
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import torch
from safetensors.torch import save_file
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor

from rl_lab.monitor import provenance
from rl_lab.monitor.detector import Seen, new_detectors
from rl_lab.monitor.detectors.nonfinite import NonFinite
from rl_lab.monitor.distributions import Distribution, Floats, Step
from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.gradients import GradientRecorder
from rl_lab.monitor.reference import random_return
from rl_lab.monitor.returns import EpisodeReturns, Mean, mean_of
from rl_lab.monitor.rollout import Rollout, judge, judge_or_nan, read
from rl_lab.monitor.run_directory import RunWriter, process_identity
from rl_lab.monitor.update import Update, measure
from rl_lab.monitor.wandb_run import WandbRun, active_run


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

    Args:
        out: the run directory; default runs/<time>-<env>-<algorithm>-s<seed> in the working directory.
        wandb: None logs to the run that is active, if there is one. "online", "offline" or True starts a
            run (True: online if logged in, else offline). False: no W&B.
        random_return: return of a random policy on this task, the floor for performance_collapse. Default:
            measured once on a fresh copy of the environment, or else the mean of the first episodes.
        say: what to do with one line of text about an event; default: print it on standard error.
        manifest: entries for manifest.json, in place of what the model says of itself.
    """

    def __init__(
        self,
        out: str | Path | None = None,
        *,
        wandb: bool | Literal["online", "offline"] | None = None,
        random_return: float | Mapping[str, Any] | None = None,
        say: Callable[[str], None] | None = None,
        manifest: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if wandb not in (None, True, False, "online", "offline"):
            raise ValueError(f'wandb must be None, True, False, "online" or "offline", got {wandb!r}')
        self._out = Path(out) if out is not None else None
        self._wandb_wish = wandb
        self._random_wish = random_return
        self._say = say or _print
        self._manifest_wish = dict(manifest or {})
        self._writer: RunWriter | None = None
        self._wandb: WandbRun | None = None
        self._before: _Before | None = None
        self._update = 0
        self._events: dict[str, int] = {}
        self._poisoned = False
        self.environment_broke: str | None = None
        """The sentence about the first NaN or infinity that an environment returned, if one did."""
        self.last_row: Mapping[str, Any] | None = None
        """The record of the last update."""

    @property
    def run_dir(self) -> Path:
        """The run directory; known once training has begun."""
        return self._open.path

    @property
    def has_begun(self) -> bool:
        """Whether there is a run directory yet."""
        return self._writer is not None

    @property
    def events(self) -> dict[str, int]:
        """How many events of each name there were."""
        return dict(self._events)

    @property
    def _open(self) -> RunWriter:
        if self._writer is None:
            raise RuntimeError("the run directory is known once training has begun")
        return self._writer

    # What stable-baselines3 calls, in its order.

    def _on_training_start(self) -> None:
        if not isinstance(self.model, OnPolicyAlgorithm):
            raise TypeError(
                f"DivergenceMonitor watches on-policy algorithms (PPO, A2C, TRPO, RecurrentPPO, MaskablePPO); "
                f"{type(self.model).__name__} is not one"
            )
        if self._writer is not None and self._update and self.num_timesteps > 0:
            self._open.reopen()  # learn() again: the same run goes on
            self._open.save_manifest(status="running", ended=None)
            self._begin_wandb()
            return
        self._begin()

    def _on_rollout_start(self) -> None:
        self._finish_update()

    def _on_step(self) -> bool:
        seen = self.locals
        normalizer = self.model.get_vec_normalize_env()
        rewards = normalizer.get_original_reward() if normalizer is not None else seen["rewards"]
        self._returns.step(rewards, seen["dones"], seen["infos"])
        if not self._poisoned:
            finding = NonFinite.in_step(seen["new_obs"], rewards)
            if finding is not None:
                self._poisoned = True
                self._announce([finding], self._update + 1)
                self.environment_broke = self._last_message
        return True

    def _on_rollout_end(self) -> None:
        self._before = _Before(self.model)

    def _on_training_end(self) -> None:
        self._finish_update()
        self.close("done")

    # What happens in a run.

    def close(self, status: str, reason: str | None = None) -> None:
        """Write how the run ended; called by stable-baselines3 at the end, by others when it never gets there.

        A run that an environment broke has failed, one that went non-finite by itself has diverged,
        whatever the caller believes; only an interruption stays one.
        """
        if self._writer is None or self._open.manifest["status"] != "running":
            return
        if self._before is not None and status != "interrupted":
            self._examine_broken_update()
        if self._poisoned and status != "interrupted":
            status, reason = ("failed" if self.environment_broke else "diverged"), self._last_message
        if self._before is not None:
            self._before.recorder.detach()
            self._before = None
        if status == "diverged":
            self._announce([_ended_nonfinite()], self._update)
        smooth = self._returns.smooth()
        final = smooth.mean if smooth else None
        _save_policy(self.model.policy, self._open.path / "checkpoints" / "final.safetensors")
        self._open.save_manifest(
            status=status,
            reason=reason,
            ended=provenance.now(),
            return_final=final,
            updates=self._update,
            env_steps=self.num_timesteps,
            events=self._events,
        )
        if self._wandb is not None:
            self._wandb.finish(status, {"return_final": final} if final is not None else {})
        self._open.close()
        self._say(f"{status}: {self._update} updates in {self._open.path}")

    def _begin(self) -> None:
        self._update, self._events, self._poisoned = 0, {}, False
        self._last_message: str | None = None
        self.environment_broke = self.last_row = None
        self._detectors = new_detectors()
        self._returns = EpisodeReturns(self.training_env.num_envs)
        self._clock = time.perf_counter()
        described = {**provenance.identity(self.model), **self._manifest_wish}
        started = provenance.now()
        path = self._out or default_directory(
            described["env"]["id"], described["agent"]["label"], described["seed"], started
        )
        described.setdefault("run_id", path.name)
        described.setdefault("steps", self.locals.get("total_timesteps"))
        described.setdefault("study", None)
        self._random = self._measure_random()
        self._writer = RunWriter(
            path,
            {
                **described,
                "status": "running",
                "reason": None,
                "started": started,
                "ended": None,
                "process": process_identity(os.getpid()),
                "git": provenance.git(),
                "versions": provenance.versions(),
                "random_return": self._random,
                "return_final": None,
                "updates": 0,
                "env_steps": 0,
                "events": {},
                "wandb": None,
            },
        )
        self._begin_wandb()
        atexit.register(_abandoned, weakref.ref(self))

    def _begin_wandb(self) -> None:
        wish = self._wandb_wish
        if wish is None:
            run = active_run()
            self._wandb = WandbRun(run, owned=False) if run is not None else None
        elif wish is False:
            self._wandb = None
        else:
            mode = None if wish is True else wish
            self._wandb = WandbRun.start(self._open.path, self._open.manifest, mode)
        if self._wandb is not None:
            self._open.save_manifest(wandb=self._wandb.describe())

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
        self._update += 1
        fresh = self._returns.take()
        smooth = self._returns.smooth()
        if self._random is None and smooth is not None:
            first = mean_of(fresh)
            self._random = {**first.__dict__, "how": "first episodes"}
            self._open.save_manifest(random_return=self._random)
        outcome = getattr(self.model, "outcome", None)
        row: dict[str, Any] = {
            "update": self._update,
            "env_steps": self.num_timesteps,
            "seconds": time.perf_counter() - self._clock,
            "outcome": getattr(outcome, "name", None),
            **measure(update),
            "return_mean": mean_of(fresh).mean if fresh else None,
            "return_smooth": smooth.mean if smooth else None,
            "episodes": self._returns.total,
            **{k: v for k, v in self.logger.name_to_value.items() if k.startswith("train/")},
        }
        self.last_row = row
        self._open.update(row)
        if self._wandb is not None:
            self._wandb.update(row)
        seen = Seen(row, update, smooth, self._returns.total, self._random_mean())
        already, findings = self._poisoned, []
        for detector in self._detectors:
            findings += detector.observe(seen)
        nonfinite = [f for f in findings if f.event == NonFinite.name]
        if already:  # the environment's NaN was announced when it came; this is the same one
            findings = [f for f in findings if f.event != NonFinite.name]
        self._poisoned = bool(nonfinite)
        self._announce(findings, self._update)

    def _examine_broken_update(self) -> None:
        """train() raised: was a number not finite before it did?"""
        before, self._before = self._before, None
        assert before is not None
        found = NonFinite.in_update(before.rollout, before.recorder.detach(), _parameters(self.model.policy))
        if found and not self._poisoned:
            self._poisoned = True
            self._announce(found, self._update + 1)

    def _random_mean(self) -> Mean | None:
        r = self._random
        return Mean(float(r["mean"]), float(r["stderr"]), int(r["episodes"])) if r else None

    def _announce(self, findings: list[Finding], update: int) -> None:
        for finding in findings:
            event = Event(
                **finding.__dict__,
                id=sum(self._events.values()) + 1,
                run=self._open.manifest["run_id"],
                update=update,
                env_steps=self.num_timesteps,
            )
            self._events[event.event] = self._events.get(event.event, 0) + 1
            self._last_message = event.sentence() if event.event == NonFinite.name else self._last_message
            self._open.event(event.row())
            if self._wandb is not None:
                self._wandb.event(event)
            self._say(event.sentence())


def _print(text: str) -> None:
    print(f"rl-lab: {text}", file=sys.stderr, flush=True)


def _parameters(policy: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in policy.parameters()])


def _save_policy(policy: torch.nn.Module, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    # Clones, because safetensors refuses tensors that share memory, as shared feature extractors do.
    save_file(
        {name: value.detach().clone().contiguous() for name, value in policy.state_dict().items()}, path
    )


def _ended_nonfinite() -> Finding:
    return Finding(
        event="performance_collapse",
        value=1.0,
        threshold=None,
        message="the run ended with non-finite numbers",
        details={"cause": NonFinite.name},
    )


def default_directory(env: str, agent: str, seed: int | None, started: str) -> Path:
    """runs/<time>-<env>-<agent>-s<seed> in the working directory; a number follows where that is taken."""
    stamp = "".join(c for c in started if c.isdigit() or c == "T")[:15]
    name = f"{stamp}-{env}-{agent}-s{'random' if seed is None else seed}".replace("/", "-").replace(":", "-")
    path, number = Path("runs") / name, 2
    while path.exists():
        path, number = Path("runs") / f"{name}-{number}", number + 1
    return path


def _abandoned(reference: "weakref.ref[DivergenceMonitor]") -> None:
    """At exit: training that never reached its end did not end well, and the manifest must not say `running`."""
    monitor = reference()
    if monitor is not None:
        monitor.close("failed", "training stopped before its end")
