"""Finds the systems, one file each under envs/systems/, checked against the contract, and names the tasks."""

import difflib
import importlib
import inspect
import keyword
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from envs import functions
from envs.published import Published, published
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
        raise ContractError(f"{file}: must define exactly one system, found {names}")
    check_contract(public[0])
    return public[0]


def check_contract(system: type[System]) -> None:
    """What can be seen without calling the equations; ContractError names file, class and fault."""
    for fault in _faults(system):
        raise ContractError.of(system, fault)


def _faults(system: type[System]) -> Iterable[str]:
    if not isinstance(getattr(system, "kind", None), str):
        yield "must be a Flow (rate), a Map (image) or another kind of system"
    if "__dataclass_fields__" not in vars(system) or not system.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        yield "must be decorated with @dataclass(frozen=True)"
    if "Source:" not in (system.__doc__ or ""):
        yield "its docstring must state the equations and end in 'Source: ...'"
    if getattr(system, system.law, None) in (None, Flow.rate, Map.image):
        yield f"has no {system.law}(self, ..., push)"
    try:
        made = system()
    except TypeError:
        yield "every parameter needs a default value"
        return
    yield from _state_faults(made)
    yield from _call_faults(made)
    for reference in (made.reference, *made.other_references):
        if reference and len(reference.exponents) > len(made.states):
            yield f"reference must give at most {len(made.states)} exponents, found {len(reference.exponents)}"
        if reference and len(reference.stderrs) != len(reference.exponents):
            yield f"reference must give one stderr or {len(reference.exponents)}, found {len(reference.stderrs)}"


def _state_faults(made: System) -> Iterable[str]:
    if not made.states or not all(isinstance(s, str) and _is_name(s) for s in made.states):
        yield f"states must be a tuple of names, found {made.states!r}"
    if len(set(made.states)) != len(made.states):
        yield f"states {made.states} contains a name twice"
    if len(made.start) != len(made.states) or not np.isfinite(made.start).all():
        yield f"start must give {len(made.states)} finite numbers, found {made.start!r}"
    if not isinstance(dt := getattr(made, "dt", None), float | int) or not 0 < dt < np.inf:
        yield f"dt must be a positive number, found {dt!r}"
    if strange := set(made.angles) - set(made.states):
        yield f"angles names {', '.join(sorted(strange))}, which is no state"


def _is_name(word: str) -> bool:
    """Whether generated code can use it as a variable."""
    return word.isidentifier() and not keyword.iskeyword(word) and word not in functions.NAMES


def _call_faults(made: System) -> Iterable[str]:
    expected = made.arguments
    taken = tuple(n for n in inspect.signature(getattr(type(made), made.law)).parameters if n != "self")
    if expected and taken != expected:
        yield f"{made.law} must take ({', '.join(expected)}), found ({', '.join(taken)})"
    for name in made.parameter_names():
        if not _is_name(name):
            yield f"{name} is the name of a function and cannot be a parameter's"
        if name in expected:
            yield f"{name} is both a parameter and a state"


def id_of(system: type[System]) -> str:
    """Gymnasium id of a system."""
    return f"{system.namespace}/{system.__name__}-v{system.version}"


@dataclass(frozen=True)
class Entry:
    """What an id stands for: a system, and settings of it where the task is somebody's published one."""

    id: str
    system: type[System]
    settings: Mapping[str, Any]
    published: Published | None = None


@cache
def entries() -> MappingProxyType[str, Entry]:
    """Id -> entry of every chaotic task: the systems' own, then those of the literature."""
    found = {id_of(system): Entry(id_of(system), system, {}) for system in systems().values()}
    for task in published().values():
        name = f"{NAMESPACE}/{task.name}-v{task.version}"
        if task.system not in systems() or name in found or task.name in systems():
            raise ContractError(f"envs/published: {task.name}: its system is unknown, or its name is taken")
        found[name] = Entry(name, systems()[task.system], task.settings, task)
    return MappingProxyType(found)


def entry(env_id: str) -> Entry:
    """What is behind an id (or the bare name of a system or task); ValueError with the nearest id."""
    known = entries()
    if env_id in known:
        return known[env_id]
    from envs import adapters

    if (adapted := adapters.system_class(env_id)) is not None:
        return Entry(env_id, adapted, {})
    named = [e for e in known.values() if env_id == e.id.split("/")[1].rpartition("-v")[0]]
    if not named:
        raise ValueError(f"{env_id} is no chaotic task.{nearest(env_id, known)}")
    return named[0]


def nearest(name: str, names: Iterable[str]) -> str:
    """' Did you mean ...?' and all there is, to end a sentence about an unknown name."""
    known = list(names)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (f" Did you mean {close[0]}?" if close else "") + f" (There are: {', '.join(known)})"
