"""How much the entropy bonus weighs: always the same, less and less, or as much as a target entropy needs."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class EntropySettings:
    """The course of the entropy bonus."""

    entropy: Literal["fixed", "annealed", "target"] = "fixed"
    """`fixed`: ent_coef. `annealed`: ent_coef falls linearly to 0 at the end of training. `target`: a PI controller
    holds the entropy at target_entropy, from below and from above (after EntroPIC, arXiv:2511.15248)."""
    target_entropy: float | None = None
    """What the controller holds, in nats, summed over action dimensions. None: the first minibatch's entropy less half
    its size (a Gaussian begins at 1.42 per dimension, where half of it is a deviation of 0.49; n choices begin near
    log n)."""
    entropy_kp: Annotated[float, Ge(0)] = 0.3
    """Proportional gain: weight of the bonus per nat that the entropy is too low."""
    entropy_ki: Annotated[float, Ge(0)] = 0.02
    """Integral gain: what each update adds to that weight per nat too low."""
    entropy_limits: tuple[Annotated[float, Le(0)], Annotated[float, Gt(0)]] = (-2.0, 2.0)
    """Between what the weight of the bonus stays, and its integral part too; 0 below: high entropy is not punished."""


def coefficient(
    settings: EntropySettings,
    ent_coef: float,
    entropies: Tensor,
    memory: dict[str, Tensor],
    progress_remaining: float,
) -> float | Tensor:
    """Weight of the mean entropy in what is maximised during one update, given the entropies [B] at its start.

    `target`: ent_coef + Kp e + I, within limits, where e = target - mean entropy and I <- I + Ki e within the same,
    so that an entropy that could not be reached for long does not have to be paid for as long. Positive where the
    entropy is too low.

    Source: Yang et al., EntroPIC (arXiv:2511.15248), whose controller weighs samples by the sign of their
    advantage; here it weighs the entropy itself.
    """
    match settings.entropy:
        case "fixed":
            return ent_coef
        case "annealed":
            return ent_coef * progress_remaining
    present, limits = entropies.detach().mean(), settings.entropy_limits
    if "entropy_target" not in memory:
        target = settings.target_entropy
        memory["entropy_target"] = (
            present - 0.5 * present.abs() if target is None else torch.full_like(present, target)
        )
    error = memory["entropy_target"] - present
    integral = memory.get("entropy_integral", torch.zeros_like(present)) + settings.entropy_ki * error
    memory["entropy_integral"] = integral.clamp(*limits)
    weight = ent_coef + settings.entropy_kp * error + memory["entropy_integral"]
    return weight.clamp(*limits)
