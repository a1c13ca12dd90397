"""One run, from its plan to its last line, in this process."""

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from rl_lab.errors import one_line
from rl_lab.monitor import DivergenceMonitor
from rl_lab.monitor.record.run_directory import Run, read_run
from rl_lab.study.board import Progress
from rl_lab.study.checkout import room
from rl_lab.study.plan import RunPlan
from rl_lab.study.tasks import make_agent


class _Laboratory(BaseCallback):
    """Stops a run whose environment broke, and tells how far the run is."""

    def __init__(self, monitor: DivergenceMonitor, told: Callable[[Progress], None] | None) -> None:
        super().__init__()
        self._monitor = monitor
        self._told = told
        self._last: object = ()

    def _on_step(self) -> bool:
        return self._monitor.environment_broke is None

    def _on_rollout_start(self) -> None:
        # An off-policy rollout is a step or two: tell when there is something new, and once in the beginning.
        row = self._monitor.last_row
        if self._told is not None and row is not self._last:
            self._last = row
            self._told(Progress(self.num_timesteps, row, self._monitor.events))


def execute(
    plan: RunPlan,
    out: Path | None,
    *,
    wandb: bool | Literal["online", "offline"] = True,
    random_return: Mapping[str, Any] | None = None,
    study: str | None = None,
    told: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Run:
    """Train and record one run; how it ended is in the result's manifest.

    Whatever goes wrong inside the run (an environment that raises, a policy gone NaN) is recorded there.
    KeyboardInterrupt is recorded and raised again.
    """
    torch.set_num_threads(1)  # a second thread gains nothing at these sizes and costs the neighbour his core
    agents = room("agents")
    room("envs")
    described = plan.described()
    trust_region = agents.catalogue()[plan.agent.name].trust_region
    monitor = DivergenceMonitor(
        out,
        level=plan.monitor.level,
        guards=plan.monitor.guards,
        wandb=wandb,
        random_return=random_return,
        say=say,
        manifest={**described, "agent": {**described["agent"], "trust_region": trust_region}, "study": study},
    )
    vec_env = agents.vectorize(plan.env.id, plan.agent.settings["n_envs"], plan.seed, plan.env.settings)
    try:
        model: Any = make_agent(plan.agent, vec_env, plan.seed)  # SB3 annotates log_interval as a number
        model.learn(
            plan.steps, callback=CallbackList([monitor, _Laboratory(monitor, told)]), log_interval=None
        )
    except KeyboardInterrupt:
        monitor.close("interrupted", "stopped by the user or by a signal")
        raise
    except Exception as error:  # a failed run is a result; its traceback goes to the log
        if not monitor.has_begun:
            raise
        traceback.print_exc()
        monitor.close("failed", one_line(error))
    finally:
        vec_env.close()
    return read_run(monitor.run_dir)
