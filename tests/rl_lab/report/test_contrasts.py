"""Contrasts: paired intervals against closed forms and coverage, and what is said where runs are missing."""

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats

from rl_lab.report.arms import summarise
from rl_lab.report.census import digests
from rl_lab.report.contrasts import BIAS, contrast_rows, contrasts_of, power
from rl_lab.report.page import render
from rl_lab.report.publish import gather
from rl_lab.report.statistics import (
    FALSE_ALARMS,
    difference_interval,
    interval_over_seeds,
    iqm,
    largest_difference,
    largest_difference_interval,
)
from rl_lab.report.words import amount
from rl_lab.study.store import find_runs


def rng(seed=7):
    return np.random.default_rng(seed)


def test_the_interval_is_the_bootstrap_of_whole_seeds():
    """Five seeds have 3125 equally likely resamples: list them all, seeds drawn for both arms at once."""
    a, b = np.array([3.0, -1.0, 4.0, 10.0, 5.5]), np.array([2.0, -3.0, 6.0, 7.0, 1.0])
    draws = np.array(list(itertools.product(range(5), repeat=5)))
    every = stats.trim_mean(a[draws], 0.25, axis=1) - stats.trim_mean(b[draws], 0.25, axis=1)
    largest = np.maximum(np.abs(every), np.abs(stats.trim_mean(a[draws], 0.25, axis=1)))
    low, high = difference_interval(a, b, rng())
    for bound, share in [(low, 0.025), (high, 0.975)]:
        assert (every < bound).mean() - 0.005 <= share <= (every <= bound).mean() + 0.005
    low, high = largest_difference_interval([[a, b], [a, 0 * a]], rng())
    for bound, share in [(low, 0.025), (high, 0.975)]:
        assert (largest < bound).mean() - 0.005 <= share <= (largest <= bound).mean() + 0.005


def test_what_arms_share_in_a_seed_cancels():
    """Seeds differ a hundred times more than arms do: unpaired, the difference of 1 could not be seen."""
    seeds = 100 * rng().normal(size=10)
    a, b = seeds + 1 + 0.1 * rng(1).normal(size=10), seeds + 0.1 * rng(2).normal(size=10)
    alone = interval_over_seeds(a, rng())
    assert alone.high - alone.low > 50, "this case is too easy to test anything"
    low, high = difference_interval(a, b, rng())
    assert 0.5 < low < 1 < high < 1.5


def test_equal_runs_differ_by_nothing_and_a_single_one_has_no_interval():
    a = rng().normal(size=6)
    assert difference_interval(a, a, rng()) == (0, 0)
    assert largest_difference([[a, a]]) == 0
    assert difference_interval([1.0], [2.0], rng()) is None
    assert largest_difference_interval([[[1.0], [2.0]]], rng()) is None


def test_the_sign_says_who_is_ahead_and_the_largest_has_none():
    a, b, c = np.arange(8.0), np.arange(8.0) + 2, np.arange(8.0) - 3
    assert iqm(a) - iqm(b) == -2
    assert difference_interval(a, b, rng()) == (-2, -2)
    assert largest_difference([[a, b], [a, c]]) == 3
    assert largest_difference([[b, a]]) == largest_difference([[a, b]]) == 2


def test_the_paired_interval_holds_the_truth_about_as_often_as_it_says():
    """Twelve seeds, true difference 1: percentile bootstraps of so few are narrow, but not absurdly so."""
    source, hits = rng(), 0
    for _ in range(100):
        seeds = source.normal(size=12)
        a, b = seeds + 1 + source.normal(size=12), seeds + source.normal(size=12)
        low, high = difference_interval(a, b, source)
        hits += low <= 1 <= high
    assert 84 <= hits <= 99


def test_the_largest_absolute_difference_is_biased_upwards_as_its_docstring_says():
    """One pair of equal arms: the mean of |a - b| over means of n is sigma sqrt(4 / (pi n)), here with n = 3."""
    two = rng().normal(size=(1500, 2, 2, 3))
    found = np.mean([largest_difference(pairs[:1]) for pairs in two])
    assert found == pytest.approx(math.sqrt(4 / (math.pi * 3)), rel=0.06)
    assert np.mean([largest_difference(pairs) for pairs in two]) > 1.2 * found


def test_randomness_comes_only_from_the_given_generator():
    a, b = rng(1).normal(size=6), rng(2).normal(size=6)
    np.random.seed(1)
    first = difference_interval(a, b, rng())
    np.random.seed(2)
    assert difference_interval(a, b, rng()) == first
    assert difference_interval(a, b, rng(8)) != first


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_run_without_a_number_is_refused(bad):
    with pytest.raises(ValueError, match="one finite value per run"):
        largest_difference([[[1.0, bad], [1.0, 2.0]]])


