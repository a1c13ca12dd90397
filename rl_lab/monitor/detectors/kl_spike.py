"""A KL spike: one update moved the policy much further than the updates before it, or simply too far."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rl_lab.monitor.detect.usual import WINDOW, median, usual
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding
from rl_lab.monitor.measure.path import KLPath
from rl_lab.monitor.measure.update import Update

COLUMNS = ("kl_mean", "probe_kl_mean")
"""The KL over the rollout; where there is none, as off-policy, over the held-out states."""
FLOOR = 0.05
"""Nats. Below it no update is a spike: five times TRPO's usual limit, the upper end of healthy PPO."""
CEILING = 1.0
"""Nats. Above it every update on a rollout is one, whatever came before: by Pinsker's inequality the new policy may
then differ in total variation by up to 0.7, and nothing of the rollout can be trusted."""
SCORE = 6.0
"""Robust standard deviations in log space that make a spike between floor and ceiling."""
THROWN = 8.0
"""Times the third longest parameter step of the window, so that the updates after a throw are judged like it: nobody
then compares the KL with what it usually is."""


def spike_threshold(trailing: Sequence[float], limit: float | None = None, ceiling: float = CEILING) -> float:
    """The KL above which the next update is a spike, nats.

    exp(median + 6 max(1.4826 MAD, 0.25)) of log KL over the trailing window, but at least 0.05 and what the
    rule itself allows, and at most the ceiling.
    """
    band = usual(trailing)
    if band is None:
        return ceiling
    return min(max(band.above(SCORE), FLOOR, limit or 0.0), ceiling)


class KLSpike(Detector):
    """Judges the mean KL of each update against the updates before it."""

    name = "kl_spike"

    def observe(self, seen: Seen) -> list[Finding]:
        """A spike is a mean KL above the threshold; NaN is no spike but a non-finite event."""
        column = next((c for c in COLUMNS if seen.row.get(c) is not None), None)
        if column is None or math.isnan(kl := seen.row[column]):
            return []
        if kl <= FLOOR:
            return []  # most updates end here
        before = seen.before(column, WINDOW)
        # A row of an off-policy run is a thousand gradient steps or so: no number of nats is too much for all of them.
        ceiling = CEILING if column == "kl_mean" else math.inf
        threshold = spike_threshold(before, seen.limits.kl, ceiling)
        thrown = _thrown(seen) if column == "kl_mean" else None
        if thrown is not None:
            threshold = min(threshold, max(FLOOR, seen.limits.kl or 0.0))
        if kl <= threshold:
            return []
        path = _policy_path(seen.update) if column == "kl_mean" else None
        first = path.first_beyond(threshold) if path is not None else None
        return [
            Finding(
                event=self.name,
                value=kl,
                threshold=threshold,
                message=_message(seen, column, threshold, before, thrown),
                epoch=path.epoch_of(first) if path is not None and first is not None else None,
                minibatch=first - 1 if first is not None else None,
                details={"quantity": column, **_worst(seen.update, column), **_along(path)},
            )
        ]


def _thrown(seen: Seen) -> float | None:
    """How many times as long as all but two of the window the parameter step was, if that is far beyond what happens:
    the KL may then look usual by luck, where it ends on a rollout that the policy has long left."""
    steps, step = sorted(seen.before("step_norm", WINDOW)), seen.row.get("step_norm")
    if step is None or len(steps) < WINDOW or not step > THROWN * steps[-3] > 0:
        return None
    return float(step / steps[-3])


def _message(seen: Seen, column: str, threshold: float, before: Sequence[float], thrown: float | None) -> str:
    parts = [f"{column} {seen.row[column]:.3g} nats against a threshold of {threshold:.2g}"]
    if before:
        parts.append(f"usually {median(before):.2g}")
    if thrown is not None:
        parts.append(
            f"the parameters moved {thrown:.2g} times as far as in all but two of the {WINDOW} updates before"
        )
    if seen.limits.kl is not None:
        parts.append(f"the rule's own bound is {seen.limits.kl:.2g}")
    tails = [
        f"{words} {seen.row[tail]:.3g}"
        for tail, words in (
            (column.replace("mean", "max"), "largest of a state"),
            ("ratio_max", "ratio up to"),
        )
        if seen.row.get(tail) is not None
    ]
    return ", ".join(parts) + "".join(f"; {tail}" for tail in tails)


def _policy_path(update: Update | None) -> KLPath | None:
    """The way inside the update, where it is the policy's: TRPO's optimizer only steps the value function."""
    if update is None or update.path is None or not update.path.steps:
        return None
    if update.gradients is not None and not len(update.gradients.total("policy")):
        return None
    return update.path


def _along(path: KLPath | None) -> dict[str, Any]:
    """The mean KL after at most 64 of the gradient steps, which are counted from 1."""
    if path is None:
        return {}
    return {
        "kl_path": [{"step": int(step), "kl_mean": float(kl)} for step, kl in zip(*path.sketch, strict=True)]
    }


def _worst(update: Update | None, column: str, count: int = 3) -> dict[str, Any]:
    """The states whose action distribution moved most, and how far each action dimension did."""
    change = None if update is None else update.step if column == "kl_mean" else update.probe
    if update is None or change is None:
        return {}
    kl, rollout = change.kl, update.rollout if column == "kl_mean" else None
    worst = [{"row": int(i), "kl": float(kl[i])} for i in np.argsort(kl)[::-1][:count]]
    if rollout is not None:
        worst = [
            {**state, **rollout.place(row), "observation": rollout.observation(row)}
            for state in worst
            for row in [int(state["row"])]
        ]
    return {
        "worst_states": worst,
        "kl_per_dimension": [float(v) for v in change.kl_per_dimension.mean(axis=0)],
    }
