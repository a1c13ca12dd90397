"""Numbers as a reader wants to see them."""

import math
from collections.abc import Sequence

from rl_lab.report.statistics import Interval

UNKNOWN = "–"


def amount(value: float | None, digits: int = 3) -> str:
    """Three significant digits, no exponent between 0.0001 and a million: 0.0213, 83.1, 2,100."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if not -4 <= power < 6:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    rounded = round(value, digits - 1 - power)
    return f"{rounded:,.{max(digits - 1 - power, 0)}f}".replace("-", "−")


def percent(rate: float | None) -> str:
    """A rate in whole percent; below ten with one digit where that says more: 71 %, 2.4 %."""
    if rate is None:
        return UNKNOWN
    value = 100 * rate
    if 0 < value < 0.05:
        return "under 0.1 %"
    return f"{value:.1f} %" if 0 < value < 9.95 else f"{value:.0f} %"


def span(interval: Interval | None) -> str:
    """An interval as [low, high]."""
    return f"[{amount(interval.low)}, {amount(interval.high)}]" if interval else UNKNOWN


def enumeration(words: Sequence[str]) -> str:
    """A, B and C."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def plural(number: int, noun: str) -> str:
    """1 run, 2 runs."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