ASKED = {"contrasts": {"one": [["ppo", "trpo"]], "two": [["ppo", "trpo"], ["ppo", "ppo-noclip"]]}}
ONE = {"contrasts": {"one": [["ppo", "trpo"]]}}


def runs(run_writer, folder, finals, **more):
    for agent, values in finals.items():
        for seed, value in values.items():
            kept = {"return_final": value, "status": "done" if value is not None else "failed", **more}
            if value == "nan":
                kept = {"return_final": math.nan, "status": "diverged", **more}
            run_writer(folder / "runs", env="Pendulum-v1", agent=agent, seed=seed, **kept)
    return digests(find_runs(folder))


def test_a_difference_takes_the_seeds_of_its_pair_and_the_largest_those_of_all_arms(run_writer, tmp_path):
    run_writer(
        tmp_path / "runs", env="Pendulum-v1", agent="ppo", seed=3, status="interrupted", return_final=-1.0
    )
    found = runs(run_writer, tmp_path, {
        "ppo": {0: -200.0, 1: -300.0, 2: -250.0},
        "trpo": {0: -210.0, 1: -310.0, 2: -260.0, 3: -100.0},
        "ppo-noclip": {0: -900.0, 1: -1000.0, 3: -50.0},
    })  # fmt: skip
    one, two = contrasts_of(found, ASKED, rng())
    assert (one.task, one.name) == ("Pendulum-v1", "one")
    (pair,) = one.pairs
    assert pair.seeds == (0, 1, 2)
    assert pair.difference == pytest.approx(10)
    assert pair.interval == pytest.approx((10, 10))
    assert two.pairs[0].seeds == (0, 1, 2), "a third arm takes no seed from this pair"
    assert two.pairs[1].seeds == two.seeds == (0, 1), "of the seeds that every arm has"
    assert [p.difference for p in two.pairs] == pytest.approx([10, 700])
    assert two.largest == pytest.approx(700)
    assert two.notes == (
        "ppo − trpo on Pendulum-v1 leaves out 1 seed without a final return in both",
        "ppo − ppo-noclip on Pendulum-v1 leaves out 2 seeds without a final return in both",
    )


def test_a_diverged_run_enters_with_the_random_policy_and_without_one_nothing_is_said(run_writer, tmp_path):
    finals = {"ppo": {0: -200.0, 1: -200.0}, "trpo": {0: -200.0, 1: "nan"}}
    found = runs(run_writer, tmp_path / "a", finals)
    (one,) = contrasts_of(found, ONE, rng())
    arms = {arm.agent: arm for arm in summarise(find_runs(tmp_path / "a"))}
    assert one.pairs[0].difference == pytest.approx(arms["ppo"].final_return - arms["trpo"].final_return)
    assert one.pairs[0].difference > 400, "the diverged run is in it"
    found = runs(run_writer, tmp_path / "b", finals, random_return=None)
    (one,) = contrasts_of(found, ONE, rng())
    assert (one.pairs, one.largest) == ((), None)
    (note,) = one.notes
    assert note.startswith(
        "trpo on Pendulum-v1 is not compared: a run diverged and the random policy's return"
    )


def test_runs_that_ended_without_a_finished_episode_are_not_said_to_be_unfinished(run_writer, tmp_path):
    for agent, value in {"ppo": -1.0, "trpo": None}.items():
        run_writer(tmp_path / "runs", env="Pendulum-v1", agent=agent, seed=0, return_final=value)
    (one,) = contrasts_of(digests(find_runs(tmp_path)), ONE, rng())
    assert one.notes == ("ppo − trpo on Pendulum-v1 is unknown: no seed has a final return in both",)


def test_seeds_that_pairs_share_but_not_all_arms_leave_the_largest_open(run_writer, tmp_path):
    found = runs(run_writer, tmp_path, {
        "ppo": {0: -1.0, 1: -2.0}, "trpo": {0: -3.0}, "ppo-noclip": {1: -4.0},
    })  # fmt: skip
    two = contrasts_of(found, ASKED, rng())[1]
    assert [pair.seeds for pair in two.pairs] == [(0,), (1,)]
    assert two.largest is None
    assert any("no seed has a final return in all of ppo, trpo and ppo-noclip" in note for note in two.notes)


