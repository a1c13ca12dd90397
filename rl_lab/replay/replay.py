"""One incident, the same update under several rules, and what came of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rl_lab.errors import UserError
from rl_lab.monitor.record.incident_files import ORDER
from rl_lab.replay import others
from rl_lab.replay.build import minibatch_state, rebuild
from rl_lab.replay.evaluate import Worth, check_task, evaluate, task_of
from rl_lab.replay.incident import Incident
from rl_lab.replay.redo import Redone, Verdict, compare, redo

BEFORE = "before"
"""What the policy before the update is called among those that are evaluated."""
USUAL = ("ppo", "ppo-noclip", "trpo", "spo")
"""The rules that are tried if nobody says which."""
QUANTITIES = (
    "kl_mean", "kl_p95", "kl_p99", "kl_max", "reverse_kl_mean", "ratio_max", "ratio_p99", "ratio_outside",
    "effective_sample_size", "total_variation", "step_norm", "relative_step", "entropy",
)  # fmt: skip
"""What is told of every rule, under the names of rl_lab/monitor/quantities/."""


@dataclass(frozen=True)
class Replay:
    """What came of it."""

    incident: Incident
    verdict: Verdict
    redone: tuple[Redone, ...]
    """The original rule first."""
    worth: dict[str, Worth | None]
    """By rule, and `before`; empty if nothing was evaluated."""
    episodes: int
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Everything as plain values."""
        told, event = self.incident.document, self.incident.document["event"]
        return {
            "incident": str(self.incident.path),
            "event": {k: event.get(k) for k in ("id", "event", "update", "value", "threshold", "message")},
            "update": told["update"],
            "run": told.get("run_id"),
            "env": told.get("env"),
            "original": self.redone[0].rule,
            "identical": self.verdict.identical,
            "largest_difference": self.verdict.largest_difference,
            "changed": list(self.verdict.changed),
            "verdict": self.verdict.sentence(),
            "rules": [self._row(one) for one in self.redone],
            "before": _worth(self.worth.get(BEFORE)),
            "episodes": self.episodes,
            "notes": list(self.notes),
        }

    def _row(self, one: Redone) -> dict[str, Any]:
        path = one.path
        return {
            "rule": one.rule,
            "original": one.original,
            "outcome": one.outcome,
            "raised": one.raised,
            **{name: one.row[name] for name in QUANTITIES},
            "limit": one.limit,
            "gradient_steps": 0 if path is None else path.total,
            "path": None
            if path is None
            else {"steps": list(path.steps), "kl_mean": [float(kl) for kl in path.kl_mean]},
            "return": _worth(self.worth.get(one.rule)),
        }


def replay(
    incident: Incident,
    rules: Sequence[str] | None = None,
    *,
    episodes: int = 0,
    env: str | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Replay:
    """Do the update again under its own rule, then under others, and if wanted evaluate what comes out.

    rules: names of the roster; None: the usual ones, as far as they can do this update. told: hears what is being
    done. UserError: a rule that nobody has or that cannot do this update, damaged files, no environment.
    """
    task = task_of(incident, env) if episodes else None
    if task is not None:
        check_task(incident, task)
    original = others.own_name(incident)
    chosen, notes = _choose(incident, rules, original)
    told(f"{original}: the same update again")
    redone = [redo(rebuild(incident), incident, original, original=True)]
    notes += _of_order(incident)
    for name in chosen:
        told(f"{name}: the same batch")
        model, said = others.under(incident, name)
        notes += said
        redone.append(redo(model, incident, name))
    worth: dict[str, Worth | None] = {}
    if task is not None:
        told(f"{episodes} episodes of {task.id} for each of {len(redone) + 1} policies")
        policies = {BEFORE: rebuild(incident), **{one.rule: one.model for one in redone}}
        worth = evaluate(incident, task, policies, episodes)
    return Replay(incident, compare(redone[0], incident), tuple(redone), worth, episodes, tuple(notes))


def _choose(incident: Incident, rules: Sequence[str] | None, original: str) -> tuple[list[str], list[str]]:
    """The other rules, and why those are left out that nobody asked for by name."""
    notes = [
        "every rule starts from the same parameters and has the same batch and order of minibatches; "
        "settings that it shares with the original carry over"
    ]
    if rules is None:
        try:
            same = {original, "ppo"} if original == "ppo-sb3" else {original}  # the two agree to the bit
            complaints = {name: others.complaint(incident, name) for name in USUAL if name not in same}
        except UserError as error:  # the monitor alone can do the original again
            return [], [f"no other rules: {error}"]
        refused = [said for said in complaints.values() if said is not None]
        return [name for name, said in complaints.items() if said is None], [*notes, *refused[:1]]
    chosen = [name for name in dict.fromkeys(rules) if name != original]
    for name in chosen:
        said = others.complaint(incident, name)
        if said is not None:
            raise UserError(f"--rules: {said}")
    return chosen, notes if chosen else []


def _of_order(incident: Incident) -> list[str]:
    """Whether the recorded order of minibatches is what the recorded generator draws."""
    state = minibatch_state(incident)
    if incident.order is None or state is None:
        return []
    generator = np.random.RandomState()
    generator.set_state(state)
    drawn = [generator.permutation(incident.order.shape[1]) for _ in incident.order]
    if np.array_equal(drawn, incident.order):
        return []
    return [
        f"{ORDER} in the incident is not what its generator draws here, so minibatches are others than then"
    ]


def _worth(worth: Worth | None) -> dict[str, Any] | None:
    if worth is None:
        return None
    value, gain = worth.value, worth.gain
    return {
        "mean": None if value is None else value.mean,
        "low": None if value is None else value.low,
        "high": None if value is None else value.high,
        "gain": None if gain is None else {"mean": gain.mean, "low": gain.low, "high": gain.high},
        "ended": int(np.isfinite(worth.returns).sum()),
        "returns": [float(paid) for paid in worth.returns],
    }
