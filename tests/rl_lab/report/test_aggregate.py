"""Aggregates over tasks against rliable's formulas, all resamples listed, counting, and simulation."""

import itertools
import math

import numpy as np
import pytest
from made_digests import made
from scipy import stats

from rl_lab.report import statistics
from rl_lab.report.aggregate import aggregate, improvement, paired_difference, profile, scores_of
from rl_lab.report.statistics import exact_interval, expanded_level, stratified_band


@pytest.fixture
def rng():
    return np.random.default_rng(20261122)


@pytest.fixture
def few_resamples(monkeypatch):
    """For simulations: the same code, with resamples that are enough for an average over many trials."""
    monkeypatch.setattr(statistics, "RESAMPLES", 400)


def some_scores(rng, tasks=3, seeds=7, shift=0.0):
    return {f"task {n}": rng.normal(0.2 * n + shift, 1, size=seeds) for n in range(tasks)}


def test_the_aggregates_are_the_formulas_over_the_matrix_of_runs_and_tasks(rng):
    scores = some_scores(rng)
    matrix = np.array(list(scores.values())).T
    found = aggregate(scores, rng)
    assert found.mean.value == pytest.approx(matrix.mean())
    assert found.iqm.value == pytest.approx(np.sort(matrix.ravel())[5:-5].mean())
    assert found.optimality_gap.value == pytest.approx(np.mean([max(0, 1 - x) for x in matrix.ravel()]))
    assert (found.tasks, found.runs) == (("task 0", "task 1", "task 2"), 21)


def test_the_aggregates_are_those_of_rliable(rng):
    metrics = pytest.importorskip("rliable.metrics", reason="rliable is a cross-check, no dependency")
    scores, others = some_scores(rng), some_scores(rng, shift=0.4)
    matrix, second = (np.array(list(one.values())).T for one in (scores, others))
    found = aggregate(scores, rng)
    assert found.mean.value == pytest.approx(metrics.aggregate_mean(matrix))
    assert found.iqm.value == pytest.approx(metrics.aggregate_iqm(matrix))
    assert found.optimality_gap.value == pytest.approx(metrics.aggregate_optimality_gap(matrix))
    ours = improvement(scores, others, rng).value
    assert ours == pytest.approx(metrics.probability_of_improvement(matrix, second))


def test_the_probability_of_improvement_is_the_mean_of_mann_whitneys_u(rng):
    first = {"a": [1.0, 2, 3, 3], "b": [0.0, 5]}
    second = {"b": [5.0, -1, 0], "a": [3.0, 0]}
    pairs = {"a": 8, "b": 6}
    by_scipy = [stats.mannwhitneyu(first[t], second[t]).statistic / pairs[t] for t in pairs]
    assert improvement(first, second, rng).value == pytest.approx(np.mean(by_scipy))
    by_hand = np.mean([(x > y) + (x == y) / 2 for x in first["b"] for y in second["b"]])
    assert by_scipy[1] == pytest.approx(by_hand)
    both = improvement(first, second, rng).value + improvement(second, first, rng).value
    assert both == pytest.approx(1)


def test_seeds_are_drawn_within_each_task():
    """2 tasks of 3 runs have 27 x 27 resamples: list them all and take their percentiles."""
    a, b = np.array([0.0, 1, 4]), np.array([10.0, 13, 18])
    draws = [list(d) for d in itertools.product(range(3), repeat=3)]
    every = np.array([np.mean([a[i].mean(), b[j].mean()]) for i in draws for j in draws])
    tail = (1 - expanded_level([3, 3])) / 2
    low, high = aggregate({"a": a, "b": b}, np.random.default_rng(1)).mean.interval
    assert (every < low).mean() <= tail + 0.004
    assert (every <= low).mean() >= tail - 0.004
    assert (every > high).mean() <= tail + 0.004
    assert (every >= high).mean() >= tail - 0.004
    apart = {"a": np.full(5, 0.0), "b": np.full(5, 100.0)}
    assert aggregate(apart, np.random.default_rng(1)).mean.interval == (50, 50)


def test_the_expanded_level_makes_the_percentile_interval_of_a_mean_as_wide_as_students():
    """Of a normal bootstrap distribution, with the variance (n - 1) / n s^2 / n that resamples have."""
    n = 8
    half = stats.norm.ppf((1 + expanded_level([n])) / 2) * math.sqrt((n - 1) / n) / math.sqrt(n)
    assert half == pytest.approx(stats.t.ppf(0.975, n - 1) / math.sqrt(n))
    assert expanded_level([10_000]) == pytest.approx(0.95, abs=1e-4)
    assert expanded_level([5]) > expanded_level([5, 5, 5]) > 0.95
    with pytest.raises(ValueError, match="at least two runs"):
        expanded_level([5, 1])


