"""From the gradient to the step: what is added to it, how it is clipped, and the optimizer's own settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor
from torch.nn import Parameter

Decay = Annotated[float, Ge(0), Lt(1)]
"""What a moving average keeps of itself at each step."""

START = "initial_parameters"
"""Where the memory keeps all parameters as they were before the first update, in one vector."""


@dataclass(frozen=True, kw_only=True)
class GradientSettings:
    """What happens between a gradient and the optimizer's step.

    A natural-gradient rule moves its policy without an optimizer: there all this is about the value function.
    """

    anneal_learning_rate: bool = False
    """Whether the learning rate falls linearly to 0 at the end of training (Engstrom et al., arXiv:2005.12729)."""
    l2_init: Annotated[float, Ge(0)] = 0.0
    """Weight of |theta - theta_start|² in every loss that the optimizer descends (Kumar et al., arXiv:2308.11958);
    under a natural-gradient rule only the value function descends one."""
    clip_spikes: bool = False
    """Whether AdaClip scales entries down that exceed the usual largest entry of their tensor, before the norm is
    looked at (Stable-SPAM, Huang et al., arXiv:2502.17055)."""
    spike_decay: Annotated[float, Gt(0), Lt(1)] = 0.999
    """Decay of the moving average that says what AdaClip takes for usual."""
    gradient_norm: Literal["clipped", "adaptive"] = "clipped"
    """`clipped`: the whole gradient is scaled down to max_grad_norm. `adaptive`: AdaGN instead, each tensor at its
    usual norm in units of its root mean square norm, about 1 (Stable-SPAM); max_grad_norm is not used then."""
    norm_decays: tuple[Decay, Decay] = (0.7, 0.9)
    """Decays of AdaGN's moving averages of the norm and of its square."""
    adam_betas: tuple[Decay, Decay] | None = None
    """Adam's decays of the gradient and of its square; None: the rule's. Equal ones, (0.99, 0.99), bound the step
    that a sudden gradient causes (Dohare et al., EWRL 2023)."""
    adam_reset: bool = False
    """Adam-Rel: whether Adam counts its steps from 0 again at each new batch, and keeps its moments (Ellis et al.,
    arXiv:2412.17113)."""


def optimizer_kwargs(
    settings: GradientSettings, optimizer: type[torch.optim.Optimizer], given: Mapping[str, float]
) -> dict[str, Any]:
    """Return the settings of a rule's optimizer besides the learning rate.

    ValueError: something of Adam's is asked of another optimizer.
    """
    asked = [name for name in ("adam_betas", "adam_reset") if getattr(settings, name)]
    if asked and not issubclass(optimizer, torch.optim.Adam):
        raise ValueError(f"{asked[0]} is about Adam, and this rule steps with {optimizer.__name__}")
    betas = {} if settings.adam_betas is None else {"betas": settings.adam_betas}
    return {**given, **betas}


def begin_update(
    settings: GradientSettings,
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[Parameter],
    memory: dict[str, Tensor],
) -> None:
    """Prepare for the first step on a new batch."""
    if settings.adam_reset:
        for state in optimizer.state.values():
            state["step"] = torch.zeros_like(state["step"])
    if settings.l2_init and START not in memory:
        memory[START] = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])


def treat(
    settings: GradientSettings,
    parameters: Sequence[Parameter],
    max_grad_norm: float,
    memory: dict[str, Tensor],
) -> Tensor:
    """Edit the gradients in place before the optimizer sees them; those that are None stay None.

    `parameters` are all of the policy, so that a tensor keeps its place in the memory. Returns the norm of the
    gradient (pull included, spikes clipped) before it was scaled; it is not finite where an entry is not.
    """
    if settings.l2_init:
        pull(settings.l2_init, parameters, memory[START])
    adaptive = settings.gradient_norm == "adaptive"
    if not settings.clip_spikes and not adaptive:
        return torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)

    places = [i for i, parameter in enumerate(parameters) if parameter.grad is not None]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]

    def average(name: str, values: Tensor, decay: float) -> Tensor:
        kept = memory.get(name, torch.zeros(2, len(parameters), dtype=torch.float64, device=values.device))
        memory[name] = moving_average(kept, places, values, decay)
        return corrected(memory[name][:, places], decay)

    if settings.clip_spikes:
        largest = torch.stack([gradient.abs().max() for gradient in gradients]).double()
        thresholds = average("gradient_spikes", largest, settings.spike_decay)
        for gradient, threshold in zip(gradients, thresholds.to(gradients[0].dtype), strict=True):
            gradient.copy_(without_spikes(gradient, threshold))
    if not adaptive:
        return torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)

    norms = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients])
    mean = average("gradient_norms", norms.double(), settings.norm_decays[0])
    square = average("gradient_square_norms", norms.double() ** 2, settings.norm_decays[1])
    for gradient, factor in zip(gradients, rescaling(norms, mean, square), strict=True):
        gradient.mul_(factor)
    whole: Tensor = torch.linalg.vector_norm(norms)
    return whole


def pull(weight: float, parameters: Sequence[Parameter], start: Tensor) -> None:
    """Add the gradient of  weight |theta - start|²  to the gradients that are there."""
    pieces = torch.split(start, [parameter.numel() for parameter in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        if parameter.grad is not None:
            parameter.grad.add_(parameter.detach() - piece.view_as(parameter), alpha=2 * weight)


def moving_average(kept: Tensor, places: Sequence[int], values: Tensor, decay: float) -> Tensor:
    """Return averages and counts [2, P], where those at `places` have taken in one more value each."""
    new = kept.clone()
    new[0, places] = decay * kept[0, places] + (1 - decay) * values
    new[1, places] += 1
    return new


def corrected(kept: Tensor, decay: float) -> Tensor:
    """average / (1 - decay^count): what [2, P] says without the zeros it began with, shape [P]."""
    return kept[0] / (1 - decay ** kept[1])


def without_spikes(gradient: Tensor, threshold: Tensor) -> Tensor:
    """AdaClip: entries with |g_i| > threshold become  g_i threshold / max|g|.

    So the largest of them ends at the threshold, the others below. A tensor has one threshold: the moving
    average of its max|g|, this step's included.

    Source: Huang et al., Stable-SPAM (arXiv:2502.17055), section 4.
    """
    size = gradient.abs()
    return torch.where(size > threshold, gradient * (threshold / size.max()), gradient)


def rescaling(norms: Tensor, mean: Tensor, square: Tensor) -> Tensor:
    """AdaGN: what each gradient is multiplied by,  (1/n) mean / (sqrt(square) + 1e-8); 1 where n = 0.

    `mean` and `square` are the moving averages of n and n², this step's included; all shapes [P].

    Source: Huang et al., Stable-SPAM (arXiv:2502.17055), section 4.
    """
    usual = (mean / (square.sqrt() + 1e-8)).to(norms.dtype)
    return torch.where(norms > 0, usual / norms, torch.ones_like(norms))
