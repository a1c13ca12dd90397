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
    cuda: Tensor | None = None
    """That of the GPU on which the policy lives, if it lives on one."""


@dataclass(frozen=True)
class Normalizer:
    """What VecNormalize did to the observations of the rollout, and the statistics it did it with."""

    settings: dict[str, Any]
    statistics: dict[str, tuple[Array, Array, float]]
    """Mean, variance and count: `obs`, or `obs.<key>` for dictionaries, and `return`."""


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
    progress_remaining: float
    """From 1 at the beginning of training to 0 at its end, as train() is going to see it."""
    normalizer: Normalizer | None = None

    def nbytes(self) -> int:
        """Bytes of everything it keeps from being forgotten."""
        optimizers = [v for o in self.optimizers.values() for s in o["state"].values() for v in s.values()]
        tensors = [*self.policy.values(), *self.memory.values(), *optimizers]
        return sum(t.nbytes for t in tensors if isinstance(t, Tensor)) + sum(
            a.nbytes for a in self.buffer.values()
        )


def take(model: Any) -> Snapshot:
    """Copy the state of an on-policy algorithm whose rollout is complete and whose train() has not begun.

    The buffer is referenced: stable-baselines3 makes new arrays for the next rollout, and train() flattens into
    new ones too.
    """
    return Snapshot(
        policy=parameters_of(model),
        optimizers={name: _copied(o.state_dict()) for name, o in _optimizers(model).items()},
        memory=dict(getattr(model, "memory", {})),
        buffer=_arrays(model.rollout_buffer),
        generators=generators_of(model),
        progress_remaining=_progress(model),
        normalizer=_normalizer(model),
    )


def restore(model: Any, snapshot: Snapshot) -> None:
    """Put policy, optimizers and memory back, bit for bit; the generators go on from where they are."""
    model.policy.load_state_dict(snapshot.policy)
    for name, optimizer in _optimizers(model).items():
        optimizer.load_state_dict(_copied(snapshot.optimizers[name]))
    if hasattr(model, "memory"):
        model.memory.clear()
        model.memory.update(snapshot.memory)


def parameters_of(model: Any) -> dict[str, Tensor]:
    """Copies of the policy's parameters and buffers by name."""
    return {name: value.detach().clone() for name, value in model.policy.state_dict().items()}


def generators_of(model: Any) -> Generators:
    """Copies of the states of all generators that an update may draw from."""
    own, device = getattr(model, "minibatch_rng", None), torch.device(model.device)
    return Generators(
        random.getstate(),
        dict(np.random.get_state(legacy=False)),
        torch.get_rng_state(),
        dict(own.get_state(legacy=False)) if own is not None else None,
        torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    )


def set_generators(model: Any, saved: Generators) -> None:
    """Let them all go on from these states; one that the algorithm has not is left out."""
    own, device = getattr(model, "minibatch_rng", None), torch.device(model.device)
    random.setstate(saved.python)
    np.random.set_state(saved.numpy)
    torch.set_rng_state(saved.torch)
    if own is not None and saved.minibatch is not None:
        own.set_state(saved.minibatch)
    if device.type == "cuda" and saved.cuda is not None:
        torch.cuda.set_rng_state(saved.cuda, device)


def _progress(model: Any) -> float:
    """What learn() is going to set: it does so between the end of the rollout and train()."""
    total = getattr(model, "_total_timesteps", 0)
    if not total:
        return float(model._current_progress_remaining)
    return 1.0 - float(model.num_timesteps) / float(total)


def _normalizer(model: Any) -> Normalizer | None:
    """References: the statistics are replaced, never edited."""
    found: Any = model.get_vec_normalize_env()
    if found is None:
        return None
    seen = found.obs_rms if found.norm_obs else {}
    parts = {f"obs.{key}": rms for key, rms in seen.items()} if isinstance(seen, Mapping) else {"obs": seen}
    names = ("norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon", "norm_obs_keys")
    return Normalizer(
        settings={name: getattr(found, name) for name in names},
        statistics={
            name: (rms.mean, rms.var, float(rms.count))
            for name, rms in {**parts, "return": found.ret_rms}.items()
        },
    )


def _optimizers(model: Any) -> dict[str, torch.optim.Optimizer]:
    found: Any = getattr(model.policy, "optimizer", None)
    return {"policy.optimizer": found} if isinstance(found, torch.optim.Optimizer) else {}


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):  # not Mapping: asking an abstract class takes longer than copying
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _arrays(buffer: Any) -> dict[str, Array]:
    """Whatever has one entry for each step: a recurrent buffer also holds what it last drew from its arrays."""
    found: dict[str, Array] = {}
    for name, value in vars(buffer).items():
        if isinstance(value, np.ndarray):
            found[name] = value
        elif isinstance(value, Mapping):
            found.update({f"{name}.{key}": v for key, v in value.items() if isinstance(v, np.ndarray)})
    return {name: array for name, array in found.items() if len(array) == buffer.buffer_size}
