"""Checkpoint: the state from before the offending update, to look at or to go on from."""

import time
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.guard import Guard, Hand, Saved
from rl_lab.monitor.measure.update import Update


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
