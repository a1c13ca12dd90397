"""The monitor without a framework: measure -> detect -> record -> act, for whatever makes policy updates."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rl_lab.monitor.act.guarding import Guarding
from rl_lab.monitor.act.hands import Onlooker
from rl_lab.monitor.detect.precursors import precursors_of
from rl_lab.monitor.detector import HISTORY, Seen, new_detectors, observe_all
from rl_lab.monitor.detectors.nonfinite import NonFinite
from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.guard import Guard, Hand, new_guards
from rl_lab.monitor.measure import digest
from rl_lab.monitor.measure.course import Courses
from rl_lab.monitor.measure.paid import Paid, paid_of
from rl_lab.monitor.measure.parts import CHAIN
from rl_lab.monitor.measure.returns import EpisodeReturns, Mean, mean_of
from rl_lab.monitor.measure.update import Update, measure
from rl_lab.monitor.measure.visited import Visits
from rl_lab.monitor.quantities import Level
from rl_lab.monitor.record import provenance
from rl_lab.monitor.record.incident import Bounds, Incidents
from rl_lab.monitor.record.incident_files import Scene
from rl_lab.monitor.record.recorder import Recorder
from rl_lab.monitor.record.wandb_run import Wish

FIRST_EPISODES = 5
"""Episodes that stand in for a random policy where none could be run: an untrained policy is close to one."""

STATE = (
    "returns", "updates", "env_steps", "nonfinite", "_nonfinite_at", "stopped", "_random", "_taken_back", "_visits",
    "_courses",
)  # fmt: skip
"""Attributes of an observer that change from update to update, as they are."""


class Observer:
    """Judges and records the updates of one run.

    Args:
        out: the run directory; default runs/<time>-<env>-<agent>-s<seed> in the working directory.
        described: entries of the manifest: env, agent, seed, steps, ...
        returns: what counts the episodes.
        random: return of a random policy, {"mean", "stderr", "episodes", "how"}; None: the first episodes.
        level: how much is measured.
        guards: what to do about events, by name or made by the user.
        wandb, say: as of DivergenceMonitor.
        incidents: how many of the updates that can be done again are kept; None: none.
        before: what `state` returned, of the run in `out` that goes on; None: a new one begins.
    """

    def __init__(
        self,
        out: Path | None,
        described: Mapping[str, Any],
        *,
        returns: EpisodeReturns,
        random: Mapping[str, Any] | None = None,
        level: Level = Level.STANDARD,
        guards: Iterable[str | Guard | Mapping[str, Any]] = (),
        wandb: Wish = None,
        say: Callable[[str], None] | None = None,
        incidents: Bounds | None = None,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        self.level = level
        self.returns = returns
        self.updates = 0
        self.env_steps = 0
        self.last_row: Mapping[str, Any] | None = None
        self.nonfinite: str | None = None
        """The sentence about numbers that are not finite and have not gone away since."""
        self._nonfinite_at = 0
        """The update of the last such event; there may never have been that update."""
        self.stopped: str | None = None
        """Why a guard wants training to end at its next step; None: it may go on."""
        self._random = dict(random) if random is not None else None
        self._detectors = new_detectors()
        watchmen = new_guards(guards)
        self._taken_back = False
        self._digests = digest.Series()
        self._visits = Visits()
        self._courses = Courses()
        self._history: deque[Mapping[str, Any]] = deque(maxlen=HISTORY)
        self._clock = time.perf_counter()
        described = {
            "machine": provenance.machine(),
            **described,
            "level": level.name.lower(),
            "guards": [guard.described() for guard in watchmen],
            "started": provenance.now(),
            "random_return": self._random,
        }
        self.recorder = Recorder(out, described, wandb, say, before["recorder"] if before else None)
        self._incidents = Incidents(
            self.recorder.path, _run(self.recorder.path, described), incidents, self.recorder.say
        )
        self._guarding = Guarding(watchmen, self._announce_guard, self.recorder.say)
        if before is not None:
            self._go_on_from(before)

    def state(self) -> dict[str, Any]:
        """What the records of the next updates depend on, between an update and the rollout after it.

        Not the updates that incidents remember: they may be larger than everything else together, and without them
        only the incident of a collapse that has begun before may be missing. The history is in updates.jsonl.
        """
        return {
            **{name: getattr(self, name) for name in STATE},
            "seconds": time.perf_counter() - self._clock,
            "chain": self._digests.chain,
            "history": [row["update"] for row in self._history],
            "detectors": {one.name: one for one in self._detectors},
            "guarding": self._guarding.state(),
            "incidents": self._incidents.state(),
            "recorder": self.recorder.state(),
        }

    def _go_on_from(self, before: Mapping[str, Any]) -> None:
        """ValueError: it is of another version, with other detectors or guards."""
        for name in STATE:
            setattr(self, name, before[name])
        self._clock = time.perf_counter() - before["seconds"]
        self._digests.chain = before["chain"]
        rows = {row.get("update"): row for row in self.recorder.rows()}
        self._history.extend(rows[update] for update in before["history"])
        self.last_row = rows.get(self.updates)
        for place, fresh in enumerate(self._detectors):
            kept = before["detectors"].get(fresh.name)
            if type(kept) is not type(fresh) or not vars(fresh).keys() <= vars(kept).keys():
                raise ValueError(f"the detector {fresh.name} was another one then")
            self._detectors[place] = kept
        self._guarding.go_on_from(before["guarding"], self.recorder.path)
        self._incidents.go_on_from(before["incidents"])

    def conclude(
        self,
        update: Update,
        *,
        env_steps: int,
        outcome: str | None = None,
        hand: Hand | None = None,
        keeps_nonfinite: bool = False,
        scene: Scene | None = None,
    ) -> list[Event]:
        """Measure a change of the policy, record it, announce what the detectors find, and let the guards act.

        keeps_nonfinite: a NaN stays where it came in (a replay buffer), also after an update without one.
        scene: the change as it can be made again; None where it cannot.
        """
        self.updates += 1
        self.env_steps = env_steps
        returned = self._take_returns()
        update = replace(
            update,
            paid=self._paid(update),
            visited=self._visits.follow(update.rollout),
            course=self._courses.follow(update.rollout),
        )
        digests = self._digests.columns(update)
        row: dict[str, Any] = {
            "update": self.updates,
            "env_steps": env_steps,
            "seconds": time.perf_counter() - self._clock,
            "outcome": outcome,
            # The update before this one was taken back by a guard: no measure of what is normal.
            "taken_back": 1 if self._taken_back else None,
            **measure(update, self.level),
            **returned,
            # Under the algorithm's own names: they are other quantities than the monitor's.
            **update.logged,
            **digests,
            CHAIN: self._digests.link(digests),
        }
        # Numbers as a reader of the record finds them: of numpy's own, float32 would calculate otherwise.
        row = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
        self.last_row, self._taken_back = row, False
        self.recorder.update(row)
        self._incidents.saw(self.updates, row, scene)
        seen = Seen(row, tuple(self._history), self._random_mean(), update.limits, update)
        findings = observe_all(self._detectors, seen)
        self._history.append(row)
        hand = hand or Onlooker(self)
        events = self.announce(self._new(findings, keeps_nonfinite), self.updates, update, hand)
        if hand.took_back:
            self._take_back()
        return events

    def announce(
        self,
        findings: Iterable[Finding],
        update: int,
        change: Update | None = None,
        hand: Hand | None = None,
    ) -> list[Event]:
        """Record and say what was found, each with what had warned of it, and let the guards act.

        change: the update that it was found in; None while there is none, as in the rollout before it.
        """
        findings = self._incidents.keep(list(findings), sum(self.recorder.events.values()) + 1, update)
        warned = [precursors_of(f.event, f.details, update, tuple(self._history)) for f in findings]
        events = self.recorder.announce(findings, update, self.env_steps, warned)
        for event in events:
            if event.event == NonFinite.name:
                self.nonfinite, self._nonfinite_at = event.sentence(), update
        self._guarding.answer(events, change, hand or Onlooker(self))
        return events

    def broke(self, findings: Iterable[Finding], scene: Scene, hand: Hand) -> None:
        """An update did not come to its end: announce what made it break, if it was a number that is not finite."""
        self._incidents.saw(self.updates + 1, {}, scene)
        if self.nonfinite is None:
            self.announce(findings, self.updates + 1, hand=hand)
        self._guarding.forget()

    def go_on(self) -> None:
        """Whoever trains again wants the run to go on, whatever it was that ended or interrupted it."""
        self.stopped = None
        self._courses = Courses()  # an unfinished rollout may lie between
        self._guarding.forget()
        if not self.recorder.is_open:
            self.recorder.go_on()

    def close(self, status: str, reason: str | None = None) -> None:
        """Write how the run ended; one that ends non-finite has collapsed."""
        if status == "diverged":
            self.announce([_ended_nonfinite()], max(self.updates, self._nonfinite_at))
        self._guarding.forget()
        if status == "done":
            reason = reason or self.stopped
        smooth = self.returns.smooth()
        self.recorder.close(
            status,
            reason,
            return_final=smooth.mean if smooth else None,
            updates=self.updates,
            env_steps=self.env_steps,
        )

    def _new(self, findings: list[Finding], keeps_nonfinite: bool) -> list[Finding]:
        """What follows from a NaN that was announced when it came is not announced again."""
        nonfinite = [f for f in findings if f.event == NonFinite.name]
        if self.nonfinite is not None:
            findings = [f for f in findings if f.event != NonFinite.name]
        if not nonfinite and not keeps_nonfinite:
            self.nonfinite = None  # what an update has survived is over
        return findings

    def _announce_guard(self, did: Finding, because: Event) -> Event:
        (event,) = self.recorder.announce([did], because.update, self.env_steps)
        return event

    def _take_back(self) -> None:
        """A guard has undone the last update: what it was like is no measure for those to come."""
        self._history.pop()
        self._incidents.undone()
        self._taken_back = True
        self.nonfinite = None

    def _take_returns(self) -> dict[str, Any]:
        """The columns about episodes; the first episodes become the reference where there is no better one."""
        fresh, smooth = self.returns.take(), self.returns.smooth()
        if self._random is None and smooth is not None and smooth.episodes >= FIRST_EPISODES:
            self._random = {**smooth.__dict__, "how": "first episodes"}
            self.recorder.note(random_return=self._random)
        return {
            "return_mean": mean_of([episode.paid for episode in fresh]).mean if fresh else None,
            "return_smooth": smooth.mean if smooth else None,
            "return_stderr": smooth.stderr if smooth and smooth.episodes > 1 else None,
            "length_mean": mean_of([episode.length for episode in fresh]).mean if fresh else None,
            # Unknown, and not 0, where nobody tells of steps or episodes.
            "episodes": self.returns.total if self.returns.payments.is_told or self.returns.total else None,
        }

    def _paid(self, update: Update) -> Paid | None:
        payments, rollout = self.returns.payments, update.rollout
        if not payments.is_told and rollout is not None and rollout.rewards is not None:
            return paid_of(rollout.rewards)
        return payments.take()

    def _random_mean(self) -> Mean | None:
        r = self._random
        return Mean(float(r["mean"]), float(r["stderr"]), int(r["episodes"])) if r else None


def _run(path: Path, described: Mapping[str, Any]) -> dict[str, Any]:
    """What an incident says of the run that it comes from."""
    named = {name: described.get(name) for name in ("env", "agent", "seed")}
    return {"run_id": described.get("run_id", path.name), **named}


def _ended_nonfinite() -> Finding:
    return Finding(
        event="performance_collapse",
        value=1.0,
        threshold=None,
        message="the run ended with non-finite numbers",
        details={"cause": NonFinite.name},
    )
