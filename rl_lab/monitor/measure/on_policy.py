"""On-policy algorithms of stable-baselines3 and sb3-contrib: one update, from the end of its rollout."""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from rl_lab.monitor.measure import digest
from rl_lab.monitor.measure.activations import Activations, listening
from rl_lab.monitor.measure.distributions import Change, Distribution, Floats, Step
from rl_lab.monitor.measure.limits import limits_of
from rl_lab.monitor.measure.listeners import Listeners
from rl_lab.monitor.measure.path import KLPath, PathRecorder, flat, recorded_path
from rl_lab.monitor.measure.rollout import (
    Rollout,
    acting,
    appraise,
    judge,
    judge_or_nan,
    read,
    refuse_unknown,
)
from rl_lab.monitor.measure.snapshot import Snapshot, take
from rl_lab.monitor.measure.update import Update
from rl_lab.monitor.quantities import Level, given

HELD_OUT = 256
"""States of the fixed set, and those on which the KL along the path is judged."""
LOOKED_AT = 1024
"""States of the rollout on which the units of the networks are looked at."""


class HeldOut:
    """Fixed states, and what the policy said of them when it was asked last."""

    def __init__(self, states: Rollout) -> None:
        self.states = states
        self._parameters: Tensor | None = None
        self._answer: tuple[Distribution, Floats] | None = None

    def ask(self, policy: Any, parameters: Tensor) -> tuple[Distribution, Floats]:
        """What it says now, by these parameters of its own: the same as last time if they are the same."""
        if self._parameters is None or self._answer is None or not torch.equal(self._parameters, parameters):
            last = self._answer
            self._answer = (
                judge(policy, self.states) if last is None else judge_or_nan(policy, self.states, last[0])
            )
            self._parameters = parameters
        return self._answer


class Watching:
    """What the updates of one run share: listeners, and held-out states."""

    def __init__(self, model: Any, level: Level) -> None:
        refuse_unknown(model.policy, model._last_obs)
        self._model, self._level = model, level
        self._listeners = Listeners(model) if level >= Level.STANDARD else None
        self._held_out: HeldOut | None = None

    def state(self) -> dict[str, Any]:
        """What the updates to come share with those so far."""
        held_out = self._held_out.states if self._held_out is not None else None
        clips = self._listeners.clips if self._listeners is not None else None
        return {"held_out": held_out, "clips": clips}

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Share what `state` returned in another process."""
        self._held_out = HeldOut(state["held_out"]) if state["held_out"] is not None else None
        if self._listeners is not None:
            self._listeners.clips = state["clips"]

    def begin(self) -> "Pending":
        """The rollout is complete: an update begins. The first one's states are held out of all others."""
        pending = Pending(self._model, self._level, self._held_out, self._listeners)
        if self._held_out is None and self._level >= Level.STANDARD:
            self._held_out = HeldOut(pending.rollout.some(HELD_OUT))
        return pending


