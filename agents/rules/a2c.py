"""A2C: one plain gradient step on each short rollout."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt

from agents.policy_gradient import PolicyGradientRule


@dataclass(frozen=True, kw_only=True)
class A2C(PolicyGradientRule):
    """maximise  A log pi(a|s),  written as  ratio A  at ratio 1, where both have the same gradient.

    One RMSprop step over the whole rollout; bit-identical to stable-baselines3.

    Source: Mnih et al., Asynchronous Methods for Deep Reinforcement Learning (arXiv:1602.01783), synchronous.
    """

    trust_region: ClassVar[str] = "none, but one gradient step per rollout"
    host_defaults: ClassVar[Mapping[str, object]] = {"n_steps": 5, "gae_lambda": 1.0}
    optimizer: ClassVar[tuple[type[torch.optim.Optimizer], Mapping[str, float]]] = (
        torch.optim.RMSprop,
        {"alpha": 0.99, "eps": 1e-5, "weight_decay": 0.0},
    )

    learning_rate: Annotated[float, Gt(0)] = 7e-4
    """Step size of RMSprop."""
    normalize_advantage: bool = False
    """Whether advantages are shifted and scaled to mean 0 and deviation 1 where they are used."""
    # One pass in one piece is what makes it A2C, so these two are no settings here.
    n_epochs: int = field(default=1, init=False)
    batch_size: int = field(default=sys.maxsize, init=False)
