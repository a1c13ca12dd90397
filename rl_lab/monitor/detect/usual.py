"""What a positive quantity usually is: the robust band of its logarithm over the updates before this one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Found = TypeVar("Found")

WINDOW, LEAST = 20, 5
"""Updates in the trailing window, and the least number needed to say what is usual."""
MIN_SPREAD = 0.25
"""Smallest log-space deviation assumed, so that a very steady run does not make every wiggle an event."""
TINY = 1e-12
UPDATES, EPISODES = 10, 20
"""Updates and episodes in a range that a scale can leave."""


@dataclass(frozen=True)
class Usual:
    """Median and robust deviation of log q over a trailing window."""

    centre: float
    """The median of q itself."""
    spread: float
    """max(1.4826 MAD of log q, 0.25)."""

    def above(self, score: float) -> float:
        """The value that lies so many deviations above the median: centre e^(score spread)."""
        return self.centre * math.exp(min(score * self.spread, 50.0))


def usual(values: Sequence[float]) -> Usual | None:
    """Judged by the last 20 of the values; None where there are too few. What is not positive counts as 1e-12, NaN not
    at all."""
    values = [v for v in values if not math.isnan(v)]
    if len(values) < LEAST:
        return None
    logs = [math.log(max(v, TINY)) for v in values[-WINDOW:]]
    centre = median(logs)
    return Usual(math.exp(centre), max(1.4826 * median([abs(v - centre) for v in logs]), MIN_SPREAD))


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of both; of a few numbers ten times as fast as numpy's.

    NaN does not count, because sorting leaves numbers around it out of order; NaN where nothing is left.
    """
    ordered = sorted(v for v in values if not math.isnan(v))
    half = len(ordered) // 2
    if not ordered:
        return math.nan
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


class Lasting:
    """A state that lasts is announced once, when it begins, and again only after it was over for a while."""

    def __init__(self, *, begins: int = 1, ends: int = 5) -> None:
        self._begins, self._ends = begins, ends
        self._run, self._quiet, self._is_on = 0, 0, False

    def begins(self, holds: bool) -> bool:
        """Whether the state begins with this update: the condition holds for the `begins`-th time in a row.

        It has ended once the condition has not held for `ends` updates in a row.
        """
        self._run = self._run + 1 if holds else 0
        self._quiet = 0 if holds else self._quiet + 1
        if self._is_on and self._quiet >= self._ends:
            self._is_on = False
        if self._is_on or self._run < self._begins:
            return False
        self._is_on = True
        return True

    def new(self, finding: Found | None) -> list[Found]:
        """The finding, in the update with which what it says begins."""
        return [finding] if self.begins(finding is not None) and finding is not None else []


class Shift:
    """A scale that leaves its whole range from one update to the next, and stays away.

    What is learned changes slowly, so that the range of the last 64 updates grows along with it; a unit changes at
    once. Beyond the range there is room of the same width again (in the logarithm), and of a factor `beyond` at least.
    """

    def __init__(self, column: str, beyond: float, lasts: int) -> None:
        self.column, self._beyond, self.lasts = column, beyond, lasts
        self.range: tuple[float, float] = (0.0, math.inf)
        """What was to be expected, when a shift is announced."""
        self._since, self._quiet = 0, 0

    def begins(self, row: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> bool:
        """Whether it has now been away for `lasts` updates in a row."""
        scale = row.get(self.column)
        if scale is None or not (math.isfinite(scale) and scale > 0):
            return False
        self._quiet = max(self._quiet - 1, 0)
        if not self._since:
            last = history[-1].get(self.column) if history else None
            if last is not None and last / self._beyond <= scale <= last * self._beyond:
                return False  # within the room around any range that holds the last one
            known = None if self._quiet else self._range(history)
            if known is None:
                return False
            self.range = known
        if self.range[0] <= scale <= self.range[1]:
            self._since = 0
            return False
        self._since += 1
        if self._since < self.lasts:
            return False
        self._since, self._quiet = (
            0,
            len(history),
        )  # the old range must be forgotten before there is a new one
        return True

    def _range(self, history: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
        rows = [row for row in history if row.get(self.column)]
        if len(rows) < UPDATES:
            return None
        first, last = rows[0].get("episodes"), rows[-1].get("episodes")
        if first is not None and last is not None and last - first < EPISODES:
            return None  # a part of an episode sees a part of the states
        scales = [row[self.column] for row in rows if 0 < row[self.column] < math.inf]
        if not scales:
            return None
        low, high = min(scales), max(scales)
        room = max(self._beyond, high / low)
        return low / room, high * room
