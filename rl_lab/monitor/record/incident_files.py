"""The files of one incident: everything that one update started from, what it did, and how it came out.

incident.json       the event, the update's record, the algorithm and its settings, versions, digest
before.safetensors  policy/<name>, optimizer/<place>/<number>/<entry>, memory/<name>, generator/<whose>,
                    normalizer/<of>/<mean|var>
batch.safetensors   the rollout buffer's arrays [n_steps, n_envs, ...] by name, and where an algorithm passes over them
                    in minibatches `minibatch_order` [n_epochs, n_steps * n_envs], rows environment by environment
after.safetensors   the policy's parameters and buffers after the update, by name

Safetensors and JSON only, so a file that somebody sent can be read without running anything of his.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from torch import Tensor

from rl_lab.monitor.measure.snapshot import Array, Generators, Snapshot, parameters_of
from rl_lab.monitor.record import provenance
from rl_lab.monitor.record.recipe import full_name, plain, recipe, settings
from rl_lab.monitor.record.run_directory import encode

SCHEMA = 1
DOCUMENT, BEFORE, BATCH, AFTER = (
    "incident.json",
    "before.safetensors",
    "batch.safetensors",
    "after.safetensors",
)
ORDER = "minibatch_order"


@dataclass(frozen=True)
class Scene:
    """One update that can be done again."""

    model: Any
    """The algorithm: what it is does not change from one update to the next."""
    before: Snapshot
    after: dict[str, Tensor]
    """Copies of the policy's parameters and buffers after the update."""
    settings: dict[str, Any]
    """The algorithm's hyperparameters as train() took them."""
    rule: Any = None
    """The rule, of an algorithm that has one, as it was then."""
    outcome: str | None = None
    """How the algorithm itself says that the update ended."""
    raised: str | None = None
    """What train() raised, if it did not come to its end."""
    unfit: str | None = None
    """Why it cannot be written, if something of the algorithm could not be read; all else may then be missing."""

    def nbytes(self) -> int:
        """Bytes that it keeps."""
        return self.before.nbytes() + sum(value.nbytes for value in self.after.values())


def scene_of(model: Any, before: Snapshot, raised: str | None = None) -> Scene:
    """The update that a stable-baselines3 algorithm has just made; to be asked before anybody changes the policy.

    It never raises: it is asked in the middle of a training, whose algorithm may be anybody's.
    """
    try:
        outcome = getattr(model, "outcome", None) if raised is None else None
        return Scene(
            model,
            before,
            parameters_of(model),
            settings(model),
            getattr(model, "rule", None),
            getattr(outcome, "name", None),
            raised,
        )
    except Exception as error:
        return Scene(model, before, {}, {}, raised=raised, unfit=f"{type(error).__name__}: {error}")


def write_incident(folder: Path, scene: Scene, told: Mapping[str, Any]) -> None:
    """Write the files into an empty folder; `told` is what the document says besides the scene.

    OSError: the disk is full or refuses.
    """
    _write(folder / BEFORE, safetensors.torch.save(before_tensors(scene.before)))
    _write(folder / BATCH, safetensors.numpy.save(batch_arrays(scene)))
    _write(folder / AFTER, safetensors.torch.save(_writable(scene.after)))
    document = {**told, **document_of(scene)}
    _write(folder / DOCUMENT, (json.dumps(encode(document), indent=1) + "\n").encode())


def document_of(scene: Scene) -> dict[str, Any]:
    """What incident.json says of the scene."""
    before = scene.before
    normalizer = before.normalizer
    return {
        "schema": SCHEMA,
        "outcome": scene.outcome,
        "raised": scene.raised,
        "algorithm": {
            **recipe(scene.model),
            "rule": plain(scene.rule),
            "settings": scene.settings,
            "progress_remaining": before.progress_remaining,
        },
        "optimizers": {
            place: {
                "class": full_name(type(optimizer)),
                "groups": plain(state["param_groups"]),
                "entries": {
                    str(number): {k: plain(v) for k, v in entries.items() if not isinstance(v, Tensor)}
                    for number, entries in state["state"].items()
                },
            }
            for place, state in before.optimizers.items()
            for optimizer in [_at(scene.model, place)]
        },
        "generators": _generator_words(before.generators),
        "normalizer": None
        if normalizer is None
        else {
            "settings": plain(normalizer.settings),
            "counts": {name: count for name, (_, _, count) in normalizer.statistics.items()},
        },
        "digest": fingerprint(scene.after),
        "machine": machine(),
        "versions": dict(provenance.versions()),
    }


