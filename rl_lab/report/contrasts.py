"""What a study set out to compare: differences of final returns between arms, paired by seed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl_lab.report.arms import grouped
from rl_lab.report.digest import Digest, task_name
from rl_lab.report.statistics import (
    ENOUGH_SEEDS,
    Interval,
    difference_interval,
    iqm,
    largest_difference,
    largest_difference_interval,
)
from rl_lab.report.table import Table
from rl_lab.report.words import UNKNOWN, amount, enumeration, plural, span

BIAS = (
    "The largest absolute difference is biased upwards: seeds alone make it positive and its interval cannot reach 0,"
    " the less so the fewer seeds. Whether there is a difference is for the signed ones to say"
)
HEADERS = ["task", "contrast", "largest |difference| [95 %]", "pair", "seeds", "difference [95 %]"]

Finals = Mapping[str, Mapping[int, float]]
"""Final returns by arm and seed."""


@dataclass(frozen=True)
class Pair:
    """Final return of the first arm minus that of the second, IQMs over the seeds both have."""

    first: str
    second: str
    seeds: tuple[int, ...]
    difference: float
    interval: Interval | None
    """None for a single seed."""
    identical: bool = False
    """Both arms have the same return in every seed."""

    def __str__(self) -> str:
        return f"{self.first} − {self.second}"


@dataclass(frozen=True)
class Contrast:
    """Some pairs of arms on one task, each over the seeds that both its arms have; what is missing is in the notes."""

    task: str
    name: str
    pairs: tuple[Pair, ...]
    seeds: tuple[int, ...]
    """Those that every arm of the contrast has: over them goes the largest difference."""
    largest: float | None
    """Largest absolute difference of several pairs; a single one has its signed difference."""
    largest_interval: Interval | None
    notes: tuple[str, ...]


def contrasts_of(
    found: Sequence[Digest], study: Mapping[str, Any], rng: np.random.Generator
) -> list[Contrast]:
    """Every contrast of study.json on every task of the study, whether or not it has been run yet."""
    groups = grouped(found)
    asked: Mapping[str, Any] = study.get("contrasts") or {}
    config = study.get("config") or {}
    planned = {task_name(env): str(env.get("label")) for env in config.get("envs") or ()}
    said = []
    for task in dict.fromkeys([*(task for task, _ in groups), *planned]):
        absent = (config.get("without") or {}).get(planned.get(task, task), ())
        for name, pairs in asked.items():
            arms = {label: groups.get((task, label), []) for pair in pairs for label in pair}
            said.append(_contrast(task, name, pairs, arms, absent, rng))
    return said


def _contrast(
    task: str,
    name: str,
    pairs: Sequence[Sequence[str]],
    arms: Mapping[str, Sequence[Digest]],
    absent: Sequence[str],
    rng: np.random.Generator,
) -> Contrast:
    reasons = {label: _unusable(task, label, runs, label in absent) for label, runs in arms.items()}
    finals = {label: {} if reasons[label] else _by_seed(runs) for label, runs in arms.items()}
    notes = [reason for reason in reasons.values() if reason]
    compared = []
    for first, second in pairs:
        seeds = _common(finals, (first, second))
        if seeds:
            compared.append(_pair(first, second, seeds, finals, rng))
        elif not (reasons[first] or reasons[second]):
            notes.append(f"{first} − {second} on {task} is unknown: no seed has a final return in both")
    seeds = _common(finals, list(arms)) if len(pairs) > 1 else ()
    if seeds:
        values = np.array([[[finals[label][seed] for seed in seeds] for label in pair] for pair in pairs])
        largest, interval = largest_difference(values), largest_difference_interval(values, rng)
    else:
        largest, interval = None, None
        if len(compared) > 1 and not any(reasons.values()):
            notes.append(
                f"the largest difference of {name} on {task} is unknown: no seed has a final return in all of"
                f" {enumeration(list(arms))}"
            )
    for pair in compared:
        notes += _left_out(task, pair, arms)
    return Contrast(task, name, tuple(compared), seeds, largest, interval, tuple(notes))


def _unusable(task: str, label: str, runs: Sequence[Digest], absent: bool) -> str:
    """Why an arm cannot be compared at all, empty if it can."""
    if absent:
        return f"{label} is left out of {task} by the study"
    if not any(one.counts for one in runs):
        return f"not yet: no run of {label} in {task} has ended"
    if any(one.counts and one.diverged and one.settled_return is None for one in runs):
        return (
            f"{label} on {task} is not compared: a run diverged and the random policy's return on this task is"
            " unknown"
        )
    return ""


def _by_seed(runs: Sequence[Digest]) -> dict[int, float]:
    return {
        one.seed: one.settled_return
        for one in runs
        if one.counts and one.seed is not None and one.settled_return is not None
    }


def _common(finals: Finals, labels: Sequence[str]) -> tuple[int, ...]:
    return tuple(sorted(set.intersection(*(set(finals[label]) for label in labels))))


def _pair(first: str, second: str, seeds: tuple[int, ...], finals: Finals, rng: np.random.Generator) -> Pair:
    a, b = ([finals[label][seed] for seed in seeds] for label in (first, second))
    return Pair(first, second, seeds, iqm(a) - iqm(b), difference_interval(a, b, rng), a == b)


def _left_out(task: str, pair: Pair, arms: Mapping[str, Sequence[Digest]]) -> Iterable[str]:
    begun = {one.seed for label in (pair.first, pair.second) for one in arms[label]}
    missing = len(begun) - len(pair.seeds)
    if missing:
        yield f"{pair} on {task} leaves out {plural(missing, 'seed')} without a final return in both"


def contrast_rows(contrasts: Sequence[Contrast]) -> Table:
    """One row per pair; what holds for the whole contrast stands in its first row."""
    rows = [row for contrast in contrasts for row in _rows(contrast)]
    return Table(list(HEADERS), rows, [f"{note}." for note in remarks(contrasts)])


def remarks(contrasts: Sequence[Contrast]) -> list[str]:
    """What a reader must know of these numbers, without full stops and each thing once."""
    notes = [note for contrast in contrasts for note in contrast.notes]
    bias = [BIAS] if any(contrast.largest is not None for contrast in contrasts) else []
    return list(dict.fromkeys([*notes, *bias, *power(contrasts)]))


def _rows(contrast: Contrast) -> list[list[str]]:
    pairs = [
        [str(pair), str(len(pair.seeds)), f"{amount(pair.difference)} {_bracket(pair.interval)}".rstrip()]
        for pair in contrast.pairs
    ] or [[UNKNOWN, "0", UNKNOWN]]
    head = [contrast.task, contrast.name, estimate(contrast)]
    return [[*(head if n == 0 else [""] * len(head)), *pair] for n, pair in enumerate(pairs)]


def estimate(contrast: Contrast) -> str:
    """The largest absolute difference of several pairs, with its interval and its seeds."""
    if contrast.largest is None:
        return UNKNOWN
    counted = plural(len(contrast.seeds), "seed")
    return f"{amount(contrast.largest)} {_bracket(contrast.largest_interval)}".rstrip() + f" ({counted})"


def _bracket(interval: Interval | None) -> str:
    return span(interval) if interval else ""


def power(contrasts: Sequence[Contrast]) -> list[str]:
    """Per pair one sentence on how large a difference must be for so few seeds to see it."""
    pairs = [(contrast.task, pair) for contrast in contrasts for pair in contrast.pairs]
    return list(dict.fromkeys(_power(task, pair) for task, pair in pairs if not pair.identical))


def _power(task: str, pair: Pair) -> str:
    if pair.interval is None:
        return f"{task}, {pair}: one seed cannot tell a difference from none"
    half = amount((pair.interval.high - pair.interval.low) / 2, 2)
    hint = "" if len(pair.seeds) >= ENOUGH_SEEDS else ", and then only as a hint"
    return (
        f"{task}, {pair}: with {plural(len(pair.seeds), 'paired seed')} a true difference of about {half} (half the"
        f" width of the interval) would be detected about half the time{hint}"
    )
