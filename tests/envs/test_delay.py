"""Delay equations against closed forms: Lambert's W gives every exponent of a linear one."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.special import lambertw

from envs.delay import Delay
from envs.system import ContractError
from envs.systems.mackey_glass import MackeyGlass


@dataclass(frozen=True)
class Crossed(Delay):
    """dx/dt = -c y(t - tau),  dy/dt = -c x(t - tau) + push: x + y and x - y each obey z' = ∓ c z(t - tau)."""

    c: float = 1.0
    tau: float = 1.0

    components = ("x", "y")
    past = (0.3, -0.2)

    def rate(self, x, y, x_before, y_before, push):
        return -self.c * y_before, -self.c * x_before + push


@dataclass(frozen=True)
class Short(Delay):
    """A faulty file: two components, one rate."""

    tau: float = 1.0

    components: ClassVar = ("x", "y")
    past: ClassVar = (0.0, 0.0)

    def rate(self, x, y, x_before, y_before, push):
        return (-x_before + push,)


def roots(factor: float, tau: float, branches=range(-4, 4)) -> np.ndarray:
    """Characteristic roots of z' = factor z(t - tau): s exp(s tau) = factor, so s = W_k(factor tau) / tau."""
    return np.array([lambertw(factor * tau, k) / tau for k in branches])


def rightmost(values: np.ndarray, count: int) -> np.ndarray:
    return values[np.argsort(-values.real, kind="stable")][:count]


def smooth_history(system: Crossed, s: complex) -> np.ndarray:
    """The exact solution x = y = Re exp(s t) in the past."""
    times = -system.dt / 2 * np.arange(system.length)
    return np.tile(np.exp(s * times).real, 2)


def wandering(system: MackeyGlass, count: int = 12) -> np.ndarray:
    return system.orbit(system.orbit(system.start, 1, 3000)[0], count, 37)


def test_the_step_is_of_fourth_order_on_a_smooth_history():
    s = roots(-1.0, 1.0, [0])[0]
    errors, grids = [], np.array([4, 8, 16])
    for grid in grids:
        system = Crossed(grid=int(grid))
        end = system.advance(smooth_history(system, s)[:, None], np.zeros((1, 1)), 8 * int(grid))[:, 0]
        errors.append(abs(end[0] - np.exp(8 * s).real))
    slope = np.polyfit(-np.log(grids), np.log(errors), 1)[0]
    assert 3.8 < slope < 4.4, errors


def test_the_step_is_of_fourth_order_across_the_kinks_of_a_held_push():
    """A push that jumps makes x(t) kink at a whole step; interpolation across the kink would give order 2."""

    def after(grid: int) -> float:
        system = MackeyGlass(grid=grid)
        states = np.array(system.start)[:, None]
        for push in (0.1, -0.1, 0.05, -0.05, 0.1, -0.1, 0.0, 0.1):
            states = system.advance(states, np.array([[push]]), grid)
        return float(states[0, 0])

    grids = np.array([24, 48, 96])
    errors = np.abs([after(int(g)) - after(960) for g in grids])
    slope = np.polyfit(-np.log(grids), np.log(errors), 1)[0]
    assert 3.6 < slope < 4.5, errors


def test_exponents_of_a_linear_equation_are_lamberts_w():
    """Eigenvalues of the step, exp(s h); and QR along the orbit finds their real parts."""
    system = Crossed(grid=24)
    expected = rightmost(np.concatenate([roots(-1.0, 1.0), roots(1.0, 1.0)]), 6)
    eigenvalues = np.linalg.eigvals(system.jacobian(system.start))
    found = np.log(eigenvalues[np.argsort(-np.abs(eigenvalues))][:6]) / system.dt
    np.testing.assert_allclose(np.sort(found.real), np.sort(expected.real), atol=2e-4)
    np.testing.assert_allclose(np.sort(abs(found.imag)), np.sort(abs(expected.imag)), atol=2e-4)

    frame, steps = np.linalg.qr(np.random.default_rng(0).normal(size=(98, 6)))[0], 24 * 800
    state, frame, _ = system.stretch(np.zeros(98), frame, 24 * 50, 6)
    _, _, growth = system.stretch(state, frame, steps, 6)
    np.testing.assert_allclose(growth / (steps * system.dt), expected.real, atol=4e-3)


