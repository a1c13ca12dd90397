"""From the law of one site to source text: numba kernels with loops over sites, and LaTeX.

The law is called once with symbols: `x[k]` becomes one symbol per neighbour, a profile one per neighbour it is
read at, `total(...)` one symbol that the kernels sum up before. The tangent is the derivative of the local law
by each of these symbols, so it is as sparse as the law itself.
"""

import copy
from dataclasses import dataclass, field
from string import Template
from typing import Any

import sympy

from envs import codegen, functions, lattice_templates
from envs.lattice import Lattice, total
from envs.system import ContractError, Flow

SITES = sympy.Symbol("N", positive=True)


class Seen:
    """A component or profile of symbols; remembers which neighbours the law reads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.read: dict[int, sympy.Symbol] = {}

    def __getitem__(self, k: int) -> sympy.Symbol:
        if not isinstance(k, int) or isinstance(k, bool):
            raise TypeError(f"{self.name}[k] needs a whole number k, got {k!r}")
        return self.read.setdefault(k, sympy.Symbol(f"{self.name}[{k}]", real=True))


@dataclass
class Law:
    """The law of a site as sympy sees it; `rows` has one expression per component."""

    components: list[Seen]
    profiles: list[Seen]
    parameters: list[sympy.Symbol]
    push: sympy.Symbol
    rows: list[sympy.Expr]
    totals: dict[sympy.Symbol, sympy.Expr] = field(default_factory=dict)
    """Symbol of a sum over all sites -> what is summed."""

    @property
    def neighbours(self) -> list[tuple[int, int, sympy.Symbol]]:
        """(component, offset, symbol) of everything that the law reads of the state."""
        return [(c, k, s) for c, seen in enumerate(self.components) for k, s in sorted(seen.read.items())]

    @property
    def constants(self) -> list[tuple[int, int, sympy.Symbol]]:
        """(profile, offset, symbol) of everything that the law reads of the profiles."""
        return [(c, k, s) for c, seen in enumerate(self.profiles) for k, s in sorted(seen.read.items())]


def generate(system: Lattice) -> dict[str, str]:
    """File name -> content for the directory of a lattice."""
    law = trace(system)
    return {
        "kernels.py": kernels(system, law),
        "latex.txt": latex(system, law, law.rows),
        "unpushed.txt": latex(system, law, [row.subs(law.push, 0) for row in law.rows]),
    }


def trace(system: Lattice) -> Law:
    """Call the law with symbols."""
    parameters = [sympy.Symbol(name, real=True) for name in system.parameter_names()]
    symbolic = copy.copy(system)
    for symbol in parameters:
        object.__setattr__(symbolic, symbol.name, symbol)
    object.__setattr__(symbolic, "sites", SITES)
    components, profiles = map(Seen, system.components), map(Seen, system.profiles())
    law = Law(list(components), list(profiles), parameters, sympy.Symbol("push", real=True), [])
    try:
        rows = getattr(symbolic, system.law)(*law.components, law.push, *law.profiles)
        rows = [sympy.sympify(row, strict=True) for row in rows]
    except Exception as error:
        raise ContractError.of(
            type(system), f"{system.law} cannot be called with symbols: {type(error).__name__}: {error}"
        ) from error
    head = total(sympy.Symbol("x")).func
    for summed in sorted({t for row in rows for t in row.atoms(head)}, key=str):
        law.totals[sympy.Symbol(f"total{len(law.totals)}", real=True)] = summed.args[0]
    names = {head(summed): symbol for symbol, summed in law.totals.items()}
    law.rows = [row.xreplace(names) for row in rows]
    _refuse_what_cannot_be_compiled(system, law)
    return law


def _refuse_what_cannot_be_compiled(system: Lattice, law: Law) -> None:
    def complain(sentence: str) -> None:
        raise ContractError.of(type(system), f"{system.law} {sentence}")

    if len(law.rows) != len(system.components):
        complain(f"returns {len(law.rows)} values for {len(system.components)} components")
    read = {s for _, _, s in (*law.neighbours, *law.constants)}
    known = {*read, *law.parameters, *law.totals, law.push, SITES}
    for expression in (*law.rows, *law.totals.values()):
        if strange := expression.free_symbols - known:
            complain(f"contains {', '.join(map(str, strange))}, which is no component, parameter or push")
        if expression.is_number and not expression.is_finite:
            complain(f"contains {expression}")
        for function in expression.atoms(sympy.Function):
            if function.func.__name__ == "total":
                complain("has a total inside a total")
            if function.func.__name__ not in codegen.KNOWN:
                complain(
                    f"uses {function.func.__name__}; available in envs.functions: {', '.join(functions.NAMES)}"
                )


def kernels(system: Lattice, law: Law) -> str:
    """Source of the numba module."""
    offsets = [0, *(k for _, k, _ in (*law.neighbours, *law.constants))]
    flow = isinstance(system, Flow)
    border = lattice_templates.RING if system.periodic else lattice_templates.OPEN
    slots = {
        "title": type(system).__name__,
        "components": str(len(system.components)),
        "profiles": str(len(law.profiles)),
        "totals": str(len(law.totals)),
        "parameters": str(len(law.parameters)),
        "left": str(-min(offsets)),
        "right": str(max(offsets)),
        "law": _law(law),
        "turn": _turn(law),
        "stages": "4" if flow else "1",
        "border": border,
        "frame_border": border.replace("lanes", "vectors").replace("s[c", "v[c"),
        "inside": "True" if system.periodic else "0 <= i < sites",
    }
    return Template(lattice_templates.KERNELS).substitute(slots)


def _law(law: Law) -> str:
    """Body of `law`: neighbours as offsets, the totals, one long loop over sites and lanes."""
    lines, load = _scalars(law), {law.push: "push[m]"}
    for array, letter, entries in (("s", "a", law.neighbours), ("profile", "c", law.constants)):
        for j, (c, k, symbol) in enumerate(entries):
            lines.append(f"{letter}{j} = uint64((LEFT + {k}) * lanes)")
            load[symbol] = f"{array}[{c}, {letter}{j} + m]"
    for j, (symbol, summed) in enumerate(law.totals.items()):
        body, (value,) = _expressions([summed], law, load)
        lines += [f"sums[{j}, :lanes] = 0.0", "for i in range(sites):", "    for n in range(uint64(lanes)):"]
        lines += ["        m = uint64(i * lanes) + n", *(f"        {line}" for line in body)]
        lines += [f"        sums[{j}, n] += {value}"]
        lines += ["for m in range(uint64(lanes), size):", f"    sums[{j}, m] = sums[{j}, m - uint64(lanes)]"]
        load[symbol] = f"sums[{j}, m]"
    body, values = _expressions(law.rows, law, load)
    lines += ["for m in range(size):", *(f"    {line}" for line in body)]
    lines += [f"    out[{c}, m] = {value}" for c, value in enumerate(values)]
    return "\n".join(f"    {line}" for line in lines)


def _turn(law: Law) -> str:
    """Body of `turn`: slopes of a site in scalars, then rows of vectors."""
    load = {symbol: f"s[{c}, LEFT + i + {k}]" for c, k, symbol in law.neighbours}
    load |= {symbol: f"profile[{c}, LEFT + i + {k}]" for c, k, symbol in law.constants}
    load |= {symbol: f"sums[{j}, i]" for j, symbol in enumerate(law.totals)} | {law.push: "push[i]"}
    lines = _scalars(law)
    if law.totals:
        lines += ["turned = np.zeros((TOTALS, vectors))", "for i in range(sites):"]
        targets = [(f"turned[{j}, j] +=", summed) for j, summed in enumerate(law.totals.values())]
        lines += [f"    {line}" for line in _rows(law, targets, load)]
    targets = [(f"out[{c}, start + j] =", row) for c, row in enumerate(law.rows)]
    lines += ["for i in range(sites):", "    start = uint64(i * vectors)"]
    lines += [f"    {line}" for line in _rows(law, targets, load)]
    return "\n".join(f"    {line}" for line in lines)


def _rows(law: Law, targets: list[tuple[str, Any]], load: dict[Any, str]) -> list[str]:
    """One loop over vectors: each target is the sum of slope times what the vector has at a neighbour."""
    sources = {s: (c, k) for c, k, s in law.neighbours}
    slopes = [(r, s, _slope(e, s)) for r, (_, e) in enumerate(targets) for s in (*sources, *law.totals)]
    slopes = [(r, s, slope) for r, s, slope in slopes if slope != 0]
    body, values = _expressions([slope for _, _, slope in slopes], law, load)
    lines = [*body, *(f"q{j} = {value}" for j, value in enumerate(values))]
    vector = {symbol: f"turned[{j}, j]" for j, symbol in enumerate(law.totals)}
    for j, s in enumerate(dict.fromkeys(s for _, s, _ in slopes if s in sources)):
        lines.append(f"a{j} = uint64((LEFT + i + {sources[s][1]}) * vectors)")
        vector[s] = f"v[{sources[s][0]}, a{j} + j]"
    lines += ["for j in range(uint64(vectors)):"]
    for r, (target, _) in enumerate(targets):
        terms = [f"q{j} * {vector[s]}" for j, (row, s, _) in enumerate(slopes) if row == r]
        lines.append(f"    {target} {' + '.join(terms) or '0.0'}")
    return lines


def _slope(expression: Any, symbol: Any) -> Any:
    kinked = expression.replace(sympy.Abs, codegen.Magnitude).replace(sympy.sign, codegen.Side)
    return sympy.diff(kinked, symbol).replace(codegen.Magnitude, sympy.Abs).replace(codegen.Side, sympy.sign)


def _scalars(law: Law) -> list[str]:
    return [f"p{j} = parameters[{j}]" for j in range(len(law.parameters))]


def _expressions(expressions: list[Any], law: Law, load: dict[Any, str]) -> tuple[list[str], list[str]]:
    """(lines, values): loads, common subexpressions w0, w1, ... and what the expressions then are."""
    used = set[sympy.Symbol]().union(*(e.free_symbols for e in expressions))
    present = [(symbol, text) for symbol, text in load.items() if symbol in used]
    plain = {symbol: sympy.Symbol(f"y{j}", real=True) for j, (symbol, _) in enumerate(present)}
    lines = [f"y{j} = {text}" for j, (_, text) in enumerate(present)]
    plain |= {symbol: sympy.Symbol(f"p{j}", real=True) for j, symbol in enumerate(law.parameters)}
    plain[SITES] = sympy.Symbol("sites", positive=True)
    printer = codegen.Printer({"fully_qualified_modules": False})
    named = [e.xreplace(plain) for e in expressions]
    shared, reduced = sympy.cse(named, symbols=sympy.numbered_symbols("w"))
    lines += [f"{name} = {printer.doprint(value)}" for name, value in shared]
    return lines, [repr(float(e)) if e.is_number else printer.doprint(e) for e in reduced]


def latex(system: Lattice, law: Law, rows: list[Any]) -> str:
    """The law of site i as an aligned block."""
    names = {law.push: "u_{i}"}
    for seen in (*law.components, *law.profiles):
        head = sympy.latex(sympy.Symbol(seen.name))
        names |= {symbol: rf"{head}_{{i{k:+d}}}" if k else f"{head}_{{i}}" for k, symbol in seen.read.items()}
    for symbol, summed in law.totals.items():
        inside = sympy.latex(summed, symbol_names=names, order="none").replace("_{i", "_{j")
        names[symbol] = rf"\sum_{{j}} \left({inside}\right)"
    lines = []
    for name, row in zip(system.components, rows, strict=True):
        head = sympy.latex(sympy.Symbol(name))
        left = rf"\dot{{{head}}}_{{i}}" if isinstance(system, Flow) else f"{head}'_{{i}}"
        lines.append(f"{left} &= {sympy.latex(row, symbol_names=names, order='none')}")
    return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}\n"
