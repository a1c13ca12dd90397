"""A rank collapse: the network has fewer and fewer features to tell states apart by."""

import math
from typing import Any

from rl_lab.monitor.detect.standing import Standing
from rl_lab.monitor.detect.usual import LEAST, Lasting
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding
from rl_lab.monitor.quantities import NotApplicable

RANKS = ("feature_rank", "value_feature_rank")
LEFT = 1 / 3
"""Share of the best rank that makes a collapse. The rank also falls, by half, where a good policy sees ever the same
states."""
DORMANT = 0.5
"""Share of units that must have gone to sleep since the fewest slept."""
LONG = 5
"""Updates in a row."""


class RankCollapse(Detector):
    """Judges feature_rank, value_feature_rank and dormant_share, which are measured at the level full.

    The best rank is the best of five updates' least, so that one lucky rollout does not raise it. While the return is
    at its best, states that are all alike are the usual reason, and nothing is said; nor where
    nobody can say how good it is.
    """

    name = "rank_collapse"

    def __init__(self) -> None:
        self._standing = Standing()
        self._best: dict[str, float] = {}
        self._recent: dict[str, list[float]] = {}
        self._fewest = math.inf
        self._lasting = Lasting(begins=LONG)

    def observe(self, seen: Seen) -> list[Finding]:
        """At most one finding, once it has lasted for five updates."""
        if all(seen.row.get(column) is None for column in (*RANKS, "dormant_share")):
            raise NotApplicable
        now = seen.smooth
        if now is not None:
            self._standing.see(now, seen.episodes)
        found = [f for c in RANKS if (f := self._rank(c, seen.row.get(c))) is not None]
        found += self._dormant(seen.row.get("dormant_share"))
        holds = bool(found) and self._standing.is_at_best(now, seen.random) is False
        return found[:1] if self._lasting.begins(holds) else []

    def _rank(self, column: str, rank: Any) -> Finding | None:
        if rank is None or not math.isfinite(rank):
            return None
        recent = self._recent.setdefault(column, [])
        recent.append(rank)
        del recent[:-LEAST]
        if len(recent) == LEAST:
            self._best[column] = max(self._best.get(column, 0.0), min(recent))
        best = self._best.get(column)
        if best is None or rank >= LEFT * best:
            return None
        return Finding(
            event=self.name,
            value=rank,
            threshold=LEFT * best,
            message=f"{column} {rank:.3g} for {LONG} updates, of {best:.3g} that it had",
            details={"quantity": column},
        )

    def _dormant(self, share: Any) -> list[Finding]:
        if share is None or not math.isfinite(share):
            return []
        self._fewest = min(self._fewest, share)
        if share < self._fewest + DORMANT:
            return []
        return [
            Finding(
                event=self.name,
                value=share,
                threshold=self._fewest + DORMANT,
                message=f"{share:.0%} of the units dormant for {LONG} updates, of which {self._fewest:.0%} were before",
                details={"quantity": "dormant_share"},
            )
        ]
