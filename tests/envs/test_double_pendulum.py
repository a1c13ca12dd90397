"""The double pendulum's own sentence: it keeps its energy, and only the torque takes it away."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import sympy

import envs

PENDULUM = envs.systems()["DoublePendulum"]
UNEQUAL = replace(PENDULUM(), m1=1.3, m2=0.8, l1=0.9, l2=1.2)


def energy(system, states):
    """Kinetic plus potential energy of the two masses from their positions, [..., 4] -> [...]."""
    theta1, theta2, omega1, omega2 = np.moveaxis(states, -1, 0)
    v1 = system.l1 * omega1 * np.array([np.cos(theta1), np.sin(theta1)])
    v2 = v1 + system.l2 * omega2 * np.array([np.cos(theta2), np.sin(theta2)])
    height1 = -system.l1 * np.cos(theta1)
    height2 = height1 - system.l2 * np.cos(theta2)
    kinetic = 0.5 * system.m1 * (v1**2).sum(axis=0) + 0.5 * system.m2 * (v2**2).sum(axis=0)
    return kinetic + system.g * (system.m1 * height1 + system.m2 * height2)


def test_the_equations_are_lagranges():
    """Euler-Lagrange from positions alone, by sympy, against the written accelerations at one state."""
    t, (m1, m2, l1, l2, g) = sympy.Symbol("t"), list(UNEQUAL.parameters.values())[:5]
    a, b = (sympy.Function(name)(t) for name in ("a", "b"))
    x1, y1 = l1 * sympy.sin(a), -l1 * sympy.cos(a)
    x2, y2 = x1 + l2 * sympy.sin(b), y1 - l2 * sympy.cos(b)
    kinetic = (m1 * (x1.diff(t) ** 2 + y1.diff(t) ** 2) + m2 * (x2.diff(t) ** 2 + y2.diff(t) ** 2)) / 2
    lagrangian = kinetic - g * (m1 * y1 + m2 * y2)
    torque, values = 3.7, dict(zip((a, b, a.diff(t), b.diff(t)), (0.4, 2.1, -1.3, 0.8), strict=True))
    equations = []
    for angle, force in ((a, torque), (b, 0)):
        left = lagrangian.diff(angle.diff(t)).diff(t) - lagrangian.diff(angle) - force
        names = {angle.diff(t, 2): name for angle, name in ((a, sympy.Symbol("A")), (b, sympy.Symbol("B")))}
        equations.append(
            left.subs(names).subs({k: v for k, v in values.items() if k.is_Derivative}).subs(values)
        )
    solved = sympy.solve(equations, sympy.symbols("A B"))
    found = UNEQUAL.law_at(np.array([0.4, 2.1, -1.3, 0.8]), torque)
    np.testing.assert_allclose(found, [-1.3, 0.8, *map(float, solved.values())], rtol=1e-12)


@pytest.mark.parametrize("system", [PENDULUM(), UNEQUAL], ids=str)
def test_energy_is_kept(system):
    """20 seconds of chaos, relative to the energy between hanging and level."""
    orbit = system.orbit(np.array(system.start), 4000)
    spread = np.ptp(energy(system, orbit)) / (system.g * (system.m1 + system.m2))
    assert spread < 2e-5
    assert np.ptp(orbit[:, 1]) > np.pi, "too quiet to test anything"


def test_the_torque_does_the_work():
    """Energy gained equals the time integral of push times omega1."""
    system, push = UNEQUAL, 2.0
    states = [np.array(system.start)]
    for _ in range(400):
        states.append(system.step(states[-1], push))
    orbit = np.array(states)
    work = push * (orbit[-1, 0] - orbit[0, 0])
    gained = energy(system, orbit[-1]) - energy(system, orbit[0])
    assert abs(work) > 1
    assert gained == pytest.approx(work, rel=1e-5)


def test_small_oscillations_have_the_textbook_frequencies():
    """omega^2 = (2 ± sqrt 2) g / l for equal masses and rods."""
    found = np.linalg.eigvals(PENDULUM().jacobian(np.zeros(4)))
    expected = np.sqrt((2 + np.array([1, -1]) * np.sqrt(2)) * 9.81)
    np.testing.assert_allclose(np.sort(found.imag)[2:], np.sort(expected), rtol=1e-12)
    np.testing.assert_allclose(found.real, 0, atol=1e-9)


def test_volume_in_phase_space_is_kept():
    """Liouville for (angles, momenta): in (theta, omega) the volume goes like 1 / det of the mass matrix."""
    system, start = UNEQUAL, np.array(UNEQUAL.start)
    end, _, growth = system.stretch(start, np.eye(4), 4000, 5)

    def mass_determinant(state):
        return system.m1 + system.m2 * np.sin(state[0] - state[1]) ** 2

    assert abs(growth.sum()) > 0.01, "the momenta alone would pass"
    assert growth.sum() == pytest.approx(np.log(mass_determinant(start) / mass_determinant(end)), abs=1e-5)


def test_exponents_come_in_pairs():
    """Hamiltonian: l1 = -l4 and l2 = -l3 once the frame has turned into place."""
    system = PENDULUM()
    start, frame, _ = system.stretch(np.array(system.start), np.eye(4), 20_000, 5)
    _, _, growth = system.stretch(start, frame, 40_000, 5)
    assert growth[0] > 100
    assert growth[0] + growth[3] == pytest.approx(0, abs=6)
    assert growth[1] + growth[2] == pytest.approx(0, abs=6)


def test_braking_calms_it_and_letting_go_does_not():
    batch = gymnasium.make_vec("chaos/DoublePendulum-v0", num_envs=64)

    def energy_at_the_end(gain):
        batch.reset(seed=0)
        for _ in range(batch.task.steps - 1):
            batch.step(np.clip(-gain * batch.states[:, [2]] / batch.task.push, -1, 1))
        return np.mean(energy(batch.task.system, batch.states)) + 3 * 9.81

    assert energy_at_the_end(0.0) == pytest.approx(29.43, abs=0.1)
    assert energy_at_the_end(5.0) < 3


def test_angles_are_seen_as_cosine_and_sine_and_have_no_seam():
    env = gymnasium.make("chaos/DoublePendulum-v0", dtype="float64").unwrapped
    state = np.array([3.0, -2.0, 0.5, -0.5])
    here = env.reset(seed=0, options={"state": state})[0]
    turned = env.reset(seed=0, options={"state": state + np.array([2 * np.pi, -4 * np.pi, 0, 0])})[0]
    np.testing.assert_allclose(here[:4], [np.cos(3), np.sin(3), np.cos(-2), np.sin(-2)])
    np.testing.assert_allclose(here, turned, atol=1e-14)


def test_it_is_released_at_rest_at_the_angles_it_is_given():
    assert PENDULUM(release1=0.3, release2=-0.4).start == (0.3, -0.4, 0.0, 0.0)
    assert PENDULUM().start == (np.pi / 2, np.pi / 2, 0.0, 0.0)
