"""The functions inside the kernels against mpmath, and their values where nothing is ordinary."""

import math

import mpmath
import numpy as np
import pytest
from numba import njit

from envs import elementary

RANGES = {"small": 0.8, "ordinary": 10.0, "large": 1e4}
LIMITS = {"sin": 2.0, "cos": 2.0, "tan": 3.0, "exp": 1.0, "sinh": 3.0, "cosh": 2.0, "tanh": 3.0}
"""Largest error in units in the last place, as the module promises it."""


def over(name: str, values):
    """The function at every value, in one loop that the compiler may turn into vector instructions."""
    return LOOPS[name](np.asarray(values, dtype=np.float64))


def compiled(name: str):
    function = getattr(elementary, name)

    @njit(error_model="numpy")
    def loop(values):
        found = np.empty(values.size)
        for n in range(values.size):
            found[n] = function(values[n])
        return found

    return loop


LOOPS = {name: compiled(name) for name in (*LIMITS, "absolute", "sign")}


def error(name: str, values) -> float:
    """Largest distance from mpmath, in units in the last place of the exact value."""
    worst = 0.0
    with mpmath.workprec(200):
        for value, found in zip(values, over(name, values), strict=True):
            exact = getattr(mpmath, name)(mpmath.mpf(float(value)))
            worst = max(worst, abs(float((mpmath.mpf(float(found)) - exact) / math.ulp(float(exact)))))
    return worst


@pytest.mark.parametrize("reach", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_circular_functions_are_exact_to_rounding(name, reach):
    assert error(name, np.random.default_rng(0).uniform(-reach, reach, 1500)) < LIMITS[name]


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_next_to_a_zero_the_digits_of_pi_suffice(name):
    """A multiple of pi / 2 rounded to a double: what is left of it is as small as 1e-16 of it."""
    multiples = np.random.default_rng(1).integers(1, 6366, 700)
    with mpmath.workprec(200):
        nearest = np.array([float(int(k) * mpmath.pi / 2) for k in multiples])
    assert min(np.abs(over(name, nearest))) < 1e-14, "these points are too easy to test anything"
    assert error(name, nearest) < LIMITS[name]
    assert error(name, -np.nextafter(nearest, 0)) < LIMITS[name]


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_far_out_the_argument_is_as_if_off_by_one_unit(name):
    values = np.random.default_rng(2).uniform(1e6, 1e12, 500)
    with mpmath.workprec(200):
        exact = np.array([float(getattr(mpmath, name)(mpmath.mpf(float(v)))) for v in values])
    assert np.all(np.abs(over(name, values) - exact) <= np.spacing(values) + 1e-15)


@pytest.mark.parametrize("reach", [1e-5, 0.4, 3.0, 20.0, 700.0])
@pytest.mark.parametrize("name", ["exp", "sinh", "cosh", "tanh"])
def test_exponentials_are_exact_to_rounding(name, reach):
    assert error(name, np.random.default_rng(3).uniform(-reach, reach, 700)) < LIMITS[name]


def test_the_exponential_goes_all_the_way():
    """Down through numbers that have lost their first bits, and up to the last finite one."""
    assert error("exp", np.random.default_rng(4).uniform(-745.0, -708.0, 700)) < LIMITS["exp"]
    assert over("exp", [709.78])[0] == pytest.approx(math.exp(709.78), rel=1e-15)
    assert over("exp", [709.79, 1e300, math.inf]).tolist() == [math.inf] * 3
    assert over("exp", [-745.2, -1e300, -math.inf]).tolist() == [0.0] * 3


@pytest.mark.parametrize("name", LOOPS)
def test_nan_stays_nan(name):
    assert math.isnan(over(name, [math.nan])[0])


def test_what_has_no_answer_is_nan():
    for name in ("sin", "cos", "tan"):
        assert np.isnan(over(name, [math.inf, -math.inf, 1.1e15])).all()


def test_values_at_zero_and_infinity():
    assert over("tanh", [0.0, math.inf, -math.inf, 1e-320]).tolist() == [0.0, 1.0, -1.0, 1e-320]
    assert over("sinh", [0.0, math.inf, -math.inf]).tolist() == [0.0, math.inf, -math.inf]
    assert over("cosh", [0.0, math.inf, -math.inf]).tolist() == [1.0, math.inf, math.inf]
    assert over("absolute", [-2.0, 0.0, math.inf]).tolist() == [2.0, 0.0, math.inf]
    assert over("sign", [-2.0, 0.0, math.inf]).tolist() == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize("name", LIMITS)
def test_in_a_vector_and_alone_the_bits_are_the_same(name):
    values = np.random.default_rng(5).uniform(-30, 30, 67)
    alone = np.concatenate([over(name, [value]) for value in values])
    assert over(name, values).tobytes() == alone.tobytes()


def test_constants_in_parts_are_the_constants():
    with mpmath.workprec(200):
        assert abs(sum(map(mpmath.mpf, elementary.HALF_PI)) - mpmath.pi / 2) < 1e-36
        assert abs(sum(map(mpmath.mpf, elementary.LN2)) - mpmath.log(2)) < 1e-28
