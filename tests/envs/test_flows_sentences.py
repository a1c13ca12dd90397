"""One sentence of mathematics for each flow, on the equations as written: no generated code."""

import numpy as np
import pytest

import envs

SYSTEMS = envs.systems()
POINTS = np.random.default_rng(0).normal(size=(5, 4))


def rate(system, state, push=0.0):
    return np.array(system.rate(*state, push))


def jacobian(system, state, h=1e-30):
    """Complex step: exact to rounding."""
    size = len(state)
    columns = [rate(system, np.asarray(state) + 1j * h * e).imag / h for e in np.eye(size)]
    return np.array(columns).T


def assert_eigenvalues(matrix, expected):
    found = np.linalg.eigvals(matrix)
    for value in expected:
        nearest = np.argmin(np.abs(found - value))
        assert found[nearest] == pytest.approx(value, rel=1e-9, abs=1e-9)
        found = np.delete(found, nearest)


def steerable_directions(system, target):
    """Rank of (b, J b, J^2 b, ...): how many directions one push reaches near a fixed point."""
    size = len(target)
    matrix, effect = jacobian(system, target), rate(system, target, 1.0) - rate(system, target)
    return np.linalg.matrix_rank(np.array([np.linalg.matrix_power(matrix, n) @ effect for n in range(size)]))


@pytest.mark.parametrize(
    ("name", "divergence"),
    [
        ("Chen", lambda s: s.c - s.a - s.b),
        ("Halvorsen", lambda s: -3 * s.a),
        ("Thomas", lambda s: -3 * s.b),
        ("RabinovichFabrikant", lambda s: 2 * (s.gamma - s.alpha)),
        ("Duffing", lambda s: -s.delta),
        ("DrivenPendulum", lambda s: -s.delta),
        ("HenonHeiles", lambda s: 0.0),
        ("CoupledLorenz", lambda s: -2 * (s.sigma + 1 + s.beta) - s.k),
    ],
)
def test_volumes_shrink_at_the_same_rate_everywhere(name, divergence):
    """And the published exponents, where all are known, add up to it."""
    system = SYSTEMS[name]()
    size = len(system.states)
    for point in np.random.default_rng(1).normal(size=(5, size)):
        assert np.trace(jacobian(system, point)) == pytest.approx(divergence(system), abs=1e-12)
    tolerance = 3 * np.linalg.norm(system.reference.stderrs)
    assert sum(system.reference.exponents) == pytest.approx(divergence(system), abs=tolerance)


@pytest.mark.parametrize("name", ["Chen", "Halvorsen", "HyperRossler", "Chua", "RabinovichFabrikant"])
def test_one_push_reaches_every_direction_near_the_target(name):
    system = SYSTEMS[name]()
    known = {
        "HyperRossler": hyper_rossler_centre(SYSTEMS["HyperRossler"]()),
        "RabinovichFabrikant": rabinovich_fabrikant_focus(SYSTEMS["RabinovichFabrikant"]()),
    }
    target = known.get(name, system.target)
    np.testing.assert_allclose(rate(system, target), 0, atol=1e-9)
    assert np.linalg.eigvals(jacobian(system, target)).real.max() > 0
    assert steerable_directions(system, target) == len(target)


def test_chen_eigenvalues_in_the_eye_of_a_lobe():
    """Roots of l^3 + (a + b - c) l^2 + b c l + 2 a b (2 c - a)."""
    system = SYSTEMS["Chen"](a=34.0, b=2.9, c=27.0)
    a, b, c = system.a, system.b, system.c
    roots = np.roots([1, a + b - c, b * c, 2 * a * b * (2 * c - a)])
    assert_eigenvalues(jacobian(system, system.target), roots)
    assert np.isnan(SYSTEMS["Chen"](c=10.0).target[0]), "2 c < a: there is no such point"


@pytest.mark.parametrize("name", ["Halvorsen", "Thomas"])
def test_three_arms_are_one(name):
    """Renaming x -> y -> z -> x changes nothing."""
    system = SYSTEMS[name]()
    for point in POINTS[:, :3]:
        np.testing.assert_allclose(
            rate(system, np.roll(point, 1)), np.roll(rate(system, point), 1), rtol=1e-12
        )


def test_halvorsens_saddle_and_why_its_origin_cannot_be_held():
    """On the diagonal J is circulant: l_k = -a - (4 + 2 x) w^k - 4 w^2k, w a cube root of 1."""
    system = SYSTEMS["Halvorsen"](a=1.3)
    w = np.exp(2j * np.pi * np.arange(3) / 3)
    for x in (0.0, -(system.a + 8)):
        diagonal = np.full(3, x)
        np.testing.assert_allclose(rate(system, diagonal), 0, atol=1e-12)
        assert_eigenvalues(jacobian(system, diagonal), -system.a - (4 + 2 * x) * w - 4 * w**2)
    assert steerable_directions(system, np.zeros(3)) == 2


