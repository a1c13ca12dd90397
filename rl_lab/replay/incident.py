"""An incident as it lies on the disk, read without trusting it: JSON and safetensors, no name imported."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
from torch import Tensor

from rl_lab.errors import UserError
from rl_lab.monitor.measure.snapshot import Array
from rl_lab.monitor.record.incident import FOLDER, NAME
from rl_lab.monitor.record.incident_files import AFTER, BATCH, BEFORE, DOCUMENT, ORDER, SCHEMA
from rl_lab.monitor.record.run_directory import decode

NEEDED: Mapping[str, type] = {
    "event": dict, "update": int, "algorithm": dict, "optimizers": dict, "generators": dict, "digest": str,
    "machine": dict, "versions": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Incident:
    """One update: what it started from, what it was made of, how it came out."""

    path: Path
    document: dict[str, Any]
    before: dict[str, Tensor]
    """By kind and name: policy/..., optimizer/..., memory/..., generator/..., normalizer/..."""
    batch: dict[str, Array]
    """The rollout buffer's arrays [n_steps, n_envs, ...]."""
    order: Array | None
    """The rows in the order of the minibatches, [n_epochs, rows]; None where there are none."""
    after: dict[str, Tensor]
    """The policy's parameters and buffers after the update."""

    @property
    def algorithm(self) -> dict[str, Any]:
        """What made the update, as rl_lab.monitor.record.recipe writes it."""
        found: dict[str, Any] = self.document["algorithm"]
        return found

    @property
    def settings(self) -> dict[str, Any]:
        """The algorithm's hyperparameters at that time; those of its rule, if it has one, go first."""
        rule = self.algorithm.get("rule") or {}
        return {**self.algorithm["settings"], **rule.get("fields", {})}

    @property
    def raised(self) -> bool:
        """Whether train() did not come to its end."""
        return self.document.get("raised") is not None

    def part(self, kind: str) -> dict[str, Tensor]:
        """The tensors from before of one kind, by the rest of their names."""
        prefix = f"{kind}/"
        return {k.removeprefix(prefix): v for k, v in self.before.items() if k.startswith(prefix)}

    def generator(self, name: str) -> tuple[Any, ...] | None:
        """State of a generator of numpy's as RandomState takes it; None: there was none, or it was of another kind."""
        with named_in_errors(self.path / DOCUMENT):
            words, key = self.document["generators"].get(name), self.before.get(f"generator/{name}")
            if words is None or key is None or words["bit_generator"] != "MT19937":
                return None
            state = (
                "MT19937", key.numpy().astype(np.uint32), words["pos"], words["has_gauss"], words["gauss"]
            )  # fmt: skip
            np.random.RandomState().set_state(state)  # refuses what is none
            return state


def find(path: Path) -> tuple[Path, list[Path]]:
    """The incident that is meant, and the others of its run where a whole run is named: then it is the newest.

    UserError: there is none.
    """
    if path.name == DOCUMENT:
        path = path.parent
    try:
        if (path / DOCUMENT).is_file():
            return path, []
        there = path.exists()
    except OSError as error:  # a name that is too long, a directory that is closed to us
        raise UserError(f"{shortened(path)}: {error.strerror}") from error
    if path.is_file():
        raise UserError(f"{path} is a file; name the run's directory, or that of an incident")
    if not there:
        raise UserError(f"{path}: there is no such incident{_nearby(path)}")
    found = incidents_of(path / FOLDER) or incidents_of(path)
    if not found:
        why = f"it has no {DOCUMENT}" if NAME.fullmatch(path.name) else "no incident was recorded there"
        raise UserError(f"{path}: {why}; an incident is a directory like RUN/{FOLDER}/3-kl_spike")
    return found[-1], found[:-1]


def shortened(path: Path, most: int = 200) -> str:
    """A path as a sentence can hold it."""
    text = str(path)
    return text if len(text) <= most else f"{text[:most]}..."


def incidents_of(folder: Path) -> list[Path]:
    """The whole incidents in a folder by their number; those whose writer was killed have other names."""
    if not folder.is_dir():
        return []
    named = [(NAME.fullmatch(path.name), path) for path in folder.iterdir() if (path / DOCUMENT).is_file()]
    return [path for _, path in sorted((int(match[1]), path) for match, path in named if match is not None)]


def read(path: Path) -> Incident:
    """Read an incident's directory. UserError: a file is missing or damaged, or of a version that is not known."""
    with named_in_errors(path / DOCUMENT):
        document = decode(json.loads((path / DOCUMENT).read_text(encoding="utf-8")))
        _check(document)
    with named_in_errors(path / BEFORE):
        before = safetensors.torch.load((path / BEFORE).read_bytes())
    with named_in_errors(path / BATCH):
        # Copied, because what comes from bytes cannot be written to, and torch warns of that.
        batch = {k: np.array(v) for k, v in safetensors.numpy.load((path / BATCH).read_bytes()).items()}
    with named_in_errors(path / AFTER):
        after = safetensors.torch.load((path / AFTER).read_bytes())
    return Incident(path, document, before, batch, batch.pop(ORDER, None), after)


@contextmanager
def named_in_errors(where: Path) -> Iterator[None]:
    """Around what reads or uses a file: whatever is wrong with it becomes one sentence that names it."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{where} is missing, so the update cannot be done again") from error
    except (MemoryError, RecursionError) as error:
        raise UserError(f"{where} asks for more than this machine has ({type(error).__name__})") from error
    except Exception as error:  # JSON, safetensors, torch and numpy each have their own
        said = " ".join(str(error).split())[:300]
        raise UserError(f"{where} is damaged or does not fit the files beside it ({said})") from error


def _check(document: Any) -> None:
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    if document.get("schema") != SCHEMA:
        raise ValueError(f"its schema is {document.get('schema')!r}, and this version knows {SCHEMA}")
    for name, kind in NEEDED.items():
        if not isinstance(document.get(name), kind):
            raise ValueError(f"{name} is missing or is no {kind.__name__}")


def _nearby(path: Path) -> str:
    """The incidents that are there, if the place is one where they lie."""
    there = [found.name for found in incidents_of(path.parent)]
    return f" (there are: {', '.join(there)})" if there else ""
