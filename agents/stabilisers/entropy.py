"""How much an entropy bonus weighs, and when."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class EntropySettings:
    """The course of the entropy bonus."""


def coefficient(
    settings: EntropySettings,
    ent_coef: float,
    entropies: Tensor,
    memory: dict[str, Tensor],
    progress_remaining: float,
) -> float | Tensor:
    """Weight of the mean entropy in what is maximised, given the entropies [B] of a minibatch."""
    del settings, entropies, memory, progress_remaining
    return ent_coef
