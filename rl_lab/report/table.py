"""The summary table as text: the same cells on the terminal and on the page."""

from collections.abc import Sequence
from typing import NamedTuple

from rl_lab.report.arms import Arm
from rl_lab.report.words import amount, percent, span


class Table(NamedTuple):
    """Headers, rows of cells, and the notes the cells' marks point to."""

    headers: list[str]
    rows: list[list[str]]
    notes: list[str]


HEADERS = [
    "task",
    "agent",
    "runs ended",
    "final return, IQM [95 %]",
    "updates",
    "KL spikes per 100 updates",
    "largest kl_mean, nats",
    "largest kl_max, nats",
    "collapsed [exact 95 %]",
]


def table_rows(arms: Sequence[Arm]) -> Table:
    """One row per arm; notes are numbered and marked behind the agent."""
    notes = list(dict.fromkeys(note for arm in arms for note in arm.notes))
    marked = [f"{_mark(n)} {note}." for n, note in enumerate(notes, 1)]
    return Table(list(HEADERS), [_row(arm, notes) for arm in arms], marked)


def _row(arm: Arm, notes: Sequence[str]) -> list[str]:
    marks = " ".join(_mark(notes.index(note) + 1) for note in arm.notes)
    interval = f" {span(arm.final_return_interval)}" if arm.final_return_interval else ""
    return [
        arm.task,
        f"{arm.agent} {marks}".rstrip(),
        f"{arm.ended} of {arm.runs}",
        amount(arm.final_return) + interval,
        f"{arm.updates:,}",
        amount(arm.kl_spikes_per_100),
        amount(arm.kl_mean_largest),
        amount(arm.kl_max_largest),
        _collapses(arm),
    ]


def _collapses(arm: Arm) -> str:
    if arm.collapse_interval is None:
        return "– (no run ended)"
    low, high = arm.collapse_interval
    recovered = f", {arm.recovered} recovered" if arm.recovered else ""
    return f"{arm.collapsed} of {arm.ended} [{percent(low)}, {percent(high)}]{recovered}"


def _mark(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