def test_what_is_planned_and_not_there_yet_is_said(run_writer, tmp_path):
    """trpo has begun, ppo-noclip is left out of Pendulum, and on Lorenz nothing has begun."""
    run_writer(tmp_path / "runs", env="Pendulum-v1", agent="trpo", status="interrupted", return_final=None)
    found = runs(run_writer, tmp_path, {"ppo": {0: -1.0}})
    lorenz = {"id": "chaos/Lorenz-v0", "label": "chaos/Lorenz-v0", "settings": {"rho": 40.0}}
    config = {
        "envs": [{"id": "Pendulum-v1", "label": "Pendulum-v1", "settings": {}}, lorenz],
        "without": {"Pendulum-v1": ["ppo-noclip"], "chaos/Lorenz-v0": ["trpo"]},
    }
    said = contrasts_of(found, {**ASKED, "config": config}, rng())
    assert [(c.task, c.name) for c in said] == [
        (task, name) for task in ("Pendulum-v1", "chaos/Lorenz-v0 (rho=40.0)") for name in ("one", "two")
    ]
    assert said[1].notes == (
        "not yet: no run of trpo in Pendulum-v1 has ended",
        "ppo-noclip is left out of Pendulum-v1 by the study",
    )
    assert said[2].notes == (
        "not yet: no run of ppo in chaos/Lorenz-v0 (rho=40.0) has ended",
        "trpo is left out of chaos/Lorenz-v0 (rho=40.0) by the study",
    )
    assert all(note + "." in contrast_rows(said).notes for c in said for note in c.notes)


def test_the_table_says_what_a_largest_difference_is_worth_and_what_the_seeds_cannot_see(
    run_writer, tmp_path
):
    found = runs(run_writer, tmp_path, {
        agent: {s: float(v) for s, v in enumerate(rng(n).normal(-200, 20, size=5))}
        for n, agent in enumerate(("ppo", "trpo", "ppo-noclip"))
    })  # fmt: skip
    contrasts = contrasts_of(found, ASKED, rng())
    table = contrast_rows(contrasts)
    assert [row[1] for row in table.rows] == ["one", "two", ""]
    assert table.rows[0][2] == "–", "one pair has its signed difference, no largest"
    assert table.rows[1][2].endswith("(5 seeds)")
    assert f"{BIAS}." in table.notes
    assert f"{BIAS}." not in contrast_rows(contrasts[:1]).notes


def test_what_the_seeds_cannot_see_is_said_of_each_pair_with_its_own_seeds(run_writer, tmp_path):
    """Two noisy seeds of one pair say nothing of the other, which has eight quiet ones."""
    quiet = {s: float(v) for s, v in enumerate(rng(1).normal(-200, 1, size=8))}
    found = runs(run_writer, tmp_path, {
        "ppo": {s: float(v) for s, v in enumerate(rng(2).normal(-200, 1, size=8))},
        "trpo": quiet, "ppo-noclip": {0: -900.0, 1: -300.0},
    })  # fmt: skip
    contrasts = contrasts_of(found, ASKED, rng())
    first, second = power(contrasts[1:])
    calm, wild = contrasts[1].pairs
    assert wild.interval.high - wild.interval.low > 100 * (calm.interval.high - calm.interval.low)
    for pair, words, sentence in [(calm, "8 paired seeds", first), (wild, "2 paired seeds", second)]:
        half = amount((pair.interval.high - pair.interval.low) / 2, 2)
        assert sentence.startswith(
            f"Pendulum-v1, {pair}: with {words} a true difference of about {half} (half"
        )
        assert "would be detected about half the time" in sentence
    assert first.endswith("half the time")
    assert second.endswith("half the time, and then only as a hint")


@pytest.mark.parametrize("n", [2, 5, 10])
def test_equal_arms_come_out_on_one_side_of_zero_as_often_as_the_report_says(n):
    """200 trials of two arms with the same normal returns; the standard error of the rate is at most 3.5 %."""
    source, hits = rng(n), 0
    for _ in range(200):
        low, high = difference_interval(source.normal(size=n), source.normal(size=n), source)
        hits += low > 0 or high < 0
    assert hits / 200 == pytest.approx(FALSE_ALARMS[n], abs=0.08)


def test_the_page_shows_the_contrasts_the_study_names(study, tmp_path):
    (tmp_path / "runs").symlink_to(study / "runs")
    recorded = json.loads((study / "study.json").read_text())
    assert 'id="contrasts"' not in render(gather(study))
    named = {**recorded, "contrasts": {"<clip>": [["ppo", "ppo-noclip"]]}}
    (tmp_path / "study.json").write_text(json.dumps(named))
    content = gather(tmp_path)
    page = render(content)
    assert 'id="contrasts"' in page
    assert "&lt;clip&gt;" in page
    assert "<clip>" not in page
    assert [c.task for c in content.contrasts] == ["chaos/Lorenz-v0", "Pendulum-v1"]
    assert content.contrasts[1].pairs[0].difference > 0, "ppo keeps what ppo-noclip loses"
