"""Sentences: right numbers, and no more certainty than the seeds allow."""

import re
from dataclasses import replace

import pytest

from rl_lab.report import findings, summarise
from rl_lab.report.findings import question, verdict
from rl_lab.report.outcomes import holm
from rl_lab.report.statistics import Interval, exact_interval
from rl_lab.report.words import amount, enumeration, percent, span
from rl_lab.study.store import find_runs


@pytest.fixture
def arms(study):
    """Pendulum: all runs of all three agents ended."""
    return [arm for arm in summarise(find_runs(study)) if arm.task == "Pendulum-v1"]


def test_an_effect_is_told_with_its_size_and_its_chance(arms):
    kl, returns, *_ = findings(arms)
    largest = max(arm.kl_mean_largest for arm in arms if arm.agent == "ppo-noclip")
    fenced = max(arm.kl_mean_largest for arm in arms if arm.agent != "ppo-noclip")
    assert (
        f"without a trust region (ppo-noclip) the largest mean KL of an update was {amount(largest)} nats"
        in kl
    )
    times = float(re.search(r"([\d,]+) times", kl)[1].replace(",", ""))
    assert times == pytest.approx(largest / fenced, rel=0.06)
    assert (
        "every run of ppo-noclip lies above every run of ppo and trpo (by chance alone: 10 %, so a hint" in kl
    )
    assert "every run of ppo-noclip lies below every run of ppo and trpo" in returns
    assert "a random policy gets −1,250" in returns
    assert "Collapsed: 3 of 3 runs of ppo-noclip, none of ppo and trpo." in returns


def test_no_effect_is_told_as_none(arms):
    same = [replace(arm, kl_mean_peaks=(0.02, 0.03, 0.04), final_returns=(-3.0, -2.0, -1.0)) for arm in arms]
    kl, returns, *_ = findings(same)
    assert "overlap (3 against 3 seeds): no clear difference" in kl
    assert "overlap (3 against 3 seeds): no clear difference" in returns
    assert "lies" not in kl + returns


def test_three_against_three_is_a_hint_and_never_proof(arms):
    pair = [arm for arm in arms if arm.agent != "trpo"]
    assert "(by chance alone: 10 %, so a hint, not proof)" in findings(pair)[0]


def test_one_seed_a_side_tells_nothing(arms):
    single = [
        replace(arm, kl_mean_peaks=arm.kl_mean_peaks[:1], kl_mean_seeds=(0,))
        for arm in arms
        if arm.agent != "trpo"
    ]
    assert "cannot tell whether peak KL differs by more than the seed" in findings(single)[0]


def test_arms_that_share_their_seeds_are_no_further_samples(arms):
    """Six runs on three seeds are three samples; on six seeds, or on unknown ones, they are six."""
    bare, *fenced = sorted(arms, key=lambda arm: arm.agent != "ppo-noclip")
    chances = []
    for seeds in [(0, 1, 2), (3, 4, 5), (None, None, None)]:
        other = replace(fenced[1], kl_mean_seeds=seeds)
        chances.append(re.search(r"by chance alone: ([\d.]+) %", findings([bare, fenced[0], other])[0])[1])
    assert chances == ["10", "2.4", "2.4"]


def test_a_diverged_run_is_never_the_calm_one(run_writer, tmp_path):
    """The update that came out non-finite was undone: its row says KL 0, and no run has a smaller one."""
    for agent, kl in {"ppo-noclip": 1e-4, "trpo": 0.03}.items():
        for seed in range(4):
            rows = [{"update": 1, "env_steps": 9, "outcome": "ACCEPTED", "kl_mean": kl, "kl_max": kl}]
            fate = {"status": "done"}
            if agent == "ppo-noclip":
                rows.append(
                    {"update": 2, "env_steps": 18, "outcome": "NOT_FINITE", "kl_mean": 0.0, "kl_max": 0.0}
                )
                fate = {"status": "diverged"}
            run_writer(tmp_path / "runs", env="Pendulum-v1", agent=agent, seed=seed, updates=rows, **fate)
    kl = findings(summarise(find_runs(tmp_path)))[0]
    assert "every run of ppo-noclip lies above every run of trpo" in kl
    assert (
        "(ppo-noclip) the largest mean KL of an update was beyond all bounds (4 of 4 runs diverged, counted as"
        " infinite; the largest finite one was 0.000100 nats), against 0.0300 nats with one (trpo)."
    ) in kl


