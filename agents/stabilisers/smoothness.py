"""How strongly the policy may react to small changes of what it sees."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor

from agents.batch import Observations
from agents.distribution import Bernoulli, Categorical, Distribution, Gaussian, read
from agents.spaces import float_parts


@dataclass(frozen=True, kw_only=True)
class SmoothnessSettings:
    """The penalty on the policy's sensitivity to its observations."""

    jacobian_coef: Annotated[float, Ge(0)] = 0.0
    """Weight of the mean squared Frobenius norm of the Jacobian d(action mean, log probabilities or logits) /
    d(observation). It costs one more look at each minibatch and a pass back for every output (Hoffman et al.,
    arXiv:1908.02729)."""


def penalty(
    settings: SmoothnessSettings, policy: ActorCriticPolicy, observations: Observations
) -> Tensor | None:
    """Weighted penalty, a scalar, with its graph where gradients are on; None where none is asked."""
    if not settings.jacobian_coef:
        return None
    return settings.jacobian_coef * squared_jacobian(policy, observations).mean()


def squared_jacobian(policy: ActorCriticPolicy, observations: Observations) -> Tensor:
    """sum_kj (d y_k / d x_j)² per state, shape [B], exact: one pass back through the network per output y_k.

    y are the parameters of the action distribution that vary with the state: means, log probabilities or logits.
    x are the observations, or all parts of them, that are floats. States must not mix (batch normalisation in
    training mode mixes them). Under torch.no_grad() too; no random numbers are used.

    Source: Hoffman et al., Robust Learning with Jacobian Regularization (arXiv:1908.02729), whose projections are
    random where ours are the unit vectors: policies have few outputs.
    """
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        seen, inputs = _watched(observations)
        outputs = varying(read(policy.get_distribution(seen)))
        total = torch.zeros(len(outputs), dtype=outputs.dtype, device=outputs.device)
        for output in outputs.unbind(-1):
            rows = torch.autograd.grad(
                output.sum(), inputs, create_graph=graph, retain_graph=True, materialize_grads=True
            )
            total = total + sum(row.square().flatten(1).sum(1) for row in rows)
    return total


def varying(distribution: Distribution) -> Tensor:
    """Return means, log probabilities or logits in one tensor [B, outputs]."""
    match distribution:
        case Gaussian():
            return distribution.mean
        case Categorical():
            return torch.cat(distribution.log_probs, -1)
        case Bernoulli():
            return distribution.logits
        case _:
            raise TypeError(f"no smoothness is known for {type(distribution).__name__}")


def check(settings: SmoothnessSettings, space: spaces.Space[Any]) -> None:
    """ValueError: a Jacobian is asked for, and these observations have none."""
    if settings.jacobian_coef and not float_parts(space):
        raise ValueError(
            f"jacobian_coef needs observations that are floats, and the observation space is {space}"
        )


def _watched(observations: Observations) -> tuple[Observations, list[Tensor]]:
    """Return the observations with new leaves for all parts that are floats, and these leaves."""
    if isinstance(observations, Tensor):
        leaf = observations.detach().requires_grad_()
        return leaf, [leaf]
    parts = {
        name: part.detach().requires_grad_() if part.is_floating_point() else part
        for name, part in observations.items()
    }
    return parts, [part for part in parts.values() if part.requires_grad]
