"""What can be done to a training from outside: nothing, or all that stable-baselines3 allows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Never

from rl_lab.monitor.event import Event
from rl_lab.monitor.guard import Shrunk
from rl_lab.monitor.on_policy import Pending
from rl_lab.monitor.quantities import NotApplicable


class Unable:
    """The hand of a training that nobody but itself can change."""

    def alert(self, event: Event, text: str) -> Never:
        """NotApplicable."""
        raise NotApplicable

    def stop(self, reason: str) -> Never:
        """NotApplicable."""
        raise NotApplicable

    def checkpoint(self, name: str) -> Path:
        """NotApplicable."""
        raise NotApplicable

    def restore(self) -> int:
        """NotApplicable."""
        raise NotApplicable

    def cut(self, factor: float) -> str:
        """NotApplicable."""
        raise NotApplicable

    def shrink(self, limit: float, most: int) -> Shrunk:
        """NotApplicable."""
        raise NotApplicable


class TrainingHand(Unable):
    """What stable-baselines3 allows between the end of an update and the next rollout."""

    def __init__(
        self, model: Any, pending: Pending | None, observer: Any, stop: Callable[[str], None]
    ) -> None:
        self._model, self._pending, self._observer, self._stop = model, pending, observer, stop

    def stop(self, reason: str) -> None:  # type: ignore[override]
        """End learn() at its next step."""
        self._stop(reason)
