"""Alert: Weights & Biases tells the people who watch the run."""

from dataclasses import dataclass

from rl_lab.monitor.event import Event, Finding
from rl_lab.monitor.guard import Guard, Hand
from rl_lab.monitor.update import Update


@dataclass(kw_only=True)
class Alert(Guard):
    """Sends the 1st, 10th, 100th, ... event of each kind."""

    name = "alert"
    answers = frozenset({"kl_spike", "nonfinite", "performance_collapse", "recovery"})

    def act(self, event: Event, update: Update | None, hand: Hand) -> Finding | None:
        """To be written."""
        return None
