"""What a study will cost: a few updates of one run of every arm, and how long they take."""

import heapq
import os
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rl_lab.errors import one_line
from rl_lab.monitor.record.run_directory import Run
from rl_lab.study import tasks
from rl_lab.study.execute import execute
from rl_lab.study.plan import RunPlan, Study

UPDATES = 2
"""At least so many are done; the first, in which code is compiled and memory is found, is not counted."""
STEPS = 1000
"""At least so many environment steps are counted, if the run has them."""


@dataclass(frozen=True)
class ArmCost:
    """One agent on one task."""

    task: str
    agent: str
    runs: int
    steps: int
    """Of one run."""
    seconds_per_1000_steps: float | None
    """None: unknown, see `reason`."""
    reason: str | None = None


@dataclass(frozen=True)
class Cost:
    """What a study will cost on this machine, if nothing else runs on it and no run ends early."""

    seconds: float
    """How long the calibration took."""
    jobs: int
    start_seconds: float
    """What a run's process needs beside its steps: to begin, and to compile what is compiled."""
    before_seconds: float
    """Measuring the random policy's return of every task, before the first run."""
    arms: tuple[ArmCost, ...]
    core_seconds: float
    """Of all runs whose arm is known."""
    wall_seconds: float
    """The same with `jobs` runs at a time."""

    @property
    def unknown(self) -> list[ArmCost]:
        """Arms that could not be measured; no estimate has their runs in it."""
        return [arm for arm in self.arms if arm.seconds_per_1000_steps is None]


def calibrate(study: Study, jobs: int, say: Callable[[str], None] = lambda text: None) -> Cost:
    """Train a few updates of the first seed of every arm, without W&B and in a folder that is removed again.

    jobs: runs at a time, of the study and here, so that they are as much in each other's way here as there.
    """
    begun = time.perf_counter()
    plans = study.runs()
    first = [plan for plan in plans if plan.seed == study.seeds[0]]
    say(f"calibrating: a few updates of one run of each of {len(first)} arms (--no-calibrate leaves it out)")
    chances = {env.label: tasks.chance(env) for env in study.envs}
    before = time.perf_counter() - begun
    with tempfile.TemporaryDirectory(prefix="rl-lab-calibration-", ignore_cleanup_errors=True) as folder:
        tried = _try_all(first, Path(folder), jobs, chances)
    arms = tuple(
        ArmCost(plan.env.label, plan.agent.label, len(study.seeds), plan.steps, one.rate, one.reason)
        for plan, one in zip(first, tried, strict=True)
    )
    by_arm = {(arm.task, arm.agent): arm.seconds_per_1000_steps for arm in arms}
    starts = [one.start_seconds for one in tried if one.begins and one.start_seconds is not None]
    start = sum(starts) / len(starts) if starts else 0.0
    rates = [(plan.steps, by_arm[plan.env.label, plan.agent.label]) for plan in plans]
    seconds = [start + steps * rate / 1000 for steps, rate in rates if rate is not None]
    return Cost(
        seconds=time.perf_counter() - begun,
        jobs=jobs,
        start_seconds=start,
        before_seconds=before,
        arms=arms,
        core_seconds=sum(seconds),
        wall_seconds=before + makespan(seconds, jobs),
    )


def makespan(seconds: Sequence[float], jobs: int) -> float:
    """When the last of some runs ends that are started in this order, each as soon as one of `jobs` places is free."""
    free = [0.0] * min(jobs, len(seconds))
    for needed in seconds:
        heapq.heapreplace(free, free[0] + needed)
    return max(free, default=0.0)


def steps_to_measure(plan: RunPlan) -> int:
    """Environment steps of a calibration run: some updates, and beyond the first one enough to be timed."""
    settings = plan.agent.settings
    if "n_steps" in settings:
        update = settings["n_steps"] * settings["n_envs"]
    else:  # off-policy: one record in so many steps, and nothing is learned before learning starts
        update = max(1000, settings.get("learning_starts", 0))
    return int(min(plan.steps, max(UPDATES * update, update + STEPS)))


def rate_of(run: Run) -> float | None:
    """Seconds per 1000 steps from the first recorded update to the last; None if there are not two."""
    rows = [(row["env_steps"], row["seconds"]) for row in run.updates if row.get("seconds") is not None]
    if len(rows) < 2 or rows[-1][0] == rows[0][0]:
        return None
    (first_steps, first), (last_steps, last) = rows[0], rows[-1]
    return float(1000 * (last - first) / (last_steps - first_steps))


@dataclass(frozen=True)
class _Tried:
    """What a calibration run says."""

    rate: float | None
    reason: str | None = None
    start_seconds: float | None = None
    """Everything but its steps."""
    begins: bool = False
    """Whether it was the first run of its process, so that it was also waiting for that to begin."""


def _try_all(
    plans: Sequence[RunPlan], folder: Path, jobs: int, chances: Mapping[str, dict[str, Any] | None]
) -> list[_Tried]:
    """One short run of every plan, in processes that begin as those of a study do."""
    begun = time.time()
    # spawn: what a process needs to begin is part of what is measured
    context = get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(plans)), context, initializer=_begin) as processes:
        waiting = [
            processes.submit(_try, plan, folder / str(n), chances[plan.env.label], begun)
            for n, plan in enumerate(plans)
        ]
        try:
            return [_outcome(one) for one in waiting]
        except BaseException:
            processes.shutdown(cancel_futures=True)
            raise


def _outcome(waiting: "Future[_Tried]") -> _Tried:
    try:
        return waiting.result()
    except BrokenProcessPool:
        return _Tried(None, "its process, or that of an arm beside it, was killed")


def _begin() -> None:
    """In a new process: Ctrl-C is for the parent, and standard output for its result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.dup2(2, 1)


_has_begun = False
"""Whether this process has had its first calibration run."""


def _try(plan: RunPlan, out: Path, chance: dict[str, Any] | None, begun: float) -> _Tried:
    global _has_begun
    is_first, _has_begun = not _has_begun, True
    if not is_first:
        begun = time.time()
    short = replace(plan, steps=steps_to_measure(plan))
    try:
        run = execute(short, out, wandb=False, random_return=chance, say=lambda text: None)
    except Exception as error:  # whatever goes wrong here goes wrong in the run, where it is recorded
        return _Tried(None, one_line(error))
    spent = time.time() - begun
    rate = rate_of(run)
    if rate is None:
        return _Tried(None, str(run.manifest.get("reason") or "it has fewer than two updates"))
    trained = rate * int(run.last["env_steps"]) / 1000
    return _Tried(rate, start_seconds=max(0.0, spent - trained), begins=is_first)
