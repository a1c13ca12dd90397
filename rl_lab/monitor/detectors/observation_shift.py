"""An observation shift: from one update to the next, observations are in another unit, and stay there."""

from rl_lab.monitor.detect.usual import Lasting
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding
from rl_lab.monitor.measure.visited import BEFORE, NEWEST

OUTSIDE = 1.0
"""Widths of the range in which the states of the last 40 rollouts were."""
EPISODES = 20
"""Episodes that this range must have seen: a part of an episode sees a part of the states."""


class ObservationShift(Detector):
    """Judges observation_outside, of three rollouts: one may have seen something rare."""

    name = "observation_shift"

    def __init__(self) -> None:
        self._lasting = Lasting()

    def observe(self, seen: Seen) -> list[Finding]:
        """One finding when the last three rollouts are outside of the range by more than its width."""
        outside = seen.row.get("observation_outside")
        if outside is None or not self._lasting.begins(outside > OUTSIDE and _has_seen_episodes(seen)):
            return []
        return [
            Finding(
                event=self.name,
                value=outside,
                threshold=OUTSIDE,
                message=f"the observations of {NEWEST} rollouts are outside of the range of the {BEFORE} before, by "
                f"{outside:.2g} times its width",
                details={
                    "quantity": "observation_outside",
                    "onset_update": int(seen.row["update"]) - NEWEST + 1,
                },
            )
        ]


def _has_seen_episodes(seen: Seen) -> bool:
    rows = [*seen.history, seen.row][-NEWEST - BEFORE :]
    first, last = rows[0].get("episodes"), rows[-1].get("episodes")
    return first is None or last is None or last - first >= EPISODES
