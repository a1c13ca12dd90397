"""An event: a named fact with a place and a cause."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a detector says of an update; the monitor adds where and when."""

    event: str
    value: float
    threshold: float | None
    message: str
    """One clause with numbers, for people."""
    epoch: int | None = None
    minibatch: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Event(Finding):
    """A finding in its place: one line of events.jsonl."""

    id: int
    run: str
    update: int
    env_steps: int

    def row(self) -> dict[str, Any]:
        """The line, identity first."""
        values = asdict(self)
        first = ("id", "event", "run", "update", "epoch", "minibatch", "env_steps", "value", "threshold")
        return {**{key: values.pop(key) for key in first}, **values}

    def sentence(self) -> str:
        """One line for the console and the alert."""
        return f"{self.event} at update {self.update} ({self.env_steps:,} env steps): {self.message}"
