"""Ginzburg-Landau's own sentences: exact waves, who is unstable, phases that slip."""

import numpy as np
import pytest

import envs

GL = envs.systems()["GinzburgLandau"]
STILL = np.zeros((8, 1))


def wave(system, number, time=0.0):
    """A = sqrt(1 - q^2) exp(i (q x - w t)), w = b q^2 + c (1 - q^2) - c in the turning frame; a state [D]."""
    q = 2 * np.pi * number / system.L
    turn = (system.b - system.c) * q**2
    field = np.sqrt(1 - q**2) * np.exp(1j * (q * system.x - turn * time))
    return np.concatenate([field.real, field.imag])


@pytest.mark.parametrize("number", [0, 1, -3])
def test_plane_waves_are_exact_solutions(number):
    """By the rate, and by the steps over two time units."""
    system = GL(dt=0.025)
    ahead = (wave(system, number, 1e-5) - wave(system, number, -1e-5)) / 2e-5
    np.testing.assert_allclose(system.law_at(wave(system, number)), ahead, atol=1e-9)
    moved = system.advance(wave(system, number)[:, None], STILL, 80)[:, 0]
    np.testing.assert_allclose(moved, wave(system, number, 2.0), atol=2e-6)
    assert number == 0 or np.abs(moved - wave(system, number)).max() > 0.1, "the wave should have moved"


@pytest.mark.parametrize(("b", "c"), [(3.5, -1.0), (0.5, -0.5)])
def test_eigenvalues_of_the_uniform_oscillation(b, c):
    """Per wave number: roots of s^2 + 2 (1 + q^2) s + 2 (1 + b c) q^2 + (1 + b^2) q^4, from linearising at A = 1.

    Some are unstable where 1 + b c < 0 (Benjamin and Feir), none otherwise.
    """
    system = GL(b=b, c=c)
    target = np.array(system.target)
    np.testing.assert_allclose(system.law_at(target), 0, atol=1e-13)
    found = np.linalg.eigvals(system.jacobian(target))
    # Modes above half the highest wavenumber are left out by the dealiasing.
    for q in 2 * np.pi * np.arange(0, 20) / system.L:
        for root in np.roots([1, 2 * (1 + q**2), 2 * (1 + b * c) * q**2 + (1 + b**2) * q**4]):
            assert np.abs(found - root).min() < 1e-8 * (1 + abs(root))
    assert (found.real.max() > 1e-3) == (1 + b * c < 0)


def test_the_phase_of_the_whole_field_is_free():
    """A -> A exp(i phi) commutes with the step: the third zero exponent besides shifts of time and space."""
    system = GL()
    state = system.advance(np.array(system.start)[:, None], STILL, 100)

    def turned(values):
        field = (values[:96] + 1j * values[96:]) * np.exp(0.7j)
        return np.concatenate([field.real, field.imag])

    expected = turned(system.advance(state, STILL, 10))
    np.testing.assert_allclose(system.advance(turned(state), STILL, 10), expected, atol=1e-10)


def test_phases_slip_where_the_amplitude_touches_zero():
    """Defect turbulence: the number of turns of the phase around the ring changes."""
    system = GL()
    orbit = system.orbit(np.array(system.start), 300, 10)[50:]
    field = orbit[:, :96] + 1j * orbit[:, 96:]
    turns = np.angle(np.roll(field, -1, axis=1) / field).sum(axis=1) / (2 * np.pi)
    assert len(set(np.rint(turns))) > 1
    assert np.abs(field).min() < 0.1
    assert np.abs(field).max() < 2


def spectrum(system, blocks, steps):
    generator = np.random.default_rng(3)
    state = system.scatter(generator, 1)[:, 0]
    frame = generator.normal(size=(len(state), 8))
    state, frame, _ = system.stretch(state, frame, 1000, 10)
    found = []
    for _ in range(blocks):
        state, frame, growth = system.stretch(state, frame, steps, 10)
        found.append(growth / (steps * system.dt))
    return np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(blocks)


@pytest.mark.nightly  # by day tests/rl_lab/probes/test_catalogue.py measures it in another way
def test_largest_exponent_in_short():
    mean, error = spectrum(GL(), 10, 400)
    known = GL().published
    assert abs(mean[0] - known.exponents[0]) < 3 * np.hypot(error[0], known.stderrs[0])
    assert mean[0] > 5 * error[0], "no chaos was seen"
    np.testing.assert_allclose(mean[3:5], 0, atol=0.02)


@pytest.mark.nightly
def test_published_spectrum_at_length():
    system = GL()
    mean, error = spectrum(system, 20, 2000)
    known = system.published
    np.testing.assert_array_less(np.abs(mean - known.exponents), 3 * np.hypot(error, known.stderrs) + 1e-3)
    np.testing.assert_allclose(mean[3:5], 0, atol=3e-3)
