"""ETDRK4: fourth-order time steps of dv/dt = L v + N(v) with a stiff, diagonal L, for numpy and torch arrays.

Source: S. M. Cox and P. C. Matthews, Journal of Computational Physics 176, 430 (2002); the coefficients by
contour integrals as in A.-K. Kassam and L. N. Trefethen, SIAM Journal on Scientific Computing 26, 1214 (2005).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

NODES = 64
"""Points of the circle on which the coefficients are averaged."""


class Coefficients(NamedTuple):
    """One step of length h for multipliers L, each of the shape of L; z = h L.

    whole = e^z, half = e^(z/2), middle = h (e^(z/2) - 1) / z, and the weights of the four stages
    first = h (-4 - z + e^z (4 - 3z + z^2)) / z^3, inner = 2 h (2 + z + e^z (z - 2)) / z^3,
    last = h (-4 - 3z - z^2 + e^z (4 - z)) / z^3.
    """

    whole: Any
    half: Any
    middle: Any
    first: Any
    inner: Any
    last: Any


def coefficients(linear: npt.NDArray[Any], h: float) -> Coefficients:
    """All six, complex, without the cancellation that the formulas suffer near z = 0.

    Each formula is analytic, so its value is its mean over a circle of radius 1 around z.
    """
    centre = h * np.asarray(linear, dtype=np.complex128)
    z = centre[..., None] + np.exp(2j * np.pi * (np.arange(NODES) + 0.5) / NODES)
    e = np.exp(z)
    weights = (
        (np.exp(z / 2) - 1) / z,
        (-4 - z + e * (4 - 3 * z + z**2)) / z**3,
        2 * (2 + z + e * (z - 2)) / z**3,
        (-4 - 3 * z - z**2 + e * (4 - z)) / z**3,
    )
    means = [h * weight.mean(axis=-1) for weight in weights]
    if not centre.imag.any():
        means = [mean.real.astype(np.complex128) for mean in means]
    return Coefficients(np.exp(centre), np.exp(centre / 2), *means)


def step(v: Any, rate: Callable[[Any], Any], c: Coefficients) -> Any:
    """One step of v; `rate` is N. Broadcasts over leading axes, in any namespace of arrays."""
    start = rate(v)
    halfway = c.half * v
    a = halfway + c.middle * start
    at_a = rate(a)
    at_b = rate(halfway + c.middle * at_a)
    at_c = rate(c.half * a + c.middle * (2 * at_b - start))
    return c.whole * v + c.first * start + c.inner * (at_a + at_b) + c.last * at_c