def before_tensors(before: Snapshot) -> dict[str, Tensor]:
    """What before.safetensors holds."""
    found = {f"policy/{name}": value for name, value in before.policy.items()}
    for place, state in before.optimizers.items():
        for number, entries in state["state"].items():
            found |= {
                f"optimizer/{place}/{number}/{k}": v for k, v in entries.items() if isinstance(v, Tensor)
            }
    found |= {f"memory/{name}": value for name, value in before.memory.items()}
    found |= {f"generator/{name}": value for name, value in _generator_tensors(before.generators).items()}
    if before.normalizer is not None:
        for name, (mean, var, _) in before.normalizer.statistics.items():
            found[f"normalizer/{name}/mean"] = torch.as_tensor(np.array(mean))
            found[f"normalizer/{name}/var"] = torch.as_tensor(np.array(var))
    return _writable(found)


def batch_arrays(scene: Scene) -> dict[str, Array]:
    """What batch.safetensors holds."""
    arrays = {name: np.ascontiguousarray(array) for name, array in scene.before.buffer.items()}
    order = minibatch_order(scene)
    return arrays if order is None else {**arrays, ORDER: order}


def minibatch_order(scene: Scene) -> Array | None:
    """The permutations of the rows that the update is going to draw, int32 [n_epochs, rows].

    None for an algorithm that draws none, or that cuts its rollout otherwise, as recurrent ones do.
    """
    rule = scene.rule
    epochs = scene.settings.get("n_epochs") if rule is None else getattr(rule, "n_epochs", None)
    generators, rewards = scene.before.generators, scene.before.buffer.get("rewards")
    state = generators.minibatch if rule is not None else generators.numpy
    recurrent = any(name.startswith("hidden_states") for name in scene.before.buffer)
    if epochs is None or rewards is None or recurrent or state is None:
        return None
    if state.get("bit_generator") != "MT19937":
        return None
    generator = np.random.RandomState()
    generator.set_state(state)
    return np.stack([generator.permutation(rewards.size) for _ in range(epochs)]).astype(np.int32)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, kinds, shapes and bytes, in the order of the names: equal only where every bit is."""
    state = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        state.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        state.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def machine() -> dict[str, Any]:
    """What else the last bits of an update depend on."""
    return {
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _generator_tensors(generators: Generators) -> dict[str, Tensor]:
    words = {"numpy": generators.numpy, "minibatch": generators.minibatch}
    found = {
        name: torch.as_tensor(np.asarray(state["state"]["key"]).astype(np.int64))
        for name, state in words.items()
        if state is not None and state.get("bit_generator") == "MT19937"
    }
    found["python"] = torch.tensor(generators.python[1], dtype=torch.int64)
    found["torch"] = generators.torch
    return found if generators.cuda is None else {**found, "cuda": generators.cuda}


def _generator_words(generators: Generators) -> dict[str, Any]:
    """What is left of the states when the large arrays are taken out."""
    version, _, gauss = generators.python
    words: dict[str, Any] = {"python": {"version": version, "gauss": gauss}}
    for name, state in (("numpy", generators.numpy), ("minibatch", generators.minibatch)):
        if state is not None:
            words[name] = {
                "bit_generator": state["bit_generator"],
                "pos": plain(state["state"].get("pos")),
                "has_gauss": plain(state.get("has_gauss")),
                "gauss": plain(state.get("gauss")),
            }
    return words


def _writable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each with memory of its own: safetensors refuses what is shared, as by tied weights."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}


def _at(model: Any, place: str) -> Any:
    for name in place.split("."):
        model = getattr(model, name)
    return model


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
