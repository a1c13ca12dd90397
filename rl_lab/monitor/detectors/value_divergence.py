"""A value divergence: the value function and the returns that it should predict have parted."""

import math

from rl_lab.monitor.detect.usual import LEAST, WINDOW, Lasting, median
from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding

OUTGROWN = 3.0
"""Times the returns. Targets made of discounted values and rewards cannot be that much smaller than the values for
long, unless the values run away from them; after a fall of the return they are for an update or two."""
DIED = 0.1
"""Share of the returns, and of what the values usually were, below which the value function has died."""
WORSE = -1.0
"""Explained variance: errors twice as large, in variance, as those of predicting the mean."""
MATTERS = 0.5
"""Errors relative to the returns below which explained variance says nothing: returns that are all alike have hardly
any variance to explain."""
LONG = 3
"""Updates in a row."""


class ValueDivergence(Detector):
    """Judges value_scale against return_scale, and explained_variance where the errors matter."""

    name = "value_divergence"

    def __init__(self) -> None:
        self._lasting = Lasting(begins=LONG)

    def observe(self, seen: Seen) -> list[Finding]:
        """At most one finding, once it has lasted for three updates."""
        values, returns = seen.row.get("value_scale"), seen.row.get("return_scale")
        if values is None or returns is None or not (math.isfinite(values) and returns > 0):
            return []
        finding = _outgrown(values, returns) or _dead(seen, values, returns) or _wrong(seen, returns)
        return self._lasting.new(finding)


def _outgrown(values: float, returns: float) -> Finding | None:
    if values <= OUTGROWN * returns:
        return None
    return _finding(
        values,
        OUTGROWN * returns,
        f"values of {values:.3g} where the returns are {returns:.3g}",
        "value_scale",
    )


def _dead(seen: Seen, values: float, returns: float) -> Finding | None:
    if values >= DIED * returns:
        return None
    before = seen.before("value_scale", WINDOW)
    if len(before) < LEAST or values >= DIED * median(before[: -LONG + 1]):
        return None
    message = (
        f"values of {values:.3g} where the returns are {returns:.3g} and values were {median(before):.3g}"
    )
    return _finding(values, DIED * returns, message, "value_scale")


def _wrong(seen: Seen, returns: float) -> Finding | None:
    explained, error = seen.row.get("explained_variance"), seen.row.get("advantage_scale")
    if explained is None or error is None or not explained < WORSE or error < MATTERS * returns:
        return None
    message = (
        f"explained variance {explained:.3g}: values off by {error:.3g} where the returns are {returns:.3g}"
    )
    return _finding(explained, WORSE, message, "explained_variance")


def _finding(value: float, threshold: float, message: str, quantity: str) -> Finding:
    return Finding(
        event=ValueDivergence.name,
        value=value,
        threshold=threshold,
        message=f"{message}, for {LONG} updates",
        details={"quantity": quantity},
    )
