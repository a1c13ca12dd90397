"""What left its own normal band before an event, and how many updates ahead."""

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rl_lab.monitor.detect.usual import median

WINDOW, LEAST = 30, 8
"""Updates whose values make the normal band, and the least number needed for one."""
AHEAD = 10
"""Updates before the event that are searched; the band is made of those before them. Of a short run it is less."""
GAP = 1
"""Updates for which a quantity may be back inside its band, or was not measured, without having been normal again."""
SCORE, FEW = 6.0, 60.0
"""Robust standard deviations at which a value has left its band: 6 + 60 / n with n values in the band."""
MIN_SPREAD = 0.1
"""Smallest deviation assumed, relative to the median, so that a constant does not make every change news."""
NO_QUANTITIES = frozenset(
    {
        "update",
        "env_steps",
        "seconds",
        "episodes",
        "minibatches",
        "gradient_steps",
        "epochs",
        "taken_back",
        "return_stderr",
    }
    | {"kl_k1", "kl_k3", "kl_k1_error", "kl_k3_error", "approx_kl_error"}
    | {
        f"train/{n}"
        for n in ("n_updates", "loss", "explained_variance", "grad_norm", "approx_kl", "entropy_loss", "std")
    }
    | {"train/policy_gradient_loss"}
)
"""Columns that count or time, estimates of what is measured exactly beside them, and what an algorithm logs of it."""
NEWS = {
    "first_kl": 1e-4,
    "kl_k": 1e-2,
    "kl_path": 1e-2,
    "kl": 1e-3,
    "probe_kl": 1e-3,
    "reverse_kl": 1e-3,
    "train/approx_kl": 1e-2,
    "approx_kl": 1e-2,
    "first_ratio": 1e-2,
    "ratio": 0.1,
    "total_variation": 0.02,
    "effective_sample": 0.05,
    "explained": 0.3,
    "train/explained": 0.3,
    "train/clip_fraction": 0.1,
    "observation_outside": 0.5,
    "observation_jump": 1.0,
    "dormant": 0.05,
    "saturated": 0.05,
    "gradient_clipped": 0.2,
    "feature_rank_99": 1.5,
    "entropy": 0.1,
    "probe_entropy": 0.1,
    "log_std": 0.3,
}
"""By the beginning of a name, the longest that fits: the least distance from the median that is news, in the column's
own unit. A KL that goes from 1e-9 to 1e-7 has left its band and says nothing."""
COMPLEMENTS = frozenset({"effective_sample_size", "explained_variance"})
"""Columns that are at most 1, and usually close to it: what is judged is their distance from it."""
KNOWN_BEFORE = frozenset(
    {
        "reward_max",
        "reward_scale",
        "paid_max",
        "paid_inside_max",
        "paid_scale",
        "observation_scale",
        "observation_outside",
        "observation_jump",
        "observation_max",
        "return_scale",
        "advantage_scale",
        "value_scale",
        "explained_variance",
        "first_ratio_error",
        "first_kl",
        "train/learning_rate",
        "train/clip_range",
    }
)
"""What an update's own rollout shows before its first gradient step: the only columns of the event's own update that
may have warned of it."""


@dataclass(frozen=True, kw_only=True)
class Precursor:
    """One quantity that was out of its band from some update on until the event."""

    quantity: str
    lead: int
    """Updates from the first of them to the event; 0 is the rollout of the event's own update."""
    value: float
    """What it was then."""
    low: float
    high: float
    """Ends of its normal band at that update."""

    def sentence(self) -> str:
        """Half a sentence for people."""
        usual = f"at most {self.high:.3g}" if not self.value < self.low else f"at least {self.low:.3g}"
        own = "in that very update" if self.quantity.startswith("train/") else "in its own rollout"
        when = f"{self.lead} update{'s' * (self.lead > 1)} ahead" if self.lead else own
        return f"{self.quantity} {when} ({self.value:.3g}, usually {usual})"


OWN: Mapping[str, frozenset[str]] = {
    "performance_collapse": frozenset({"return_mean", "return_smooth", "length_mean"}),
    "observation_shift": frozenset(
        {"observation_scale", "observation_max", "observation_outside", "observation_jump"}
    ),
    "reward_outlier": frozenset({"reward_max", "reward_scale", "paid_max", "paid_inside_max", "paid_scale"}),
    "invariant_break": frozenset({"first_ratio_error", "first_kl"}),
}
"""Columns that are the event itself, and cannot warn of it."""
UNWARNED = frozenset({"recovery"})
"""Events that nobody needs to be warned of."""