class Pending:
    """An update that has not been finished: what it starts from, and what listens to it."""

    def __init__(
        self, model: Any, level: Level, held_out: HeldOut | None = None, listeners: Listeners | None = None
    ) -> None:
        self._model, self._level, self._held_out, self._listeners = model, level, held_out, listeners
        policy = model.policy
        self.limits = limits_of(model)
        self.rollout = read(model)
        self.old, self.log_prob = judge(policy, self.rollout)
        self.snapshot: Snapshot = take(model)
        self._digests = {"before": digest.of_buffered(model), "random": digest.of_generators(model)}
        self.parameters = flat(list(policy.parameters()))
        self._held_out_old = held_out.ask(policy, self.parameters) if held_out is not None else None
        if listeners is not None:
            listeners.attach()

    def detach(self) -> None:
        """Leave no hook behind."""
        if self._listeners is not None:
            self._listeners.detach()

    def finish(self) -> Update:
        """train() is over: what has it done?"""
        policy = self._model.policy
        # Of this update only now: SB3 moves its progress on after the rollout.
        self.limits = limits_of(self._model)
        heard = self._listeners.detach() if self._listeners is not None else None
        parameters = flat(list(policy.parameters()))
        with acting(policy):
            step = self._step()
            probe = self._probe(parameters)
            activations = self._activations() if self._level >= Level.FULL else None
        return Update(
            step=step,
            rollout=self.rollout,
            behaviour_log_ratio=self.log_prob - given(self.rollout.log_probs),
            probe=probe,
            gradients=heard.gradients if heard is not None else None,
            path=self._path(heard.path) if heard is not None and heard.path.copies else None,
            activations=activations,
            old_parameters=self.parameters,
            new_parameters=parameters,
            optimizer=moments(policy.optimizer) if self._level >= Level.STANDARD else None,
            limits=self.limits,
            logged=_logged(self._model),
            digests={
                **self._digests,
                "after": digest.of_buffered(self._model),
                "optimizer": digest.of_rest(self._model),
            },
        )

    def broken(self) -> Update:
        """train() raised: what there is to see of it."""
        heard = self._listeners.detach() if self._listeners is not None else None
        return Update(
            step=self._step(),
            rollout=self.rollout,
            gradients=heard.gradients if heard is not None else None,
            new_parameters=flat(list(self._model.policy.parameters())),
        )

    def kl_mean(self) -> float:
        """Mean KL(pi_old || present policy) over the rollout's states [nats]."""
        new, _ = judge_or_nan(self._model.policy, self.rollout, self.old)
        return float(Change(self.old, new).kl.mean())

    def _step(self) -> Step:
        new, log_prob = judge_or_nan(self._model.policy, self.rollout, self.old)
        return Step(self.old, new, log_prob - self.log_prob)

    def _probe(self, parameters: Tensor) -> Step | None:
        if self._held_out is None or self._held_out_old is None:
            return None
        old, log_prob = self._held_out_old
        new, new_log_prob = self._held_out.ask(self._model.policy, parameters)
        return Step(old, new, new_log_prob - log_prob)

    def _activations(self) -> Activations:
        policy, some = self._model.policy, self.rollout.some(LOOKED_AT)
        with listening(policy) as of_policy:
            judge_or_nan(policy, some, self.old)
        with listening(policy) as of_value:
            appraise(policy, some)
        return of_policy.with_value(of_value)

    def _path(self, recorder: PathRecorder) -> KLPath:
        policy = self._model.policy
        some = cache(lambda: self.rollout.some(HELD_OUT))

        def ask(like: Distribution | None) -> Distribution:
            return (judge(policy, some()) if like is None else judge_or_nan(policy, some(), like))[0]

        return recorded_path(recorder, ask, _steps_per_epoch(self._model, len(self.rollout), recorder.total))


def _steps_per_epoch(model: Any, size: int, total: int) -> int | None:
    """Gradient steps in a pass over the rollout, if the algorithm makes passes in minibatches and made no others."""
    rule = getattr(model, "rule", model)
    batch_size, n_epochs = getattr(rule, "batch_size", None), getattr(rule, "n_epochs", None)
    if not isinstance(batch_size, int) or not isinstance(n_epochs, int):
        return None
    steps = math.ceil(size / batch_size)
    return steps if total <= steps * n_epochs else None


def moments(optimizer: Any) -> Tensor | None:
    """All tensors of an optimizer's state that have the shape of a parameter, flat; None before the first step."""
    kept = [
        value.reshape(-1)
        for parameter, state in optimizer.state.items()
        for value in state.values()
        if isinstance(value, Tensor) and value.shape == parameter.shape
    ]
    return torch.cat(kept) if kept else None


def _logged(model: Any) -> dict[str, float]:
    """The algorithm's own log of this update, under its own names."""
    return {k: v for k, v in model.logger.name_to_value.items() if k.startswith("train/")}
