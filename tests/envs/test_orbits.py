"""Periodic orbits against published periods and multipliers (ChaosBook.org; Viswanath, Nonlinearity 16, 2003)."""

import numpy as np
import pytest

import envs
from envs import orbits


def system(name, **parameters):
    return envs.systems()[name](**parameters)


@pytest.mark.parametrize(
    ("name", "near", "period", "multiplier"),
    [
        ("Lorenz", 1.5, 1.558652210, 4.71),
        ("Lorenz", 2.3, 2.305907262, 9.16),
        ("Rossler", 5.9, 5.881088456, -2.40395),
        # a double loop, as Lorenz' second is
        pytest.param("Rossler", 11.8, 11.75862631, -3.51201, marks=pytest.mark.nightly),
    ],
)
def test_shortest_orbits_of_flows_have_their_published_periods(name, near, period, multiplier):
    found = orbits.periodic_orbit(system(name), near)
    assert found.period == pytest.approx(period, abs=1e-5)
    assert found.multipliers[0].real == pytest.approx(multiplier, rel=2e-3)
    assert np.min(np.abs(found.multipliers - 1)) < 1e-5, (
        "the direction along the orbit neither grows nor shrinks"
    )


def test_an_orbit_of_a_flow_closes():
    flow = system("Rossler")
    found = orbits.periodic_orbit(flow, 5.9)
    around = found.points[0]
    steps = round(found.period / flow.dt)
    states = around[:, None].copy()
    flow.kernels.advance(states, np.zeros((1, 1)), found.period / steps, steps, flow.parameter_vector)
    np.testing.assert_allclose(states[:, 0], around, atol=1e-7)


@pytest.mark.parametrize("period", [2, 4, 6, 7])
def test_orbits_of_henon_close_and_are_prime(period):
    """Their multipliers have the product (-b)^p; the period-2 orbit solves a quadratic equation."""
    henon = system("Henon")
    found = orbits.periodic_orbit(henon, period)
    state = found.points[0]
    seen = [state]
    for _ in range(period):
        seen.append(henon.step(seen[-1]))
    np.testing.assert_allclose(seen[-1], state, atol=1e-9)
    assert len(np.unique(np.round(seen[:-1], 6), axis=0)) == period
    assert np.prod(found.multipliers).real == pytest.approx((-0.3) ** period, rel=1e-5)
    if period == 2:
        a, b = henon.a, henon.b
        roots = np.roots([a**2, -a * (1 - b), (1 - b) ** 2 - a])
        np.testing.assert_allclose(sorted(found.points[:, 0]), sorted(roots.real), atol=1e-9)


def test_a_period_that_no_orbit_has_is_refused():
    with pytest.raises(ValueError, match=r"Henon.*no periodic orbit with a period near 3 was found"):
        orbits.periodic_orbit(system("Henon"), 3)


def test_the_reward_follows_the_orbit():
    """On the orbit nothing is paid at any phase; beside it the distance in units of reward_scale."""
    import gymnasium

    env = gymnasium.make("chaos/Rossler-v0", goal="orbit", period=5.9, reward_scale=2.0).unwrapped
    points = orbits.periodic_orbit(env.task.system, 5.9).points
    for point in points[::16]:
        env.reset(seed=0, options={"state": point})
        assert abs(env.step(np.zeros(1))[1]) < 5e-3
    flat = points[np.argmin(np.abs(points[:, 2]))]  # far from the fold the orbit lies in the plane z = 0
    away = np.array([0.0, 0.0, -0.2])
    assert env.task.aim.reward(env.task, _end(flat + away))[0][0] == pytest.approx(-0.1, abs=0.01)


def _end(state):
    from envs.goals import Interval

    column = state[:, None]
    return Interval(column, column, np.zeros((1, 1)), np.ones(1, dtype=np.int64), np.zeros((0, 1)))
