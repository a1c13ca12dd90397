"""Shrink: the step was in a good direction, perhaps, but too long."""

import time
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt

from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.guard import Guard, Hand
from rl_lab.monitor.measure.update import Update
from rl_lab.monitor.quantities import NotApplicable


@dataclass(kw_only=True)
class Shrink(Guard):
    """Halves the policy's step until the exact mean KL over the rollout is within the limit.

    theta = theta_old + 2^-n (theta_new - theta_old)  for what the policy uses; parameters of the value function alone
    keep their step. A step that is not finite, or that no halving brings within the limit, is taken back.
    """

    name = "shrink"
    answers = frozenset({"kl_spike", "nonfinite"})
    needs_update = True

    limit: Annotated[float, Gt(0)] | None = None
    """Mean KL(pi_old || pi_new) that is allowed [nats]; None: what the update rule promises, or else the threshold
    that the event has crossed."""
    most: Annotated[int, Ge(1)] = 10
    """Halvings that are tried."""

    def act(self, event: Event, update: Update | None, hand: Hand) -> Finding | None:
        """Nothing is left to do where another guard has taken the update back."""
        if hand.took_back:
            return None
        limit = self._limit(event, update)
        if limit is None and event.event != "nonfinite":
            raise NotApplicable(f"{event.event} has no limit of the KL; give one, as in Shrink(limit=0.05)")
        began = time.perf_counter()
        left = hand.shrink(limit, self.most)
        if left is None:
            return None
        seconds = time.perf_counter() - began
        if left.share:
            message = (
                f"kept {left.share:.3g} of the policy's step: kl_mean {left.was:.3g} -> {left.kl_mean:.3g} nats, "
                f"limit {limit:.3g}"
            )
        else:
            message = f"took the policy's step back: {_why(left.was, self.most)}"
        return self.did(
            event,
            f"{message}; {left.passes} forward passes, {seconds:.2g} s",
            share=left.share,
            kl_was=left.was,
            kl_mean=left.kl_mean,
            limit=limit,
            passes=left.passes,
            seconds=seconds,
        )

    def _limit(self, event: Event, update: Update | None) -> float | None:
        if self.limit is not None:
            return self.limit
        promised = update.limits.kl if update is not None else None
        return promised if promised is not None else event.threshold if event.event == "kl_spike" else None


def _why(was: float, most: int) -> str:
    if was != was:
        return "its parameters are not finite, optimizer and memory went back with them"
    return f"kl_mean {was:.3g} nats, and {most} halvings were not enough"
