"""The numbers a reviewer asks for: interquartile mean, intervals over seeds, exact intervals for rates.

The seed is the only unit of replication. Episodes, updates and environments of one run are not independent
and are never counted as if they were.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 2000

FALSE_ALARMS = {2: 0.49, 3: 0.26, 4: 0.12, 5: 0.11, 6: 0.10, 10: 0.06, 20: 0.055}
"""How often `difference_interval` of two equal arms lies wholly on one side of 0, by the number of seeds.

Measured on normal returns, 2000 trials each; nominally it would be 5 %.
"""
ENOUGH_SEEDS = 6
"""From so many seeds on an interval is read as a result, below as a hint: see `FALSE_ALARMS`."""


class Interval(NamedTuple):
    """A closed interval [low, high]."""

    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """A number and how well the runs know it."""

    value: float
    interval: Interval | None
    """None where the runs are too few to say: a single seed has no spread."""


def interquartile(values: Floats, axis: int = -1) -> Any:
    """IQM along one axis, for values that are known to be finite: see `iqm`."""
    return stats.trim_mean(values, 0.25, axis=axis)


def _finite(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"expected one finite value per run, got {array.tolist()}")
    return array


def iqm(values: ArrayLike) -> float:
    """Interquartile mean: the mean after cutting floor(n / 4) values from each end.

    With fewer than four values nothing is cut and it is the plain mean. Source: `scipy.stats.trim_mean`, the
    definition of Agarwal et al. (arXiv:2108.13264).
    """
    return float(interquartile(_finite(values)))


def iqm_of_curves(curves: ArrayLike) -> Floats:
    """IQM at every point of curves [runs, points] -> [points]."""
    return np.asarray(interquartile(_finite(curves), axis=0), dtype=np.float64)


def interval_over_seeds(values: ArrayLike, rng: np.random.Generator) -> Interval | None:
    """Percentile bootstrap interval of the IQM over runs [n]; None for one run, which has no spread."""
    column = _finite(values).reshape(-1, 1)
    band = band_over_seeds(column, rng)
    return None if band is None else Interval(float(band[0, 0]), float(band[1, 0]))


def band_over_seeds(curves: ArrayLike, rng: np.random.Generator) -> Floats | None:
    """Percentile bootstrap band of the IQM of curves [runs, points] -> [2, points]; None for a single run.

    Whole runs are resampled: one draw of seeds serves all points, as the points of one run belong together.
    """
    matrix = _finite(curves)
    if len(matrix) < 2:
        return None
    result = stats.bootstrap(
        (matrix,), interquartile, axis=0, n_resamples=RESAMPLES, batch=200,
        confidence_level=LEVEL, method="percentile", vectorized=True, rng=rng,
    )  # fmt: skip
    return np.array([result.confidence_interval.low, result.confidence_interval.high])


def largest_difference(pairs: ArrayLike) -> float:
    """Largest |IQM(a) - IQM(b)| over pairs [pairs, 2, runs].

    Biased upwards: for equal arms a mean absolute difference of independent runs is sigma * sqrt(4 / (pi n)) and not
    0, and the largest of several is larger still. So it says how much there may be, never that there is something.
    """
    return float(_largest_gap(_finite(pairs)))


def difference_interval(first: ArrayLike, second: ArrayLike, rng: np.random.Generator) -> Interval | None:
    """Paired percentile bootstrap interval of IQM(first) - IQM(second), runs [n] each; None for a single run.

    Entry i of both belongs to one seed, and seeds are resampled: what they have in common cancels.
    """
    return _paired_interval(
        np.stack([_finite(first), _finite(second)])[None], lambda pairs: _gaps(pairs)[0], rng
    )


def largest_difference_interval(pairs: ArrayLike, rng: np.random.Generator) -> Interval | None:
    """Paired percentile bootstrap interval of `largest_difference`, one draw of seeds for all pairs.

    It cannot hold 0 but where runs are equal to the bit, and leans upwards as the value itself does.
    """
    return _paired_interval(_finite(pairs), _largest_gap, rng)


def _gaps(pairs: Floats) -> Any:
    """IQM(a) - IQM(b), [pairs, 2, ..., runs] -> [pairs, ...]."""
    middle = interquartile(pairs)
    return middle[:, 0] - middle[:, 1]


def _largest_gap(pairs: Floats) -> Any:
    return np.abs(_gaps(pairs)).max(axis=0)


def _paired_interval(
    pairs: Floats, statistic: Callable[[Floats], Any], rng: np.random.Generator
) -> Interval | None:
    if pairs.shape[-1] < 2:
        return None

    def of_rows(*rows: Floats, axis: int) -> Any:
        assert axis == -1
        return statistic(np.stack(rows).reshape(*pairs.shape[:2], *rows[0].shape))

    result = stats.bootstrap(
        tuple(pairs.reshape(-1, pairs.shape[-1])), of_rows, paired=True, n_resamples=RESAMPLES, batch=500,
        confidence_level=LEVEL, method="percentile", vectorized=True, rng=rng,
    )  # fmt: skip
    return Interval(float(result.confidence_interval.low), float(result.confidence_interval.high))


def expanded_level(sizes: Sequence[int]) -> float:
    """Level 1 - 2 Phi(-sqrt(n / (n - 1)) t) whose percentile interval is as wide as Student's, for few runs.

    A percentile interval is narrow by sqrt((n - 1) / n), as resamples spread about their own mean, and takes normal
    quantiles where t ones belong; both cost coverage at few seeds. Here n is the smallest of the `sizes`, the runs
    of every stratum, and t the quantile (1 + LEVEL) / 2 of Student's distribution with sum(sizes - 1) degrees of
    freedom. With n growing it tends to LEVEL. No level helps two to four runs of one task: see `coverage_of_range`.
    Measured for the IQM over seeds of one task, normal returns, 1200 trials: it holds the truth in 93.5, 95.8, 97.3,
    95.8 and 95.7 % with 5, 6, 8, 10 and 20 seeds, where LEVEL itself gives 89.8, 91.2, 93.1, 93.5 and 93.8 %; with
    exponential returns in 92.2 to 97.0 %, with heavy tails (t, 3 degrees of freedom) in 93.2 to 97.1 %. With 3 seeds
    74 %, with 4 seeds 87.5 %, either way.
    Source: T. C. Hesterberg, The American Statistician 69, 371 (2015), section 4.2 ("expanded percentile").
    """
    n, freedom = min(sizes), sum(size - 1 for size in sizes)
    if n < 2:
        raise ValueError(f"expected at least two runs in every stratum, got {list(sizes)}")
    reach = sqrt(n / (n - 1)) * stats.t.ppf((1 + LEVEL) / 2, freedom)
    return float(1 - 2 * stats.norm.sf(reach))


def stratified_band(
    sizes: Sequence[int], statistic: Callable[[Sequence[NDArray[np.int64]]], Any], rng: np.random.Generator
) -> Floats | None:
    """Expanded percentile interval of a statistic of strata whose runs are resampled each within its stratum.

    `statistic` gets the indices that were drawn, one array [..., size] for each stratum, and gives [..., ] or
    [values, ...]; what is to stay together (arms that share seeds, points of one run) it looks up with the same
    indices. Returns [2] or [2, values]; None where a stratum has a single run. Level: `expanded_level`.
    """
    if not sizes or min(sizes) < 2:
        return None
    result = stats.bootstrap(
        tuple(np.arange(size) for size in sizes), lambda *drawn, axis: statistic(drawn), n_resamples=RESAMPLES,
        batch=200, confidence_level=expanded_level(sizes), method="percentile", vectorized=True, rng=rng,
    )  # fmt: skip
    return np.array([result.confidence_interval.low, result.confidence_interval.high])


def coverage_of_range(n: int) -> float:
    """Chance 1 - 2^(1-n) that the range of n runs holds the middle of a continuous symmetric distribution.

    The bootstrap interval of the IQM over two, three or four runs *is* their range: a resample has the IQM of
    the smallest run with a chance of 1/4, 1/27 and 13/256 (three of four draws suffice there), always more
    than 2.5 %. So "95 %" over three seeds holds the truth three times in four.
    """
    return float(1 - 2.0 ** (1 - n))


def exact_interval(successes: int, trials: int) -> Interval | None:
    """Clopper-Pearson interval of a rate, two-sided; None without trials.

    No success in n trials bounds the rate by 1 - 0.025^(1/n): 71 % for n = 3, 17 % for n = 20.
    """
    if trials == 0:
        return None
    bounds = stats.binomtest(successes, trials).proportion_ci(confidence_level=LEVEL, method="exact")
    return Interval(float(bounds.low), float(bounds.high))


def per_hundred(count: int, updates: int) -> float | None:
    """Events per 100 updates; None without updates."""
    return 100 * count / updates if updates else None


def separated(a: ArrayLike, b: ArrayLike) -> bool:
    """True if every value of one group lies strictly above every value of the other; values may be infinite."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not (x.size and y.size) or np.isnan(x).any() or np.isnan(y).any():
        raise ValueError(f"expected one number per run, got {x.tolist()} and {y.tolist()}")
    return bool(x.min() > y.max() or y.min() > x.max())


def chance_of_separation(n: int, m: int) -> float:
    """Chance 2 / C(n + m, n) that n runs and m runs of one and the same thing come out separated.

    It is the two-sided p value of the exact Mann-Whitney test at its extreme: 10 % for 3 against 3 runs, so
    three seeds a side can never reach 5 %.
    """
    return 2 / comb(n + m, n)
