"""An entropy collapse: the policy has stopped exploring, all at once or without having learned the task."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rl_lab.monitor.detect.standing import Standing
from rl_lab.monitor.detect.usual import LEAST, TINY, Lasting, median
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding

SHARE = 0.01
"""What is left of the most it had: of the entropy of discrete actions, of a Gaussian's smallest standard deviation."""
SUDDEN = 0.05
"""What is left of the usual entropy of discrete actions when it is lost at once."""
SUDDEN_STD = math.exp(-2.0)
"""The same for a standard deviation. One update of healthy PPO changes it by a few percent."""
USUAL_SHARE = 0.2
"""An entropy that was below this share of the most it had cannot be lost at once: it was nearly lost before."""
LONG = 3
"""Updates for which a slow loss must last."""


class EntropyCollapse(Detector):
    """Judges entropy, of discrete actions, or log_std_min, of Gaussian ones: the dimension that explores least.

    A policy that has learned its task may be as certain as it likes: where the return is at its best, a slow loss is
    no event, nor where nobody can say how good it is. A sudden one is, because nothing is learned in one update.
    """

    name = "entropy_collapse"

    def __init__(self) -> None:
        self._standing = Standing()
        self._most = 0.0
        self._slow, self._sudden = Lasting(begins=LONG), Lasting()

    def observe(self, seen: Seen) -> list[Finding]:
        """At most one finding, when it begins."""
        now = seen.smooth
        if now is not None:
            self._standing.see(now, seen.episodes)
        column, left = _exploration(seen.row)
        if left is None or math.isnan(left):
            return []
        self._most = max(self._most, left)
        if self._most <= 0:
            return []
        recent = [_exploration(row)[1] for row in seen.history[-LEAST:]]
        before = [v for v in recent if v is not None and not math.isnan(v)]
        usually = median(before) if len(before) == LEAST else math.nan
        reference = min(usually, _expected(before)) if len(before) == LEAST else math.nan
        share = SUDDEN_STD if column == "log_std_min" else SUDDEN
        sudden = left < share * reference and usually > USUAL_SHARE * self._most
        slow = left < SHARE * self._most and self._standing.is_at_best(now, seen.random) is False
        began = [self._sudden.begins(sudden), self._slow.begins(slow)]
        if began[0]:
            return [
                self._finding(
                    column, left, share * reference, f"usually {usually:.3g}, {before[-1]:.3g} just before"
                )
            ]
        if began[1] and not sudden:
            return [self._finding(column, left, SHARE * self._most, f"at most {self._most:.3g} before")]
        return []

    def _finding(self, column: str, left: float, threshold: float, compared: str) -> Finding:
        words = "smallest standard deviation" if column == "log_std_min" else "entropy"
        return Finding(
            event=self.name,
            value=left,
            threshold=threshold,
            message=f"{words} {left:.3g} against a threshold of {threshold:.2g}, {compared}",
            details={"quantity": column},
        )


def _expected(before: Sequence[float]) -> float:
    """What is left if it goes on falling as in the update before: what is lost ever faster, as on a small task that is
    learned fast, is not lost at once."""
    return before[-1] ** 2 / max(before[-2], before[-1], TINY)


def _exploration(row: Mapping[str, Any]) -> tuple[str, float | None]:
    """The column, and in its terms how much the policy still tries: a standard deviation, or nats."""
    log_std = row.get("log_std_min")
    if log_std is not None:
        return "log_std_min", math.exp(min(log_std, 700.0))
    return "entropy", row.get("entropy")
