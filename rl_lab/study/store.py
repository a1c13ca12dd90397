"""Finding and reading runs, wherever a study, a single run or a folder of runs is named."""

import json
from pathlib import Path
from typing import Any

from rl_lab.errors import UserError
from rl_lab.monitor.record.run_directory import Run, read_run


def find_runs(directory: Path) -> list[Run]:
    """Runs of a study directory, of a run directory, or of a folder of run directories; sorted by name."""
    if not directory.is_dir():
        raise UserError(f"{directory}: there is no such directory")
    if (directory / "manifest.json").exists():
        return [read_run(directory)]
    folder = directory / "runs" if (directory / "runs").is_dir() else directory
    runs = [read_run(path.parent) for path in sorted(folder.glob("*/manifest.json"))]
    if not runs and read_study_document(directory) is None:
        raise UserError(f"{directory}: holds no runs (a run is a directory with a manifest.json)")
    return runs


def read_study_document(directory: Path) -> dict[str, Any] | None:
    """study.json of a study directory, None if there is none or it cannot be read."""
    try:
        document = json.loads((directory / "study.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None
