"""Risk of a learning curve: how unsteady it is, how bad its bad moments are, how far it falls.

The measures are those of Chan et al., Measuring the Reliability of Reinforcement Learning Algorithms (ICLR 2020,
arXiv:1912.05663), and of their code, rl-reliability-metrics, with three differences.

* Its shipped measure of long-term risk takes the mean of the *lower* tail of the drawdown. A drawdown is never
  negative and 0 wherever a curve stands at its best, so that a run that climbs to 500 and falls back to 20 scores
  0.000, no worse than one that never falls. Bad is the *upper* tail, and that is what is taken here.
* It divides by P95(y) - y[0], which is negative for a run that only gets worse and then turns every sign. Here one
  width = R_best - R_rand, from the return of a random policy to the best that was reached, is the same for all arms
  of a task, and where it is not positive nothing is divided.
* It filters curves (Butterworth, 1/100 of the Nyquist frequency) before it compares runs. Ours are running means of
  the last episodes already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rl_lab.report.digest import Digest
from rl_lab.report.statistics import Estimate, Floats, Interval, interquartile, stratified_band

TAIL = 0.05
"""Share of the worst moments that a conditional value at risk is the mean of."""
GRID = 200
"""Most times at which runs are compared with each other."""


@dataclass(frozen=True, kw_only=True)
class Risk:
    """Of one curve, in the unit of its returns. A change is that from one point to the next."""

    dispersion: float
    """Interquartile range of the changes. Low is good."""
    worst_changes: float
    """Mean of the lowest 5 % of the changes (lower CVaR). High is good; below 0 where the curve ever falls."""
    drawdown_tail: float
    """Mean of the largest 5 % of the drawdown, best so far minus now (upper CVaR). Low is good, never below 0."""
    max_drawdown: float
    """Largest drawdown."""

    def in_widths(self, width: float) -> "Risk":
        """The same in widths of R_best - R_rand, which no change of scale or offset of the rewards alters."""
        if not width > 0:
            raise ValueError(f"expected a positive width, got {width}")
        return Risk(**{f.name: getattr(self, f.name) / width for f in fields(self)})


MEASURES = tuple(f.name for f in fields(Risk))
ACROSS = "across_runs"


def risk(curve: ArrayLike) -> Risk:
    """The four measures of a curve [2, points] of env_steps and returns, at least two points, steps increasing.

    Changes d_i = (y_i - y_{i-1}) / (t_i - t_{i-1}) * median(t_i - t_{i-1}): the rate of change, over the usual distance
    of two points. Differences are what detrends: a steady rise is a constant in them and adds no dispersion.
    Drawdown D_i = max_{j <= i} y_j - y_i >= 0. CVaR: mean of d_i <= P5(d), mean of D_i >= P95(D).
    Source: see the module. Raises ValueError for curves that are not so.
    """
    steps, returns = _checked(curve)
    gaps = np.diff(steps)
    changes = np.diff(returns) / gaps * np.median(gaps)
    fallen = drawdown(returns)
    return Risk(
        dispersion=float(np.subtract(*np.percentile(changes, [75, 25]))),
        worst_changes=float(changes[changes <= np.quantile(changes, TAIL)].mean()),
        drawdown_tail=float(fallen[fallen >= np.quantile(fallen, 1 - TAIL)].mean()),
        max_drawdown=float(fallen.max()),
    )


def drawdown(returns: ArrayLike) -> Floats:
    """Best so far minus now at every point, [points] -> [points]."""
    values = np.asarray(returns, dtype=np.float64)
    return np.asarray(np.maximum.accumulate(values) - values, dtype=np.float64)


def dispersion_across(curves: ArrayLike) -> float:
    """Interquartile range over runs at every point, averaged over the points; curves [runs, points]."""
    return float(_across(np.asarray(curves, dtype=np.float64)))


def _across(curves: Floats) -> Floats:
    """[..., runs, points] -> [...]."""
    upper, lower = np.percentile(curves, [75, 25], axis=-2)
    return np.asarray((upper - lower).mean(axis=-1), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Risks:
    """Of the runs of one arm that count. Keys: the `MEASURES`, each its IQM over seeds, and `across_runs`."""

    seeds: int
    raw: Mapping[str, Estimate]
    """In the unit of the returns; empty if not every run has a curve that can be judged."""
    relative: Mapping[str, Estimate]
    """In widths of R_best - R_rand; empty where that width is unknown or not positive."""
    width: float | None
    notes: tuple[str, ...]


def risk_of(digests: Sequence[Digest], rng: np.random.Generator, width: float | None = None) -> Risks:
    """Risk of one arm: IQM over its runs that count, with intervals over seeds.

    Arms that are to be compared must get the same `width`: `width_of` all runs of the task. Without it that of these
    runs is taken. The curve of a run that ended non-finite falls to `Digest.settled_return` in
    its last update, and stays there while others go on. `across_runs` is the interquartile range over runs of the
    return at the same env_steps, averaged over the times that all runs have seen or ended before.
    """
    counted = [one for one in digests if one.counts]
    curves = [curve for one in counted if (curve := curve_of(one)) is not None]
    notes = []
    missing = len(counted) - len(curves)
    lost = sum(one.diverged and curve_of(one) is None for one in counted)
    if lost:
        notes.append(
            f"no risk: {lost} of {len(counted)} runs diverged and left no curve of returns with a known end, and to"
            " leave them out would make the arm look steadier than it is"
        )
    elif missing:
        notes.append(
            f"{missing} of {len(counted)} runs have fewer than two returns, so no curve, and are left out"
        )
    if lost or not curves:
        return Risks(seeds=len(curves), raw={}, relative={}, width=None, notes=tuple(notes))
    raw = _estimates(curves, rng)
    width = width_of(counted) if width is None else width
    if width is None:
        notes.append("no widths: the random policy's return is unknown, or nothing here was better than it")
    relative = {name: _scaled(value, width) for name, value in raw.items()} if width else {}
    return Risks(seeds=len(curves), raw=raw, relative=relative, width=width, notes=tuple(notes))


def width_of(digests: Sequence[Digest]) -> float | None:
    """R_best - R_rand of all runs of one task: the scale on which arms are compared.

    R_best is the largest smoothed return in any update of a run that counts, R_rand the mean of what these runs were
    given as the return of a random policy. None where one is unknown or the difference not positive.
    """
    counted = [one for one in digests if one.counts]
    tops = [float(finite.max()) for one in counted if (finite := one.returns[np.isfinite(one.returns)]).size]
    randoms = [one.random_return for one in counted if one.random_return is not None]
    if not tops or not randoms:
        return None
    width = max(tops) - float(np.mean(randoms))
    return width if width > 0 else None


def curve_of(one: Digest) -> Floats | None:
    """env_steps and finite smoothed returns [2, points] of a run; None with fewer than two of them.

    A run that ended non-finite gets its `settled_return` as a last point, at its last update or, if that has a return,
    one usual distance later; None where this return is unknown.
    """
    good = np.isfinite(one.returns) & np.isfinite(one.env_steps)
    steps, returns = one.env_steps[good], one.returns[good]
    if one.diverged:
        settled = one.settled_return
        if settled is None or not steps.size:
            return None
        end = float(one.env_steps[np.isfinite(one.env_steps)].max())
        if end <= steps[-1]:
            end = float(steps[-1] + (np.median(np.diff(steps)) if len(steps) > 1 else steps[-1]))
        steps, returns = np.append(steps, end), np.append(returns, settled)
    keep = np.append(True, np.diff(steps) > 0) if steps.size else np.zeros(0, dtype=bool)
    steps, returns = steps[keep], returns[keep]
    return np.array([steps, returns]) if len(steps) > 1 else None


def _estimates(curves: Sequence[Floats], rng: np.random.Generator) -> dict[str, Estimate]:
    each = np.array([[getattr(risk(curve), name) for name in MEASURES] for curve in curves])
    grid = _common_grid(curves)
    lines = np.array([np.interp(grid, *curve) for curve in curves])

    def of(drawn: Sequence[NDArray[np.int64]]) -> Floats:
        (index,) = drawn
        middle = np.moveaxis(interquartile(each[index], axis=-2), -1, 0)
        return np.concatenate([middle, _across(lines[index])[None]])

    values, band = of([np.arange(len(curves))]), stratified_band([len(curves)], of, rng)
    found = {
        name: Estimate(float(value), None if band is None else Interval(*band[:, i].tolist()))
        for i, (name, value) in enumerate(zip([*MEASURES, ACROSS], values, strict=True))
    }
    if len(curves) < 2:
        del found[ACROSS]  # one run differs from no other
    return found


def _common_grid(curves: Sequence[Floats]) -> Floats:
    """Evenly spaced env_steps from where every run has a return to where the longest one ends."""
    start = max(float(curve[0, 0]) for curve in curves)
    end = max(float(curve[0, -1]) for curve in curves)
    return np.linspace(start, end, GRID)


def _scaled(estimate: Estimate, width: float) -> Estimate:
    interval = estimate.interval
    scaled = None if interval is None else Interval(interval.low / width, interval.high / width)
    return Estimate(estimate.value / width, scaled)


def _checked(curve: ArrayLike) -> Floats:
    table = np.asarray(curve, dtype=np.float64)
    if table.ndim != 2 or len(table) != 2 or table.shape[1] < 2:
        raise ValueError(f"expected a curve [2, points] of at least two points, got shape {table.shape}")
    if not (np.isfinite(table).all() and (np.diff(table[0]) > 0).all()):
        raise ValueError("expected a curve of finite numbers whose env_steps increase")
    return table
