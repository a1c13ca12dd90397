"""Linear feedback: its linearisation is the step's own, its gain the optimum, its closed loop what algebra says."""

from math import exp, log

import numpy as np
import pytest

from envs.task import resolve
from rl_lab.probes.feedback import Feedback, distance, episodes, linearised, regulator


@pytest.fixture(scope="module")
def lorenz():
    return resolve("chaos/Lorenz-v0", {})


def test_the_linearisation_is_the_runge_kutta_polynomial_of_the_jacobian(lorenz):
    """At a fixed point one RK4 step is I + hJ + ... + (hJ)^4 / 24, and a push of unit size adds its series."""
    system, h = lorenz.system, lorenz.system.dt
    growth, effect = linearised(lorenz, lorenz.target)
    hj = h * system.jacobian(lorenz.target)
    step = np.eye(3) + hj + hj @ hj / 2 + hj @ hj @ hj / 6 + hj @ hj @ hj @ hj / 24
    series = h * (np.eye(3) + hj / 2 + hj @ hj / 6 + hj @ hj @ hj / 24)
    pushed = (
        sum(np.linalg.matrix_power(step, n) for n in range(lorenz.substeps)) @ series @ np.array([0, 1, 0])
    )
    assert growth == pytest.approx(np.linalg.matrix_power(step, lorenz.substeps), abs=1e-7)
    assert effect[:, 0] == pytest.approx(pushed, abs=1e-7)


@pytest.mark.parametrize(("k", "rate"), [(0, 0.0940), (1, -0.3103), (3, -1.1620)])
def test_the_closed_loop_of_proportional_feedback_grows_at_the_known_rate(lorenz, k, rate):
    """u = -k (y - y*), held for 0.05: logarithm of the spectral radius per time unit, known independently."""
    loop = Feedback(lorenz, lorenz.target, np.array([[0.0, float(k), 0.0]]), np.inf)
    assert log(loop.radius) / lorenz.control_interval == pytest.approx(rate, abs=1e-4)


def test_the_gain_is_the_optimum_that_iterating_bellmans_equation_ends_in(lorenz):
    growth, effect = linearised(lorenz, lorenz.target)
    error, price = np.diag((0.1 * lorenz.ruler[1]) ** -2.0), np.diag(np.array(lorenz.bounds) ** -2.0)
    cost = error
    for _ in range(2000):
        gain = np.linalg.solve(price + effect.T @ cost @ effect, effect.T @ cost @ growth)
        cost = error + growth.T @ cost @ (growth - effect @ gain)
    assert regulator(lorenz).gain == pytest.approx(gain, rel=1e-6)


def test_feedback_holds_what_runs_away_without_it(lorenz):
    law = regulator(lorenz)
    assert law.radius < 1 < exp(0.0940 * lorenz.control_interval) + 1e-4
    starts = lorenz.initial_states[::256]
    held, free = episodes(lorenz, starts, law), episodes(lorenz, starts, None)
    assert held.states.shape == (201, 3, 16)
    assert np.all(distance(lorenz, held.states[-1], law.target) < 1e-6)
    assert np.all(distance(lorenz, free.states[-1], law.target) > 0.05), "the case is too easy"
    assert not held.lost.any()
    assert np.all(np.abs(law(held.states[0])) <= 10.0)


def test_patience_waits_until_the_push_is_enough():
    henon = resolve("chaos/Henon-v0", {})
    patient = regulator(henon, patience=1.0)
    states = henon.target[:, None] + np.array([[1e-3, 0.5], [0.0, 0.0]])
    pushes = patient(states)
    assert pushes[0, 0] != 0.0
    assert pushes[0, 1] == 0.0
    assert abs(regulator(henon)(states)[0, 1]) == pytest.approx(0.05), (
        "without patience it pushes with all it has"
    )


def test_an_escape_ends_the_episode_where_it_was():
    henon = resolve("chaos/Henon-v0", {"push": 0.4})
    always = Feedback(henon, henon.target, np.array([[-50.0, 0.0]]), np.inf)
    ran = episodes(henon, henon.initial_states[:32], always)
    lost = ran.lost.any(axis=0)
    assert lost.any(), "the case is too easy"
    assert np.isfinite(ran.states).all()
    first = np.argmax(ran.lost[:, lost], axis=0)
    for lane, n in zip(np.flatnonzero(lost), first, strict=True):
        assert np.array_equal(ran.states[n - 1, :, lane], ran.states[-1, :, lane])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"goal": "region", "high": 0.0}, "the goal region is no state to hold"),
        ({"target_state": (1.0, 2.0, 20.0)}, "no fixed point of the uncontrolled system"),
        ({"actuator": ("beta",), "target_state": (0.0, 0.0, 0.0)}, "do not reach every unstable direction"),
    ],
)
def test_where_it_cannot_work_it_says_why(settings, sentence):
    """At the origin, beta multiplies z = 0: pushing it moves nothing."""
    with pytest.raises(ValueError, match=sentence):
        regulator(resolve("chaos/Lorenz-v0", settings))
