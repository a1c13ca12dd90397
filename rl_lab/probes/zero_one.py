"""The 0-1 test: chaotic or regular, from one series of numbers and nothing else.

The series drives a walk in the plane whose step turns by an angle c each time. A chaotic series makes it
diffuse, a regular one keeps it bounded: K is the correlation of its mean square displacement with time, 1 or 0.
Source: Gottwald and Melbourne, SIAM Journal on Applied Dynamical Systems 8, 129 (2009), the modified test with
the oscillating term removed and the median over c.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.system import Floats

ANGLES = (np.pi / 5, 4 * np.pi / 5)
"""Away from 0, pi and their neighbourhood, where every series resonates."""
FINEST = 10.0
"""A series whose range is more than this many times its mean change per sample is sampled too finely."""


@dataclass(frozen=True)
class ZeroOne:
    """K near 1: chaotic. K near 0: regular. In between, or with a note: no verdict."""

    value: float
    """Median over the angles."""
    stderr: float
    """Of the median, from the spread over the angles (they share one series: no error of the series itself)."""
    correlations: Floats
    """One K per angle."""
    samples: int
    note: str | None = None
    unit: str = "correlation, between -1 and 1"

    @property
    def chaotic(self) -> bool | None:
        """The verdict, or None: undecided."""
        if self.note is not None or 0.2 < self.value < 0.8:
            return None
        return self.value >= 0.8

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "value": self.value,
            "stderr": self.stderr,
            "unit": self.unit,
            "chaotic": self.chaotic,
            "angles": len(self.correlations),
            "samples": self.samples,
            "note": self.note,
        }


def zero_one(series: Floats, *, angles: int = 100, seed: int = 0) -> ZeroOne:
    """Test one series [n], n at least 500; take every `stride(series)`-th sample of a flow."""
    values = np.asarray(series, dtype=np.float64)
    if values.ndim != 1 or len(values) < 500 or not np.isfinite(values).all() or np.ptp(values) == 0:
        raise ValueError(
            f"the 0-1 test needs one series of at least 500 finite, varying numbers, got shape {values.shape}"
        )
    turns = np.random.default_rng(seed).uniform(*ANGLES, size=angles)
    found = np.array([_correlation(values, turn) for turn in turns])
    spread = float(np.diff(np.quantile(found, (0.1587, 0.8413)))[0]) / 2
    note = None
    if (needed := stride(values)) > 1:
        note = (
            f"the series is sampled too finely (a flow?): every chaotic series looks regular then; take every "
            f"{needed}th sample or fewer and test again"
        )
    return ZeroOne(
        float(np.median(found)), float(np.sqrt(np.pi / 2)) * spread / angles**0.5, found, len(values), note
    )


def stride(series: Floats) -> int:
    """Smallest distance between samples at which the mean change is at least a tenth of the range."""
    reach = np.ptp(series)
    for step in range(1, max(2, len(series) // 10)):
        if np.abs(series[step:] - series[:-step]).mean() * FINEST >= reach:
            return step
    return max(1, len(series) // 10)


def _correlation(values: Floats, turn: float) -> float:
    """K of one angle: lags up to a tenth of the series."""
    count, lags = len(values), np.arange(1, len(values) // 10 + 1)
    walk = np.cumsum(values * np.exp(1j * turn * np.arange(1, count + 1)))
    kept = count - lags[-1]
    start = walk[:kept]
    displacement = np.array([np.mean(np.abs(walk[lag : lag + kept] - start) ** 2) for lag in lags])
    oscillation = values.mean() ** 2 * (1 - np.cos(lags * turn)) / (1 - np.cos(turn))
    return float(np.corrcoef(lags, displacement - oscillation)[0, 1])