def test_an_arm_that_learns_from_replayed_data_is_on_neither_side(run_writer, tmp_path):
    """sac is the best of all, and says nothing about trust regions; nor does it if it diverges."""
    replayed = {
        "name": "sac",
        "label": "sac",
        "trust_region": "none: gradient steps on replayed data",
        "settings": {},
    }
    for seed in range(4):
        for agent, kl, value in [("ppo-noclip", 2.0, -900.0), ("trpo", 0.03, -200.0), ("sac", None, -100.0)]:
            rows = [{"update": 1, "env_steps": 9, "kl_mean": kl, "kl_max": kl, "return_smooth": value}]
            more = {"agent_record": replayed} if agent == "sac" else {}
            status = "diverged" if (agent, seed) == ("sac", 3) else "done"
            run_writer(
                tmp_path / "runs",
                env="Pendulum-v1",
                agent=agent,
                seed=seed,
                updates=rows,
                status=status,
                **more,
            )
    arms = summarise(find_runs(tmp_path))
    assert {arm.agent: arm.fenced for arm in arms} == {"ppo-noclip": False, "trpo": True, "sac": None}
    kl, returns, *_ = findings(arms)
    assert "sac" not in kl
    assert "every run of ppo-noclip lies below every run of trpo" in returns


def test_without_a_planned_contrast_every_pair_is_a_try(arms):
    """All three have a trust region: the ends of the row were picked for differing, so 3 x 10 %."""
    fenced = [replace(arm, trust_region="clipping") for arm in arms]
    assert "without a trust region" not in findings(fenced)[0]
    assert "(by chance alone: 30 %, so a hint, not proof)" in findings(fenced)[0]


def test_no_collapse_bounds_the_rate_and_no_more(arms):
    clean = [replace(arm, collapsed=0) for arm in arms]
    assert findings(clean)[-1] == (
        "No run collapsed, but 0 collapses in 3 runs only bounds an arm's rate below 71 %."
    )
    assert percent(exact_interval(0, 3).high) == "71 %"


def test_runs_that_did_not_end_are_told(study):
    assert findings(summarise(find_runs(study)))[-1].startswith("2 of 18 runs did not end")


def test_little_is_told_of_little(arms):
    nothing = replace(arms[0], kl_mean_peaks=(), kl_mean_largest=None, final_return=None, ended=0)
    assert findings([nothing])[:2] == [
        "Pendulum-v1: no KL was recorded.",
        "Pendulum-v1: no final return is known.",
    ]
    assert findings([]) == ["No runs were found, so nothing was found out."]


def test_a_zero_kl_on_one_side_does_not_divide(arms):
    still = [replace(a, kl_mean_peaks=(0.0,) * 3, kl_mean_largest=0.0) if a.fenced else a for a in arms]
    assert "against 0 with one" in findings(still)[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.02134, "0.0213"), (83.06, "83.1"), (2134.0, "2,130"), (-31.0, "−31.0"), (0.0, "0"), (9.996, "10.0"),
     (999.6, "1,000"), (3.2e-6, "3.20e−06"), (1.5e7, "1.50e+07"), (None, "–"), (float("inf"), "∞"),
     (999999.9, "1.00e+06")],
)  # fmt: skip
def test_amounts(value, text):
    assert amount(value) == text


def test_words():
    assert enumeration(["a"]) == "a"
    assert enumeration(["a", "b", "c"]) == "a, b and c"
    assert [percent(p) for p in (0, 1e-9, 0.024, 0.0996, 0.7075, 1)] == [
        "0 %",
        "under 0.1 %",
        "2.4 %",
        "10 %",
        "71 %",
        "100 %",
    ]
    assert span(Interval(-35.2, 1.0)) == "[−35.2, 1.00]"


def test_the_verdict_counts_tasks_in_which_the_sides_part(arms):
    """Pendulum: KL above and return below in all runs; on a second task nothing parts."""
    same = [
        replace(
            arm, task="other", kl_mean_peaks=(0.02, 0.03, 0.04), final_returns=(-3.0, -2.0, -1.0), collapsed=0
        )
        for arm in arms
    ]
    assert verdict([*arms, *same]) == (
        "In peak KL every run without a trust region lies above every run with one in 1 of 2 tasks. In final return"
        " every run with one lies above every run without in 1 of 2 tasks, below in 0. Collapsed: 3 of 6 runs without"
        " one, 0 of 12 runs with one."
    )
    fenced = [arm for arm in arms if arm.fenced]
    assert verdict(fenced) == "Collapsed over all tasks: 0 of 3 runs of ppo and 0 of 3 runs of trpo."


def test_a_study_asks_in_its_own_words_or_in_those_of_its_arms(arms):
    assert question({"question": " Who wins? "}, arms) == "Who wins?"
    asked = question({}, arms)
    assert asked.endswith("3 arms on 1 task: without one ppo-noclip; with one ppo and trpo.")
    assert "trust region" not in question({}, [arm for arm in arms if arm.fenced])


@pytest.mark.parametrize(
    ("raw", "held"),
    [([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.5, 0.9], [1.0, 1.0]), ([0.2], [0.2]), ([], [])],
)
def test_holm(raw, held):
    """Worked by hand: 3 x 0.01; 2 x 0.03; max(0.06, 0.04)."""
    assert holm(raw) == pytest.approx(held)