def test_pairs_are_drawn_together(rng):
    """A constant gap is known exactly once seeds are drawn for both, and not at all clear otherwise."""
    first = some_scores(rng)
    second = {task: values - 0.25 for task, values in first.items()}
    found = paired_difference(first, second, rng)
    assert found.mean.interval == pytest.approx((0.25, 0.25))
    assert found.iqm.interval == pytest.approx((0.25, 0.25))
    assert (found.better, found.equal, found.worse) == (21, 0, 0)
    apart = [aggregate(scores, rng).mean.interval for scores in (first, second)]
    assert apart[0].low < apart[1].high, "this case is too easy to test anything"


def test_ties_are_neither_better_nor_worse(rng):
    found = paired_difference({"a": [1.0, 2, 3]}, {"a": [1.0, 3, 0]}, rng)
    assert (found.better, found.equal, found.worse) == (1, 1, 1)
    assert improvement({"a": [1.0, 1]}, {"a": [1.0, 1]}, rng).value == 0.5


def test_complete_separation_is_bounded_by_its_disjoint_pairs(rng):
    above, below = {"a": [5.0, 6, 7, 8, 9]}, {"a": [0.0, 1, 2, 3, 4]}
    assert improvement(above, below, rng).interval == pytest.approx((0.025 ** (1 / 5), 1))
    assert improvement(below, above, rng).interval == pytest.approx((0, 1 - 0.025 ** (1 / 5)))


def test_the_profile_counts_runs_above_tau_with_the_exact_interval():
    scores = {"a": [0.0, 0.5, 1.0], "b": [0.5, 2.0]}
    found = profile(scores, [-1, 0.5, 3])
    np.testing.assert_allclose(found.share, [1, 0.4, 0])
    expected = [exact_interval(k, 5) for k in (5, 2, 0)]
    np.testing.assert_allclose(np.array([found.low, found.high]).T, expected)


def test_one_seed_has_values_and_no_interval(rng):
    single = {"a": [0.3], "b": [0.5]}
    assert aggregate(single, rng).mean.value == pytest.approx(0.4)
    assert aggregate(single, rng).mean.interval is None
    assert paired_difference(single, single, rng).iqm.interval is None
    assert improvement(single, single, rng).interval is None
    assert stratified_band([], lambda drawn: 0, rng) is None


def test_randomness_comes_only_from_the_given_generator(rng):
    """rliable 1.2 fails this: it ignores its random_state."""
    scores = some_scores(rng)

    def once(seed):
        return aggregate(scores, np.random.default_rng(seed)).iqm.interval

    np.random.seed(1)
    first = once(7)
    np.random.seed(2)
    assert once(7) == first != once(8)


@pytest.mark.parametrize(
    "ask",
    [
        lambda r: aggregate({}, r),
        lambda r: aggregate({"a": []}, r),
        lambda r: aggregate({"a": [1.0, math.nan]}, r),
        lambda r: improvement({"a": [1.0]}, {"b": [1.0]}, r),
        lambda r: paired_difference({"a": [1.0, 2]}, {"a": [1.0]}, r),
    ],
)
def test_what_cannot_be_compared_is_refused(ask, rng):
    with pytest.raises(ValueError, match="expected"):
        ask(rng)


def finals(agent, task, returns, **facts):
    return [
        made(seed=n, returns=[0.0, value], agent=agent, task=task, run_id=f"{agent}-{task}-{n}", **facts)
        for n, value in enumerate(returns)
    ]


def test_the_random_policy_is_0_and_the_best_agent_is_1():
    runs = [
        *finals("ppo", "easy", [8.0, 10, 12], random_return=2.0),
        *finals("trpo", "easy", [4.0, 6, 8], random_return=2.0),
        *finals("ppo", "hard", [-300.0, -310, -290], random_return=-500.0),
        *finals("trpo", "hard", [-250.0, -240, -260], random_return=-500.0),
    ]
    found = scores_of(runs)
    assert (found.scales["easy"].best, found.scales["hard"].best) == ("ppo", "trpo")
    assert found.scores["ppo"]["easy"] == pytest.approx({0: 0.75, 1: 1, 2: 1.25})
    assert found.scores["ppo"]["hard"] == pytest.approx({0: 0.8, 1: 0.76, 2: 0.84})
    assert not found.notes
    first, second = found.both("ppo", "trpo")
    np.testing.assert_allclose(first["easy"] - second["easy"], 0.5)


def test_scores_do_not_depend_on_the_unit_of_the_rewards(rng):
    values = rng.normal(size=(2, 5)) + 3

    def scored(scale, offset):
        runs = [
            run
            for agent, row in zip(("ppo", "trpo"), values, strict=True)
            for run in finals(
                agent, "t", scale * row + offset, random_return=offset, random_stderr=0.01 * scale
            )
        ]
        return np.array([scored_of.of(a)["t"] for scored_of in [scores_of(runs)] for a in ("ppo", "trpo")])

    np.testing.assert_allclose(scored(1, 0), scored(250, -9000), rtol=1e-9)


