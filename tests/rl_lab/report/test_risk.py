"""Risk of curves against definitions by hand, invariances, and the case that the shipped measure cannot see."""

import math

import numpy as np
import pytest
from made_digests import made

from rl_lab.report import statistics
from rl_lab.report.risk import (
    ACROSS,
    MEASURES,
    curve_of,
    dispersion_across,
    drawdown,
    risk,
    risk_of,
    width_of,
)
from rl_lab.report.statistics import iqm


@pytest.fixture
def rng():
    return np.random.default_rng(20261122)


def values(found):
    return np.array([getattr(found, name) for name in MEASURES])


def noisy(rng, points=101):
    return np.array([1000.0 * np.arange(points), np.cumsum(rng.normal(0.1, 1, size=points))])


def test_every_measure_is_its_definition(rng):
    """Uneven steps, by loops and sorting: no quantile function is shared with the code."""
    steps = np.cumsum(rng.uniform(1, 5, size=41))
    returns = rng.normal(size=41).cumsum()
    rates = [(returns[i] - returns[i - 1]) / (steps[i] - steps[i - 1]) for i in range(1, 41)]
    usual = sorted(np.diff(steps))
    changes = np.array(sorted(rates)) * (usual[19] + usual[20]) / 2
    falls = sorted(max(returns[: i + 1]) - returns[i] for i in range(41))

    def quantile(ordered, share):  # linear between order statistics, at share * (n - 1)
        place = share * (len(ordered) - 1)
        below = math.floor(place)
        return ordered[below] + (place - below) * (ordered[min(below + 1, len(ordered) - 1)] - ordered[below])

    found = risk([steps, returns])
    assert found.dispersion == pytest.approx(quantile(changes, 0.75) - quantile(changes, 0.25))
    assert found.worst_changes == pytest.approx(np.mean([c for c in changes if c <= quantile(changes, 0.05)]))
    assert found.drawdown_tail == pytest.approx(np.mean([f for f in falls if f >= quantile(falls, 0.95)]))
    assert found.max_drawdown == pytest.approx(
        max(returns[i] - returns[j] for i in range(41) for j in range(i, 41))
    )


def test_a_run_that_climbs_to_500_and_falls_to_20_is_seen():
    """The lower tail of the drawdown, which rl-reliability-metrics ships as long-term risk, is 0 for it and for a
    healthy run alike."""
    steps = np.arange(100.0)
    healthy = np.minimum(10 * steps, 500)
    collapsed = np.where(steps < 60, healthy, 20)
    for curve in (healthy, collapsed):
        falls = drawdown(curve)
        assert falls[falls <= np.quantile(falls, 0.05)].mean() == 0, "this case is too easy to test anything"
    assert risk([steps, collapsed]).drawdown_tail == risk([steps, collapsed]).max_drawdown == 480
    assert risk([steps, healthy]).drawdown_tail == risk([steps, healthy]).max_drawdown == 0


def test_a_run_that_only_gets_worse_keeps_the_signs_of_its_measures():
    """P95(y) - y[0], the other normaliser, is negative here; R_best - R_rand is not."""
    runs = [made(seed=n, returns=np.linspace(100, 40, 30) - n, random_return=0.0) for n in range(3)]
    assert np.quantile(runs[0].returns, 0.95) - runs[0].returns[0] < 0, "this case is too easy"
    found = risk_of(runs, np.random.default_rng(0))
    assert found.width == 100
    assert found.relative["max_drawdown"].value == pytest.approx(0.6)
    assert found.relative["worst_changes"].value < 0 <= found.relative["dispersion"].value


def test_a_steady_rise_is_no_dispersion_and_no_risk(rng):
    curve = noisy(rng)
    risen = curve + np.array([np.zeros(101), 7.0 * np.arange(101)])
    assert risk(risen).dispersion == pytest.approx(risk(curve).dispersion)
    assert risk(risen).worst_changes == pytest.approx(risk(curve).worst_changes + 7)
    np.testing.assert_allclose(values(risk([[0, 1, 2, 3], [1.0, 2, 3, 4]])), [0, 1, 0, 0])


def test_measures_follow_the_unit_of_the_rewards_and_not_that_of_time(rng):
    curve = noisy(rng)
    np.testing.assert_allclose(values(risk([curve[0], 3 * curve[1] - 50])), 3 * values(risk(curve)))
    np.testing.assert_allclose(values(risk([curve[0] / 2048, curve[1]])), values(risk(curve)))
    np.testing.assert_allclose(values(risk(curve).in_widths(4)), values(risk(curve)) / 4)


def test_in_widths_nothing_depends_on_scale_and_offset_of_the_rewards(rng):
    lines = [noisy(rng)[1] for _ in range(4)]

    def relative(scale, offset):
        runs = [
            made(seed=n, returns=scale * y + offset, random_return=offset - scale)
            for n, y in enumerate(lines)
        ]
        return {k: v.value for k, v in risk_of(runs, np.random.default_rng(0)).relative.items()}

    assert relative(1, 0) == pytest.approx(relative(40, -1e4), rel=1e-6)


