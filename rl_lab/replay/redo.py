"""Do an update and measure it with the monitor's own ruler, whatever rule makes it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rl_lab.monitor.measure.distributions import Floats
from rl_lab.monitor.measure.on_policy import Pending
from rl_lab.monitor.measure.path import KLPath, PathRecorder, borrowed
from rl_lab.monitor.measure.snapshot import parameters_of
from rl_lab.monitor.measure.update import measure
from rl_lab.monitor.quantities import Level
from rl_lab.monitor.record.incident_files import AFTER, DOCUMENT, fingerprint
from rl_lab.replay.build import difference
from rl_lab.replay.incident import Incident, named_in_errors
from rl_lab.replay.world import changed, world_of

POINTS = 200
"""Gradient steps whose KL is computed at most; each costs a forward pass over the rollout."""


@dataclass(frozen=True)
class PathSummary:
    """KL(pi_old || pi_i), mean over all states of the rollout, after gradient step i."""

    steps: tuple[int, ...]
    kl_mean: Floats
    total: int
    """Gradient steps in all."""


@dataclass(frozen=True)
class Redone:
    """One rule's way to do the update."""

    rule: str
    """Its name in the roster, or what the algorithm is called."""
    outcome: str
    """How it ended, one word."""
    raised: str | None
    """What train() raised."""
    row: Mapping[str, float | None]
    """The quantities of rl_lab/monitor/quantities/."""
    path: PathSummary | None
    """None where the optimizer took no step."""
    limit: float | None
    """The KL that the rule promises not to exceed [nats]."""
    after: dict[str, Tensor]
    """The policy's parameters and buffers."""
    model: Any
    """The algorithm, whose policy is the new one."""
    original: bool = False
    """Whether it is the rule that made the update."""


@dataclass(frozen=True)
class Verdict:
    """Whether the update came out as it did the first time."""

    identical: bool
    largest_difference: float
    """Of any parameter or buffer; infinite where one is finite and the other is not."""
    changed: tuple[str, ...] = field(default=())
    """What is different here from where it was recorded."""

    def sentence(self) -> str:
        """One line."""
        if self.identical:
            return "bit-identical to what happened: every parameter and buffer has the recorded SHA-256"
        why = f"; {'; '.join(self.changed)}" if self.changed else "; nothing known here is different"
        return f"NOT bit-identical to what happened: parameters differ by up to {self.largest_difference:.3g}{why}"


def redo(model: Any, incident: Incident, rule: str, *, original: bool = False) -> Redone:
    """Let a rebuilt algorithm do the update with the incident's generators and threads."""
    with world_of(incident, model.device):
        with named_in_errors(incident.path / DOCUMENT):  # limits and rates of a strange kind
            pending = Pending(model, Level.LIGHT)
        recorder = PathRecorder(model.policy, model.policy.optimizer)
        recorder.attach()
        raised = None
        try:
            model.train()
        except Exception as error:  # as in training: what an update does to a policy may break it
            raised = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        finally:
            recorder.detach()
        after = parameters_of(model)
        update = pending.finish()
        path = _path(model, pending, recorder)
    return Redone(
        rule,
        _outcome(model, after, raised),
        raised,
        measure(update, Level.LIGHT),
        path,
        update.limits.kl,
        after,
        model,
        original,
    )


def compare(redone: Redone, incident: Incident) -> Verdict:
    """The replay under the original rule against what was recorded."""
    identical = fingerprint(redone.after) == incident.document["digest"]
    with named_in_errors(incident.path / AFTER):
        largest = 0.0 if identical else difference(redone.after, incident.after)
    with named_in_errors(incident.path / DOCUMENT):
        return Verdict(identical, largest, tuple(changed(incident, redone.model.device)))


def _outcome(model: Any, after: Mapping[str, Tensor], raised: str | None) -> str:
    own = getattr(model, "outcome", None)
    if raised is not None:
        return f"raised {raised.partition(':')[0]}"
    if not all(bool(torch.isfinite(v).all()) for v in after.values() if v.is_floating_point()):
        return "not finite"
    return own.name.lower().replace("_", " ") if own is not None else "done"


def _path(model: Any, pending: Pending, recorder: PathRecorder) -> PathSummary | None:
    """Evenly spread over the steps that were kept, the last one always among them."""
    if not recorder.copies:
        return None
    stride = math.ceil(len(recorder.copies) / POINTS)
    places = list(range(len(recorder.copies) - 1, -1, -stride))[::-1]

    def kl_mean(place: int) -> float:
        with borrowed(model.policy, recorder.copies[places[place]]):
            return pending.kl_mean()

    steps = [recorder.steps[place] for place in places]
    return PathSummary(tuple(steps), KLPath(steps, recorder.total, kl_mean).kl_mean, recorder.total)
