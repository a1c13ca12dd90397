"""Elementary functions that a system's equations may use, for any kind of argument.

`rate` is called with sympy symbols to generate code, but it is an ordinary method: these functions let it run
on floats, complex numbers (complex-step derivatives), numpy arrays and torch tensors as well, and keep sympy
out of the import of a system file.
"""

import cmath
import math
import sys
from typing import Any

SMOOTH = ("sin", "cos", "tan", "exp", "log", "sqrt", "sinh", "cosh", "tanh", "atan")
"""The functions that sympy, numpy, torch and `math` know under one name."""

NAMES = (*SMOOTH, "absolute", "sign")
"""Every function the generated steppers know."""


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


def absolute(x: Any) -> Any:
    """Absolute value; of a complex number z the analytic continuation z sign(Re z), not the modulus."""
    if isinstance(x, complex) or type(x).__module__ == "numpy":
        return x * sign(x)
    return abs(x)


def sign(x: Any) -> Any:
    """1, 0 or -1, the derivative of `absolute`; of a complex number the sign of its real part."""
    if isinstance(x, (int, float, complex)):
        x = x.real
        return 1.0 if x > 0 else -1.0 if x < 0 else x
    return _apply("sign", x.real if hasattr(x, "real") else x)
