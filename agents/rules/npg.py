"""NPG: the natural gradient at full length, whatever divergence that turns out to be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from agents.natural_gradient import NaturalGradientRule, Trial


@dataclass(frozen=True, kw_only=True)
class NPG(NaturalGradientRule):
    """maximise  mean(ratio A)  along  s = F⁻¹ g  by the step  sqrt(2 max_kl / s'Fs) s.

    F has the damping in it, so the quadratic model's KL is below max_kl; the true one is whatever it turns out to
    be. The control arm of trpo: whatever
    separates the two is the work of the line search.

    Source: Kakade, A Natural Policy Gradient (NIPS 2001); step length of Duan et al. (arXiv:1604.06778), TNPG.
    """

    trust_region: ClassVar[str] = "step length: the damped quadratic model of mean KL(old||new) equals max_kl"

    def choose(self, trial: Callable[[float], Trial], surrogate: float) -> float | None:
        """Take the whole step."""
        del trial, surrogate
        return 1.0
