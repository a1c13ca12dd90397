"""What became of the runs beyond their final return: survival, risk, and all tasks put together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import Any

import numpy as np

from rl_lab.report.aggregate import Aggregate, Profile, Standings, aggregate, improvement, profile, scores_of
from rl_lab.report.arms import Arm, grouped
from rl_lab.report.digest import Digest
from rl_lab.report.risk import ACROSS, Risk, Risks, risk_of, width_of
from rl_lab.report.statistics import Estimate, Interval
from rl_lab.report.survival import Survival, logrank, survival_of
from rl_lab.report.table import Table
from rl_lab.report.words import UNKNOWN, amount, percent, span

Key = tuple[str, str]
"""Task and agent."""
MOST_PAIRS = 24
"""Most pairs of arms that are compared unasked."""
LEVELS = np.linspace(-0.25, 1.25, 61)
"""Scores of the performance profile."""
RISKS = {
    "dispersion": "dispersion of changes",
    "worst_changes": "worst changes, lower CVaR 5 %",
    "drawdown_tail": "drawdown, upper CVaR 5 %",
    "max_drawdown": "largest drawdown",
    ACROSS: "range across runs",
}


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Of all arms; what could not be worked out is missing."""

    survivals: Mapping[Key, Survival]
    risks: Mapping[Key, Risks]
    standings: Standings
    aggregates: Mapping[str, Aggregate]
    """By agent, over the tasks that all agents with scores share."""
    profiles: Mapping[str, Profile]
    """By agent, over the same tasks."""
    tasks: tuple[str, ...]
    improvements: Mapping[tuple[str, str], Estimate]
    """Probability that a run of the first agent scores higher than one of the second."""
    pairs: tuple[tuple[str, str], ...]


def outcomes_of(
    found: Sequence[Digest], arms: Sequence[Arm], study: Mapping[str, Any], rng: np.random.Generator
) -> Outcomes:
    """Work all of it out; comparisons are those the study names, else each bare arm with each that is bounded."""
    groups = grouped(found)
    widths = {task: width_of([one for one in found if one.task == task]) for task, _ in groups}
    standings = scores_of(found)
    agents = [agent for agent in dict.fromkeys(agent for _, agent in groups) if agent in standings.scores]
    tasks = standings.shared_tasks(agents) if agents else []
    pairs = pairs_of(study, arms)
    compared = {
        (a, b): shared
        for a, b in pairs
        if a in agents and b in agents and (shared := standings.shared_tasks([a, b]))
    }
    survivals = {key: alive for key, runs in groups.items() if (alive := survival_of(runs)) is not None}
    return Outcomes(
        survivals=survivals,
        risks={key: risk_of(runs, rng, widths[key[0]]) for key, runs in groups.items()},
        standings=standings,
        aggregates={agent: aggregate(standings.of(agent, tasks), rng) for agent in agents if tasks},
        profiles={agent: profile(standings.of(agent, tasks), LEVELS) for agent in agents if tasks},
        tasks=tuple(tasks),
        improvements={
            (a, b): improvement(standings.of(a, shared), standings.of(b, shared), rng)
            for (a, b), shared in compared.items()
        },
        pairs=tuple(pairs),
    )


def pairs_of(study: Mapping[str, Any], arms: Sequence[Arm]) -> list[tuple[str, str]]:
    """Pairs that the study's contrasts name, else those with and without a trust region, at most MOST_PAIRS of them."""
    asked = [tuple(pair) for pairs in (study.get("contrasts") or {}).values() for pair in pairs]
    if not asked:
        bare, fenced = (
            list(dict.fromkeys(a.agent for a in arms if a.fenced is side)) for side in (False, True)
        )
        asked = list(product(fenced, bare))[:MOST_PAIRS]
    return [(str(first), str(second)) for first, second in dict.fromkeys(asked)]


def survival_table(outcomes: Outcomes) -> Table:
    """One row per arm: what its curve says at the end, and when half of its runs have collapsed."""
    headers = [
        "task",
        "agent",
        "runs",
        "collapsed",
        "not collapsed at the end [95 %]",
        "half collapsed by, env steps",
    ]
    rows = [
        [
            task, agent, str(one.runs), str(one.collapsed),
            f"{percent(one.alive[-1])} [{percent(one.low[-1])}, {percent(one.high[-1])}]", _median(one),
        ]
        for (task, agent), one in outcomes.survivals.items()
    ]  # fmt: skip
    return Table(headers, rows, [])


