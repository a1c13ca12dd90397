"""What the monitor costs at each of its levels: the share of learn() that is spent in it.

    python benchmarks/monitor_overhead.py [--repetitions 5] [--steps 20480] [--algorithms PPO A2C]

Stock stable-baselines3 with its own defaults on eight Pendulums, watched at the levels light, standard and full, in
an order that rotates; W&B is on, offline. Everything that the monitor adds is timed from inside: what it does per
environment step, at the end and the beginning of a rollout, and, inside train(), in the hooks of the optimizer and
of backward(). Where it stands in for torch's clip_grad_norm_ it does the same work, so of that the time is taken off
that torch's own function needs for the same gradients, measured beside it. What is timed is the CPU time of the
training's thread, which a busy machine disturbs less than wall time; waiting for the disk is not in it, which an
event makes the monitor do.

Per level: `share`, of learn() without its start; `share_of`, its parts in the repetition that is the median;
`milliseconds_per_update`; `startup_seconds`, what it does once (measuring the random policy, opening the run
directory and W&B, by wall time). `cpu_ratio` is the ratio of the process CPU time of whole learn() calls, watched
and alone, start included: what a user sees in the end, but paired runs resolve no better than about 5 %.

Prints one JSON document; `met` says for each level with a target whether PPO keeps it. A2C has none: it updates after
every 40 samples, so that whatever is done once per update weighs fifty times as much as in PPO.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env

from rl_lab import DivergenceMonitor
from rl_lab.monitor.measure.clipping import ClipListener
from rl_lab.monitor.measure.gradients import GradientRecorder
from rl_lab.monitor.measure.listeners import Listeners
from rl_lab.monitor.measure.path import PathRecorder

WANDB: Any = "offline"
LEVELS = ("light", "standard", "full")
TARGETS = {"standard": 0.03, "full": 0.15}
HOOKS = {
    "_on_step": "steps",
    "_on_rollout_end": "before_updates",
    "_on_rollout_start": "after_updates",
    "_on_training_end": "after_updates",
}
"""Methods of the monitor that learn() calls, by the part that they are counted as."""
NAMES = {"PPO": "PPO, 8 envs x 256 steps", "A2C": "A2C, 8 envs x 5 steps"}


class Stopwatch:
    """CPU time of this thread in the functions it wraps, by part; what one does inside another counts once.

    Reading the clock takes microseconds between other work, so it is read twice and its own time taken off.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._is_running = False

    def wrap(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._is_running:
                return function(*args, **kwargs)
            self._is_running, before, began = True, time.thread_time(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                spent = time.thread_time() - began - (began - before)
                self.seconds[part] = self.seconds.get(part, 0.0) + max(0.0, spent)
                self._is_running = False

        return timed


@contextmanager
def stopped(watch: Stopwatch, *methods: tuple[type, str, str]) -> Iterator[None]:
    """These methods of classes timed, inside the block."""
    plain = [(owner, name, getattr(owner, name)) for owner, name, _ in methods]
    for (owner, name, function), (_, _, part) in zip(plain, methods, strict=True):
        setattr(owner, name, watch.wrap(function, part))
    try:
        yield
    finally:
        for owner, name, function in plain:
            setattr(owner, name, function)


def algorithm(name: str) -> Any:
    """Stock SB3 with its own defaults on eight Pendulums."""
    env = make_vec_env("Pendulum-v1", n_envs=8, seed=0)
    if name == "A2C":
        return A2C("MlpPolicy", env, seed=0, device="cpu")
    return PPO("MlpPolicy", env, n_steps=256, seed=0, device="cpu")


def alone(name: str, steps: int) -> float:
    """CPU seconds of learn() that nobody watches."""
    model = algorithm(name)
    began = time.process_time()
    model.learn(steps)
    return time.process_time() - began


def watched(name: str, steps: int, level: str, out: Path) -> dict[str, Any]:
    """CPU seconds of a watched learn(), the shares of the monitor's parts, and its start."""
    monitor = DivergenceMonitor(out, level=level, wandb=WANDB, say=lambda text: None)  # type: ignore[arg-type]
    watch, start = Stopwatch(), {"cpu": 0.0, "wall": 0.0}
    begin = monitor._on_training_start

    def timed_begin() -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        begin()
        start["wall"], start["cpu"] = time.perf_counter() - wall, time.thread_time() - cpu

    monitor._on_training_start = timed_begin  # type: ignore[method-assign]
    for hook, part in HOOKS.items():
        setattr(monitor, hook, watch.wrap(getattr(monitor, hook), part))
    model = algorithm(name)
    inside = (
        (PathRecorder, "_stepped", "optimizer_hook"),
        (GradientRecorder, "_complete", "gradients"),
        (Listeners, "detach", "gradients"),
    )
    with stopped(watch, *inside):
        cpu, process = time.thread_time(), time.process_time()
        model.learn(steps, callback=monitor)
        whole, process = time.thread_time() - cpu - start["cpu"], time.process_time() - process
    updates = int((monitor.last_row or {})["update"])
    if level != "light":
        gradients = updates * int((monitor.last_row or {})["minibatches"])
        watch.seconds["clipping"] = gradients * clipping_costs(model)
        watch.seconds["optimizer_hook"] += gradients * hook_costs()
    total = sum(watch.seconds.values())
    return {
        "process": process,
        "share": total / whole,
        "share_of": {part: seconds / whole for part, seconds in watch.seconds.items()},
        "milliseconds_per_update": 1000 * total / updates,
        "startup": start["wall"],
    }


def clipping_costs(model: Any) -> float:
    """CPU seconds that a clipping takes longer while somebody listens."""
    for parameter in model.policy.parameters():
        parameter.grad = torch.randn_like(parameter)
    listener = ClipListener(model.policy, lambda: 0)

    def clip() -> None:
        torch.nn.utils.clip_grad_norm_(model.policy.parameters(), 0.5)

    return longer(clip, listener.attach, listener.detach)


def hook_costs() -> float:
    """CPU seconds that torch needs to call the hook of an optimizer's step, without what the hook does."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.0)
    handles: list[Any] = []
    return longer(
        optimizer.step,
        lambda: handles.append(optimizer.register_step_post_hook(lambda *_: None)),
        lambda: handles.pop().remove(),
    )


def longer(function: Callable[[], Any], begin: Callable[[], Any], end: Callable[[], Any]) -> float:
    """CPU seconds by which a call is longer between begin() and end() than without: the median of many pairs."""

    def seconds(calls: int = 20) -> float:
        began = time.thread_time()
        for _ in range(calls):
            function()
        return (time.thread_time() - began) / calls

    found = []
    for _ in range(200):
        plain = seconds()
        begin()
        found.append(seconds() - plain)
        end()
    return max(0.0, statistics.median(found))


def compare(name: str, steps: int, repetitions: int, folder: Path) -> dict[str, Any]:
    """All levels of one algorithm."""
    kinds = ("alone", *LEVELS)
    lone: list[float] = []
    found: dict[str, list[dict[str, Any]]] = {level: [] for level in LEVELS}
    for repetition in range(repetitions + 1):
        for kind in kinds[repetition % 4 :] + kinds[: repetition % 4]:
            if kind == "alone":
                seconds = alone(name, steps)
                lone += [seconds] if repetition else []
            else:
                measured = watched(name, steps, kind, folder / f"{repetition}-{kind}")
                found[kind] += [measured] if repetition else []  # the first round warms up
    return {
        "steps": steps,
        "levels": {level: summary(runs, lone) for level, runs in found.items()},
    }


def summary(runs: list[dict[str, Any]], lone: list[float]) -> dict[str, Any]:
    """The repetitions of one level."""
    middle = sorted(runs, key=lambda run: run["share"])[(len(runs) - 1) // 2]
    return {
        "share": _spread([run["share"] for run in runs]),
        "share_of": middle["share_of"],
        "milliseconds_per_update": statistics.median(run["milliseconds_per_update"] for run in runs),
        "cpu_ratio": _spread([run["process"] / seconds for run, seconds in zip(runs, lone, strict=True)]),
        "startup_seconds": statistics.median(run["startup"] for run in runs),
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median_low(values), "min": min(values), "max": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20_480)
    parser.add_argument("--algorithms", nargs="+", choices=list(NAMES), default=list(NAMES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["WANDB_SILENT"] = "true"
    result: dict[str, Any] = {
        "benchmark": "monitor_overhead",
        "repetitions": arguments.repetitions,
        "targets": TARGETS,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.algorithms:
            steps = arguments.steps if name == "PPO" else arguments.steps // 4
            result[NAMES[name]] = compare(name, steps, arguments.repetitions, Path(folder) / name)
    ppo = result.get(NAMES["PPO"])
    result["met"] = {
        level: ppo["levels"][level]["share"]["median"] < target if ppo is not None else None
        for level, target in TARGETS.items()
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
