"""All tasks together: scores on one scale, what they come to, and how sure the seeds make it.

Source of the measures: Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice (NeurIPS
2021, arXiv:2108.13264). Different from its library rliable: randomness comes from the generator that is given, runs
that ended non-finite have a score (see `scores_of`) where one NaN there makes every number NaN, and intervals are
widened for few seeds (`statistics.expanded_level`).

Scores are given as {task: [runs]}. Seeds are resampled within each task, tasks are not: the intervals speak of new
seeds on these tasks, not of other tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rl_lab.report.arms import grouped
from rl_lab.report.digest import Digest
from rl_lab.report.statistics import (
    LEVEL,
    Estimate,
    Floats,
    Interval,
    exact_interval,
    interquartile,
    iqm,
    stratified_band,
)

Scores = Mapping[str, ArrayLike]
"""Normalised scores [runs] by task."""
Drawn = Sequence[NDArray[np.int64]]
"""Indices of runs, one array [..., runs] for each task."""


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """One agent over all tasks."""

    mean: Estimate
    iqm: Estimate
    """Mean of the middle half of all runs of all tasks together."""
    optimality_gap: Estimate
    """Mean of what runs lack to a score of 1; better ones lack nothing. Low is good."""
    tasks: tuple[str, ...]
    runs: int


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Share of the runs whose score lies above tau, and its pointwise 95 % interval; arrays [taus]."""

    taus: Floats
    share: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Scores of a first agent minus those of a second over the (task, seed) that both have."""

    mean: Estimate
    iqm: Estimate
    """IQM of the first minus IQM of the second, as the contrasts have it."""
    better: int
    equal: int
    worse: int
    """Seeds in which the first is worse."""


def aggregate(scores: Scores, rng: np.random.Generator) -> Aggregate:
    """Mean, IQM and optimality gap 1 - mean(min(score, 1)) over all runs of all tasks, each run counted once.

    Where tasks have unequal numbers of runs they weigh unequally; `paired_difference` compares over what both have.
    """
    columns = _columns(scores)

    def of(drawn: Drawn) -> Floats:
        every = _pooled(columns, drawn)
        return np.array([every.mean(axis=-1), interquartile(every), 1 - np.minimum(every, 1).mean(axis=-1)])

    mean, middle, gap = _estimates(of, columns, rng)
    runs = sum(len(column) for column in columns)
    return Aggregate(mean=mean, iqm=middle, optimality_gap=gap, tasks=tuple(scores), runs=runs)


def profile(scores: Scores, taus: ArrayLike) -> Profile:
    """Performance profile F(tau) = share of all runs with score > tau, taus [points].

    Interval: Clopper and Pearson's for the runs of all tasks together. Tasks differ, so that the count above tau is a
    sum of unequal chances, and such a sum spreads at most as a binomial one of the same mean (W. Hoeffding, Annals of
    Mathematical Statistics 27, 713 (1956)): the interval holds the truth at least 95 times in 100. A stratified
    bootstrap does not: it sees no spread in a task all of whose runs lie on one side of tau, and near the ends of a
    profile over four tasks with three seeds its interval held the truth in 4 of 5 cases.
    """
    every, levels = np.concatenate(_columns(scores)), np.asarray(taus, dtype=np.float64)
    counts = [int((every > tau).sum()) for tau in levels]
    bounds = {count: exact_interval(count, len(every)) for count in set(counts)}
    low, high = np.array([bounds[count] for count in counts], dtype=np.float64).reshape(-1, 2).T
    return Profile(taus=levels, share=np.array(counts) / len(every), low=low, high=high)


def improvement(first: Scores, second: Scores, rng: np.random.Generator) -> Estimate:
    """Probability of improvement P(X > Y) + P(X = Y) / 2, mean over the tasks, which must be the same for both.

    Per task it is U / (n m) of Mann and Whitney over all n m pairs of runs; the runs of both are drawn independently:
    where they share seeds and so have something in common the interval is wider than it need be; `paired_difference`
    makes use of it. Where every run of one is better than every run of the other on all tasks no resample differs, and
    0.025^(1 / sum min(n, m)) bounds it: so many disjoint pairs would all have to come out so.
    """
    _same_tasks(first, second)
    a, b = _columns(first), _columns({task: second[task] for task in first})
    wins = [(np.sign(x[:, None] - y[None, :]) + 1) / 2 for x, y in zip(a, b, strict=True)]

    def of(drawn: Drawn) -> Any:
        rows, columns = drawn[: len(a)], drawn[len(a) :]
        each = [w[i[..., :, None], j[..., None, :]].mean(axis=(-2, -1))
                for w, i, j in zip(wins, rows, columns, strict=True)]  # fmt: skip
        return np.mean(each, axis=0)[None]

    (found,) = _estimates(of, [*a, *b], rng)
    disjoint = sum(min(len(x), len(y)) for x, y in zip(a, b, strict=True))
    if found.interval is None or 0 < found.value < 1:
        return found
    edge = Interval(_bound(disjoint), 1.0) if found.value == 1 else Interval(0.0, 1 - _bound(disjoint))
    return Estimate(found.value, edge)


def paired_difference(first: Scores, second: Scores, rng: np.random.Generator) -> Paired:
    """Difference of two agents, entry i of both being one seed: seeds are drawn for both together."""
    _same_tasks(first, second)
    a, b = _columns(first), _columns({task: second[task] for task in first})
    for task, x, y in zip(first, a, b, strict=True):
        if len(x) != len(y):
            raise ValueError(f"{task}: expected the same seeds in both, got {len(x)} and {len(y)} runs")

    def of(drawn: Drawn) -> Floats:
        x, y = _pooled(a, drawn), _pooled(b, drawn)
        return np.array([(x - y).mean(axis=-1), interquartile(x) - interquartile(y)])

    mean, middle = _estimates(of, a, rng)
    signs = np.sign(np.concatenate(a) - np.concatenate(b))
    better, equal, worse = (int((signs == sign).sum()) for sign in (1, 0, -1))
    return Paired(mean=mean, iqm=middle, better=better, equal=equal, worse=worse)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What is 0 and what is 1 on a task."""

    random: float
    """Mean return of the random policy: 0."""
    reference: float
    """IQM of the final returns of the best agent: 1."""
    best: str
    """That agent."""

    def score(self, value: float) -> float:
        """(R - R_rand) / (reference - R_rand)."""
        return (value - self.random) / (self.reference - self.random)


