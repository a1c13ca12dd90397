"""Rewards far outside their own history: a broken reward, or one whose unit has changed."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rl_lab.monitor.detect.usual import LEAST, Lasting, Shift, median
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding

ALONE = 4.0
"""Times the largest discounted returns and values there were, and the largest reward. stable-baselines3 adds a value
to the reward of an episode that the clock ended, so that one reward as large as a return is usual."""
WHOLE = 2.0
"""Times the largest return of a whole episode, beside that: prizes and penalties at an episode's end are of its size,
and the first success on a task of rare rewards is no outlier. That it may look like one cannot be ruled out."""
EPISODES, UPDATES = 20, 20
"""Episodes that must have ended, because an end may pay what no step does; updates, where nobody counts episodes."""
KNOWN = {"reward_max": ALONE, "return_scale": ALONE, "value_scale": ALONE, "return_mean": WHOLE}
ALL, LONG = 2.0, 3
"""Factor beyond the range that reward_scale had, and updates for which it must last. Rewards shrink and grow as the
policy gets better and worse, in most updates by less than a tenth."""
AT_ONCE = 5.0
"""Times the largest reward_scale so far, for rewards that are larger in a single update; VecNormalize gets used to
another unit within a few."""
ALIKE = 2.0
"""Factor within which reward_max / reward_scale must have stayed to say it of all rewards: where a few are much larger
than the rest, the agent may have found what it was looking for."""


ECHO = 20
"""Updates after a single outlier in which nothing raises what is known: the value function has learned from it."""


class RewardOutlier(Detector):
    """Judges reward_max and reward_scale against all updates before, not only the last few.

    Nothing is said while every episode has paid the same: nobody knows yet what success is worth.
    """

    name = "reward_outlier"

    def __init__(self) -> None:
        self._largest: dict[str, float] = {}
        self._updates = 0
        self._echo = 0
        self._paid: float | None = None
        self._varies = False
        self._lasting = Lasting()
        self._shift = Shift("reward_scale", ALL, LONG)

    def observe(self, seen: Seen) -> list[Finding]:
        """At most one finding: one reward beyond everything, or all of them on another scale."""
        row = seen.row
        largest, scale = row.get("reward_max"), row.get("reward_scale")
        if largest is None or scale is None or not (math.isfinite(largest) and scale > 0):
            return []
        counted = row.get("episodes")
        enough = self._updates >= UPDATES if counted is None else seen.history and counted >= EPISODES
        is_constant = self._paid is not None and not self._varies
        shifts = self._shift.begins(row, seen.history)
        finding = alone = _alone(largest, self._largest) if enough and not is_constant else None
        self._remember(row, alone is not None)
        if finding is None and enough and not is_constant:
            finding = _at_once(seen, scale)
        if finding is None and shifts and not is_constant:
            finding = _all(seen, self._shift.range)
        return [finding] if self._lasting.begins(finding is not None) and finding is not None else []

    def _remember(self, row: Mapping[str, Any], is_outlier: bool) -> None:
        """What is usual from now on. An outlier is not, or the second one would not be seen."""
        self._updates += 1
        self._see_paid(row.get("return_mean"))
        self._echo = ECHO if is_outlier else max(self._echo - 1, 0)
        if is_outlier:
            return
        most = max(self._largest.values(), default=math.inf) if self._echo else math.inf
        for column, times in KNOWN.items():
            value = row.get(column)
            if value is not None and math.isfinite(value):
                self._largest[column] = max(self._largest.get(column, 0.0), min(times * abs(value), most))

    def _see_paid(self, paid: float | None) -> None:
        if paid is None or not math.isfinite(paid):
            return
        if self._paid is None:
            self._paid = paid
        elif not math.isclose(paid, self._paid, rel_tol=1e-6):
            self._varies = True


def _alone(largest: float, known: dict[str, float]) -> Finding | None:
    threshold = max(known.values(), default=math.inf)
    if not (threshold > 0 and largest > threshold):
        return None
    message = f"a reward of {largest:.3g}, where none was beyond {known['reward_max'] / ALONE:.3g} before"
    return _finding(largest, threshold, message, "reward_max")


def _at_once(seen: Seen, scale: float) -> Finding | None:
    last = seen.history[-1].get("reward_scale") if seen.history else None
    if last is not None and scale <= AT_ONCE * last:
        return None
    scales = seen.before("reward_scale")
    if len(scales) < LEAST or scale <= AT_ONCE * max(scales) or not _are_alike(seen, 1):
        return None
    message = f"all rewards are {_times(scale / median(scales))}: reward_scale {scale:.3g}, at most {max(scales):.3g}"
    return _finding(scale, AT_ONCE * max(scales), message, "reward_scale")


def _all(seen: Seen, expected: tuple[float, float]) -> Finding | None:
    if not _are_alike(seen, LONG):
        return None
    scale, usually = seen.row["reward_scale"], median(seen.before("reward_scale")[: 1 - LONG])
    message = f"all rewards have been {_times(scale / usually)} for {LONG} updates: reward_scale {scale:.3g}"
    found = _finding(scale, expected[scale > usually], f"{message}, usually {usually:.3g}", "reward_scale")
    return replace(found, details={**found.details, "onset_update": int(seen.row["update"]) - LONG + 1})


def _are_alike(seen: Seen, newest: int) -> bool:
    """Whether the largest reward is to all of them as it was before the newest updates."""
    rows = [r for r in (*seen.history, seen.row) if r.get("reward_scale") and r.get("reward_max") is not None]
    crests = [_crest(row) for row in rows]
    now, before = median(crests[-newest:]), median(crests[:-newest])
    return before / ALIKE < now < ALIKE * before


def _crest(row: Mapping[str, Any]) -> float:
    return float(row["reward_max"] / row["reward_scale"])


def _times(ratio: float) -> str:
    return f"{ratio:.2g} times as large" if ratio > 1 else f"{1 / ratio:.2g} times smaller"


def _finding(value: float, threshold: float, message: str, quantity: str) -> Finding:
    return Finding(
        event=RewardOutlier.name,
        value=value,
        threshold=threshold,
        message=message,
        details={"quantity": quantity},
    )
