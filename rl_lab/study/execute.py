"""One run, from its plan or from a checkpoint to its last line, in this process."""

import fcntl
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from rl_lab.errors import UserError, one_line
from rl_lab.monitor import DivergenceMonitor
from rl_lab.monitor.record import provenance
from rl_lab.monitor.record.run_directory import FINISHED, Run, read_run, write_json
from rl_lab.monitor.record.set_aside import set_aside
from rl_lab.study.board import Progress
from rl_lab.study.checkout import room
from rl_lab.study.plan import RunPlan
from rl_lab.study.resume import Checkpoint, newest
from rl_lab.study.resume.keeper import Keeper, put_back
from rl_lab.study.resume.stopping import Stop, gentle
from rl_lab.study.tasks import make_agent


class _Laboratory(BaseCallback):
    """Between an update and the rollout after it: tells how far the run is, keeps it, and stops it where that is asked.

    A run that goes on is put back at the very point at which it was kept.
    """

    def __init__(
        self,
        monitor: DivergenceMonitor,
        keeper: Keeper,
        stop: Stop,
        told: Callable[[Progress], None] | None,
        go_on: Callable[[], None] | None,
    ) -> None:
        super().__init__()
        self._monitor, self._keeper, self._stop = monitor, keeper, stop
        self._told, self._go_on = told, go_on
        self._last: object = ()

    def _on_step(self) -> bool:
        if self._stop.asked and not self._keeper.can_write:
            raise KeyboardInterrupt  # there is nothing to wait for
        return self._monitor.environment_broke is None

    def _on_rollout_start(self) -> None:
        if self._go_on is not None:
            self._go_on()
            self._go_on, self._last = None, self._monitor.last_row
            return
        # An off-policy rollout is a step or two: tell when there is something new, and once in the beginning.
        row = self._monitor.last_row
        if row is not self._last:
            self._last = row
            if self._told is not None:
                self._told(Progress(self.num_timesteps, row, self._monitor.events))
            if row is not None and not self._stop.asked:
                self._keeper.update_ended(int(row["update"]))
        if self._stop.asked:
            if row is not None:
                self._keeper.write(int(row["update"]))
            raise KeyboardInterrupt


def execute(
    plan: RunPlan,
    out: Path | None,
    *,
    wandb: bool | Literal["online", "offline"] = True,
    random_return: Mapping[str, Any] | None = None,
    study: str | None = None,
    told: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] | None = None,
    resume: bool = False,
) -> Run:
    """Train and record one run; how it ended is in the result's manifest.

    Whatever goes wrong inside the run (an environment that raises, a policy gone NaN) is recorded there. Ctrl-C and
    SIGTERM end it after its update, with a checkpoint; that is recorded and raised as KeyboardInterrupt.

    resume: the run in `out` goes on from its newest checkpoint, to the last bit as if it had not been interrupted.

    UserError: there is no such checkpoint, or it is of another run; nothing is changed then.
    """
    torch.set_num_threads(1)  # a second thread gains nothing at these sizes and costs the neighbour his core
    agents = room("agents")
    room("envs")
    going_on: AbstractContextManager[Checkpoint | None] = nullcontext()
    if resume and out is not None:
        going_on = _kept(plan, out)
    with going_on as saved, gentle(say or _print) as stop:
        described = plan.described()
        trust_region = agents.catalogue()[plan.agent.name].trust_region
        monitor = DivergenceMonitor(
            out,
            level=plan.monitor.level,
            guards=plan.monitor.guards,
            wandb=wandb,
            random_return=random_return,
            say=say,
            manifest={
                **described,
                "agent": {**described["agent"], "trust_region": trust_region},
                "study": study,
            },
            before=saved.state["monitor"] if saved is not None else None,
        )
        vec_env = agents.vectorize(plan.env.id, plan.agent.settings["n_envs"], plan.seed, plan.env.settings)
        try:
            model: Any = make_agent(plan.agent, vec_env, plan.seed)  # SB3 annotates log_interval as a number
            go_on = None
            if saved is not None and out is not None:
                go_on = partial(put_back, model, saved, plan.seed)
                _prepare(model, go_on, saved, out)
            keeper = Keeper(model, monitor, plan, {"study": study, "wandb": wandb}, say or _print)
            laboratory = _Laboratory(monitor, keeper, stop, told, go_on)
            model.learn(plan.steps, callback=CallbackList([monitor, laboratory]), log_interval=None)
        except KeyboardInterrupt:
            stop.heeded()
            monitor.close("interrupted", "stopped by the user or by a signal")
            raise
        except Exception as error:  # a failed run is a result; its traceback goes to the log
            if not monitor.has_begun:
                if saved is not None and not isinstance(error, UserError):
                    raise UserError(
                        f"{saved.path} is of another version of rl-lab ({one_line(error)})"
                    ) from error
                raise
            traceback.print_exc()
            monitor.close("failed", one_line(error))
        finally:
            vec_env.close()
        return read_run(monitor.run_dir)


@contextmanager
def _kept(plan: RunPlan, out: Path) -> Iterator[Checkpoint]:
    """The checkpoint from which the run goes on; nobody else can go on with it in the meantime."""
    run = read_run(out)
    if run.status in FINISHED:
        raise UserError(f"{out}: the run is {run.status}; there is nothing to go on with")
    if run.status == "running":
        raise UserError(f"{out}: process {run.manifest['process']['pid']} is still working on this run")
    saved = newest(out)
    if saved is None:
        raise UserError(f"{out} has no checkpoint from which the run could go on; nothing was changed")
    if json.dumps(saved.plan().deciding()) != json.dumps(plan.deciding()):
        raise UserError(f"{saved.path} is of another run than {plan.run_id}; nothing was changed")
    with (saved.path.parent / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{out}: another process is just going on with this run") from error
        yield saved


def _prepare(model: Any, go_on: Callable[[], None], saved: Checkpoint, out: Path) -> None:
    """Try whether it fits before anything on the disk changes, then take out of the record what came after it."""
    model.env.reset()
    go_on()
    if saved.begins_anew is not None:
        saved.state["monitor"]["observer"]["returns"].begin_anew()
    aside = set_aside(out, saved.update, saved.events)
    manifest = read_run(out).manifest
    entry = {
        "update": saved.update,
        "env_steps": saved.document["env_steps"],
        "at": provenance.now(),
        "episodes": "go on" if saved.begins_anew is None else f"begin anew: {saved.begins_anew}",
        "changed": saved.changed(),
        "set_aside": str(aside.relative_to(out)) if aside is not None else None,
    }
    write_json(out / "manifest.json", {**manifest, "resumed": [*manifest.get("resumed", []), entry]})


def _print(text: str) -> None:
    print(f"rl-lab: {text}", file=sys.stderr, flush=True)
