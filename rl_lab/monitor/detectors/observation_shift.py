"""An observation shift: from one step or update to the next, observations are in another unit."""

import math

from rl_lab.monitor.detect.usual import Lasting
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding
from rl_lab.monitor.measure.visited import BEFORE, LEAST, NEWEST

OUTSIDE = 1.0
"""Widths of the range in which the states of the last 40 rollouts were."""
JUMP, JUMPS = 1.5, 1.5
"""What a jump is beyond the noise of the steps beside it, and times the furthest of the run: some worlds have hours at
which everything changes."""
EPISODES = 20
"""Episodes that were seen before: a part of an episode sees a part of the states."""


class ObservationShift(Detector):
    """Judges observation_jump, which shows a change in its first step where the world moves smoothly, and
    observation_outside, of three rollouts: one may have seen something rare."""

    name = "observation_shift"

    def __init__(self) -> None:
        self._lasting = Lasting()
        self._furthest, self._updates = 0.0, 0
        """The furthest jump so far, in so many updates."""

    def observe(self, seen: Seen) -> list[Finding]:
        """One finding when the environments jump in one step, further than ever before, or when the last three
        rollouts are outside of the range by more than its width."""
        return self._lasting.new(self._jump(seen) or _outside(seen))

    def _jump(self, seen: Seen) -> Finding | None:
        jump, episodes, before = seen.row.get("observation_jump"), seen.row.get("episodes"), self._furthest
        if jump is None or not math.isfinite(jump):
            return None
        knows_enough = self._updates >= LEAST and (episodes is None or episodes >= EPISODES)
        threshold = max(JUMP, JUMPS * before)
        self._furthest, self._updates = max(before, jump), self._updates + 1
        if not (knows_enough and jump > threshold):
            return None
        return Finding(
            event=self.name,
            value=jump,
            threshold=threshold,
            message=f"the observations of most environments left their course in one and the same step, {jump:.2g} "
            f"times as far as in the steps beside it; before, at most {before:.2g} times",
            details={"quantity": "observation_jump"},
        )


def _outside(seen: Seen) -> Finding | None:
    outside = seen.row.get("observation_outside")
    if outside is None or not (outside > OUTSIDE and _has_seen_episodes(seen)):
        return None
    return Finding(
        event=ObservationShift.name,
        value=outside,
        threshold=OUTSIDE,
        message=f"the observations of {NEWEST} rollouts are outside of the range of the {BEFORE} before, by "
        f"{outside:.2g} times its width",
        details={"quantity": "observation_outside", "onset_update": int(seen.row["update"]) - NEWEST + 1},
    )


def _has_seen_episodes(seen: Seen) -> bool:
    rows = [*seen.history, seen.row][-NEWEST - BEFORE :]
    first, last = rows[0].get("episodes"), rows[-1].get("episodes")
    return first is None or last is None or last - first >= EPISODES
