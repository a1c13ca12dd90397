"""Rollback: the update has never been, and the next ones are more careful."""

import time
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.guard import Guard, Hand
from rl_lab.monitor.measure.update import Update


@dataclass(kw_only=True)
class Rollback(Guard):
    """Restores policy, optimizer and memory from before the update and cuts the learning rate.

    The next rollout is collected anew, by the policy from before. The learning rate stays cut until learn() ends.
    An update in which torch refuses to go on with NaN never comes to its end, and ends learn() with its exception;
    nothing from outside can take it back.
    """

    name = "rollback"
    answers = frozenset({"kl_spike", "nonfinite"})
    needs_update = True

    factor: Annotated[float, Gt(0), Le(1)] = 0.5
    """What the learning rate is multiplied by; 1 leaves it. Where a KL limit sets the step, as in TRPO, the limit is
    multiplied by the square of it."""
    least: Annotated[float, Gt(0), Lt(1)] = 1e-3
    """The learning rate falls no further than to this share of its own."""
    most: Annotated[int, Ge(1)] = 10
    """Updates that are taken back in one run; a training that needs more than these needs something else."""

    def act(self, event: Event, update: Update | None, hand: Hand) -> Finding | None:
        """Once for an update, whatever else is found in it."""
        if hand.took_back or self.done > self.most:
            return None
        if self.done == self.most:
            return self.did(
                event, f"gives up after {self.most} updates taken back; this one stays", steps_lost=0
            )
        began = time.perf_counter()
        lost = hand.restore()
        try:
            cut = hand.cut(self.factor, self.least)
        except Exception as error:  # the update is taken back already, and that is said
            cut = f"the learning rate could not be cut ({error})"
        return self.did(
            event,
            f"took update {event.update} back, {lost:,} environment steps thrown away; {cut}",
            steps_lost=lost,
            updates_lost=1,
            cut=cut,
            seconds=time.perf_counter() - began,
        )
