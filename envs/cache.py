"""Where generated code lives: one directory per system, written once, shared by all processes.

The name of a directory holds a hash of everything its content depends on, so nothing in it ever goes stale,
and numba keeps its machine code beside the source. On a hit sympy is never imported.
"""

import atexit
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.system import System


def root() -> Path:
    """`RL_LAB_CACHE`, or `rl-lab` in the user's cache directory (XDG_CACHE_HOME, else ~/.cache)."""
    if chosen := os.environ.get("RL_LAB_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rl-lab"


def module(system: "System", kind: str) -> ModuleType:
    """The generated module `kind` ("kernels": numba, "tensors": torch) of a system."""
    return _load(_directory(system) / f"{kind}.py")


def text(system: "System", kind: str) -> str:
    """The generated text `kind` ("latex") of a system."""
    return (_directory(system) / f"{kind}.txt").read_text(encoding="utf-8")


@cache
def _load(path: Path) -> ModuleType:
    name = f"rl_lab_generated.{path.parent.name}.{path.stem}".replace("-", "_")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def _directory(system: "System") -> Path:
    """Parameters are arguments of the generated code; structure (fields that are no float) is part of it."""
    names = system.parameter_names()
    structure = tuple((f.name, getattr(system, f.name)) for f in fields(system) if f.name not in names)
    # mypy takes the hash of a class for the hash of its instances
    return _made(type(system), structure, root())  # type: ignore[arg-type]


@cache
def _made(cls: Callable[..., "System"], structure: tuple[tuple[str, Any], ...], parent: Path) -> Path:
    system = cls(**dict(structure))
    name = f"{type(system).__name__}-{_hash(system, structure)}"
    try:
        return _write(system, parent / name)
    except OSError as error:
        warnings.warn(
            f"generated code cannot be kept in {parent} ({error.strerror or error}): "
            "it is compiled anew for this process; set RL_LAB_CACHE to a writable directory",
            stacklevel=2,
        )
        return _write(system, Path(_temporary()) / name)


def _hash(system: "System", structure: tuple[tuple[str, Any], ...]) -> str:
    """Of the system's equations, its structure, the generator and the compilers."""
    here, name = Path(__file__).parent, type(system).__qualname__
    compiled_in = (here / f"{stem}.py" for stem in ("elementary", "interval", "gram_schmidt"))
    generators = sorted([*here.glob("*codegen.py"), *here.glob("*templates.py"), *compiled_in])
    digest = hashlib.sha256(repr((name, structure, version("numba"), version("sympy"))).encode())
    for part in (*_equations(system), *(file.read_bytes() for file in generators)):
        digest.update(part)
    return digest.hexdigest()[:16]


def _equations(system: "System") -> list[bytes]:
    """The files that state them; for a class typed in a notebook or made in a function, what they say."""
    modules = {base.__module__ for base in type(system).__mro__} - {"builtins", "envs.system"}
    files = [getattr(sys.modules[name], "__file__", None) for name in sorted(modules)]
    if None in files or "<locals>" in type(system).__qualname__:
        from envs import codegen

        return [repr(codegen.trace(system)).encode()]
    return [Path(str(file)).read_bytes() for file in files]


def _write(system: "System", target: Path) -> Path:
    """Fill a private directory and rename it: others see all or nothing; who comes second discards his."""
    if target.is_dir():
        if not os.access(target, os.W_OK):
            raise PermissionError(13, "not writable", str(target))
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    private = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for filename, content in _generated(system).items():
            (private / filename).write_text(content, encoding="utf-8")
        private.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return target


def _generated(system: "System") -> dict[str, str]:
    """By the kind's own `generate`, if it has one (delay equations, lattices)."""
    if own := getattr(system, "generate", None):
        return dict(own())
    from envs import codegen

    return codegen.generate(system)


@cache
def _temporary() -> str:
    directory = tempfile.mkdtemp(prefix="rl-lab-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
