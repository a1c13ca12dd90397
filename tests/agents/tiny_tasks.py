"""A task without physics, alone and as a vector environment, with every kind of ending."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

CONTEXT = spaces.Box(-1.0, 1.0, (3,))


class Guess(gym.Env[np.ndarray, Any]):
    """See three random numbers; the reward is the first of them times the first part of the action.

    An episode is truncated after 8 steps. It terminates where the sum of the numbers exceeds 1.8.
    """

    def __init__(self, action_space: spaces.Space[Any] | None = None, broken_at: int | None = None) -> None:
        self.observation_space = CONTEXT
        self.action_space = action_space or spaces.Box(-1.0, 1.0, (1,))
        self.broken_at, self.total = broken_at, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.clock = 0
        return self._look(), {}

    def _look(self) -> np.ndarray:
        self.seen = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return self.seen

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.clock += 1
        self.total += 1
        reward = float(self.seen[0]) * float(np.asarray(action, dtype=np.float64).ravel()[0])
        if self.total == self.broken_at:
            reward = float("nan")
        over = bool(self.seen.sum() > 1.8)
        return self._look(), reward, over, self.clock >= 8, {"is_success": over}


class GuessVector(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """N guesses at once; lane i draws the numbers that a Guess seeded with seed + i draws."""

    metadata: ClassVar[dict[str, Any]] = {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(self, num_envs: int, mode: AutoresetMode | None = AutoresetMode.SAME_STEP) -> None:
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = CONTEXT, spaces.Box(-1.0, 1.0, (1,))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {"autoreset_mode": mode} if mode else {}
        self.gain = 1.0
        # One array for all observations, written over at every step, as fast vector environments do.
        self.seen = np.zeros((num_envs, 3), dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict]:
        if seed is not None:
            self.generators = [np.random.default_rng(seed + i) for i in range(self.num_envs)]
        self.clock = np.zeros(self.num_envs, dtype=int)
        self._look(range(self.num_envs))
        return self.seen, {}

    def _look(self, lanes: Any) -> None:
        for i in lanes:
            self.seen[i] = self.generators[i].uniform(-1, 1, 3)

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        self.clock += 1
        rewards = self.seen[:, 0].astype(np.float64) * actions[:, 0].astype(np.float64)
        # Summed lane by lane: numpy adds three float32 in another order along a batch.
        terminated = np.array([lane.sum() > 1.8 for lane in self.seen])
        truncated = self.clock >= 8
        ended = terminated | truncated
        self._look(range(self.num_envs))
        infos: dict[str, Any] = {}
        if ended.any():
            final = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(ended):
                final[i] = self.seen[i].copy()
            infos = {
                "final_obs": final,
                "_final_obs": ended,
                "final_info": {"is_success": terminated, "_is_success": ended},
                "_final_info": ended,
            }
            self._look(np.flatnonzero(ended))
            self.clock[ended] = 0
        return self.seen, rewards, terminated, truncated, infos
