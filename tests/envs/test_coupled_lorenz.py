"""Two Lorenz flows: the leader does not listen, and the follower falls into step above a threshold."""

import numpy as np
import pytest

import envs

LORENZ, PAIR = envs.systems()["Lorenz"], envs.systems()["CoupledLorenz"]


def rate(system, state, push=0.0):
    return np.array(system.rate(*state, push))


def test_the_leader_is_lorenz_and_hears_neither_follower_nor_push():
    alone, pair = LORENZ(), PAIR(k=3.0)
    for state in np.random.default_rng(0).normal(size=(5, 6), scale=10):
        np.testing.assert_allclose(rate(pair, state, 5.0)[:3], rate(alone, state[:3]), rtol=1e-12)


def test_in_step_nothing_is_heard_and_out_of_step_the_follower_is_pulled():
    """The state of being equal is kept by the equations themselves; nothing but y2 is pulled, by k (y1 - y2)."""
    pair, free = PAIR(k=3.0), PAIR(k=0.0)
    assert [pair.states.index(follower) for _, follower in pair.pairs] == [3, 4, 5]
    for state in np.random.default_rng(0).normal(size=(5, 6), scale=10):
        equal = np.concatenate([state[:3], state[:3]])
        moved = rate(pair, equal)
        np.testing.assert_allclose(moved[:3], moved[3:], rtol=1e-12)
        pull = rate(pair, state, 5.0) - rate(free, state)
        np.testing.assert_allclose(pull, [0, 0, 0, 0, 3 * (state[1] - state[4]) + 5, 0], atol=1e-9)


def test_both_eyes_are_an_equilibrium():
    np.testing.assert_allclose(rate(PAIR(), PAIR().target), 0, atol=1e-9)
    assert np.isnan(PAIR(rho=0.5).target[0])


def conditional_exponents(k, time=500.0):
    """The follower's three, from a frame that starts in the follower's directions and never leaves them."""
    system = PAIR(k=k)
    frame, steps = np.eye(6)[:, 3:], round(time / system.dt)
    state, frame, _ = system.stretch(np.array(system.start), frame, 2000, 5)
    _, _, growth = system.stretch(state, frame, steps, 5)
    return growth / time


def test_the_follower_falls_into_step_above_a_threshold():
    """Between k = 1 and k = 4 its largest exponent changes sign; all three add up to -(sigma + 1 + beta + k)."""
    weak, strong = conditional_exponents(1.0), conditional_exponents(4.0)
    for k, found in ((1.0, weak), (4.0, strong)):
        assert found.sum() == pytest.approx(-(10 + 1 + 8 / 3 + k), rel=1e-3)
    assert weak[0] > 0.1
    assert strong[0] < -0.3
    np.testing.assert_allclose(weak, [0.2257, -0.1508, -14.7415], atol=0.15)


def test_what_falls_into_step_stays_there():
    def apart(k):
        system = PAIR(k=k)
        end = system.orbit(np.array(system.start), 1, 10_000)[-1]
        return np.linalg.norm(end[:3] - end[3:])

    assert apart(4.0) < 1e-9
    assert apart(1.0) > 1e-3


def test_feedback_on_the_follower_synchronises_within_the_push():
    """push = 5 (y1 - y2), clipped at 10: nine of ten followers; without push none."""
    system = PAIR()
    steps = round(system.task.control_interval / system.dt)
    starts = system.orbit(np.array(system.start), 64, 500).T

    def share_in_step(gain):
        states, apart = np.ascontiguousarray(starts), []
        for _ in range(200):
            push = np.clip(gain * (states[1] - states[4]), -system.task.push, system.task.push)
            states = system.advance(states, push[None], steps)
            apart.append(np.linalg.norm(states[:3] - states[3:], axis=0))
        return np.mean(np.max(apart[-10:], axis=0) < 1)

    assert share_in_step(0.0) < 0.1
    assert share_in_step(5.0) > 0.75
