"""Policies and optimizers on disk: safetensors and JSON, so that reading one never runs anybody's code."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from rl_lab.monitor.guard import Saved

OPTIMIZER = ".optimizer.safetensors"


def save_tensors(tensors: Mapping[str, Tensor], path: Path, told: Mapping[str, str] | None = None) -> Saved:
    """Write named tensors; the file is whole or not there."""
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    # Clones, because safetensors refuses tensors that share memory, as shared feature extractors do.
    save_file(
        {name: value.detach().clone().contiguous() for name, value in tensors.items()},
        unfinished,
        dict(told or {}),
    )
    os.replace(unfinished, path)
    return Saved((path,), path.stat().st_size)


def save_checkpoint(
    policy: Mapping[str, Tensor], optimizers: Mapping[str, Mapping[str, Any]], path: Path
) -> Saved:
    """Write a policy's state_dict to the path and its optimizers' beside it, as <name>.optimizer.safetensors.

    The optimizers come first: where there is the policy, they are there too.
    """
    tensors: dict[str, Tensor] = {}
    plain = {place: _taken_apart(state, f"{place}:", tensors) for place, state in optimizers.items()}
    beside = save_tensors(tensors, path.with_suffix(OPTIMIZER), {"state": json.dumps(plain)})
    saved = save_tensors(policy, path)
    return Saved(saved.files + beside.files, saved.bytes + beside.bytes)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Policy and optimizers, by their place in the algorithm, as load_state_dict() of each takes them."""
    beside = path.with_suffix(OPTIMIZER)
    with safe_open(beside, "pt") as file:
        plain = json.loads(file.metadata()["state"])
    tensors = load_file(beside)
    return load_file(path), {
        place: {
            "state": {int(number): _put_together(entry, tensors) for number, entry in state["state"].items()},
            "param_groups": [_put_together(group, tensors) for group in state["param_groups"]],
        }
        for place, state in plain.items()
    }


def _taken_apart(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """The value as JSON, with {"tensor": name} where there is a tensor, which goes under that name into `tensors`."""
    if isinstance(value, Tensor):
        tensors[place] = value
        return {"tensor": place}
    if isinstance(value, Mapping):
        return {str(key): _taken_apart(item, f"{place}{key}.", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_taken_apart(item, f"{place}{i}.", tensors) for i, item in enumerate(value)]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _put_together(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"tensor"}:
            return torch.as_tensor(tensors[value["tensor"]])
        return {key: _put_together(item, tensors) for key, item in value.items()}
    return [_put_together(item, tensors) for item in value] if isinstance(value, list) else value
