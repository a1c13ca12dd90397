"""From run directories to arms: nobody is dropped, nobody is mixed in silently."""

import math

import pytest

from rl_lab.monitor.record.run_directory import read_run
from rl_lab.report import summarise, table_rows
from rl_lab.study.store import find_runs


def row(update, **values):
    return {
        "update": update,
        "env_steps": 100 * update,
        "kl_mean": 0.01,
        "kl_max": 0.02,
        "return_smooth": -50.0,
        **values,
    }


def collapse(name="performance_collapse", update=3):
    return {
        "id": 1,
        "event": name,
        "update": update,
        "env_steps": 300,
        "value": 0.6,
        "threshold": 0.5,
        "message": "m",
    }


def only_arm(*paths):
    (arm,) = summarise([read_run(path) for path in paths])
    return arm


def test_the_study_has_an_arm_per_task_and_agent_in_order(study):
    arms = summarise(find_runs(study))
    assert [(arm.task, arm.agent) for arm in arms] == [
        (task, agent)
        for task in ("chaos/Lorenz-v0", "Pendulum-v1")
        for agent in ("ppo", "ppo-noclip", "trpo")
    ]
    assert [(arm.runs, arm.ended) for arm in arms] == [(3, 2), (3, 3), (3, 2), (3, 3), (3, 3), (3, 3)]


def test_a_diverged_run_enters_with_the_random_policys_return_and_counts_as_collapsed(run_writer, tmp_path):
    good = run_writer(tmp_path, seed=0, updates=[row(1, return_smooth=-30.0)])
    bad = run_writer(
        tmp_path, seed=1, updates=[row(1), row(2, kl_mean=math.nan)], status="diverged", return_final=None
    )
    arm = only_arm(good, bad)
    assert arm.final_returns == (-30.0, -110.0)
    assert arm.final_return == -70.0
    assert (arm.collapsed, arm.ended) == (1, 2)
    assert any("random policy" in note for note in arm.notes)


def test_divergence_never_improves_a_run_that_was_worse_than_random(run_writer, tmp_path):
    arm = only_arm(run_writer(tmp_path, updates=[row(1, return_smooth=-400.0)], status="diverged"))
    assert arm.final_return == -400.0


def test_a_diverged_run_without_a_known_floor_leaves_the_return_open_and_is_still_collapsed(
    run_writer, tmp_path
):
    good = run_writer(tmp_path, seed=0, updates=[row(1)])
    bad = run_writer(tmp_path, seed=1, updates=[row(1)], status="diverged", random_return=None)
    arm = only_arm(good, bad)
    assert arm.final_return is None
    assert arm.collapsed == 1
    assert any("unknown" in note for note in arm.notes)


def test_a_finished_run_whose_return_is_nan_has_collapsed(run_writer, tmp_path):
    arm = only_arm(run_writer(tmp_path, updates=[row(1)], return_final=math.nan))
    assert arm.collapsed == 1
    assert arm.final_return == -110.0


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_unfinished_runs_are_named_and_stay_out_of_returns_and_rates(run_writer, tmp_path, status):
    good = run_writer(tmp_path, seed=0, updates=[row(1, return_smooth=-30.0)])
    cut = run_writer(
        tmp_path, seed=1, updates=[row(1), row(2, kl_mean=0.7)], events=[collapse()], status=status
    )
    arm = only_arm(good, cut)
    assert arm.final_returns == (-30.0,)
    assert arm.final_return_interval is None
    assert (arm.collapsed, arm.ended, arm.runs) == (0, 1, 2)
    assert (arm.updates, arm.kl_mean_largest) == (3, 0.7), "an update that happened is counted"
    assert any(status in note for note in arm.notes)
    assert any("already collapsed" in note for note in arm.notes)


@pytest.mark.parametrize(
    ("kl", "words"),
    [
        (None, "no KL is measured (an algorithm that learns from replayed data"),
        (math.nan, "no update with a finite KL"),
    ],
)
def test_why_there_is_no_kl_is_told_truly(run_writer, tmp_path, kl, words):
    arm = only_arm(run_writer(tmp_path, updates=[row(1, kl_mean=kl), row(2, kl_mean=kl)]))
    assert [note for note in arm.notes if "KL" in note and note.startswith(words)]
    assert not any("1000" in note for note in arm.notes), "how often there is a record is for the user to say"
    assert arm.kl_measured is (kl is not None)


def test_an_update_that_was_undone_has_no_kl(run_writer, tmp_path):
    undone = row(2, kl_mean=0.0, kl_max=0.0, outcome="NOT_FINITE")
    arm = only_arm(run_writer(tmp_path, updates=[row(1), undone], status="diverged"))
    assert "1 update without a finite KL" in arm.notes
    assert (arm.kl_mean_peaks, arm.kl_mean_largest) == ((math.inf,), 0.01)


