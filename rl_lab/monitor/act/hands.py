"""What can be done to a training that nobody but itself can change: tell people, and ask it to stop."""

from typing import Protocol

from rl_lab.monitor.event import Event
from rl_lab.monitor.guard import Saved, Shrunk
from rl_lab.monitor.quantities import NotApplicable
from rl_lab.monitor.record.recorder import Recorder

WHY = "only stable-baselines3's on-policy algorithms let go of an update from outside"


class Observing(Protocol):
    """What a hand needs of an observer."""

    recorder: Recorder
    stopped: str | None
    """Why training is to end at its next step; None: it is not."""


class Onlooker:
    """The hand of a loop of the user's own, which itself looks whether it should stop."""

    def __init__(self, observer: Observing) -> None:
        self._observer = observer
        self.took_back = False

    @property
    def steps_left(self) -> int | None:
        """None: nobody has said how many there are."""
        return None

    def alert(self, event: Event, text: str) -> bool:
        """Send an alert to Weights & Biases; False: there is no run to send it to."""
        return self._observer.recorder.alert(event, text)

    def stop(self, reason: str) -> bool:
        """Leave word for the loop; False: it is there already."""
        begun = self._observer.stopped is None
        self._observer.stopped = self._observer.stopped or reason
        return begun

    def checkpoint(self, update: int) -> Saved:
        """NotApplicable."""
        raise NotApplicable("the monitor does not hold the policy of a loop of your own")

    def restore(self) -> int:
        """NotApplicable."""
        raise NotApplicable(WHY)

    def cut(self, factor: float, least: float) -> str:
        """NotApplicable."""
        raise NotApplicable(WHY)

    def shrink(self, limit: float | None, most: int) -> Shrunk | None:
        """NotApplicable."""
        raise NotApplicable(WHY)
