"""The random policy's return: the floor against which a collapse is measured."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym

from rl_lab.monitor.returns import mean_of

EPISODES = 20
STEP_BUDGET = 20_000
"""Steps after which no further episode is begun, so that slow or endless tasks stay cheap."""


def random_return(make: Callable[[], gym.Env[Any, Any]], seed: int = 0) -> dict[str, Any] | None:
    """Return of uniformly random actions: {"mean", "stderr", "episodes", "how"}; None if no episode ended.

    The environment is made afresh and closed again, so the training environments are not disturbed.
    """
    env = make()
    try:
        env.action_space.seed(seed)
        returns: list[float] = []
        steps = 0
        while len(returns) < EPISODES and steps < STEP_BUDGET:
            env.reset(seed=seed + len(returns))
            total, ended = 0.0, False
            while not ended and steps < STEP_BUDGET:
                _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
                total += float(reward)
                steps += 1
                ended = terminated or truncated
            if ended:
                returns.append(total)
    finally:
        env.close()
    if not returns:
        return None
    mean = mean_of(returns)
    return {"mean": mean.mean, "stderr": mean.stderr, "episodes": mean.episodes, "how": "random policy"}
