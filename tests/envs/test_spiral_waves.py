"""The sheet's own sentences: spirals turn for ever, break up, or die."""

import numpy as np
import pytest

import envs

SHEET = envs.systems()["SpiralWaves"]


def watch(system, times):
    """From `start` and two scattered sheets: tips [times, 3] and mean of u [times, 3], every 5 time units."""
    states = np.column_stack([np.array(system.start), system.scatter(np.random.default_rng(1), 2)])
    tips, mean = [], []
    for _ in range(times):
        states = system.advance(states, np.zeros((4, 3)), 50)
        tips.append(system.tips(states))
        mean.append(states[: system.points**2].mean(axis=0))
    return np.array(tips), np.array(mean), states


def test_stable_spirals_turn_for_ever():
    tips, mean, states = watch(SHEET(epsilon=0.06), 8)
    assert (tips == 4).all()
    assert (mean[1:] > 0.2).all()
    assert not SHEET().decayed(states).any()


def test_turbulent_spirals_break_up():
    tips, mean, states = watch(SHEET(), 12)
    assert not SHEET().decayed(states).any()
    assert tips.max() > 4, "no wave broke"
    assert np.ptp(mean[4:], axis=0).min() > 0.1


def test_a_sheet_too_little_excitable_comes_to_rest():
    tips, _, states = watch(SHEET(epsilon=0.06, b=0.2), 4)
    assert (tips[-1] == 0).all()
    assert SHEET().decayed(states).all()
    assert np.abs(states).max() < 0.01


def test_the_rest_is_stable_and_a_pulse_above_threshold_is_a_wave():
    """Excitability: below u = b / a everything decays, above it u shoots up and v follows."""
    system = SHEET(L=8.0, points=16)
    rest = np.zeros(512)
    for value, lasts in ((0.05, False), (0.2, True)):
        state = rest.copy()
        state[:256] = value
        moved = system.advance(state[:, None], np.zeros((4, 1)), 20)[:, 0]
        assert (moved[:256].min() > 0.5) == lasts
    growth = np.linalg.eigvals(system.jacobian(rest)).real
    assert growth.max() == pytest.approx(0.0, abs=1e-9), (
        "only the Nyquist modes, which are not there, are neutral"
    )
    assert np.sort(growth)[-1 - (512 - system.dimension)] == pytest.approx(
        -system.b / system.a / system.epsilon
    )


def test_inhibition_is_once_continuously_differentiable():
    """f and f' have no jump at u = 1/3 and u = 1; f runs from 0 to 1."""
    system = SHEET()
    for place, value in ((1 / 3, 0.0), (1.0, 1.0)):
        u = place + np.array([-1e-6, 1e-6])
        _, f = system.local(u, 0 * u)
        _, slope = system.local_tangent((u, 0 * u), (np.ones(2), np.zeros(2)))
        np.testing.assert_allclose(f, value, atol=1e-10)
        np.testing.assert_allclose(slope, 0, atol=1e-4)


def test_tips_are_counted_where_the_phase_turns():
    """Two vortices made by hand, of opposite sense."""
    system = SHEET()
    x, y = np.meshgrid(system.x, system.x, indexing="ij")
    left = np.arctan2(y - 12.1, x - 6.1)
    right = np.arctan2(y - 12.1, x - 18.1)
    envelope = np.exp(-(((y - 12.1) / 4) ** 2))
    phase = (left - right) * envelope
    state = np.concatenate([(0.5 + 0.3 * np.cos(phase)).ravel(), (0.35 + 0.3 * np.sin(phase)).ravel()])
    assert system.tips(np.stack([state, 0 * state], 1)).tolist() == [2, 0]


def test_spiral_turbulence_is_chaotic():
    """Two perturbations of a turbulent sheet grow; those of one that comes to rest shrink."""
    for system, low, high in ((SHEET(), 0.03, 0.4), (SHEET(epsilon=0.06, b=0.2), -3.0, -0.3)):
        state = system.scatter(np.random.default_rng(2), 1)[:, 0]
        frame = np.random.default_rng(3).normal(size=(len(state), 2))
        state, frame, _ = system.stretch(state, frame, 200, 10)
        _, _, growth = system.stretch(state, frame, 300, 10)
        assert low < growth[0] / 30 < high
