"""Everything that an on-policy algorithm carries from one update to the next rollout, read and put back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from rl_lab.monitor.measure.digest import optimizers
from rl_lab.monitor.measure.generators import generators_kept
from rl_lab.monitor.measure.snapshot import generators_of, set_generators
from rl_lab.study.resume.worlds import random_of, set_random

CARRIED = (
    "num_timesteps", "_episode_num", "_n_updates", "_current_progress_remaining", "_last_obs", "_last_original_obs",
    "_last_episode_starts", "_last_lstm_states", "running_before",
)  # fmt: skip
"""Attributes of algorithms of stable-baselines3, sb3-contrib and ours that an update or a rollout leaves behind; of
each an algorithm has those that it needs."""
SPACES = ("action_space", "observation_space")


def refusal(model: Any) -> str | None:
    """Why nothing can be kept of this algorithm, as a clause; None: it can."""
    if isinstance(model, OnPolicyAlgorithm):
        return None
    return (
        f"{type(model).__name__} learns from a replay buffer, and checkpoints hold none: a run of it that was "
        "interrupted begins again"
    )


def state_of(model: Any) -> dict[str, Any]:
    """References to it all, to be taken apart at once: parameters go on changing."""
    return {
        "policy": dict(model.policy.state_dict()),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers(model).items()},
        "memory": dict(getattr(model, "memory", {})),
        "carried": {name: getattr(model, name) for name in CARRIED if hasattr(model, name)},
        "spaces": {name: random_of(getattr(model, name)) for name in SPACES},
        "generators": generators_of(model),
    }


def put_back(model: Any, state: Mapping[str, Any]) -> None:
    """Go back to what state_of() returned, to the last bit; the generators last.

    RuntimeError, KeyError, ValueError: it is of another algorithm, or of another network.
    """
    model.policy.load_state_dict(state["policy"])
    found = optimizers(model)
    if found.keys() != state["optimizers"].keys():
        raise ValueError(f"there were other optimizers: {', '.join(state['optimizers'])}")
    for name, optimizer in found.items():
        optimizer.load_state_dict(state["optimizers"][name])
    if hasattr(model, "memory"):
        model.memory.clear()
        model.memory.update({name: kept.to(model.device) for name, kept in state["memory"].items()})
    for name, value in state["carried"].items():
        if name not in CARRIED:
            raise ValueError(f"{name} is nothing that an algorithm carries on")
        setattr(model, name, _on(model.device, value))
    for name, generators in state["spaces"].items():
        set_random(getattr(model, name), generators)
    set_generators(model, state["generators"])


def _on(device: torch.device, value: Any) -> Any:
    """Tensors of recurrent states, wherever they are, on the algorithm's device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        moved = [_on(device, part) for part in value]
        return type(value)(*moved) if hasattr(value, "_fields") else tuple(moved)
    return value


def begin_episodes(model: Any, seed: tuple[int, ...]) -> None:
    """Begin new episodes in all environments, other ones than any before; normalisers keep what they know.

    The generators that the algorithm draws from do not move.
    """
    model.env.seed(int(np.random.SeedSequence(seed).generate_state(1)[0] >> 1))
    with generators_kept():
        model._last_obs = model.env.reset()
    model._last_episode_starts = np.ones(model.n_envs, dtype=bool)
    if model.get_vec_normalize_env() is not None:
        model._last_original_obs = model.get_vec_normalize_env().get_original_obs()
