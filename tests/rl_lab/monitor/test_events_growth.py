"""Exponential growth: the rate, an interval that keeps its promise, the forecast, and what only looks like growth."""

import math

import numpy as np
import pytest
from scipy.stats import linregress, t

from rl_lab.monitor.detect.growth import fit_growth
from rl_lab.monitor.detector import judge
from rl_lab.monitor.detectors.exponential_growth import WINDOW


def autocorrelated(n, correlation, rng):
    shocks = rng.normal(size=n + 50)
    values = np.zeros(n + 50)
    for i in range(1, n + 50):
        values[i] = correlation * values[i - 1] + shocks[i]
    return values[50:]


def test_the_rate_is_that_of_least_squares_and_of_the_truth():
    rng = np.random.default_rng(0)
    times = np.arange(20.0)
    values = 3 * np.exp(0.2 * times + 0.1 * rng.normal(size=20))
    growth = fit_growth(times, values)
    line = linregress(times, np.log(values))
    assert growth.rate == pytest.approx(line.slope)
    assert growth.fit == pytest.approx(line.rvalue**2)
    assert growth.level == pytest.approx(line.intercept + 19 * line.slope)
    assert growth.low < 0.2 < growth.high


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_the_interval_covers_the_truth_also_where_residuals_are_correlated(correlation):
    """95 % in 500 trials, where the textbook's interval, which takes residuals for independent, covers far less."""
    rng, times = np.random.default_rng(1), np.arange(20.0)
    covered, textbook, reach = 0, 0, t.ppf(0.975, 18)
    for _ in range(500):
        noise = autocorrelated(20, correlation, rng)
        growth = fit_growth(times, np.exp(0.1 * times + noise))
        covered += growth.low <= 0.1 <= growth.high
        if correlation == 0.6:
            line = linregress(times, 0.1 * times + noise)
            textbook += abs(line.slope - 0.1) <= reach * line.stderr
    assert covered / 500 > (0.93 if correlation < 0.5 else 0.90)
    assert textbook / 500 < 0.8, "this case is too easy to test anything"


def test_the_forecast_is_where_the_line_meets_the_limit():
    times = np.arange(10, 20.0)
    growth = fit_growth(times, 0.01 * np.exp(0.25 * (times - 10)))
    expected, earliest, latest = growth.until(1.0)
    assert 19 + expected == pytest.approx(10 + math.log(100) / 0.25)
    assert earliest <= expected <= latest


def rows(n=60, **columns):
    return [
        {"update": i + 1, "env_steps": i, **{name: float(values[i]) for name, values in columns.items()}}
        for i in range(n)
    ]


def events(**columns):
    return [
        (n, f)
        for n, f in judge(rows(len(next(iter(columns.values()))), **columns))
        if f.event == "exponential_growth"
    ]


def noisy(values, size=0.1, seed=0):
    return np.asarray(values) * np.exp(size * np.random.default_rng(seed).normal(size=len(values)))


def test_a_kl_that_doubles_every_three_updates_is_seen_before_it_reaches_a_nat():
    steps = np.maximum(np.arange(60) - 20, 0)
    true = 0.004 * np.exp(math.log(2) / 3 * steps)
    reaches = 21 + 3 * math.log2(1 / 0.004)
    ((update, finding),) = events(kl_mean=noisy(true)[:44])
    assert update < reaches - 2
    d = finding.details
    assert d["low"] < d["lambda"] < d["high"]
    assert d["low"] < math.log(2) / 3 < d["high"] + 0.02
    assert d["forecast"]["low"] <= d["forecast"]["update"] <= d["forecast"]["high"]
    assert abs(d["forecast"]["update"] - reaches) < 4
    assert d["doubling_updates"] == pytest.approx(math.log(2) / d["lambda"])


def test_growth_is_announced_once_and_again_after_it_had_ended():
    steps = np.arange(120)
    weights = np.where(
        steps < 60, 20 * np.exp(0.08 * np.minimum(steps, 30)), 20 * np.exp(0.08 * (steps - 60))
    )
    assert len(events(weight_norm=weights)) == 2


def test_a_standard_deviation_grows_by_its_exponent():
    ((_, finding),) = events(log_std_max=0.15 * np.arange(40))
    assert finding.details["lambda"] == pytest.approx(0.15)
    assert "exp(log_std_max)" in finding.message


def test_values_that_run_ahead_of_their_targets_grow_and_those_that_learn_them_do_not():
    steps = np.arange(40)
    values = noisy(0.1 * np.exp(0.2 * steps), 0.05)
    assert len(events(value_scale=values, return_scale=0.95 * values)) == 1
    assert events(value_scale=values, return_scale=np.full(40, 300.0)) == []


LOOKALIKES = {
    "a learning curve": {"value_scale": 100 * (1 - np.exp(-np.arange(60) / 12)) + 0.1},
    "weights that settle": {"weight_norm": 20 * (1 + 6 * (1 - np.exp(-np.arange(40) / 8)))},
    "weights that drift": {"weight_norm": 20 + 0.3 * np.arange(60)},
    "a KL that grows where it does not matter": {"kl_mean": 1e-6 * np.exp(0.15 * np.arange(60))},
    "a jump": {"gradient_norm_policy": np.where(np.arange(60) < 30, 1.0, 300.0)},
    "a schedule": {"log_std_max": -0.02 * np.arange(60)},
    "noise": {"kl_mean": 0.02 * np.exp(0.8 * np.random.default_rng(3).normal(size=60))},
    "too short to say": {"weight_norm": 20 * np.exp(0.3 * np.arange(WINDOW - 1))},
}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_only_looks_like_growth_is_none(name):
    columns = {column: noisy(values, 0.02) for column, values in LOOKALIKES[name].items()}
    assert events(**columns) == []


def test_noise_is_seldom_taken_for_growth_however_loud():
    """Loud enough that in many windows a line's interval excludes 0, near enough to a nat that it would matter."""
    rng = np.random.default_rng(6)
    alarms = sum(bool(events(kl_mean=0.1 * np.exp(rng.normal(size=60)))) for _ in range(60))
    assert alarms == 0


def test_random_walks_are_seldom_taken_for_growth():
    """A walk has a trend in every window, and no rate; 100 runs of 60 updates."""
    rng = np.random.default_rng(5)
    alarms = sum(
        bool(events(gradient_norm_policy=np.exp(np.cumsum(0.2 * rng.normal(size=60))))) for _ in range(100)
    )
    assert alarms <= 1
