"""TRPO: the natural gradient, as far as the exact mean KL allows and no further."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Lt

from agents.natural_gradient import NaturalGradientRule, Trial, backtrack


@dataclass(frozen=True, kw_only=True)
class TRPO(NaturalGradientRule):
    """maximise  mean(ratio A)  subject to  mean_s KL(pi_old || pi_new) <= max_kl.

    The KL is exact and summed over action dimensions. s = F⁻¹ g by conjugate gradient, full step
    sqrt(2 max_kl / s'Fs) s, then backtracking until the constraint holds and the surrogate improves. Where
    no trial succeeds the policy's parameters stay as they were, bit for bit.

    Source: Schulman et al., Trust Region Policy Optimization (arXiv:1502.05477), appendix C.
    """

    trust_region: ClassVar[str] = (
        "line search: mean KL(old||new), summed over action dimensions, at most max_kl"
    )

    line_search_shrink: Annotated[float, Gt(0), Lt(1)] = 0.5
    """Each trial step is this fraction of the one before."""
    line_search_trials: Annotated[int, Ge(1)] = 10
    """Trials before the update is rejected."""

    def choose(self, trial: Callable[[float], Trial], surrogate: float) -> float | None:
        """Backtrack from the full step."""
        return backtrack(trial, self.max_kl, surrogate, self.line_search_shrink, self.line_search_trials)
