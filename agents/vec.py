"""Environments for stable-baselines3: a native vector environment where there is one, else SB3's own loop."""

import importlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Never

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

Indices = None | int | Iterable[int]


def vectorize(env_id: str, n_envs: int, seed: int | None, settings: Mapping[str, Any]) -> VecEnv:
    """Return n_envs copies of an environment behind SB3's face; copy i is seeded with seed + i.

    `settings` are keyword arguments of gymnasium.make. Errors of gymnasium and the environment pass through.
    """
    envs = _native(env_id, n_envs, settings) or DummyVecEnv(
        [lambda: Monitor(gym.make(env_id, **settings)) for _ in range(n_envs)]
    )
    if seed is not None:
        envs.seed(seed)
    return envs


def _native(env_id: str, n_envs: int, settings: Mapping[str, Any]) -> "VectorEnvAdapter | None":
    """Return the vector environment registered for this id, or None where SB3 could not use it."""
    module, _, name = env_id.rpartition(":")
    if module:  # gymnasium's "package:Name-v0": the import registers the name
        importlib.import_module(module)
    spec = gym.registry.get(name)
    if spec is None or spec.vector_entry_point is None or spec.additional_wrappers:
        return None
    venv = gym.make_vec(env_id, num_envs=n_envs, vectorization_mode="vector_entry_point", **settings)
    if venv.metadata.get("autoreset_mode") is AutoresetMode.SAME_STEP:
        return VectorEnvAdapter(venv)
    venv.close()
    return None


class _StillRunning(dict[str, Any]):
    """The info of all environments whose episodes go on: empty and shared, therefore not to be written to."""

    def __setitem__(self, key: str, value: Any) -> Never:
        raise TypeError(f"info[{key!r}]: running environments share one empty info; copy it before writing")


class VectorEnvAdapter(VecEnv):
    """A gymnasium VectorEnv as an SB3 VecEnv, with no Python per environment in a step.

    Only an environment whose episode has just ended gets an info of its own, with what DummyVecEnv and
    Monitor would put there: `terminal_observation`, `TimeLimit.truncated`, `episode` (r: return to six
    decimals, l: steps, t: seconds since the beginning) and the environment's final info. All others share one
    empty info.

    ValueError: the vector environment does not reset within the step that ends an episode (SAME_STEP). In the
    other modes the observation that SB3 bootstraps from is not where SB3 looks for it.
    """

    def __init__(self, venv: VectorEnv[Any, Any, Any]) -> None:
        mode = venv.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"{venv}: stable-baselines3 needs autoreset_mode SAME_STEP, found {mode}")
        self.venv = venv
        super().__init__(venv.num_envs, venv.single_observation_space, venv.single_action_space)
        self._running = _StillRunning()
        self._actions: np.ndarray | None = None
        self._returns = np.zeros(self.num_envs)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)
        self._began = time.time()

    def reset(self) -> VecEnvObs:
        """Begin new episodes everywhere, with the seeds and options set since the last reset."""
        options = self._options[0]
        if any(other != options for other in self._options):
            raise ValueError("one vector environment takes the same reset options for all its environments")
        observations, _ = self.venv.reset(seed=self._seeds[0], options=options or None)
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return _batch(observations)

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions, shape [N, ...]."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Take the step: observations [N, ...], float32 rewards [N], dones [N], infos."""
        observations, rewards, terminated, truncated, infos = self.venv.step(self._actions)
        dones = np.logical_or(terminated, truncated)
        self._returns += rewards
        self._lengths += 1
        told: list[dict[str, Any]] = [self._running] * self.num_envs
        if dones.any():
            for i in np.flatnonzero(dones).tolist():
                told[i] = {
                    **_lane(infos.get("final_info", {}), i),
                    "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                    "terminal_observation": _observation(infos["final_obs"], i),
                    "episode": self._episode(i),
                }
            self._returns[dones] = 0.0
            self._lengths[dones] = 0
        return _batch(observations), np.asarray(rewards, dtype=np.float32), dones, told

    def _episode(self, i: int) -> dict[str, float]:
        return {
            "r": round(float(self._returns[i]), 6),
            "l": int(self._lengths[i]),
            "t": round(time.time() - self._began, 6),
        }

    def get_state(self) -> dict[str, Any]:
        """What the future depends on, as plain values: the vector environment's own, and the episodes so far.

        AttributeError: the vector environment does not give its state.
        """
        inner: Any = self.venv.unwrapped
        return {
            "venv": inner.get_state(), "returns": self._returns.tolist(), "lengths": self._lengths.tolist()
        }  # fmt: skip

    def set_state(self, saved: Mapping[str, Any]) -> None:
        """Go back to what get_state() returned, to the last bit."""
        inner: Any = self.venv.unwrapped
        inner.set_state(saved["venv"])
        self._returns[:] = saved["returns"]
        self._lengths[:] = saved["lengths"]

    def close(self) -> None:
        """Close the vector environment."""
        self.venv.close()

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute of the one vector environment, once per index."""
        return [getattr(self.venv.unwrapped, attr_name)] * len(self._lanes(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of the one vector environment.

        AttributeError: it has no such attribute, or `indices` are not all environments.
        """
        if len(self._lanes(indices)) != self.num_envs:
            raise AttributeError(
                f"{attr_name}: one vector environment has one value for all its environments"
            )
        getattr(self.venv.unwrapped, attr_name)  # a misspelt name is an error, not a new attribute
        setattr(self.venv.unwrapped, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> Never:
        """AttributeError: a vector environment has no environments of its own to call."""
        raise AttributeError(
            f"{method_name}: {self.venv} has no separate environments; use its .venv instead"
        )

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Indices = None
    ) -> list[bool]:
        """Whether infos are as under this wrapper: true for SB3's Monitor, whose records are kept here."""
        return [issubclass(Monitor, wrapper_class)] * len(self._lanes(indices))

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return one image per environment, or None for each where nothing is drawn."""
        frames: Any = self.venv.render()
        return [None] * self.num_envs if frames is None else list(frames)

    def _lanes(self, indices: Indices) -> list[int]:
        return list(self._get_indices(indices))


def _batch(observations: Any) -> VecEnvObs:
    """Copy, because SB3 keeps an observation until after the next step, which may reuse its memory."""
    if isinstance(observations, dict):
        return {name: np.array(part) for name, part in observations.items()}
    return np.array(observations)


def _observation(batched: Any, i: int) -> Any:
    """Return observation i of a batch: an array, an array of objects, or a dict of arrays."""
    if isinstance(batched, dict):
        return {name: np.array(part[i]) for name, part in batched.items()}
    entry = batched[i]
    return dict(entry) if isinstance(entry, dict) else np.array(entry)


def _lane(infos: Mapping[str, Any], i: int) -> dict[str, Any]:
    """Return what a batched info holds for environment i; gymnasium marks in `_<name>` who has an entry."""
    return {
        name: _lane(value, i) if isinstance(value, dict) else value[i]
        for name, value in infos.items()
        if not name.startswith("_") and (f"_{name}" not in infos or infos[f"_{name}"][i])
    }
