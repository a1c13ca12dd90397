"""The monitor without a framework: measure -> detect -> record -> act, for whatever makes policy updates."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rl_lab.monitor import provenance
from rl_lab.monitor.detector import HISTORY, Seen, new_detectors, observe_all
from rl_lab.monitor.detectors.nonfinite import NonFinite
from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.guard import Guard, Hand, new_guards
from rl_lab.monitor.hands import Unable
from rl_lab.monitor.precursors import precursors
from rl_lab.monitor.quantities import Level, NotApplicable
from rl_lab.monitor.recorder import Recorder
from rl_lab.monitor.returns import EpisodeReturns, Mean, mean_of
from rl_lab.monitor.update import Update, measure
from rl_lab.monitor.wandb_run import Wish

FIRST_EPISODES = 5
"""Episodes that stand in for a random policy where none could be run: an untrained policy is close to one."""


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
    """

    def __init__(
        self,
        out: Path | None,
        described: Mapping[str, Any],
        *,
        returns: EpisodeReturns,
        random: Mapping[str, Any] | None = None,
        level: Level = Level.STANDARD,
        guards: Iterable[str | Guard] = (),
        wandb: Wish = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.level = level
        self.returns = returns
        self.updates = 0
        self.env_steps = 0
        self.last_row: Mapping[str, Any] | None = None
        self.nonfinite: str | None = None
        """The sentence about numbers that are not finite and have not gone away since."""
        self._random = dict(random) if random is not None else None
        self._detectors = new_detectors()
        self._guards = new_guards(guards)
        self._history: deque[Mapping[str, Any]] = deque(maxlen=HISTORY)
        self._clock = time.perf_counter()
        described = {
            **described,
            "level": level.name.lower(),
            "guards": [guard.name for guard in self._guards],
            "started": provenance.now(),
            "random_return": self._random,
        }
        self.recorder = Recorder(out, described, wandb, say)

    def conclude(
        self,
        update: Update,
        *,
        env_steps: int,
        outcome: str | None = None,
        hand: Hand | None = None,
        keeps_nonfinite: bool = False,
    ) -> list[Event]:
        """Measure a change of the policy, record it, announce what the detectors find, and let the guards act.

        keeps_nonfinite: a NaN stays where it came in (a replay buffer), also after an update without one.
        """
        self.updates += 1
        self.env_steps = env_steps
        returned = self._take_returns()
        row: dict[str, Any] = {
            "update": self.updates,
            "env_steps": env_steps,
            "seconds": time.perf_counter() - self._clock,
            "outcome": outcome,
            **measure(update, self.level),
            **returned,
            # Under the algorithm's own names: they are other quantities than the monitor's.
            **update.logged,
        }
        self.last_row = row
        self.recorder.update(row)
        seen = Seen(row, tuple(self._history), self._random_mean(), update.limits, update)
        findings = observe_all(self._detectors, seen)
        self._history.append(row)
        events = self.announce(self._new(findings, keeps_nonfinite), self.updates)
        self._guard(events, update, hand or Unable())
        return events

    def announce(self, findings: Iterable[Finding], update: int) -> list[Event]:
        """Record and say what was found, each with what had warned of it."""
        findings = list(findings)
        warned = precursors(self._history) if findings and self._history else []
        events = self.recorder.announce(findings, update, self.env_steps, warned)
        for event in events:
            if event.event == NonFinite.name:
                self.nonfinite = event.sentence()
        return events

    def close(self, status: str, reason: str | None = None) -> None:
        """Write how the run ended; one that ends non-finite has collapsed."""
        if status == "diverged":
            self.announce([_ended_nonfinite()], self.updates)
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

    def _guard(self, events: Iterable[Event], update: Update, hand: Hand) -> None:
        for event in events:
            for guard in self._guards:
                if not guard.wants(event):
                    continue
                try:
                    done = guard.act(event, update, hand)
                except NotApplicable:
                    continue
                if done is not None:
                    self.recorder.announce([done], self.updates, self.env_steps, [])

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
            "episodes": self.returns.total,
        }

    def _random_mean(self) -> Mean | None:
        r = self._random
        return Mean(float(r["mean"]), float(r["stderr"]), int(r["episodes"])) if r else None


def _ended_nonfinite() -> Finding:
    return Finding(
        event="performance_collapse",
        value=1.0,
        threshold=None,
        message="the run ended with non-finite numbers",
        details={"cause": NonFinite.name},
    )
