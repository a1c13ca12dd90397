"""What a process had still written after the checkpoint from which another one goes on: kept, but out of the way."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from rl_lab.errors import UserError
from rl_lab.monitor.record.incident import FOLDER, NAME

PLACE = "set_aside"
CHECKPOINT = re.compile(r"(before|at|update)-(\d+)(\.optimizer)?\.safetensors")


def set_aside(run: Path, update: int, event: int) -> Path | None:
    """Move what came after this update, and after the event of this number, into set_aside/<k>/ of the run directory.

    Returns that folder, None if there was nothing. Lines are copied there before they are taken out of their file, so
    that a process which is killed here loses none. UserError: there is no such update, or it cannot be written.
    """
    try:
        folder = _untaken(run / PLACE)
        moved = [
            _lines(run / "updates.jsonl", folder, lambda row: row.get("update") == update, needed=True),
            _lines(run / "events.jsonl", folder, lambda row: row.get("id") == event, needed=event > 0),
            _files(run / FOLDER, folder, lambda name: _number(NAME, 1, name) > event),
            _files(run / "checkpoints", folder, lambda name: _number(CHECKPOINT, 2, name) > update),
            _files(run / "checkpoints", folder, lambda name: name == "final.safetensors"),
        ]
    except OSError as error:
        raise UserError(f"{run}: cannot write there ({error.strerror}), so the run cannot go on") from error
    return folder if any(moved) else None


def has_update(run: Path, update: int) -> bool:
    """Whether this update is in the record."""
    try:
        content = (run / "updates.jsonl").read_bytes()
    except OSError:
        return False
    return _end(content, lambda row: row.get("update") == update) is not None


def _lines(file: Path, folder: Path, is_last: Callable[[dict[str, object]], bool], *, needed: bool) -> bool:
    """Cut the file behind the last line that `is_last`; if there is none, before its first."""
    content = file.read_bytes() if file.exists() else b""
    end = _end(content, is_last)
    if end is None and needed:
        raise UserError(f"{file} ends before the checkpoint of its run, which therefore cannot go on")
    kept, rest = content[: end or 0], content[end or 0 :]
    if not rest:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / file.name, rest)
    whole = file.with_name(f".{file.name}.kept")
    _write(whole, kept)
    os.replace(whole, file)
    return True


def _end(content: bytes, is_last: Callable[[dict[str, object]], bool]) -> int | None:
    """Where the last line ends that `is_last`."""
    end, place = None, 0
    for line in content.splitlines(keepends=True):
        place += len(line)
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and line.endswith(b"\n") and is_last(row):
            end = place
    return end


def _files(place: Path, folder: Path, is_later: Callable[[str], bool]) -> bool:
    later = [path for path in place.iterdir() if is_later(path.name)] if place.is_dir() else []
    for path in later:
        (folder / place.name).mkdir(parents=True, exist_ok=True)
        os.replace(path, folder / place.name / path.name)
    return bool(later)


def _number(pattern: re.Pattern[str], group: int, name: str) -> int:
    found = pattern.fullmatch(name)
    return int(found[group]) if found else -1


def _untaken(place: Path) -> Path:
    number = 1
    while (place / str(number)).exists():
        number += 1
    return place / str(number)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
