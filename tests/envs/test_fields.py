"""What holds for every field: the mathematics of pseudo-spectral steps and of their tangents."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import envs
from envs import etdrk4

CLASSES = [system for system in envs.systems().values() if system.kind == "field"]
SMALL = {"SpiralWaves": {"L": 8.0, "points": 16}}


def named(cls):
    return cls.__name__


def small(cls):
    """The same equation, on a sheet small enough for dense matrices where the default is not."""
    return cls(**SMALL.get(cls.__name__, {}))


def settled(system, count, seed=0):
    """Unpushed states a while after a random start, [D, count]."""
    start = system.scatter(np.random.default_rng(seed), count)
    return system.advance(start, np.zeros((system.n_pushes, count)), 60)


def pushes(system, count):
    return np.linspace(-0.5, 0.7, system.n_pushes * count).reshape(system.n_pushes, count)


# ---- the time stepper ----


def test_etdrk4_coefficients_are_the_formulas_where_these_are_safe_and_the_limits_where_not():
    """Moderate z: the formulas of Cox and Matthews. z -> 0: those of classical Runge-Kutta."""
    h, linear = 0.3, np.array([-7.0, 4.0, -3 + 8j, 6j])
    z, c = h * linear, etdrk4.coefficients(linear, h)
    e = np.exp(z)
    for found, expected in (
        (c.whole, e),
        (c.middle, h * (np.exp(z / 2) - 1) / z),
        (c.first, h * (-4 - z + e * (4 - 3 * z + z**2)) / z**3),
        (c.inner, 2 * h * (2 + z + e * (z - 2)) / z**3),
        (c.last, h * (-4 - 3 * z - z**2 + e * (4 - z)) / z**3),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    tiny = etdrk4.coefficients(np.array([0.0, 1e-9]), h)
    limits = h * np.array([1 / 2, 1 / 6, 1 / 3, 1 / 6])
    for found, limit in zip(tiny[2:], limits, strict=True):
        np.testing.assert_allclose(found, limit, rtol=1e-8)


def test_etdrk4_without_a_nonlinear_part_is_exact_however_stiff():
    linear, v = np.array([-1e4, -3.0, 0.1]), np.ones(3)
    moved = etdrk4.step(v, lambda v: 0 * v, etdrk4.coefficients(linear, 0.5))
    np.testing.assert_allclose(moved, np.exp(0.5 * linear), rtol=1e-15, atol=0)


ORDER = {"GinzburgLandau": (0.1, 4), "KuramotoSivashinsky": (0.005, 4), "SpiralWaves": (0.025, 3)}
"""Step at which the fit begins, and the order. Stiff modes follow the others with order 3 until q^4 dt is of
order 1 (Kuramoto-Sivashinsky); f of the spirals has jumps in its second derivative."""


@pytest.mark.parametrize("cls", CLASSES, ids=named)
def test_the_order_of_the_step(cls):
    """Error over a fixed time, push included, falls like a power of the step."""
    system = small(cls)
    start, push = settled(system, 2), pushes(system, 2)
    dt, order = ORDER.get(cls.__name__, (system.dt, 4))

    def after(refinement):
        return replace(system, dt=dt / refinement).advance(start, push, 8 * refinement)

    exact, refinements = after(32), np.array([1, 2, 4])
    errors = [np.abs(after(int(r)) - exact).max() for r in refinements]
    slope = np.polyfit(-np.log(refinements), np.log(errors), 1)[0]
    assert errors[-1] > 1e-12, "rounding is all there is"
    assert order - 0.4 < slope < order + 0.6, errors


@pytest.mark.parametrize("cls", CLASSES, ids=named)
def test_small_steps_follow_the_written_rate(cls):
    system = small(cls)
    fine, state, push = replace(system, dt=1e-5), settled(system, 1)[:, 0], pushes(system, 1)[:, 0]
    change = (fine.step(state, push) - fine.step(state, push * 0)) / 1e-5
    np.testing.assert_allclose(change, system.law_at(state, push) - system.law_at(state), atol=1e-3)
    later = (fine.step(fine.step(state, push), push) - state) / 2e-5
    np.testing.assert_allclose(later, system.law_at(fine.step(state, push), push), atol=2e-4)


# ---- lanes, namespaces, symmetry ----


@pytest.mark.parametrize("cls", CLASSES, ids=named)
@pytest.mark.parametrize("count", [2, 5, 37])
def test_a_lane_and_a_single_field_agree_to_the_last_bit(cls, count):
    system = small(cls)
    states, push = settled(system, count), pushes(system, count)
    push[:, 0] = 0.0
    moved = system.advance(states, push, 3)
    for lane in range(count):
        alone = system.advance(states[:, [lane]], push[:, [lane]], 3)
        assert moved[:, lane].tobytes() == alone[:, 0].tobytes()
    assert moved.flags.c_contiguous
    assert system.step(states[:, 1], push[:, 1]).tobytes() == system.advance(states, push)[:, 1].tobytes()


@pytest.mark.parametrize("cls", CLASSES, ids=named)
def test_orbit_and_stretch_visit_the_states_of_advance(cls):
    system = small(cls)
    state, still = settled(system, 1), np.zeros((system.n_pushes, 1))
    orbit = system.orbit(state[:, 0], 3, every=4)
    by_stretch, frame, growth = system.stretch(state[:, 0], np.eye(len(state))[:, :2], 12, qr_every=4)
    assert frame.shape == (len(state), 2)
    assert growth.shape == (2,)
    for row in orbit:
        state = system.advance(state, still, 4)
        np.testing.assert_array_equal(row, state[:, 0])
    np.testing.assert_array_equal(by_stretch, state[:, 0])


@pytest.mark.parametrize("cls", CLASSES, ids=named)
def test_torch_agrees_with_numpy(cls):
    system = small(cls)
    states, push = settled(system, 3), pushes(system, 3)
    tensor, held = torch.from_numpy(states), torch.from_numpy(push)
    expected = system.advance(states, push)
    np.testing.assert_allclose(system.tensor_step(tensor, held).numpy(), expected, rtol=1e-12, atol=1e-12)
    single = system.tensor_step(tensor.float(), held.float())
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cls", CLASSES, ids=named)
def test_steps_commute_with_shifts(cls):
    """Translation symmetry of the unpushed equation, along every axis, by whole grid points."""
    system = small(cls)
    state = settled(system, 1)
    grids = state.reshape(len(system.components), *system.grid)
    axes = tuple(range(1, system.axes + 1))
    shifted = np.roll(grids, (3, 5)[: system.axes], axes).reshape(state.shape)
    still = np.zeros((system.n_pushes, 1))
    moved = system.advance(state, still, 8).reshape(grids.shape)
    expected = np.roll(moved, (3, 5)[: system.axes], axes).reshape(state.shape)
    np.testing.assert_allclose(system.advance(shifted, still, 8), expected, atol=1e-11)


# ---- tangents ----


@pytest.mark.parametrize("cls", CLASSES, ids=named)
def test_the_tangent_is_the_derivative_of_the_step_itself(cls):
    """Against torch's forward derivative of `tensor_step`, which never saw the written tangent."""
    system = small(cls)
    state = settled(system, 1)[:, 0]
    directions = system.smooth(np.random.default_rng(1), 3, length=0.5)
    directions -= directions.mean(axis=0)
    still = torch.zeros(system.n_pushes, 1, dtype=torch.float64)

    def step(tensor):
        return system.tensor_step(tensor[:, None], still)[:, 0]

    carried = []
    for direction in directions.T:
        point, along = torch.from_numpy(state), torch.from_numpy(direction.copy())
        carried.append(torch.func.jvp(step, (point,), (along,))[1].numpy())
    expected, triangle = np.linalg.qr(np.array(carried).T)
    sign = np.sign(np.diag(triangle))
    moved, frame, growth = system.stretch(state, directions, steps=1)
    np.testing.assert_allclose(moved, system.step(state), atol=1e-13)
    np.testing.assert_allclose(frame, expected * sign, atol=1e-9)
    np.testing.assert_allclose(growth, np.log(np.abs(np.diag(triangle))), atol=1e-10)


