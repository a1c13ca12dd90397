"""The laboratory needs the checkout's own `envs` and `agents`; the wheel ships rl_lab alone."""

import importlib
from pathlib import Path
from types import ModuleType

import rl_lab
from rl_lab.errors import UserError


def room(name: str) -> ModuleType:
    """Import `envs` or `agents` of this checkout, or say in one sentence why that is not possible."""
    home = Path(rl_lab.__file__).resolve().parents[1]
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UserError(
            f"this command needs the rl-lab checkout, and there is no package {name} beside {home / 'rl_lab'}; "
            "clone the repository and run `pip install -e .` in it"
        ) from error
    found = Path(module.__file__ or "/").resolve().parents[1]
    if found != home:
        raise UserError(
            f"this command needs rl-lab's own package {name}, but Python finds another one in {found / name}; "
            f"run it from another directory, or from the checkout {home}"
        )
    return module
