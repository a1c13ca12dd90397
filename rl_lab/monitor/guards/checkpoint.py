"""Checkpoint: the state from before the offending update, to look at or to go on from."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.guard import Guard, Hand, Saved
from rl_lab.monitor.measure.update import Update

OWN = re.compile(r"(before|at)-\d+(\.optimizer)?\.safetensors")


@dataclass(kw_only=True)
class Checkpoint(Guard):
    """Writes checkpoints/before-<update>.safetensors, and beside it the optimizer; once for an update.

    An off-policy algorithm takes a gradient step at every environment step, so nobody has kept what was before: its
    policy is written as it is, to checkpoints/at-<update>.safetensors.
    """

    name = "checkpoint"
    answers = frozenset({"kl_spike", "nonfinite", "performance_collapse"})
    changes_training = False

    most: Annotated[int, Ge(2)] = 5
    """Checkpoints that are kept: the first, which is the least harmed, and the newest."""

    def begin(self) -> None:
        """A run begins."""
        super().begin()
        self._kept: list[Saved] = []
        self._last: int | None = None

    def state(self) -> dict[str, Any]:
        """The names of the files that are kept."""
        kept = [{"files": [file.name for file in one.files], "bytes": one.bytes} for one in self._kept]
        return {**super().state(), "kept": kept, "last": self._last}

    def go_on_from(self, state: Mapping[str, Any], run: Path) -> None:
        """Go on with those files; a name that is none of its own is not one of them, and nobody removes it."""
        super().go_on_from(state, run)
        self._last = state["last"]
        self._kept = [
            Saved(tuple(run / "checkpoints" / name for name in one["files"]), one["bytes"])
            for one in state["kept"]
            if all(OWN.fullmatch(name) for name in one["files"])
        ]

    def act(self, event: Event, update: Update | None, hand: Hand) -> Finding | None:
        """Once for an update, whatever else is found in it."""
        if event.update == self._last:
            return None
        began = time.perf_counter()
        saved = hand.checkpoint(event.update)
        seconds = time.perf_counter() - began
        self._last = event.update
        self._kept.append(saved)
        dropped = self._kept.pop(1) if len(self._kept) > self.most else None
        for file in dropped.files if dropped is not None else ():
            file.unlink(missing_ok=True)
        path = saved.files[0]
        message = f"wrote checkpoints/{path.name} ({saved.bytes:,} bytes, {seconds:.2g} s)"
        if dropped is not None:
            message += f" and dropped {dropped.files[0].name}"
        return self.did(event, message, file=f"checkpoints/{path.name}", bytes=saved.bytes, seconds=seconds)
