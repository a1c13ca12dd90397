"""From a delay equation to source text: numba kernels, a torch stepper and LaTeX. Imports sympy."""

from dataclasses import dataclass
from typing import Any

import sympy

from envs import codegen, delay_templates, functions
from envs.delay import Delay
from envs.system import ContractError


@dataclass(frozen=True)
class DelayEquations:
    """A delay equation as sympy sees it; `law` has one rate per component."""

    now: list[sympy.Symbol]
    late: list[sympy.Symbol]
    """The components one delay ago."""
    pushes: list[sympy.Symbol]
    parameters: list[sympy.Symbol]
    law: list[sympy.Expr]

    def by(self, states: list[sympy.Symbol]) -> codegen.Equations:
        """The same with some of the symbols as states, for the printers of envs.codegen."""
        return codegen.Equations(states, self.pushes, self.parameters, self.law)

    @property
    def arguments(self) -> list[sympy.Symbol]:
        """All symbols in the order the generated functions take them."""
        return [*self.now, *self.late, *self.pushes, *self.parameters]


def generate(system: Delay) -> dict[str, str]:
    """File name -> content for the directory of a system."""
    equations = trace(system)
    return {
        "kernels.py": kernels(system, equations),
        "tensors.py": tensors(system, equations),
        "latex.txt": latex(equations),
    }


def trace(system: Delay) -> DelayEquations:
    """Call `rate` with symbols."""
    now = [sympy.Symbol(name, real=True) for name in system.components]
    late = [sympy.Symbol(f"{name}_delayed", real=True) for name in system.components]
    symbolic, parameters, pushes, moved, own = codegen.with_symbols(system)
    try:
        found = symbolic.rate(*now, *late, own)
        law = [sympy.sympify(e) for e in (found if isinstance(found, tuple | list) else (found,))]
    except Exception as error:
        raise ContractError.of(
            type(system), f"rate cannot be called with symbols: {type(error).__name__}: {error}"
        ) from error
    _refuse(system, law, {*now, *late, *parameters, *pushes})
    acted = [moved.get(name, 0) + part for name, part in zip(system.components, law, strict=True)]
    return DelayEquations(now, late, pushes, parameters, acted)


def _refuse(system: Delay, law: list[Any], known: set[Any]) -> None:
    if len(law) != len(system.components):
        raise ContractError.of(
            type(system), f"rate returns {len(law)} values for {len(system.components)} components"
        )
    for name, expression in zip(system.components, law, strict=True):
        strange = expression.free_symbols - known
        strange |= {f.func for f in expression.atoms(sympy.Function) if f.func.__name__ not in codegen.KNOWN}
        if strange:
            raise ContractError.of(
                type(system),
                f"rate of {name} contains {', '.join(sorted(map(str, strange)))}; available: its components, "
                f"parameters, the push and {', '.join(functions.NAMES)}",
            )


def kernels(system: Delay, equations: DelayEquations) -> str:
    """Source of the numba module."""
    own = codegen._derivatives(equations.by(equations.now))
    other = codegen._derivatives(equations.by(equations.late))
    slots = _shared_slots(system, equations, delay_templates.MOVE) | {
        "slopes": _body(equations, [*own, *other]),
        "turned": _sum_of_products(own, other, len(equations.now)),
        "tangent": delay_templates.TANGENT.rstrip("\n"),
    }
    return codegen._fill(delay_templates.KERNELS, slots, equations.by(equations.now))


def tensors(system: Delay, equations: DelayEquations) -> str:
    """Source of the torch module; the same move, on tensors [N] instead of floats."""
    slots = _shared_slots(system, equations, delay_templates.MOVE.replace("@njit(**HOW)\n", ""))
    return codegen._fill(delay_templates.TENSORS, slots, equations.by(equations.now))


def latex(equations: DelayEquations) -> str:
    """The equations as an aligned block; the value one delay ago has the index tau."""
    count = len(equations.pushes)
    names = {symbol: "u" if count == 1 else f"u_{i + 1}" for i, symbol in enumerate(equations.pushes)}
    for now, late in zip(equations.now, equations.late, strict=True):
        names[late] = rf"{{{sympy.latex(now)}_\tau}}"
    lines = [
        rf"\dot{{{sympy.latex(state)}}} &= {sympy.latex(expression, symbol_names=names, order='none')}"
        for state, expression in zip(equations.now, equations.law, strict=True)
    ]
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}\n"


def _shared_slots(system: Delay, equations: DelayEquations, move: str) -> dict[str, str]:
    return {
        "title": type(system).__name__,
        "arguments": ", ".join(map(str, equations.arguments)),
        "law": _body(equations, equations.law),
        "move": move,
        "d": str(len(equations.now)),
        "k": str(len(equations.pushes)),
        "smooth": ", ".join(functions.SMOOTH),
        "stepped": ", ".join(name for name in functions.NAMES if name not in functions.SMOOTH),
        "known": ", ".join(functions.NAMES),
    }


def _body(equations: DelayEquations, expressions: list[Any]) -> str:
    return codegen._body(equations.by([*equations.now, *equations.late]), expressions)


def _sum_of_products(own: list[Any], other: list[Any], size: int) -> str:
    """Rows of A v + B w as text, skipping what is zero for every state."""
    rows = []
    for i in range(size):
        entries = range(i * size, (i + 1) * size)
        terms = [f"a{e} * v{e - i * size}" for e in entries if own[e] != 0]
        terms += [f"b{e} * w{e - i * size}" for e in entries if other[e] != 0]
        rows.append(" + ".join(terms) or "0.0")
    return ", ".join(rows) + ","
