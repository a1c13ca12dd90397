"""The picture of a task: the rate is the slope, a panel without control says why, all numbers are finite."""

import json
import math

import numpy as np
import pytest

from envs.task import resolve
from rl_lab.report.portrait import SETTLED, SMALL, draw, fitted, plane, portrait


def test_the_rate_is_the_slope_between_the_two_distances_and_nothing_else():
    """Alignment at the beginning and saturation at the end have other slopes, which must not matter."""
    times = np.linspace(0, 30, 301)
    slopes = np.array([0.8, 1.0, 1.2])
    middle = times[:, None] * 0.0 + np.log(1e-9)
    inside = np.minimum(np.maximum(times - 2.0, 0) * 1.0, 16.0)
    logs = middle + np.minimum(times, 2.0)[:, None] * 1.1 + inside[:, None] * slopes
    found = fitted(times, logs)
    assert found.rate == pytest.approx(1.0, abs=1e-6)
    assert found.stderr == pytest.approx(0.2 / math.sqrt(3), rel=1e-6)
    mean = logs.mean(axis=1)
    assert mean[found.first] >= math.log(SETTLED) > mean[found.first - 1]
    assert mean[found.last] > math.log(SMALL) >= mean[found.last - 1]


def test_neighbours_that_stay_together_have_no_fitted_rate():
    flat = np.full((301, 5), np.log(1e-9))
    found = fitted(np.linspace(0, 30, 301), flat)
    assert found.rate is found.stderr is None


@pytest.fixture(scope="module")
def henon():
    return portrait(resolve("chaos/Henon-v0", {}))


def test_the_fitted_rate_is_the_exponent_within_its_error(henon):
    found = henon.parting
    assert 0.002 < found.stderr < 0.03
    assert abs(found.rate - 0.41929) < 4 * found.stderr


def test_the_controlled_episode_ends_at_the_target_and_the_free_one_does_not(henon):
    caught, of = henon.caught
    assert of // 2 < caught <= of == 64
    assert np.linalg.norm(henon.held.states[-1, :, 0] - henon.task.target) < 1e-6
    assert np.linalg.norm(henon.free.states[-1, :, 0] - henon.task.target) > 1e-3
    assert np.array_equal(henon.held.states[0], henon.free.states[0]), "both start at the same state"


def test_the_same_seed_is_the_same_picture(henon):
    again = portrait(resolve("chaos/Henon-v0", {}))
    assert draw(again).spec() == draw(henon).spec()
    assert portrait(resolve("chaos/Henon-v0", {}), seed=1).parting.rate != henon.parting.rate


def titles(drawing):
    return [panel["title"] for panel in drawing.spec()["concat"]]


def test_there_are_three_panels_with_titles_axes_and_rows(henon):
    spec = draw(henon).spec()
    assert len(spec["concat"]) == 3
    shown = " ".join(map(str, titles(draw(henon))))
    assert "fitted rate" in shown
    assert "reference 0.41929" in shown
    for panel in spec["concat"]:
        for layer in panel["layer"]:
            assert spec["datasets"][layer.get("data", panel.get("data"))["name"]], "no empty layer"
            assert layer["encoding"]["x"]["title"]
            assert layer["encoding"]["y"]["title"]
    json.dumps(spec, allow_nan=False)


def test_a_goal_without_a_state_to_hold_shows_the_reward_and_says_why():
    left = portrait(resolve("chaos/LorenzLeftLobe-v0", {"steps": 40}))
    assert left.held is left.law is None
    document = left.document()
    assert document["control"] == "the goal region is no state to hold"
    assert document["held"] is None
    panel = draw(left).spec()["concat"][1]
    assert "the goal region is no state to hold" in panel["title"]
    assert panel["layer"][0]["encoding"]["y"]["title"] == "reward per step"
    paid = {row["y"] for row in draw(left).rows["lines of episode"]}
    assert paid <= {0.0, 1.0}


def test_three_states_are_shown_on_the_pair_that_covers_most():
    """A band in x and y that is flat in z; the first pair of several that are as good."""
    rng = np.random.default_rng(0)
    flat = rng.uniform(-1, 1, (4000, 3)) * (1, 1, 0)
    system = resolve("chaos/Lorenz-v0", {}).system
    assert plane(system, flat) == (0, 1)
    assert plane(system, flat[:, [0, 2, 1]]) == (0, 2)
    assert plane(system, rng.uniform(-1, 1, (4000, 3))) == (0, 1)
