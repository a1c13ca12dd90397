"""Lorenz's own sentence: a focus so weakly unstable that linear feedback holds it, once it is caught."""

import gymnasium
import numpy as np
import pytest

import envs
from envs import derive

LORENZ = envs.systems()["Lorenz"]


def sorted_eigenvalues(matrix):
    return sorted(np.linalg.eigvals(matrix), key=lambda value: (value.real, value.imag))


def test_eigenvalues_at_the_eye_of_a_lobe():
    """Roots of l^3 + (s + b + 1) l^2 + b (s + r) l + 2 s b (r - 1), the characteristic polynomial at C+."""
    system = LORENZ()
    s, r, b = system.sigma, system.rho, system.beta
    roots = np.roots([1, s + b + 1, b * (s + r), 2 * s * b * (r - 1)])
    found = sorted_eigenvalues(system.jacobian(derive.target(system)))
    np.testing.assert_allclose(found, sorted(roots, key=lambda value: (value.real, value.imag)), rtol=1e-9)
    np.testing.assert_allclose(found[0], -13.85457791, atol=1e-8)
    np.testing.assert_allclose(found[2], 0.09395562 + 10.19450522j, atol=1e-8)


def test_eigenvalues_at_the_origin():
    found = sorted_eigenvalues(LORENZ().jacobian(np.zeros(3)))
    np.testing.assert_allclose(found, [-22.82772345, -2.66666667, 11.82772345], atol=1e-8)


def test_the_divergence_is_constant():
    system = LORENZ(sigma=11.0, rho=30.0, beta=2.5)
    assert np.trace(system.jacobian(np.array([1.0, 2.0, 3.0]))) == pytest.approx(-(11.0 + 1 + 2.5))


@pytest.mark.parametrize(("gain", "rate"), [(0.0, 0.0940), (-1.0, -0.3103), (-3.0, -1.1620)])
def test_closed_loop_growth_under_held_feedback(gain, rate):
    """push = gain (y - y*), held for 0.05: log spectral radius of one control interval, per time unit.

    Differentiated through Env.step itself, actuator, clipping and float64 observation included.
    """
    env = gymnasium.make("chaos/Lorenz-v0", dtype="float64").unwrapped
    target, (centre, scale), h = env.task.target, env.task.ruler, 1e-5

    def after(state):
        env.reset(seed=0, options={"state": state})
        seen = env.step(np.array([gain * (state[1] - target[1]) / env.task.push]))[0]
        return centre + scale * seen

    jacobian = np.array([(after(target + h * e) - after(target - h * e)) / (2 * h) for e in np.eye(3)]).T
    radius = np.abs(np.linalg.eigvals(jacobian)).max()
    assert np.log(radius) / env.task.control_interval == pytest.approx(rate, abs=1e-4)


def test_held_feedback_catches_the_orbit_and_doing_nothing_does_not():
    batch = gymnasium.make_vec("chaos/Lorenz-v0", num_envs=64)

    def mean_return(gain):
        batch.reset(seed=0)
        total = np.zeros(64)
        for _ in range(batch.task.steps):
            error = batch.states[:, 1] - batch.task.target[1]
            total += batch.step(np.clip(gain * error / batch.task.push, -1, 1)[:, None])[1]
        return total.mean()

    assert mean_return(0.0) < -150, "too easy: it settles by itself"
    assert mean_return(-3.0) > -60


def test_without_a_fixed_point_the_task_says_so():
    with pytest.raises(ValueError, match=r"rho=0\.5.*does not exist"):
        gymnasium.make("chaos/Lorenz-v0", rho=0.5)
