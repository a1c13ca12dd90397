"""Generated code: equations with kinks, and the kernel that moves lanes inside bounds."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import envs
from envs.functions import absolute, sign
from envs.system import ContractError, Map


@dataclass(frozen=True)
class Kinked(Map):
    """x' = 1 - a |x| + y + push,  y' = b x sign(y) + |x y - 1|."""

    a: float = 1.7
    b: float = 0.5

    states = ("x", "y")
    start = (0.1, 0.1)

    def image(self, x, y, push):
        return 1 - self.a * absolute(x) + y + push, self.b * x * sign(y) + absolute(x * y - 1)


@dataclass(frozen=True)
class Angular(Map):
    """An angle that turns on and a number that doubles."""

    states = ("angle", "x")
    angles = ("angle",)
    start = (0.1, 0.1)

    def image(self, angle, x, push):
        return angle + 100 + 0 * x, 2 * x + push


def carry(system, states, push, alive, steps, low, high):
    system.kernels.carry(states, push, alive, system.dt, steps, low, high, system.parameter_vector)


POINTS = [(0.3, 0.2), (-0.3, 0.2), (0.3, -0.2), (-2.0, -3.0), (2.0, 3.0)]


@pytest.mark.parametrize("point", POINTS)
def test_kinks_have_the_same_value_everywhere(point):
    system = Kinked()
    written = system.image(*point, 0.1)
    np.testing.assert_allclose(system.law_at(np.array(point), 0.1), written, rtol=1e-14)
    np.testing.assert_allclose(system.step(np.array(point), 0.1), written, rtol=1e-14)
    np.testing.assert_allclose(system.image(*np.array(point)[:, None], 0.1), np.array(written)[:, None])
    tensor = torch.tensor(point, dtype=torch.float64)[:, None]
    moved = system.tensor_step(tensor, torch.full((1, 1), 0.1, dtype=torch.float64))
    np.testing.assert_allclose(moved[:, 0].numpy(), written, rtol=1e-14)


@pytest.mark.parametrize("point", POINTS)
def test_the_derivative_of_a_kink_is_its_sign(point):
    """By complex step, of the written equations; sign itself is constant."""
    system = Kinked()
    shifted = [system.image(point[0] + 1e-30j * (j == 0), point[1] + 1e-30j * (j == 1), 0.0) for j in (0, 1)]
    expected = np.array([[value.imag / 1e-30 for value in image] for image in shifted]).T
    np.testing.assert_allclose(system.jacobian(np.array(point)), expected, rtol=1e-14)


def test_equations_at_many_states_are_those_at_each():
    system = envs.systems()["Lorenz"]()
    states = np.random.default_rng(0).normal(size=(3, 5))
    law = system.kernels.law_at(states, np.zeros((1, 5)), system.parameter_vector)
    slopes = system.kernels.jacobian(states, np.zeros((1, 5)), system.parameter_vector)
    assert slopes.shape == (3, 3, 5)
    for n in range(5):
        np.testing.assert_array_equal(law[:, n], system.law_at(states[:, n]))
        np.testing.assert_array_equal(slopes[:, :, n], system.jacobian(states[:, n]))


def test_a_lane_stays_at_its_last_state_inside():
    """x doubles: from 1 it leaves +-7 at its third step; from 0.5 at its fourth; -20 is a lane long over."""
    system = Angular()
    states = np.array([[0.0, 0.0, 0.0, np.nan], [1.0, 0.5, -20.0, 1.0]])
    alive = np.array([1.0, 1.0, 0.0, 1.0])
    low, high = np.array([-np.inf, -7.0]), np.array([np.inf, 7.0])
    carry(system, states, np.zeros((1, 4)), alive, 3, low, high)
    np.testing.assert_array_equal(states[:, :3], [[200.0, 300.0, 0.0], [4.0, 4.0, -20.0]])
    assert alive.tolist() == [0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("strange", [np.inf, -np.inf, np.nan])
def test_no_bound_is_no_leave_to_be_infinite(strange):
    system = Angular()
    states, alive = np.array([[strange], [1.0]]), np.ones(1)
    carry(system, states, np.zeros((1, 1)), alive, 1, np.full(2, -np.inf), np.full(2, np.inf))
    assert alive.tolist() == [0.0]
    assert states[1].tolist() == [1.0]


def test_carry_inside_its_bounds_is_advance():
    system = envs.systems()["Lorenz"]()
    states = np.random.default_rng(0).normal(size=(3, 37))
    push, alive = np.linspace(-1, 1, 37)[None], np.ones(37)
    expected = system.advance(states, push, 50)
    carry(system, states, push, alive, 50, np.full(3, -np.inf), np.full(3, np.inf))
    assert states.tobytes() == expected.tobytes()
    assert alive.all()


def test_a_function_that_is_not_available_is_named():
    import sympy

    class Odd(Kinked):
        def image(self, x, y, push):
            return x, sympy.Max(y, push)

    with pytest.raises(ContractError, match=r"image of y uses Max; available in envs.functions: .*absolute"):
        Odd().law_at(np.zeros(2))
