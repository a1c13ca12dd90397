"""The systems of dysts as systems of ours: its equations, parameters and initial conditions, nothing else.

dysts (William Gilpin, Apache-2.0) is a catalogue of 129 ordinary differential equations, 6 delay equations and
23 maps. Importing it loads a forecasting library, so its files are read instead: the classes of `flows.py` and
`maps.py` are executed with functions that accept symbols in place of numpy's. What each system needs besides
(step, settling time) was measured by `python -m envs.adapters.measure_dysts` and is in `dysts.json`; no
exponent, dimension or other annotation of dysts is used anywhere.
"""

import ast
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import field, make_dataclass
from functools import cache
from importlib.metadata import version
from math import pi
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np

from envs import functions
from envs.delay import Delay
from envs.system import Flow, Map, System, TaskDefaults

NAMESPACE = "dysts"
INSTALL = "pip install --no-deps dysts==0.96"
CATALOGUE = Path(__file__).with_name("dysts.json")

PERIODS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "BlinkingRotlet": {"tt": lambda system: system.tau},
    "BlinkingVortex": {"tt": lambda system: system.tau},
    "InteriorSquirmer": {"tt": lambda system: system.tau},
    "LidDrivenCavityFlow": {"tt": lambda system: system.tau},
    "OscillatingFlow": {"x": lambda system: 2 * pi / system.k},
    "Chirikov": {"p": lambda system: 2 * pi, "x": lambda system: 2 * pi},
    "Circle": {"theta": lambda system: 1.0},
}
"""Angles whose period is not 2 pi, or of which dysts does not say that they have no bounds. Such a state is
counted in units of its period over 2 pi."""

LEFT_OUT = {
    "BickleyJet": "x is carried away without bound, and its three wavenumbers have no common period",
    "BlinkingVortexMap": "each iteration solves an implicit equation and changes the sign of a parameter",
    "Torus": "its rate is a function of time alone: nothing that an agent does changes how it moves",
}
"""What cannot be a task, and why; further reasons, found by measurement, are in dysts.json."""


def _by_entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of numbers or symbols, for arrays of them as well."""
    spread = np.frompyfunc(function, function.__code__.co_argcount, 1)

    def either(*values: Any) -> Any:
        if any(isinstance(value, np.ndarray) for value in values):
            return np.array(spread(*values).tolist())
        return function(*values)

    return either


def _step(x: Any, at_zero: Any) -> Any:
    """Heaviside's function; an orbit never stands at 0."""
    return (1 + functions.sign(x)) / 2


def _smaller(a: Any, b: Any) -> Any:
    return (a + b - functions.absolute(a - b)) / 2


def _larger(a: Any, b: Any) -> Any:
    return (a + b + functions.absolute(a - b)) / 2


def _arccos(x: Any) -> Any:
    """acos x = 2 atan sqrt((1 - x) / (1 + x))."""
    return 2 * functions.atan(functions.sqrt((1 - x) / (1 + x)))


def _smallest(values: Any, axis: int) -> Any:
    rows = np.moveaxis(np.asarray(values, dtype=object), axis, 0)
    least = rows[0]
    for row in rows[1:]:
        least = _by_entry(_smaller)(least, row)
    return least


NUMPY = SimpleNamespace(
    **{name: _by_entry(getattr(functions, name)) for name in functions.SMOOTH},
    abs=_by_entry(functions.absolute),
    sign=_by_entry(functions.sign),
    heaviside=_by_entry(_step),
    arccos=_by_entry(_arccos),
    min=_smallest,
    **{name: getattr(np, name) for name in ("arange", "dot", "hstack", "matmul", "sum", "zeros_like")},
    pi=pi,
)
"""What dysts' equations call `np`."""


@cache
def folder() -> Path | None:
    """Where dysts is installed, or None; it is not imported."""
    found = importlib.util.find_spec("dysts")
    places = list(found.submodule_search_locations or []) if found else []
    return Path(places[0]) if places else None


