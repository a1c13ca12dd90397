"""From the gradient to the step: clipping, and the optimizer's own settings."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter


@dataclass(frozen=True, kw_only=True)
class GradientSettings:
    """What happens between a gradient and the step it causes."""

    anneal_learning_rate: bool = False
    """Whether the learning rate falls linearly to 0 at the end of training (Engstrom et al., arXiv:2005.12729)."""


def begin_update(settings: GradientSettings, optimizer: torch.optim.Optimizer) -> None:
    """Prepare the optimizer for the first step on a new batch."""
    del settings, optimizer


def treat(
    settings: GradientSettings,
    parameters: Sequence[Parameter],
    max_grad_norm: float,
    memory: dict[str, Tensor],
) -> Tensor:
    """Edit the gradients in place before the optimizer sees them; return their norm as backward() left them."""
    del settings, memory
    return torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
