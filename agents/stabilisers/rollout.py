"""In which units the agent sees and is paid: stable-baselines3's running normalisation."""

import pickle
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from agents.spaces import float_parts


@dataclass(frozen=True, kw_only=True)
class RolloutSettings:
    """What happens to observations and rewards on their way to the agent."""

    normalize_observation: bool = False
    """Whether observations are shifted and scaled by the mean and deviation of all seen so far, and clipped to
    ±10 (parts that are floats; SB3's VecNormalize). predict() then expects them so: `get_env()` gives them."""
    normalize_reward: bool = False
    """Whether rewards are divided by the deviation of the discounted return so far, and clipped to ±10 (SB3's
    VecNormalize; Engstrom et al., arXiv:2005.12729). Logged episode returns stay as paid."""


Running = tuple[Any, RunningMeanStd, NDArray[np.float64]]
"""Statistics of the observations (of their parts, by name, or None), those of the discounted return, and that return
itself so far in each environment."""


def normalised(env: VecEnv, settings: RolloutSettings, gamma: float) -> VecEnv:
    """Return the environments behind SB3's VecNormalize, where the settings ask for it.

    ValueError: observations are to be normalised that are not floats.
    """
    if not (settings.normalize_observation or settings.normalize_reward):
        return env
    parts = float_parts(env.observation_space)
    if settings.normalize_observation and not parts:
        raise ValueError(
            "normalize_observation needs observations that are floats, and the observation space is "
            f"{env.observation_space}"
        )
    return VecNormalize(
        env,
        norm_obs=settings.normalize_observation,
        norm_reward=settings.normalize_reward,
        gamma=gamma,
        norm_obs_keys=parts if isinstance(env.observation_space, spaces.Dict) else None,
    )


def renormalised(env: VecEnv, like: VecNormalize) -> VecNormalize:
    """Return these environments behind a normalisation that goes on where another one stands."""
    new: VecNormalize = pickle.loads(pickle.dumps(like))  # how SB3 copies one without its environments
    new.set_venv(env)
    return new


def running(normalizer: VecNormalize) -> Running:
    """Copy the statistics."""
    seen = normalizer.obs_rms if normalizer.norm_obs else None
    return deepcopy((seen, normalizer.ret_rms, normalizer.returns))


def write_running(normalizer: VecNormalize, statistics: Running) -> None:
    """Put statistics back into the normalisation they come from."""
    seen, normalizer.ret_rms, normalizer.returns = statistics
    if seen is not None:
        normalizer.obs_rms = seen
