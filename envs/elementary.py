"""Elementary functions in plain float64 arithmetic, for the generated numba kernels.

A call into libm keeps a loop over lanes from becoming vector instructions, so these are written without calls
and without branches: the argument is reduced to a short range, a Taylor series is exact to rounding there, and
the cases are selected. No fast-math: a lane inside a vector and a number on its own go through the same
roundings and give the same bits.

Largest errors, in units in the last place (tests/envs/test_elementary.py measures them against mpmath):
sin, cos 2 and tan 3 for |x| <= 1e5; beyond, as if x were off by one unit in its own last place; NaN from 1e15
on, where doubles are 1/8 apart. exp 1; cosh 2; sinh, tanh 3; sinh and cosh are infinite from 709.79 on, where
they reach 0.9e308. NaN gives NaN. atan, log and sqrt are those of `math`.
"""

import math
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
from numba import njit

from envs import functions

WITHIN: dict[str, Any] = {
    "error_model": "numpy",
    "forceinline": True,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
"""Compiled into the loop that calls it; numpy's error model (1/0 is inf) has no branches."""

HALF_PI = tuple(map(float.fromhex, ("0x1.921fb544p+0", "0x1.0b4611a6p-34", "0x1.3198a2e037073p-69")))
"""pi/2 as a sum; the first two have 33 bits, so that k times them is exact for |k| < 2^20."""

LN2 = tuple(map(float.fromhex, ("0x1.62e42fefa2p-1", "0x1.9ef35793c7673p-41")))
"""log(2) as a sum; the first has 40 bits."""

ROUND = 1.5 * 2.0**52
"""Adding it to |x| < 2^51 rounds x to a whole number, which then stands in the last bits of the sum."""

atan = math.atan
log = math.log
sqrt = math.sqrt


def within(function: Callable[..., Any]) -> Any:
    """Decorator: part of a kernel."""
    return njit(**WITHIN)(function)


@within
def absolute(x: Any) -> Any:
    """Absolute value."""
    return abs(x)


@within
def sign(x: Any) -> Any:
    """1, 0 or -1, and NaN of NaN."""
    return 1.0 if x > 0.0 else -1.0 if x < 0.0 else x


@within
def _quadrant(x: Any) -> Any:
    """x = k pi/2 + r with |r| <= pi/4; returns r and k mod 4 as one of -2, -1, 0, 1, 2."""
    x = math.nan if abs(x) > 1e15 else x
    k = (x * (2.0 / math.pi) + ROUND) - ROUND
    r = ((x - k * HALF_PI[0]) - k * HALF_PI[1]) - k * HALF_PI[2]
    return r, k - 4.0 * ((0.25 * k + ROUND) - ROUND)


S = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(9))
C = tuple((-1) ** n / math.factorial(2 * n) for n in range(9))
E = tuple(1 / math.factorial(n) for n in range(15))


@within
def _sin(r: Any) -> Any:
    z = r * r
    p = S[1] + z * (S[2] + z * (S[3] + z * (S[4] + z * (S[5] + z * (S[6] + z * (S[7] + z * S[8]))))))
    return r + r * (z * p)


@within
def _cos(r: Any) -> Any:
    z = r * r
    p = C[2] + z * (C[3] + z * (C[4] + z * (C[5] + z * (C[6] + z * (C[7] + z * C[8])))))
    half = 0.5 * z
    rough = 1.0 - half
    return rough + (((1.0 - rough) - half) + z * z * p)


@within
def sin(x: Any) -> Any:
    """Sine."""
    r, k = _quadrant(x)
    s, c = _sin(r), _cos(r)
    size = c if abs(k) == 1.0 else s
    return -size if (k == -1.0) | (abs(k) == 2.0) else size


@within
def cos(x: Any) -> Any:
    """Cosine."""
    r, k = _quadrant(x)
    s, c = _sin(r), _cos(r)
    size = s if abs(k) == 1.0 else c
    return -size if (k == 1.0) | (abs(k) == 2.0) else size


@within
def tan(x: Any) -> Any:
    """Tangent."""
    r, k = _quadrant(x)
    s, c = _sin(r), _cos(r)
    return -c / s if abs(k) == 1.0 else s / c


@within
def _power_of_two(k: Any) -> Any:
    """2^k for a whole number -1022 <= k <= 1023, by writing its exponent."""
    return np.int64((np.float64(k + ROUND).view(np.int64) + 1023) << 52).view(np.float64)


@within
def _halved(x: Any) -> Any:
    """x = k log(2) + r with |r| <= log(2) / 2; returns k and e^r - 1."""
    k = (x * (1.0 / math.log(2.0)) + ROUND) - ROUND
    high = x - k * LN2[0]
    low = k * LN2[1]
    r = high - low
    lost = (high - r) - low
    p = E[8] + r * (E[9] + r * (E[10] + r * (E[11] + r * (E[12] + r * (E[13] + r * E[14])))))
    p = E[2] + r * (E[3] + r * (E[4] + r * (E[5] + r * (E[6] + r * (E[7] + r * p)))))
    return k, r + (lost + r * r * p)


@within
def exp(x: Any) -> Any:
    """Exponential; in two factors, so that results below 2^-1022 and above 2^1023 come out rounded."""
    x = 710.0 if x > 710.0 else x
    x = -746.0 if x < -746.0 else x
    k, p = _halved(x)
    half = (0.5 * k + ROUND) - ROUND
    return (1.0 + p) * _power_of_two(half) * _power_of_two(k - half)


@within
def _expm1(x: Any) -> Any:
    """e^x - 1 without cancellation, for -40 <= x <= 709.78."""
    k, p = _halved(x)
    # 2^k (p + 1) - 1, where 2^1024 would be infinite
    scale = _power_of_two(k - 1.0)
    return 2.0 * (scale * p + (scale - 0.5))


@within
def sinh(x: Any) -> Any:
    """Hyperbolic sine."""
    size = abs(x)
    size = 710.0 if size > 710.0 else size
    m = _expm1(size)
    y = 0.5 * (m + m / (m + 1.0)) if size < 40.0 else 0.5 * m
    return y if x > 0.0 else -y


@within
def cosh(x: Any) -> Any:
    """Hyperbolic cosine."""
    e = exp(abs(x))
    return 0.5 * (e + 1.0 / e)


@within
def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    double = -2.0 * abs(x)
    m = _expm1(-40.0 if double < -40.0 else double)
    y = -m / (2.0 + m)
    return y if x > 0.0 else -y


def interpreted(kernel: Any, state: Any, push: Any, parameters: Any) -> Any:
    """A part of a kernel in plain numpy, for evaluations too few to compile for: [D] or [D, N] -> [...] or [..., N]."""
    states, pushes = (tuple(np.reshape(x, (len(x), -1))) for x in (state, push))
    with np.errstate(all="ignore"):
        found = _plain(kernel)(states, pushes, tuple(parameters))
    return np.array(np.broadcast_arrays(states[0], *found)[1:]).reshape(-1, *np.shape(state)[1:])


@cache
def _plain(kernel: Any) -> Any:
    """Its text over again, with the functions of envs.functions."""
    return FunctionType(kernel.py_func.__code__, vars(functions))