def _median(one: Survival) -> str:
    if one.median is None:
        return "more than half at the end"
    low, high = (UNKNOWN if end is None else f"{end:,.0f}" for end in one.median_interval)
    return f"{one.median:,.0f} [{low}, {high}]"


def logrank_table(outcomes: Outcomes) -> Table:
    """p values of the pairs on every task, as they are and after Holm's correction for the pairs of that task."""
    rows = []
    for task in dict.fromkeys(task for task, _ in outcomes.survivals):
        alive = {agent: one for (where, agent), one in outcomes.survivals.items() if where == task}
        pairs = [pair for pair in outcomes.pairs if pair[0] in alive and pair[1] in alive]
        found = [logrank(alive[a], alive[b]) for a, b in pairs]
        rows += [
            [task, f"{a} − {b}", f"{alive[a].collapsed} of {alive[a].runs}", f"{alive[b].collapsed} of {alive[b].runs}",
             amount(p, 2), amount(held, 2)]
            for (a, b), p, held in zip(pairs, found, holm(found), strict=True)
        ]  # fmt: skip
    return Table(["task", "pair", "collapsed", "against", "log-rank p", "p, Holm over the task"], rows, [])


def holm(found: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: with p_(1) <= ... <= p_(m), max over j <= i of min(1, (m - j + 1) p_(j)).

    Source: Holm, Scandinavian Journal of Statistics 6, 65 (1979).
    """
    order, highest = sorted(range(len(found)), key=found.__getitem__), 0.0
    adjusted = [0.0] * len(found)
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(found) - place) * found[i]))
        adjusted[i] = highest
    return adjusted


def risk_table(outcomes: Outcomes) -> Table:
    """One row per arm, in widths of R_best - R_rand where that is known, else in the unit of the returns."""
    notes: list[str] = []
    rows = []
    for (task, agent), one in outcomes.risks.items():
        notes += [f"{agent} on {task}: {note}." for note in one.notes]
        shown, unit = (one.relative, "widths") if one.relative else (one.raw, "returns")
        cells = [_estimate(shown.get(name)) for name in RISKS]
        rows.append([task, agent, str(one.seeds), unit if shown else UNKNOWN, *cells])
    assert {field.name for field in fields(Risk)} <= set(RISKS)
    return Table(["task", "agent", "seeds", "unit", *RISKS.values()], rows, list(dict.fromkeys(notes)))


def scores_table(outcomes: Outcomes) -> Table:
    """One row per agent, over the tasks that all share."""
    headers = ["agent", "runs", "score, IQM [95 %]", "mean [95 %]", "optimality gap [95 %]"]
    rows = [
        [agent, str(one.runs), _estimate(one.iqm), _estimate(one.mean), _estimate(one.optimality_gap)]
        for agent, one in outcomes.aggregates.items()
    ]
    return Table(headers, rows, [f"{note}." for note in outcomes.standings.notes])


def improvement_table(outcomes: Outcomes) -> Table:
    """One row per pair."""
    rows = [
        [f"{a} over {b}", _share(one), "; ".join(outcomes.standings.shared_tasks([a, b]))]
        for (a, b), one in outcomes.improvements.items()
    ]
    return Table(["pair", "probability of improvement [95 %]", "tasks"], rows, [])


def _share(one: Estimate) -> str:
    interval: Interval | None = one.interval
    bracket = f" [{percent(interval.low)}, {percent(interval.high)}]" if interval else ""
    return percent(one.value) + bracket


def _estimate(one: Estimate | None) -> str:
    if one is None:
        return UNKNOWN
    return f"{amount(one.value)} {span(one.interval) if one.interval else ''}".rstrip()


def document_of(outcomes: Outcomes) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "survival": [
            {
                "task": task, "agent": agent, "runs": one.runs, "collapsed": one.collapsed, "median": one.median,
                **{name: getattr(one, name).tolist() for name in ("times", "alive", "low", "high", "at_risk")},
            }
            for (task, agent), one in outcomes.survivals.items()
        ],
        "risk": [
            {"task": task, "agent": agent, **asdict(one)} for (task, agent), one in outcomes.risks.items()
        ],
        "scores": {agent: asdict(one) for agent, one in outcomes.aggregates.items()},
        "improvement": [
            {"first": a, "second": b, **asdict(one)} for (a, b), one in outcomes.improvements.items()
        ],
    }  # fmt: skip
