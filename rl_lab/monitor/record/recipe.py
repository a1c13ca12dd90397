"""How an algorithm can be built again, as plain values and names: what a file may hold that nobody has to trust.

Where a value is neither plain nor made of plain values it is written as a mapping with one key that says what it is:

    {"!class": "torch.nn.modules.activation.Tanh"}          a class, by its full name
    {"!dataclass": name, "fields": {...}}                    settings of a rule, a network
    {"!partial": name, "keywords": {...}}                    functools.partial of a class
    {"!other": name}                                         an object of this class; it cannot be built again

Writing a name is harmless; who reads one must look it up among those he knows, and import nothing.
"""

import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from gymnasium import spaces

NO_SETTINGS = frozenset(
    {
        "self", "args", "kwargs", "policy", "env", "rule", "stabilisers", "policy_kwargs", "rollout_buffer_class",
        "rollout_buffer_kwargs", "tensorboard_log", "verbose", "seed", "device", "stats_window_size",
        "monitor_wrapper", "supported_action_spaces", "_init_setup_model",
    }
)  # fmt: skip
"""Arguments of algorithms that decide no update, or are written elsewhere."""
SCHEDULES = frozenset({"learning_rate", "clip_range", "clip_range_vf"})
"""What stable-baselines3 and sb3-contrib take as functions of the progress; no other function is called."""


def settings(model: Any) -> dict[str, Any]:
    """The hyperparameters of an algorithm as they are now; of a schedule its value at the present progress."""
    kind: Any = type(model)
    found = {name: _now(name, model) for name in _names(kind) if hasattr(model, name)}
    # Not what was asked for, but what train() takes; a guard may have cut it.
    return {**found, "learning_rate": float(model.lr_schedule(model._current_progress_remaining))}


def recipe(model: Any) -> dict[str, Any]:
    """What does not change while an on-policy algorithm trains: its kind, its networks, its spaces."""
    return {
        "class": full_name(type(model)),
        "parents": [full_name(parent) for parent in type(model).__mro__[1:-1]],
        "n_envs": int(model.n_envs),
        "device": str(model.device),
        "policy": {"class": full_name(type(model.policy)), "kwargs": plain(model.policy_kwargs)},
        "buffer": {
            "class": full_name(type(model.rollout_buffer)),
            "kwargs": plain(getattr(model, "rollout_buffer_kwargs", {})),
        },
        "stabilisers": plain(getattr(model, "stabilisers", None)),
        "observation_space": plain_space(model.observation_space),
        "action_space": plain_space(model.action_space),
    }


def plain(value: Any) -> Any:
    """The value as JSON can hold it, or what it is."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, type):
        return {"!class": full_name(value)}
    if is_dataclass(value):
        kept = {item.name: plain(getattr(value, item.name)) for item in fields(value) if item.init}
        return {"!dataclass": full_name(type(value)), "fields": kept}
    if isinstance(value, partial) and isinstance(value.func, type) and not value.args:
        return {"!partial": full_name(value.func), "keywords": plain(value.keywords)}
    return {"!other": full_name(type(value))}


def plain_space(space: spaces.Space[Any]) -> dict[str, Any]:
    """A space of Gymnasium; bounds that are all the same are written once."""
    match space:
        case spaces.Box():
            low, high = _bound(space.low), _bound(space.high)
            return {
                "kind": "Box",
                "shape": list(space.shape),
                "dtype": space.dtype.name,
                "low": low,
                "high": high,
            }
        case spaces.Discrete():
            return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
        case spaces.MultiDiscrete():
            return {"kind": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist()}
        case spaces.MultiBinary():
            return {"kind": "MultiBinary", "n": plain(space.n)}
        case spaces.Dict():
            return {"kind": "Dict", "spaces": {key: plain_space(part) for key, part in space.spaces.items()}}
    return {"kind": type(space).__name__}


def full_name(kind: type) -> str:
    """Module and name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _bound(array: Any) -> Any:
    first = array.flat[0] if array.size else 0
    return plain(first) if (array == first).all() else array.tolist()


def _now(name: str, model: Any) -> Any:
    value = getattr(model, name)
    scheduled = name in SCHEDULES and callable(value)
    return float(value(model._current_progress_remaining)) if scheduled else plain(value)


@cache
def _names(algorithm: type) -> tuple[str, ...]:
    """Arguments of the constructors of an algorithm and of those it is made from."""
    made = [parent.__init__ for parent in algorithm.__mro__ if "__init__" in vars(parent)]  # type: ignore[misc]
    named = (name for function in made for name in inspect.signature(function).parameters)
    return tuple(dict.fromkeys(name for name in named if name not in NO_SETTINGS))
