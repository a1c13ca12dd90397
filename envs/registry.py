"""Finds the systems: one file each under envs/systems/, one class in it, checked against the contract."""

import difflib
import importlib
import inspect
import keyword
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType

import numpy as np

from envs import functions
from envs.system import ContractError, Flow, Map, System

NAMESPACE = "chaos"


@cache
def systems() -> MappingProxyType[str, type[System]]:
    """Class name -> class, in alphabetical order."""
    folder = Path(__file__).parent / "systems"
    names = sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith(("_", ".")))
    found: dict[str, type[System]] = {}
    for name in names:
        system = load(f"envs.systems.{name}", folder / f"{name}.py")
        if system.__name__ in found:
            other = inspect.getfile(found[system.__name__])
            raise ContractError.of(system, f"the name is taken by {other}")
        found[system.__name__] = system
    return MappingProxyType(dict(sorted(found.items())))


def load(module: str, file: Path) -> type[System]:
    """The one system of a file, or a ContractError that names the file."""
    try:
        loaded = importlib.import_module(module)
    except Exception as error:
        raise ContractError(f"{file}: cannot be imported: {type(error).__name__}: {error}") from error
    return system_in(loaded, file)


def system_in(module: ModuleType, file: Path) -> type[System]:
    """The one system that a module defines, checked."""
    own = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, System) and value.__module__ == module.__name__
    ]
    public = [system for system in own if not system.__name__.startswith("_")]
    if len(public) != 1:
        names = ", ".join(system.__name__ for system in public) or "none"
        raise ContractError(f"{file}: must define exactly one Flow or Map, found {names}")
    check_contract(public[0])
    return public[0]


def check_contract(system: type[System]) -> None:
    """What can be seen without calling the equations; ContractError names file, class and fault."""
    for fault in _faults(system):
        raise ContractError.of(system, fault)


def _faults(system: type[System]) -> Iterable[str]:
    if not issubclass(system, Flow | Map):
        yield "must be a Flow (rate) or a Map (image)"
    if "__dataclass_fields__" not in vars(system) or not system.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        yield "must be decorated with @dataclass(frozen=True)"
    if "Source:" not in (system.__doc__ or ""):
        yield "its docstring must state the equations and end in 'Source: ...'"
    if system.law not in vars(system) and getattr(system, system.law) in (Flow.rate, Map.image):
        yield f"has no {system.law}(self, ..., push)"
    if not system.states or not all(isinstance(s, str) and _is_name(s) for s in system.states):
        yield f"states must be a tuple of names, found {system.states!r}"
    if len(set(system.states)) != len(system.states):
        yield f"states {system.states} contains a name twice"
    if len(system.start) != len(system.states) or not np.isfinite(system.start).all():
        yield f"start must give {len(system.states)} finite numbers, found {system.start!r}"
    if not isinstance(dt := getattr(system, "dt", None), float | int) or not 0 < dt < np.inf:
        yield f"dt must be a positive number, found {dt!r}"
    if strange := set(system.angles) - set(system.states):
        yield f"angles names {', '.join(sorted(strange))}, which is no state"
    yield from _call_faults(system)
    yield from _reference_faults(system)


def _is_name(word: str) -> bool:
    """Whether generated code can use it as a variable."""
    return word.isidentifier() and not keyword.iskeyword(word) and word not in functions.NAMES


def _call_faults(system: type[System]) -> Iterable[str]:
    expected = [*system.states, "push"]
    taken = [name for name in inspect.signature(getattr(system, system.law)).parameters if name != "self"]
    if taken != expected:
        yield f"{system.law} must take ({', '.join(expected)}), found ({', '.join(taken)})"
    try:
        system()
    except TypeError:
        yield "every parameter needs a default value"
    for name in system.parameter_names():
        if not _is_name(name):
            yield f"{name} is the name of a function and cannot be a parameter's"
        if name in expected:
            yield f"{name} is both a parameter and a state"


def _reference_faults(system: type[System]) -> Iterable[str]:
    for reference in (system.reference, *system.other_references):
        if reference and not len(reference.stderrs) == len(reference.exponents) <= len(system().states):
            yield f"a reference has {len(reference.exponents)} exponents, {len(reference.stderrs)} errors"


def id_of(system: type[System]) -> str:
    """Gymnasium id of a system."""
    return f"{NAMESPACE}/{system.__name__}-v{system.version}"


def class_of(env_id: str) -> type[System]:
    """The system class behind an id (or a bare class name); ValueError with the nearest id."""
    by_id = {id_of(system): system for system in systems().values()} | dict(systems())
    if env_id not in by_id:
        raise ValueError(f"{env_id} is no chaotic task.{nearest(env_id, [i for i in by_id if '/' in i])}")
    return by_id[env_id]


def nearest(name: str, names: Iterable[str]) -> str:
    """' Did you mean ...?' and all there is, to end a sentence about an unknown name."""
    known = list(names)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f" Did you mean {close[0]}?" if close else "") + f" (There are: {', '.join(known)})"