def test_a_recovered_run_has_collapsed_and_recovered(run_writer, tmp_path):
    events = [collapse(), collapse("recovery", 5)]
    back = run_writer(tmp_path, seed=0, updates=[row(1)], events=events)
    again = run_writer(tmp_path, seed=1, updates=[row(1)], events=[*events, collapse(update=9)])
    arm = only_arm(back, again)
    assert (arm.collapsed, arm.recovered) == (2, 1)


def test_spikes_per_hundred_updates_and_peaks_by_hand(run_writer, tmp_path):
    spike = collapse("kl_spike")
    a = run_writer(tmp_path, seed=0, updates=[row(n) for n in range(1, 31)], events=[spike] * 3)
    b = run_writer(tmp_path, seed=1, updates=[row(n, kl_mean=n, kl_max=math.inf) for n in range(1, 11)])
    arm = only_arm(a, b)
    assert arm.kl_spikes_per_100 == pytest.approx(7.5)
    assert arm.kl_mean_peaks == (0.01, 10.0)
    assert (arm.kl_mean_largest, arm.kl_max_largest) == (10.0, 0.02), "the largest finite value"


def test_a_seed_counts_once_and_the_newest_run_that_ended_stands_for_it(run_writer, tmp_path):
    old = run_writer(
        tmp_path, run_id="a", updates=[row(1, return_smooth=-90.0)], started="2026-01-01T00:00:00"
    )
    new = run_writer(
        tmp_path, run_id="b", updates=[row(1, return_smooth=-20.0)], started="2026-01-02T00:00:00"
    )
    cut = run_writer(tmp_path, run_id="c", updates=[row(1)], started="2026-01-03T00:00:00", status="failed")
    arm = only_arm(old, new, cut)
    assert arm.final_returns == (-20.0,)
    assert (arm.runs, arm.ended) == (3, 1)
    assert any("same seed" in note for note in arm.notes)


def test_runs_of_unknown_seed_are_not_repeats_of_each_other(run_writer, tmp_path):
    paths = [run_writer(tmp_path, run_id=name, seed=None, updates=[row(1)], started="t") for name in "ab"]
    assert only_arm(*paths).ended == 2


def test_settings_and_tasks_that_differ_make_arms_that_differ(run_writer, tmp_path):
    def agent(rate):
        return {
            "name": "ppo",
            "label": "ppo",
            "trust_region": "clipping",
            "settings": {"learning_rate": rate, "gamma": 0.98},
        }

    hot = {"id": "chaos/Lorenz-v0", "settings": {"rho": 40.0}}
    paths = [
        run_writer(tmp_path, run_id="a", updates=[row(1)], agent_record=agent(0.1)),
        run_writer(tmp_path, run_id="b", updates=[row(1)], agent_record=agent(0.2)),
        run_writer(tmp_path, run_id="c", updates=[row(1)], env_record=hot),
        run_writer(tmp_path, run_id="d", updates=[row(1)], env_record={**hot, "label": "hot Lorenz"}),
    ]
    arms = summarise([read_run(path) for path in paths])
    assert {(arm.task, arm.agent) for arm in arms} == {
        ("chaos/Lorenz-v0", "ppo (learning_rate=0.1)"),
        ("chaos/Lorenz-v0", "ppo (learning_rate=0.2)"),
        ("chaos/Lorenz-v0 (rho=40.0)", "ppo"),
        ("hot Lorenz", "ppo"),
    }


@pytest.mark.parametrize("ruin", ["empty", "missing", "manifest"])
def test_ruined_files_are_a_run_with_problems_not_an_error(run_writer, tmp_path, ruin):
    path = run_writer(tmp_path, updates=[row(1)], return_final=None, status="interrupted")
    if ruin == "empty":
        (path / "updates.jsonl").write_text("")
    elif ruin == "missing":
        (path / "updates.jsonl").unlink()
    else:
        (path / "manifest.json").write_text('{"run_id": "x", "env": ')
    arm = only_arm(path)
    assert (arm.runs, arm.ended, arm.final_return, arm.collapse_interval) == (1, 0, None, None)


def test_the_table_shows_counts_intervals_and_numbered_notes(study):
    table = table_rows(summarise(find_runs(study)))
    cells = dict(zip(table.headers, table.rows[1], strict=True))
    assert cells["agent"] == "ppo-noclip ² ³"
    assert cells["collapsed [exact 95 %]"] == "3 of 3 [29 %, 100 %]"
    assert cells["KL spikes per 100 updates"] == "24.4"
    assert table.notes[0].startswith("¹ 1 run running")
    assert all(len(cells) == len(table.headers) for cells in table.rows)
