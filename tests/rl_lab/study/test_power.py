"""Power against closed forms, scipy's own tests and simulations."""

from math import comb, sqrt

import numpy as np
import pytest
from scipy import stats

from rl_lab.study.config import read_study
from rl_lab.study.power import (
    detectable,
    fisher_power,
    mcnemar_power,
    paired_t_power,
    rate_bound,
    smallest_difference,
    smallest_hazard_ratio,
    smallest_paired_rate,
    smallest_rate,
)


def test_no_collapse_in_n_runs_bounds_the_rate():
    """The numbers that one reads off 1 - 0.05^(1/n)."""
    assert [round(100 * rate_bound(n), 1) for n in (3, 5, 10, 20, 80)] == [63.2, 45.1, 25.9, 13.9, 3.7]
    for n, k in ((5, 2), (10, 9), (1, 0)):
        assert stats.binom.cdf(k, n, rate_bound(n, k)) == pytest.approx(0.05), "that is what a bound is"
        test = stats.binomtest(k, n, alternative="less").proportion_ci(0.95, "exact")
        assert rate_bound(n, k) == pytest.approx(test.high)
    assert rate_bound(4, 4) == 1.0
    for n, k in ((0, 0), (3, 4), (3, -1)):
        with pytest.raises(ValueError, match="expected 0 to n successes"):
            rate_bound(n, k)


@pytest.mark.parametrize(("n", "p", "q"), [(5, 0.9, 0.1), (8, 0.5, 0.0), (12, 0.3, 0.8), (3, 1.0, 0.0)])
def test_fisher_is_the_sum_over_all_tables_that_scipy_rejects(n, p, q):
    expected = sum(
        stats.binom.pmf(x, n, p) * stats.binom.pmf(y, n, q)
        for x in range(n + 1)
        for y in range(n + 1)
        if stats.fisher_exact([[x, n - x], [y, n - y]]).pvalue <= 0.05
    )
    assert fisher_power(n, p, q) == pytest.approx(expected, abs=1e-12)
    assert fisher_power(n, q, p) == pytest.approx(expected, abs=1e-12), (
        "it does not matter which arm is which"
    )


def test_fisher_never_exceeds_its_level_where_the_rates_are_equal():
    assert max(fisher_power(10, p, p) for p in np.linspace(0, 1, 21)) <= 0.05
    assert fisher_power(3, 1.0, 0.0) == 0.0, "three against three cannot reach 5 %: 2 / C(6, 3) = 0.1"
    assert fisher_power(4, 1.0, 0.0) == 1.0


def test_mcnemar_is_found_as_often_as_in_simulated_pairs():
    """Drawn from what pairs are: one seed, both arms; tested by scipy's coin."""
    rng, n, trials = np.random.default_rng(0), 20, 20_000
    both, first, second = 0.1, 0.45, 0.05
    counts = rng.multinomial(n, [both, first, second, 1 - both - first - second], trials)
    values = {
        (b, c): stats.binomtest(int(b), int(b + c)).pvalue if b + c else 1.0
        for _, b, c, _ in np.unique(counts, axis=0)
    }
    found = np.mean([values[b, c] <= 0.05 for _, b, c, _ in counts])
    assert mcnemar_power(n, first, second) == pytest.approx(found, abs=4 * sqrt(0.25 / trials))
    assert 0.5 < found < 0.95, "a case that is neither always nor never found"
    assert mcnemar_power(5, 1.0, 0.0) == 0.0, "five pairs cannot reach 5 %: 2 / 2^5 = 0.0625"
    assert mcnemar_power(6, 1.0, 0.0) == 1.0
    assert mcnemar_power(9, 0.0, 0.0) == 0.0


@pytest.mark.parametrize("n", [4, 5, 6, 10, 20, 37])
def test_the_smallest_rates_are_where_the_power_is_80_percent(n):
    rate = smallest_rate(n)
    assert fisher_power(n, rate, 0.0) == pytest.approx(0.8)
    paired = smallest_paired_rate(n)
    assert (paired is None) == (n < 6)
    if paired is not None:
        assert mcnemar_power(n, paired, 0.0) == pytest.approx(0.8)
        assert rate <= paired, "beside an arm without collapses there is nothing to pair"


