"""Performance collapse: the agent could do the task, and then could not, for good or for a while."""

import math
from dataclasses import dataclass

from rl_lab.monitor.detect.standing import Standing, is_clear, relative_drop
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding
from rl_lab.monitor.measure.returns import WINDOW, Mean

DROP = 0.5
"""Share of the way back to a random policy that makes a collapse."""
RECOVERED = 0.25
"""Drop below which a collapsed run has recovered."""


@dataclass
class _Suspicion:
    """A drop that may turn out to last."""

    update: int
    env_steps: int
    episodes: int


class PerformanceCollapse(Detector):
    """A drop of at least half that is clear of noise and still there after a fresh window of episodes.

    Both ends are two windows of episodes that share none: the best was confirmed by a second one, and so is the drop.
    Episodes have ended as they did, whether or not the update that they led to is taken back.
    """

    name = "performance_collapse"
    is_undone = False

    def __init__(self) -> None:
        self._standing = Standing()
        self._suspicion: _Suspicion | None = None
        self._collapsed_at: int | None = None

    def observe(self, seen: Seen) -> list[Finding]:
        """Compare the smoothed return with the best so far, on the scale from best to random."""
        now, random = seen.smooth, seen.random
        if now is None or random is None or now.episodes < WINDOW or not math.isfinite(now.mean):
            return []
        self._standing.see(now, seen.episodes)
        best = self._standing.best
        if best is None or not is_clear(best, random):
            return []  # nothing has been learned yet that could be lost
        drop = relative_drop(best.mean, now.mean, random.mean)
        if self._collapsed_at is not None:
            return self._after_collapse(now, drop)
        if drop < DROP or not is_clear(best, now):
            self._suspicion = None
            return []
        if self._suspicion is None:
            self._suspicion = _Suspicion(seen.row["update"], seen.row["env_steps"], seen.episodes)
        if seen.episodes < self._suspicion.episodes + WINDOW:
            return []
        return [self._collapse(best, now, random, drop, self._suspicion)]

    def _collapse(self, best: Mean, now: Mean, random: Mean, drop: float, onset: _Suspicion) -> Finding:
        self._collapsed_at = onset.update
        return Finding(
            event=self.name,
            value=drop,
            threshold=DROP,
            message=f"return fell from {best.mean:.4g} to {now.mean:.4g}, {drop:.0%} of the way back to a "
            f"random policy ({random.mean:.4g}); it began at update {onset.update}",
            details={
                "onset_update": onset.update,
                "onset_env_steps": onset.env_steps,
                "return_best": best.mean,
                "return_now": now.mean,
                "return_random": random.mean,
            },
        )

    def _after_collapse(self, now: Mean, drop: float) -> list[Finding]:
        if drop > RECOVERED:
            return []
        onset, self._collapsed_at, self._suspicion = self._collapsed_at, None, None
        return [
            Finding(
                event="recovery",
                value=drop,
                threshold=RECOVERED,
                message=f"return is back at {now.mean:.4g}; the collapse had begun at update {onset}",
                details={"onset_update": onset},
            )
        ]
