"""What the monitor costs: `learn()` with and without it, side by side in one run.

    python benchmarks/monitor_overhead.py [--repetitions 5] [--steps 20480]

Each repetition trains the same stock stable-baselines3 algorithm three times, in an order that rotates:
alone, with the monitor, and with the monitor and W&B offline. `cpu_ratio` is the ratio of the process CPU
time of learn(), which a busy machine disturbs less than wall time, start-up included. What paired runs
cannot resolve is timed from inside, in runs of its own: `share` adds up the wall time of everything the
monitor does per step, per backward pass and per update, as a share of learn(); `startup_seconds` is what it
does once (measuring the random policy, opening the run directory and W&B). Prints one JSON document;
`met` says whether the share of PPO is under the target.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env

from rl_lab import DivergenceMonitor
from rl_lab.monitor.gradients import GradientRecorder

TARGET = 0.05
HOOKS = ("_on_rollout_start", "_on_step", "_on_rollout_end", "_on_training_end")


class Stopwatch:
    """Wall time spent in the functions it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


def algorithm(name: str) -> Any:
    """Stock SB3 with its own defaults on eight Pendulums."""
    env = make_vec_env("Pendulum-v1", n_envs=8, seed=0)
    if name == "A2C":
        return A2C("MlpPolicy", env, seed=0, device="cpu")
    return PPO("MlpPolicy", env, n_steps=256, seed=0, device="cpu")


def learn(name: str, steps: int, monitor: DivergenceMonitor | None) -> tuple[float, float]:
    """CPU and wall seconds of learn()."""
    model = algorithm(name)
    cpu, wall = time.process_time(), time.perf_counter()
    model.learn(steps, callback=monitor)
    return time.process_time() - cpu, time.perf_counter() - wall


def monitored(folder: Path, number: int, wandb: Any) -> DivergenceMonitor:
    """A monitor as a user has it, but silent."""
    return DivergenceMonitor(folder / f"{number}-{wandb}", wandb=wandb, say=lambda text: None)


def self_timed(name: str, steps: int, monitor: DivergenceMonitor) -> tuple[float, float]:
    """Share of learn() spent in the monitor's methods and hooks after its start, and seconds of the start."""
    watch, start = Stopwatch(), Stopwatch()
    monitor._on_training_start = start.wrap(monitor._on_training_start)  # type: ignore[method-assign]
    for hook in HOOKS:
        setattr(monitor, hook, watch.wrap(getattr(monitor, hook)))
    plain = GradientRecorder._complete
    GradientRecorder._complete = watch.wrap(plain)  # type: ignore[method-assign]
    try:
        _, wall = learn(name, steps, monitor)
    finally:
        GradientRecorder._complete = plain  # type: ignore[method-assign]
    return watch.seconds / (wall - start.seconds), start.seconds


def compare(name: str, steps: int, repetitions: int, folder: Path) -> dict[str, Any]:
    """Paired ratios of one algorithm."""
    kinds: list[Any] = [None, False, "offline"]
    cpu: dict[Any, list[float]] = {kind: [] for kind in kinds}
    timed: dict[Any, list[tuple[float, float]]] = {False: [], "offline": []}
    for repetition in range(repetitions + 1):
        for kind in kinds[repetition % 3 :] + kinds[: repetition % 3]:
            monitor = None if kind is None else monitored(folder, repetition, kind)
            seconds, _ = learn(name, steps, monitor)
            if repetition:  # the first round warms up
                cpu[kind].append(seconds)
        if repetition:
            for kind, found in timed.items():
                found.append(self_timed(name, steps, monitored(folder, 1000 + repetition, kind)))
    return {
        "steps": steps,
        "cpu_ratio_monitor": _summary([a / b for a, b in zip(cpu[False], cpu[None], strict=True)]),
        "cpu_ratio_monitor_wandb": _summary([a / b for a, b in zip(cpu["offline"], cpu[None], strict=True)]),
        "share_monitor": _summary([share for share, _ in timed[False]]),
        "share_monitor_wandb": _summary([share for share, _ in timed["offline"]]),
        "startup_seconds_monitor": _summary([seconds for _, seconds in timed[False]]),
        "startup_seconds_monitor_wandb": _summary([seconds for _, seconds in timed["offline"]]),
    }


def _summary(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20_480)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        result: dict[str, Any] = {
            "benchmark": "monitor_overhead",
            "repetitions": arguments.repetitions,
            "target_share": TARGET,
            "PPO, 8 envs x 256 steps": compare(
                "PPO", arguments.steps, arguments.repetitions, Path(folder) / "ppo"
            ),
            "A2C, 8 envs x 5 steps": compare(
                "A2C", arguments.steps // 4, arguments.repetitions, Path(folder) / "a2c"
            ),
        }
    ppo = result["PPO, 8 envs x 256 steps"]
    result["met"] = ppo["share_monitor_wandb"]["median"] < TARGET
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