@dataclass(frozen=True, kw_only=True)
class Standings:
    """Scores of all agents on the tasks that have a scale."""

    scores: Mapping[str, Mapping[str, Mapping[int | str, float]]]
    """By agent, task and seed (the run's id where it has no seed)."""
    scales: Mapping[str, Scale]
    notes: tuple[str, ...]

    def of(self, agent: str, tasks: Sequence[str] | None = None) -> dict[str, Floats]:
        """The scores of one agent as {task: [runs]}, on all its tasks or some of them."""
        mine = self.scores[agent]
        return {task: np.array(list(mine[task].values())) for task in (mine if tasks is None else tasks)}

    def shared_tasks(self, agents: Sequence[str]) -> list[str]:
        """Tasks on which all these agents have scores: only over them may they be compared."""
        return [task for task in self.scales if all(task in self.scores[agent] for agent in agents)]

    def both(self, first: str, second: str) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """Scores of two agents over the tasks and seeds that both have, entry i of both being one seed."""
        a, b = self.scores[first], self.scores[second]
        seeds = {
            task: [seed for seed in a[task] if seed in b[task]] for task in self.shared_tasks([first, second])
        }
        return tuple(  # type: ignore[return-value]
            {
                task: np.array([side[task][seed] for seed in shared])
                for task, shared in seeds.items()
                if shared
            }
            for side in (a, b)
        )


