"""How good is the alarm? What benchmarks/alarm.py counts in recorded runs, and with which intervals.

An alarm is an event of a detector; `recovery` is none. Healthy updates are all updates of the healthy runs, and any
alarm in them is false, also where a run without a fault lost its performance all by itself. A fault is found if an
event that names it (`counts` of the fault) falls into updates k .. k + WITHIN; its delay is counted from k. A collapse
is a performance_collapse, from its onset on, or the end of a run that went non-finite; it builds up if its onset is at
least BUILDS_UP updates after k, and a warning is an alarm of another detector in k .. onset - 1. Faults that
change the returns themselves, at once, are left out of this: with them nothing builds up.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from faults import FAULTS
from scipy import stats

from rl_lab.monitor.detector import judge, new_detectors
from rl_lab.monitor.measure.distributions import Categorical, Gaussian
from rl_lab.monitor.measure.limits import Limits
from rl_lab.monitor.measure.returns import Mean
from rl_lab.monitor.measure.update import all_quantities
from rl_lab.monitor.quantities import Level
from rl_lab.monitor.record.run_directory import Run, read_run

WITHIN = 10
"""Updates after k in which a fault must be found."""
MOVED = 3.0
"""Healthy updates' KL from its twin beyond which a fault has moved the policy; another rollout alone would by 2."""
BUILDS_UP = 2
"""Updates from the fault to the onset of a collapse that can be warned of."""
FALSE_ALARMS, RECALL, WARNED = 1.0, 0.95, 0.8
"""Targets: false alarms per 1000 healthy updates, share of runs found, share of collapses warned of."""

Interval = tuple[float, float]


def share_interval(hits: int, trials: int) -> Interval:
    """Clopper and Pearson's exact 95 % interval of a share; all of 0..1 without trials."""
    if trials == 0:
        return 0.0, 1.0
    found = stats.binomtest(hits, trials).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


def rate_interval(events: int, exposure: float) -> Interval:
    """Garwood's exact 95 % interval of a Poisson rate, events per unit of exposure.

    [chi2(0.025; 2 n) / 2, chi2(0.975; 2 n + 2) / 2] / exposure, with 0 below where n = 0.
    """
    low = float(stats.chi2.ppf(0.025, 2 * events)) / 2 if events else 0.0
    return low / exposure, float(stats.chi2.ppf(0.975, 2 * events + 2)) / 2 / exposure


@dataclass(frozen=True)
class Alarm:
    """One event of a detector."""

    update: int
    event: str
    onset: int
    """Where it is a collapse, the update with which it began; else `update`."""
    message: str = ""


@dataclass(frozen=True)
class Recorded:
    """A run of the benchmark."""

    task: str
    arm: str
    seed: int
    fault: str | None
    k: int
    rows: Sequence[Mapping[str, Any]]
    alarms: Sequence[Alarm]
    policy: Mapping[str, "np.ndarray[Any, np.dtype[np.float64]]"] = field(default_factory=dict)
    died: bool = False
    """Whether it ended in numbers that are not finite."""

    @property
    def cell(self) -> tuple[str, str, int]:
        """What it shares with its twins."""
        return self.task, self.arm, self.seed

    def within(self) -> list[Alarm]:
        """The alarms that can have found the fault."""
        return [alarm for alarm in self.alarms if self.k <= alarm.update <= self.k + WITHIN]


def load(out: Path, level: Level) -> list[Recorded]:
    """All runs under a folder, judged by the detectors as they are now with what this level measures."""
    hidden = all_quantities(Level.FULL).keys() - all_quantities(level).keys()
    found = []
    for manifest in sorted(out.glob("*/*/s*/*/manifest.json")):
        if manifest.parent.suffix == ".part":
            continue
        run = read_run(manifest.parent)
        about, file = run.manifest["alarm"], manifest.parent / "policy.npz"
        rows = [{key: value for key, value in row.items() if key not in hidden} for row in run.updates]
        policy = dict(np.load(file)) if file.exists() else {}
        found.append(
            Recorded(
                about["task"],
                about["arm"],
                about["seed"],
                about["fault"],
                about["k"],
                rows,
                judged(run, rows),
                policy,
                died=any(event["event"] == "nonfinite" for event in run.events),
            )
        )
    return found