def test_dispersion_across_runs_is_their_quartile_range_at_each_time():
    curves = np.array([[0.0], [1], [2], [3], [10]]) + np.sin(np.arange(50))
    assert dispersion_across(curves) == pytest.approx(2)
    steps = 100 * np.arange(1, 51)
    runs = [made(seed=n, returns=y, env_steps=steps) for n, y in enumerate(curves)]
    assert risk_of(runs, np.random.default_rng(0)).raw[ACROSS].value == pytest.approx(2)


def test_over_seeds_each_measure_is_the_iqm_of_the_runs(rng):
    curves = [noisy(rng) for _ in range(6)]
    runs = [made(seed=n, returns=y, env_steps=x) for n, (x, y) in enumerate(curves)]
    found = risk_of(runs, rng)
    for name in MEASURES:
        each = [getattr(risk(curve), name) for curve in curves]
        assert found.raw[name].value == pytest.approx(iqm(each))
        low, high = found.raw[name].interval
        assert min(each) <= low <= found.raw[name].value <= high <= max(each)
    assert found.seeds == 6


def test_a_run_that_ended_non_finite_falls_to_the_random_policy():
    whole = [made(seed=n, returns=np.linspace(0, 50, 20)) for n in range(3)]
    fate = {"status": "diverged", "return_final": math.nan, "random_return": -10.0}
    early = made(seed=3, returns=[*np.linspace(0, 50, 10), math.nan], **fate)
    np.testing.assert_allclose(curve_of(early)[:, -1], [1100, -10])
    abrupt = made(seed=4, returns=np.linspace(0, 50, 10), **fate)
    np.testing.assert_allclose(curve_of(abrupt)[:, -1], [1100, -10])
    assert risk(curve_of(early)).max_drawdown == 60
    found = risk_of([*whole, early], np.random.default_rng(0))
    assert found.seeds == 4
    assert found.raw["max_drawdown"].value == pytest.approx((0 + 0) / 2)  # the IQM of 0, 0, 0 and 60
    assert found.raw["max_drawdown"].interval.high == 60


def test_a_diverged_run_that_cannot_be_judged_is_not_left_out_in_silence():
    good = [made(seed=n, returns=[1.0, 2, 3]) for n in range(3)]
    lost = made(seed=3, status="diverged", return_final=math.nan)
    found = risk_of([*good, lost], np.random.default_rng(0))
    assert not found.raw
    assert "1 of 4 runs diverged" in found.notes[0]
    silent = risk_of([*good, made(seed=3, returns=[math.nan, 2.0])], np.random.default_rng(0))
    assert silent.seeds == 3
    assert "fewer than two returns" in silent.notes[0]


def test_only_runs_that_ended_count_and_one_has_no_interval():
    runs = [
        made(seed=0, returns=[1.0, 3, 2], random_return=None),
        made(seed=1, returns=[9.0, 0, 9], status="failed"),
    ]
    found = risk_of(runs, np.random.default_rng(0))
    assert found.seeds == 1
    assert found.raw["max_drawdown"].value == 1
    assert found.raw["max_drawdown"].interval is None
    assert ACROSS not in found.raw
    assert not found.relative
    assert "no widths" in found.notes[0]
    assert risk_of([], np.random.default_rng(0)).raw == {}


def test_the_width_goes_from_the_random_policy_to_the_best_of_the_task():
    runs = [
        made(seed=0, returns=[1.0, 30, 2], random_return=-10),
        made(seed=1, returns=[20.0, 5], random_return=-20),
    ]
    assert width_of(runs) == 45
    assert width_of([made(returns=[-30.0, -20], random_return=-5)]) is None
    given = risk_of(runs, np.random.default_rng(0), width=90)
    assert given.relative["max_drawdown"].value == pytest.approx(given.raw["max_drawdown"].value / 90)


@pytest.mark.parametrize(
    "curve", [[[0], [1]], [[0, 1]], [[0, 0], [1, 2]], [[1, 0], [1, 2]], [[0, 1], [1, math.nan]]]
)
def test_what_is_no_curve_is_refused(curve):
    with pytest.raises(ValueError, match="expected a curve"):
        risk(curve)


def coverage(rng, seeds, trials):
    """Shares of trials in which the intervals hold the mean of the statistic itself, by measure."""
    steps = np.arange(40.0)

    def runs():
        lines = rng.normal(size=(seeds, 40)) + rng.normal(size=(seeds, 1)) + 0.1 * steps
        return [made(seed=n, returns=y, env_steps=100 + steps) for n, y in enumerate(lines)]

    found = [risk_of(runs(), rng).raw for _ in range(trials)]
    truth = {name: np.mean([one[name].value for one in found]) for name in found[0]}
    return {
        name: np.mean([one[name].interval.low <= true <= one[name].interval.high for one in found])
        for name, true in truth.items()
    }


def test_the_intervals_over_seeds_cover(rng, monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 300)
    held = coverage(rng, 10, 60)
    assert np.mean([held[name] for name in MEASURES]) == pytest.approx(0.95, abs=0.05)
