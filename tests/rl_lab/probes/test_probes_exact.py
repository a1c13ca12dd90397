"""Every probe where mathematics knows the answer: matrices, tents, eigenvectors, invariants."""

import json

import numpy as np
import pytest
from scipy.special import digamma
from written_maps import LeakyTent, Linear, Tent, Torus

import envs
from rl_lab.probes.covariant import covariant
from rl_lab.probes.dimension import entropy, kaplan_yorke, kaplan_yorke_stderr
from rl_lab.probes.divergence import sum_rule
from rl_lab.probes.escape import escape_rate, survive
from rl_lab.probes.finite_time import finite_time
from rl_lab.probes.lyapunov import spectrum
from rl_lab.probes.tangent import exponents_of_product, orthonormal
from rl_lab.probes.two_trajectory import Distance, largest, plateau
from rl_lab.probes.zero_one import stride, zero_one

HENON, LORENZ = envs.systems()["Henon"], envs.systems()["Lorenz"]
CAT = np.log((3 + np.sqrt(5)) / 2)
SKEW = ((1.1, 2.0), (0.0, 0.8))
"""Eigenvectors (1, 0) and (2, -.3): far from orthogonal."""


# ---- spectrum ----


def test_cat_map_and_linear_map():
    found = spectrum(Torus(), time=400, settle=50)
    np.testing.assert_allclose(found.exponents, (CAT, -CAT), rtol=1e-12)
    skew = spectrum(Linear(matrix=SKEW), time=400, settle=200)
    np.testing.assert_allclose(skew.exponents, np.log((1.1, 0.8)), atol=1e-12)


def test_newmans_formula_for_products_of_gaussian_matrices():
    """lambda_k = (ln(2 s2 / N) + psi((N - k + 1) / 2)) / 2. Source: C. Newman, Comm. Math. Phys. 103, 121 (1986)."""
    rng, size = np.random.default_rng(0), 8
    matrices = (rng.normal(size=(size, size)) / np.sqrt(size) for _ in range(20_000))
    found = exponents_of_product(matrices, vectors=size)
    exact = 0.5 * (np.log(2 / size) + digamma((size - np.arange(size)) / 2))
    assert np.max(found.stderr) < 0.02
    assert np.max(np.abs(np.subtract(found.values, exact)) / found.stderr) < 4
    with pytest.raises(ValueError, match="too few"):
        exponents_of_product(iter([np.eye(2)]), vectors=2)


@pytest.mark.parametrize("vectors", [1, 2])
def test_fewer_vectors_give_the_first_exponents_of_all(vectors):
    """To the last digits: the first k columns of a QR do not know of the others."""
    system = LORENZ()
    whole, part = (spectrum(system, time=300, settle=50, vectors=k) for k in (None, vectors))
    assert len(part.exponents) == vectors
    allowed = 4 * np.hypot(whole.stderr[:vectors], part.stderr) + 1e-3
    assert np.all(np.abs(np.subtract(part.exponents, whole.exponents[:vectors])) < allowed)
    assert "more vectors" in part.note
    with pytest.raises(ValueError, match="vectors must be 1 to 3"):
        spectrum(system, vectors=4)


def test_binary_tent_orbits_collapse_and_the_spectrum_says_where():
    """Doubling shifts the bits out: after 53 iterations the orbit is the fixed point 0."""
    found = spectrum(Tent(), time=1000, settle=100)
    assert "fixed point (0)" in found.note
    assert found.exponents[0] == pytest.approx(np.log(2)), "the derivative is 2 on the fixed point as well"


def test_dimension_and_entropy_carry_errors():
    """Against the spread over many repetitions of the whole measurement."""
    rng, exact = np.random.default_rng(1), np.array([0.9, 0.0, -14.5])
    runs = exact + rng.normal(size=(400, 20, 3)) * [0.3, 0.02, 0.3]
    spread = np.std([kaplan_yorke(run.mean(axis=0)) for run in runs])
    assert np.mean([kaplan_yorke_stderr(run) for run in runs]) == pytest.approx(spread, rel=0.1)
    value, error = entropy(runs[0])
    assert value == pytest.approx(0.9, abs=4 * error)
    assert error == pytest.approx(0.3 / np.sqrt(20), rel=0.4)
    found = spectrum(HENON(), time=200_000)
    assert found.kaplan_yorke == pytest.approx(1.2583, abs=4 * found.kaplan_yorke_stderr)
    assert found.entropy[0] == pytest.approx(0.41929, abs=4 * found.entropy[1])


@pytest.mark.parametrize(("name", "exact"), [("Henon", np.log(0.3)), ("Lorenz", -41 / 3), ("Rossler", None)])
def test_sum_rule(name, exact):
    found = sum_rule(envs.systems()[name](), steps=4000)
    if exact is not None:
        assert found.divergence == pytest.approx(exact, abs=1e-10)
    assert found.difference == pytest.approx(0, abs=2e-4 * abs(found.divergence))
    assert json.dumps(found.document())


