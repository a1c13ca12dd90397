"""What holds for every system, present and future: the mathematics of its equations and of its steps.

The promises of the tasks made of them are in test_every_task.py.
"""

import os
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch

import envs
from envs import derive
from envs.system import Floats, System

SYSTEMS = list(envs.systems().values())
FLOWS = [cls for cls in SYSTEMS if cls.kind == "flow"]
SMALL = [cls for cls in SYSTEMS if len(cls().states) <= 64]
LAWS = [cls for cls in SYSTEMS if cls.kind in ("flow", "map")]
PATIENCE = float(os.environ.get("RL_LAB_PATIENCE", "1"))
"""How many times longer than in CI the averages run; `make nightly` asks for more."""


def named(cls):
    return cls.__name__


def off_default(cls: type[System]) -> System:
    """Parameters a little away from the default, so that nothing generated can have swallowed one."""
    system = cls()
    shifted = {name: value * (1.001 + 0.001 * i) for i, (name, value) in enumerate(system.parameters.items())}
    return replace(system, **shifted)


def points(system: System, count: int = 7) -> Floats:
    """Settled states of the default parameters, [count, D]."""
    return derive.attractor(derive.plain(system)).points[:count]


def written(system: System, state, push):
    """The equations as their author wrote them, without any generated code."""
    if hasattr(system, "written"):
        return system.written(state, push)
    pushes = push if system.pushes == 1 else (push,) * system.pushes
    return getattr(system, system.law)(*state, pushes)


def jacobians(system: System, states: Floats) -> Iterable[Floats]:
    """At every state, [M, D] -> M times [D, D]: generated equations take all at once, those of a lattice one."""
    if system.components:
        return (system.jacobian(state) for state in states)
    quiet = np.zeros((system.n_pushes, len(states)))
    return np.moveaxis(system.kernels.jacobian(states.T.copy(), quiet, system.parameter_vector), -1, 0)


def pushed(system: System, lanes: int) -> Floats:
    """A different push in every lane, [n_pushes, N]."""
    return np.ascontiguousarray(np.tile(np.linspace(-1, 1, lanes), (system.n_pushes, 1)))


