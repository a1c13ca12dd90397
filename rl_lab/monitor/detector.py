"""What a detector is given and must be, and how the room finds all of them."""

import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rl_lab.monitor import detectors
from rl_lab.monitor.event import Finding
from rl_lab.monitor.quantities import NotApplicable
from rl_lab.monitor.returns import Mean
from rl_lab.monitor.update import Change


@dataclass(frozen=True)
class Seen:
    """Everything known after one update."""

    row: Mapping[str, Any]
    """The update's record: every quantity by name."""
    update: Change
    smooth: Mean | None
    """The smoothed return so far."""
    episodes: int
    """Episodes ended since the run began."""
    random: Mean | None
    """Return of a random policy on this task."""


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
