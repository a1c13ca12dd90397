"""Each lattice's own sentence: conservation laws, sum rules, eigenvalues of waves, couplings counted by hand."""

from dataclasses import replace
from itertools import combinations
from math import exp

import numpy as np
import pytest

from envs.systems.chialvo_rulkov_chain import ChialvoRulkovChain
from envs.systems.coupled_map_lattice import CoupledMapLattice
from envs.systems.lorenz96 import Lorenz96
from envs.systems.ring_star_chialvo import RingStarChialvo
from envs.systems.sabra import Sabra


def falling(values):
    return np.sort(np.asarray(values))[::-1]


def test_lorenz96_waves_grow_as_the_circulant_says():
    system = Lorenz96(sites=12, F=7.3)
    angle = 2 * np.pi * np.arange(12) / 12
    expected = -1 + 7.3 * (np.exp(1j * angle) - np.exp(-2j * angle))
    found = np.linalg.eigvals(system.jacobian(np.array(system.target)))
    np.testing.assert_allclose(np.sort_complex(found.round(9)), np.sort_complex(expected.round(9)), atol=1e-8)


def test_lorenz96_moves_energy_about_without_changing_it():
    system = Lorenz96(sites=9)
    state = np.random.default_rng(0).normal(size=9)
    assert state @ system.law_at(state) == pytest.approx(system.F * state.sum() - state @ state, abs=1e-12)


def test_lorenz96_with_five_sites_has_the_spectrum_of_its_reference_and_loses_one_per_site():
    system, blocks, steps, frame = Lorenz96(sites=5, actuators=1), 20, 10_000, np.eye(5)
    state, frame, _ = system.stretch(np.array(system.start), frame, 5000, 10)
    rates = np.empty((blocks, 5))
    for b in range(blocks):
        state, frame, growth = system.stretch(state, frame, steps, 10)
        rates[b] = growth / (steps * system.dt)
    assert rates.sum(axis=1) == pytest.approx(-5, abs=1e-3)
    error = np.hypot(rates.std(axis=0, ddof=1) / np.sqrt(blocks), system.published.stderrs)
    assert np.all(np.abs(rates.mean(axis=0) - system.published.exponents) < 3 * error + 1e-4)
    assert falling(rates.mean(axis=0))[0] > 0.4


@pytest.mark.parametrize("goy", [False, True])
def test_shells_keep_their_energy_and_contract_at_a_constant_rate(goy):
    system = Sabra(goy=goy)
    state = np.random.default_rng(1).normal(size=30)
    free = replace(system, nu=0.0, f=0.0)
    flow = free.law_at(state)
    assert abs(state @ flow) < 1e-12 * np.linalg.norm(state) * np.linalg.norm(flow)
    k = system.profiles()["k"]
    assert np.trace(system.jacobian(state)) == pytest.approx(-2 * system.nu * np.sum(k**2), rel=1e-12)
    _, _, growth = system.stretch(np.array(system.start), np.eye(30), 1000, 5)
    assert growth.sum() / (1000 * system.dt) == pytest.approx(-1118.48, rel=1e-4)


def test_sabra_is_the_published_equation_in_complex_numbers():
    system = replace(Sabra(sites=6), e=0.4)
    generator = np.random.default_rng(2)
    u = generator.normal(size=6) + 1j * generator.normal(size=6)
    k, w = system.k0 * 2.0 ** np.arange(10), np.concatenate([[0, 0, 0], u, [0, 0, 0]])
    expected = []
    for n in range(1, 7):
        a, b, c = 1.0, -0.4, -0.6
        v = w[n + 2 :]
        nonlinear = (
            a * k[n + 1] * v[2] * np.conj(v[1])
            + b * k[n] * v[1] * np.conj(w[n + 1])
            - c * k[n - 1] * w[n + 1] * w[n]
        )
        expected.append(1j * nonlinear - system.nu * k[n] ** 2 * v[0] + (n == 1) * system.f * (1 + 1j))
    found = system.law_at(np.concatenate([u.real, u.imag]))
    np.testing.assert_allclose(found[:6] + 1j * found[6:], expected, rtol=1e-12)


