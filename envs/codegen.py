"""From equations to source text: numba kernels, a torch stepper and LaTeX. Imports sympy: for cache misses.

`rate` or `image` is called once, on a copy of the system whose parameters are sympy symbols, so one generated
module serves every parameter value.
"""

import copy
import re
from dataclasses import dataclass
from string import Template
from typing import Any

import sympy
from sympy.core.function import Application
from sympy.printing.pycode import PythonCodePrinter

from envs import functions, templates
from envs.system import ContractError, Flow, System

KNOWN = (*functions.SMOOTH, "Abs", "sign")
"""sympy's names of what envs.functions offers."""


class Magnitude(sympy.Function):  # type: ignore[misc]
    """|x| with the derivative sign(x) whatever sympy knows about x."""

    def fdiff(self, argindex: int = 1) -> Any:
        """By its argument."""
        return Side(self.args[0])


class Side(sympy.Function):  # type: ignore[misc]
    """sign(x), constant on both sides: an orbit never meets the kink, so there is no delta function."""

    def fdiff(self, argindex: int = 1) -> Any:
        """By its argument."""
        return sympy.Integer(0)


class Printer(PythonCodePrinter):  # type: ignore[misc]
    """Python text with the function names of envs.functions and envs.elementary."""

    def _print_Abs(self, expression: Any) -> str:  # noqa: N802
        return f"absolute({self._print(expression.args[0])})"

    def _print_sign(self, expression: Any) -> str:
        return f"sign({self._print(expression.args[0])})"


@dataclass(frozen=True)
class Equations:
    """A system as sympy sees it; `law` has one expression per state."""

    states: list[sympy.Symbol]
    pushes: list[sympy.Symbol]
    parameters: list[sympy.Symbol]
    law: list[sympy.Expr]


def generate(system: System) -> dict[str, str]:
    """File name -> content for the directory of a system."""
    equations = trace(system)
    return {
        "kernels.py": kernels(system, equations),
        "tensors.py": tensors(system, equations),
        "latex.txt": latex(system, equations),
    }


def trace(system: System) -> Equations:
    """Call the equations with symbols."""
    states = [sympy.Symbol(name, real=True) for name in system.states]
    symbolic, parameters, pushes, moved, own = with_symbols(system)
    try:
        law = getattr(symbolic, system.law)(*states, own)
        law = [sympy.sympify(expression) for expression in law]
    except Exception as error:
        raise ContractError.of(
            type(system), f"{system.law} cannot be called with symbols: {type(error).__name__}: {error}"
        ) from error
    _refuse_what_cannot_be_compiled(system, law, {*states, *parameters, *pushes})
    acted = [moved.get(name, 0) + part for name, part in zip(system.states, law, strict=True)]
    return Equations(states, pushes, parameters, acted)


def with_symbols(system: System) -> tuple[Any, list[sympy.Symbol], list[sympy.Symbol], dict[str, Any], Any]:
    """A copy whose parameters are symbols, these, the pushes, where `actuator` adds them, and the law's `push`."""
    parameters = [sympy.Symbol(name, real=True) for name in system.parameter_names()]
    count = system.n_pushes
    pushes = [sympy.Symbol("push" if count == 1 else f"push{i + 1}", real=True) for i in range(count)]
    moved = dict(zip(system.actuator, pushes, strict=False))
    symbolic = copy.copy(system)
    for symbol in parameters:
        object.__setattr__(symbolic, symbol.name, symbol + moved.get(symbol.name, 0))
    own = [sympy.Integer(0)] * system.pushes if moved else pushes
    return symbolic, parameters, pushes, moved, own[0] if len(own) == 1 else tuple(own)


def _refuse_what_cannot_be_compiled(system: System, law: list[Any], known: set[Any]) -> None:
    def complain(sentence: str) -> None:
        raise ContractError.of(type(system), f"{system.law} {sentence}")

    if len(law) != len(system.states):
        complain(f"returns {len(law)} values for {len(system.states)} states")
    for name, expression in zip(system.states, law, strict=True):
        if strange := expression.free_symbols - known:
            complain(
                f"of {name} contains {', '.join(map(str, strange))}, which is no state, parameter or push"
            )
        if expression.is_number and not expression.is_finite:
            complain(f"of {name} is {expression}")
        for function in expression.atoms(Application):
            if function.func.__name__ not in KNOWN:
                complain(
                    f"of {name} uses {function.func.__name__}; "
                    f"available in envs.functions: {', '.join(functions.NAMES)}"
                )


