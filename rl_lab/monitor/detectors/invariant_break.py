"""A broken invariant: the policy that learns is not the one that acted, or it learns more often than it did."""

import math

from rl_lab.monitor.detect.usual import Lasting
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding

ROUNDING = 1e-5
"""Relative rounding of an action's mean: a forward pass through a few layers of some hundred float32 units, summed in
another order, is off by sqrt(width) depth 2^-24, about 1e-6 to 1e-5."""
SIGMAS = 5.0
"""Standard deviations from the mean at which the farthest sample of a rollout may lie."""
LEAST = 0.01
"""|log ratio| below which nothing is said: it moves an objective that clips at 0.1 to 0.3 by next to nothing."""
UPDATES = 10
"""Updates in a row with the same number of gradient steps that make it the number of this run. A rule that may stop
early has none, however often it stopped at the same step: where the KL is limited, nothing is said of them."""
MORE = 2.0
"""Times that number."""


def tolerance(log_std_min: float | None) -> float:
    """Largest |log ratio| that rounding explains: max(0.01, 5 sigma x 1e-5 / std).

    d log pi / d mean = (a - mean) / std^2 is 5 / std for a sample five deviations out, and it is this that multiplies
    the rounding of the mean. A categorical policy's log-probabilities have the rounding itself.
    """
    return LEAST if log_std_min is None else max(LEAST, SIGMAS * ROUNDING * math.exp(min(-log_std_min, 50.0)))


class InvariantBreak(Detector):
    """Judges first_ratio_error, which is 0 in exact arithmetic, and gradient_steps, where they never varied."""

    name = "invariant_break"

    def __init__(self) -> None:
        self._start, self._steps = Lasting(), Lasting()

    def observe(self, seen: Seen) -> list[Finding]:
        """Each break once, until the invariant has held again."""
        return self._start.new(_of_start(seen)) + self._steps.new(_of_steps(seen))


def _of_start(seen: Seen) -> Finding | None:
    error = seen.row.get("first_ratio_error")
    if error is None or math.isnan(error):
        return None
    # The policy that acted is the one that the update before left behind.
    threshold = tolerance((seen.history[-1] if seen.history else seen.row).get("log_std_min"))
    if error <= threshold:
        return None
    kl = seen.row.get("first_kl")
    told = "" if kl is None else f" and a KL of {kl:.2g} nats"
    return Finding(
        event=InvariantBreak.name,
        value=error,
        threshold=threshold,
        message=f"before the first gradient step a log ratio is off by {error:.3g}{told}, where both should be 0: "
        "stale log-probabilities, other observations or another network than the one that acted",
        minibatch=0,
        epoch=0,
        details={"quantity": "first_ratio_error", "first_kl": kl},
    )


def _of_steps(seen: Seen) -> Finding | None:
    if seen.limits.kl is not None:
        return None  # ten that stopped at step 2 do not make 5 too many
    steps, before = (
        seen.row.get("gradient_steps"),
        [row.get("gradient_steps") for row in seen.history[-UPDATES:]],
    )
    usual = before[-1] if len(before) == UPDATES and len(set(before)) == 1 else None
    if steps is None or usual is None or steps < MORE * usual:
        return None
    return Finding(
        event=InvariantBreak.name,
        value=steps,
        threshold=MORE * usual,
        message=f"{steps:.0f} gradient steps on one rollout, where every update took {usual:.0f}",
        details={"quantity": "gradient_steps"},
    )
