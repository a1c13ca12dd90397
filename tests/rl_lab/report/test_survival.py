"""Time to collapse against the textbook, published data, counting, and simulation."""

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from made_digests import collapse, made
from scipy import stats

from rl_lab.report.statistics import chance_of_separation, exact_interval
from rl_lab.report.survival import lifetime, logrank, logrank_scores, survival, survival_of

# Weeks of remission, Freireich et al. (1963) as in Kalbfleisch and Prentice, table 1.1; negative: still in remission.
TREATED = [6, 6, 6, -6, 7, -9, 10, -10, -11, 13, 16, -17, -19, -20, 22, 23, -25, -32, -32, -34, -35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def weeks(signed):
    values = np.array(signed)
    return survival(np.abs(values), values > 0)


def random_lives(rng, n):
    """Exponential lives, watched for uniform times: about half are seen to end."""
    lives, watched = rng.exponential(size=n), rng.uniform(0, 2, size=n)
    return np.minimum(lives, watched), lives <= watched


def test_remission_of_leukaemia_is_what_the_textbooks_print():
    found = weeks(TREATED)
    printed = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    assert {week: round(found.at(week), 3) for week in printed} == printed
    assert (found.median, weeks(PLACEBO).median) == (23, 8)
    assert (found.runs, found.collapsed) == (21, 9)
    risk = dict(zip(found.times, found.at_risk, strict=True))
    assert [risk[week] for week in (6, 7, 10, 13, 16, 22, 23)] == [21, 17, 15, 12, 11, 7, 6]
    assert logrank(found, weeks(PLACEBO)) == pytest.approx(stats.chi2.sf(16.79, 1), rel=0.005)


def test_alive_is_the_product_over_collapses_in_exact_fractions(rng):
    times = rng.integers(1, 9, size=30).astype(float)  # with many ties of collapses and ends
    happened = rng.uniform(size=30) < 0.6
    found, share = survival(times, happened), Fraction(1)
    for time in np.unique(times):
        at_risk = int((times >= time).sum())
        share *= 1 - Fraction(int((happened & (times == time)).sum()), at_risk)
        assert found.at(time) == pytest.approx(float(share), rel=1e-12)
        assert found.at_risk[found.times == time] == [at_risk]
    assert found.at(0) == 1
    assert math.isnan(found.at(times.max() + 1))
    np.testing.assert_array_equal(found.censored, np.sort(times[~happened]))


def test_the_band_is_greenwoods_variance_of_the_log_of_the_log():
    found, total = weeks(TREATED), 0.0
    for time, alive, low, high, n in zip(
        found.times, found.alive, found.low, found.high, found.at_risk, strict=True
    ):
        died = TREATED.count(int(time)) if time else 0
        total += died / (n * (n - died))
        if 0 < alive < 1:
            reach = math.exp(stats.norm.ppf(0.975) * math.sqrt(total) / abs(math.log(alive)))
            assert (low, high) == pytest.approx((alive**reach, alive ** (1 / reach)), rel=1e-9)
    assert total > 0


def test_where_all_or_none_are_alive_the_bound_is_the_exact_one():
    found = survival([100, 200, 300, 300], [False] * 4)
    np.testing.assert_array_equal(found.alive, 1)
    assert list(found.low) == pytest.approx([exact_interval(n, n).low for n in (4, 4, 3, 2)])
    np.testing.assert_array_equal(found.high, 1)
    at_once = survival([50] * 5, [True] * 5)
    assert (at_once.alive[-1], at_once.low[-1]) == (0, 0)
    assert at_once.high[-1] == pytest.approx(exact_interval(0, 5).high)


def test_the_band_never_rises_and_holds_the_curve(rng):
    for n in (2, 5, 12):
        for _ in range(30):
            found = survival(*random_lives(rng, n))
            assert (found.low <= found.alive).all()
            assert (found.alive <= found.high).all()
            assert (np.diff(found.high) <= 1e-12).all()


def test_the_median_and_its_interval_are_where_curve_and_band_cross_one_half():
    found = weeks(TREATED)
    assert found.median_interval == (13, None)  # the printed interval of these data
    few = survival([10, 20, 30, 40], [True, False, False, False])
    assert few.median is None


def test_three_runs_that_all_collapse_before_three_that_do_not_are_one_deal_in_ten():
    early, late = survival([1, 2, 3], [True] * 3), survival([9, 9, 9], [False] * 3)
    assert logrank(early, late) == pytest.approx(chance_of_separation(3, 3)) == pytest.approx(0.1)
    assert logrank(late, early) == logrank(early, late)
    assert logrank(late, late) == 1.0


def test_the_scores_of_an_arm_add_up_to_observed_minus_expected(rng):
    a, b = survival(*random_lives(rng, 9)), survival(*random_lives(rng, 14))
    times, flags = np.concatenate([a.lifetimes, b.lifetimes]), np.concatenate([a.happened, b.happened])
    expected = sum((a.lifetimes >= t).sum() / (times >= t).sum() for t in times[flags])
    assert logrank_scores(a, b)[:9].sum() == pytest.approx(a.collapsed - expected)
    assert logrank_scores(a, b).sum() == pytest.approx(0)


def test_with_few_runs_the_p_value_is_true_over_all_deals_where_the_normal_one_is_too_small():
    """All 20 ways to deal six lives to two arms of three: p <= x must come in at most a share x of them."""
    lives = np.array([1.0, 2, 3, 4, 5, 6])

    def p_values(test):
        deals = [(lives[list(c)], np.delete(lives, list(c))) for c in combinations(range(6), 3)]
        return np.array([test(*deal) for deal in deals])

    exact = p_values(lambda x, y: logrank(survival(x, np.ones(3)), survival(y, np.ones(3))))
    normal = p_values(lambda x, y: stats.logrank(x, y).pvalue)
    assert (normal <= 0.05).mean() == 0.1, "this case is too easy to test anything"
    assert all((exact <= p).mean() <= p + 1e-12 for p in exact)
    assert exact.min() == pytest.approx(0.1)


def test_dealing_and_the_normal_number_agree_where_both_can_be_had(rng):
    for _ in range(3):
        a, b = survival(*random_lives(rng, 8)), survival(*random_lives(rng, 8))
        data = [
            stats.CensoredData(uncensored=x.lifetimes[x.happened], right=x.lifetimes[~x.happened])
            for x in (a, b)
        ]
        assert logrank(a, b) == pytest.approx(stats.logrank(*data).pvalue, abs=0.06)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (made(returns=[1, 2, 3]), (300, False)),
        (made(returns=[1, 2, 3], events=(collapse(200), collapse(300))), (200, True)),
        (made(returns=[1, 2, 3], events=(collapse(None, 2),)), (200, True)),
        (made(returns=[1, 2, 3], events=(collapse(None, None),)), (300, True)),
        (made(returns=[1, 2, 3], status="diverged"), (300, True)),
        (made(returns=[1, 2, 3], return_final=math.nan, events=(collapse(100),)), (100, True)),
        (made(returns=[1, 2], status="interrupted"), (200, False)),
        (made(returns=[1, 2], status="failed"), (200, False)),
        (made(returns=[1, 2], status="running", events=(collapse(100),)), (100, True)),
        (made(status="failed"), None),
        (made(status="diverged"), (0, True)),
    ],
)  # fmt: skip
def test_every_fate_of_a_run_has_its_place(run, expected):
    assert lifetime(run) == expected


