"""Where did the first NaN come from? A run that dies of one, though no environment ever returned one.

    python examples/where_did_the_nan_come_from.py

After 5,000 steps a sensor of Pendulum reads 1e25 once: a finite number, so stable-baselines3's VecCheckNan lets it
pass. What follows is a ValueError about a distribution, some thousand steps later. The monitor names the first
number that was not finite, and what had left its usual band before it. docs/worked_examples.md explains the output.
"""

import argparse
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecCheckNan

from rl_lab import DivergenceMonitor


class Glitch(gym.ObservationWrapper[Any, Any, Any]):
    """The speedometer fails in one step of the whole run."""

    steps = 0

    def observation(self, observation: Any) -> Any:
        self.steps += 1
        if self.steps == 5_000:
            observation = observation.copy()
            observation[2] = 1e25
        return observation


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/where_did_the_nan_come_from"))
    arguments = parser.parse_args()
    env = VecCheckNan(make_vec_env("Pendulum-v1", wrapper_class=Glitch, seed=0), raise_exception=True)
    model = PPO(
        "MlpPolicy", env, policy_kwargs={"activation_fn": torch.nn.ReLU}, n_steps=1024, seed=0, device="cpu"
    )
    monitor = DivergenceMonitor(arguments.out)
    try:
        model.learn(20_000, callback=monitor)
    except ValueError as error:
        print("what stable-baselines3 says:", str(error).splitlines()[0][:110], "...")
    monitor.close("failed")


if __name__ == "__main__":
    main()
