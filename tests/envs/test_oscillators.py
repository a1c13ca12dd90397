"""Energies: what a drive, a friction and a push do to them, and what is kept when there are none."""

from dataclasses import replace

import numpy as np
import pytest

import envs

SYSTEMS = envs.systems()
DUFFING, PENDULUM, GALAXY = (SYSTEMS[name] for name in ("Duffing", "DrivenPendulum", "HenonHeiles"))
POINTS = np.random.default_rng(0).normal(size=(6, 4))


def rate(system, state, push=0.0):
    return np.array(system.rate(*state, push))


def jacobian(system, state, h=1e-30):
    columns = [rate(system, np.asarray(state) + 1j * h * e).imag / h for e in np.eye(len(state))]
    return np.array(columns).T


def duffing_energy(s, x, v, phase):
    return v**2 / 2 + s.alpha * x**2 / 2 + s.beta * x**4 / 4


def pendulum_energy(s, theta, v, phase):
    return v**2 / 2 - np.cos(theta)


def galaxy_energy(s, x, y, p, q):
    return (p**2 + q**2 + x**2 + y**2) / 2 + x**2 * y - y**3 / 3


def power(system, energy, state, push=0.0, h=1e-30):
    """dH/dt = grad H . rate, the gradient by complex step."""
    gradient = [energy(system, *(np.asarray(state) + 1j * h * e)).imag / h for e in np.eye(len(state))]
    return np.dot(gradient, rate(system, state, push))


@pytest.mark.parametrize(("cls", "energy"), [(DUFFING, duffing_energy), (PENDULUM, pendulum_energy)])
def test_friction_drive_and_push_are_all_that_changes_the_energy(cls, energy):
    """dH/dt = v (push + gamma cos phase - delta v)."""
    for system in (cls(), *(replace(cls(), **known.at) for known in cls.other_references)):
        for x, v, phase, _ in POINTS:
            expected = v * (0.7 + system.gamma * np.cos(phase) - system.delta * v)
            assert power(system, energy, [x, v, phase], 0.7) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("cls", "hilltop"), [(DUFFING, 0.0), (PENDULUM, np.pi)])
def test_the_hilltop_can_just_be_held_against_the_drive(cls, hilltop):
    """l^2 + delta l - 1 = 0 there; the push can cancel the drive at every phase, with a fifth to spare."""
    system = cls()
    assert system.target[0] == hilltop
    block = jacobian(system, system.target)[:2, :2]
    expected = np.sort(np.roots([1, system.delta, -1]))
    np.testing.assert_allclose(np.sort(np.linalg.eigvals(block)), expected, rtol=1e-12)
    assert system.task.push == pytest.approx(system.gamma + 0.2)
    for phase in np.linspace(0, 2 * np.pi, 9):
        held = rate(system, [hilltop, 0.0, phase], -system.gamma * np.cos(phase))
        np.testing.assert_allclose(held, [0, 0, system.omega], atol=1e-12)


def test_duffings_wells():
    """Without drive x = -1 and 1 attract: l^2 + delta l + 2 = 0."""
    system = DUFFING(gamma=0.0)
    for x in (-1.0, 1.0):
        np.testing.assert_allclose(rate(system, [x, 0.0, 0.3]), [0, 0, system.omega], atol=1e-12)
        found = np.linalg.eigvals(jacobian(system, [x, 0.0, 0.3])[:2, :2])
        np.testing.assert_allclose(
            np.sort_complex(found), np.sort_complex(np.roots([1, system.delta, 2])), rtol=1e-12
        )


def test_uedas_oscillator_has_one_well_and_no_hill():
    system = replace(DUFFING(), **DUFFING.other_references[-1].at)
    force = system.rate(np.linspace(-2, 2, 41), 0.0, np.pi / 2, 0.0)[1]
    assert np.all(np.diff(force) < 1e-12)


@pytest.mark.parametrize(("cls", "within"), [(DUFFING, 0.1), (PENDULUM, 0.1)])
def test_feedback_that_knows_the_phase_stays_on_the_hilltop(cls, within):
    """And the same hilltop without push is left at once."""
    system = cls()
    steps = round(system.task.control_interval / system.dt)
    ahead = system.omega * system.task.control_interval / 2

    def distance_after_100(held):
        state = np.array([system.target]).T
        for _ in range(100):
            error = state[:, 0] - system.target
            drive = system.gamma * np.cos(state[2, 0] + ahead)
            push = np.clip(-drive - 3 * error[0] - 3 * error[1], -system.task.push, system.task.push)
            state = system.advance(state, np.array([[push if held else 0.0]]), steps)
        return np.linalg.norm((state[:, 0] - system.target)[:2])

    assert distance_after_100(held=True) < within
    assert distance_after_100(held=False) > 0.5


# ---- Hénon and Heiles ----


def test_the_star_keeps_its_energy_and_the_push_does_work_along_the_diagonal():
    for point in POINTS:
        assert power(GALAXY(), galaxy_energy, point) == pytest.approx(0, abs=1e-12)
        assert power(GALAXY(), galaxy_energy, point, 0.7) == pytest.approx(0.7 * (point[2] + point[3]))


@pytest.mark.parametrize(
    ("energy", "y0", "p"), [(0.125, -0.25, 0.42081), (1 / 6, 0.0, 0.57735), (0.1, 0.2, None)]
)
def test_the_start_has_the_energy_it_says(energy, y0, p):
    system = GALAXY(energy=energy, y0=y0)
    assert galaxy_energy(system, *system.start) == pytest.approx(energy)
    assert p is None or system.start[2] == pytest.approx(p, abs=1e-5)
    assert np.isnan(GALAXY(energy=0.001).start[2]), "no such star"


def test_the_galaxy_has_three_passes_at_a_sixth():
    """A third of a turn changes nothing; at a pass the eigenvalues are 1, -1 and sqrt 3 times i, -i."""
    system, angle = GALAXY(), 2 * np.pi / 3
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    both = np.kron(np.eye(2), turn)
    for point in POINTS:
        np.testing.assert_allclose(rate(system, both @ point), both @ rate(system, point), atol=1e-12)
    assert galaxy_energy(system, *system.target) == pytest.approx(1 / 6)
    found = np.linalg.eigvals(jacobian(system, system.target))
    np.testing.assert_allclose(np.sort(found.real), [-1, 0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(np.sort(found.imag), [-np.sqrt(3), 0, 0, np.sqrt(3)], atol=1e-9)


def test_energy_leaks_with_the_fifth_power_of_the_step():
    """RK4 damps an oscillation by h^6 / 144 per step, h^5 per time unit; with h = dt next to nothing is lost."""
    system, lost = GALAXY(), []
    for h in (0.1, 0.2):
        orbit = system.kernels.orbit(np.array(system.start), 1, round(2000 / h), h, system.parameter_vector)
        lost.append(galaxy_energy(system, *orbit[-1]) - system.energy)
    assert np.log2(lost[1] / lost[0]) == pytest.approx(5, abs=0.3)
    end = system.orbit(np.array(system.start), 1, round(2000 / system.dt))[-1]
    assert abs(galaxy_energy(system, *end) - system.energy) < 1e-7


def test_exponents_come_in_pairs():
    """Sums of growth stay bounded while growth itself does not."""
    system = GALAXY()
    start, frame, _ = system.stretch(np.array(system.start), np.eye(4), 20_000, 10)
    _, _, growth = system.stretch(start, frame, 100_000, 10)
    assert growth[0] > 40
    assert growth[0] + growth[3] == pytest.approx(0, abs=6)
    assert growth[1] + growth[2] == pytest.approx(0, abs=6)