@pytest.mark.parametrize("system", [MackeyGlass(tau=16.3, n=9.7, grid=11), Crossed(c=1.1, grid=5)], ids=str)
def test_the_tangent_is_the_derivative_of_the_step_itself(system):
    generator, size, h = np.random.default_rng(1), len(system.states), 1e-6
    state = 0.9 + 0.2 * generator.random(size)
    difference = np.array(
        [(system.step(state + h * e, 0.1) - system.step(state - h * e, 0.1)) / (2 * h) for e in np.eye(size)]
    ).T
    np.testing.assert_allclose(system.jacobian(state, 0.1), difference, atol=1e-8)
    for vectors in (1, 3, size):
        start = np.linalg.qr(generator.normal(size=(size, vectors)))[0]
        moved, frame, growth = system.stretch(state, start, steps=1)
        expected, triangle = np.linalg.qr(system.jacobian(state) @ start)
        sign = np.sign(np.diag(triangle))
        np.testing.assert_array_equal(moved, system.step(state))
        np.testing.assert_allclose(frame[:, :3], (expected * sign)[:, :3], atol=1e-9)
        np.testing.assert_allclose(growth[:3], np.log(np.abs(np.diag(triangle)))[:3], atol=1e-9)


def test_many_steps_in_one_call_are_many_calls():
    """The ring of one call is put back in order at its end, for any number of steps."""
    system = MackeyGlass(grid=5)
    state = wandering(system)[0]
    for steps in range(1, 2 * system.length + 2):
        apart = state
        for _ in range(steps):
            apart = system.step(apart)
        assert system.orbit(state, 1, steps)[0].tobytes() == apart.tobytes()
        assert system.stretch(state, np.eye(system.length)[:, :2], steps, 3)[0].tobytes() == apart.tobytes()


def test_a_step_shifts_the_history_by_two_samples():
    system = MackeyGlass()
    before = wandering(system)[0]
    after = system.step(before)
    np.testing.assert_array_equal(after[2:], before[:-2])
    assert before[1] < after[1] < after[0] or before[1] > after[1] > after[0]


@pytest.mark.parametrize("system", [MackeyGlass(tau=16.3, n=9.7), Crossed(c=1.1, grid=9)], ids=str)
def test_batch_single_state_and_torch_agree(system):
    generator = np.random.default_rng(2)
    states, push = generator.random((len(system.states), 37)) + 0.5, generator.normal(size=(1, 37)) * 0.1
    moved = system.advance(states, push, steps=7)
    tensor, held = torch.from_numpy(states), torch.from_numpy(push)
    for _ in range(7):
        tensor = system.tensor_step(tensor, held)
    np.testing.assert_allclose(tensor.numpy(), moved, rtol=1e-13, atol=1e-14)
    for lane in range(37):
        state = states[:, lane]
        for _ in range(7):
            state = system.step(state, push[0, lane])
        assert moved[:, lane].tobytes() == state.tobytes()
    single = system.tensor_step(torch.from_numpy(states).float(), held.float())
    assert single.dtype == torch.float32


def test_a_lane_that_would_leave_its_bounds_stays_where_it_was():
    system = MackeyGlass()
    states = np.ascontiguousarray(wandering(system, 5).T)
    push = np.array([[0.0, 0.3, -0.3, 0.05, np.nan]])
    low, high = np.full(system.length, 0.1), np.full(system.length, 1.5)
    carried, alive = states.copy(), np.array([1.0, 1.0, 1.0, 0.0, 1.0])
    system.carry(carried, push, alive, 30, low, high)
    assert alive.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert carried[:, 0].tobytes() == system.advance(states, push, 30)[:, 0].tobytes()
    np.testing.assert_array_equal(carried[:, 3:], states[:, 3:])
    for lane in (1, 2):
        free, steps = states[:, [lane]], 0
        while 0.1 <= (ahead := system.advance(free, push[:, [lane]]))[0, 0] <= 1.5:
            free, steps = ahead, steps + 1
        assert 0 < steps < 30
        assert carried[:, lane].tobytes() == free[:, 0].tobytes()