def judged(run: Run, rows: Sequence[Mapping[str, Any]]) -> list[Alarm]:
    """What the detectors say of the rows, and the live `nonfinite` events, which need the arrays."""
    random = run.manifest["random_return"]
    mean = Mean(random["mean"], random["stderr"], random["episodes"]) if random else None
    limits = Limits(**run.manifest["alarm"]["limits"])
    alarms = [
        Alarm(update, f.event, int(f.details.get("onset_update", update)), f.message)
        for update, f in judge(rows, mean, limits)
        if f.event not in ("nonfinite", "recovery")
    ]
    alarms += [
        Alarm(e["update"], e["event"], e["update"], e["message"])
        for e in run.events
        if e["event"] == "nonfinite"
    ]
    return sorted(alarms, key=lambda alarm: alarm.update)


# What the monitor gets wrong, and what it finds.


def false_alarms(healthy: Sequence[Recorded]) -> dict[str, Any]:
    """Per detector: alarms in healthy updates, per thousand of them."""
    updates = sum(len(run.rows) for run in healthy)
    names = sorted(detector.name for detector in new_detectors())
    report = {}
    for name in [*names, "any"]:
        alarms = [
            (number, a.update)
            for number, run in enumerate(healthy)
            for a in run.alarms
            if name in (a.event, "any")
        ]
        runs = len({number for number, _ in alarms})
        low, high = rate_interval(len(alarms), updates / 1000)
        report[name] = {
            "alarms": len(alarms),
            "runs": runs,
            "per_1000": 1000 * len(alarms) / updates,
            "interval": [low, high],
            "met": None if name == "any" else 1000 * len(alarms) / updates <= FALSE_ALARMS,
            "shown": high <= FALSE_ALARMS,
        }
    return report


def recall(runs: Sequence[Recorded], healthy: Sequence[Recorded]) -> dict[str, Any]:
    """Per fault: in how many runs it was found, how late, by which detectors, and how often by chance."""
    twins = {run.cell: run for run in healthy}
    report = {}
    for name, fault in FAULTS.items():
        mine = [run for run in runs if run.fault == name]
        if not mine:
            continue
        firsts = [
            min((a.update - r.k for a in r.within() if a.event in fault.counts), default=None) for r in mine
        ]
        delays = [delay for delay in firsts if delay is not None]
        moved = [moved_by(r, twins.get(r.cell)) for r in mine]
        far = [d is not None for d, m in zip(firsts, moved, strict=True) if m is not None and m > MOVED]
        report[name] = {
            "changes_policy": fault.changes_policy,
            "counts": sorted(fault.counts),
            "runs": len(mine),
            "found": len(delays),
            "recall": len(delays) / len(mine),
            "interval": list(share_interval(len(delays), len(mine))),
            "median_delay": median(delays) if delays else None,
            "by": _announced(mine),
            "missed": ["/".join(map(str, r.cell)) for r, d in zip(mine, firsts, strict=True) if d is None],
            "chance": sum(any(a.event in fault.counts for a in r.within()) for r in healthy) / len(healthy),
            "moved": median([m for m in moved if m is not None] or [math.nan]),
            "moved_runs": len(far),
            "moved_found": sum(far),
            "met": len(delays) / len(mine) >= RECALL if fault.changes_policy else None,
        }
    return report


def _announced(runs: Sequence[Recorded]) -> dict[str, int]:
    """In how many of the runs each event was announced in time."""
    events = sorted({a.event for r in runs for a in r.within()})
    return {event: sum(any(a.event == event for a in r.within()) for r in runs) for event in events}


def moved_by(run: Recorded, twin: Recorded | None) -> float | None:
    """KL(healthy || faulty) after update k, in units of the KL of one healthy update (the median around k).

    The mean over the fixed states; infinite where the faulty run did not live to the end of that update. Two
    updates of the same length, made from rollouts that have nothing in common but the policy, are 2 apart where
    they are orthogonal.
    """
    if twin is None or not twin.policy:
        return None
    if len(next(iter(run.policy.values()))) < 2:
        return math.inf
    apart = float(_policy(twin, 1).kl(_policy(run, 1)).mean())  # type: ignore[arg-type]
    usual = [row["kl_mean"] for row in twin.rows if abs(row["update"] - run.k) <= WITHIN]
    return math.inf if math.isnan(apart) else apart / max(median(usual), 1e-12)


