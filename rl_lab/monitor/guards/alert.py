"""Alert: Weights & Biases tells the people who watch the run."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.guard import Guard, Hand
from rl_lab.monitor.measure.update import Update

QUIET = frozenset({"guard_alert", "guard_checkpoint"})
"""What is no news to anybody."""


@dataclass
class _Kind:
    """The events of one kind."""

    count: int = 0
    next: int = 1
    """The next one that is told of, once there are so many."""
    held: int = 0
    """Events since the last alert."""
    told: float | None = None
    """When that was [s]."""


@dataclass(kw_only=True)
class Alert(Guard):
    """Sends the 1st, 10th, 100th, ... event of each kind, and no two of a kind within `seconds`.

    One that falls within them is sent with the next event of its kind. Every event of whatever kind is answered,
    also what other guards have done to the training.
    """

    name = "alert"
    answers = frozenset()
    changes_training = False

    seconds: Annotated[float, Ge(0)] = 60.0
    """Least time between two alerts of a kind."""

    clock = staticmethod(time.monotonic)

    def begin(self) -> None:
        """A run begins."""
        super().begin()
        self._kinds: dict[str, _Kind] = {}

    def state(self) -> dict[str, Any]:
        """How many events of each kind there were; the clock of another process says nothing."""
        kinds = {name: [kind.count, kind.next, kind.held] for name, kind in self._kinds.items()}
        return {**super().state(), "kinds": kinds}

    def go_on_from(self, state: Mapping[str, Any], run: Path) -> None:
        """Go on counting."""
        super().go_on_from(state, run)
        self._kinds = {name: _Kind(*counts) for name, counts in state["kinds"].items()}

    def wants(self, event: Event) -> bool:
        """Whether it answers this event."""
        return event.event not in QUIET if self.on is None else event.event in self.on

    def act(self, event: Event, update: Update | None, hand: Hand) -> Finding | None:
        """Nothing is said where there is no W&B run: its absence was the user's wish."""
        kind = self._kinds.setdefault(event.event, _Kind())
        kind.count += 1
        now = self.clock()
        if kind.count < kind.next or (kind.told is not None and now - kind.told < self.seconds):
            kind.held += 1
            return None
        held = f" ({kind.held} held back since the last alert)" if kind.held else ""
        number = f"; number {kind.count} of this kind{held}" if kind.count > 1 else ""
        if not hand.alert(event, event.sentence() + number):
            return None
        told = _Kind(kind.count, 10 ** len(str(kind.count)), 0, now)
        self._kinds[event.event] = told
        return self.did(
            event, f"told Weights & Biases of {event.event}{held}", number=kind.count, held_back=kind.held
        )