def scores_of(digests: Sequence[Digest]) -> Standings:
    """Put the final returns of all runs that count on one scale per task: the random policy is 0, the best agent is 1.

    The reference is the largest IQM of final returns that an agent of these runs has on the task: scores compare the
    agents of one study, and are not comparable between studies with other agents. It is taken as known in every
    interval. A run that ended non-finite enters with `Digest.settled_return`, so with at most 0, and is never dropped.
    A task without a scale (the random policy unknown, or no agent better than it by two of its standard errors), and an
    agent on a task in which a run that diverged cannot be settled, are left out and noted.
    """
    tasks: dict[str, dict[str, list[Digest]]] = {}
    for (task, agent), members in grouped([one for one in digests if one.counts]).items():
        tasks.setdefault(task, {})[agent] = members
    scores: dict[str, dict[str, dict[int | str, float]]] = {}
    scales, notes = {}, []
    for task, agents in tasks.items():
        finals = {}
        for agent, members in agents.items():
            if any(one.diverged and one.settled_return is None for one in members):
                notes.append(
                    f"{agent} on {task} has no score: a run diverged and the random policy's return is unknown"
                )
            elif found := _finals(members):
                finals[agent] = found
        scale = _scale(finals, [one for members in agents.values() for one in members])
        if isinstance(scale, str):
            notes.append(f"{task} has no scores: {scale}")
            continue
        scales[task] = scale
        for agent, returns in finals.items():
            scored = {seed: scale.score(value) for seed, value in returns.items()}
            scores.setdefault(agent, {})[task] = scored
    return Standings(scores=scores, scales=scales, notes=tuple(notes))


def _finals(members: Sequence[Digest]) -> dict[int | str, float]:
    return {
        one.run_id if one.seed is None else one.seed: value
        for one in members
        if (value := one.settled_return) is not None
    }


def _scale(finals: Mapping[str, Mapping[int | str, float]], runs: Sequence[Digest]) -> Scale | str:
    """The scale of a task, or why it has none."""
    randoms = [one.random_return for one in runs if one.random_return is not None]
    if not finals or not randoms:
        return "no run has a final return" if randoms else "the random policy's return is unknown"
    random = float(np.mean(randoms))
    error = max((one.random_stderr for one in runs if one.random_stderr is not None), default=0.0)
    middles = {agent: iqm(list(returns.values())) for agent, returns in finals.items()}
    best = max(middles, key=lambda agent: middles[agent])
    if middles[best] <= random + 2 * error:
        return "no agent is better than the random policy by more than two of its standard errors"
    return Scale(random=random, reference=middles[best], best=best)


def _columns(scores: Scores) -> list[Floats]:
    """The scores as arrays, refused unless every run has one."""
    if not scores:
        raise ValueError("expected the scores of at least one task, got none")
    columns = [np.asarray(values, dtype=np.float64) for values in scores.values()]
    for task, column in zip(scores, columns, strict=True):
        if column.ndim != 1 or not column.size or not np.isfinite(column).all():
            raise ValueError(f"{task}: expected one finite score per run, got {column.tolist()}")
    return columns


def _same_tasks(first: Scores, second: Scores) -> None:
    if set(first) != set(second):
        raise ValueError(f"expected the same tasks in both, only one has {sorted(set(first) ^ set(second))}")


def _all(columns: Sequence[Floats]) -> Drawn:
    return [np.arange(len(column)) for column in columns]


def _pooled(columns: Sequence[Floats], drawn: Drawn) -> Floats:
    """Runs of all tasks side by side, [..., runs of all tasks]."""
    return np.concatenate([column[index] for column, index in zip(columns, drawn, strict=True)], axis=-1)


def _estimates(
    of: Callable[[Drawn], Floats], strata: Sequence[Floats], rng: np.random.Generator
) -> list[Estimate]:
    """Every value that `of` gives, with its stratified interval."""
    values, band = of(_all(strata)), stratified_band([len(s) for s in strata], of, rng)
    if band is None:
        return [Estimate(float(value), None) for value in values]
    return [
        Estimate(float(v), Interval(float(lo), float(hi))) for v, lo, hi in zip(values, *band, strict=True)
    ]


def _bound(trials: int) -> float:
    """What a rate is at least, with 97.5 % confidence, if all of so many trials succeed."""
    return float(((1 - LEVEL) / 2) ** (1 / trials))
