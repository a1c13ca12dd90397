"""Asks the guards of one run about every event, and lets none of them break the training it guards."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.guard import Guard, Hand
from rl_lab.monitor.measure.update import Update
from rl_lab.monitor.quantities import NotApplicable


class Guarding:
    """The guards of one run, in the order in which they were given.

    What a guard did is announced as an event of its own, which the others may answer in turn (an alert about a
    rollback, a stop after one), but nobody answers those answers.
    """

    def __init__(
        self, guards: Sequence[Guard], announce: Callable[[Finding, Event], Event], say: Callable[[str], None]
    ) -> None:
        self._guards, self._announce, self._say = guards, announce, say
        self._waiting: list[tuple[Event, Guard]] = []
        self._said: set[str] = set()
        for guard in guards:
            guard.begin()

    def answer(self, events: Iterable[Event], update: Update | None, hand: Hand) -> None:
        """Let every guard act that answers one of the events; `update` is None while a rollout is collected."""
        asked = [(event, guard) for event in events for guard in self._guards]
        if update is not None:
            asked, self._waiting = self._waiting + asked, []
        for event, guard in asked:
            did = self._ask(guard, event, update, hand)
            if did is not None:
                for other in self._guards:
                    if other is not guard:
                        self._ask(other, did, update, hand)

    def state(self) -> list[dict[str, Any]]:
        """What each guard remembers."""
        return [guard.state() for guard in self._guards]

    def go_on_from(self, states: Sequence[Mapping[str, Any]], run: Path) -> None:
        """Let each remember what `state` returned, in this run directory. ValueError: these are other guards."""
        if len(states) != len(self._guards):
            raise ValueError(f"there were {len(states)} guards, and now there are {len(self._guards)}")
        for guard, state in zip(self._guards, states, strict=True):
            guard.go_on_from(state, run)

    def forget(self) -> None:
        """The update that guards wait for is never going to be."""
        self._waiting.clear()

    def _ask(self, guard: Guard, event: Event, update: Update | None, hand: Hand) -> Event | None:
        try:
            if not guard.wants(event):
                return None
            if guard.needs_update and update is None:
                self._waiting.append((event, guard))
                return None
            done = guard.act(event, update, hand)
            return None if done is None else self._announce(done, event)
        except NotApplicable as why:
            self._say_once(f"the guard {_name(guard)} can do nothing here: {why}")
        except Exception as error:  # training is worth more than what guards it
            said = (str(error).strip() or "no message").splitlines()[0]
            self._say_once(
                f"the guard {_name(guard)} failed ({type(error).__name__}: {said}); training goes on"
            )
        return None

    def _say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self._say(sentence)


def _name(guard: Guard) -> str:
    return getattr(guard, "name", type(guard).__name__)