def test_a_run_that_ended_non_finite_scores_0_or_less_and_is_never_dropped(rng):
    fate = {"agent": "ppo", "task": "t", "status": "diverged", "return_final": math.nan, "random_return": 2.0}
    runs = [
        *finals("ppo", "t", [10.0, 10, 10], random_return=2.0),
        made(seed=3, returns=[9.0], **fate),
        made(seed=4, returns=[-6.0], **fate),
    ]
    assert scores_of(runs).scales["t"].reference == pytest.approx((2 + 10 + 10) / 3)
    scored = scores_of(runs).scores["ppo"]["t"]
    assert scored[3] == 0
    assert scored[4] < 0
    assert aggregate(scores_of(runs).of("ppo"), rng).runs == 5


def test_what_has_no_scale_or_no_seed_in_common_is_said():
    unknown = finals("ppo", "dark", [5.0, 6], random_return=None)
    unlearned = finals("ppo", "hard", [2.4, 2.8], random_return=2.0, random_stderr=0.5)
    unsettled = [
        *finals("ppo", "mixed", [5.0, 6]),
        made(seed=0, agent="trpo", task="mixed", status="diverged", random_return=None),
    ]
    unfinished = made(seed=9, agent="ppo", task="mixed", returns=[9.0], status="interrupted", run_id="cut")
    found = scores_of([*unknown, *unlearned, *unsettled, unfinished])
    assert list(found.scales) == ["mixed"]
    assert list(found.scores["ppo"]["mixed"]) == [0, 1]
    notes = " ".join(found.notes)
    for words in (
        "dark has no scores: the random",
        "hard has no scores: no agent",
        "trpo on mixed has no score",
    ):
        assert words in notes


def test_only_shared_tasks_and_seeds_are_compared():
    runs = [
        *finals("ppo", "a", [5.0, 6, 7]),
        *finals("trpo", "a", [5.0, 6]),
        *finals("ppo", "b", [5.0, 6]),
    ]
    found = scores_of(runs)
    first, second = found.both("ppo", "trpo")
    assert list(first) == list(second) == ["a"]
    assert len(first["a"]) == len(second["a"]) == 2
    assert found.shared_tasks(["ppo", "trpo"]) == ["a"]


def coverage(rng, tasks, seeds, trials):
    """Shares of trials in which intervals hold the truth: mean, IQM, gap, paired mean and IQM, improvement."""
    many = rng.normal(size=(100_000 // tasks, tasks * seeds)) + np.tile(0.3 * np.arange(tasks), seeds)
    truth = [many.mean(), stats.trim_mean(many, 0.25, axis=1).mean(), 1 - np.minimum(many, 1).mean()]
    chance = stats.norm.cdf(0.8 / math.sqrt(2))
    held = np.zeros(6)
    for _ in range(trials):
        common = rng.normal(size=(tasks, seeds))
        first = {str(t): common[t] + 0.3 * t for t in range(tasks)}
        second = {t: 0.6 * common[int(t)] + 0.8 * rng.normal(size=seeds) + 0.3 * int(t) - 0.8 for t in first}
        other = {t: rng.normal(size=seeds) + 0.3 * int(t) - 0.8 for t in first}
        found, pair = aggregate(first, rng), paired_difference(first, second, rng)
        asked = [
            *zip((found.mean, found.iqm, found.optimality_gap), truth, strict=True),
            *((estimate, 0.8) for estimate in (pair.mean, pair.iqm)),
            (improvement(first, other, rng), chance),
        ]
        held += [
            estimate.interval.low - 1e-12 <= true <= estimate.interval.high + 1e-12
            for estimate, true in asked
        ]
    return held / trials


@pytest.mark.usefixtures("few_resamples")
def test_the_intervals_cover(rng):
    """Ten seeds, two tasks; all six together, as one by one would take more trials than CI has time for."""
    held = coverage(rng, 2, 10, 60)
    assert held.mean() == pytest.approx(0.95, abs=0.04)
    assert held.min() > 0.85


@pytest.mark.nightly
@pytest.mark.parametrize(("tasks", "seeds"), [(1, 6), (1, 10), (4, 5), (4, 10)])
def test_every_interval_covers(rng, tasks, seeds):
    held = coverage(rng, tasks, seeds, 600)
    assert held.mean() == pytest.approx(0.95, abs=0.02)
    assert (held > 0.91).all()


def test_the_profile_covers_at_least_as_often_as_it_says(rng):
    truth, held, trials = [], [], 200
    taus = (-1.0, 0.0, 1.5)
    for tau in taus:
        truth.append(np.mean([stats.norm.sf(tau - 0.5 * t) for t in range(4)]))
    for _ in range(trials):
        found = profile({str(t): rng.normal(size=3) + 0.5 * t for t in range(4)}, taus)
        held.append((found.low <= truth) & (truth <= found.high))
    assert (np.mean(held, axis=0) > 0.93).all()
