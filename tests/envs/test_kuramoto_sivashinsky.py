"""Kuramoto-Sivashinsky's own sentences: who grows, what keeps the energy, which states stand still."""

from dataclasses import replace
from math import pi

import numpy as np
import pytest

import envs

KS = envs.systems()["KuramotoSivashinsky"]


def settled(system):
    return system.orbit(np.array(system.start), 1, 2000)[0]


@pytest.mark.parametrize("length", [22.0, 36.0])
def test_waves_on_the_zero_state_grow_at_q2_minus_q4(length):
    """The linear part is exact: so are the exponents of the zero state, in pairs of sine and cosine."""
    system = KS(L=length, points=96)
    q = 2 * pi * np.arange(1, 9) / length
    expected = np.sort(np.repeat(q**2 - q**4, 2))[::-1][:12]
    frame = np.random.default_rng(0).normal(size=(96, 12))
    _, frame, _ = system.stretch(np.zeros(96), frame, 4000, 4)
    _, _, growth = system.stretch(np.zeros(96), frame, 40, 4)
    np.testing.assert_allclose(growth / (40 * system.dt), expected, atol=1e-6)
    assert (np.linalg.eigvals(system.jacobian(np.zeros(96))).real > 1e-9).sum() == (
        6 if length == 22.0 else 10
    )


def test_energy_comes_from_slopes_and_goes_with_curvature():
    """d/dt <u^2> / 2 = <u_x^2> - <u_xx^2>: the nonlinear term moves energy between scales and makes none."""
    system = KS()
    u = settled(system)
    modes, q = np.fft.rfft(u), 2j * pi * np.arange(33) / system.L
    slope, curvature = np.fft.irfft(q * modes), np.fft.irfft(q**2 * modes)
    balance = np.mean(slope**2) - np.mean(curvature**2)
    assert np.mean(u * system.law_at(u)) == pytest.approx(balance, rel=1e-9)
    assert np.mean(slope**2) > 0.1, "a field without slopes proves nothing"


def test_the_reflected_field_evolves_reflected():
    """u(x) -> -u(-x) is a symmetry, u(x) -> u(-x) is none."""
    system = KS()
    u = settled(system)
    still = np.zeros((8, 1))
    mirrored = -np.roll(u[::-1], 1)
    moved = system.advance(u[:, None], still, 20)[:, 0]
    np.testing.assert_allclose(
        system.advance(mirrored[:, None], still, 20)[:, 0], -np.roll(moved[::-1], 1), atol=1e-9
    )
    assert np.abs(system.advance(-mirrored[:, None], still, 20)[:, 0] - np.roll(moved[::-1], 1)).max() > 0.1


def test_the_form_on_two_pi_is_the_same_equation():
    """nu = 0.08: w(y, s) = u / sqrt(nu) with y = sqrt(nu) x and s = nu t, its rate written out independently."""
    nu = 0.08
    system = KS(L=2 * pi / np.sqrt(nu))
    u = settled(system)
    w, q = u / np.sqrt(nu), 1j * np.arange(33)
    modes = np.fft.rfft(w)
    rate = -w * np.fft.irfft(q * modes) - np.fft.irfft(q**2 * modes) - nu * np.fft.irfft(q**4 * modes)
    np.testing.assert_allclose(system.law_at(u), nu * np.sqrt(nu) * rate, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "energy", "leading"),
    [
        ("E1", 0.2609, [0.1308 + 0.3341j, 0.1308 - 0.3341j, 0.0824 + 0.3402j, 0.0824 - 0.3402j]),
        ("E2", 0.4382, [0.1390 + 0.2384j, 0.1390 - 0.2384j]),
        ("E3", 1.5876, [0.0933, 0.0933]),
    ],
)
def test_equilibria_have_the_published_energies_and_growth_rates(name, energy, leading):
    """Cvitanović, Davidchack and Siminos (2010), L = 22; unstable eigenvalues, in falling order."""
    system = KS()
    state = np.array(system.equilibria[name])
    np.testing.assert_allclose(system.law_at(state), 0, atol=1e-10)
    np.testing.assert_allclose(state, -np.roll(state[::-1], 1), atol=1e-9)
    assert np.mean(state**2) / 2 == pytest.approx(energy, abs=5e-5)
    found = np.linalg.eigvals(system.jacobian(state))
    unstable = sorted(found[found.real > 1e-6], key=lambda value: (-round(value.real, 6), -value.imag))
    np.testing.assert_allclose(unstable, leading, atol=6e-5)


def test_only_with_drift_does_a_push_move_the_mean():
    u, push = settled(KS())[:, None], np.full((8, 1), 0.3)
    still, moved = KS().advance(u, push, 4), KS(drift=True).advance(u, push, 4)
    assert abs(still.mean()) < 1e-14
    bumps = 8 * 0.3 * 0.4 * np.sqrt(2 * pi) / 22.0
    assert moved.mean() == pytest.approx(4 * 0.25 * bumps, rel=1e-4)
    assert KS(drift=True).published == KS().published
    assert KS(drift=True).dimension == KS().dimension == 62


def test_perturbations_have_no_mean_and_two_exponents_are_zero():
    """Even where the frame is given a mean and the mean may move; and the chaotic orbit keeps both zeros."""
    system = KS(drift=True)
    _, frame, _ = system.stretch(settled(KS()), np.eye(64)[:, :5] + 1.0, 4000, 8)
    np.testing.assert_allclose(frame.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(frame.T @ frame, np.eye(5), atol=1e-12)


def blocks(system, vectors, count, steps, seed=0):
    """Exponents of `count` consecutive stretches of an orbit after settling, [count, vectors]."""
    generator = np.random.default_rng(seed)
    state = system.scatter(generator, 1)[:, 0]
    frame = generator.normal(size=(len(state), vectors))
    state, frame, _ = system.stretch(state, frame, 2000, 8)
    found = []
    for _ in range(count):
        state, frame, growth = system.stretch(state, frame, steps, 8)
        found.append(growth / (steps * system.dt))
    return np.array(found)


def agrees(system, found):
    """Within three standard errors of both, for as many exponents as were measured."""
    mean, error = found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(len(found))
    known = system.published
    both = np.hypot(error, known.stderrs[: len(mean)])
    # Exponents that hardly fluctuate have an error of their own below the last digit published.
    np.testing.assert_array_less(np.abs(mean - known.exponents[: len(mean)]), 3 * both + 2e-3)
    return mean, error


@pytest.mark.nightly  # by day tests/rl_lab/probes/test_catalogue.py measures it in another way
def test_published_spectrum_in_short():
    mean, error = agrees(KS(), blocks(KS(), 11, 10, 1000))
    assert mean[0] > 3 * error[0], "no chaos was seen"


@pytest.mark.nightly
@pytest.mark.parametrize(
    "system",
    [KS(), *(replace(KS(), **r.at) for r in KS.other_references)],
    ids=lambda system: f"L{system.L:.0f}",
)
def test_published_spectrum_at_length(system):
    agrees(system, blocks(system, min(12, len(system.published.exponents)), 20, 4000, seed=1))
