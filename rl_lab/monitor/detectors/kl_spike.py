"""A KL spike: one update moved the policy much further than the updates before it, or simply too far."""

import math
from typing import Any

import numpy as np

from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding
from rl_lab.monitor.update import Update

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

    def observe(self, seen: Seen) -> list[Finding]:
        """A spike is kl_mean above the threshold; NaN is no spike but a non-finite event."""
        kl = seen.row.get("kl_mean")
        if kl is None or math.isnan(kl):
            return []
        before = seen.before("kl_mean", WINDOW)
        threshold = spike_threshold(before)
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
                details=_worst(seen.update),
            )
        ]


def _worst(update: Update | None, count: int = 3) -> dict[str, Any]:
    """The states whose action distribution moved most, and how far each action dimension did."""
    if update is None or update.step is None:
        return {}
    kl, rollout = update.step.kl, update.rollout
    worst = [{"row": int(i), "kl": float(kl[i])} for i in np.argsort(kl)[::-1][:count]]
    if rollout is not None:
        worst = [
            {**state, **rollout.place(row), "observation": rollout.observation(row)}
            for state in worst
            for row in [int(state["row"])]
        ]
    return {
        "worst_states": worst,
        "kl_per_dimension": [float(v) for v in update.step.kl_per_dimension.mean(axis=0)],
    }
