"""Statistics against closed forms, scipy and counting."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from rl_lab.report.statistics import (
    RESAMPLES,
    band_over_seeds,
    chance_of_separation,
    coverage_of_range,
    exact_interval,
    interval_over_seeds,
    iqm,
    iqm_of_curves,
    per_hundred,
    separated,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_iqm_cuts_a_quarter_from_each_end_and_nothing_below_four_runs():
    assert iqm([1000.0, 1, 2, 3, 4, 5, 6, -1000]) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert iqm([0.0, 1, 2, 300]) == pytest.approx(1.5)
    assert iqm([0.0, 1, 200]) == pytest.approx(67)
    assert iqm([5.0]) == 5.0


def test_iqm_follows_scale_and_shift_and_ignores_order():
    values = rng().normal(size=11)
    assert iqm(-3 * values[::-1] + 2) == pytest.approx(-3 * iqm(values) + 2)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [1.0, math.inf]])
def test_iqm_refuses_what_a_run_cannot_have(values):
    with pytest.raises(ValueError, match="one finite value per run"):
        iqm(values)


def test_the_interval_is_the_percentile_bootstrap_of_all_resamples():
    """Five runs have 3125 equally likely resamples: list them all and take their percentiles."""
    values = np.array([3.0, -1.0, 4.0, 10.0, 5.5])
    every = iqm_of_curves(np.array(list(itertools.product(values, repeat=5))).T)
    low, high = interval_over_seeds(values, rng())
    assert (every < low).mean() <= 0.03
    assert (every <= low).mean() >= 0.02
    assert (every > high).mean() <= 0.03
    assert (every >= high).mean() >= 0.02


def test_two_to_four_runs_give_their_range_and_one_gives_none():
    assert interval_over_seeds([3.0, 1.0, 2.0], rng()) == (1.0, 3.0)
    assert interval_over_seeds([3.0, 1.0], rng()) == (1.0, 3.0)
    assert interval_over_seeds([3.0], rng()) is None
    assert interval_over_seeds([4.0, 1, 2, 3], rng()) == (1.0, 4.0)
    low, high = interval_over_seeds([4.0, 1, 2, 3, 5], rng())
    assert 1 < low < high < 5


def test_coverage_of_the_range_is_what_simulation_says():
    draws = rng().normal(size=(20_000, 3))
    measured = ((draws.min(axis=1) < 0) & (draws.max(axis=1) > 0)).mean()
    assert coverage_of_range(3) == 0.75 == pytest.approx(measured, abs=0.015)
    assert coverage_of_range(2) == 0.5


def test_randomness_comes_only_from_the_given_generator():
    values = rng().normal(size=6)
    np.random.seed(1)
    first = interval_over_seeds(values, np.random.default_rng(3))
    np.random.seed(2)
    assert interval_over_seeds(values, np.random.default_rng(3)) == first
    assert interval_over_seeds(values, np.random.default_rng(4)) != first


def test_a_band_resamples_whole_runs():
    """Curves with a constant gap: if every point drew its own seeds the band would not be parallel."""
    base = rng().normal(size=(6, 1))
    low, high = band_over_seeds(base + np.linspace(0, 5, 40), rng())
    np.testing.assert_allclose(np.diff(low), 5 / 39, rtol=1e-9)
    np.testing.assert_allclose(np.diff(high), 5 / 39, rtol=1e-9)
    np.testing.assert_allclose(iqm_of_curves(base + np.arange(3)), iqm(base[:, 0]) + np.arange(3))


def test_more_runs_narrow_the_interval_like_one_over_root_n():
    def width(n: int) -> float:
        low, high = interval_over_seeds(stats.norm.ppf((np.arange(n) + 0.5) / n), rng())
        return high - low

    assert width(25) / width(400) == pytest.approx(4, rel=0.15)
    assert RESAMPLES >= 2000


@pytest.mark.parametrize("n", [1, 3, 5, 10, 20, 80])
def test_no_collapse_in_n_runs_bounds_the_rate_in_closed_form(n):
    low, high = exact_interval(0, n)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / n), rel=1e-9)
    assert exact_interval(n, n) == pytest.approx((0.025 ** (1 / n), 1.0), rel=1e-9)


@pytest.mark.parametrize(("k", "n"), [(1, 3), (2, 7), (11, 20)])
def test_at_the_ends_of_the_exact_interval_the_data_have_probability_one_fortieth(k, n):
    low, high = exact_interval(k, n)
    assert stats.binom.sf(k - 1, n, low) == pytest.approx(0.025, rel=1e-6)
    assert stats.binom.cdf(k, n, high) == pytest.approx(0.025, rel=1e-6)


def test_no_trials_and_no_updates_have_no_rate():
    assert exact_interval(0, 0) is None
    assert per_hundred(3, 0) is None
    assert per_hundred(3, 150) == 2.0


@pytest.mark.parametrize(("n", "m"), [(3, 3), (3, 6), (2, 5)])
def test_the_chance_of_separation_is_the_exact_mann_whitney_test_at_its_extreme(n, m):
    a, b = np.arange(n), 100 + np.arange(m)
    assert separated(a, b)
    assert separated(b, a)
    assert chance_of_separation(n, m) == pytest.approx(stats.mannwhitneyu(a, b, method="exact").pvalue)


def test_touching_groups_are_not_separated():
    assert not separated([1.0, 2.0], [2.0, 3.0])
    assert not separated([1.0, 5.0], [2.0, 3.0])
