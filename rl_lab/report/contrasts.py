"""What a study set out to compare: differences of final returns between arms, paired by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl_lab.report.arms import grouped
from rl_lab.report.digest import Digest
from rl_lab.report.statistics import (
    Interval,
    difference_interval,
    exact_interval,
    iqm,
    largest_difference,
    largest_difference_interval,
)
from rl_lab.report.table import Table
from rl_lab.report.words import UNKNOWN, amount, enumeration, percent, plural, span

BIAS = (
    "The largest absolute difference is biased upwards: seeds alone make it positive and its interval cannot reach 0,"
    " the less so the fewer seeds. Whether there is a difference is for the signed ones to say."
)
HEADERS = ["task", "contrast", "seeds", "largest |difference| [95 %]", "pair", "difference [95 %]"]


@dataclass(frozen=True)
class Pair:
    """Final return of the first arm minus that of the second, IQMs over the seeds both have."""

    first: str
    second: str
    difference: float
    interval: Interval | None


@dataclass(frozen=True)
class Contrast:
    """Some pairs of arms on one task. Without seeds in common there is nothing but a note."""

    task: str
    name: str
    seeds: tuple[int, ...]
    pairs: tuple[Pair, ...]
    largest: float | None
    largest_interval: Interval | None
    note: str


def contrasts_of(
    found: Sequence[Digest], asked: Mapping[str, Any], rng: np.random.Generator
) -> list[Contrast]:
    """Every contrast on every task that has all its arms; `asked` holds pairs of labels by name."""
    groups = grouped(found)
    said = []
    for task in dict.fromkeys(task for task, _ in groups):
        for name, pairs in asked.items():
            arms = {label: groups.get((task, label)) for pair in pairs for label in pair}
            present = {label: runs for label, runs in arms.items() if runs}
            if len(present) == len(arms):
                said.append(_contrast(task, name, pairs, present, rng))
    return said


def _contrast(
    task: str,
    name: str,
    pairs: Sequence[Sequence[str]],
    arms: Mapping[str, Sequence[Digest]],
    rng: np.random.Generator,
) -> Contrast:
    def nothing(why: str) -> Contrast:
        return Contrast(task, name, (), (), None, None, why)

    floorless = [
        label
        for label, runs in arms.items()
        if any(one.counts and one.diverged and one.settled_return is None for one in runs)
    ]
    if floorless:
        return nothing(
            f"{name} on {task} is unknown: a run of {enumeration(floorless)} diverged and the random policy's"
            " return on this task is unknown"
        )
    finals = {label: _by_seed(runs) for label, runs in arms.items()}
    seeds = sorted(set.intersection(*(set(values) for values in finals.values())))
    if not seeds:
        return nothing(f"{name} on {task} is unknown: no seed has ended in all of {enumeration(list(arms))}")
    left_out = len(set.union(*({one.seed for one in runs} for runs in arms.values()))) - len(seeds)
    values = np.array([[[finals[label][seed] for seed in seeds] for label in pair] for pair in pairs])
    return Contrast(
        task,
        name,
        tuple(seeds),
        tuple(
            Pair(one, other, iqm(a) - iqm(b), difference_interval(a, b, rng))
            for (one, other), (a, b) in zip(pairs, values, strict=True)
        ),
        largest_difference(values),
        largest_difference_interval(values, rng),
        f"{name} on {task} leaves out {plural(left_out, 'seed')} that not all of its arms have ended"
        if left_out
        else "",
    )


def _by_seed(runs: Sequence[Digest]) -> dict[int, float]:
    return {
        one.seed: one.settled_return
        for one in runs
        if one.counts and one.seed is not None and one.settled_return is not None
    }


def contrast_rows(contrasts: Sequence[Contrast]) -> Table:
    """One row per pair; what holds for the whole contrast stands in its first row."""
    rows = [row for contrast in contrasts for row in _rows(contrast)]
    notes = [f"{contrast.note}." for contrast in contrasts if contrast.note]
    if any(len(contrast.pairs) > 1 for contrast in contrasts):
        notes.append(BIAS)
    return Table(list(HEADERS), rows, [*notes, *power(contrasts)])


def _rows(contrast: Contrast) -> list[list[str]]:
    head = [contrast.task, contrast.name, str(len(contrast.seeds)), _estimate(contrast)]
    pairs = [
        [f"{pair.first} − {pair.second}", f"{amount(pair.difference)} {_bracket(pair.interval)}".rstrip()]
        for pair in contrast.pairs
    ] or [[UNKNOWN, UNKNOWN]]
    return [[*(head if n == 0 else [""] * len(head)), *pair] for n, pair in enumerate(pairs)]


def _estimate(contrast: Contrast) -> str:
    if len(contrast.pairs) < 2:  # the difference of the one pair says it all
        return UNKNOWN
    return f"{amount(contrast.largest)} {_bracket(contrast.largest_interval)}".rstrip()


def _bracket(interval: Interval | None) -> str:
    return span(interval) if interval else ""


def power(contrasts: Sequence[Contrast]) -> list[str]:
    """Per task one sentence on what so few seeds cannot see."""
    said = []
    for task in dict.fromkeys(contrast.task for contrast in contrasts):
        here = [contrast for contrast in contrasts if contrast.task == task and contrast.seeds]
        if not here:
            continue
        n = min(len(contrast.seeds) for contrast in here)
        bound = exact_interval(0, n)
        widths = [
            pair.interval.high - pair.interval.low
            for contrast in here
            for pair in contrast.pairs
            if pair.interval
        ]
        unseen = (
            f"a true difference below about {amount(max(widths) / 2, 2)} (half the widest interval) cannot be told"
            " from none"
            if widths
            else "no difference can be told from none"
        )
        said.append(
            f"{task}: with {plural(n, 'paired seed')} {unseen}, and 0 collapses in {plural(n, 'run')} would still"
            f" allow a rate up to {percent(bound.high if bound else None)}."
        )
    return said