def kernels(system: System, equations: Equations) -> str:
    """Source of the numba module."""
    jacobian = _derivatives(equations)
    slots = _shared_slots(system, equations) | {
        "slopes": _body(equations, jacobian),
        "tangent": (templates.FLOW_TANGENT if _flows(system) else templates.MAP_TANGENT).rstrip("\n"),
        "turned": _matrix_times_vector(jacobian, len(equations.states)),
        "angles": ", ".join(str(name in system.angles) for name in system.states),
        "parameters": " ".join(f"parameters[{i}]," for i in range(len(equations.parameters))),
        "p": str(len(equations.parameters)),
    }
    return _fill(templates.KERNELS, slots, equations)


def tensors(system: System, equations: Equations) -> str:
    """Source of the torch module; the same move, on tensors [N] instead of floats."""
    slots = _shared_slots(system, equations)
    return _fill(templates.TENSORS, slots | {"parts": slots["parts"].replace("@within\n", "")}, equations)


def _flows(system: System) -> bool:
    return isinstance(system, Flow)


def latex(system: System, equations: Equations) -> str:
    """The equations as an aligned block."""
    flow = isinstance(system, Flow)
    names = {
        symbol: r"u" if len(equations.pushes) == 1 else f"u_{i + 1}"
        for i, symbol in enumerate(equations.pushes)
    }
    lines = []
    for state, expression in zip(equations.states, equations.law, strict=True):
        name = sympy.latex(state)
        left = rf"\dot{{{name}}}" if flow else rf"{name}'"
        lines.append(f"{left} &= {sympy.latex(expression, symbol_names=names, order='none')}")
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}\n"


def _shared_slots(system: System, equations: Equations) -> dict[str, str]:
    tuples = (equations.states, "_s"), (equations.pushes, "_u"), (equations.parameters, "_p")
    return {
        "title": type(system).__name__,
        "unpack": "\n".join(
            f"    {', '.join(map(str, symbols))}, = {name}" for symbols, name in tuples if symbols
        ),
        "law": _body(equations, equations.law),
        "parts": templates.PARTS + (templates.FLOW_MOVE if _flows(system) else templates.MAP_MOVE),
        "d": str(len(equations.states)),
        "k": str(len(equations.pushes)),
    }


def _derivatives(equations: Equations) -> list[Any]:
    """The Jacobian's entries, row by row."""
    law = [e.replace(sympy.Abs, Magnitude).replace(sympy.sign, Side) for e in equations.law]
    entries = [sympy.diff(expression, state) for expression in law for state in equations.states]
    return [e.replace(Magnitude, sympy.Abs).replace(Side, sympy.sign) for e in entries]


def _body(equations: Equations, expressions: list[Any]) -> str:
    """Function body with common subexpressions named x_0, x_1, ..."""
    taken = {str(s) for s in (*equations.states, *equations.pushes, *equations.parameters)}
    fresh = (symbol for symbol in sympy.numbered_symbols("x_") if str(symbol) not in taken)
    printer = Printer({"fully_qualified_modules": False})
    shared, reduced = sympy.cse(expressions, symbols=fresh)
    lines = [f"    {name} = {printer.doprint(value)}" for name, value in shared]
    # A bare number must be a float: numba wants one type for all entries of a Jacobian.
    results = ", ".join(repr(float(e)) if e.is_number else printer.doprint(e) for e in reduced)
    return "\n".join([*lines, f"    return {results},"]) + "\n"


def _matrix_times_vector(jacobian: list[Any], size: int) -> str:
    """Rows of J v as text, skipping what is zero for every state."""
    rows = []
    for i in range(size):
        terms = [f"j[{i * size + j}] * v[{j}]" for j in range(size) if jacobian[i * size + j] != 0]
        rows.append(" + ".join(terms) or "0.0")
    return ", ".join(rows) + ","


def _fill(template: str, slots: dict[str, str], equations: Equations) -> str:
    counts = {"s": len(equations.states), "u": len(equations.pushes), "p": len(equations.parameters)}
    counts["j"] = counts["s"] ** 2

    def repeat(match: re.Match[str]) -> str:
        content, _, separator = match[2].partition("|")
        return (separator or ", ").join(content.replace("#", str(i)) for i in range(counts[match[1]]))

    filled = re.sub(r"<<([supj]):(.*?)>>", repeat, Template(template).substitute(slots))
    return filled.replace(", )", ")")
