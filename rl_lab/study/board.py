"""Progress for people: a live table on a terminal, plain lines elsewhere; always on standard error."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from rl_lab.monitor.record.run_directory import FINISHED, Run

PLAIN_SECONDS = 15.0
"""Least time between two plain lines about the same run."""
ENDED = (*FINISHED, "failed", "interrupted")


@dataclass(frozen=True)
class Progress:
    """What is known of a run in this process while it goes on."""

    env_steps: int
    last_row: Mapping[str, Any] | None
    events: Mapping[str, int]


@dataclass(frozen=True)
class Line:
    """What the board shows of one run."""

    run_id: str
    status: str
    steps: int
    update: int = 0
    env_steps: int = 0
    return_smooth: float | None = None
    kl_mean: float | None = None
    events: int = 0
    seconds: float | None = None
    reason: str | None = None

    @classmethod
    def of_run(cls, run_id: str, run: Run, steps: int, seconds: float | None = None) -> "Line":
        """From a run directory, finished or not."""
        last = run.last
        return cls(
            run_id,
            run.status,
            steps,
            int(last.get("update", 0)),
            int(last.get("env_steps", 0)),
            last.get("return_smooth"),
            last.get("kl_mean"),
            len(run.events),
            seconds if seconds is not None else last.get("seconds"),
            run.manifest.get("reason"),
        )

    @classmethod
    def of_progress(cls, run_id: str, progress: Progress, steps: int) -> "Line":
        """From a run in this process."""
        last = progress.last_row or {}
        return cls(
            run_id,
            "running",
            steps,
            int(last.get("update", 0)),
            progress.env_steps,
            last.get("return_smooth"),
            last.get("kl_mean"),
            sum(progress.events.values()),
            last.get("seconds"),
        )

    @property
    def rate(self) -> float | None:
        """Environment steps per second since the run's process began."""
        return self.env_steps / self.seconds if self.seconds and self.env_steps else None

    @property
    def remaining(self) -> float | None:
        """Seconds left at the present rate."""
        return (
            max(0, self.steps - self.env_steps) / self.rate
            if self.rate and self.status == "running"
            else None
        )

    def cells(self) -> tuple[str, ...]:
        """The columns of the table."""
        return (
            self.run_id,
            self.status,
            f"{self.env_steps:,}/{self.steps:,}",
            _number(self.rate, ",.0f"),
            _clock(self.remaining),
            _number(self.return_smooth, ".4g"),
            _number(self.kl_mean, ".2g"),
            str(self.events),
        )

    def sentence(self) -> str:
        """The same as one plain line."""
        _, status, steps, rate, left, returned, kl, events = self.cells()
        words = f"{self.run_id}: {status}, {steps} steps, {rate} steps/s"
        if self.status == "running":
            words += f", {left} left"
        words += f", return {returned}, KL {kl}, events {events}"
        return words + (f" ({self.reason})" if self.reason else "")


HEADERS = ("run", "status", "env steps", "steps/s", "left", "return", "KL", "events")


class Board:
    """Shows lines as they change; use it as a context manager while work goes on."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._console = console or Console(stderr=True)
        self._quiet = quiet
        self._lines: dict[str, Line] = {}
        self._said: dict[str, tuple[float, str]] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Begin the live table, if there is a terminal to show it on."""
        if self._console.is_terminal and not self._quiet:
            self._live = Live(self._table(), console=self._console, refresh_per_second=4)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the live table and leave its last state on the screen."""
        if self._live is not None:
            self._live.update(self._table())
            self._live.__exit__(kind, error, trace)
            self._live = None

    def show(self, line: Line) -> None:
        """Replace what is shown of a run."""
        self._lines[line.run_id] = line
        if self._live is not None:
            self._live.update(self._table())
        elif not self._quiet and not self._console.is_terminal:
            self._show_plainly(line)

    def say(self, text: str) -> None:
        """One line about something that happened."""
        if not self._quiet:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _show_plainly(self, line: Line) -> None:
        if line.status in ("waiting", "starting") or (line.status == "running" and not line.update):
            return
        when, status = self._said.get(line.run_id, (-PLAIN_SECONDS, ""))
        now = time.monotonic()
        if status == line.status and (line.status in ENDED or now - when < PLAIN_SECONDS):
            return
        self._said[line.run_id] = (now, line.status)
        self.say(line.sentence())

    def _table(self) -> Table:
        table = Table(*HEADERS, box=None, pad_edge=False)
        ended = sum(line.status in ENDED for line in self._lines.values())
        table.caption = f"{ended} of {len(self._lines)} runs ended"
        # What is finished or waits does not need a line each once the screen is full.
        lines = sorted(self._lines.values(), key=lambda line: line.status in ("waiting", *ENDED))
        for line in lines[: max(4, self._console.height - 4)]:
            table.add_row(*line.cells())
        return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _clock(seconds: float | None) -> str:
    return "-" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
