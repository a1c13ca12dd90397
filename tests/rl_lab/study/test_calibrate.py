"""What a study will cost: estimated from a few updates, and said when it cannot be."""

from itertools import permutations

import pytest

from rl_lab.cli.told import _duration
from rl_lab.monitor.record.run_directory import Run
from rl_lab.study.calibrate import makespan, rate_of, steps_to_measure
from rl_lab.study.config import read_study


@pytest.mark.parametrize("jobs", [1, 2, 3, 9])
def test_the_last_run_ends_when_every_place_has_done_its_share(jobs):
    """Graham's bounds: no better than the mean load or the longest run, no worse than load plus a longest run."""
    for seconds in permutations([5.0, 1.0, 3.0, 2.0, 2.5]):
        load, longest = sum(seconds) / jobs, max(seconds)
        assert max(load, longest) <= makespan(seconds, jobs) + 1e-12
        assert makespan(seconds, jobs) <= load + (1 - 1 / jobs) * longest + 1e-12
    assert makespan([4.0, 1.0, 1.0, 1.0, 1.0], 2) == 4.0
    assert makespan([1.0, 1.0, 1.0, 1.0, 4.0], 2) == 6.0, "the order is the study's, not the best"
    assert makespan([], 3) == 0.0


def run(*rows):
    return Run(None, {}, [{"env_steps": steps, "seconds": seconds} for steps, seconds in rows], [])


def test_the_first_update_is_not_counted():
    """It compiles: 30 s; then two updates of 500 steps take a second each."""
    assert rate_of(run((500, 30.0), (1000, 31.0), (1500, 32.0))) == pytest.approx(2.0)
    assert rate_of(run((500, 30.0))) is None
    assert rate_of(run()) is None


def planned(agent, steps):
    study = read_study(
        {"envs": ["Pendulum-v1"], "agents": [agent], "seeds": 1, "steps": steps}, "t", "t.yaml"
    )
    return study.runs()[0]


def test_a_calibration_run_is_short_and_never_longer_than_the_run():
    ppo = {"name": "ppo", "n_envs": 8, "n_steps": 256}
    assert steps_to_measure(planned(ppo, 10**6)) == 2 * 2048
    assert steps_to_measure(planned({**ppo, "n_steps": 16}, 10**6)) == 128 + 1000, (
        "short updates: enough of them"
    )
    assert steps_to_measure(planned(ppo, 3000)) == 3000
    assert steps_to_measure(planned("sac", 10**6)) == 2000


def test_a_duration_is_said_as_a_person_would():
    said = [_duration(seconds) for seconds in (3.4, 89, 600, 5399, 3 * 3600 + 20 * 60, 200 * 3600)]
    assert said == ["3 s", "89 s", "10 min", "1 h 30 min", "3 h 20 min", "8 days 8 h"]
