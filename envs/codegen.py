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
from sympy.printing.pycode import PythonCodePrinter

from envs import functions, templates
from envs.system import ContractError, Flow, System


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
    parameters = [sympy.Symbol(name, real=True) for name in system.parameter_names()]
    count = system.n_pushes
    pushes = [sympy.Symbol("push" if count == 1 else f"push{i + 1}", real=True) for i in range(count)]
    moved = dict(zip(system.actuator, pushes, strict=False))
    symbolic = copy.copy(system)
    for symbol in parameters:
        object.__setattr__(symbolic, symbol.name, symbol + moved.get(symbol.name, 0))
    own = [sympy.Integer(0)] * system.pushes if moved else pushes
    try:
        law = getattr(symbolic, system.law)(*states, own[0] if len(own) == 1 else tuple(own))
        law = [sympy.sympify(expression) for expression in law]
    except Exception as error:
        raise ContractError.of(
            type(system), f"{system.law} cannot be called with symbols: {type(error).__name__}: {error}"
        ) from error
    _refuse_what_cannot_be_compiled(system, law, {*states, *parameters, *pushes})
    acted = [moved.get(name, 0) + part for name, part in zip(system.states, law, strict=True)]
    return Equations(states, pushes, parameters, acted)


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
        for function in expression.atoms(sympy.Function):
            if function.func.__name__ not in functions.NAMES:
                complain(
                    f"of {name} uses {function.func.__name__}; "
                    f"available in envs.functions: {', '.join(functions.NAMES)}"
                )


def kernels(system: System, equations: Equations) -> str:
    """Source of the numba module."""
    flow = isinstance(system, Flow)
    jacobian = list(sympy.Matrix(equations.law).jacobian(equations.states))
    slots = _shared_slots(system, equations, templates.FLOW_MOVE if flow else templates.MAP_MOVE)
    slots |= {
        "slopes": _body(equations, jacobian),
        "tangent": (templates.FLOW_TANGENT if flow else templates.MAP_TANGENT).rstrip("\n"),
        "turned": _matrix_times_vector(jacobian, len(equations.states)),
    }
    return _fill(templates.KERNELS, slots | _task_slots(system, equations), equations)


def tensors(system: System, equations: Equations) -> str:
    """Source of the torch module; the same move, on tensors [N] instead of floats."""
    move = templates.FLOW_MOVE if isinstance(system, Flow) else templates.MAP_MOVE
    slots = _shared_slots(system, equations, move.replace("@njit(**HOW)\n", ""))
    return _fill(templates.TENSORS, slots, equations)


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


def _shared_slots(system: System, equations: Equations, move: str) -> dict[str, str]:
    symbols = [*equations.states, *equations.pushes, *equations.parameters]
    return {
        "title": type(system).__name__,
        "arguments": ", ".join(map(str, symbols)),
        "law": _body(equations, equations.law),
        "move": move,
        "d": str(len(equations.states)),
        "k": str(len(equations.pushes)),
        "state": ", ".join(f"state[{i}]" for i in range(len(equations.states))) + ",",
    }


def _task_slots(system: System, equations: Equations) -> dict[str, str]:
    """Lines that differ between angles and other states, and the unpacking of `constants`."""
    inside, distance, observe = "", [], []
    for i, name in enumerate(system.states):
        if name in system.angles:
            inside += f" & (t{i} - t{i} == 0.0)"
            distance.append(f"2.0 * (1.0 - cos(s{i} - target{i})) * weight{i}")
            observe += [f"cos(s{i})", f"sin(s{i})"]
        else:
            inside += f" & (abs((t{i} - centre{i}) * density{i}) <= bound)"
            distance.append(f"(s{i} - target{i}) ** 2 * weight{i}")
            observe.append(f"(s{i} - centre{i}) * density{i}")
    seen = [f"        observation[n, {j}] = {line}" for j, line in enumerate(observe)]
    names = layout(len(equations.states), len(equations.pushes), len(equations.parameters))
    return {
        "inside": inside,
        "distance": " + ".join(distance),
        "observe": "\n".join(seen),
        "unpack": "; ".join(f"{name} = constants[{i}]" for i, name in enumerate(names)),
    }


def layout(states: int, pushes: int, parameters: int) -> list[str]:
    """Order of the vector `constants` that the task kernels take (envs.task fills it)."""
    per_state = [f"{n}{i}" for n in ("centre", "density", "target", "weight") for i in range(states)]
    return [
        *(f"p{i}" for i in range(parameters)),
        "h",
        "bound",
        "worst",
        *(f"limit{i}" for i in range(pushes)),
        *per_state,
    ]


def _body(equations: Equations, expressions: list[Any]) -> str:
    """Function body with common subexpressions named x_0, x_1, ..."""
    taken = {str(s) for s in (*equations.states, *equations.pushes, *equations.parameters)}
    fresh = (symbol for symbol in sympy.numbered_symbols("x_") if str(symbol) not in taken)
    printer = PythonCodePrinter({"fully_qualified_modules": False})
    shared, reduced = sympy.cse(expressions, symbols=fresh)
    lines = [f"    {name} = {printer.doprint(value)}" for name, value in shared]
    # A bare number must be a float: numba wants one type for all entries of a Jacobian.
    results = ", ".join(repr(float(e)) if e.is_number else printer.doprint(e) for e in reduced)
    return "\n".join([*lines, f"    return {results},"]) + "\n"


def _matrix_times_vector(jacobian: list[Any], size: int) -> str:
    """Rows of J v as text, skipping what is zero for every state."""
    rows = []
    for i in range(size):
        terms = [f"j{i * size + j} * v{j}" for j in range(size) if jacobian[i * size + j] != 0]
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