# ---- two trajectories ----


def test_two_trajectories_find_an_eigenvalue_and_agree_with_the_tangent():
    def cosine(state):
        return np.array([0.5 * np.cos(state[0])])

    x = 0.4501836112948736  # cos(x) / 2 = x
    found = largest(cosine, state=np.array([0.4]), renormalisations=200)
    assert found.exponent == pytest.approx(np.log(0.5 * np.sin(x)), abs=1e-6)
    henon = largest(HENON(), renormalisations=6000)
    assert henon.stderr < 0.01
    assert henon.exponent == pytest.approx(0.41929, abs=3.5 * henon.stderr)
    assert henon.note is None
    assert json.dumps(henon.document())


def test_two_trajectories_refuse_what_they_cannot_follow():
    with pytest.raises(ValueError, match="runs away"):
        largest(lambda state: 2 * state, state=np.ones(1))
    with pytest.raises(ValueError, match="needs a state"):
        largest(lambda state: state)
    with pytest.raises(ValueError, match="d0 must be positive"):
        largest(HENON(), d0=-1.0)
    with pytest.raises(ValueError, match="renormalisations"):
        largest(HENON(), renormalisations=3)


def test_a_plateau_needs_three_neighbours_that_agree_and_have_no_fault():
    def rows(*values, faults=()):
        return [Distance(10.0**i, v, 0.001, "bad" if i in faults else None) for i, v in enumerate(values)]

    assert [r.exponent for r in plateau(rows(0.1, 1.9, 0.90, 0.91, 0.905, 0.2))] == [0.90, 0.91, 0.905]
    assert plateau(rows(0.90, 0.91, 0.2, 0.90, 0.91)) == []
    assert plateau(rows(0.90, 0.91, 0.90, faults=[1])) == []
    assert plateau(rows(0.1, 0.2, 0.3, 0.4)) == []
    none = largest(
        lambda s: np.round(s, 3) * 3.7 * (1 - np.round(s, 3)), state=np.array([0.3]), scan=[1e-9, 1e-8]
    )
    assert np.isnan(none.exponent)
    assert "no plateau" in none.note
    assert none.document()["exponent"] is None


# ---- finite time and covariant vectors ----


def test_finite_time_exponents_of_a_matrix_are_its_singular_value_and_its_eigenvalue():
    steps = 6
    found = finite_time(Linear(matrix=SKEW), steps=steps, starts=3, settle=1)
    sigma = np.linalg.norm(np.linalg.matrix_power(np.array(SKEW), steps), 2)
    assert found.sigma_max.mean == pytest.approx(np.log(sigma) / steps)
    assert found.leading.mean == pytest.approx(np.log(1.1), abs=1e-6)
    assert found.sigma_max.mean > found.leading.mean + 0.1


def test_the_mean_leading_growth_does_not_depend_on_the_window_and_sigma_max_is_above_it():
    found = [finite_time(HENON(), steps=steps, starts=400) for steps in (3, 30)]
    for one in found:
        assert one.leading.mean == pytest.approx(0.41929, abs=4 * one.leading.stderr)
        assert np.all(one.sigma_max.samples >= one.leading.samples - 1e-12)
    low, middle, high = found[0].leading.quantiles
    assert low < middle < high
    assert found[0].sigma_max.mean > found[1].sigma_max.mean
    assert json.dumps(found[0].document())


def test_covariant_vectors_of_a_matrix_are_its_eigenvectors():
    found = covariant(Linear(matrix=SKEW), points=40, forward=200, backward=200, settle=1)
    for n, exact in enumerate((np.array([1.0, 0.0]), np.array([2.0, -0.3]) / np.hypot(2.0, 0.3))):
        np.testing.assert_allclose(np.abs(found.vectors[:, :, n] @ exact), 1.0, atol=1e-10)
    np.testing.assert_allclose(found.exponents.values, np.log((1.1, 0.8)), atol=1e-10)
    np.testing.assert_allclose(found.angles(0, 1), np.arctan(0.15), atol=1e-9)


def test_covariant_vectors_are_carried_onto_each_other():
    """J(x_n) v_j(n) is parallel to v_j(n + 1) and longer by the local rate; the frame's vectors are not."""
    system = HENON()
    found = covariant(system, points=500, forward=200, backward=200)
    for n in range(len(found.points) - 1):
        carried = system.jacobian(found.points[n]) @ found.vectors[n]
        lengths = np.linalg.norm(carried, axis=0)
        np.testing.assert_allclose(np.log(lengths), found.growth[n], atol=1e-8)
        along = np.abs(np.sum(carried / lengths * found.vectors[n + 1], axis=0))
        np.testing.assert_allclose(along, 1.0, atol=1e-8)
    assert found.exponents.values[1] == pytest.approx(-1.62326, abs=4 * found.exponents.stderr[1])
    assert found.angles(0, 1).min() < 0.2, (
        "an orthogonal frame would pass a test of parallels of the first only"
    )