def _policy(run: Recorded, number: int) -> Gaussian | Categorical:
    arrays = {name: array[number] for name, array in run.policy.items()}
    if "log_probs" in arrays:
        return Categorical((arrays["log_probs"],))
    return Gaussian(arrays["mean"], arrays["log_std"])


# Collapses, and whether somebody had said so.


def onset(run: Recorded) -> int | None:
    """The update with which the run's first collapse since the fault began; None if it did not collapse."""
    ends = [a.update for a in run.alarms if a.event == "nonfinite" and run.died]
    falls = [a.onset for a in run.alarms if a.event == "performance_collapse"]
    return min((u for u in (*ends, *falls) if u >= run.k), default=None)


Warns = Callable[[Recorded], Sequence[int]]
"""From a run to the updates at which somebody rings."""


def by_monitor(run: Recorded) -> list[int]:
    """Alarms of all detectors but those that say that it has happened."""
    return [a.update for a in run.alarms if a.event not in ("performance_collapse", "nonfinite")]


def leads(runs: Sequence[Recorded], warns: Warns, *, all_faults: bool = False) -> dict[str, Any]:
    """Of the collapses that build up: how many were warned of, and how many updates before.

    all_faults: count those that change the returns at once too.
    """
    runs = [run for run in runs if run.fault and (all_faults or not FAULTS[run.fault].changes_returns)]
    onsets = [(run, at) for run in runs if (at := onset(run)) is not None]
    building = [(run, at) for run, at in onsets if at >= run.k + BUILDS_UP]
    firsts = [min((u for u in warns(run) if run.k <= u < at), default=None) for run, at in building]
    ahead = [at - first for (_, at), first in zip(building, firsts, strict=True) if first is not None]
    by_fault: dict[str, list[int]] = {}
    for (run, _), first in zip(building, firsts, strict=True):
        counted = by_fault.setdefault(str(run.fault), [0, 0])
        counted[0] += first is not None
        counted[1] += 1
    return {
        "runs": len(runs),
        "collapses": len(onsets),
        "build_up": len(building),
        "warned": len(ahead),
        "share": len(ahead) / len(building) if building else None,
        "interval": list(share_interval(len(ahead), len(building))),
        "median_lead": median(ahead) if ahead else None,
        "by_fault": by_fault,
    }


# What people use today.


def _logged(name: str, instead: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda row: row.get(name) if row.get(name) is not None else row.get(instead)


SIGNALS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "approx_kl": _logged("train/approx_kl", "kl_mean"),
    "kl_mean": lambda row: row.get("kl_mean"),
    "clip_fraction": _logged("train/clip_fraction", "ratio_outside"),
    "gradient_norm": _logged("gradient_norm_max", "gradient_norm_value"),
}
"""What a fixed threshold is put on: the algorithm's own log where it has one, else what is nearest to it."""
USUAL = {
    "approx_kl > 1.5 x 0.01": ("approx_kl", 0.015),
    "approx_kl > 1.5 x 0.02": ("approx_kl", 0.03),
    "kl_mean > 0.05": ("kl_mean", 0.05),
    "clip_fraction > 0.3": ("clip_fraction", 0.3),
    "gradient_norm > 10": ("gradient_norm", 10.0),
}


def rings(signal: str, threshold: float) -> Warns:
    """The updates at which a signal exceeds a fixed threshold."""
    of = SIGNALS[signal]
    return lambda run: [
        int(row["update"]) for row in run.rows if (v := of(row)) is not None and v > threshold
    ]


def begins(updates: Sequence[int]) -> int:
    """How often it begins to ring: updates in a row are one alarm, as a detector's event is."""
    return sum(u - 1 not in set(updates) for u in updates)


def threshold_for(signal: str, healthy: Sequence[Recorded], alarms: int) -> float:
    """The lowest threshold from which on upwards this signal rings at most so often in the healthy runs."""
    values = {v for run in healthy for row in run.rows if (v := SIGNALS[signal](row)) is not None}
    lowest = math.inf
    for threshold in sorted((v for v in values if not math.isnan(v)), reverse=True):
        if sum(begins(rings(signal, threshold)(run)) for run in healthy) > alarms:
            return lowest
        lowest = threshold
    return lowest


