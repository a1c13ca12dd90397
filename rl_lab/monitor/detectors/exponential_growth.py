"""Exponential growth: a quantity has been growing at a constant rate, and the line says where it will end."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rl_lab.monitor.detect.growth import Growth, fit_growth
from rl_lab.monitor.detect.usual import Lasting
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding

WINDOW = 16
"""Updates that the line is drawn through."""
FIT = 0.8
"""Least share of the variance of the logarithm that the line must explain. What slows down, as values do that are being
learned from nothing, bends away from the line; its residuals are then so correlated that the interval holds 0."""
AHEAD = 20.0
"""Updates within which a quantity must be expected to reach its limit, if it has one."""
OVERFLOW = 3.4e38
"""Largest float32."""


@dataclass(frozen=True)
class Quantity:
    """What is followed, and how much of it is growth."""

    column: str
    factor: float
    """Least growth over the window."""
    limit: float | None = None
    """Where it must not go; None: nowhere in particular, but it overflows in the end."""
    exponent: bool = False
    """Whether the column is a logarithm already."""

    def of(self, row: Mapping[str, Any]) -> float | None:
        """The positive number that may grow."""
        value = row.get(self.column)
        if value is None or not math.isfinite(value):
            return None
        value = math.exp(min(value, 700.0)) if self.exponent else value
        return float(value) if value > 0 else None


QUANTITIES = (
    Quantity("kl_mean", 5.0, limit=1.0),
    Quantity("probe_kl_mean", 5.0, limit=1.0),
    Quantity("gradient_norm_policy", 50.0),
    Quantity("gradient_norm_value", 100.0),
    Quantity("value_scale", 5.0),
    Quantity("q_scale", 30.0),
    Quantity("weight_norm", 2.0),
    Quantity("log_std_max", 5.0, exponent=True),
)
"""The limit of a KL is the nat above which kl_spike lets nothing pass. Weights change by a few percent in 16 healthy
updates, standard deviations by less than two; gradients and values by a factor of ten while the agent learns."""


class ExponentialGrowth(Detector):
    """Fits lambda to each quantity; an event where its whole 95 % interval is above 0 and the line fits."""

    name = "exponential_growth"

    def __init__(self) -> None:
        self._lasting = {q.column: Lasting(ends=WINDOW) for q in QUANTITIES}

    def observe(self, seen: Seen) -> list[Finding]:
        """One finding for every quantity that begins to grow."""
        rows = [*seen.history[1 - WINDOW :], seen.row]
        if len(rows) < WINDOW:
            return []
        found = []
        for quantity in QUANTITIES:
            growth = _growth(quantity, rows)
            if self._lasting[quantity.column].begins(growth is not None) and growth is not None:
                found.append(_finding(quantity, growth, seen.row))
        return found


def _growth(quantity: Quantity, rows: list[Mapping[str, Any]]) -> Growth | None:
    last, first = quantity.of(rows[-1]), quantity.of(rows[0])
    if last is None or first is None or last < first * quantity.factor / 2:
        return None  # most updates end here, before anything is fitted
    pairs = [(float(row["update"]), v) for row in rows if (v := quantity.of(row)) is not None]
    if len(pairs) < WINDOW // 2:
        return None
    times, values = [t for t, _ in pairs], [v for _, v in pairs]
    growth = fit_growth(times, values)
    if growth is None or growth.low <= 0 or growth.factor < quantity.factor or growth.fit < FIT:
        return None
    if quantity.limit is not None and growth.until(quantity.limit)[0] > AHEAD:
        return None
    return growth if _is_its_own(quantity, rows[-1]) else None


def _is_its_own(quantity: Quantity, row: Mapping[str, Any]) -> bool:
    """Whether values grow by themselves: then targets, made of discounted values, are smaller than they are. Values
    that are still learning what the returns are lie below them."""
    returns = row.get("return_scale")
    return quantity.column != "value_scale" or returns is None or row["value_scale"] > returns


def _finding(quantity: Quantity, growth: Growth, row: Mapping[str, Any]) -> Finding:
    now = int(row["update"])
    limit = OVERFLOW if quantity.limit is None else quantity.limit
    at, earliest, latest = (now + t for t in growth.until(limit))
    where = f"{limit:.3g}" if quantity.limit is not None else "the largest float32"
    name = f"exp({quantity.column})" if quantity.exponent else quantity.column
    return Finding(
        event=ExponentialGrowth.name,
        value=growth.rate,
        threshold=0.0,
        message=f"{name} grew {growth.factor:.2g}-fold in {growth.span:.0f} updates, each by "
        f"e^{growth.rate:.2g} [{growth.low:.2g}, {growth.high:.2g}]; at that rate it reaches {where} at update "
        f"{_number(at)} [{_number(earliest)}, {_number(latest)}]",
        details={
            "quantity": quantity.column,
            "lambda": growth.rate,
            "low": growth.low,
            "high": growth.high,
            "fit": growth.fit,
            "doubling_updates": math.log(2) / growth.rate,
            "limit": limit,
            "forecast": {"update": at, "low": earliest, "high": latest},
        },
    )


def _number(update: float) -> str:
    return f"{math.ceil(update):,}" if math.isfinite(update) and update < 1e12 else "never"
