"""A broken ratio bound: the tail of the ratio is where a rule that clips said it would not go."""

import math

from rl_lab.monitor.detect.usual import WINDOW, Lasting, usual
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding

FLOOR, CEILING = 5.0, 10.0
"""Clip widths, log ratio / log(1 + clip_range), of the 99th percentile: below the floor no tail is broken, beyond the
ceiling every one is, whatever came before. Clipping takes away the reward for leaving the band and nothing else, so
that the percentile lies at 1 to 2.5 widths in most updates of healthy PPO, and the largest ratio beyond 4: Engstrom et
al. (arXiv:2005.12729) saw 17 to 30 of it in sound runs. A percentile is moved by many samples, a maximum by one."""
LOOSE, LOST = 3.0, 5.0
"""The same for the root mean square deviation of the ratio from its mean, in units of clip_range; a rule that keeps
its promise has at most 1. At 5 x 0.2 half of the samples no longer count."""
MEAN = 1.25
"""The same for the mean |ratio - 1|, in units of clip_range: a rule that keeps its promise has at most 1, and healthy
PPO 0.2 to 0.7. This needs no history."""
NARROWEST = 0.05
"""Least clip_range that is a unit: one that is annealed towards 0 ends below what a single step moves the ratio by."""
SCORE = 4.0
"""Robust standard deviations in log space between floor and ceiling."""
LONG = 10
"""Updates without a break after which the next one is announced again."""


class RatioBreak(Detector):
    """Judges total_variation, ratio_p99 and effective_sample_size against the rule's clip_range and the updates before.

    That many samples are clipped, or that the largest ratio lies beyond 1 + clip_range, is how clipping works and no
    break. The KL may be small: a few states that share parameters with the others are enough.
    """

    name = "ratio_break"

    def __init__(self) -> None:
        self._lasting = Lasting(ends=LONG)

    def observe(self, seen: Seen) -> list[Finding]:
        """One finding where any of the three measures is beyond its threshold."""
        clip_range = seen.limits.clip_range
        p99 = seen.row.get("ratio_p99")
        if not clip_range or p99 is None or math.isnan(p99):
            return []
        width = max(clip_range, NARROWEST)
        found = _of_mean(seen, width) or _of_percentile(seen, width) or _of_spread(seen, width)
        return self._lasting.new(found)


def widths(ratio: float, clip_range: float) -> float:
    """log ratio / log(1 + clip_range): 1 at the upper edge of the band, 0 at ratio 1 and below."""
    return math.log(max(ratio, 1.0)) / math.log1p(clip_range) if ratio < math.inf else math.inf


def spread(effective_sample_size: float) -> float:
    """Standard deviation of the ratio over its mean, sqrt(1 / ESS - 1) with ESS as a share of the rollout."""
    return math.sqrt(max(1 / effective_sample_size - 1, 0.0)) if effective_sample_size > 0 else math.inf


def _of_mean(seen: Seen, width: float) -> Finding | None:
    distance = seen.row.get("total_variation")
    if distance is None or not 2 * distance > MEAN * width:
        return None
    told = f"the mean |ratio - 1| is {2 * distance:.3g} (threshold {MEAN * width:.3g})"
    return _finding(seen, 2 * distance, MEAN * width, "total_variation", told)


def _of_percentile(seen: Seen, width: float) -> Finding | None:
    p99 = seen.row["ratio_p99"]
    if not widths(p99, width) > FLOOR:
        return None
    threshold = _threshold([widths(p, width) for p in seen.before("ratio_p99", WINDOW)], FLOOR, CEILING)
    if not widths(p99, width) > threshold:
        return None
    limit = (1 + width) ** threshold
    told = f"1 % of the ratios are above {p99:.3g} (threshold {limit:.3g})"
    return _finding(seen, p99, limit, "ratio_p99", told)


def _of_spread(seen: Seen, width: float) -> Finding | None:
    share = seen.row.get("effective_sample_size")
    if share is None or not spread(share) / width > LOOSE:
        return None
    past = seen.before("effective_sample_size", WINDOW)
    threshold = _threshold([spread(p) / width for p in past], LOOSE, LOST)
    if not spread(share) / width > threshold:
        return None
    least = 1 / (1 + (threshold * width) ** 2)
    told = (
        f"the ratios are so uneven that only {share:.0%} of the rollout still count (threshold {least:.0%})"
    )
    return _finding(seen, share, least, "effective_sample_size", told)


def _finding(seen: Seen, value: float, threshold: float, quantity: str, told: str) -> Finding:
    row = seen.row
    rest = [f"kl_mean {row['kl_mean']:.2g} nats"] if row.get("kl_mean") is not None else []
    rest += [f"ratio up to {row['ratio_max']:.3g}"] if row.get("ratio_max") is not None else []
    clips = f"although the rule clips at 1 ± {seen.limits.clip_range:.3g}"
    return Finding(
        event=RatioBreak.name,
        value=value,
        threshold=threshold,
        message="; ".join([f"{told} {clips}", *rest]),
        details={"clip_range": seen.limits.clip_range, "quantity": quantity},
    )


def _threshold(past: list[float], floor: float, ceiling: float) -> float:
    """Between floor and ceiling, 4 robust deviations of the logarithm above what was usual; no past: the ceiling."""
    band = usual(past)
    return ceiling if band is None else min(max(band.above(SCORE), floor), ceiling)
