"""A broken invariant: before the first gradient step the policy that learns is not the one that acted."""

import math

from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding
from rl_lab.monitor.usual import Lasting

ROUNDING = 1e-5
"""Relative rounding of an action's mean: a forward pass through a few layers of some hundred float32 units, summed in
another order, is off by sqrt(width) depth 2^-24, about 1e-6 to 1e-5."""
SIGMAS = 5.0
"""Standard deviations from the mean at which the farthest sample of a rollout may lie."""
LEAST = 0.01
"""|log ratio| below which nothing is said: it moves an objective that clips at 0.1 to 0.3 by next to nothing."""


def tolerance(log_std_min: float | None) -> float:
    """Largest |log ratio| that rounding explains: max(0.01, 5 sigma x 1e-5 / std).

    d log pi / d mean = (a - mean) / std^2 is 5 / std for a sample five deviations out, and it is this that multiplies
    the rounding of the mean. A categorical policy's log-probabilities have the rounding itself.
    """
    return LEAST if log_std_min is None else max(LEAST, SIGMAS * ROUNDING * math.exp(min(-log_std_min, 50.0)))


class InvariantBreak(Detector):
    """Judges first_ratio_error: stale log-probabilities, a skipped normaliser, or two programs that disagree."""

    name = "invariant_break"

    def __init__(self) -> None:
        self._lasting = Lasting()

    def observe(self, seen: Seen) -> list[Finding]:
        """Ratio 1 and KL 0 hold exactly in exact arithmetic, so a break is one update beyond rounding."""
        error = seen.row.get("first_ratio_error")
        if error is None or math.isnan(error):
            return []
        # The policy that acted is the one that the update before left behind.
        acted = (seen.history[-1] if seen.history else seen.row).get("log_std_min")
        threshold = tolerance(acted)
        if not self._lasting.begins(error > threshold):
            return []
        kl = seen.row.get("first_kl")
        told = "" if kl is None else f" and a KL of {kl:.2g} nats"
        return [
            Finding(
                event=self.name,
                value=error,
                threshold=threshold,
                message=f"before the first gradient step a log ratio is off by {error:.3g}{told}, where both should be "
                "0: stale log-probabilities, other observations or another network than the one that acted",
                minibatch=0,
                epoch=0,
                details={"first_kl": kl},
            )
        ]
