"""What a guard is given and must be, and how the room finds all of them."""

import importlib
import inspect
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Protocol

from rl_lab.monitor import guards
from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.update import Update


class Hand(Protocol):
    """What can be done to a training; NotApplicable where this one cannot be helped that way."""

    def alert(self, event: Event, text: str) -> None:
        """Send an alert to Weights & Biases."""

    def stop(self, reason: str) -> None:
        """End the training before its next rollout is used."""

    def checkpoint(self, name: str) -> Path:
        """Write the policy from before the update to checkpoints/<name>.safetensors."""

    def restore(self) -> int:
        """Put policy, optimizer and memory back to before the update; environment steps that are thrown away."""

    def cut(self, factor: float) -> str:
        """Multiply what sets the length of the next steps; one clause that says what it was and is."""

    def shrink(self, limit: float, most: int) -> "Shrunk":
        """Halve the policy's step, at most so often, until the mean KL of what is left of it is within the limit."""


@dataclass(frozen=True)
class Shrunk:
    """What is left of a step."""

    share: float
    """1/2^n; 0 where no halving was enough and the whole step was taken back."""
    kl_mean: float
    """Of what is left [nats]."""


@dataclass(kw_only=True)
class Guard(ABC):
    """Answers events; one instance guards one run."""

    name: ClassVar[str]
    answers: ClassVar[frozenset[str]]
    """Events it answers if nothing else is said."""

    on: Iterable[str] | None = None
    """Events to answer; None: the class's own."""
    done: int = field(default=0, init=False)
    """How often it has acted."""

    @abstractmethod
    def act(self, event: Event, update: Update | None, hand: Hand) -> Finding | None:
        """Do it, and say what was done and what it cost; None: there was nothing to do."""

    def wants(self, event: Event) -> bool:
        """Whether it answers this event."""
        return event.event in (self.answers if self.on is None else self.on)

    def did(self, event: Event, message: str, **details: Any) -> Finding:
        """Return the finding about what this guard did because of the event."""
        self.done += 1
        return Finding(
            event=f"guard_{self.name}",
            value=float(self.done),
            threshold=None,
            message=message,
            details={"because": event.id, "event": event.event, **details},
        )


def all_guards() -> dict[str, type[Guard]]:
    """Every guard in rl_lab/monitor/guards/ by name."""
    found: dict[str, type[Guard]] = {}
    for module in pkgutil.iter_modules(guards.__path__):
        imported = importlib.import_module(f"{guards.__name__}.{module.name}")
        classes = [
            c
            for _, c in inspect.getmembers(imported, inspect.isclass)
            if issubclass(c, Guard) and c.__module__ == imported.__name__
        ]
        if len(classes) != 1 or not isinstance(getattr(classes[0], "name", None), str):
            raise TypeError(f"rl_lab/monitor/guards/{module.name}.py must hold exactly one Guard with a name")
        found[classes[0].name] = classes[0]
    return found


def new_guards(wished: Iterable[str | Guard]) -> list[Guard]:
    """The guards that were asked for, by name or made by the user; ValueError for a name that nobody has."""
    known, made = all_guards(), []
    for wish in wished:
        if isinstance(wish, Guard):
            made.append(wish)
            continue
        if wish not in known:
            near = get_close_matches(str(wish), known, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ValueError(f"{wish!r} is not a guard.{hint} (guards: {', '.join(sorted(known))})")
        made.append(known[wish]())
    return made
