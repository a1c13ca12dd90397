"""What a detector is given and must be, and how the room finds all of them."""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rl_lab.monitor import detectors
from rl_lab.monitor.detect.standing import Standing
from rl_lab.monitor.detect.usual import Lasting, Shift
from rl_lab.monitor.event import Finding
from rl_lab.monitor.folder import classes_in
from rl_lab.monitor.measure.limits import NO_LIMITS, Limits
from rl_lab.monitor.measure.returns import WINDOW, Mean
from rl_lab.monitor.measure.update import Update
from rl_lab.monitor.quantities import NotApplicable

HISTORY = 64
"""Updates that are remembered."""
FOLLOWERS = (Lasting, Shift, Standing)
"""What detectors keep their state in."""


@dataclass(frozen=True)
class Seen:
    """Everything known after one update; what a detector decides by is in the rows, so that recorded runs can be
    judged again (`judge`), and `update` is for what it tells beside."""

    row: Mapping[str, Any]
    """The update's record: every quantity by name."""
    history: Sequence[Mapping[str, Any]] = ()
    """The records before it, the newest last; at most HISTORY of them."""
    random: Mean | None = None
    """Return of a random policy on this task."""
    limits: Limits = NO_LIMITS
    """What the update rule promises."""
    update: Update | None = None
    """The change itself; None where a recorded run is judged again."""

    @property
    def smooth(self) -> Mean | None:
        """The smoothed return so far."""
        mean, error = self.row.get("return_smooth"), self.row.get("return_stderr")
        if mean is None:
            return None
        return Mean(mean, math.inf if error is None else error, min(WINDOW, self.episodes))

    @property
    def episodes(self) -> int:
        """Episodes ended since the run began."""
        return int(self.row.get("episodes") or 0)

    def before(self, quantity: str, most: int = HISTORY) -> list[float]:
        """Finite values of a quantity in so many updates before this one, the newest last."""
        values = [row.get(quantity) for row in self.history[-most:]]
        return [v for v in values if v is not None and math.isfinite(v)]


class Detector(ABC):
    """Sees every update in order and says what it finds; one instance watches one run."""

    name: ClassVar[str]
    """The event it announces."""
    is_undone: ClassVar[bool] = True
    """Whether it forgets an update that a guard has taken back; then it also announces anew what comes back."""
    _kept: Mapping[str, Any] | None = None

    def watch(self, seen: Seen) -> list[Finding]:
        """observe, less what it has learned from the update before where that was taken back.

        Only the next row tells that it was, so that the state from before each update is kept for one more; it must
        be made of what `_copied` copies, and of what never changes.
        """
        if self.is_undone:
            if seen.row.get("taken_back") and self._kept is not None:
                vars(self).update(self._kept)
            self._kept = _copied({k: v for k, v in vars(self).items() if k != "_kept"})
        return self.observe(seen)

    @abstractmethod
    def observe(self, seen: Seen) -> list[Finding]:
        """Findings of this update, usually none. NotApplicable: it cannot be asked of this algorithm."""


def _copied(state: Any) -> Any:
    """A copy of what changes: of dicts, lists, and of Lasting, Shift and Standing; copy.deepcopy would cost more than
    all detectors together."""
    if isinstance(state, dict):
        return {name: _copied(value) for name, value in state.items()}
    if isinstance(state, list):
        return [_copied(value) for value in state]
    if isinstance(state, FOLLOWERS):
        other = object.__new__(type(state))
        vars(other).update(_copied(vars(state)))
        return other
    return state


def observe_all(detectors: Iterable[Detector], seen: Seen) -> list[Finding]:
    """What all of them find, less those that have nothing to say of such an algorithm."""
    findings: list[Finding] = []
    for detector in detectors:
        try:
            findings += detector.watch(seen)
        except NotApplicable:
            continue
    return findings


def judge(
    rows: Iterable[Mapping[str, Any]], random: Mean | None = None, limits: Limits | None = None
) -> list[tuple[int, Finding]]:
    """What the detectors find in recorded rows, each with its update; as they did, or would have, in training.

    As there, what follows from numbers that are not finite is not announced again until an update has none, or it was
    taken back. The rows do not tell what the rule promised at each of them: one constant `limits` is used for all, so
    that a clip_range or a target KL on a schedule is not judged as it was in training.
    """
    watching, history, was_broken = new_detectors(), deque[Mapping[str, Any]](maxlen=HISTORY), False
    found: list[tuple[int, Finding]] = []
    for row in rows:
        if row.get("taken_back") and history:  # a guard has undone the update before: it is no measure
            history.pop()
            was_broken = False
        seen = Seen(row, tuple(history), random, limits or NO_LIMITS)
        findings = observe_all(watching, seen)
        broken = [finding for finding in findings if finding.event == "nonfinite"]
        told = [finding for finding in findings if not (was_broken and finding in broken)]
        found += [(int(row["update"]), finding) for finding in told]
        was_broken = bool(broken)
        history.append(row)
    return found


def new_detectors() -> list[Detector]:
    """One fresh instance of every detector in rl_lab/monitor/detectors/."""
    return [found() for found in classes_in(detectors, Detector)]  # type: ignore[type-abstract]