def required() -> Path:
    """Where dysts is installed; ModuleNotFoundError with the command that installs it."""
    if (found := folder()) is None:
        raise ModuleNotFoundError(f"the tasks {NAMESPACE}/... need the equations of dysts: {INSTALL}")
    return found


@cache
def catalogue() -> Mapping[str, Mapping[str, Any]]:
    """What was measured of every system, by name."""
    text = CATALOGUE.read_text(encoding="utf-8") if CATALOGUE.is_file() else "{}"
    return MappingProxyType(json.loads(text))


def names() -> list[str]:
    """Every system that is a task, whether or not dysts is installed."""
    return [name for name, entry in catalogue().items() if "left_out" not in entry]


def ids() -> list[str]:
    """Their Gymnasium ids."""
    return [f"{NAMESPACE}/{name}-v0" for name in names()]


def left_out() -> dict[str, str]:
    """Every system that is no task -> why."""
    return {name: entry["left_out"] for name, entry in catalogue().items() if "left_out" in entry}


def systems() -> dict[str, type[System]]:
    """Every system that is a task."""
    return {name: system(name) for name in names()}


@cache
def system(name: str) -> type[System]:
    """One system of dysts as a class of ours; its equations are traced when they are first needed."""
    source = sources()[name]
    return source.system(catalogue().get(name, {}))


class Source:
    """One class of dysts with its parameters and initial condition."""

    def __init__(self, name: str, kind: type[System], equations: type, states: list[str], data: Any) -> None:
        self.name, self.kind, self.equations, self.data = name, kind, equations, data
        self.initial = [float(value) for value in np.ravel(data["initial_conditions"])]
        self.parameters = {key: value for key, value in data["parameters"].items()}
        if kind is Delay:
            self.initial = self.initial[:1]
        self.states = tuple(states[: len(self.initial)] or (f"x{i + 1}" for i in range(len(self.initial))))

    @property
    def angles(self) -> tuple[str, ...]:
        """States without bounds; `measure_dysts` makes sure that they are periodic."""
        known = {self.states[i] for i in self.data.get("unbounded_indices", ()) if self.kind is Flow}
        return tuple(name for name in self.states if name in known or name in PERIODS.get(self.name, {}))

    @property
    def acted(self) -> str:
        """The state to push: the last that is no angle, in a mechanical system the velocity."""
        straight = [name for name in self.states if name not in self.angles]
        return (straight or self.states)[-1]

    def system(self, measured: Mapping[str, Any]) -> type[System]:
        """The dataclass, with what was measured of it."""
        scalars = {name: float(v) for name, v in self.parameters.items() if not isinstance(v, list)}
        columns: list[Any] = [(name, float, field(default=value)) for name, value in scalars.items()]
        columns.append(("release", str, field(default=version("dysts"), kw_only=True)))
        inside: dict[str, Any] = {
            "__doc__": f"{self.name} of dysts {version('dysts')}.\n\nSource: {self.data['citation']}",
            "__module__": __name__,
            "namespace": NAMESPACE,
            "middling": True,
            "task": TaskDefaults(**measured.get("task", {})),
        }
        inside |= {key: measured[key] for key in ("settle", "sample_every") if key in measured}
        inside |= self._delayed(measured, columns) if self.kind is Delay else self._plain(measured)
        return make_dataclass(self.name, columns, bases=(self.kind,), frozen=True, namespace=inside)

    def _plain(self, measured: Mapping[str, Any]) -> dict[str, Any]:
        periods, acted = PERIODS.get(self.name, {}), self.states.index(self.acted)

        def units(own: Any) -> list[Any]:
            return [periods[name](own) / (2 * pi) if name in periods else 1 for name in self.states]

        def law(own: Any, *values: Any) -> tuple[Any, ...]:
            *state, push = values
            unit = units(own)
            found = self.law(own, [value * u for value, u in zip(state, unit, strict=True)])
            moved = [part / u for part, u in zip(found, unit, strict=True)]
            moved[acted] += push
            return tuple(moved)

        unit = units(SimpleNamespace(**self.parameters))
        inside = {
            "states": self.states,
            "start": tuple(value / u for value, u in zip(self.initial, unit, strict=True)),
            "angles": self.angles,
            self.kind.law: law,
        }
        return inside | ({"dt": measured.get("dt", 1.0)} if self.kind is Flow else {})

    def _delayed(self, measured: Mapping[str, Any], columns: list[Any]) -> dict[str, Any]:
        def rate(own: Any, x: Any, delayed: Any, push: Any) -> Any:
            return self.law(own, [x, delayed])[0] + push

        columns.append(("grid", int, field(default=measured.get("grid", 32))))
        return {"components": ("x",), "past": tuple(self.initial), "rate": rate}

    def law(self, own: Any, state: list[Any]) -> list[Any]:
        """Its equations at a state, with the parameters of one of our systems: numbers or symbols."""
        host = self.equations()
        values = {
            name: np.array(value) if isinstance(value, list) else getattr(own, name)
            for name, value in self.parameters.items()
        }
        host.__dict__.update(values)
        time = () if self.kind is Map else (0.0,)
        if hasattr(host, "rhs"):
            found = host.rhs(np.array(state, dtype=object), *time)
        else:
            found = host._rhs(*state, *time, *(values[name] for name in sorted(values)))
        return [
            _without_floor(part) for part in (found if isinstance(found, tuple | np.ndarray) else (found,))
        ]