@pytest.mark.parametrize("cls", CLASSES, ids=named)
def test_the_jacobian_is_the_derivative_of_the_law(cls):
    system = small(cls)
    state, h = settled(system, 1)[:, 0], 1e-6
    push = pushes(system, 1)[:, 0]
    directions = np.random.default_rng(2).normal(size=(len(state), 4))
    jacobian = system.jacobian(state, push)
    for direction in directions.T:
        ahead, behind = system.law_at(state + h * direction, push), system.law_at(state - h * direction, push)
        difference = (ahead - behind) / (2 * h)
        size = np.abs(difference).max()
        np.testing.assert_allclose(jacobian @ direction, difference, atol=1e-6 * size)


@pytest.mark.parametrize("cls", CLASSES, ids=named)
def test_dimension_counts_the_perturbations_there_are(cls):
    """The rank of the projection that one infinitesimal step makes."""
    system = small(cls)
    modes = system._modes(system._plan, np.eye(len(system.states))) * system._free
    assert np.linalg.matrix_rank(system._states(system._plan, modes)) == system.dimension
    with pytest.raises(ValueError, match=f"have {system.dimension} dimensions"):
        system.stretch(np.zeros(len(system.states)), np.eye(len(system.states))[:, : system.dimension + 1], 1)


def test_a_jacobian_too_large_for_memory_is_refused():
    sheet = envs.systems()["SpiralWaves"]()
    with pytest.raises(ValueError, match="stretch"):
        sheet.jacobian(np.zeros(len(sheet.states)))


