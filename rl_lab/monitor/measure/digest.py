"""Sixteen letters for every part of an update, so that two runs can be compared to the bit without keeping the bits.

A digest is BLAKE2b (RFC 7693) with 8 bytes, in hexadecimal. Of an array it takes kind of number, shape and bytes in
little-endian order, so the same numbers have the same digest as a tensor and as an array, on every device and
machine. 0.0 and -0.0 are different bits, and so are two different NaN.
"""

import random
import sys
from array import array
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rl_lab.monitor.measure.parts import PARTS, PREFIX
from rl_lab.monitor.measure.update import Update


def digest(*parts: Any) -> str:
    """Sixteen hexadecimal digits of tensors, arrays, plain values, and mappings and sequences of them."""
    state = blake2b(digest_size=8)
    for part in parts:
        _feed(state.update, part)
    return state.hexdigest()


class Series:
    """The digests of one update after the other; what an update begins with is mostly what the last one left."""

    def __init__(self) -> None:
        self._left: tuple[Tensor, str] | None = None
        self.chain: str | None = None
        """That of the last update; None: there was none."""

    def columns(self, update: Update) -> dict[str, str | None]:
        """The digests of an update by column, as measure/parts.py names them; None: there is no such part."""
        given = {name: value for name, value in update.digests.items() if value is not None}
        known = {**_of_rollout(update), **self._of_parameters(update, given), **given}
        return {PREFIX + name: known.get(name) for name in PARTS}

    def link(self, columns: Mapping[str, str | None]) -> str:
        """Append an update to the chain by its digests: chain_n = H(chain_n-1, columns)."""
        self.chain = digest(self.chain, columns)
        return self.chain

    def _of_parameters(self, update: Update, given: Mapping[str, str]) -> dict[str, str | None]:
        vectors = {
            "before": update.old_parameters, "after": update.new_parameters, "optimizer": update.optimizer,
        }  # fmt: skip
        wanted = {name: v for name, v in vectors.items() if v is not None and name not in given}
        return {name: digest(v) if name == "optimizer" else self._of_vector(v) for name, v in wanted.items()}

    def _of_vector(self, vector: Tensor) -> str:
        if self._left is None or not _same_bits(self._left[0], vector):
            self._left = vector, digest(vector)
        return self._left[1]


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal to the last bit: other than torch.equal, 0.0 is not -0.0, and a NaN is itself."""
    return a.dtype == b.dtype and torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def of_buffered(model: Any) -> str | None:
    """Digest of a stable-baselines3 algorithm's policy if it has buffers; None if its parameters are all of it."""
    return of_policy(model) if next(model.policy.buffers(), None) is not None else None


def of_policy(model: Any) -> str:
    """Digest of all parameters and buffers of a stable-baselines3 algorithm's policy."""
    return digest(_joined(model.policy.state_dict().values()))


def of_rest(model: Any) -> str:
    """Digest of what a stable-baselines3 algorithm carries from update to update beside its policy."""
    found = optimizers(model)
    kept = [value for o in found.values() for state in o.state.values() for value in state.values()]
    options = [
        (name, [[(k, v) for k, v in group.items() if k != "params"] for group in optimizer.param_groups])
        for name, optimizer in found.items()
    ]
    return digest(
        _joined([value for value in kept if isinstance(value, Tensor)]),
        [value for value in kept if not isinstance(value, Tensor)],
        options,
        getattr(model, "memory", None),
        getattr(model, "log_ent_coef", None),
    )


def of_generators(model: Any) -> str:
    """Digest of every generator that a stable-baselines3 algorithm draws from; its environments have their own."""
    own, sampler = getattr(model, "minibatch_rng", None), getattr(model.action_space, "_np_random", None)
    device = torch.device(model.device)
    return digest(
        np.frombuffer(array("I", random.getstate()[1]), dtype=np.uint32),
        np.random.get_state(),
        torch.get_rng_state(),
        torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        own.get_state() if own is not None else None,
        sampler.bit_generator.state if sampler is not None else None,
    )


