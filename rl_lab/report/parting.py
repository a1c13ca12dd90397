"""How fast two runs part once they differ: their columns side by side, and a rate if the difference grows steadily."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rl_lab.report.statistics import Interval

Row = Mapping[str, Any]
CHOICES = (
    ("kl_mean", "probe_kl_mean", "action_drift", "greedy_changed"),
    ("step_norm",),
    ("value_scale", "q_scale"),
    ("return_smooth",),
)
"""Columns that are set side by side: of each group the first that both runs have."""
LATE = "return_smooth"
"""Not fitted: a mean over episodes that ended long before is late and moves in jumps."""
PARTED = 0.1
"""Relative difference at which two runs are no longer neighbours; growth is fitted below it."""
LEAST = 8
"""Updates that a rate needs."""


@dataclass(frozen=True)
class Pair:
    """One column of both runs in one update."""

    a: float
    b: float

    @property
    def relative(self) -> float:
        """|a - b| / max(|a|, |b|); 0 where they are the same, also both NaN; NaN where one is not finite."""
        if self.a == self.b or (math.isnan(self.a) and math.isnan(self.b)):
            return 0.0
        if not (math.isfinite(self.a) and math.isfinite(self.b)):
            return math.nan
        return abs(self.a - self.b) / max(abs(self.a), abs(self.b))


@dataclass(frozen=True)
class Gap:
    """Both runs in one update, so many updates after the first that differed."""

    update: int
    after: int
    columns: Mapping[str, Pair]


@dataclass(frozen=True)
class Growth:
    """The relative difference as exp(rate * update)."""

    rate: float
    """Per update."""
    interval: Interval
    """95 %, for residuals that may be correlated from update to update."""
    first: int
    last: int
    """The updates it is fitted to."""

    @property
    def is_exponential(self) -> bool:
        """Whether a rate of 0 is excluded."""
        return self.interval.low > 0


def columns_of(rows: Sequence[tuple[Row, Row]]) -> list[str]:
    """The columns that are set side by side."""
    found = []
    for group in CHOICES:
        both = (name for name in group if any(_number(a, name) and _number(b, name) for a, b in rows))
        found += list(both)[:1]
    return found


def gaps(rows: Sequence[tuple[Row, Row]]) -> list[Gap]:
    """Pairs of rows, from the first update that differs on, as gaps."""
    names = columns_of(rows)
    start = int(rows[0][0]["update"]) if rows else 0
    return [
        Gap(
            int(a["update"]),
            int(a["update"]) - start,
            {n: Pair(float(a[n]), float(b[n])) for n in names if _number(a, n) and _number(b, n)},
        )
        for a, b in rows
    ]


def shown(all_gaps: Sequence[Gap]) -> list[Gap]:
    """Those 0, 1, 2, 5, 10, 20, 50, ... updates after the first."""
    wanted = {0} | {step * 10**power for power in range(9) for step in (1, 2, 5)}
    return [gap for gap in all_gaps if gap.after in wanted]


def parted(all_gaps: Sequence[Gap]) -> int | None:
    """The first update in which the difference has reached a tenth, None if it never has."""
    return next((gap.update for gap in all_gaps if distance(gap) >= PARTED), None)


def distance(gap: Gap) -> float:
    """Geometric mean of the relative differences that are not 0; NaN where there is none."""
    relatives = [pair.relative for name, pair in gap.columns.items() if name != LATE]
    logs = [math.log(r) for r in relatives if r > 0]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def growth(all_gaps: Sequence[Gap]) -> Growth | None:
    """The rate at which the difference grows until the runs have parted; None where too few updates say it."""
    end = parted(all_gaps)
    near = [g for g in all_gaps if (end is None or g.update < end) and distance(g) > 0]
    if len(near) < LEAST:
        return None
    updates = np.array([gap.update for gap in near], dtype=np.float64)
    rate, error = slope(updates, np.log([distance(gap) for gap in near]))
    half = float(stats.t.ppf(0.975, len(near) - 2)) * error
    return Growth(rate, Interval(rate - half, rate + half), near[0].update, near[-1].update)


def slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Least squares slope and its standard error, widened by sqrt((1 + r) / (1 - r)) for residuals that are
    correlated from one to the next by r > 0 (at most 0.9)."""
    away = x - x.mean()
    rate = float(away @ y / (away @ away))
    left = y - y.mean() - rate * away
    square = float(left @ left)
    correlation = float(left[1:] @ left[:-1]) / square if square > 0 else 0.0
    r = min(max(correlation, 0.0), 0.9)
    error = math.sqrt(square / (len(x) - 2) / float(away @ away) * (1 + r) / (1 - r))
    return rate, error


def _number(row: Row, name: str) -> bool:
    value = row.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool)
