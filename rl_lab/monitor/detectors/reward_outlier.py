"""Rewards far outside their own history: a broken reward, or one whose unit has changed."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rl_lab.monitor.detect.usual import LEAST, Lasting, Shift, median
from rl_lab.monitor.detector import HISTORY, Detector, Seen
from rl_lab.monitor.event import Finding

BEYOND = 10.0
"""Times the largest reward of the last 64 updates."""
WHOLE = 2.0
"""Times the largest return of a whole episode, for what is paid with the last step of one: prizes and penalties are of
that size, and the first success on a task of rare rewards is no outlier. That it may look like one cannot be ruled
out."""
EPISODES, UPDATES = 20, 20
"""Episodes that must have ended, because an end may pay what no step does; updates, where nobody counts episodes."""
ACCEPTED = 3
"""Updates in a row with such rewards after which they are usual."""
ALL, LONG = 2.0, 3
"""Factor beyond the range that paid_scale had, and updates for which it must last. Rewards shrink and grow as the
policy gets better and worse, in most updates by less than a tenth."""
ALIKE = 2.0
"""Factor within which paid_max / paid_scale must have stayed to say it of all rewards: where a few are much larger
than the rest, the agent may have found what it was looking for."""


class RewardOutlier(Detector):
    """Judges what the environment paid, before anyone normalised it: paid_inside_max, paid_max and paid_scale.

    One reward inside an episode is judged by the rewards before it, one at an end also by whole returns. While every
    episode has paid the same, nothing is said of single rewards: nobody knows yet what success is worth. Where returns
    vary, the first success of all looks like an outlier if it is worth ten times the largest reward.
    """

    name = "reward_outlier"

    def __init__(self) -> None:
        self._inside: list[float] = []
        self._ends: list[float] = []
        """Largest rewards of the last updates, those inside of episodes and all; outliers are not among them."""
        self._largest_return = 0.0
        self._updates = self._in_a_row = 0
        self._paid: float | None = None
        self._varies = False
        self._lasting = Lasting()
        self._shift = Shift("paid_scale", ALL, LONG)

    def observe(self, seen: Seen) -> list[Finding]:
        """At most one finding: rewards beyond everything, or all of them on another scale."""
        row = seen.row
        largest, scale = row.get("paid_max"), row.get("paid_scale")
        if largest is None or scale is None or not (math.isfinite(largest) and scale > 0):
            return []
        shifts = self._shift.begins(row, seen.history)
        finding = self._beyond(seen) if self._knows_enough(row) else None
        self._remember(row, finding is not None)
        if finding is None and shifts and _are_alike(seen, LONG):
            finding = _all(seen, self._shift.range)
        return self._lasting.new(finding)

    def _knows_enough(self, row: Mapping[str, Any]) -> bool:
        episodes = row.get("episodes")
        if episodes is None:
            return self._updates >= UPDATES
        return self._updates >= LEAST and bool(episodes >= EPISODES)

    def _beyond(self, seen: Seen) -> Finding | None:
        for column, known, least in (
            ("paid_inside_max", self._inside, max(seen.before("paid_scale"), default=0.0)),
            ("paid_max", self._ends, WHOLE * self._largest_return),
        ):
            size, usual = seen.row.get(column), max(known, default=0.0)
            threshold = max(BEYOND * usual, least)
            if size is None or not 0 < usual <= threshold < size:
                continue
            # Where all rewards have grown alike, success is not what has been found.
            are_alike = _are_alike(seen, 1)
            if self._varies or are_alike:
                what = "all rewards are" if are_alike else "a reward is"
                message = f"{what} as large as {size:.3g}, where none was beyond {usual:.3g} before"
                return _finding(size, threshold, message, column)
        return None

    def _remember(self, row: Mapping[str, Any], is_outlier: bool) -> None:
        """What is usual from now on. An outlier is not, or the second one would not be seen, unless it stays."""
        self._updates += 1
        self._in_a_row = self._in_a_row + 1 if is_outlier else 0
        if is_outlier and self._in_a_row < ACCEPTED:
            return
        for column, known in (("paid_inside_max", self._inside), ("paid_max", self._ends)):
            if row.get(column) is not None:
                known.append(row[column])
            del known[:-HISTORY]
        paid = row.get("return_mean")
        if paid is None or not math.isfinite(paid):
            return
        self._largest_return = max(self._largest_return, abs(paid))
        if self._paid is None:
            self._paid = paid
        self._varies = self._varies or not math.isclose(paid, self._paid, rel_tol=1e-6)


def _all(seen: Seen, expected: tuple[float, float]) -> Finding:
    paying = [row for row in (*seen.history, seen.row) if row.get("paid_scale")]
    scale, usually = seen.row["paid_scale"], median([row["paid_scale"] for row in paying[:-LONG]])
    times = (
        f"{scale / usually:.2g} times as large" if scale > usually else f"{usually / scale:.2g} times smaller"
    )
    message = (
        f"all rewards have been {times} for {LONG} updates: paid_scale {scale:.3g}, usually {usually:.3g}"
    )
    found = _finding(scale, expected[scale > usually], message, "paid_scale")
    return replace(found, details={**found.details, "onset_update": int(paying[-LONG]["update"])})


def _are_alike(seen: Seen, newest: int) -> bool:
    """Whether the largest reward is to all of them as it was before the newest updates."""
    rows = [r for r in (*seen.history, seen.row) if r.get("paid_scale") and r.get("paid_max") is not None]
    crests = [float(row["paid_max"] / row["paid_scale"]) for row in rows]
    if len(crests) <= newest:
        return False
    now, before = median(crests[-newest:]), median(crests[:-newest])
    # A single reward among n that dwarfs all others has sqrt(n): where few of them pay anything, that is usual.
    n = rows[-1]["env_steps"] - rows[-2]["env_steps"]
    single = math.sqrt(n) if n > 0 else math.inf  # a loop may count no steps
    return before / ALIKE < now < ALIKE * before < single


def _finding(value: float, threshold: float, message: str, quantity: str) -> Finding:
    return Finding(
        event=RewardOutlier.name,
        value=value,
        threshold=threshold,
        message=message,
        details={"quantity": quantity},
    )