def of_stretch(model: Any, steps: int) -> dict[str, str]:
    """Digests of the last so many environment steps in the replay buffer of an off-policy algorithm, unnormalised.

    Empty where the buffer is of somebody's own kind, or holds no such step.
    """
    buffer = model.replay_buffer
    parts = {name: getattr(buffer, name, None) for name in ("observations", "actions", "rewards")}
    count = min(-(-steps // model.n_envs), buffer.size())
    if count == 0 or not all(isinstance(part, np.ndarray | Mapping) for part in parts.values()):
        return {}
    rows = (np.arange(buffer.pos - count, buffer.pos)) % buffer.buffer_size
    return {
        "start": digest(_rows(parts["observations"], rows[:1])),
        "answers": digest(_rows(parts["actions"], rows[:1])),
        **{name: digest(_rows(part, rows)) for name, part in parts.items()},
    }


def optimizers(model: Any) -> dict[str, torch.optim.Optimizer]:
    """Every optimizer of a stable-baselines3 algorithm by its place: policy.optimizer, actor.optimizer, ..."""
    owners = {"model": model, "policy": model.policy, **dict(model.policy.named_children())}
    return {
        f"{owner}.{name}": value
        for owner, holder in owners.items()
        for name, value in vars(holder).items()
        if isinstance(value, torch.optim.Optimizer)
    }


def _of_rollout(update: Update) -> dict[str, str | None]:
    rollout = update.rollout
    if rollout is None:
        return {}
    observations, said = rollout.observations, (rollout.actions, rollout.log_probs, rollout.values)
    first = slice(None, None, rollout.n_steps)  # row = env * n_steps + step
    has_order = rollout.n_steps is not None
    masks = rollout.context.get("action_masks")
    return {
        "start": digest(_rows(observations, first)) if has_order else None,
        "answers": digest([_rows(part, first) for part in said]) if has_order else None,
        "observations": digest(observations, masks),
        "actions": digest(rollout.actions),
        "values": _unless_empty(rollout.log_probs, rollout.values),
        "rewards": _unless_empty(rollout.rewards),
        "returns": _unless_empty(rollout.returns, rollout.advantages),
    }


def _joined(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Flat and end to end, those of one kind of number and device together: hashing many small pieces is slow."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor.detach().reshape(-1))
    return [torch.cat(group) for group in groups.values()]


def _rows(part: Any, rows: slice | NDArray[np.int64]) -> Any:
    if isinstance(part, Mapping):
        return {name: value[rows] for name, value in part.items()}
    return None if part is None else part[rows]


def _unless_empty(*parts: Any) -> str | None:
    return digest(*parts) if any(part is not None for part in parts) else None


def _feed(take: Callable[[bytes | memoryview], None], value: Any) -> None:
    """Give the canonical form: what it is, how large, then what it holds; nothing else has the same bytes."""
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        name, array = _plain(value)
        take(f"{name}{array.shape}:".encode())
        take(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    elif isinstance(value, (list, tuple)):
        take(f"list({len(value)}):".encode())
        for item in value:
            _feed(take, item)
    elif isinstance(value, Mapping):
        take(f"map({len(value)}):".encode())
        for key in sorted(value, key=repr):
            _feed(take, key)
            _feed(take, value[key])
    else:
        # The repr of an object may hold its address, which is another one in every run.
        is_plain = value is None or isinstance(value, (bool, int, float, str, bytes))
        text = repr(value) if is_plain else f"<{type(value).__qualname__}>"
        take(f"{len(text)}:{text}".encode())


def _plain(value: Tensor | NDArray[Any] | np.generic) -> tuple[str, NDArray[Any]]:
    """Name of the kind of number, and the numbers as a little-endian array."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        name = str(value.dtype).removeprefix("torch.")
        if value.dtype == torch.bfloat16:  # which numpy does not know
            value = value.view(torch.int16)
        array = value.numpy()
    else:
        array = np.asarray(value)
        name = array.dtype.name
    if array.dtype.hasobject:
        raise TypeError("an array of objects has no bytes to digest")
    swapped = array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and sys.byteorder == "big")
    return name, array.byteswap().view(array.dtype.newbyteorder("<")) if swapped else array
