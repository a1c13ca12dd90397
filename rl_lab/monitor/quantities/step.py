"""What the optimizer did: gradients before clipping, steps, and its moments afterwards."""

from typing import TYPE_CHECKING

from rl_lab.monitor.measure.numbers import length
from rl_lab.monitor.quantities import NotApplicable, given

if TYPE_CHECKING:
    from rl_lab.monitor.measure.distributions import Floats
    from rl_lab.monitor.measure.update import Update


def gradient_norm(u: "Update") -> float:
    """Mean over minibatches of the gradient's L2 norm before clipping; missing where the policy's
    gradient does not go through backward(), as TRPO's."""
    return float(_norms(u, "all").mean())


def gradient_norm_max(u: "Update") -> float:
    """Largest gradient norm of any minibatch before clipping; missing where the policy's
    gradient does not go through backward(), as TRPO's."""
    return float(_norms(u, "all").max())


def gradient_norm_policy(u: "Update") -> float:
    """Mean gradient norm before clipping of the policy's parameters (shared ones included)."""
    return float(_norms(u, "policy").mean())


def gradient_norm_policy_max(u: "Update") -> float:
    """Largest gradient norm of any minibatch before clipping, of the policy's parameters (shared ones included)."""
    return float(_norms(u, "policy").max())


def gradient_norm_value(u: "Update") -> float:
    """Mean gradient norm before clipping of what only the value function uses."""
    return float(_norms(u, "value").mean())


def gradient_norm_value_max(u: "Update") -> float:
    """Largest gradient norm of any minibatch before clipping, of what only the value function uses."""
    return float(_norms(u, "value").max())


def gradient_clipped_share(u: "Update") -> float:
    """Share of minibatches whose gradient was longer than the rule's max_grad_norm, and was clipped to it [0..1];
    missing where the rule has no such limit."""
    limit = given(u.limits.max_grad_norm)
    return float((~(_norms(u, "all") <= limit)).mean())  # a NaN is not within any limit


def minibatches(u: "Update") -> float:
    """Gradients in this update, counted as complete backward passes."""
    return float(len(given(u.gradients).norms))


def gradient_steps(u: "Update") -> float:
    """Steps that the optimizer took in this update: fewer than usual where the rule stopped early."""
    return float(given(u.path).total)


def epochs(u: "Update") -> float:
    """Passes over the rollout that those steps make; missing where the length of a pass is not known."""
    path = given(u.path)
    return path.total / given(path.steps_per_epoch)


def optimizer_norm(u: "Update") -> float:
    """L2 norm of the optimizer's moments after the update; Adam's first moments, in units of the gradient, and second
    ones, of its square, together."""
    return length(given(u.optimizer))


def _norms(u: "Update", part: str) -> "Floats":
    gradients = given(u.gradients)
    norms = gradients.total(part)
    # Of an update that moves the policy by other means (TRPO) the norm of the rest is not the norm of the whole.
    if not len(norms) or (part == "all" and not len(gradients.total("policy"))):
        raise NotApplicable
    return norms
