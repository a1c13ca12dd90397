"""Where the update went in the space of all parameters."""

from typing import TYPE_CHECKING

from rl_lab.monitor.measure.numbers import length
from rl_lab.monitor.quantities import Level, NotApplicable, given

if TYPE_CHECKING:
    from rl_lab.monitor.measure.update import Update

LEVEL = Level.LIGHT


def step_norm(u: "Update") -> float:
    """L2 norm of the change of all parameters, |theta_new - theta_old|."""
    return length(given(u.new_parameters) - given(u.old_parameters))


def relative_step(u: "Update") -> float:
    """step_norm / |theta_old|."""
    whole = length(given(u.old_parameters))
    if whole == 0:
        raise NotApplicable
    return length(given(u.new_parameters) - given(u.old_parameters)) / whole


def weight_norm(u: "Update") -> float:
    """L2 norm of all parameters after the update, |theta_new|."""
    return length(given(u.new_parameters))
