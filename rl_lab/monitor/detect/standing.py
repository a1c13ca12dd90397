"""Where a run's return stands between a random policy and its own best."""

import math

from rl_lab.monitor.measure.returns import WINDOW, Mean

SIGNIFICANCE = 3.0
"""Standard errors by which a difference of returns must exceed its noise."""
NEAR = 0.2
"""Share of the way back to a random policy within which a run counts as at its best."""


def relative_drop(best: float, now: float, random: float) -> float:
    """(R_best - R_now) / (R_best - R_rand): 0 as good as ever, 1 as bad as chance.

    Unchanged when all returns are scaled or shifted alike, so it works where returns are negative.
    """
    return (best - now) / (best - random)


def is_clear(better: Mean, worse: Mean) -> bool:
    """Whether better - worse exceeds three standard errors of the difference."""
    return better.mean - worse.mean > SIGNIFICANCE * math.hypot(better.stderr, worse.stderr)


class Standing:
    """Follows the smoothed return and remembers the best that was no luck.

    The best of many noisy means is the luckiest of them, and lies above what the policy can do. So a mean counts as
    reached once a fresh window of episodes, none of them in the first, has confirmed it: of both windows the worse.
    """

    def __init__(self) -> None:
        self.best: Mean | None = None
        self._past: list[tuple[int, Mean]] = []

    def see(self, now: Mean, episodes: int) -> None:
        """The smoothed return when so many episodes had ended; call it once an update."""
        if now.episodes < WINDOW or not math.isfinite(now.mean):
            return
        disjoint = [mean for ended, mean in self._past if ended <= episodes - WINDOW]
        if disjoint:
            worse = min(disjoint[-1], now, key=lambda mean: mean.mean)
            if self.best is None or worse.mean > self.best.mean:
                self.best = worse
            del self._past[: len(disjoint) - 1]
        self._past.append((episodes, now))

    def is_at_best(self, now: Mean | None, random: Mean | None) -> bool | None:
        """Whether something was learned and is still there; None where that cannot be said."""
        if now is None or random is None or now.episodes < WINDOW:
            return None
        if self.best is None or not is_clear(self.best, random):
            return False
        return relative_drop(self.best.mean, now.mean, random.mean) < NEAR
