"""When a run writes a checkpoint, what is in it, and how one is put back into a run that has just been made again."""

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from rl_lab.errors import UserError, one_line
from rl_lab.monitor import DivergenceMonitor
from rl_lab.monitor.record import provenance
from rl_lab.monitor.record.apart import UnstorableError
from rl_lab.study import tasks
from rl_lab.study.plan import RunPlan
from rl_lab.study.resume import learner, worlds
from rl_lab.study.resume.checkpoint import Checkpoint, plan_document, write

SECONDS = 10.0
"""Least time between two checkpoints where nobody has said how many updates."""
SHARE = 0.01
"""Share of the time that they may take then."""


class Keeper:
    """Writes the checkpoints of one run.

    Args:
        plan: the run; its `monitor.checkpoint_every` says after how many updates, None: as often as is cheap.
        told: what a checkpoint says besides, as plain values: study, wandb.
        say: what to do with a sentence.
    """

    def __init__(
        self,
        model: Any,
        monitor: DivergenceMonitor,
        plan: RunPlan,
        told: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self._model, self._monitor, self._plan, self._told, self._say = model, monitor, plan, told, say
        self._refused = learner.refusal(model)
        self._envs_lost: str | None = None
        self._has_tried = False
        self._written: int | None = None
        """The update of the last one."""
        self._next = time.monotonic() + SECONDS

    @property
    def can_write(self) -> bool:
        """Whether there is any use in waiting for the end of an update."""
        return self._refused is None

    def update_ended(self, update: int) -> None:
        """Write one if it is time."""
        every = self._plan.monitor.checkpoint_every
        if update % every == 0 if every is not None else time.monotonic() >= self._next:
            self.write(update)

    def write(self, update: int) -> bool:
        """Write one now, and say so where that cannot be; training goes on either way. Whether it is there."""
        if self._refused is not None or update < 1:
            return False
        if self._written == update:
            return True
        began = time.monotonic()
        try:
            write(self._monitor.run_dir, *self._content(update))
        except UnstorableError as error:
            self._refused = f"no checkpoint can be written of this run: {error}"
            self._say(self._refused)
            return False
        except OSError as error:
            self._say(f"no checkpoint was written ({error.strerror or error}); training goes on")
            return False
        finally:
            now = time.monotonic()
            self._next = now + max(SECONDS, (now - began) / SHARE)
        self._written = update
        return True

    def _content(self, update: int) -> tuple[dict[str, Any], dict[str, Any]]:
        whole = not self._cannot_keep_envs()
        state: dict[str, Any] = {
            "model": learner.state_of(self._model),
            "envs": worlds.state_of(self._model.env, whole=whole),
            "monitor": self._monitor.state(),
        }
        device = str(self._model.device)
        document = {
            "update": update,
            "events": sum(self._monitor.events.values()),
            "chain": state["monitor"]["observer"]["chain"],
            "env_steps": int(self._model.num_timesteps),
            "plan": plan_document(self._plan),
            "envs_begin_anew": self._envs_lost,
            "versions": dict(provenance.versions()),
            "machine": provenance.machine(device),
            "device": device,
            **self._told,
        }
        return document, state

    def _cannot_keep_envs(self) -> bool:
        """Tried once, when the first checkpoint is written."""
        if not self._has_tried:
            self._has_tried = True
            self._envs_lost = worlds.unkept(lambda: tasks.make(self._plan.env), self._model.env)
            if self._envs_lost is not None:
                self._say(
                    f"{self._plan.env.id} does not give its state ({self._envs_lost}): if this run has to go on "
                    "from a checkpoint, its episodes begin anew there"
                )
        return self._envs_lost is not None


def put_back(model: Any, saved: Checkpoint, seed: int) -> None:
    """Put the algorithm and its environments, which have been reset, where they were; as often as one likes.

    UserError: the checkpoint is of another algorithm, or of other environments.
    """
    try:
        # Copies, because statistics and generators are edited in place by whoever has them.
        learner.put_back(model, deepcopy(saved.state["model"]))
        worlds.put_back(model.env, deepcopy(saved.state["envs"]), whole=saved.begins_anew is None)
        if saved.begins_anew is not None:
            learner.begin_episodes(model, (seed, saved.update))
    except Exception as error:  # torch, numpy, SB3 and environments each have their own
        raise UserError(f"{saved.path} does not fit the run that it lies in ({one_line(error)})") from error
