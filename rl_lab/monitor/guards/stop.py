"""Stop: nothing that comes after such an event is worth its time."""

from dataclasses import dataclass

from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.guard import Guard, Hand
from rl_lab.monitor.measure.update import Update


@dataclass(kw_only=True)
class Stop(Guard):
    """Ends learn() at its next environment step; the run is done, and its manifest says why so early."""

    name = "stop"
    answers = frozenset({"nonfinite", "performance_collapse"})

    def act(self, event: Event, update: Update | None, hand: Hand) -> Finding | None:
        """Once is enough, and where training is over anyway it is not news."""
        if hand.steps_left == 0:
            return None
        if not hand.stop(f"stopped by the guard {self.name}, because of {event.sentence()}"):
            return None
        left = hand.steps_left
        unused = "" if left is None else f", {left:,} environment steps unused"
        return self.did(event, f"training ends here because of {event.event}{unused}", steps_unused=left)
