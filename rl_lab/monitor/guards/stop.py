"""Stop: nothing that comes after such an event is worth its time."""

from dataclasses import dataclass

from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.guard import Guard, Hand
from rl_lab.monitor.update import Update


@dataclass(kw_only=True)
class Stop(Guard):
    """Ends learn() before the next rollout is used."""

    name = "stop"
    answers = frozenset({"nonfinite", "performance_collapse"})

    def act(self, event: Event, update: Update | None, hand: Hand) -> Finding | None:
        """Once is enough."""
        if self.done:
            return None
        hand.stop(event.sentence())
        return self.did(event, f"training ends here, because of {event.event} at update {event.update}")