def precursors_of(
    event: str, details: Mapping[str, Any], update: int, rows: Sequence[Mapping[str, Any]]
) -> tuple[Precursor, ...]:
    """The precursors of an event found at an update: before it began, where its details say when that was."""
    if event in UNWARNED:
        return ()
    own = OWN.get(event, frozenset()) | {str(details.get("quantity"))}
    found = precursors(rows, int(details.get("onset_update", update)), own)
    # What the rollout of a collapse shows is the collapse.
    return tuple(p for p in found if p.lead > 0 or event != "performance_collapse")


def precursors(
    rows: Sequence[Mapping[str, Any]], at: int | None = None, without: Container[str] = ()
) -> list[Precursor]:
    """Quantities that left their band before the event and were still out of it when it came, the earliest first.

    Args:
        rows: records in order, the newest last.
        at: the update of the event, or at which it began; rows after it are not looked at. None: the last row's.
        without: columns that are the event itself.

    The band of a quantity is made of up to 30 updates that end 10 before the event (`band`).
    """
    at = int(rows[-1]["update"]) if at is None and rows else at
    rows = [row for row in rows[-WINDOW - AHEAD - 1 :] if at is not None and row["update"] <= at]
    ahead = min(AHEAD, len(rows) - 1 - LEAST)
    if at is None or ahead < 1:
        return []
    updates = [int(row["update"]) for row in rows]
    own = int(updates[-1] == at)
    names = {n for row in rows for n, v in row.items() if _is_number(v)} - NO_QUANTITIES
    found = []
    for name in (n for n in names if n not in without):
        values = [row.get(name) for row in rows[: len(rows) - own * (name not in KNOWN_BEFORE)]]
        flips = name in COMPLEMENTS
        judged = [1 - v if flips and v is not None else v for v in values]
        start = _first_outside(updates, judged, len(rows) - own - ahead, news(name))
        if start is None:
            continue
        place, *ends = start
        low, high = sorted(1 - end for end in ends) if flips else ends
        value = float(values[place] or 0.0)
        found.append(Precursor(quantity=name, lead=at - updates[place], value=value, low=low, high=high))
    return sorted(found, key=lambda p: (-p.lead, p.quantity))


def _first_outside(
    updates: Sequence[int], values: Sequence[float | None], split: int, least: float
) -> tuple[int, float, float] | None:
    """Place of the first value after the split from which on all are outside, with its band; None if there is none."""
    normal = [(t, v) for t, v in zip(updates[:split], values[:split], strict=False) if _is_finite(v)]
    if len(normal) < LEAST:
        return None
    limits = band([t for t, _ in normal], [v for _, v in normal if v is not None], least)
    first, within = None, 0
    for place in range(len(values) - 1, split - 1, -1):
        value = values[place]
        if value is None:  # not measured: neither in nor out
            continue
        low, high = limits(updates[place])
        if not low <= value <= high:
            first, within = (place, low, high), 0
            continue
        within += 1
        if first is None or within > GAP:
            break
    return first


def band(
    times: Sequence[int], values: Sequence[float], least: float = 0.0
) -> Callable[[int], tuple[float, float]]:
    """The lowest and highest normal value at a time, as a function of it, from values at earlier times.

    Median ± (6 + 60 / n) times 1.4826 MAD, of the logarithm where all n values are positive; few of them are a poor
    measure of their own scatter. What drifts goes on drifting or comes to rest, and either is normal: the band
    reaches from the median to where the line through the medians of the first and the last third leads, and as far
    beyond as values scatter about that line. `least`: half-width at least.
    """
    positive = all(v > 0 for v in values)
    scaled = [math.log(v) for v in values] if positive else list(values)
    flat, third = median(scaled), max(len(values) // 3, 1)
    gap = median(times[-third:]) - median(times[:third])
    slope = (median(scaled[-third:]) - median(scaled[:third])) / gap if gap > 0 else 0.0
    middle = median(times)
    rest = [v - slope * (t - middle) for t, v in zip(times, scaled, strict=True)]
    centre = median(rest)
    scatter = 1.4826 * median([abs(v - centre) for v in rest])
    reach = (SCORE + FEW / len(values)) * max(scatter, MIN_SPREAD * (1 if positive else abs(flat)), 1e-12)

    def limits(time: int) -> tuple[float, float]:
        line = centre + slope * (time - middle)
        low, high, usually = min(line, flat) - reach, max(line, flat) + reach, flat
        if positive:
            low, high, usually = math.exp(max(low, -700.0)), math.exp(min(high, 700.0)), math.exp(flat)
        return min(low, usually - least), max(high, usually + least)

    return limits


def news(name: str) -> float:
    """The least distance from the median that is news, in the column's unit; 0 where none is known."""
    fits = [start for start in NEWS if name.startswith(start)]
    return NEWS[max(fits, key=len)] if fits else 0.0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
