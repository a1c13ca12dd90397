"""What the page tells, gathered before any HTML is written."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rl_lab.report.arms import Arm
from rl_lab.report.census import shared_settings, versions
from rl_lab.report.contrasts import Contrast
from rl_lab.report.curves import Panel
from rl_lab.report.digest import Digest
from rl_lab.report.outcomes import Outcomes
from rl_lab.report.words import UNKNOWN, enumeration, plural

Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Content:
    """All of one report. `study` is what study.json holds, empty where runs lie without a study."""

    title: str
    directory: str
    study: Mapping[str, Any]
    runs: Sequence[Digest]
    arms: Sequence[Arm]
    question: str
    verdict: str
    findings: Sequence[str]
    contrasts: Sequence[Contrast]
    outcomes: Outcomes
    panels: Sequence[Panel]
    colours: Mapping[str, str]
    place: Path | None = None
    """The folder that the page will lie in, so that its links can lead from there; None: it has none."""


def compared(content: Content) -> list[Pair]:
    """Rows of the table *What was compared*: what is common to all runs, then what the agents differ in."""
    runs = content.runs
    tasks = dict.fromkeys(arm.task for arm in content.arms)
    rows = [
        ("study", _study(content.study)),
        ("directory", content.directory),
        ("tasks", "; ".join(tasks)),
        ("runs", _planned(content)),
        ("seeds", _listed(one.seed for one in runs)),
        ("environment steps a run", _listed(f"{one.steps:,}" for one in runs if one.steps is not None)),
        ("settings all runs share", _settings(shared_settings(runs))),
        ("code", _listed(_revision(one.manifest) for one in runs)),
        ("versions", _settings(versions(runs))),
        ("machine", "; ".join(filter(None, dict.fromkeys(_machine(one.manifest) for one in runs)))),
    ]
    return [(name, text) for name, text in rows if text and text != UNKNOWN]


def agent_rows(content: Content) -> list[list[str]]:
    """One row per agent: label, rule, trust region, the settings it does not share with all, and in which tasks."""
    shared = shared_settings(content.runs)
    tasks: dict[tuple[str, ...], dict[str, None]] = {}
    for one in content.runs:
        own = {k: v for k, v in one.agent_settings.items() if k not in shared}
        row = (one.agent, one.rule, one.trust_region or "not stated", _settings(own))
        tasks.setdefault(row, {})[one.task] = None
    return [[*row, "; ".join(where)] for row, where in sorted(tasks.items())]


def _machine(manifest: Mapping[str, Any]) -> str:
    """System, instruction set, threads and device of one run."""
    machine = manifest.get("machine")
    return _settings(machine) if isinstance(machine, Mapping) else ""


def configuration(content: Content) -> str:
    """The resolved config that was stored and hashed, as text; empty where runs lie without a study."""
    studies = content.study.get("studies")
    config = (
        {name: one.get("config") for name, one in studies.items()} if studies else content.study.get("config")
    )
    return json.dumps(config, indent=1) if config else ""


def link(content: Content, target: Path) -> str:
    """The address of a file or folder from where the page lies."""
    here = content.place if content.place is not None else Path()
    way = os.path.relpath(target, here.resolve())
    return quote(way.replace(os.sep, "/"))


def _study(study: Mapping[str, Any]) -> str:
    if "studies" in study:
        return "; ".join(_study(one) for one in study["studies"].values())
    name, mark = study.get("name"), study.get("hash")
    return f"{name} ({mark})" if name and mark else str(name or "")


def _planned(content: Content) -> str:
    planned = int(content.study.get("runs") or 0)
    by_status: dict[str, int] = {}
    for one in content.runs:
        by_status[one.status] = by_status.get(one.status, 0) + 1
    found = f"{plural(len(content.runs), 'run')}: " + enumeration(
        [f"{n} {s}" for s, n in sorted(by_status.items())]
    )
    missing = planned - len(content.runs)
    return f"{found}; {missing} of {planned} planned not started" if missing > 0 else found


def _revision(manifest: Mapping[str, Any]) -> str:
    git = manifest.get("git") or {}
    if not git.get("revision"):
        return ""
    return f"{str(git['revision'])[:12]}{' with uncommitted changes' if git.get('dirty') else ''}"


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in settings.items()) or UNKNOWN


def _listed(values: Any) -> str:
    return ", ".join(dict.fromkeys(str(v) for v in values if v not in (None, "")))
