"""Hénon's own sentence: an error that doubles and changes sign, and a push that holds it only while small."""

import gymnasium
import numpy as np
import pytest

import envs
from envs import derive

HENON = envs.systems()["Henon"]


def test_the_derived_target_is_the_fixed_point_inside_the_attractor():
    """a x^2 + (1 - b) x - 1 = 0, positive root; the negative one is outside."""
    system = HENON()
    x = (-(1 - system.b) + np.sqrt((1 - system.b) ** 2 + 4 * system.a)) / (2 * system.a)
    np.testing.assert_allclose(derive.target(system), [x, system.b * x], rtol=1e-14)
    np.testing.assert_allclose(derive.target(system), [0.6313544770895047, 0.1894063431268514], rtol=1e-14)


def test_multipliers_of_the_fixed_point():
    """l = -a x ± sqrt(a^2 x^2 + b)."""
    system = HENON()
    x = derive.target(system)[0]
    root = np.sqrt((system.a * x) ** 2 + system.b)
    found = np.sort(np.linalg.eigvals(system.jacobian(derive.target(system))))
    np.testing.assert_allclose(found, [-system.a * x - root, -system.a * x + root], rtol=1e-12)
    np.testing.assert_allclose(found, [-1.92373886, 0.15594632], atol=1e-8)


def test_area_shrinks_by_b_at_every_iteration():
    _, _, growth = HENON().stretch(np.array([0.1, 0.1]), np.eye(2), 1000)
    assert growth.sum() / 1000 == pytest.approx(-1.2039728043, abs=1e-10)


def test_the_push_holds_within_its_window_and_not_beyond():
    """Along the unstable direction the push must undo 0.924 of the error: it can hold 0.054 at most."""
    env = gymnasium.make("chaos/Henon-v0").unwrapped
    target = env.task.target
    values, vectors = np.linalg.eig(env.task.system.jacobian(target))
    left = np.linalg.inv(vectors)[np.argmin(values)]
    gain = left / left[0]  # error along the unstable direction, in units of what the push moves
    unstable = vectors[:, np.argmin(values)] / (gain @ vectors[:, np.argmin(values)])

    def error_after_one(distance):
        env.reset(seed=0, options={"state": target + distance * unstable})
        env.step(np.array([1.924 * (gain @ (env.state - target)) / env.task.push]))
        return abs(gain @ (env.state - target))

    for sign in (1, -1):
        assert error_after_one(sign * 0.020) < 1e-3
        assert error_after_one(sign * 0.045) < 0.045
        assert error_after_one(sign * 0.065) > 0.065


def test_pushing_at_random_throws_the_orbit_out_of_the_basin():
    batch = gymnasium.make_vec("chaos/Henon-v0", num_envs=64)
    batch.reset(seed=0)
    batch.action_space.seed(0)
    ended = sum(int(batch.step(batch.action_space.sample())[2].sum()) for _ in range(100))
    assert ended > 10


def captured_after(push, lanes=512, hold=30):
    """Mean time until feedback along the unstable direction holds the orbit, by chaos/Henon-v0 itself.

    OGY: push only what cancels the unstable part of the error, and only where the bound allows it, near the
    target. The time is total time over captures, so that lanes not caught yet count. Returns it with its
    relative standard error.
    """
    batch = gymnasium.make_vec("chaos/Henon-v0", num_envs=lanes, push=push, steps=10**9, dtype="float64")
    values, vectors = np.linalg.eig(batch.task.system.jacobian(batch.task.target))
    unstable = int(np.argmax(np.abs(values)))
    left = np.linalg.inv(vectors)[unstable]
    gain, (centre, scale) = -values[unstable] * left / left[0], batch.task.ruler
    limit = round(min(6000, 1000 + 40 / push))
    seen, held, times = batch.reset(seed=0)[0], np.zeros(lanes, dtype=int), np.full(lanes, limit)
    for step in range(limit + hold):
        error = centre + scale * seen - batch.task.target
        wanted = error @ gain
        near = (np.abs(wanted) <= push) & (np.linalg.norm(error, axis=1) < 0.5 * push**0.5)
        held = np.where(near, held + 1, 0)
        times[(held == hold) & (times == limit)] = step - hold + 1
        seen = batch.step((np.where(near, wanted, 0.0) / push)[:, None])[0]
    captures = int(np.sum(times < limit))
    return times.sum() / captures, captures**-0.5


def test_capture_time_of_ogy_grows_like_a_power_of_the_push_bound():
    """1.176 = 1 + ln|lu| / (2 ln(1/|ls|)) in the limit of small bounds; the fractal adds steps that repeat in ls^2.

    Fitted over one such period, a factor of 41, the slope is 1.26 here: the bounds that a test can wait for are
    not small yet, and the tolerance says so. Source: E. Ott, C. Grebogi, J. A. Yorke, Physical Review Letters 64,
    1196 (1990).
    """
    stable, unstable = 0.15594632, 1.92373886
    expected = 1 + np.log(unstable) / (2 * np.log(1 / stable))
    assert expected == pytest.approx(1.17605, abs=1e-5)
    bounds = np.geomspace(0.06, 0.06 * stable**2, 8)
    times, errors = np.array([captured_after(bound) for bound in bounds]).T
    assert times[-1] > 50 * times[0]
    (slope, _), covariance = np.polyfit(np.log(bounds), np.log(times), 1, w=1 / errors, cov="unscaled")
    assert covariance[0, 0] ** 0.5 < 0.03
    assert -slope == pytest.approx(expected, abs=0.15)
