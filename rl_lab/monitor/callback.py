"""DivergenceMonitor: pass it as `callback=` and every policy update is measured, judged and recorded."""

import atexit
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecMonitor, is_vecenv_wrapped

from rl_lab.errors import one_line
from rl_lab.monitor.act.brake import Brake
from rl_lab.monitor.act.checkpoints import save_tensors
from rl_lab.monitor.act.training_hand import TrainingHand
from rl_lab.monitor.detectors.nonfinite import NonFinite
from rl_lab.monitor.guard import Guard, new_guards
from rl_lab.monitor.measure.off_policy import Watched
from rl_lab.monitor.measure.on_policy import Pending, Watching
from rl_lab.monitor.measure.reference import reference
from rl_lab.monitor.measure.returns import EpisodeReturns
from rl_lab.monitor.observer import Observer
from rl_lab.monitor.quantities import level_named
from rl_lab.monitor.record import provenance
from rl_lab.monitor.record.incident import KEPT, Bounds
from rl_lab.monitor.record.incident_files import scene_of
from rl_lab.monitor.record.wandb_run import Wish


class DivergenceMonitor(BaseCallback):
    """Watches every policy update of a stable-baselines3 or sb3-contrib on-policy algorithm.

    After each update it computes the exact KL(pi_old || pi_new) over all states of the rollout, the
    ratios, gradient norms before clipping, step norms, entropy and explained variance (the columns are
    documented in rl_lab/monitor/quantities/), looks for events, and writes a run directory. It consumes no
    random numbers, changes no parameter and leaves no hook behind.

    An off-policy algorithm (SAC, TD3, DQN, ...) has no rollout that one policy collected, and takes a gradient
    step at nearly every environment step. Its record has one line for every `every` environment steps, which
    counts as an update: returns and lengths of episodes, how far the trained parameters went, the losses that
    SB3 logs; from the level standard on also how far the policy went on a fixed set of states from the replay
    buffer (probe_kl_* where it has a distribution, action_drift, greedy_changed) and how large the critics'
    answers are (q_scale). kl_spike, exponential_growth and nonfinite judge these; the columns about rollouts,
    ratios and gradients are missing. performance_collapse is looked for too, and after every round of training
    whether a parameter has become NaN or infinite: such an algorithm would go on to its end without a word, so
    that ends learn().

    Args:
        out: the run directory; default runs/<time>-<env>-<algorithm>-s<seed> in the working directory.
        level: how much is measured. "light": the policies before and after each update. "standard": also the
            gradients, and a fixed set of held-out states. "full": also the KL after every gradient step, and what
            the units of the networks do.
        guards: what to do about events, in this order: "alert", "checkpoint", "stop", "rollback", "shrink"; with
            settings as {"name": "rollback", "factor": 0.3}; or guards of your own. See rl_lab/monitor/guards/.
        wandb: None logs to the run that is active, if there is one. "online", "offline" or True starts a
            run (True: online if logged in, else offline). False: no W&B.
        random_return: return of a random policy on this task, the floor for performance_collapse. Default:
            measured once on a fresh copy of the environment, or else the mean of the first episodes.
        say: what to do with one line of text about an event; default: print it on standard error.
        manifest: entries for manifest.json, in place of what the model says of itself.
        every: environment steps from one record of an off-policy algorithm to the next.
        incidents: how many of the updates behind events are kept so that `rl-lab replay` can do them again, by number,
            size on the disk and memory (rl_lab.monitor.record.incident.Bounds); None: none. Off-policy there are none.
        before: what `state` returned of the run in `out`, which goes on; None: a new run begins.
    """

    def __init__(
        self,
        out: str | Path | None = None,
        *,
        level: Literal["light", "standard", "full"] = "standard",
        guards: Iterable[str | Guard | Mapping[str, Any]] = ("alert",),
        wandb: Wish = None,
        random_return: float | Mapping[str, Any] | None = None,
        say: Callable[[str], None] | None = None,
        manifest: Mapping[str, Any] | None = None,
        every: int = 1000,
        incidents: Bounds | None = KEPT,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if wandb not in (None, True, False, "online", "offline"):
            raise ValueError(f'wandb must be None, True, False, "online" or "offline", got {wandb!r}')
        if every < 1:
            raise ValueError(f"every must be at least 1 environment step, got {every}")
        self._level = level_named(level)
        self._guards = new_guards(guards)  # a wrong name is said now, not when training begins
        self._every = every
        self._out = Path(out).absolute() if out is not None else None
        self._wandb: Wish = wandb
        self._random_wish = random_return
        self._say = say
        self._manifest = dict(manifest or {})
        self._incidents = incidents
        self._before = before
        self._observer: Observer | None = None
        self._pending: Pending | None = None
        self._on_policy: Watching | None = None
        self._off_policy: Watched | None = None
        self._watched: Any = None
        self._brake: Brake | None = None
        self._is_over = False
        self.environment_broke: str | None = None
        """The sentence about the first NaN or infinity that an environment returned, if one did."""

    @property
    def has_begun(self) -> bool:
        """Whether there is a run directory yet."""
        return self._observer is not None

    @property
    def run_dir(self) -> Path:
        """The run directory; known once training has begun."""
        return self._observed.recorder.path

    @property
    def events(self) -> dict[str, int]:
        """How many events of each name there were."""
        return dict(self._observer.recorder.events) if self._observer is not None else {}

    @property
    def last_row(self) -> Mapping[str, Any] | None:
        """The record of the last update."""
        return self._observer.last_row if self._observer is not None else None

    def state(self) -> dict[str, Any]:
        """What the records to come depend on, to be asked between an update and the rollout after it.

        TypeError: the algorithm is off-policy, whose replay buffer nobody keeps.
        """
        if self._on_policy is None or self._brake is None:
            raise TypeError("an off-policy algorithm has no state that could be kept")
        self._observed.recorder.sync()
        return {
            "observer": self._observed.state(),
            "watching": self._on_policy.state(),
            "share": self._brake.share,
            "environment_broke": self.environment_broke,
        }

    def note(self, **entries: Any) -> None:
        """Write entries of the manifest."""
        self._observed.recorder.note(**entries)

    @property
    def _observed(self) -> Observer:
        if self._observer is None:
            raise RuntimeError("the run directory is known once training has begun")
        return self._observer

    # What stable-baselines3 calls, in its order.

    def _on_training_start(self) -> None:
        if not isinstance(self.model, OnPolicyAlgorithm | OffPolicyAlgorithm):
            raise TypeError(
                "DivergenceMonitor watches on-policy algorithms (PPO, A2C, TRPO, RecurrentPPO, MaskablePPO) and "
                f"off-policy ones (SAC, TD3, DQN, ...); {type(self.model).__name__} is neither"
            )
        if self._watched is self.model and self._observed.updates and self.num_timesteps > 0:
            self._go_on()
            return
        self.close("failed", "training stopped before its end")
        self._begin()

    def _on_rollout_start(self) -> None:
        if self._off_policy is not None:
            self._follow(self._off_policy, self._every)
        self._finish_update()

    def _on_step(self) -> bool:
        seen, observed = self.locals, self._observed
        observed.env_steps = self.num_timesteps
        normalizer = self.model.get_vec_normalize_env()
        rewards = normalizer.get_original_reward() if normalizer is not None else seen["rewards"]
        observed.returns.step(rewards, seen["dones"], seen["infos"])
        if observed.nonfinite is None:
            finding = NonFinite.in_step(seen["new_obs"], rewards)
            if finding is None and np.count_nonzero(seen["dones"]):
                finding = NonFinite.in_terminal(seen["infos"], seen["dones"])
            if finding is not None:
                observed.announce([finding], observed.updates + 1, hand=self._hand(None))
                self.environment_broke = observed.nonfinite
        return not self._is_over and observed.stopped is None

    def _on_rollout_end(self) -> None:
        if self._on_policy is not None:
            self._pending = self._on_policy.begin()

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
        if self._observer is None or self._watched is None or not self._observer.recorder.is_open:
            return
        observed = self._observer
        self._end_broken_update(reason or status)
        if self._off_policy is not None:
            self._look_at_parameters(self._off_policy)
            if status == "failed" and observed.nonfinite is None and not self._off_policy.can_act():
                observed.announce([NonFinite.in_output(self._off_policy.parameters())], observed.updates + 1)
        if observed.nonfinite is not None and status != "interrupted":
            status, reason = ("failed" if self.environment_broke else "diverged"), observed.nonfinite
        if self._brake is not None:
            self._brake.release()
        observed.close(status, reason)
        # Last, because the status matters more: what can go wrong here is a full disk.
        try:
            save_tensors(
                self._watched.policy.state_dict(), self.run_dir / "checkpoints" / "final.safetensors"
            )
        except Exception as error:
            observed.recorder.say(f"the final policy could not be saved ({error})")

    def _go_on(self) -> None:
        """learn() was called again with the same model, after its end or after something cut it off."""
        observed = self._observed
        if observed.recorder.is_open:  # nobody has closed what was cut off
            self._end_broken_update("learn() was called again")
            if self._off_policy is not None:
                self._look_at_parameters(self._off_policy)
        if self._brake is not None:
            self._brake.release()
        if self._off_policy is not None and self._is_over and self._off_policy.first_nonfinite() is None:
            # Somebody has repaired it: nothing is measured from the parameters that were not finite.
            self._off_policy = Watched(self.model, self._level)
            observed.nonfinite = self.environment_broke = None
        self._is_over = False
        observed.go_on()

    def _end_broken_update(self, why: str) -> None:
        """If train() began and never came to its end: say what made it break, and leave no hook behind."""
        pending, self._pending = self._pending, None
        if pending is not None:
            scene = scene_of(self._watched, pending.snapshot, why)
            found = NonFinite.in_update(pending.broken())
            self._observed.broke(found, scene, self._hand(pending))

    def _begin(self) -> None:
        self._is_over = False
        self._watched, self._brake = self.model, Brake(self.model)
        self._off_policy = (
            Watched(self.model, self._level) if isinstance(self.model, OffPolicyAlgorithm) else None
        )
        self._on_policy = Watching(self.model, self._level) if self._off_policy is None else None
        before, self._before = self._before, None
        self.environment_broke = before["environment_broke"] if before else None
        monitored = is_vecenv_wrapped(self.training_env, VecMonitor) or any(
            self.training_env.env_is_wrapped(Monitor)
        )
        described = {"steps": self.locals.get("total_timesteps"), "study": None}
        self._observer = Observer(
            self._out,
            {**described, **provenance.identity(self.model), **self._manifest},
            returns=EpisodeReturns(self.training_env.num_envs, monitored=monitored),
            random=self._measure_random() if before is None else None,
            level=self._level,
            guards=self._guards,
            wandb=self._wandb,
            say=self._say,
            incidents=self._incidents,
            before=before["observer"] if before else None,
        )
        if before is not None and self._on_policy is not None:
            self._on_policy.go_on_from(before["watching"])
            self._brake.go_on_from(before["share"])
        atexit.register(_abandoned, weakref.ref(self))  # after wandb's own hook, so that it runs before

    def _measure_random(self) -> dict[str, Any] | None:
        spec = provenance.plain_spec_of(self.model) if self._random_wish is None else None
        return reference(self._random_wish, (lambda: gym.make(spec)) if spec is not None else None)

    def _finish_update(self) -> None:
        pending, self._pending = self._pending, None
        if pending is None:
            return
        update = pending.finish()
        outcome = getattr(self.model, "outcome", None)
        self._observed.conclude(
            update,
            env_steps=self.num_timesteps,
            outcome=getattr(outcome, "name", None),
            hand=self._hand(pending),
            scene=scene_of(self.model, pending.snapshot),
        )
        if self._observed.nonfinite is None:
            self.environment_broke = None

    def _follow(self, watched: Watched, least: int) -> None:
        """Look at the parameters after a round of training; a record once a stretch has `least` steps."""
        self._look_at_parameters(watched)
        if watched.length >= least:
            # A replay buffer keeps a NaN, and training never loses one.
            self._observed.conclude(
                watched.end_stretch(),
                env_steps=self.num_timesteps,
                hand=self._hand(None),
                keeps_nonfinite=True,
            )

    def _look_at_parameters(self, watched: Watched) -> None:
        """Has training made a parameter NaN? Nothing that is learned from then on can be used."""
        name = None if self._is_over else watched.first_nonfinite()
        if name is not None:
            self._is_over = True
            if self._observed.nonfinite is None:
                self._observed.announce(
                    [NonFinite.in_parameter(name)], self._observed.updates + 1, hand=self._hand(None)
                )

    def _hand(self, pending: Pending | None) -> TrainingHand:
        assert self._brake is not None
        return TrainingHand(self._observed, self._watched, self._brake, pending)


def _abandoned(reference: "weakref.ref[DivergenceMonitor]") -> None:
    """At exit: training that never reached its end did not end well, and the manifest must not say `running`."""
    monitor = reference()
    if monitor is None:
        return
    error = getattr(sys, "last_value", None)  # what ended the script, if something did
    if isinstance(error, KeyboardInterrupt):
        monitor.close("interrupted", "stopped by the user")
    else:
        monitor.close("failed", one_line(error) if error else "training stopped before its end")
