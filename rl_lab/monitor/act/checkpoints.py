"""Policies and optimizers on disk: safetensors and JSON, so that reading one never runs anybody's code."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from rl_lab.monitor.guard import Saved
from rl_lab.monitor.record.apart import put_together, take_apart

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
    plain = {place: take_apart(dict(state), tensors, place=place) for place, state in optimizers.items()}
    beside = save_tensors(tensors, path.with_suffix(OPTIMIZER), {"state": json.dumps(plain)})
    saved = save_tensors(policy, path)
    return Saved(saved.files + beside.files, saved.bytes + beside.bytes)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """Policy and optimizers, by their place in the algorithm, as load_state_dict() of each takes them."""
    beside = path.with_suffix(OPTIMIZER)
    with safe_open(beside, "pt") as file:
        plain = json.loads(file.metadata()["state"])
    tensors = load_file(beside)
    whole = {place: put_together(state, tensors) for place, state in plain.items()}
    # JSON made words of the numbers of parameters in files of earlier versions.
    return load_file(path), {
        place: {**state, "state": {int(number): entry for number, entry in state["state"].items()}}
        for place, state in whole.items()
    }
