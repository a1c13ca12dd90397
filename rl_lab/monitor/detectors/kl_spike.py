"""A KL spike: one update moved the policy much further than the updates before it, or simply too far."""

import math
from collections import deque

import numpy as np

from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding

FLOOR = 0.05
"""Nats. Below it no update is a spike: five times TRPO's usual limit, the upper end of healthy PPO."""
CEILING = 1.0
"""Nats. Above it every update is one, whatever came before: by Pinsker's inequality the new policy may
then differ in total variation by up to 0.7, and nothing of the rollout can be trusted."""
SCORE = 4.0
"""Robust standard deviations in log space that make a spike between floor and ceiling."""
WINDOW, LEAST = 20, 5
"""Updates in the trailing window, and the least number needed to judge by it."""
MIN_SPREAD = 0.25
"""Smallest log-space deviation assumed, so that a very steady run does not make every wiggle a spike."""


def spike_threshold(trailing: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> float:
    """The KL above which the next update is a spike, nats.

    exp(median + 4 max(1.4826 MAD, 0.25)) of log KL over the trailing window, kept within [0.05, 1].
    """
    if len(trailing) < LEAST:
        return CEILING
    logs = np.log(np.maximum(trailing, 1e-12))
    median = np.median(logs)
    spread = max(1.4826 * float(np.median(np.abs(logs - median))), MIN_SPREAD)
    return float(np.clip(math.exp(min(median + SCORE * spread, 50.0)), FLOOR, CEILING))


class KLSpike(Detector):
    """Judges kl_mean of each update against the updates before it."""

    name = "kl_spike"

    def __init__(self) -> None:
        self._trailing: deque[float] = deque(maxlen=WINDOW)

    def observe(self, seen: Seen) -> list[Finding]:
        """A spike is kl_mean above the threshold; NaN is no spike but a non-finite event."""
        kl = seen.row["kl_mean"]
        if kl is None or math.isnan(kl):
            return []
        before = np.array(self._trailing)
        threshold = spike_threshold(before)
        if math.isfinite(kl):
            self._trailing.append(kl)
        if kl <= threshold:
            return []
        usual = f", usually {np.median(before):.2g}" if len(before) else ""
        return [
            Finding(
                event=self.name,
                value=kl,
                threshold=threshold,
                message=f"kl_mean {kl:.3g} nats against a threshold of {threshold:.2g}{usual}; "
                f"kl_max {seen.row['kl_max']:.3g}, ratio up to {seen.row['ratio_max']:.3g}",
                details={"worst_states": _worst_states(seen), "kl_per_dimension": _dimensions(seen)},
            )
        ]


def _worst_states(seen: Seen, count: int = 3) -> list[dict[str, object]]:
    kl = seen.update.step.kl
    rollout = seen.update.rollout
    worst = np.argsort(kl)[::-1][:count]
    return [
        {
            "row": int(i),
            **rollout.place(int(i)),
            "kl": float(kl[i]),
            "observation": rollout.observation(int(i)),
        }
        for i in worst
    ]


def _dimensions(seen: Seen) -> list[float]:
    return [float(v) for v in seen.update.step.kl_per_dimension.mean(axis=0)]
