"""The run directory: what it holds, how it is written so that it survives, how it is read whatever happened.

manifest.json   what ran, with which settings and versions, and how it ended
updates.jsonl   one line an update
events.jsonl    one line an event, on disk before training goes on
checkpoints/    final.safetensors, the policy; before-<update>.safetensors, what the guard `checkpoint` kept, and of
                an off-policy algorithm at-<update>.safetensors; update-<n>.safetensors, from which a run goes on
set_aside/<k>/  what a process had still written after the checkpoint from which another one went on
incidents/      <number of the event>-<event>/, an update that `rl-lab replay` can do again (see incident_files)
wandb/          the W&B run's own files, if the lab started one
"""

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any, TextIO

from rl_lab.errors import UserError

SCHEMA = 1
NONFINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
TAIL = 65536
"""Bytes from the end of updates.jsonl that surely hold its last line."""
FINISHED = ("done", "diverged")
"""Statuses that are results. `diverged` is one (training went non-finite), `failed` is not (the program or the
environment broke), nor are `interrupted` and `running`."""


class RunDirectoryError(UserError):
    """The directory cannot be used; the message says which, why, and what to do."""


def untaken(path: Path) -> Path:
    """The path, or where that is taken the first free one with a number behind it, from 2."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(free for free in chain([path], numbered) if not free.exists())


def encode(value: Any) -> Any:
    """JSON-ready copy: non-finite floats become the strings NaN, Infinity and -Infinity, which JSON lacks."""
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def decode(value: Any) -> Any:
    """Inverse of encode for what JSON can hold."""
    if isinstance(value, dict):
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode(item) for item in value]
    return NONFINITE.get(value, value) if isinstance(value, str) else value


def write_json(path: Path, value: Any) -> None:
    """The file holds either the old document or the new, also after a power cut."""
    with _written_beside(path, value) as whole:
        os.replace(whole, path)


def write_json_once(path: Path, value: Any) -> None:
    """The file is not there, or holds the whole document; FileExistsError if somebody else's is there."""
    with _written_beside(path, value) as whole:
        try:
            os.link(whole, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links: for a moment the file is empty
            path.touch(exist_ok=False)
            os.replace(whole, path)


@contextmanager
def _written_beside(path: Path, value: Any) -> Iterator[Path]:
    """The document in a file of another name in the same folder; what is left of it afterwards is removed."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes a private file, a run is for colleagues too
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(encode(value), indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class RunWriter:
    """Writes one run directory; refuses one that already holds a run, unless that one `goes_on`."""

    def __init__(self, path: Path, manifest: Mapping[str, Any], *, goes_on: bool = False) -> None:
        self.path = path = path.absolute()  # the program may change its working directory
        self._torn: set[str] = set()
        """Files of lines that may end in the middle of one, because writing it failed."""
        self.manifest: dict[str, Any] = read_run(path).manifest if goes_on else {"schema": SCHEMA}
        if not goes_on:
            refuse_existing(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if goes_on:
                self.save_manifest(**manifest)
            else:
                self.manifest.update(manifest)
                # Of two processes, one gets the directory.
                write_json_once(path / "manifest.json", self.manifest)
            self.reopen()
        except FileExistsError as error:
            raise RunDirectoryError(
                f"{path} has just been taken by another run; choose another --out"
            ) from error
        except OSError as error:
            raise RunDirectoryError(
                f"{path}: cannot write there ({error.strerror}); choose another --out"
            ) from error

    def reopen(self) -> None:
        """Open the files for appending; also after close(), for a run that goes on."""
        self._updates, self._events = self._open("updates.jsonl"), self._open("events.jsonl")

    def update(self, row: Mapping[str, Any]) -> None:
        """Append one update; handed to the operating system at once, so a killed process loses nothing."""
        self._append(self._updates, row)

    def event(self, row: Mapping[str, Any]) -> None:
        """Append one event and wait until the disk has it: the next thing may be a crash."""
        self._append(self._events, row)
        os.fsync(self._events.fileno())

    def sync(self) -> None:
        """Wait until the disk has all lines: what follows speaks of them."""
        for file in (self._updates, self._events):
            os.fsync(file.fileno())

    def save_manifest(self, **changes: Any) -> None:
        """Merge the changes into the manifest and replace the file."""
        self.manifest.update(changes)
        write_json(self.path / "manifest.json", self.manifest)

    def close(self) -> None:
        """Close the files; the manifest keeps its last status."""
        with ExitStack() as closed_anyway:
            for file in (self._updates, self._events):
                closed_anyway.enter_context(file)
            self.sync()

    def _append(self, file: TextIO, row: Mapping[str, Any]) -> None:
        line = json.dumps(encode(row), allow_nan=False) + "\n"
        begin = "\n" if file.name in self._torn else ""  # whoever reads skips an empty line
        self._torn.add(file.name)
        file.write(begin + line)
        self._torn.discard(file.name)

    def _open(self, name: str) -> TextIO:
        return (self.path / name).open("a", buffering=1, encoding="utf-8")


def refuse_existing(path: Path) -> None:
    """Raise if the path is in use: an existing run is never overwritten."""
    try:
        path.exists()
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be used as a directory ({error.strerror})") from error
    if path.exists() and not path.is_dir():
        raise RunDirectoryError(f"{path} is a file; --out needs a directory")
    if (path / "manifest.json").exists():
        run = read_run(path)
        raise RunDirectoryError(
            f"{path} already holds a run ({run.manifest.get('run_id', 'unnamed')}, {run.status}, "
            f"{len(run.updates)} updates); nothing was changed, choose another --out"
        )
    if path.exists() and any(not p.name.startswith(".manifest.json.") for p in path.iterdir()):
        raise RunDirectoryError(f"{path} exists and is not empty; nothing was changed, choose another --out")


@dataclass(frozen=True)
class Run:
    """What a run directory says, however it ended."""

    path: Path
    manifest: dict[str, Any]
    updates: list[dict[str, Any]]
    events: list[dict[str, Any]]
    problems: list[str] = field(default_factory=list)
    """Sentences about what could not be read."""

    @property
    def status(self) -> str:
        """The manifest's status; a run that says `running` though its process is gone was `interrupted`."""
        status = str(self.manifest.get("status", "failed"))
        if status == "running" and not _alive(self.manifest):
            return "interrupted"
        return status

    @property
    def last(self) -> dict[str, Any]:
        """The newest update, empty if there is none."""
        return self.updates[-1] if self.updates else {}


def glance(path: Path) -> Run:
    """`read_run` for those who look often: of the updates only the last, so the cost does not grow with the run."""
    problems: list[str] = []
    try:
        with (path / "updates.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            lines = [line for line in file.read().split(b"\n")[:-1] if line.strip()]
    except OSError:
        lines = []
    updates = _parse(lines[-1:], path, problems)
    return Run(
        path, _read_manifest(path, problems), updates, _read_lines(path / "events.jsonl", problems), problems
    )


def read_run(path: Path) -> Run:
    """Read a run directory that may be empty, half written or cut off in mid-line."""
    problems: list[str] = []
    manifest = _read_manifest(path, problems)
    updates = _read_lines(path / "updates.jsonl", problems)
    events = _read_lines(path / "events.jsonl", problems)
    return Run(path, manifest, updates, events, problems)


def _read_manifest(path: Path, problems: list[str]) -> dict[str, Any]:
    manifest: dict[str, Any] = {}
    try:
        loaded = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        if isinstance(loaded, dict):
            manifest = decode(loaded)
        else:
            problems.append(f"{path / 'manifest.json'} is not a JSON object")
    except (OSError, ValueError) as error:
        problems.append(f"{path / 'manifest.json'} cannot be read: {error}")
    return manifest


def _read_lines(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        problems.append(f"{path} cannot be read: {error.strerror}")
        return []
    return _parse(lines, path, problems)


def _parse(lines: list[bytes], path: Path, problems: list[str]) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except ValueError:
            where = "the last line was cut off" if number == len(lines) else f"line {number} is damaged"
            problems.append(f"{path}: {where} and is left out")
            continue
        rows.append(decode(row))
    return rows


def _alive(manifest: Mapping[str, Any]) -> bool:
    """Whether the process that wrote the manifest still runs, on this machine and since then."""
    process = manifest.get("process")
    return isinstance(process, dict) and process == process_identity(int(process.get("pid", 0)))


def process_identity(pid: int) -> dict[str, Any] | None:
    """Host, pid and start time of a process, so that a recycled pid is not mistaken for it; None if gone."""
    host = os.uname().nodename
    try:
        # Field 22 of /proc/PID/stat; the command name before it may hold spaces, so count from its end.
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        if Path("/proc/self").exists():
            return None
        try:
            os.kill(pid, 0)
        except OSError:
            return None
        started = ""
    return {"host": host, "pid": pid, "started": started}
