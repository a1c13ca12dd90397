"""A gradient explosion: gradients many times as long as they were, and not because the returns grew."""

import math
from collections.abc import Sequence

import numpy as np

from rl_lab.monitor.detect.usual import WINDOW, Lasting, median, usual
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding

COLUMNS = ("gradient_norm_policy_max", "gradient_norm_value_max", "gradient_norm_max", "gradient_norm")
"""Policy and value apart, because the value function's gradient is often a hundred times the policy's and hides it."""
FACTOR = 50.0
"""Times the usual length below which nothing has exploded: the largest of a few hundred minibatches varies by five, and
where a penalty on the KL meets a step that was too long, by fifty."""
SCORE = 6.0
"""Robust standard deviations in log space."""
SCALE = {"gradient_norm_policy_max": "advantage_scale"}
"""What a gradient is proportional to, if not to return_scale."""


class GradientExplosion(Detector):
    """Judges gradient norms before clipping, as they are and in units of what they are made from.

    The gradient of a squared value error is proportional to the returns: where those grow fiftyfold, because the
    agent has found the reward, the gradient may, and both must have left what is usual.
    """

    name = "gradient_explosion"

    def __init__(self) -> None:
        self._lasting = Lasting()

    def observe(self, seen: Seen) -> list[Finding]:
        """One finding, of the column that is farthest beyond its threshold."""
        columns = [c for c in COLUMNS if seen.row.get(c) is not None]
        found = [f for c in columns[:2] if (f := _judge(seen, c)) is not None]
        worst = max(found, key=lambda f: f.value / (f.threshold or 1.0), default=None)
        return self._lasting.new(worst)


def _judge(seen: Seen, column: str) -> Finding | None:
    norm = seen.row[column]
    last = seen.history[-1].get(column) if seen.history else None
    if last is not None and norm <= last:
        return None  # it has not grown at all
    past = seen.before(column, WINDOW)
    plain = _times(past, norm)
    if plain is None or plain <= 1 or not math.isfinite(norm):
        return None
    scale = SCALE.get(column, "return_scale")
    relative = _relative(seen, column, scale)
    if relative is not None and relative <= 1:
        return None
    centre = median(past)
    minibatch = _where(seen, column)
    return Finding(
        event=GradientExplosion.name,
        value=norm,
        threshold=norm / plain,
        message=f"{column} {norm:.3g} against a threshold of {norm / plain:.2g}, usually {centre:.2g}",
        minibatch=minibatch,
        epoch=_epoch(seen, minibatch),
        details={"quantity": column},
    )


def _times(past: Sequence[float], value: float) -> float | None:
    """value over its threshold, the larger of 50 times and 6 robust deviations above what was usual."""
    band = usual(past)
    return None if band is None else value / max(band.above(SCORE), FACTOR * band.centre, 1e-300)


def _relative(seen: Seen, column: str, scale: str) -> float | None:
    """The same of column / scale; None where there is no scale."""
    rows = [*seen.history[-WINDOW:], seen.row]
    pairs = [(row.get(column), row.get(scale)) for row in rows]
    ratios = [n / s for n, s in pairs if n is not None and s and math.isfinite(n / s)]
    return _times(ratios[:-1], ratios[-1]) if ratios and pairs[-1][1] else None


def _where(seen: Seen, column: str) -> int | None:
    """The minibatch with the longest gradient."""
    if seen.update is None or seen.update.gradients is None:
        return None
    part = "policy" if "policy" in column else "value" if "value" in column else "all"
    norms = seen.update.gradients.total(part)
    return int(np.argmax(norms)) if len(norms) else None


def _epoch(seen: Seen, minibatch: int | None) -> int | None:
    path = None if seen.update is None else seen.update.path
    return None if path is None or minibatch is None else path.epoch_of(minibatch + 1)