def test_a_seed_lives_once_and_the_run_that_counts_is_the_one():
    begun = made(seed=1, returns=[1, 2], status="interrupted", run_id="early", started="2026-01-01")
    again = made(seed=1, returns=[1, 2, 3, 4], run_id="whole", started="2025-01-01")
    older = made(seed=1, returns=[1], run_id="older", repeat=True, started="2024-01-01")
    other = made(seed=None, returns=[1, 2, 3], run_id="x", status="interrupted")
    unseeded = made(seed=None, returns=[1, 2, 3], run_id="y")
    np.testing.assert_array_equal(
        survival_of([begun, again, older, other, unseeded]).lifetimes, [400, 300, 300]
    )
    assert survival_of([begun]).lifetimes == [200]
    assert survival_of([]) is None
    assert survival_of([made(status="failed")]) is None


def test_a_run_that_ended_non_finite_is_never_dropped():
    runs = [made(seed=n, returns=[1, 2, 3]) for n in range(3)]
    found = survival_of(
        [*runs, made(seed=3, returns=[1, math.nan], status="diverged", return_final=math.nan)]
    )
    assert (found.runs, found.collapsed) == (4, 1)
    assert found.at(200) == 0.75


@pytest.mark.parametrize(
    ("times", "happened"), [([], []), ([1.0], [True, False]), ([-1.0], [True]), ([math.nan], [False])]
)
def test_what_is_no_set_of_lives_is_refused(times, happened):
    with pytest.raises(ValueError, match="expected"):
        survival(times, happened)


def coverage(rng, n, trials, times):
    """How often the band holds exp(-t), by time, and the median's interval log 2; lives known up to each time only."""
    held, known, median = np.zeros(len(times)), np.zeros(len(times)), 0
    for _ in range(trials):
        lives, watched = rng.exponential(size=n), rng.uniform(0, 4, size=n)
        found = survival(np.minimum(lives, watched), lives <= watched)
        for i, time in enumerate(times):
            if time <= found.times[-1]:
                at = np.searchsorted(found.times, time, side="right") - 1
                known[i] += 1
                held[i] += found.low[at] <= math.exp(-time) <= found.high[at]
        low, high = found.median_interval
        median += (low is None or low <= math.log(2)) and (high is None or math.log(2) <= high)
    return held / known, median / trials


def test_the_band_covers(rng):
    for n, trials in ((10, 400), (50, 200)):
        shares, median = coverage(rng, n, trials, (0.3, 0.6, 1.0))
        assert shares.mean() == pytest.approx(0.955, abs=0.025)
        assert 0.92 < median < 0.99


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("n", "least", "most"), [(5, 0.91, 1), (10, 0.92, 0.995), (20, 0.935, 0.98), (50, 0.935, 0.97)]
)
def test_the_band_covers_at_every_time(rng, n, least, most):
    shares, median = coverage(rng, n, 6000, (0.1, 0.3, 0.6, 1.0, 1.5))
    assert (shares > least).all()
    assert (shares < most + 1e-9).all()
    assert least < median <= most


@pytest.fixture
def rng():
    return np.random.default_rng(20261122)
