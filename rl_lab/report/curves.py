"""What the charts draw: plain rows, thinned where a screen could not show more."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rl_lab.monitor.record.run_directory import FINISHED
from rl_lab.report.arms import Arm, grouped
from rl_lab.report.digest import Digest
from rl_lab.report.statistics import Floats, band_over_seeds, iqm_of_curves
from rl_lab.report.survival import Survival, survival_of
from rl_lab.report.tails import TAILS, exceedance
from rl_lab.report.timeline import events_of, lanes_of

Row = dict[str, Any]

POINTS, PANEL_POINTS, FEWEST_POINTS = 400, 10_000, 50
"""Most points of one line; of all single runs of a panel together, which they share; fewest of one line."""

MARKS = 600
"""Most events a panel marks, the most severe ones; the table and the files count them all."""

TIMES_AT_RISK = 5
"""Times at which the numbers at risk are told."""

FEW = 3
"""Up to so many runs, each is drawn on its own beside their mean."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One task, ready to draw."""

    task: str
    random_return: float | None
    middle: list[Row] = field(default_factory=list)
    """IQM and band over the runs that count: agent, env_steps, iqm, low, high."""
    seeds: list[Row] = field(default_factory=list)
    """Single runs: agent, seed, run, status, unfinished, env_steps, return; `many` where the arm has more than FEW."""
    ends: list[Row] = field(default_factory=list)
    """Where diverged runs ended: as seeds."""
    kl: list[Row] = field(default_factory=list)
    """Finite KL: agent, seed, run, update, kl_mean, kl_max."""
    marks: list[Row] = field(default_factory=list)
    """kl_spike and nonfinite: agent, seed, run, update, event, kl_mean (null if not finite), message."""
    tails: list[Row] = field(default_factory=list)
    """How often a KL is exceeded: agent, of (kl_mean or kl_max), kl, share, updates."""
    survival: list[Row] = field(default_factory=list)
    """Kaplan-Meier steps: agent, env_steps, alive, low, high, at_risk."""
    censored: list[Row] = field(default_factory=list)
    """Runs last seen before any collapse: agent, env_steps, alive."""
    at_risk: list[Row] = field(default_factory=list)
    """Runs still at risk at a few common times: agent, env_steps, at_risk."""
    lanes: list[Row] = field(default_factory=list)
    """One row a run: agent, seed, run, status, lane, env_steps (its last)."""
    events: list[Row] = field(default_factory=list)
    """Events of all kinds: agent, seed, run, lane, event, env_steps, update, message, incident (its folder or null)."""
    rates: list[Row] = field(default_factory=list)
    """Collapse rates: agent, rate, low, high, label."""


def panels(found: Sequence[Digest], arms: Sequence[Arm], rng: np.random.Generator) -> list[Panel]:
    """One panel per task, in the order of the arms."""
    groups = grouped(found)
    tasks = dict.fromkeys(arm.task for arm in arms)
    return [_panel(task, [arm for arm in arms if arm.task == task], groups, rng) for task in tasks]


def _panel(
    task: str, arms: Sequence[Arm], groups: dict[tuple[str, str], list[Digest]], rng: np.random.Generator
) -> Panel:
    known = [arm.random_return for arm in arms if arm.random_return is not None]
    panel = Panel(task=task, random_return=float(np.mean(known)) if known else None)
    share = PANEL_POINTS // max(1, sum(arm.runs for arm in arms))
    points = min(POINTS, max(FEWEST_POINTS, share))
    marks: list[Row] = []
    for arm in arms:
        members = groups[arm.task, arm.agent]
        counted = [one for one in members if one.counts and np.isfinite(one.returns).any()]
        panel.middle.extend(_middle(arm.agent, counted, rng))
        for one in members:
            many = one.counts and len(counted) > FEW
            panel.seeds.extend({**row, "many": many} for row in _seed(one, points))
            panel.kl.extend(_kl(one, points))
            marks.extend(_marks(one))
        panel.tails.extend(row for name in TAILS for row in exceedance(members, name))
        panel.ends.extend(row for one in counted if one.diverged for row in _seed(one, points)[-1:])
        panel.rates.append(_rate(arm))
    panel.marks.extend(sorted(marks, key=_severity)[:MARKS])
    members = [one for arm in arms for one in groups[arm.task, arm.agent]]
    found = {arm.agent: survival_of(groups[arm.task, arm.agent]) for arm in arms}
    _survive(panel, {agent: curve for agent, curve in found.items() if curve is not None})
    panel.lanes.extend(lanes_of(members))
    panel.events.extend(events_of(members, MARKS))
    return panel


def _middle(agent: str, counted: Sequence[Digest], rng: np.random.Generator) -> list[Row]:
    """IQM and band on the env_steps of all runs together, from where every run has finished an episode."""
    if not counted:
        return []
    lines = [_finite_returns(one) for one in counted]
    start = max(steps[0] for steps, _ in lines)
    grid = np.unique(np.concatenate([steps for steps, _ in lines]))
    grid = _thin(grid[grid >= start])
    curves = np.array(
        [_carried(one, steps, returns, grid) for one, (steps, returns) in zip(counted, lines, strict=True)]
    )
    return _middle_rows(agent, grid, curves, band_over_seeds(curves, rng))


