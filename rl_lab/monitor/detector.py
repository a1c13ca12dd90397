"""What a detector is given and must be, and how the room finds all of them."""

import importlib
import inspect
import math
import pkgutil
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rl_lab.monitor import detectors
from rl_lab.monitor.event import Finding
from rl_lab.monitor.limits import NO_LIMITS, Limits
from rl_lab.monitor.quantities import NotApplicable
from rl_lab.monitor.returns import WINDOW, Mean
from rl_lab.monitor.update import Update

HISTORY = 64
"""Updates that are remembered."""


@dataclass(frozen=True)
class Seen:
    """Everything known after one update; what a detector decides by is in the rows, so that recorded runs can be
    judged again (`judge`), and `update` is for what it tells beside."""

    row: Mapping[str, Any]
    """The update's record: every quantity by name."""
    history: Sequence[Mapping[str, Any]] = ()
    """The records before it, the newest last; at most HISTORY of them."""
    random: Mean | None = None
    """Return of a random policy on this task."""
    limits: Limits = NO_LIMITS
    """What the update rule promises."""
    update: Update | None = None
    """The change itself; None where a recorded run is judged again."""

    @property
    def smooth(self) -> Mean | None:
        """The smoothed return so far."""
        mean, error = self.row.get("return_smooth"), self.row.get("return_stderr")
        if mean is None:
            return None
        return Mean(mean, math.inf if error is None else error, min(WINDOW, self.episodes))

    @property
    def episodes(self) -> int:
        """Episodes ended since the run began."""
        return int(self.row.get("episodes") or 0)

    def before(self, quantity: str, most: int = HISTORY) -> list[float]:
        """Finite values of a quantity in so many updates before this one, the newest last."""
        values = [row.get(quantity) for row in self.history[-most:]]
        return [v for v in values if v is not None and math.isfinite(v)]


class Detector(ABC):
    """Sees every update in order and says what it finds; one instance watches one run."""

    name: ClassVar[str]
    """The event it announces."""

    @abstractmethod
    def observe(self, seen: Seen) -> list[Finding]:
        """Findings of this update, usually none. NotApplicable: it cannot be asked of this algorithm."""


def observe_all(detectors: Iterable[Detector], seen: Seen) -> list[Finding]:
    """What all of them find, less those that have nothing to say of such an algorithm."""
    findings: list[Finding] = []
    for detector in detectors:
        try:
            findings += detector.observe(seen)
        except NotApplicable:
            continue
    return findings


def judge(
    rows: Iterable[Mapping[str, Any]], random: Mean | None = None, limits: Limits | None = None
) -> list[tuple[int, Finding]]:
    """What the detectors find in recorded rows, each with its update; as they did, or would have, in training.

    As there, what follows from numbers that are not finite is not announced again until an update has none.
    """
    watching, history, was_broken = new_detectors(), deque[Mapping[str, Any]](maxlen=HISTORY), False
    found: list[tuple[int, Finding]] = []
    for row in rows:
        if row.get("taken_back") and history:  # a guard has undone the update before: it is no measure
            history.pop()
        seen = Seen(row, tuple(history), random, limits or NO_LIMITS)
        findings = observe_all(watching, seen)
        broken = [finding for finding in findings if finding.event == "nonfinite"]
        told = [finding for finding in findings if not (was_broken and finding in broken)]
        found += [(int(row["update"]), finding) for finding in told]
        was_broken = bool(broken)
        history.append(row)
    return found


def new_detectors() -> list[Detector]:
    """One fresh instance of every detector in rl_lab/monitor/detectors/."""
    found: list[Detector] = []
    for module in pkgutil.iter_modules(detectors.__path__):
        imported = importlib.import_module(f"{detectors.__name__}.{module.name}")
        classes = [
            c
            for _, c in inspect.getmembers(imported, inspect.isclass)
            if issubclass(c, Detector) and c.__module__ == imported.__name__
        ]
        if len(classes) != 1 or not isinstance(getattr(classes[0], "name", None), str):
            raise TypeError(
                f"rl_lab/monitor/detectors/{module.name}.py must hold exactly one Detector with a name"
            )
        found.append(classes[0]())
    return found
