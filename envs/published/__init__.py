"""Tasks of the literature under their own names: a system and the settings of its publication, a file each."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Published:
    """A task as somebody published it; `system` and `settings` are all there is to it."""

    name: str
    """Of the task: its id is chaos/<name>-v<version>."""
    system: str
    """Class name of the system."""
    goal: str
    """One phrase for listings."""
    settings: Mapping[str, Any]
    """Of task, goal and system, as for `gymnasium.make`."""
    source: str
    """The citation."""
    remarks: str
    """What is left out or done otherwise here, and what the source reports."""
    version: int = field(default=0, kw_only=True)
    """Goes up whenever a change moves the task's numbers."""


@cache
def published() -> MappingProxyType[str, Published]:
    """Name -> task, one from every file of this folder."""
    files = sorted(f.stem for f in Path(__file__).parent.glob("*.py") if not f.stem.startswith(("_", ".")))
    found = [importlib.import_module(f"envs.published.{stem}").TASK for stem in files]
    return MappingProxyType({task.name: task for task in sorted(found, key=lambda task: str(task.name))})