@pytest.mark.parametrize("cls", LAWS, ids=named)
def test_generated_equations_are_the_written_ones(cls):
    system = off_default(cls)
    for state in points(system):
        expected = written(system, state.tolist(), 0.7)
        np.testing.assert_allclose(system.law_at(state, 0.7), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("cls", LAWS, ids=named)
def test_jacobian_is_the_complex_step_derivative_of_the_written_equations(cls):
    """Im f(x + i h e_j) / h has no cancellation: exact to rounding."""
    system, h = off_default(cls), 1e-30
    for state in points(system, 3):
        columns = []
        for j in range(len(state)):
            shifted = [complex(value, h if i == j else 0.0) for i, value in enumerate(state)]
            columns.append([complex(value).imag / h for value in written(system, shifted, 0.7)])
        expected = np.array(columns).T
        np.testing.assert_allclose(system.jacobian(state, 0.7), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cls", SMALL, ids=named)
def test_the_tangent_of_the_step_is_torch_autodiff_of_the_torch_step(cls):
    """The derivative of one whole step, QR-decomposed, against reverse-mode differentiation."""
    system = off_default(cls)
    state = points(system)[3]
    quiet = torch.zeros(system.n_pushes, 1, dtype=torch.float64)

    def step(flat):
        return system.tensor_step(flat[:, None], quiet)[:, 0]

    derivative = torch.func.jacrev(step)(torch.from_numpy(state.copy())).numpy()
    vectors = min(len(state), 6)
    frame = np.linalg.qr(derivative.T)[0][:, :vectors]  # no direction that the step annihilates
    expected, triangle = np.linalg.qr(derivative @ frame)
    sign = np.sign(np.diag(triangle))
    moved, turned, growth = system.stretch(state, frame, steps=1)
    np.testing.assert_allclose(moved, step(torch.from_numpy(state.copy())).numpy(), rtol=1e-9, atol=1e-10)
    safe = np.abs(np.diag(triangle)) > 1e-7  # below, the frame is rounding
    safe = safe & np.logical_and.accumulate(safe)
    np.testing.assert_allclose(growth[safe], np.log(np.abs(np.diag(triangle)))[safe], atol=1e-6)
    np.testing.assert_allclose(turned[:, safe], (expected * sign)[:, safe], atol=1e-6)


@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_batch_and_single_state_agree_to_the_last_bit(cls):
    system = off_default(cls)
    lanes = 37 if len(system.states) <= 64 else 5
    states = np.ascontiguousarray(points(system, lanes).T)
    lanes = states.shape[1]
    push = pushed(system, lanes)
    moved = system.advance(states, push, steps=3)
    for lane in range(0, lanes, 4):
        state = states[:, lane]
        for _ in range(3):
            state = system.step(state, push[:, lane])
        if system.kind == "field":  # it stays in Fourier space within a call
            state = system.advance(states[:, [lane]], push[:, [lane]], steps=3)[:, 0]
        assert moved[:, lane].tobytes() == state.tobytes()


@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_torch_stepper_agrees(cls):
    system = off_default(cls)
    lanes = 37 if len(system.states) <= 64 else 3
    states = np.ascontiguousarray(points(system, lanes).T)
    push = pushed(system, states.shape[1])
    tensor, held = torch.from_numpy(states), torch.from_numpy(push)
    for _ in range(3):
        tensor = system.tensor_step(tensor, held)
    np.testing.assert_allclose(tensor.numpy(), system.advance(states, push, steps=3), rtol=1e-11, atol=1e-11)
    single = system.tensor_step(torch.from_numpy(states).float(), held.float())
    assert single.dtype == torch.float32
    size = max(1.0, float(np.abs(states).max()))
    np.testing.assert_allclose(single.numpy(), system.advance(states, push), rtol=3e-5, atol=3e-5 * size)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_torch_stepper_runs_on_a_gpu(cls):
    system = cls()
    states = torch.from_numpy(np.ascontiguousarray(points(system, 5).T)).cuda()
    quiet = torch.zeros(system.n_pushes, states.shape[1], dtype=torch.float64, device="cuda")
    moved = system.tensor_step(states, quiet)
    assert moved.device.type == "cuda"
    expected = system.advance(states.cpu().numpy(), quiet.cpu().numpy())
    np.testing.assert_allclose(moved.cpu().numpy(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cls", [c for c in FLOWS if not c.kinked], ids=named)
def test_the_step_is_of_fourth_order(cls):
    """Error over a fixed time falls like h^4: the fitted slope of log error on log h."""
    system = cls()
    start = np.ascontiguousarray(points(system, 16).T)
    push, span = np.full((system.n_pushes, start.shape[1]), 0.3), 16

    def after(refinement: float) -> Floats:
        states = start.copy()
        h, steps = system.dt / refinement, round(span * refinement)
        system.kernels.advance(states, push, h, steps, system.parameter_vector)
        return states

    size = float(np.abs(start).max())
    for first in (2.0, 0.5, 0.25):  # coarser where the step is so fine that rounding hides the error
        refinements = first * np.array([1, 2, 4])
        exact = after(16 * first)
        errors = [np.abs(after(r) - exact).max() for r in refinements]
        if min(errors) > 1e-12 * size:
            break
    slope = np.polyfit(-np.log(refinements), np.log(errors), 1)[0]
    assert 3.6 < slope < 4.5, errors


@pytest.mark.parametrize("cls", [c for c in LAWS if len(c().states) <= 64], ids=named)
def test_fewer_vectors_see_the_first_exponents(cls):
    """k < D vectors grow as the first k of D: what one forgets, one vector at a time."""
    system = off_default(cls)
    size = len(system.states)
    state, frame = points(system)[3], np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    everything = system.stretch(state, frame, steps=20)
    for vectors in {1, (size + 1) // 2}:
        moved, turned, growth = system.stretch(state, frame[:, :vectors], steps=20)
        np.testing.assert_allclose(moved, everything[0], rtol=1e-13)
        np.testing.assert_allclose(growth, everything[2][:vectors], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(turned, everything[1][:, :vectors], atol=1e-7)


@pytest.mark.parametrize("cls", [c for c in LAWS if len(c().states) <= 64], ids=named)
def test_exponents_sum_to_the_mean_divergence(cls):
    """Flows: time average of trace J. Maps: average of log |det J|. Along the very same orbit."""
    system = cls()  # off its default parameters one of them runs away
    start, steps, size = points(system)[0], 4000 if len(system.states) <= 12 else 400, len(system.states)
    _, _, growth = system.stretch(start, np.eye(size), steps, qr_every=5 if system.kind == "flow" else 1)
    orbit = np.vstack([start, system.orbit(start, steps)])
    if system.kind == "map":
        expected = sum(np.linalg.slogdet(jacobian)[1] for jacobian in jacobians(system, orbit[:-1]))
    else:
        traces = np.array([np.trace(jacobian) for jacobian in jacobians(system, orbit)])
        expected = system.dt * (traces.sum() - (traces[0] + traces[-1]) / 2)
    # 2e-3 is what the trapezoidal rule leaves of a divergence that has spikes along the orbit
    assert growth.sum() == pytest.approx(expected, rel=2e-3, abs=2e-3 * steps * system.dt)


@pytest.mark.slow
@pytest.mark.parametrize("cls", [c for c in FLOWS if len(c().states) <= 12], ids=named)
def test_a_flow_has_a_zero_exponent(cls):
    """The direction along the orbit neither grows nor shrinks, up to what the speed itself varies."""
    system, steps = cls(), 100_000
    start, size = points(system)[0], len(system.states)
    start, frame, _ = system.stretch(start, np.eye(size), 10_000, qr_every=5)
    _, _, growth = system.stretch(start, frame, steps, qr_every=5)
    rates = growth / (steps * system.dt)
    assert np.min(np.abs(rates)) < 1e-2 < np.max(np.abs(rates))


@pytest.mark.slow
@pytest.mark.parametrize("cls", [c for c in SYSTEMS if c.hamiltonian], ids=named)
def test_hamiltonian_exponents_come_in_pairs(cls):
    system, steps = cls(), 20_000
    size = len(system.states)
    start, frame, _ = system.stretch(points(system)[0], np.eye(size), 2000, qr_every=2)
    _, _, growth = system.stretch(start, frame, steps, qr_every=2)
    rates = np.sort(growth / (steps * system.dt))
    # the frame's own geometry at the two ends adds a few nats over the whole time
    np.testing.assert_allclose(rates + rates[::-1], 0.0, atol=2 / (steps * system.dt))


@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_latex_shows_every_equation_and_the_push(cls):
    system = cls()
    rows = 1 if system.kind == "field" else len(system.components or system.states)
    assert system.latex.count("&=") >= rows
    assert "u" in system.latex


@pytest.mark.parametrize("cls", SYSTEMS, ids=named)
def test_carry_moves_like_advance_and_freezes_what_leaves(cls):
    system = cls()
    states = np.ascontiguousarray(points(system, 5).T)
    push, alive = pushed(system, states.shape[1]) * 0.1, np.ones(states.shape[1])
    bound = np.full(len(states), np.inf)
    moved = states.copy()
    system.carry(moved, push, alive, 2, -bound, bound)
    np.testing.assert_array_equal(moved, system.advance(states, push, 2))
    assert (alive == 1.0).all()
    alive[0], frozen = 0.0, moved.copy()
    system.carry(moved, push, alive, 1, -bound, bound)
    np.testing.assert_array_equal(moved[:, 0], frozen[:, 0])
    nowhere = np.full(len(states), -1e9)
    system.carry(moved, push, alive, 1, nowhere - 1, nowhere)
    assert (alive == 0.0).all()
    assert np.isfinite(moved).all()
