"""One change of a policy, seen from outside, and the numbers that describe it."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType

import numpy as np
from torch import Tensor

from rl_lab.monitor import quantities
from rl_lab.monitor.measure.activations import Activations
from rl_lab.monitor.measure.course import Course
from rl_lab.monitor.measure.distributions import Change, Floats, Step
from rl_lab.monitor.measure.drift import Drift
from rl_lab.monitor.measure.gradients import Gradients
from rl_lab.monitor.measure.limits import NO_LIMITS, Limits
from rl_lab.monitor.measure.paid import Paid
from rl_lab.monitor.measure.path import KLPath
from rl_lab.monitor.measure.rollout import Rollout
from rl_lab.monitor.measure.visited import Visited
from rl_lab.monitor.quantities import Level


@dataclass(frozen=True, kw_only=True)
class Update:
    """pi_old collected the rollout; pi_new is the policy after the whole update.

    A part is None where the algorithm or the level has none; quantities ask for it with `given`.
    """

    step: Step | None = None
    """Both policies on all states of the rollout."""
    rollout: Rollout | None = None
    paid: Paid | None = None
    """The rewards as the environment paid them, all steps since the update before."""
    visited: Visited | None = None
    """The states of the rollout beside those of the rollouts before."""
    course: Course | None = None
    """The observations of the rollout in their order."""
    behaviour_log_ratio: Floats | None = None
    """[N] log pi(a|s) judged before the first gradient step, less what was stored when a was taken."""
    probe: Change | None = None
    """Both policies on the fixed held-out states."""
    drift: Drift | None = None
    """What the networks of an off-policy algorithm answer on those states."""
    gradients: Gradients | None = None
    path: KLPath | None = None
    """The KL after each gradient step; looking at it costs a forward pass each."""
    activations: Activations | None = None
    """What the units of the networks did on the rollout's states, after the update."""
    old_parameters: Tensor | None = None
    """All parameters before the update, flat."""
    new_parameters: Tensor | None = None
    optimizer: Tensor | None = None
    """State of the optimizer after the update, flat; moments only, not its counters."""
    limits: Limits = NO_LIMITS
    """What the rule promises."""
    logged: Mapping[str, float] = field(default_factory=dict)
    """What the algorithm logged itself, under its own names."""
    digests: Mapping[str, str | None] = field(default_factory=dict)
    """Digests of parts that are not here, under the names of measure/parts.py; None: the part is here."""


Quantity = Callable[[Update], float]


@cache
def all_quantities(level: Level = Level.FULL) -> dict[str, Quantity]:
    """Every public function in rl_lab/monitor/quantities/: its name is a column, its docstring the legend.

    It takes an Update and returns a float, or raises NotApplicable. Those of the level and below are returned.
    """
    found: dict[str, Quantity] = {}
    named: set[str] = set()
    for module in pkgutil.iter_modules(quantities.__path__):
        imported = importlib.import_module(f"{quantities.__name__}.{module.name}")
        for name, function in vars(imported).items():
            if name.startswith("_") or not _is_defined_in(imported, function):
                continue
            where = f"rl_lab/monitor/quantities/{module.name}.py: {name}"
            if not function.__doc__:
                raise TypeError(f"{where} has no docstring; it is the legend of the column {name}")
            if list(inspect.signature(function).parameters) != ["u"]:
                raise TypeError(f"{where} must take exactly one argument, the update u")
            if name in named:
                raise TypeError(f"{where} is defined twice; a column has one definition")
            named.add(name)
            if getattr(imported, "LEVEL", Level.STANDARD) <= level:
                found[name] = function
    return found


def _is_defined_in(module: ModuleType, value: object) -> bool:
    return inspect.isfunction(value) and value.__module__ == module.__name__


def measure(update: Update, level: Level = Level.STANDARD) -> dict[str, float | None]:
    """All quantities of one change; None where a quantity does not apply to this algorithm or policy."""
    row: dict[str, float | None] = {}
    with np.errstate(all="ignore"):  # a non-finite result is a finding here, not an accident
        for name, quantity in all_quantities(level).items():
            try:
                row[name] = float(quantity(update))
            except quantities.NotApplicable:
                row[name] = None
    return row
