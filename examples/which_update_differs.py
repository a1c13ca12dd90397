"""From which update on do two runs differ? The same script, the same seed, twice, and other numbers.

    python examples/which_update_differs.py
    rl-lab diff runs/which_update_differs/first runs/which_update_differs/second

The task has a fault that is easily made: gusts of wind, rare ones, come from a generator that nobody seeds. Until the
first gust both runs are identical to the bit. docs/worked_examples.md explains the output.
"""

import argparse
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from rl_lab import DivergenceMonitor


class Gusts(gym.Wrapper[Any, Any, Any, Any]):
    """Once in 10,050 steps something pushes the pendulum, by how much nobody can repeat."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.total = 0
        self.wind = np.random.default_rng()  # here: no seed, and reset(seed=...) does not reach it

    def step(self, action: Any) -> Any:
        self.total += 1
        if self.total % 10_050 == 0:
            plant: Any = self.unwrapped
            plant.state = plant.state + self.wind.normal(0, 0.1, 2)
        return self.env.step(action)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/which_update_differs"))
    parser.add_argument("--steps", type=int, default=25_000)
    arguments = parser.parse_args()
    for name in ("first", "second"):
        env = make_vec_env("Pendulum-v1", wrapper_class=Gusts, seed=0)
        model = PPO("MlpPolicy", env, n_steps=1024, seed=0, device="cpu")
        model.learn(arguments.steps, callback=DivergenceMonitor(arguments.out / name, random_return=-1200.0))


if __name__ == "__main__":
    main()
