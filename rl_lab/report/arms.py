"""Runs into arms: one task and one agent, all seeds."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rl_lab.monitor.record.run_directory import Run
from rl_lab.report.census import digests
from rl_lab.report.digest import Digest, largest
from rl_lab.report.statistics import Interval, exact_interval, interval_over_seeds, iqm, per_hundred

SEED = 0
"""Seed of the bootstrap where the caller brings no generator: the same runs give the same report."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One task and one agent over all seeds.

    Returns and collapses speak of the `ended` runs; updates, spikes and KL of every recorded update.
    """

    task: str
    env: str
    agent: str
    rule: str
    trust_region: str | None
    runs: int
    ended: int
    final_returns: tuple[float, ...]
    final_seeds: tuple[int | None, ...]
    """Seeds of the `final_returns`."""
    final_return: float | None
    final_return_interval: Interval | None
    random_return: float | None
    random_stderr: float | None
    """Standard error of `random_return`, the largest that one of the runs was given."""
    updates: int
    kl_spikes: int
    kl_spikes_per_100: float | None
    kl_measured: bool
    """False where no update has a KL, which holds for every off-policy algorithm."""
    kl_mean_peaks: tuple[float, ...]
    """Largest kl_mean of each run, infinite for one that diverged: its policy went beyond all bounds."""
    kl_mean_seeds: tuple[int | None, ...]
    """Seeds of the `kl_mean_peaks`."""
    kl_mean_largest: float | None
    """Largest finite one of any update."""
    kl_max_largest: float | None
    collapsed: int
    recovered: int
    collapse_rate: float | None
    collapse_interval: Interval | None
    notes: tuple[str, ...]

    @property
    def fenced(self) -> bool | None:
        """Whether the agent has a trust region.

        None if its run does not say (an agent that is not ours), or has no updates of a policy to be bounded, as
        one without KL.
        """
        if self.trust_region is None or not self.kl_measured:
            return None
        return not self.trust_region.lower().startswith("none")


def summarise(runs: Iterable[Run], rng: np.random.Generator | None = None) -> list[Arm]:
    """One arm per task and agent, sorted by both."""
    return arms_of(digests(runs), rng or np.random.default_rng(SEED))


def arms_of(found: Sequence[Digest], rng: np.random.Generator) -> list[Arm]:
    """One arm per task and agent, sorted by both."""
    return [_arm(members, rng) for members in grouped(found).values()]


def grouped(found: Sequence[Digest]) -> dict[tuple[str, str], list[Digest]]:
    """Runs by (task, agent), sorted by both and within by seed."""
    groups: dict[tuple[str, str], list[Digest]] = {}
    order = sorted(
        found,
        key=lambda one: (
            one.task.casefold(),
            one.task,
            one.agent,
            one.seed is None,
            one.seed or 0,
            one.run_id,
        ),
    )
    for one in order:
        groups.setdefault((one.task, one.agent), []).append(one)
    return groups


def _arm(members: Sequence[Digest], rng: np.random.Generator) -> Arm:
    counted = [one for one in members if one.counts]
    finals = [(one.seed, value) for one in counted if (value := one.settled_return) is not None]
    known = tuple(value for _, value in finals)
    floorless = any(one.diverged and one.settled_return is None for one in counted)
    measurable = bool(known) and not floorless
    updates = sum(one.updates for one in members)
    measured = any(np.isfinite(one.kl_mean).any() for one in members)
    spikes = sum(len(one.named("kl_spike")) for one in members)
    collapsed = sum(one.collapsed for one in counted)
    kl_measured = _kl_measured(members)
    peaks = [(one.seed, peak) for one in members if kl_measured and (peak := _peak(one)) is not None]
    randoms = [one.random_return for one in members if one.random_return is not None]
    errors = [one.random_stderr for one in members if one.random_stderr is not None]
    first = members[0]
    return Arm(
        task=first.task,
        env=first.env,
        agent=first.agent,
        rule=first.rule,
        trust_region=first.trust_region,
        runs=len(members),
        ended=len(counted),
        final_returns=known,
        final_seeds=tuple(seed for seed, _ in finals),
        final_return=iqm(known) if measurable else None,
        final_return_interval=interval_over_seeds(known, rng) if measurable else None,
        random_return=float(np.mean(randoms)) if randoms else None,
        random_stderr=max(errors, default=None),
        updates=updates,
        kl_spikes=spikes,
        kl_spikes_per_100=per_hundred(spikes, updates) if measured else None,
        kl_measured=kl_measured,
        kl_mean_peaks=tuple(peak for _, peak in peaks),
        kl_mean_seeds=tuple(seed for seed, _ in peaks),
        kl_mean_largest=max((m for one in members if (m := one.peak_kl) is not None), default=None),
        kl_max_largest=max((m for one in members if (m := largest(one.kl_max)) is not None), default=None),
        collapsed=collapsed,
        recovered=sum(one.collapsed and one.recovered for one in counted),
        collapse_rate=collapsed / len(counted) if counted else None,
        collapse_interval=exact_interval(collapsed, len(counted)),
        notes=tuple(_notes(members, counted)),
    )


def _kl_measured(members: Sequence[Digest]) -> bool:
    known = [one.kl_measured for one in members if one.kl_measured is not None]
    return any(known) or not known


def _peak(one: Digest) -> float | None:
    return math.inf if one.diverged else one.peak_kl


def _notes(members: Sequence[Digest], counted: Sequence[Digest]) -> Iterable[str]:
    """What a reader must know of this arm's numbers, one sentence each."""
    diverged = [one for one in counted if one.diverged]
    if diverged and all(one.settled_return is not None for one in diverged):
        yield (
            f"{_count(len(diverged), 'diverged run')} entered with the return of the random policy"
            " (its own last return where that is lower)"
        )
    elif diverged:
        yield "no final return: a run diverged and the random policy's return on this task is unknown"
    silent = sum(one.settled_return is None and not one.diverged for one in counted)
    if silent:
        yield f"{_count(silent, 'run')} ended without a final return and could not enter it"
    unfinished = [one for one in members if one.status not in ("done", "diverged")]
    for status, count in sorted(Counter(one.status for one in unfinished).items()):
        yield f"{_count(count, 'run')} {status}: not in final return and collapse rate"
    early = sum(one.collapsed for one in unfinished)
    if early:
        yield f"{early} of the unfinished had already collapsed"
    repeats = sum(one.repeat for one in members)
    if repeats:
        yield f"{_count(repeats, 'run')} left out of both because a newer run has the same seed"
    lost = sum(int((~np.isfinite(one.kl_mean)).sum()) for one in members)
    if not _kl_measured(members):
        yield (
            "no KL is measured (an algorithm that learns from replayed data has none: its updates are records taken"
            " at intervals)"
        )
    elif lost and lost == sum(len(one.kl_mean) for one in members):
        yield "no update with a finite KL"
    elif lost:
        yield f"{_count(lost, 'update')} without a finite KL"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