def rung(runs: Iterable[Recorded], warns: Warns) -> list[bool]:
    """Whether somebody rang in k .. k + WITHIN, whatever about."""
    return [any(run.k <= u <= run.k + WITHIN for u in warns(run)) for run in runs]


def baselines(runs: Sequence[Recorded], healthy: Sequence[Recorded]) -> dict[str, Any]:
    """Fixed thresholds as they are used, and each signal at the threshold that gives the monitor's false alarms.

    Compared on the faults that change the policy and leave rows to look at (a NaN ends most runs before there is
    one). That threshold is chosen on the very runs that are reported, which favours the baseline.
    """
    judged = [
        run
        for run in runs
        if run.fault and FAULTS[run.fault].changes_policy and FAULTS[run.fault].counts != {"nonfinite"}
    ]
    updates = sum(len(run.rows) for run in healthy)

    def everything(run: Recorded) -> list[int]:
        return sorted({a.update for a in run.alarms})

    def score(warns: Warns, **more: Any) -> dict[str, Any]:
        false, found = sum(begins(warns(run)) for run in healthy), rung(judged, warns)
        only = sum(a and not b for a, b in zip(ours, found, strict=True))
        not_by = sum(b and not a for a, b in zip(ours, found, strict=True))
        test = stats.binomtest(only, only + not_by, alternative="greater").pvalue if only + not_by else 1.0
        return {
            **more,
            "false_alarms_per_1000": 1000 * false / updates,
            "found": sum(found),
            "runs": len(judged),
            "recall": sum(found) / len(judged) if judged else None,
            "interval": list(share_interval(sum(found), len(judged))),
            "found_by_monitor_only": only,
            "found_by_it_only": not_by,
            "p": float(test),
            "warned": leads(runs, warns)["share"],
        }

    ours = rung(judged, everything)
    budget = sum(begins(everything(run)) for run in healthy)
    report: dict[str, Any] = {
        "monitor": {**score(everything), "warned": leads(runs, by_monitor)["share"]},
        "usual": {n: score(rings(s, t), signal=s, threshold=t) for n, (s, t) in USUAL.items()},
        "equal": {},
    }
    for signal in SIGNALS:
        threshold = threshold_for(signal, healthy, budget)
        scored = score(rings(signal, threshold), threshold=threshold)
        report["equal"][signal] = {**scored, "met": sum(ours) > scored["found"]}
    return report


def score(out: Path, level: Level) -> dict[str, Any]:
    """Everything that is counted, with the targets."""
    runs = load(out, level)
    healthy = [run for run in runs if run.fault is None]
    faulty = [run for run in runs if run.fault is not None]
    if not healthy or not faulty:
        raise SystemExit(
            f"{out} holds {len(healthy)} healthy runs and {len(faulty)} with a fault: nothing to count"
        )
    alarms, found = false_alarms(healthy), recall(faulty, healthy)
    ahead, beside = leads(faulty, by_monitor), baselines(faulty, healthy)
    return {
        "level": level.name.lower(),
        "healthy_runs": len(healthy),
        "healthy_updates": sum(len(run.rows) for run in healthy),
        "healthy_collapses": sum(any(a.event == "performance_collapse" for a in r.alarms) for r in healthy),
        "faulty_runs": len(faulty),
        "tasks": sorted({run.task for run in runs}),
        "agents": sorted({run.arm for run in runs}),
        "false_alarms": alarms,
        "recall": found,
        "lead": ahead,
        "lead_all_faults": leads(faulty, by_monitor, all_faults=True),
        "baselines": beside,
        "met": {
            "false alarms": all(a["met"] for n, a in alarms.items() if n != "any"),
            "recall": all(f["met"] for f in found.values() if f["changes_policy"]),
            "recall where it moved": sum(f["moved_found"] for f in found.values())
            >= RECALL * sum(f["moved_runs"] for f in found.values()),
            "lead": ahead["share"] is not None and ahead["share"] >= WARNED,
            "baselines": all(b["met"] for b in beside["equal"].values()),
        },
    }


def dumped(report: Mapping[str, Any]) -> str:
    """As JSON, which has no infinity."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(report), indent=1)
