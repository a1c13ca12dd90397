"""An event: a named fact with a place and a cause."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rl_lab.monitor.detect.precursors import Precursor


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
        place = "".join(f"{part}, " for part in self._inside())
        return (
            f"{self.event} at update {self.update} ({place}{self.env_steps:,} env steps): "
            f"{self.message}{self._warned()}"
        )

    def _inside(self) -> list[str]:
        """Where inside the update, in words that count from 1, as people do."""
        parts = [] if self.epoch is None else [f"epoch {self.epoch + 1}"]
        return parts if self.minibatch is None else [*parts, f"gradient step {self.minibatch + 1}"]

    def _warned(self) -> str:
        told = [p.sentence() for p in self._of_different_kinds()[:3]]
        return f"; before it: {', '.join(told)}" if told else ""

    def _of_different_kinds(self) -> list[Precursor]:
        """The earliest precursor of every kind of quantity: what kl_max says, kl_p95 need not say again."""
        kinds: dict[str, Precursor] = {}
        for precursor in self.precursors:
            kinds.setdefault(precursor.quantity.removeprefix("train/").partition("_")[0], precursor)
        return list(kinds.values())
