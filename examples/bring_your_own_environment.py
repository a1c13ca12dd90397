"""Journey 3: bring an environment of your own; its id works wherever rl-lab takes an id.

    python examples/bring_your_own_environment.py

Any package whose import registers Gymnasium environments will do: `their_package:TheirEnv-v0`. To add a
chaotic system or an update rule to rl-lab itself, see CONTRIBUTING.md: one file each.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np


class Juggle(gym.Env[np.ndarray, np.ndarray]):
    """Keep a ball bouncing at height 1 on a paddle whose kick you choose: a map with a chaotic range."""

    observation_space = gym.spaces.Box(-10.0, 10.0, (2,), np.float32)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.phase, self.speed = self.np_random.uniform(0, 2 * np.pi), 2.0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.phase = (self.phase + self.speed) % (2 * np.pi)
        self.speed = float(np.clip(0.8 * self.speed + np.cos(self.phase) + 0.5 * action[0], -9, 9))
        return self._observation(), -abs(self.speed - 1.0), False, False, {}

    def _observation(self) -> np.ndarray:
        return np.array([np.sin(self.phase), self.speed], np.float32)


gym.register("Juggle-v0", Juggle, max_episode_steps=100)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=Path("runs/juggle"))
    arguments = parser.parse_args()
    here = Path(__file__)
    command = [
        "train",
        f"{here.stem}:Juggle-v0",
        "trpo",
        "--steps",
        str(arguments.steps),
        "--out",
        str(arguments.out),
    ]
    subprocess.run(
        [Path(sys.executable).with_name("rl-lab"), *command],
        check=True,
        env={**os.environ, "PYTHONPATH": str(here.parent)},
    )
