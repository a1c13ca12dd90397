"""How fast a quantity grows: log q = a + lambda t, with an interval that knows about autocorrelation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

LEAST = 6
"""Values that a line can be judged by."""
CONFIDENCE = 0.95
MOST_CORRELATED = 0.95
"""Largest lag-1 autocorrelation assumed; of what is nearer to a random walk, a window of 20 tells nothing."""


@dataclass(frozen=True)
class Growth:
    """A line through log q against time."""

    rate: float
    """lambda, per unit of time."""
    low: float
    high: float
    """Ends of its 95 % interval."""
    fit: float
    """Share of the variance of log q that the line explains, R^2."""
    level: float
    """log q on the line at the last time."""
    span: float
    """Time from the first to the last value."""

    @property
    def factor(self) -> float:
        """Growth along the line over the whole window."""
        return math.exp(min(self.rate * self.span, 700.0))

    def until(self, limit: float) -> tuple[float, float, float]:
        """Time from the last value until the line reaches the limit: expected, earliest, latest.

        Infinite where the rate is not positive.
        """
        gap = math.log(limit) - self.level
        times = [gap / rate if rate > 0 else math.inf for rate in (self.rate, self.high, self.low)]
        return times[0], times[1], times[2]


def fit_growth(times: Sequence[float], values: Sequence[float]) -> Growth | None:
    """Least squares of log q on time, [n] positive values; None for fewer than 6.

    Residuals with lag-1 autocorrelation r hold n (1 - r) / (1 + r) independent values; the slope's variance grows by
    the inverse of that factor, and the interval is Student's t with so many degrees of freedom less 2. r is corrected
    for its bias after a line was fitted, (n r + 2) / (n - 4). (Santer et al., J. Geophys. Res. 105, 7337 (2000);
    Kendall, Biometrika 41, 403 (1954).)
    """
    n = len(values)
    if n < LEAST or min(values) <= 0:
        return None
    logs, middle = [math.log(v) for v in values], sum(times) / n
    level = sum(logs) / n
    t, y = [v - middle for v in times], [v - level for v in logs]
    spread, whole = _dot(t, t), _dot(y, y)
    rate = _dot(t, y) / spread
    residual = [v - rate * u for u, v in zip(t, y, strict=True)]
    rest = _dot(residual, residual)
    lag = _dot(residual[1:], residual[:-1]) / rest if rest > 0 else 0.0
    correlated = min(max((n * lag + 2) / (n - 4), 0.0), MOST_CORRELATED)
    shrink = (1 - correlated) / (1 + correlated)
    error = math.sqrt(rest / (n - 2) / spread / shrink)
    reach = error * float(stdtrit(max(n * shrink - 2, 1.0), (1 + CONFIDENCE) / 2))
    return Growth(
        rate,
        rate - reach,
        rate + reach,
        fit=1 - rest / whole if whole > 0 else 0.0,
        level=level + rate * t[-1],
        span=float(times[-1] - times[0]),
    )


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(u * v for u, v in zip(a, b, strict=True))