def test_the_neutral_covariant_vector_of_a_flow_is_its_velocity():
    system = LORENZ()
    found = covariant(system, points=300, forward=300, backward=300)
    for state, vectors in zip(found.points, found.vectors, strict=True):
        velocity = system.law_at(state)
        assert abs(vectors[:, 1] @ velocity) / np.linalg.norm(velocity) == pytest.approx(1.0, abs=1e-6)


# ---- 0-1 test ----


def logistic(r, count=2000):
    series, x = np.empty(count), 0.3
    for n in range(count + 500):
        x = r * x * (1 - x)
        if n >= 500:
            series[n - 500] = x
    return series


def test_zero_one_tells_chaos_from_order():
    chaos = zero_one(logistic(3.97))
    assert chaos.value > 0.95
    assert chaos.chaotic is True
    periodic = zero_one(logistic(3.55))
    assert abs(periodic.value) < 0.1
    assert periodic.chaotic is False
    assert zero_one(np.cos(np.sqrt(5) * np.arange(2000))).chaotic is False
    assert 0 < chaos.stderr < 0.05
    assert json.dumps(chaos.document())


def test_zero_one_notices_a_flow_sampled_too_finely():
    orbit = LORENZ().orbit(np.array([1.0, 1.0, 20.0]), 30_000)[2000:, 0]
    fine = zero_one(orbit[:2000])
    assert fine.value < 0.3, "the trap: chaos that looks regular"
    assert fine.chaotic is None
    assert "too finely" in fine.note
    coarse = zero_one(orbit[:: 2 * stride(orbit)])
    assert coarse.chaotic is True
    with pytest.raises(ValueError, match="at least 500"):
        zero_one(np.ones(1000))


# ---- transient chaos ----


def test_escape_rate_and_exponents_of_a_leaky_tent():
    """Rate ln 2; two thirds of the survivors' steps have slope 3, one third slope 6."""
    system = LeakyTent()
    weights = system.shares / system.shares.sum()
    exact = weights @ np.log([3.0, 6.0])
    found = survive(system, starts=100_000, settle=1.0)
    assert found.rate_stderr < 0.01
    assert found.rate == pytest.approx(np.log(2), abs=3.5 * found.rate_stderr)
    assert found.rates.values[0] == pytest.approx(exact, abs=3.5 * found.rates.stderr[0])
    assert found.note is None
    assert found.lifetime == 1 / found.rate
    assert json.dumps(found.document())
    with pytest.raises(ValueError, match="not known to be transient"):
        survive(HENON())


def test_escape_rate_errors_are_those_of_repeated_measurements():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        lives = rng.exponential(5.0, size=400)
        found.append(escape_rate(np.array([np.sum(lives > t) for t in np.arange(0.0, 8.1, 0.5)], float), 0.5))
    rates, errors = np.array(found).T
    assert rates.mean() == pytest.approx(0.2, abs=4 * rates.std() / np.sqrt(300))
    assert errors.mean() == pytest.approx(rates.std(), rel=0.15)


def test_no_orbit_returns_from_the_ellipsoid_of_lorenz():
    """From all over its surface: the quadratic form falls from then on, and all end in C+ or C-."""
    system = LORENZ(rho=20.0)
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(3, 4000))
    low, high = np.zeros(4000), np.full(4000, 5.0)
    target = np.array(system.target)[:, None]
    for _ in range(50):
        middle = (low + high) / 2
        inside = system.decayed(target + middle * directions / np.linalg.norm(directions, axis=0))
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    states = target + low * directions / np.linalg.norm(directions, axis=0)
    states[:2, ::2] *= -1
    for _ in range(200):
        assert system.decayed(states).all()
        states = system.advance(states, np.zeros((1, 4000)), 10)
    for _ in range(60):
        states = system.advance(states, np.zeros((1, 4000)), 200)
    np.testing.assert_allclose(np.abs(states), np.broadcast_to(np.abs(target), states.shape), atol=1e-4)
    assert low.min() > 0.2, "too small an ellipsoid would be true and useless"
    assert not LORENZ().transient
    assert not LORENZ().decayed(np.array(LORENZ().target)[:, None]).any()


def test_gram_schmidt_gives_back_its_vectors_and_entropy_counts_growth_only():
    vectors = np.random.default_rng(0).normal(size=(5, 3))
    frame, triangle = orthonormal(vectors)
    np.testing.assert_allclose(frame @ triangle, vectors, atol=1e-14)
    np.testing.assert_allclose(frame.T @ frame, np.eye(3), atol=1e-14)
    assert np.all(np.diag(triangle) > 0)
    assert entropy(np.array([[0.9, 0.2, -0.5], [0.7, 0.2, -0.5]])) == pytest.approx((1.0, 0.1))
