"""One checkpoint: a safetensors file with the numbers of a run between two updates, and with all else as JSON in it.

checkpoints/update-<n>.safetensors stands for the moment after update n and before the rollout that follows. It is
written under another name, brought to the disk and then renamed, so that under this name there is a whole one or none;
only then the one before the last is removed.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rl_lab.errors import UserError
from rl_lab.monitor.measure.parts import CHAIN
from rl_lab.monitor.record import provenance
from rl_lab.monitor.record.apart import put_together, take_apart
from rl_lab.monitor.record.run_directory import FINISHED, read_run
from rl_lab.monitor.stored import known
from rl_lab.study.monitor import Watch
from rl_lab.study.plan import Agent, Env, RunPlan

SCHEMA = 1
FOLDER = "checkpoints"
NAME = re.compile(r"update-(\d+)\.safetensors")
KEPT = 2
"""Checkpoints of a run: the newest, and the one before it in case that the disk loses the newest."""


@dataclass(frozen=True)
class Checkpoint:
    """What was read of one; nothing of it has been done yet."""

    path: Path
    document: dict[str, Any]
    """Plain: which run it is of, and where that stood."""
    state: dict[str, Any]
    """model, envs and monitor, whole."""

    @property
    def update(self) -> int:
        """The last update before it."""
        return int(self.document["update"])

    @property
    def events(self) -> int:
        """Events before it."""
        return int(self.document["events"])

    @property
    def begins_anew(self) -> str | None:
        """Why the environments begin new episodes; None: they go on."""
        found: str | None = self.document["envs_begin_anew"]
        return found

    def plan(self) -> RunPlan:
        """The run that it is of. UserError: it does not say."""
        return plan_of(self.document["plan"])

    def changed(self) -> list[str]:
        """What else the last bits depend on, and is different here: one clause each."""
        now = {"versions": provenance.versions(), "machine": provenance.machine(self.document["device"])}
        return [
            f"{name} was {was} and is {now[part].get(name)}"
            for part in now
            for name, was in self.document[part].items()
            if now[part].get(name) != was
        ]


def plan_of(written: Mapping[str, Any]) -> RunPlan:
    """A plan as dataclasses.asdict wrote it, after JSON."""
    made: Any = {"env": Env, "agent": Agent, "monitor": Watch}
    return RunPlan(**{key: made[key](**v) if key in made else v for key, v in written.items()})


def plan_document(plan: RunPlan) -> dict[str, Any]:
    """A plan as plan_of() reads it."""
    document: dict[str, Any] = json.loads(json.dumps(asdict(plan)))
    return document


def write(run: Path, document: Mapping[str, Any], state: Mapping[str, Any]) -> Path:
    """Write the checkpoint of an update and remove all but the newest two. OSError: the disk is full or refuses.

    UnstorableError: there is something in the state that no file can hold.
    """
    folder, tensors = run / FOLDER, dict[str, Tensor]()
    plain = take_apart(dict(state), tensors, known())
    told = json.dumps({"schema": SCHEMA, **document, "state": plain}, allow_nan=False)
    # Memory of their own, on the CPU: safetensors refuses what is shared.
    content = save({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}, {"rl_lab": told})
    folder.mkdir(exist_ok=True)
    path = folder / f"update-{document['update']}.safetensors"
    unfinished = folder / f".{path.name}.unfinished"
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync(folder)  # so that the name is on the disk, too, before the older ones go
    for old in checkpoints(run)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, the newest last; those that were cut off have other names."""
    folder = run / FOLDER
    named = [(NAME.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    return [path for _, path in sorted((int(match[1]), path) for match, path in named if match is not None)]


def newest(run: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole and whose updates the record still holds; None: there is none."""
    chains = {row.get("update"): row.get(CHAIN) for row in read_run(run).updates}
    for path in reversed(checkpoints(run)):
        try:
            found = read(path)
        except UserError:
            continue
        if found.update in chains and chains[found.update] == found.document["chain"]:
            return found
    return None


def can_resume(run: Path) -> bool:
    """Whether an unfinished run can go on from a checkpoint; False too while its process lives."""
    return read_run(run).status not in (*FINISHED, "running") and newest(run) is not None


def read(path: Path) -> Checkpoint:
    """Read a checkpoint that anybody may have written. UserError: it is damaged, or of a version that is not known."""
    try:
        with safe_open(path, "pt") as file:
            document = json.loads((file.metadata() or {})["rl_lab"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if document.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {document.get('schema')!r}, and this version knows {SCHEMA}")
        state = put_together(document.pop("state"), tensors, known())
        for name in ("update", "events", "chain", "plan", "versions", "machine", "device", "envs_begin_anew"):
            document[name]
        if not {"model", "envs", "monitor"} <= state.keys():
            raise ValueError("a part of the state is missing")
    except (OSError, SafetensorError, RecursionError, MemoryError) as error:
        raise UserError(f"{path} is no checkpoint, or damaged ({_said(error)})") from error
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is damaged, or of another version of rl-lab ({_said(error)})") from error
    return Checkpoint(path, document, state)


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
