"""Where rows and findings go: the run directory, W&B, and one line of text each."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from rl_lab.monitor.detect.precursors import Precursor
from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.record import provenance
from rl_lab.monitor.record.run_directory import (
    RunDirectoryError,
    RunWriter,
    process_identity,
    read_run,
    untaken,
)
from rl_lab.monitor.record.wandb_run import WandbRun, Wish, open_run


class Recorder:
    """Records one run, from its manifest to how it ended."""

    def __init__(
        self,
        path: Path | None,
        described: Mapping[str, Any],
        wandb: Wish,
        say: Callable[[str], None] | None,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        """`before`: what `state` returned, of the run at the path that goes on; None: a new one begins."""
        self._say = say or _print
        self._complained = False
        self._wandb_wish: Wish = wandb
        self._wandb: WandbRun | None = None
        self.events: dict[str, int] = dict(before["events"]) if before else {}
        begins = {
            "status": "running",
            "reason": None,
            "ended": None,
            "process": process_identity(os.getpid()),
            "return_final": None,
        }
        if before is not None and path is not None:
            self._writer = RunWriter(path, begins, goes_on=True)
            self._begin_wandb(before["wandb"])
            return
        self._writer = _open_writer(
            path,
            {
                **described,
                **begins,
                "git": provenance.git(),
                "versions": provenance.versions(),
                "updates": 0,
                "env_steps": 0,
                "events": {},
                "wandb": None,
            },
        )
        self._begin_wandb()

    def state(self) -> dict[str, Any]:
        """What has been counted so far."""
        return {
            "events": dict(self.events),
            "wandb": self._wandb.counts() if self._wandb is not None else None,
        }

    def rows(self) -> list[dict[str, Any]]:
        """The updates that are on the disk."""
        return read_run(self.path).updates

    def sync(self) -> None:
        """Wait until the disk has all lines."""
        with self._whatever_the_disk_does():
            self._writer.sync()

    def say(self, text: str) -> None:
        """One line of text for people; that nobody can be told, as through a closed pipe, stops no training."""
        with suppress(Exception):
            self._say(text)

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._writer.path

    @property
    def is_open(self) -> bool:
        """Whether the run still goes on."""
        return bool(self._writer.manifest["status"] == "running")

    def go_on(self) -> None:
        """Open again a run that had ended: learn() was called once more."""
        self._writer.reopen()
        self.note(status="running", ended=None)
        self._begin_wandb()

    def note(self, **changes: Any) -> None:
        """Change entries of the manifest."""
        with self._whatever_the_disk_does():
            self._writer.save_manifest(**changes)

    def update(self, row: Mapping[str, Any]) -> None:
        """Record one update, under the same keys everywhere."""
        with self._whatever_the_disk_does():
            self._writer.update(row)
        if self._wandb is not None:
            self._wandb.update(row)

    def announce(
        self,
        findings: Iterable[Finding],
        update: int,
        env_steps: int,
        precursors: Sequence[Sequence[Precursor]] = (),
    ) -> list[Event]:
        """Give findings their place, and record and say them; the events are on disk when this returns, if it has room.

        precursors: of each finding in turn; none of those that it is too short for.
        """
        events = []
        for finding, warned in zip(findings, chain(precursors, repeat(())), strict=False):
            event = Event(
                **finding.__dict__,
                id=sum(self.events.values()) + 1,
                run=self._writer.manifest["run_id"],
                update=update,
                env_steps=env_steps,
                precursors=tuple(warned),
            )
            self.events[event.event] = self.events.get(event.event, 0) + 1
            with self._whatever_the_disk_does():
                self._writer.event(event.row())
            if self._wandb is not None:
                self._wandb.event(event, self.events[event.event])
            self.say(event.sentence())
            events.append(event)
        return events

    def alert(self, event: Event, text: str) -> bool:
        """Send an alert about the event to W&B; False where there is no run to send it to."""
        return self._wandb is not None and self._wandb.alert(event, text)

    def close(self, status: str, reason: str | None, **final: Any) -> None:
        """Write how the run ended; `final` is what the manifest says of the whole run."""
        self.note(status=status, reason=reason, ended=provenance.now(), events=self.events, **final)
        with self._whatever_the_disk_does():
            self._writer.close()
        if self._wandb is not None:
            returned = final.get("return_final")
            self._wandb.finish(status, {} if returned is None else {"return_final": returned})
        self.say(f"{status}: {final.get('updates')} updates in {self.path}")

    def _begin_wandb(self, counts: Mapping[str, Any] | None = None) -> None:
        self._wandb = open_run(self._wandb_wish, self._writer.path, self._writer.manifest, self._wandb)
        if self._wandb is not None:
            if counts is not None:
                self._wandb.go_on_from(counts)
            self.note(wandb=self._wandb.describe(self.path))

    @contextmanager
    def _whatever_the_disk_does(self) -> Iterator[None]:
        """A disk that is full costs lines of the record, and one sentence; never the training."""
        try:
            yield
        except OSError as error:
            if not self._complained:
                self._complained = True
                self.say(
                    f"{self.path}: cannot write there ({error.strerror or error}); training goes on, "
                    "its record may have gaps"
                )


def _open_writer(path: Path | None, manifest: Mapping[str, Any]) -> RunWriter:
    """At the path, or else at the first default path that nobody else has taken meanwhile."""
    if path is not None:
        return RunWriter(path, {"run_id": path.name, **manifest})
    arguments = (manifest["env"]["id"], manifest["agent"]["label"], manifest["seed"], manifest["started"])
    for _ in range(100):
        path = default_directory(*arguments)
        try:
            return RunWriter(path, {"run_id": path.name, **manifest})
        except RunDirectoryError:
            if not path.exists():
                raise  # not taken: it cannot be written
    raise RunDirectoryError(
        f"{path}: too many runs begin here in the same second; give each its own directory"
    )


def default_directory(env: str, agent: str, seed: int | None, started: str) -> Path:
    """runs/<time>-<env>-<agent>-s<seed> in the working directory; a number follows where that is taken."""
    stamp = "".join(c for c in started if c.isdigit() or c == "T")[:15]
    name = f"{stamp}-{env}-{agent}-s{'random' if seed is None else seed}".replace("/", "-").replace(":", "-")
    return untaken(Path("runs") / name).absolute()


def _print(text: str) -> None:
    print(f"rl-lab: {text}", file=sys.stderr, flush=True)