# ---- what a class states ----


@pytest.mark.parametrize("cls", CLASSES, ids=named)
def test_target_is_an_equilibrium(cls):
    system = cls()
    for state in (system.target, *system.equilibria.values()):
        assert np.abs(system.law_at(np.array(state))).max() < 1e-9


@pytest.mark.parametrize("cls", CLASSES, ids=named)
def test_scatter_is_of_the_generator_alone_and_has_no_symmetry(cls):
    """Not near a reflection or shift by half a period: orbits would stay near it for long (pitfall P8)."""
    system = small(cls)
    one, again = (system.scatter(np.random.default_rng(5), 3) for _ in range(2))
    assert one.tobytes() == again.tobytes()
    for state in (*one.T, np.array(system.start)):
        grids = state.reshape(len(system.components), *system.grid)
        grids = grids - grids.mean(axis=tuple(range(1, grids.ndim)), keepdims=True)
        mirrored = [
            np.roll(image, n, 1) for image in (grids[:, ::-1], -grids[:, ::-1]) for n in range(system.points)
        ]
        for image in (*mirrored, np.roll(grids, system.points // 2, 1)):
            assert np.abs(grids - image).mean() > 0.1 * np.abs(grids).mean()


@pytest.mark.parametrize("cls", CLASSES, ids=named)
def test_bumps_are_periodic_of_height_one_and_push_the_first_component(cls):
    system = small(cls)
    axes = tuple(range(1, system.axes + 1))
    assert system.bumps.shape == (system.actuators, *system.grid)
    np.testing.assert_allclose(system.bumps.max(axis=axes), 1.0)
    first = system.bumps[0]
    np.testing.assert_allclose(first, np.roll(np.flip(first, 0), 1, 0), atol=1e-15)
    state = settled(system, 1)[:, 0]
    one = np.eye(system.n_pushes)[0]
    effect = (system.law_at(state, one) - system.law_at(state)).reshape(len(system.components), *system.grid)
    removed = system.bumps[0] - effect[0]
    assert np.abs(removed - removed.mean()).max() < 3e-3, (
        "all of the bump arrives, its mean and Nyquist mode apart"
    )
    assert np.abs(effect[1:]).max(initial=0) < 1e-12


@pytest.mark.parametrize("cls", CLASSES, ids=named)
def test_actuators_do_not_matter_to_the_published_exponents(cls):
    system = cls()
    assert replace(system, actuators=7, actuator_width=0.9).published == system.published
    assert replace(system, points=system.points + 2).published is None


@pytest.mark.parametrize("cls", CLASSES, ids=named)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"L": 0.0}, "L must be positive"),
        ({"L": float("nan")}, "L must be positive and finite"),
        ({"dt": -0.1}, "dt must be positive"),
        ({"points": 63}, "points must be an even number"),
        ({"points": 2}, "points must be an even number"),
        ({"points": 16, "L": 100.0}, "too coarse for L=100"),
        ({"actuators": 0}, "actuators must be a whole number, at least 1"),
        ({"actuator_width": 0.0}, "actuator_width must be positive"),
        ({"actuator": ("u1",)}, "actuator must stay empty"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_nonsense_is_refused_with_a_sentence(cls, wrong, said):
    with pytest.raises(ValueError, match=said):
        cls(**wrong)


def test_a_grid_that_is_too_coarse_names_one_that_is_not():
    cls = envs.systems()["KuramotoSivashinsky"]
    with pytest.raises(ValueError, match="at least 120 of them"):
        cls(L=60.0)
    assert cls(L=60.0, points=120).points == 120
