"""How a room finds what lies in one of its folders: a new detector or guard is one new file and no other edit."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

Member = TypeVar("Member")


def classes_in(folder: ModuleType, kind: type[Member]) -> list[type[Member]]:
    """One class of this kind from every file of the folder; TypeError names a file that has not exactly one."""
    found: list[type[Member]] = []
    for module in pkgutil.iter_modules(folder.__path__):
        imported = importlib.import_module(f"{folder.__name__}.{module.name}")
        classes = [
            c
            for _, c in inspect.getmembers(imported, inspect.isclass)
            if issubclass(c, kind) and c.__module__ == imported.__name__
        ]
        if len(classes) != 1 or not isinstance(getattr(classes[0], "name", None), str):
            where = f"{folder.__name__.replace('.', '/')}/{module.name}.py"
            raise TypeError(f"{where} must hold exactly one {kind.__name__} with a name")
        found.append(classes[0])
    return found
