"""Elementary functions that a system's equations may use, for any kind of argument.

`rate` is called with sympy symbols to generate code, but it is an ordinary method: these functions let it run
on floats, complex numbers (complex-step derivatives), numpy arrays and torch tensors as well, and keep sympy
out of the import of a system file.
"""

import cmath
import math
import sys
from typing import Any

NAMES = ("sin", "cos", "tan", "exp", "log", "sqrt", "sinh", "cosh", "tanh", "atan")
"""Every function the generated steppers know, under the name `math` and `torch` share."""


def _apply(name: str, x: Any) -> Any:
    if isinstance(x, (int, float)):
        return getattr(math, name)(x)
    if isinstance(x, complex):
        return getattr(cmath, name)(x)
    return getattr(sys.modules[type(x).__module__.partition(".")[0]], name)(x)


def sin(x: Any) -> Any:
    """Sine."""
    return _apply("sin", x)


def cos(x: Any) -> Any:
    """Cosine."""
    return _apply("cos", x)


def tan(x: Any) -> Any:
    """Tangent."""
    return _apply("tan", x)


def exp(x: Any) -> Any:
    """Exponential."""
    return _apply("exp", x)


def log(x: Any) -> Any:
    """Natural logarithm."""
    return _apply("log", x)


def sqrt(x: Any) -> Any:
    """Square root."""
    return _apply("sqrt", x)


def sinh(x: Any) -> Any:
    """Hyperbolic sine."""
    return _apply("sinh", x)


def cosh(x: Any) -> Any:
    """Hyperbolic cosine."""
    return _apply("cosh", x)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return _apply("tanh", x)


def atan(x: Any) -> Any:
    """Inverse tangent."""
    return _apply("atan", x)