def test_the_cascade_stands_still_at_its_target_and_does_not_attract():
    system = Sabra()
    target = np.array(system.target)
    np.testing.assert_allclose(system.law_at(target), 0, atol=1e-12)
    assert np.linalg.eigvals(system.jacobian(target)).real.max() > 0.1


def test_waves_on_the_map_lattice_have_the_multipliers_of_the_docstring():
    system = CoupledMapLattice(sites=8, actuators=2, a=1.7, epsilon=0.3)
    cosine = np.cos(2 * np.pi * np.arange(8) / 8)
    expected = (1 - np.sqrt(1 + 4 * 1.7)) * (1 - 0.3 + 0.3 * cosine)
    found = np.linalg.eigvals(system.jacobian(np.array(system.target)))
    np.testing.assert_allclose(falling(found.real), falling(expected), atol=1e-9)


def test_the_logistic_form_is_the_same_lattice():
    """4 x (1 - x) of x = (1 + y) / 2 is (1 + g(y)) / 2 with g(y) = 1 - 2 y^2."""
    system = CoupledMapLattice(sites=5, actuators=1)
    x = np.array([0.1, 0.35, 0.6, 0.8, 0.95])
    g = 4 * x * (1 - x)
    moved = 0.9 * g + 0.05 * (np.roll(g, 1) + np.roll(g, -1))
    np.testing.assert_allclose((system.law_at(2 * x - 1) + 1) / 2, moved, atol=1e-14)


def test_uncoupled_the_chain_is_neurons_on_their_own_and_coupled_it_conserves_current():
    system = ChialvoRulkovChain(sites=3, actuators=1, sigma=0.0)
    found = system.law_at(np.array([0.5, -1.2, 2.0, 1.5, -2.9, 1.1]))
    chialvo = [0.5**2 * exp(1.5 - 0.5) + 0.03, 2.0**2 * exp(1.1 - 2.0) + 0.03]
    np.testing.assert_allclose(found[[0, 2]], chialvo, rtol=1e-14)
    assert found[1] == pytest.approx(4.1 / (1 + 1.2**2) - 2.9, rel=1e-14)
    assert found[3:] == pytest.approx(
        [0.89 * 1.5 - 0.18 * 0.5 + 0.28, -2.9 - 0.001 * (-1.2 + 1), 0.89 * 1.1 - 0.18 * 2 + 0.28]
    )
    current = replace(system, sigma=0.3).law_at(np.array([0.5, -1.2, 2.0, 1.5, -2.9, 1.1]))[:3] - found[:3]
    np.testing.assert_allclose(current, 0.3 * np.array([-1.7, 4.9, -3.2]), atol=1e-14)


@pytest.mark.parametrize("sites", [4, 5, 9])
def test_ring_star_currents_are_those_of_all_wires_and_all_triangles(sites):
    system = RingStarChialvo(sites=sites, mu=0.02, sigma=0.05, higher=0.007)
    state = np.random.default_rng(sites).uniform(0.1, 2, size=2 * sites)
    x, ring = state[:sites], range(1, sites)
    wires = {frozenset((0, m)): 0.02 for m in ring}
    wires |= {frozenset((m, m % (sites - 1) + 1)): 0.05 for m in ring}
    current = np.zeros(sites)
    for (i, j), strength in ((sorted(pair), s) for pair, s in wires.items()):
        current[i] += strength * (x[j] - x[i])
        current[j] += strength * (x[i] - x[j])
    for triple in combinations(range(sites), 3):
        if all(frozenset(pair) in wires for pair in combinations(triple, 2)):
            for i in triple:
                current[i] += 0.007 * (x[list(triple)].sum() - 3 * x[i])
    free = replace(system, mu=0.0, sigma=0.0, higher=0.0).law_at(state)[:sites]
    np.testing.assert_allclose(system.law_at(state)[:sites], free + current, atol=1e-13)
