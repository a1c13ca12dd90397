"""How long until a run collapses: survival curves with runs that ended before they could, and their comparison.

The rate alone asks only whether. Of two arms that both lose 5 of 10 runs, one may lose them in the first tenth of
training and the other at its end, and an interrupted run, of which the rate can make nothing, has still lived so long.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rl_lab.monitor.record.run_directory import FINISHED
from rl_lab.report.digest import Digest
from rl_lab.report.statistics import LEVEL, Floats

EXACT = 20_000
"""Most ways to deal the runs of two arms that the log-rank test goes through."""


@dataclass(frozen=True, kw_only=True)
class Survival:
    """Kaplan-Meier estimate of the share of runs that have not collapsed, a step function of env_steps.

    Arrays have one entry per time at which a run collapsed or was last seen, after a first one at 0; `alive[i]` holds
    from times[i] on, up to times[i + 1]. Behind the last time nothing is known.
    """

    times: Floats
    """env_steps."""
    alive: Floats
    low: Floats
    """Pointwise 95 % interval of `alive`."""
    high: Floats
    at_risk: NDArray[np.int64]
    """Runs that were still watched and had not collapsed just before times[i]."""
    lifetimes: Floats
    """Per run: when it collapsed, or was last seen. [runs]"""
    happened: NDArray[np.bool_]
    """Per run: whether it collapsed. [runs]"""

    @property
    def runs(self) -> int:
        """How many runs it rests on."""
        return len(self.lifetimes)

    @property
    def collapsed(self) -> int:
        """How many of them collapsed."""
        return int(self.happened.sum())

    @property
    def censored(self) -> Floats:
        """Times at which runs that had not collapsed were last seen, sorted."""
        return np.sort(self.lifetimes[~self.happened])

    @property
    def median(self) -> float | None:
        """The first time at which at most half are alive; None if more than half are at the end."""
        return _first(self.times, self.alive <= 0.5)

    @property
    def median_interval(self) -> tuple[float | None, float | None]:
        """Times at which the two ends of the band come down to one half; None for an end that does not.

        Source: Brookmeyer and Crowley, Biometrics 38, 29 (1982).
        """
        return _first(self.times, self.low <= 0.5), _first(self.times, self.high <= 0.5)

    def at(self, time: float) -> float:
        """Share alive at a time; NaN before 0 and behind the last time, where nothing is known."""
        if not 0 <= time <= self.times[-1]:
            return math.nan
        return float(self.alive[np.searchsorted(self.times, time, side="right") - 1])


def survival(times: ArrayLike, happened: ArrayLike) -> Survival:
    """Kaplan-Meier estimate S(t) = prod over t_i <= t of (1 - d_i / n_i), d_i collapses among n_i runs at risk.

    `times` [runs]: when a run collapsed, or was last seen (censored) where `happened` [runs] is false. Among equal
    times collapses come first. Interval: log(-log) of Greenwood's variance,
    S^exp(±1.96 s), s^2 = sum d_i / (n_i (n_i - d_i)) / log(S)^2, both from `scipy.stats.ecdf`.
    Where it is undefined because S is 1 or 0 the exact binomial bound of the n_i runs at risk takes its place: all of
    them alive gives S >= 0.025^(1 / n_i), none gives S <= 1 - 0.025^(1 / n_i), never more than just before.
    Measured on exponential lives of which half are seen to end, 3000 trials a point: it holds the truth in 92 to
    100 % with 3 to 10 runs, by time, and in 94.5 to 97 % with 20 and 50. Greenwood's own interval, S ± 1.96 s.e., does
    in 23 to 40 % with 5 runs where 90 % are alive in truth.

    Raises ValueError for no runs, times that are negative or not finite, or unequal lengths.
    """
    lifetimes, flags = np.asarray(times, dtype=np.float64), np.asarray(happened, dtype=np.bool_)
    if lifetimes.ndim != 1 or not lifetimes.size or lifetimes.shape != flags.shape:
        raise ValueError(
            f"expected one time and one flag per run, got shapes {lifetimes.shape} and {flags.shape}"
        )
    if not (np.isfinite(lifetimes) & (lifetimes >= 0)).all():
        raise ValueError(f"expected times that are finite and not negative, got {lifetimes.tolist()}")
    curve = stats.ecdf(_censored_data(lifetimes, flags)).sf
    steps, alive = np.asarray(curve.quantiles), np.asarray(curve.probabilities)
    at_risk = np.array([(lifetimes >= step).sum() for step in steps], dtype=np.int64)
    low, high = _band(curve, alive, at_risk)
    if steps[0] > 0:
        steps, alive, low, high = (
            np.concatenate([[first], rest])
            for first, rest in ((0.0, steps), (1.0, alive), (all_alive(len(lifetimes)), low), (1.0, high))
        )
        at_risk = np.concatenate([[len(lifetimes)], at_risk])
    return Survival(
        times=steps, alive=alive, low=low, high=high, at_risk=at_risk, lifetimes=lifetimes, happened=flags
    )


def _band(curve: Any, alive: Floats, at_risk: NDArray[np.int64]) -> tuple[Floats, Floats]:
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # undefined where the curve is 1 or 0, which is mended below
        bounds = curve.confidence_interval(LEVEL, method="log-log")
    low, high = (np.array(end.probabilities) for end in (bounds.low, bounds.high))
    for i, (share, count) in enumerate(zip(alive, at_risk, strict=True)):
        if share == 1:
            low[i], high[i] = all_alive(int(count)), 1.0
        elif share == 0:
            low[i], high[i] = 0.0, min(1 - all_alive(int(count)), high[i - 1] if i else 1.0)
    return low, high


def all_alive(n: int) -> float:
    """Lower end 0.025^(1 / n) of the exact 95 % interval of a share of which all n runs are part."""
    return float(((1 - LEVEL) / 2) ** (1 / n))


def survival_of(digests: Sequence[Digest]) -> Survival | None:
    """Time to collapse of the runs of one arm, in env_steps; None if none of them has a recorded update.

    A collapse is placed where it was established (the event's env_steps), not where it is found to have begun: up to
    any time it is then known who has collapsed, as the estimate demands. A run that ended non-finite collapsed at its
    last update at the latest. One that finished well, failed, was interrupted or still runs is censored at its last
    update; it counts, unlike in the collapse rate, but only once per seed: where a run of the same seed ended, that
    one counts (`Digest.counts`), else the newest.
    """
    lives = [life for one in once_per_seed(digests) if (life := lifetime(one)) is not None]
    if not lives:
        return None
    return survival([life for life, _ in lives], [happened for _, happened in lives])


def lifetime(one: Digest) -> tuple[float, bool] | None:
    """(env_steps at its first collapse, True) or (env_steps at its last update, False).

    Without a recorded update it collapsed at 0, or there is nothing to tell: None.
    """
    known = one.env_steps[np.isfinite(one.env_steps)]
    if not known.size:
        return (0.0, True) if one.collapsed else None
    end = float(known.max())
    happened = [_placed(one, event.get("env_steps"), event.get("update"), end)
                for event in one.named("performance_collapse")]  # fmt: skip
    return (min([*happened, end]), True) if one.collapsed else (end, False)


def once_per_seed(digests: Sequence[Digest]) -> list[Digest]:
    """One run per seed of one arm: the one that counts, else the newest; runs without a seed all stay."""
    chosen: dict[int | str, Digest] = {}
    for one in sorted(digests, key=lambda run: (run.counts, run.status in FINISHED, run.started)):
        chosen[one.run_id if one.seed is None else one.seed] = one
    return [one for one in digests if chosen[one.run_id if one.seed is None else one.seed] is one]


def logrank(a: Survival, b: Survival) -> float:
    """Two-sided p value of the log-rank test that two arms collapse at the same rate at every time.

    O - E: collapses of the first arm minus those expected if each collapse befell one of the runs then at risk by
    lot. Up to `EXACT` ways to deal the runs to the arms (8 against 8) p is the share of them with an |O - E| as large,
    exact where both arms are watched for as long; beyond, that of (O - E) / sqrt(V) as a normal number,
    `scipy.stats.logrank`, which at five against five runs gives 7 % false alarms at 5 %, at three against three 11 %.
    1 where no run collapsed. Source: N. Mantel, Cancer Chemotherapy Reports 50, 163 (1966).
    """
    if not a.collapsed + b.collapsed:
        return 1.0
    if math.comb(a.runs + b.runs, a.runs) <= EXACT:
        return _dealt(logrank_scores(a, b), a.runs)
    found = stats.logrank(_censored_data(a.lifetimes, a.happened), _censored_data(b.lifetimes, b.happened))
    return float(found.pvalue)


def logrank_scores(a: Survival, b: Survival) -> Floats:
    """Per run 1 if it collapsed, else 0, minus sum over collapses up to its time of d_i / n_i, [runs of a, runs of b].

    Both arms pooled (Nelson and Aalen). Over the runs of one arm they add up to its O - E.
    """
    times, flags = np.concatenate([a.lifetimes, b.lifetimes]), np.concatenate([a.happened, b.happened])
    steps = np.unique(times[flags])
    hazard = [(flags & (times == step)).sum() / (times >= step).sum() for step in steps]
    passed = np.concatenate([[0.0], np.cumsum(hazard)])[np.searchsorted(steps, times, side="right")]
    return np.asarray(flags - passed, dtype=np.float64)


def _dealt(scores: Floats, n: int) -> float:
    """Share of all choices of n of the scores whose |sum| is at least that of the first n."""
    choices = np.array(list(combinations(range(len(scores)), n)))
    sums = np.abs(scores[choices].sum(axis=1))
    return float((sums >= sums[0] - 1e-9).mean())


def _censored_data(lifetimes: Floats, flags: NDArray[np.bool_]) -> stats.CensoredData:
    return stats.CensoredData(uncensored=lifetimes[flags], right=lifetimes[~flags])


def _placed(one: Digest, steps: object, update: object, end: float) -> float:
    """env_steps of an event: its own, else those of its update, else the end of the run."""
    if isinstance(steps, int | float) and math.isfinite(steps):
        return float(steps)
    found = one.env_steps[(one.update == update) & np.isfinite(one.env_steps)]
    return float(found[0]) if found.size else end


def _first(times: Floats, reached: NDArray[np.bool_]) -> float | None:
    return float(times[np.argmax(reached)]) if reached.any() else None