def test_the_target_is_the_equilibrium_and_its_growth_is_lamberts_w():
    """x* = (beta/gamma - 1)^(1/n), and nearby z' = -gamma z + b z(t - tau), b = gamma (1 - n (1 - gamma/beta))."""
    system = MackeyGlass(beta=0.25, grid=64)
    resting = (0.25 / 0.1 - 1) ** 0.1
    np.testing.assert_allclose(system.target, resting, rtol=1e-14)
    np.testing.assert_allclose(system.step(system.target), resting, rtol=1e-14)
    slope = 0.1 * (1 - 10 * (1 - 0.1 / 0.25))
    expected = max((-0.1 + lambertw(slope * 17 * np.exp(0.1 * 17), k) / 17).real for k in range(-4, 4))
    found = np.log(np.abs(np.linalg.eigvals(system.jacobian(system.target))).max()) / system.dt
    assert found == pytest.approx(expected, rel=1e-6)
    assert found > 0, "a stable target would be reached by doing nothing"


def test_the_equilibrium_loses_its_stability_at_the_hopf_delay():
    """|b| > gamma: the root i omega at omega = sqrt(b^2 - gamma^2), tau = arccos(gamma / b) / omega = 4.708."""
    slope = 0.1 * (1 - 10 * (1 - 0.1 / 0.2))
    critical = np.arccos(0.1 / slope) / np.sqrt(slope**2 - 0.1**2)
    radius = [
        np.abs(np.linalg.eigvals(system.jacobian(system.target))).max()
        for system in (MackeyGlass(tau=critical * share, grid=32) for share in (0.999, 1.001))
    ]
    assert radius[0] < 1 < radius[1]


@pytest.mark.parametrize("tau", [17.0, 23.0, 30.0])
def test_the_leading_exponents_are_the_published_ones(tau):
    """The first five, in blocks, within three standard errors of both; one of them is zero."""
    system = MackeyGlass(tau=tau)
    reference = system.published
    frame = np.linalg.qr(np.random.default_rng(0).normal(size=(system.length, 5)))[0]
    state, frame, _ = system.stretch(np.array(system.start), frame, 20_000, system.grid)
    rates, steps = np.empty((20, 5)), round(60_000 / system.dt)
    for block in rates:
        state, frame, block[:] = system.stretch(state, frame, steps, system.grid)
    rates /= steps * system.dt
    stderr = np.hypot(rates.std(axis=0, ddof=1) / np.sqrt(20), reference.stderrs)
    assert stderr[0] < 0.02 * reference.exponents[0], "too short to tell anything"
    np.testing.assert_array_less(np.abs(rates.mean(axis=0) - reference.exponents), 3 * stderr)


def test_what_a_delay_equation_refuses():
    for wrong in (0, -3, 2.5, True):
        with pytest.raises(ValueError, match="grid must be a whole number, at least 1, got"):
            MackeyGlass(grid=wrong)
    for wrong in (0.0, -17.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="tau must be positive, got"):
            MackeyGlass(tau=wrong)
    with pytest.raises(NotImplementedError, match="use step and jacobian"):
        MackeyGlass().law_at(MackeyGlass().start)
    with pytest.raises(ContractError, match="rate returns 1 values for 2 components"):
        Short().step(Short().start)
    assert np.isnan(replace(MackeyGlass(), beta=0.05).target).all() or MackeyGlass(beta=0.05).target[0] == 0


def test_latex_names_the_delayed_value():
    assert MackeyGlass().latex.count(r"{x_\tau}") == 2
    assert "u" in Crossed().latex