def test_thomas_without_friction_keeps_volumes_and_rests_on_a_lattice():
    system = SYSTEMS["Thomas"](b=0.0)
    for corner in np.pi * np.array([[0, 0, 0], [1, 0, -1], [2, 1, 1]]):
        np.testing.assert_allclose(rate(system, corner), 0, atol=1e-12)
        assert np.trace(jacobian(system, corner)) == 0


def test_thomas_focus():
    """x = y = z with sin x = b x; eigenvalues cos(x) w - b, w a cube root of 1."""
    system, x = SYSTEMS["Thomas"](), -2.6
    for _ in range(20):
        x -= (np.sin(x) - system.b * x) / (np.cos(x) - system.b)
    assert x == pytest.approx(-2.645, abs=1e-3)
    w = np.exp(2j * np.pi * np.arange(3) / 3)
    assert_eigenvalues(jacobian(system, np.full(3, x)), np.cos(x) * w - system.b)


def rabinovich_fabrikant_focus(system, x=-0.5183):
    """On x y = -alpha, dz/dt = 0; z from dx/dt = 0; x from dy/dt = 0 by Newton's method."""
    for _ in range(20):
        state = [_on_the_hyperbola(system, x + shift) for shift in (0.0, 1e-30j)]
        x -= (rate(system, state[0])[1] / (rate(system, state[1])[1].imag / 1e-30)).real
    return _on_the_hyperbola(system, x)


def _on_the_hyperbola(system, x):
    y = -system.alpha / x
    return np.array([x, y, 1 - x * x - system.gamma * x / y])


def test_rabinovich_fabrikant_half_turn_and_plane():
    """(x, y, z) -> (-x, -y, z) changes nothing, and z = 0 is never left."""
    system = SYSTEMS["RabinovichFabrikant"]()
    turn = np.array([-1, -1, 1])
    for point in POINTS[:, :3]:
        np.testing.assert_allclose(rate(system, turn * point), turn * rate(system, point), rtol=1e-12)
        assert rate(system, [*point[:2], 0.0])[2] == 0
    np.testing.assert_allclose(rabinovich_fabrikant_focus(system), [-0.518, 2.122, 0.944], atol=1e-3)


def hyper_rossler_centre(system):
    """z = sqrt(b / (c / d - a)), w = c z / d, y = -z, x = a z - w."""
    z = np.sqrt(system.b / (system.c / system.d - system.a))
    w = system.c * z / system.d
    return np.array([system.a * z - w, -z, z, w])


def test_hyper_rosslers_centre_is_unstable_in_three_directions():
    system = SYSTEMS["HyperRossler"](a=0.26, b=2.9)
    centre = hyper_rossler_centre(system)
    np.testing.assert_allclose(rate(system, centre), 0, atol=1e-12)
    assert (np.linalg.eigvals(jacobian(system, centre)).real > 0).sum() == 3


def test_hindmarsh_and_roses_neuron_has_one_rest_point_and_it_is_unstable():
    """a x^3 + (d - b) x^2 + s (x - xr) = c + I, whose only real root lies on the curve of the fast currents."""
    system = SYSTEMS["HindmarshRose"]()
    level = system.c + system.current + system.s * system.xr
    roots = np.roots([system.a, system.d - system.b, system.s, -level])
    x = roots[np.abs(roots.imag) < 1e-12].real
    assert len(x) == 1
    rest = [x[0], system.c - system.d * x[0] ** 2, system.s * (x[0] - system.xr)]
    np.testing.assert_allclose(rate(system, rest), 0, atol=1e-12)
    assert x[0] == pytest.approx(-0.695, abs=1e-3)
    growth = np.sort(np.linalg.eigvals(jacobian(system, rest)).real)
    np.testing.assert_allclose(growth[1:], [0.014, 0.173], atol=1e-3)


def chua_roots(system, slope):
    """l^3 + (1 + alpha (1 + m)) l^2 + (beta + alpha m) l + alpha beta (1 + m) for a diode of slope m."""
    alpha, beta = system.alpha, system.beta
    return np.roots([1, 1 + alpha * (1 + slope), beta + alpha * slope, alpha * beta * (1 + slope)])


def test_chua_is_three_linear_flows():
    """Three fixed points, each with the eigenvalues of its own piece, and nothing but corners between."""
    system = SYSTEMS["Chua"](alpha=9.5)
    x = (system.m1 - system.m0) / (1 + system.m1)
    assert x == pytest.approx(1.5)
    for sign, slope in ((0, system.m0), (1, system.m1), (-1, system.m1)):
        point = np.array([sign * x, 0.0, -sign * x])
        np.testing.assert_allclose(rate(system, point), 0, atol=1e-12)
        assert_eigenvalues(jacobian(system, point), chua_roots(system, slope))
    for corner in (-1.0, 1.0):
        before, after = (rate(system, [corner + d, 0.1, 0.2]) for d in (-1e-12, 1e-12))
        np.testing.assert_allclose(before, after, atol=1e-10)
    for point in POINTS[:, :3]:
        np.testing.assert_allclose(rate(system, -point), -rate(system, point), rtol=1e-12)
