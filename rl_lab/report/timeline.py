"""Every run as a lane, every event on it at its environment steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rl_lab.report.digest import Digest, largest, number

SEVERITY = (
    "nonfinite",
    "performance_collapse",
    "kl_spike",
    "ratio_break",
    "invariant_break",
    "entropy_collapse",
    "value_divergence",
    "rank_collapse",
    "exponential_growth",
    "gradient_explosion",
)
"""Events by how much they say about a run's end, the worst first; what is not here comes behind."""


def lanes_of(members: Sequence[Digest]) -> list[dict[str, Any]]:
    """One row a run, in the given order: where its lane is and how far it came."""
    return [
        {
            "agent": one.agent,
            "seed": one.seed,
            "run": one.run_id,
            "status": one.status,
            "lane": lane,
            "env_steps": int(largest(one.env_steps) or 0),
        }
        for lane, one in enumerate(members)
    ]


def events_of(members: Sequence[Digest], most: int) -> list[dict[str, Any]]:
    """The `most` severest events of these runs, each with its lane; one without a place in time has none."""
    found = [
        (severity(event), lane, one, event)
        for lane, one in enumerate(members)
        for event in one.events
        if (steps := number(event.get("env_steps"))) == steps
    ]
    found.sort(key=lambda entry: entry[0])
    return [
        {
            "agent": one.agent,
            "seed": one.seed,
            "run": one.run_id,
            "lane": lane,
            "event": str(event.get("event")),
            "env_steps": int(number(event.get("env_steps"))),
            "update": event.get("update"),
            "message": str(event.get("message") or ""),
            "incident": None if (kept := incident_of(one, event)) is None else str(kept),
        }
        for _, lane, one, event in found[:most]
    ]


def severity(event: Any) -> tuple[int, float]:
    """Sorts the worst first: by kind, and within a kind by size, what is not finite before all others."""
    name, value = event.get("event"), number(event.get("value"))
    rank = SEVERITY.index(name) if name in SEVERITY else len(SEVERITY)
    return rank, -value if value == value else float("-inf")


def incident_of(one: Digest, event: Any) -> Path | None:
    """The folder in which the event's update was kept, if it is still there and inside the run's own directory."""
    details = event.get("details")
    name = details.get("incident") if isinstance(details, dict) else None
    if not isinstance(name, str) or one.path is None:
        return None
    try:
        folder = (one.path / name).resolve()
        kept = folder.is_relative_to(one.path.resolve()) and (folder / "incident.json").is_file()
    except (OSError, ValueError):  # a name that no file can have
        return None
    return folder if kept else None
