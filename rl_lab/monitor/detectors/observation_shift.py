"""An observation shift: from one update to the next, observations are in another unit, and stay there."""

from rl_lab.monitor.detect.usual import Shift
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding

BEYOND = 1.4
"""Factor beyond the range of the updates before. The states that a policy visits change as it learns, in most updates
by less than a tenth."""
LONG = 3
"""Updates for which it must last: a rollout may have seen something rare."""


class ObservationShift(Detector):
    """Judges observation_scale, which the largest entries make, and observation_typical, which all do."""

    name = "observation_shift"

    def __init__(self) -> None:
        self._shifts = [Shift(c, BEYOND, LONG) for c in ("observation_scale", "observation_typical")]

    def observe(self, seen: Seen) -> list[Finding]:
        """One finding when one of them has been out of its range for three updates."""
        begun = [shift for shift in self._shifts if shift.begins(seen.row, seen.history)]
        return [self._finding(shift, seen) for shift in begun[:1]]

    def _finding(self, shift: Shift, seen: Seen) -> Finding:
        scale, (low, high) = seen.row[shift.column], shift.range
        return Finding(
            event=self.name,
            value=scale,
            threshold=low if scale < low else high,
            message=f"{shift.column} {scale:.3g}, for {LONG} updates outside of {low:.3g} to {high:.3g}, "
            "where it was to be expected",
            details={"quantity": shift.column, "onset_update": int(seen.row["update"]) - LONG + 1},
        )
