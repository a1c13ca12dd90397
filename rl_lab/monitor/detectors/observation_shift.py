"""An observation shift: from one step or update to the next, observations are in another unit."""

from rl_lab.monitor.detect.usual import Lasting
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding
from rl_lab.monitor.measure.visited import BEFORE, LEAST, NEWEST

OUTSIDE = 1.0
"""Widths of the range in which the states of the last 40 rollouts were."""
JUMP, JUMPS = 3.0, 2.0
"""Steps that all environments jump by at once, and times the furthest of the last 64 updates: some worlds have hours at
which everything changes."""
EPISODES = 20
"""Episodes that were seen before: a part of an episode sees a part of the states."""


class ObservationShift(Detector):
    """Judges observation_jump, which shows a change in its first step where the world moves smoothly, and
    observation_outside, of three rollouts: one may have seen something rare."""

    name = "observation_shift"

    def __init__(self) -> None:
        self._lasting = Lasting()

    def observe(self, seen: Seen) -> list[Finding]:
        """One finding when all environments jump in one step, further than ever before, or when the last three
        rollouts are outside of the range by more than its width."""
        return self._lasting.new(_jump(seen) or _outside(seen))


def _jump(seen: Seen) -> Finding | None:
    jump, before = seen.row.get("observation_jump"), seen.before("observation_jump")
    if jump is None or len(before) < LEAST or not _has_seen_episodes(seen, len(before)):
        return None
    threshold = max(JUMP, JUMPS * max(before))
    if not jump > threshold:
        return None
    return Finding(
        event=ObservationShift.name,
        value=jump,
        threshold=threshold,
        message=f"the observations of all environments jumped at once, {jump:.2g} times as far as they went in the "
        f"steps beside it; before, at most {max(before):.2g} times",
        details={"quantity": "observation_jump"},
    )


def _outside(seen: Seen) -> Finding | None:
    outside = seen.row.get("observation_outside")
    if outside is None or not (outside > OUTSIDE and _has_seen_episodes(seen, NEWEST + BEFORE)):
        return None
    return Finding(
        event=ObservationShift.name,
        value=outside,
        threshold=OUTSIDE,
        message=f"the observations of {NEWEST} rollouts are outside of the range of the {BEFORE} before, by "
        f"{outside:.2g} times its width",
        details={"quantity": "observation_outside", "onset_update": int(seen.row["update"]) - NEWEST + 1},
    )


def _has_seen_episodes(seen: Seen, updates: int) -> bool:
    rows = [*seen.history, seen.row][-updates:]
    first, last = rows[0].get("episodes"), rows[-1].get("episodes")
    return first is None or last is None or last - first >= EPISODES