def _without_floor(expression: Any) -> Any:
    """floor(x) = x - 1/2 + atan(cot(pi x)) / pi, so that only known functions remain in an expression."""
    if not hasattr(expression, "free_symbols"):
        return expression
    import sympy

    def floor(x: Any) -> Any:
        return x - 0.5 + sympy.atan(1 / sympy.tan(pi * x)) / pi

    smooth = expression.replace(sympy.Mod, lambda x, modulus: x - modulus * sympy.floor(x / modulus))
    return smooth.replace(sympy.floor, floor)


@cache
def sources() -> Mapping[str, Source]:
    """Everything dysts has a class and data for, by our name: a map whose name is taken ends in Map."""
    place = required()
    found: dict[str, Source] = {}
    for file, data in (("flows.py", "chaotic_attractors.json"), ("maps.py", "discrete_maps.json")):
        known = json.loads((place / "data" / data).read_text(encoding="utf-8"))
        for name, (kind, equations, states) in _classes(place / file).items():
            if name in known:
                ours = f"{name}Map" if name in found else name
                found[ours] = Source(ours, kind, equations, states, known[name])
    return MappingProxyType(dict(sorted(found.items())))


def _classes(file: Path) -> dict[str, tuple[type[System], type, list[str]]]:
    """The classes of a file, executed without its imports: name -> (kind, class, names of its states)."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    kinds = {"DynSys": Flow, "DynSysDelay": Delay, "DynMap": Map}
    scope: dict[str, Any] = {name: type(name, (), {}) for name in kinds}
    roots = {scope[name]: kind for name, kind in kinds.items()}
    scope |= {"np": NUMPY, "staticjit": staticmethod, "max": _by_entry(_larger)}
    exec(compile(tree, str(file), "exec"), scope)
    states: dict[str, list[str]] = {}
    for node in tree.body:
        assert isinstance(node, ast.ClassDef)
        states[node.name] = _state_names(node) or states.get(ast.unparse(node.bases[0]), [])
    return {
        name: (
            next(kind for root, kind in roots.items() if issubclass(scope[name], root)),
            scope[name],
            found,
        )
        for name, found in states.items()
    }


def _state_names(node: ast.ClassDef) -> list[str]:
    """The arguments of `_rhs`, or what `rhs` unpacks its vector into."""
    for function in node.body:
        if isinstance(function, ast.FunctionDef) and function.name == "_rhs":
            return [a.arg for a in function.args.args if a.arg != "self"]
        if isinstance(function, ast.FunctionDef) and function.name == "rhs":
            for line in function.body:
                if isinstance(line, ast.Assign) and ast.unparse(line.value) == "X":
                    return [part.strip() for part in ast.unparse(line.targets[0]).strip("()").split(",")]
    return []
