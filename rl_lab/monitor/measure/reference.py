"""The random policy's return: the floor against which a collapse is measured."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

from rl_lab.monitor.measure.generators import generators_kept
from rl_lab.monitor.measure.returns import mean_of

EPISODES = 20
STEP_BUDGET, CPU_SECONDS, SECONDS = 20_000, 10.0, 60.0
"""Steps and seconds after which it is enough, so that slow or endless tasks stay cheap.

The work is bounded by CPU time, so that a busy machine finds the same number; the clock is for tasks that wait.
"""


def random_return(make: Callable[[], gym.Env[Any, Any]]) -> dict[str, Any] | None:
    """Return of uniformly random actions: {"mean", "stderr", "episodes", "how"}; None if no episode ended.

    The environment is made afresh and closed again, so the training environments are not disturbed; and the
    global random generators, which some environments use, are put back as they were.
    """
    with generators_kept():
        env = make()
        try:
            returns = _episodes(env)
        finally:
            env.close()
    if len(returns) < 2:  # one episode says nothing about its own noise
        return None
    mean = mean_of(returns)
    return {"mean": mean.mean, "stderr": mean.stderr, "episodes": mean.episodes, "how": "random policy"}


def reference(
    wish: float | Mapping[str, Any] | None, make: Callable[[], gym.Env[Any, Any]] | None
) -> dict[str, Any] | None:
    """What the user said the random return is, or else what is measured; None where neither is to be had."""
    if isinstance(wish, Mapping):
        return dict(wish)
    if wish is not None:
        return {"mean": float(wish), "stderr": 0.0, "episodes": 0, "how": "given"}
    try:
        return random_return(make) if make is not None else None
    except Exception:  # someone's environment that cannot be made, or not twice, must not stop his training
        return None


def _episodes(env: gym.Env[Any, Any]) -> list[float]:
    env.action_space.seed(0)
    returns: list[float] = []
    steps, end, cpu_end = 0, time.monotonic() + SECONDS, time.process_time() + CPU_SECONDS
    while len(returns) < EPISODES:
        env.reset(seed=len(returns))
        total, ended = 0.0, False
        while not ended:
            if steps >= STEP_BUDGET or time.monotonic() > end or time.process_time() > cpu_end:
                return returns
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total += float(reward)
            steps += 1
            ended = terminated or truncated
        returns.append(total)
    return returns
