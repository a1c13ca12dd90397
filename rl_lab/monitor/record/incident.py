"""Incidents: the updates worth doing again, each in a directory of its own, within a bound of number and size.

Every `kl_spike`, `nonfinite` and `performance_collapse` of an on-policy algorithm writes
`incidents/<number of the event>-<event>/` into the run directory (see incident_files); `rl-lab replay` does the update
again. Off-policy algorithms write none: one of their updates is thousands of gradient steps on a replay buffer that
no incident could hold.

A collapse of performance is seen long after the update that caused it, so the last updates are remembered. Of those
between the best return and the first sign of the fall, the one with the largest KL is kept: only they lie between the
policy that could do the task and the one that could not, and what an update may lose is bounded by its KL (Schulman
et al., arXiv:1502.05477, theorem 1).
"""

import math
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rl_lab.monitor.event import Finding
from rl_lab.monitor.record.incident_files import Scene, write_incident

FOLDER = "incidents"
NAME = re.compile(r"(\d+)-(\w+)")
"""Number of the event and its name."""
UNFINISHED = ".unfinished-"
"""How the name of a directory begins that is being written, or was when its writer was killed."""
KINDS = ("kl_spike", "nonfinite", "performance_collapse")
BAD = ("nonfinite", "performance_collapse")
SPAN = 10
"""Updates that a run must go on for without such an event for an incident to have been healthy."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much is kept. The first incident of each kind is never thrown away."""

    count: int = 20
    """Incidents in a run."""
    size: int = 256 * 2**20
    """Bytes of all of them."""
    memory: int = 64 * 2**20
    """Bytes of memory for the updates among which the cause of a collapse is looked for."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be a whole number of at least 0, got {value!r}")


KEPT = Bounds()
"""If nothing else is said."""


@dataclass(frozen=True)
class Remembered:
    """One update and what was recorded of it."""

    update: int
    row: Mapping[str, Any]
    """Empty where train() did not come to its end."""
    scene: Scene
    nbytes: int


@dataclass(frozen=True)
class Kept:
    """One incident on the disk."""

    name: str
    kind: str
    update: int
    """When its event was seen."""
    nbytes: int


class Incidents:
    """Writes the incidents of one run.

    Args:
        run: the run directory.
        described: what every incident says of its run: run_id, env, agent, seed.
        bounds: how much is kept; None: nothing.
        say: what to do with a sentence.
    """

    def __init__(
        self, run: Path, described: Mapping[str, Any], bounds: Bounds | None, say: Callable[[str], None]
    ) -> None:
        self._folder, self._described, self._say = run / FOLDER, described, say
        self._wanted, self._bounds = bounds is not None, bounds or KEPT
        self._now: Remembered | None = None
        self._ring: deque[Remembered] = deque()
        self._kept: list[Kept] = []
        self._firsts: dict[str, str] = {}
        self._bad: list[int] = []
        self._owed: tuple[int, Finding, int] | None = None
        """A NaN that an environment returned, and the update that is going to learn from it."""
        self._complained = False

    def state(self) -> dict[str, Any]:
        """What is kept on the disk; the updates that are remembered are no part of it."""
        return {
            "kept": [vars(one) for one in self._kept],
            "firsts": dict(self._firsts),
            "bad": list(self._bad),
            "complained": self._complained,
        }

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Go on with those; a name that is no incident's is not one of them, and nobody throws it away."""
        self._kept = [Kept(**one) for one in state["kept"] if NAME.fullmatch(one["name"])]
        self._firsts = {kind: name for kind, name in state["firsts"].items() if NAME.fullmatch(name)}
        self._bad, self._complained = list(state["bad"]), state["complained"]

    def saw(self, update: int, row: Mapping[str, Any], scene: Scene | None) -> None:
        """An update is over; remember it, as far as there is memory."""
        self._now, owed, self._owed = None, self._owed, None
        if scene is None or not self._wanted:
            return
        if scene.unfit is not None:
            self._complain(
                f"updates of this algorithm cannot be kept as incidents ({scene.unfit}); training goes on"
            )
            return
        self._now = Remembered(update, row, scene, scene.nbytes())
        self._ring.append(self._now)
        held = sum(one.nbytes for one in self._ring)
        while held > self._bounds.memory:
            held -= self._ring.popleft().nbytes
        if owed is not None and owed[2] == update:
            self._keep_one(owed[0], owed[1], (owed[1],), update)

    def undone(self) -> None:
        """A guard has taken the last update back: it cannot be the cause of anything."""
        if self._ring and self._ring[-1] is self._now:
            self._ring.pop()

    def keep(self, findings: Sequence[Finding], first_id: int, update: int) -> list[Finding]:
        """Write what these findings of an update call for; each then names its directory in its details.

        They will be events with the numbers first_id, first_id + 1, ...
        """
        self._bad += [update for finding in findings if finding.event in BAD]
        named = []
        for number, finding in enumerate(findings, first_id):
            name = self._keep_one(number, finding, findings, update) if finding.event in KINDS else None
            details = {**finding.details, "incident": f"{FOLDER}/{name}"}
            named.append(finding if name is None else replace(finding, details=details))
        return named

    def _keep_one(
        self, number: int, finding: Finding, findings: Sequence[Finding], update: int
    ) -> str | None:
        if finding.details.get("cause") == "nonfinite":  # the run ended so: what made it has been kept
            return next((one.name for one in reversed(self._kept) if one.kind == "nonfinite"), None)
        if self._now is None or self._now.update != update:  # found in a rollout: no update has seen it yet
            self._owed = (number, finding, update) if finding.event == "nonfinite" else None
            return None
        culprit, why = self._culprit(finding)
        if culprit is None:
            return None
        name = f"{number}-{finding.event}"
        told = {
            **self._described,
            "event": {"id": number, "update": update, **_words(finding), "details": dict(finding.details)},
            "update": culprit.update,
            "why_this_update": why,
            "record": culprit.row,
            "events": [_words(other) for other in findings],
        }
        # What is in memory is less than what is written, and spares the writing of what is too much already.
        nbytes = self._write(name, culprit, told, update) if self._fits(name, culprit.nbytes) else None
        if nbytes is None:
            return None
        self._firsts.setdefault(finding.event, name)
        self._kept.append(Kept(name, finding.event, update, nbytes))
        return name

    def _culprit(self, finding: Finding) -> tuple[Remembered | None, str | None]:
        """The update to keep, and why it is another than the present one."""
        onset = finding.details.get("onset_update")
        if finding.event != "performance_collapse" or onset is None:
            return self._now, None
        found = suspects(self._ring, int(onset))
        if not found:
            self._say(
                f"the updates before the collapse at update {onset} are no longer remembered, "
                "so there is no incident of it; a larger Bounds(memory=...) remembers more"
            )
            return None, None
        worst = max(found, key=lambda one: _kl(one.row))
        return worst, (
            f"of the {len(found)} remembered updates between the best return and the fall at update {onset}, "
            f"the one with the largest KL ({_kl(worst.row):.3g} nats)"
        )

    def _fits(self, name: str, nbytes: int) -> bool:
        """Whether there can be room for one more beside the first of each kind."""
        bounds = self._bounds
        firsts = [one for one in self._kept if self._firsts[one.kind] == one.name]
        if len(firsts) >= bounds.count or sum(one.nbytes for one in firsts) + nbytes > bounds.size:
            self._complain(
                f"incidents/{name} was not written: it takes {nbytes / 2**20:.1f} MiB, and a run keeps "
                f"{bounds.count} incidents in {bounds.size / 2**20:.0f} MiB, the first of each kind always; "
                "DivergenceMonitor(incidents=Bounds(count=..., size=...)) keeps more"
            )
            return False
        return True

    def _make_room(self, nbytes: int, update: int) -> None:
        """Throw away until one more fits, which it can: the oldest healthy first, the first of a kind never."""
        bounds = self._bounds
        while len(self._kept) >= bounds.count or sum(o.nbytes for o in self._kept) + nbytes > bounds.size:
            others = [one for one in self._kept if self._firsts[one.kind] != one.name]
            victim = min(others, key=lambda one: not self._is_healthy(one, update))  # min keeps the oldest
            self._kept.remove(victim)
            self._throw_away(self._folder / victim.name)

    def _is_healthy(self, incident: Kept, now: int) -> bool:
        """Whether the run is known to have gone on well after it."""
        until = incident.update + SPAN
        return now >= until and not any(incident.update <= bad <= until for bad in self._bad)

    def _write(self, name: str, one: Remembered, told: Mapping[str, Any], update: int) -> int | None:
        """Write an incident and make room for it; its bytes on the disk, or None if it is not kept.

        Under another name first: a process that is killed leaves a whole incident or none, and nothing is thrown
        away for one that cannot be written.
        """
        unfinished = self._folder / f"{UNFINISHED}{name}"
        try:
            unfinished.mkdir(parents=True)
            write_incident(unfinished, one.scene, told)
            nbytes = sum(file.stat().st_size for file in unfinished.iterdir())
            if not self._fits(name, nbytes):
                shutil.rmtree(unfinished, ignore_errors=True)
                return None
            self._make_room(nbytes, update)
            os.replace(unfinished, self._folder / name)
        except (
            Exception
        ) as error:  # a full disk, or a policy of a kind that nobody thought of: training goes on
            shutil.rmtree(unfinished, ignore_errors=True)
            self._complain(f"incidents/{name} could not be written ({error}); training goes on")
            return None
        return nbytes

    def _throw_away(self, path: Path) -> None:
        unfinished = path.with_name(f"{UNFINISHED}{path.name}")
        try:
            os.replace(path, unfinished)
        except OSError:  # somebody moved it
            return
        shutil.rmtree(unfinished, ignore_errors=True)

    def _complain(self, sentence: str) -> None:
        """Once is enough."""
        if not self._complained:
            self._complained = True
            self._say(sentence)


def suspects(remembered: Sequence[Remembered], onset: int) -> list[Remembered]:
    """Of the updates that are remembered those that can have caused a fall first seen at update `onset`.

    The record of an update holds the return of the policy before it, so these are the updates from the one that
    has the best return in its record to the last before the onset.
    """
    before = [one for one in remembered if one.update < onset] or [
        one for one in remembered if one.update == onset
    ]
    if not before:
        return []
    best = max(before, key=lambda one: (_return(one.row), one.update))
    return [one for one in before if one.update >= best.update]


def _return(row: Mapping[str, Any]) -> float:
    value = row.get("return_smooth")
    return -math.inf if value is None or math.isnan(value) else float(value)


def _kl(row: Mapping[str, Any]) -> float:
    """The KL of an update; infinite where it is no number."""
    value = row.get("kl_mean")
    return math.inf if value is None or math.isnan(value) else float(value)


def _words(finding: Finding) -> dict[str, Any]:
    return {
        "event": finding.event,
        "value": finding.value,
        "threshold": finding.threshold,
        "message": finding.message,
        "epoch": finding.epoch,
        "minibatch": finding.minibatch,
    }