def test_too_few_seeds_find_no_rate_at_all():
    assert [smallest_rate(n) for n in (1, 2, 3)] == [None] * 3
    assert 2 / comb(6, 3) > 0.05 >= 2 / comb(8, 4)
    assert smallest_rate(100_000) == pytest.approx(0.0001, rel=0.3), "many seeds, a small rate, at once"


@pytest.mark.parametrize(("n", "difference"), [(3, 2.0), (5, 1.0), (10, 0.5), (10, -0.9), (50, 0.0)])
def test_a_paired_t_test_finds_as_much_in_simulated_runs(n, difference):
    rng, trials = np.random.default_rng(n), 20_000
    pairs = rng.normal(difference, 1.0, (trials, n))
    found = np.mean(stats.ttest_1samp(pairs, 0.0, axis=1).pvalue <= 0.05)
    assert paired_t_power(n, difference) == pytest.approx(found, abs=4 * sqrt(0.25 / trials))


@pytest.mark.parametrize("n", [2, 3, 5, 10, 100])
def test_the_smallest_difference_is_where_the_power_is_80_percent(n):
    assert paired_t_power(n, smallest_difference(n)) == pytest.approx(0.8)


def test_the_smallest_difference_is_that_of_many_seeds_and_there_is_none_of_one():
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert smallest_difference(10_000) == pytest.approx(z / 100, rel=1e-3)
    assert smallest_difference(1) is None
    assert paired_t_power(1, 9.0) == 0.0


def test_schoenfelds_ratio_is_found_in_simulated_survival():
    """Exponential times to collapse, nobody censored: every run is an event."""
    rng, n, trials = np.random.default_rng(1), 50, 300
    ratio = smallest_hazard_ratio(2 * n)
    found = np.mean(
        [
            stats.logrank(rng.exponential(1.0, n), rng.exponential(1.0 / ratio, n)).pvalue <= 0.05
            for _ in range(trials)
        ]
    )
    assert found == pytest.approx(0.8, abs=4 * sqrt(0.16 / trials))
    assert smallest_hazard_ratio(0) is None


def words(seeds, primary):
    planned = read_study(
        {"envs": ["Pendulum-v1"], "agents": ["ppo"], "seeds": seeds, "steps": 9, "primary": primary},
        "t",
        "t.yaml",
    )
    return detectable(planned).sentences(planned.primary)


def test_what_five_seeds_show_is_said_in_words_and_the_primary_outcome_first():
    returns, bound, rates = words(5, "return_final")
    assert bound == "0 collapses in 5 runs bound the rate below 45 % (one-sided 95 %)"
    assert returns == (
        "a difference of returns of 1.7 standard deviations of the paired differences is found 4 times in 5 "
        "(paired t test, 5 seeds)"
    )
    assert rates.startswith(
        "beside an arm that never collapses, a collapse rate of 83 % is found 4 times in 5"
    )
    assert words(5, "collapse") == [bound, rates, returns]
    assert words(5, "kl_spikes")[0].startswith("a difference of numbers of KL spikes of 1.7 standard")
    assert words(5, "time_to_collapse")[0].startswith(
        "if every run collapses, hazards that differ by a factor of 5.9"
    )


def test_one_seed_shows_nothing_and_says_so():
    assert words(1, "collapse") == [
        "0 collapses in 1 run bounds the rate below 95 % (one-sided 95 %)",
        "no difference of collapse rates can be found: 1 seed is too few for Fisher's exact test",
        "no difference of returns can be found with one seed",
    ]
    assert words(80, "collapse")[0] == "0 collapses in 80 runs bound the rate below 3.7 % (one-sided 95 %)"
    assert words(3, "collapse")[1].endswith("3 seeds are too few for Fisher's exact test")
