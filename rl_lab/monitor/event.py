"""An event: a named fact with a place and a cause."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rl_lab.monitor.precursors import Precursor


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a detector says of an update; the monitor adds where and when."""

    event: str
    value: float
    threshold: float | None
    message: str
    """One clause with numbers, for people."""
    epoch: int | None = None
    """Pass over the rollout, from 0, in which it happened; None where that is not known."""
    minibatch: int | None = None
    """Gradient step of the update, from 0, in which it happened."""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Event(Finding):
    """A finding in its place: one line of events.jsonl."""

    id: int
    run: str
    update: int
    env_steps: int
    precursors: tuple[Precursor, ...] = ()
    """Quantities that had left their normal band before it, the earliest first."""

    def row(self) -> dict[str, Any]:
        """The line, identity first."""
        values = asdict(self)
        first = ("id", "event", "run", "update", "epoch", "minibatch", "env_steps", "value", "threshold")
        return {**{key: values.pop(key) for key in first}, **values}

    def sentence(self) -> str:
        """One line for the console and the alert."""
        return f"{self.event} at update {self.update} ({self.env_steps:,} env steps): {self.message}{self._warned()}"

    def _warned(self) -> str:
        ahead = [p for p in self.precursors if p.lead > 0][:3]
        if not ahead:
            return ""
        return "; before it: " + ", ".join(
            f"{p.quantity} out of its band {p.lead} updates ahead" for p in ahead
        )
