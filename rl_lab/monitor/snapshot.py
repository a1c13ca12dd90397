"""Everything that an update of a stable-baselines3 algorithm starts from: enough to undo it, or to do it again."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


@dataclass(frozen=True)
class Generators:
    """States of the generators that a training step may draw from."""

    python: Any
    numpy: dict[str, Any]
    torch: Tensor
    minibatch: dict[str, Any] | None
    """The algorithm's own generator of minibatches, if it has one."""


@dataclass(frozen=True)
class Snapshot:
    """Copies of what the update changes, and references to the rollout, which nobody changes."""

    policy: dict[str, Tensor]
    """Parameters and buffers by name."""
    optimizers: dict[str, dict[str, Any]]
    """state_dict() of every optimizer by its place in the algorithm: `policy.optimizer`, `actor.optimizer`, ..."""
    memory: dict[str, Tensor]
    """What rule and stabilisers carry from one update to the next."""
    buffer: dict[str, Array]
    """Arrays of the rollout buffer [n_steps, n_envs, ...] by name; of dictionaries `observations.key`."""
    generators: Generators
    learning_rate: float
    progress_remaining: float


def take(model: Any) -> Snapshot:
    """Copy the state of an on-policy algorithm whose rollout is complete and whose train() has not begun.

    The buffer is referenced: stable-baselines3 makes new arrays for the next rollout, and train() flattens into
    new ones too.
    """
    own = getattr(model, "minibatch_rng", None)
    return Snapshot(
        policy={name: value.detach().clone() for name, value in model.policy.state_dict().items()},
        optimizers={name: _copied(o.state_dict()) for name, o in _optimizers(model).items()},
        memory=dict(getattr(model, "memory", {})),
        buffer=_arrays(model.rollout_buffer),
        generators=Generators(
            random.getstate(),
            dict(np.random.get_state(legacy=False)),
            torch.get_rng_state(),
            dict(own.get_state(legacy=False)) if own is not None else None,
        ),
        learning_rate=float(model.policy.optimizer.param_groups[0]["lr"]),
        progress_remaining=float(model._current_progress_remaining),
    )


def restore(model: Any, snapshot: Snapshot) -> None:
    """Put policy, optimizers and memory back, bit for bit; the generators go on from where they are."""
    model.policy.load_state_dict(snapshot.policy)
    for name, optimizer in _optimizers(model).items():
        optimizer.load_state_dict(_copied(snapshot.optimizers[name]))
    if hasattr(model, "memory"):
        model.memory.clear()
        model.memory.update(snapshot.memory)


def _optimizers(model: Any) -> dict[str, torch.optim.Optimizer]:
    found: Any = getattr(model.policy, "optimizer", None)
    return {"policy.optimizer": found} if isinstance(found, torch.optim.Optimizer) else {}


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _arrays(buffer: Any) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for name, value in vars(buffer).items():
        if isinstance(value, np.ndarray):
            found[name] = value
        elif isinstance(value, Mapping):
            found.update({f"{name}.{key}": v for key, v in value.items() if isinstance(v, np.ndarray)})
    return found
