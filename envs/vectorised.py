"""N chaotic tasks in one Gymnasium vector environment, stepped by one compiled call."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.lanes import Lanes, state_option
from envs.task import resolve

Batch = tuple[
    npt.NDArray[Any], npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]
]


class ChaosVectorEnv(VectorEnv[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]):
    """Lane i of a reset with seed s goes, bit for bit, through what `ChaosEnv` with seed s + i goes through.

    A lane that is over starts anew in the same step: its observation is the first of the new episode, and
    `infos["final_obs"][i]` the last of the old one, as in Gymnasium's SyncVectorEnv with SAME_STEP.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        system: str,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: None = None,
        **settings: Any,
    ) -> None:
        if render_mode is not None:
            raise TypeError(
                f"{system}: only a single environment draws itself, got render_mode={render_mode!r}"
            )
        if AutoresetMode(autoreset_mode) is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"{system}: the native vector environment resets in the same step (SAME_STEP), got "
                f"autoreset_mode={autoreset_mode}; vectorization_mode='sync' offers the other modes"
            )
        if not isinstance(num_envs, int | np.integer) or num_envs < 1:
            raise ValueError(f"{system}: num_envs must be a whole number, at least 1, got {num_envs!r}")
        self.task = resolve(system, settings)
        self.num_envs = int(num_envs)
        self.single_action_space = self.task.action_space()
        self.single_observation_space = self.task.observation_space()
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._lanes = Lanes(self.task, self.num_envs)
        self._generators: list[np.random.Generator] = []
        self._seen = np.empty(self.observation_space.shape or ())

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Start all lanes, or those where `options["reset_mask"]` is true; lane i is seeded with seed + i."""
        mask = self._mask(options)
        chosen = state_option(self.task, options)
        self._seed(seed, mask)
        lanes = np.flatnonzero(mask)
        self._restart(lanes)
        if chosen is not None:
            self._lanes.place(lanes, np.tile(chosen, (len(lanes), 1)))
        self._seen[lanes] = self._lanes.observe(lanes, self._generators)
        return self._seen.astype(self._lanes.dtype), {}

    def step(self, actions: npt.NDArray[Any]) -> Batch:
        """One control interval of every lane; the arrays returned are the caller's to keep."""
        if not self._generators:
            raise ResetNeeded(f"{self.task.id}: call reset() before step()")
        reward = np.empty(self.num_envs)
        over = np.empty((2, self.num_envs), dtype=np.bool_)
        done, self._seen = self._lanes.advance(actions, reward, over, self._generators)
        seen = self._seen.astype(self._lanes.dtype)
        infos = self._start_anew(seen, over) if done else {}
        return seen, reward, over[0], over[1], infos

    @property
    def states(self) -> npt.NDArray[np.float64]:
        """A copy of the states of all lanes, [N, D]."""
        return self._lanes.state.T.copy()

    def get_state(self) -> dict[str, Any]:
        """Everything the future depends on, as plain values that JSON keeps exactly."""
        return {
            "state": self.states.tolist(),
            "step": self._lanes.clock.tolist(),
            "random": [generator.bit_generator.state for generator in self._generators],
            "seen": self._seen.tolist(),
            **self._lanes.extras(),
        }

    def set_state(self, saved: dict[str, Any]) -> None:
        """Go back to what get_state() returned, to the last bit."""
        if len(saved["step"]) != self.num_envs:
            raise ValueError(
                f"{self.task.id}: the saved state has {len(saved['step'])} lanes, not {self.num_envs}"
            )
        self._lanes.state[:] = np.array(saved["state"]).T
        self._lanes.clock[:] = saved["step"]
        self._lanes.set_extras(saved)
        self._seen = np.array(saved["seen"])
        self._generators = [np.random.default_rng() for _ in range(self.num_envs)]
        for generator, state in zip(self._generators, saved["random"], strict=True):
            generator.bit_generator.state = state

    def _start_anew(self, seen: npt.NDArray[Any], over: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """Reset the lanes that are over, in place in `seen`; the infos keep their last observations."""
        ended = over.any(axis=0)
        lanes = np.flatnonzero(ended)
        final = np.full(self.num_envs, None, dtype=object)
        for lane, last in zip(lanes.tolist(), seen[lanes], strict=True):
            final[lane] = last
        self._restart(lanes)
        self._seen[lanes] = self._lanes.observe(lanes, self._generators)
        seen[lanes] = self._seen[lanes]
        return {"final_obs": final, "_final_obs": ended, "final_info": {}, "_final_info": ended.copy()}

    def _restart(self, lanes: npt.NDArray[np.intp]) -> None:
        self._lanes.place(lanes, self._lanes.draw([self._generators[lane] for lane in lanes.tolist()]))

    def _seed(self, seed: int | Sequence[int | None] | None, mask: npt.NDArray[np.bool_]) -> None:
        """New generators where a seed is given; without one, lanes go on with theirs."""
        super().reset(seed=int(seed) if isinstance(seed, int | np.integer) else None)
        if seed is None:
            seeds: list[int | None] = [None] * self.num_envs
        elif isinstance(seed, int | np.integer):
            seeds = [int(seed) + lane for lane in range(self.num_envs)]
        else:
            seeds = [None if one is None else int(one) for one in seed]
        if len(seeds) != self.num_envs:
            raise ValueError(f"{self.task.id}: got {len(seeds)} seeds for {self.num_envs} lanes")
        if not self._generators:
            self._generators = [seeding.np_random(s)[0] for s in seeds]
            return
        for lane in np.flatnonzero(mask).tolist():
            if seeds[lane] is not None:
                self._generators[lane] = seeding.np_random(seeds[lane])[0]

    def _mask(self, options: dict[str, Any] | None) -> npt.NDArray[np.bool_]:
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, dtype=np.bool_)))
        if mask.shape != (self.num_envs,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(
                f"{self.task.id}: reset_mask must be {self.num_envs} booleans with one true, got {mask!r}"
            )
        if not self._generators and not mask.all():
            raise ResetNeeded(f"{self.task.id}: the first reset must be of all lanes")
        return mask
