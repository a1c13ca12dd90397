"""One change of a policy, seen from outside, and the numbers that describe it."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from torch import Tensor

from rl_lab.monitor import quantities
from rl_lab.monitor.distributions import Step
from rl_lab.monitor.gradients import Gradients
from rl_lab.monitor.rollout import Rollout


class Change(Protocol):
    """What quantities and detectors may ask of a change; what it cannot tell raises NotApplicable."""

    @property
    def step(self) -> Step:
        """The policies before and after on the same states."""

    @property
    def rollout(self) -> Rollout:
        """The states, and what was done and paid in them."""

    @property
    def gradients(self) -> Gradients:
        """Norms of the gradients that made it."""

    @property
    def old_parameters(self) -> Tensor:
        """All parameters before it, flat."""

    @property
    def new_parameters(self) -> Tensor:
        """All parameters after it, flat."""


@dataclass(frozen=True)
class Update:
    """pi_old collected the rollout; pi_new is the policy after the whole update."""

    step: Step
    rollout: Rollout
    gradients: Gradients
    old_parameters: Tensor
    """All parameters before the update, flat."""
    new_parameters: Tensor


Quantity = Callable[[Change], float]


@cache
def all_quantities() -> dict[str, Quantity]:
    """Every public function in rl_lab/monitor/quantities/: its name is a column, its docstring the legend.

    It takes a Change and returns a float, or raises NotApplicable.
    """
    found: dict[str, Quantity] = {}
    for module in pkgutil.iter_modules(quantities.__path__):
        imported = importlib.import_module(f"{quantities.__name__}.{module.name}")
        for name in _functions(inspect.getsource(imported)):
            function = getattr(imported, name)
            where = f"rl_lab/monitor/quantities/{module.name}.py: {name}"
            if not function.__doc__:
                raise TypeError(f"{where} has no docstring; it is the legend of the column {name}")
            if list(inspect.signature(function).parameters) != ["u"]:
                raise TypeError(f"{where} must take exactly one argument, the update u")
            if name in found:
                raise TypeError(f"{where} is defined twice; a column has one definition")
            found[name] = function
    return found


def _functions(source: str) -> list[str]:
    """Public functions in the order in which the file defines them."""
    body = ast.parse(source).body
    return [n.name for n in body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]


def measure(update: Change) -> dict[str, float | None]:
    """All quantities of one change; None where a quantity does not apply to this algorithm or policy."""
    row: dict[str, float | None] = {}
    with np.errstate(all="ignore"):  # a non-finite result is a finding here, not an accident
        for name, quantity in all_quantities().items():
            try:
                row[name] = float(quantity(update))
            except quantities.NotApplicable:
                row[name] = None
    return row
