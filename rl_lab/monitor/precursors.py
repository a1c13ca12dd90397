"""What left its own normal band before an event, and how many updates ahead."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WINDOW, LEAST = 30, 8
"""Updates whose values make the normal band, and the least number needed for one."""
AHEAD = 10
"""Updates before the event that are searched; the band is made of those before them."""
SCORE = 5.0
"""Robust standard deviations at which a value has left its band."""
MIN_SPREAD = 0.1
"""Smallest deviation assumed, relative to the median, so that a constant does not make every change news."""
NO_QUANTITIES = ("update", "env_steps", "seconds", "episodes", "minibatches")
"""Columns that count or time."""


@dataclass(frozen=True, kw_only=True)
class Precursor:
    """One quantity that was out of its band from some update on until the event."""

    quantity: str
    lead: int
    """Updates from the first of them to the event; 0 is the event's own update."""
    value: float
    """What it was then."""
    low: float
    high: float


def precursors(rows: Sequence[Mapping[str, Any]]) -> list[Precursor]:
    """Quantities that left median ± 5 robust deviations and stayed out until the last row, the earliest first.

    The band of a quantity is made of up to 30 updates that end 10 before the event.
    """
    *_, last = rows
    names = [n for n, v in last.items() if isinstance(v, int | float) and n not in NO_QUANTITIES]
    found = [p for name in names if (p := _of_quantity(name, rows)) is not None]
    return sorted(found, key=lambda p: (-p.lead, p.quantity))


def _of_quantity(name: str, rows: Sequence[Mapping[str, Any]]) -> Precursor | None:
    values = np.array([_number(row.get(name)) for row in rows])
    before, recent = values[:-AHEAD][-WINDOW:], values[-AHEAD:]
    before = before[np.isfinite(before)]
    if len(before) < LEAST:
        return None
    low, high = band(before)
    outside = ~((recent >= low) & (recent <= high))
    if not outside[-1]:
        return None
    lead = 0
    while lead + 1 < len(outside) and outside[-lead - 2]:
        lead += 1
    return Precursor(quantity=name, lead=lead, value=float(recent[-lead - 1]), low=low, high=high)


def band(values: "np.ndarray[Any, np.dtype[np.float64]]") -> tuple[float, float]:
    """Median ± 5 times 1.4826 MAD; of the logarithm where all values are positive."""
    positive = bool((values > 0).all())
    scaled = np.log(values) if positive else values
    median = float(np.median(scaled))
    least = MIN_SPREAD if positive else MIN_SPREAD * abs(median)
    spread = SCORE * max(1.4826 * float(np.median(np.abs(scaled - median))), least, 1e-12)
    low, high = median - spread, median + spread
    return (math.exp(low), math.exp(min(high, 700.0))) if positive else (low, high)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
