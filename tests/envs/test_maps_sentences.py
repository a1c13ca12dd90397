"""One sentence of mathematics for each small map, on the equations as written: no generated code."""

import numpy as np
import pytest

import envs

SYSTEMS = envs.systems()
POINTS = np.random.default_rng(0).normal(size=(6, 2))


def image(system, state, push=0.0):
    return np.array(system.image(*state, push))


def jacobian(system, state, h=1e-30):
    """Complex step: exact to rounding."""
    columns = [image(system, np.asarray(state) + 1j * h * e).imag / h for e in np.eye(len(state))]
    return np.array(columns).T


def multipliers(system, point):
    np.testing.assert_allclose(image(system, point), point, atol=1e-12)
    return np.sort_complex(np.linalg.eigvals(jacobian(system, point)))


def test_logistic_at_four_has_exponent_log_two():
    """x = sin^2(pi t / 2) turns it into the tent map. Restarts: a long float orbit ends on 0 and reads log 4."""
    system = SYSTEMS["Logistic"](r=4.0)
    t = (np.arange(200_000) + 0.5) / 200_000
    x, logs = np.sin(np.pi * t / 2) ** 2, []
    for _ in range(5):
        logs.append(np.log(np.abs(jacobian_of_one(system, x))).mean())
        x = image(system, [x])[0]
    np.testing.assert_allclose(logs, np.log(2), atol=2e-4)


def jacobian_of_one(system, x, h=1e-30):
    return image(system, [x + 1j * h])[0].imag / h


def test_a_push_on_the_logistic_map_holds_within_its_window_and_not_beyond():
    """The error is multiplied by 2 - r; the push moves x by 0.1 x* (1 - x*) = 0.0191."""
    system = SYSTEMS["Logistic"]()
    (x,) = system.target
    assert jacobian_of_one(system, np.array([x]))[0] == pytest.approx(2 - system.r)
    window = system.task.push * x * (1 - x) / (system.r - 3)
    assert window == pytest.approx(0.0212, abs=1e-4)
    for share, held in ((0.8, True), (1.4, False)):
        error = share * window
        best = min(
            abs(image(system, [x + error], push)[0] - x) for push in (-system.task.push, system.task.push)
        )
        assert (best < error) == held


def test_the_logistic_population_stays_between_nothing_and_everything():
    system, x = SYSTEMS["Logistic"](), np.linspace(0, 1, 1001)
    for push in (-system.task.push, system.task.push):
        moved = image(system, [x], push)[0]
        assert moved.min() >= 0
        assert moved.max() <= 1 + 1e-15


def test_ikedas_light_loses_the_same_share_in_every_round():
    """|z' - 1| = u |z|, and areas shrink by u^2: the exponents add up to 2 log u."""
    system = SYSTEMS["Ikeda"](u=0.83)
    for point in POINTS:
        assert np.linalg.norm(image(system, point) - [1, 0]) == pytest.approx(
            system.u * np.linalg.norm(point)
        )
        assert np.linalg.det(jacobian(system, point)) == pytest.approx(system.u**2)
    for known in (SYSTEMS["Ikeda"].reference, *SYSTEMS["Ikeda"].other_references):
        assert sum(known.exponents) == pytest.approx(2 * np.log(known.at.get("u", 0.9)), abs=1e-4)


def test_the_standard_map_keeps_areas_and_runs_backwards():
    """det = 1 everywhere; theta = theta' - p', p = p' - k sin theta undoes a step, up to whole turns."""
    system = SYSTEMS["Standard"](k=1.7)
    for theta, p in POINTS:
        assert np.linalg.det(jacobian(system, [theta, p])) == pytest.approx(1)
        later, kicked = image(system, [theta, p])
        assert max(abs(later), abs(kicked)) <= np.pi
        back = later - kicked
        for found, was in ((back, theta), (kicked - system.k * np.sin(back), p)):
            assert np.exp(1j * found) == pytest.approx(np.exp(1j * was))


@pytest.mark.parametrize("k", [1.0, 3.0, 5.0])
def test_multipliers_of_the_rotor_at_rest(k):
    """They are each other's inverse and add up to 2 + k at theta = 0, to 2 - k at theta = pi."""
    system = SYSTEMS["Standard"](k=k)
    for theta, trace in ((0.0, 2 + k), (np.pi, 2 - k)):
        found = np.linalg.eigvals(jacobian(system, [theta, 0.0]))
        assert found.sum().real == pytest.approx(trace)
        assert np.prod(found).real == pytest.approx(1)


def test_lozis_roof():
    """The slope jumps from a to -a at the ridge, areas shrink by b on both sides, the image has no gap."""
    system = SYSTEMS["Lozi"](a=1.71, b=0.49)
    left, right = (jacobian(system, [x, 0.3]) for x in (-0.2, 0.2))
    np.testing.assert_allclose(left, [[system.a, 1], [system.b, 0]])
    np.testing.assert_allclose(right, [[-system.a, 1], [system.b, 0]])
    np.testing.assert_allclose(image(system, [-1e-13, 0.3]), image(system, [1e-13, 0.3]), atol=1e-12)
    assert sum(system.reference.exponents) == pytest.approx(np.log(0.5), abs=1e-4)


