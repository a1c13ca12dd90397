"""What the optimiser did: gradients before clipping, and the length of the step taken."""

from typing import TYPE_CHECKING

from rl_lab.monitor.quantities import NotApplicable, given

if TYPE_CHECKING:
    from torch import Tensor

    from rl_lab.monitor.update import Update


def gradient_norm(u: "Update") -> float:
    """Mean over minibatches of the gradient's L2 norm before clipping; missing where the policy's
    gradient does not go through backward(), as TRPO's."""
    return _norm(u, "all", "mean")


def gradient_norm_max(u: "Update") -> float:
    """Largest gradient norm of any minibatch before clipping; missing where the policy's
    gradient does not go through backward(), as TRPO's."""
    return _norm(u, "all", "max")


def gradient_norm_policy(u: "Update") -> float:
    """Mean gradient norm before clipping of the policy's parameters (shared ones included)."""
    return _norm(u, "policy", "mean")


def gradient_norm_value(u: "Update") -> float:
    """Mean gradient norm before clipping of what only the value function uses."""
    return _norm(u, "value", "mean")


def minibatches(u: "Update") -> float:
    """Gradient steps in this update, counted as complete backward passes."""
    return float(len(given(u.gradients).norms))


def step_norm(u: "Update") -> float:
    """L2 norm of the change of all parameters, |theta_new - theta_old|."""
    return _length(given(u.new_parameters) - given(u.old_parameters))


def relative_step(u: "Update") -> float:
    """step_norm / |theta_old|."""
    return _length(given(u.new_parameters) - given(u.old_parameters)) / _length(given(u.old_parameters))


def _length(vector: "Tensor") -> float:
    return float(vector.cpu().double().norm())


def _norm(u: "Update", part: str, how: str) -> float:
    norms = given(u.gradients).total(part)
    # Of an update that moves the policy by other means (TRPO) the norm of the rest is not the norm of the whole.
    if not len(norms) or (part == "all" and not len(given(u.gradients).total("policy"))):
        raise NotApplicable
    return float(norms.max() if how == "max" else norms.mean())