def _middle_rows(agent: str, grid: Floats, curves: Floats, band: Floats | None) -> list[Row]:
    rows: list[Row] = [
        {"agent": agent, "env_steps": int(x), "iqm": float(y), "runs": len(curves)}
        for x, y in zip(grid, iqm_of_curves(curves), strict=True)
    ]
    if band is not None:
        for row, low, high in zip(rows, *band, strict=True):
            row |= {"low": float(low), "high": float(high)}
    return rows


def _carried(one: Digest, steps: Floats, returns: Floats, grid: Floats) -> Floats:
    """The run at the grid's steps; behind its end its last return, or what it was settled with.

    Without this a mean would improve each time a bad run dies.
    """
    settled = one.settled_return
    behind = settled if one.diverged and settled is not None else returns[-1]
    return np.interp(grid, steps, returns, right=float(behind))


def _finite_returns(one: Digest) -> tuple[Floats, Floats]:
    good = np.isfinite(one.returns) & np.isfinite(one.env_steps)
    return one.env_steps[good], one.returns[good]


def _seed(one: Digest, points: int) -> list[Row]:
    steps, returns = _finite_returns(one)
    pick = _thin(np.arange(len(steps), dtype=np.float64), points).astype(int)
    return [
        {
            "agent": one.agent,
            "seed": one.seed,
            "run": one.run_id,
            "status": one.status,
            "unfinished": one.status not in FINISHED,
            "env_steps": int(steps[i]),
            "return": float(returns[i]),
        }
        for i in pick
    ]


def _kl(one: Digest, points: int) -> Iterable[Row]:
    """Finite KL per update; of a stretch that becomes one point the largest stays, as peaks matter."""
    good = np.flatnonzero(np.isfinite(one.kl_mean) & np.isfinite(one.update))
    for stretch in np.array_split(good, points) if len(good) > points else good[:, None]:
        i = stretch[np.argmax(one.kl_mean[stretch])]
        top = one.kl_max[i]
        yield {
            "agent": one.agent,
            "seed": one.seed,
            "run": one.run_id,
            "update": int(one.update[i]),
            "kl_mean": float(one.kl_mean[i]),
            "kl_max": float(top) if np.isfinite(top) else None,
        }


def _marks(one: Digest) -> Iterable[Row]:
    kl_at = {int(u): float(k) for u, k in zip(one.update, one.kl_mean, strict=True) if np.isfinite(u)}
    for name in ("kl_spike", "nonfinite"):
        for event in one.named(name):
            update = event.get("update")
            if update is None:
                continue
            value = kl_at.get(int(update), float("nan"))
            yield {
                "agent": one.agent,
                "seed": one.seed,
                "run": one.run_id,
                "update": int(update),
                "event": name,
                "kl_mean": value if np.isfinite(value) else None,
                "message": str(event.get("message") or ""),
            }


def _severity(mark: Row) -> float:
    """Not finite first, then by KL."""
    return -math.inf if mark["kl_mean"] is None else -float(mark["kl_mean"])


def _survive(panel: Panel, alive: Mapping[str, Survival]) -> None:
    panel.survival.extend(row for agent, one in alive.items() for row in _steps(agent, one))
    panel.censored.extend(
        {"agent": agent, "env_steps": float(when), "alive": one.at(float(when))}
        for agent, one in alive.items()
        for when in one.censored
    )
    panel.at_risk.extend(_at_risk(alive))


def _steps(agent: str, one: Survival) -> Iterable[Row]:
    columns = zip(one.times, one.alive, one.low, one.high, one.at_risk, strict=True)
    for time, alive, low, high, at_risk in columns:
        yield {
            "agent": agent,
            "env_steps": float(time),
            "alive": float(alive),
            "low": float(low),
            "high": float(high),
            "at_risk": int(at_risk),
        }


def _at_risk(alive: Mapping[str, Survival]) -> Iterable[Row]:
    """At so many evenly spaced times: the runs that are watched and have not collapsed before."""
    end = max((float(one.lifetimes.max()) for one in alive.values()), default=0.0)
    for agent, one in alive.items():
        for time in np.linspace(0.0, end, TIMES_AT_RISK):
            count = int((one.lifetimes >= time).sum())
            yield {"agent": agent, "env_steps": float(time), "at_risk": count}


def _rate(arm: Arm) -> Row:
    low, high = arm.collapse_interval or (None, None)
    label = f"{arm.collapsed} of {arm.ended}" if arm.ended else "no run ended"
    return {"agent": arm.agent, "rate": arm.collapse_rate, "low": low, "high": high, "label": label}


def _thin(grid: Floats, points: int = POINTS) -> Floats:
    """At most so many of the values, first and last among them."""
    if len(grid) <= points:
        return grid
    picked: Floats = grid[np.unique(np.linspace(0, len(grid) - 1, points).astype(int))]
    return picked