def test_lozis_fixed_points():
    """x = 1 / (1 + a - b) on the right: l^2 + a l - b = 0; x = 1 / (1 - a - b) on the left: l^2 - a l - b = 0."""
    system = SYSTEMS["Lozi"]()
    for side in (1, -1):
        x = 1 / (1 + side * system.a - system.b)
        expected = np.sort_complex(np.roots([1, side * system.a, -system.b]))
        np.testing.assert_allclose(multipliers(system, [x, system.b * x]), expected, rtol=1e-12)


def test_tinkerbell_is_a_complex_square_and_a_matrix():
    system = SYSTEMS["Tinkerbell"](a=0.91, d=0.52)
    matrix = np.array([[system.a, system.b], [system.c, system.d]])
    for point in POINTS:
        square = complex(*point) ** 2
        expected = matrix @ point + [square.real, square.imag]
        np.testing.assert_allclose(image(system, point), expected, rtol=1e-12)
    np.testing.assert_allclose(
        multipliers(system, [0.0, 0.0]), np.sort_complex(np.linalg.eigvals(matrix)), rtol=1e-12
    )


def test_chialvos_rest_point_is_where_the_two_nullclines_meet():
    """w = (c - b v) / (1 - a); trace v (2 - v) exp(w - v) + a, determinant v exp(w - v) ((2 - v) a + b v)."""
    system, v = SYSTEMS["Chialvo"](), 0.95
    for _ in range(30):
        w = (system.c - system.b * v) / (1 - system.a)
        gap = v**2 * np.exp(w - v) + system.k - v
        v -= gap / (np.exp(w - v) * v * (2 - v * (1 + system.b / (1 - system.a))) - 1)
    w = (system.c - system.b * v) / (1 - system.a)
    spike = v * np.exp(w - v)
    trace, determinant = spike * (2 - v) + system.a, spike * ((2 - v) * system.a + system.b * v)
    found = multipliers(system, [v, w])
    np.testing.assert_allclose(found, np.sort_complex(np.roots([1, -trace, determinant])), rtol=1e-9)
    assert v == pytest.approx(0.963, abs=1e-3)
    assert np.abs(found).max() == pytest.approx(1.03, abs=1e-2)


@pytest.mark.parametrize("alpha", [4.1, 4.5, 6.0])
def test_rulkovs_rest_point(alpha):
    """l^2 - (1 + f) l + f + mu = 0 with the slope f = -2 alpha sigma / (1 + sigma^2)^2."""
    system = SYSTEMS["Rulkov"](alpha=alpha, sigma=-0.9)
    slope = -2 * alpha * system.sigma / (1 + system.sigma**2) ** 2
    expected = np.sort_complex(np.roots([1, -(1 + slope), slope + system.mu]))
    np.testing.assert_allclose(multipliers(system, system.target), expected, rtol=1e-9)


# ---- predators and prey ----


def test_at_the_fixed_point_everybody_leaves_one():
    """Net reproductive numbers of both populations, over both ages, are 1."""
    system = SYSTEMS["PredatorPrey"](F=24.0, Q=0.55, beta=1.1, gamma=0.9)
    x1, x2, y1, y2 = system.target
    x, y = x1 + x2, y1 + y2
    assert min(system.target) > 0
    assert (1 + system.P) * system.F * np.exp(-x - system.beta * y) == pytest.approx(1)
    assert (1 + system.Q) * system.G * (1 - np.exp(-system.gamma * x)) == pytest.approx(1)
    assert np.abs(multipliers(system, system.target)).max() > 1


def test_prey_at_low_density_grow_by_their_leslie_matrix():
    """J = ((F, F), (P, 0)) at nothing; without predators there will be none, and prey rest at log(F (1 + P))."""
    system = SYSTEMS["PredatorPrey"]()
    np.testing.assert_allclose(
        jacobian(system, np.zeros(4))[:2, :2], [[system.F, system.F], [system.P, 0.0]], rtol=1e-12
    )
    x = np.log(system.F * (1 + system.P))
    alone = np.array([x, system.P * x, 0.0, 0.0]) / (1 + system.P)
    np.testing.assert_allclose(image(system, alone), alone, rtol=1e-12)


def test_predators_that_cannot_replace_themselves_have_no_fixed_point():
    assert np.isnan(SYSTEMS["PredatorPrey"](G=0.6).target[0])


def test_no_push_makes_a_population_negative():
    system, state = SYSTEMS["PredatorPrey"](), np.array(SYSTEMS["PredatorPrey"].start)
    generator = np.random.default_rng(0)
    for _ in range(300):
        state = image(system, state, generator.uniform(-0.3, 0.3))
        assert state.min() > 0
