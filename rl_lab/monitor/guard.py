"""What a guard is given and must be, and how the room finds all of them."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, get_args, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from rl_lab.errors import did_you_mean
from rl_lab.monitor import guards
from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.folder import classes_in
from rl_lab.monitor.measure.update import Update

_BOUNDS = (
    (Gt, "gt", operator.gt, "greater than"),
    (Ge, "ge", operator.ge, "at least"),
    (Lt, "lt", operator.lt, "less than"),
    (Le, "le", operator.le, "at most"),
)


@dataclass(frozen=True)
class Saved:
    """A policy on disk."""

    files: tuple[Path, ...]
    """The policy's first."""
    bytes: int


@dataclass(frozen=True)
class Shrunk:
    """What is left of a step."""

    share: float
    """1/2^n; 0 where no halving was enough and the whole step was taken back."""
    kl_mean: float
    """Of what is left [nats]."""
    was: float
    """Of the whole step [nats]."""
    passes: int
    """Forward passes over the rollout that it took."""


class Hand(Protocol):
    """What can be done to a training.

    NotApplicable, with a clause that says why, where this one cannot be helped that way.
    """

    took_back: bool
    """Whether the step of the update at hand has been taken back, wholly or in part."""

    @property
    def steps_left(self) -> int | None:
        """Environment steps that training would still take; None where nobody has said how many."""

    def alert(self, event: Event, text: str) -> bool:
        """Send an alert to Weights & Biases; False: there is no run to send it to."""

    def stop(self, reason: str) -> bool:
        """End the training at its next step; False: it is ending already."""

    def checkpoint(self, update: int) -> Saved:
        """Write the policy from before the update to checkpoints/before-<update>.safetensors."""

    def restore(self) -> int:
        """Put policy, optimizer and memory back to before the update; environment steps that are thrown away."""

    def cut(self, factor: float, least: float) -> str:
        """Multiply what sets the length of the next steps, down to this share of what it was when training began;
        one clause that says what it was and is."""

    def shrink(self, limit: float | None, most: int) -> Shrunk | None:
        """Halve the policy's step, at most so often, until the mean KL of what is left of it is within the limit.

        None: it was within the limit. Without a limit only a step that is not finite is taken back.
        """


@dataclass(kw_only=True)
class Guard(ABC):
    """Answers events; one instance guards one run at a time.

    A guard is ONE file in rl_lab/monitor/guards/ with one class, or a class of yours whose instance is handed to
    the monitor. Its settings are fields.
    """

    name: ClassVar[str]
    answers: ClassVar[frozenset[str]]
    """Events it answers if nothing else is said."""
    needs_update: ClassVar[bool] = False
    """Whether it can only act once there is an update: an event of the rollout before it waits until then."""
    changes_training: ClassVar[bool] = True
    """Whether a run is another one with it than without."""

    on: Iterable[str] | None = None
    """Events to answer; None: the class's own."""
    done: int = field(default=0, init=False)
    """How often it has acted in this run."""

    def __post_init__(self) -> None:
        if self.on is not None:
            self.on = (self.on,) if isinstance(self.on, str) else tuple(self.on)
        _check_bounds(self)

    def begin(self) -> None:
        """A run begins; what was remembered of another is over."""
        self.done = 0

    def state(self) -> dict[str, Any]:
        """What it remembers of this run, as plain values: its settings are no part of it."""
        return {"done": self.done}

    def go_on_from(self, state: Mapping[str, Any], run: Path) -> None:
        """The run in this directory goes on in another process, from what `state` returned there."""
        self.done = state["done"]

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

    def described(self) -> dict[str, Any]:
        """Its name and settings, for the manifest."""
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return {"name": self.name, **settings, "on": None if self.on is None else sorted(self.on)}


def all_guards() -> dict[str, type[Guard]]:
    """Every guard in rl_lab/monitor/guards/ by name."""
    return {found.name: found for found in classes_in(guards, Guard)}  # type: ignore[type-abstract]


def new_guards(wished: Iterable[str | Guard | Mapping[str, Any]]) -> list[Guard]:
    """The guards that were asked for: by name, as {"name": "rollback", "factor": 0.3}, or made by the user.

    ValueError: a name or a setting that there is not, a value out of its range.
    """
    wished = [wished] if isinstance(wished, str | Guard | Mapping) else wished
    return [wish if isinstance(wish, Guard) else _made(wish) for wish in wished]


def _made(wish: str | Mapping[str, Any]) -> Guard:
    settings: dict[str, Any] = {"name": wish} if isinstance(wish, str) else dict(wish)
    name, known = settings.pop("name", None), all_guards()
    if name not in known:
        hint = did_you_mean(str(name), known)
        raise ValueError(f"{name!r} is not a guard.{hint} (guards: {', '.join(sorted(known))})")
    fields_of_it = [f.name for f in fields(known[name]) if f.init]
    for key in settings:
        if key not in fields_of_it:
            raise ValueError(
                f"{key} is not a setting of {name}.{did_you_mean(str(key), fields_of_it)} "
                f"({name} has: {', '.join(fields_of_it)})"
            )
    return known[name](**settings)


def _bounds(hint: Any) -> list[Any]:
    """What an annotation carries, be it Annotated[float, Gt(0)] or that or None."""
    return [*getattr(hint, "__metadata__", ()), *(b for part in get_args(hint) for b in _bounds(part))]


def _check_bounds(guard: Guard) -> None:
    """ValueError for a setting that lies outside the bounds in its annotation."""
    try:
        hints = get_type_hints(type(guard), include_extras=True)
    except NameError:  # a class made inside somebody's function; its settings are his business
        return
    for name, hint in hints.items():
        for bound in _bounds(hint):
            for kind, limit, holds, words in _BOUNDS:
                value = getattr(guard, name)
                if not isinstance(bound, kind) or value is None:
                    continue
                if not isinstance(value, int | float) or not holds(value, getattr(bound, limit)):
                    raise ValueError(
                        f"{guard.name}: {name} must be {words} {getattr(bound, limit)}, got {value!r}"
                    )
