"""On-policy algorithms of stable-baselines3 and sb3-contrib: one update, from the end of its rollout."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rl_lab.monitor.activations import listening
from rl_lab.monitor.clipping import ClipListener
from rl_lab.monitor.detectors.nonfinite import NonFinite
from rl_lab.monitor.distributions import Step
from rl_lab.monitor.event import Finding
from rl_lab.monitor.gradients import GradientRecorder, Gradients
from rl_lab.monitor.limits import limits_of
from rl_lab.monitor.path import KLPath, PathRecorder, borrowed, flat
from rl_lab.monitor.quantities import Level, given
from rl_lab.monitor.rollout import Rollout, judge, judge_or_nan, read
from rl_lab.monitor.snapshot import Snapshot, take
from rl_lab.monitor.update import Update

HELD_OUT = 256
"""States of the fixed set, and those on which the KL along the path is judged."""


class Pending:
    """An update that has not been finished: what it starts from, and what listens to it.

    `held_out` are states that no update but the first is made from.
    """

    def __init__(self, model: Any, level: Level, held_out: Rollout | None, *, clips: bool) -> None:
        self._model, self._level, self._held_out = model, level, held_out
        self.limits = limits_of(model)
        self.rollout = read(model)
        self.old, self.log_prob = judge(model.policy, self.rollout)
        self.snapshot: Snapshot = take(model)
        self.parameters = flat(list(model.policy.parameters()))
        # judged anew for each update, because a guard may have changed the policy since the last
        self._held_out_old = judge(model.policy, held_out) if held_out is not None else None
        self._gradients: ClipListener | GradientRecorder | None = None
        self._path: PathRecorder | None = None
        if level >= Level.STANDARD:
            self._gradients = ClipListener(model.policy) if clips else GradientRecorder(model.policy)
            self._gradients.attach()
            self._path = PathRecorder(model.policy, model.policy.optimizer)
            self._path.attach()

    def detach(self) -> Gradients | None:
        """Leave no hook behind."""
        if self._path is not None:
            self._path.detach()
        return self._gradients.detach() if self._gradients is not None else None

    def finish(self) -> Update:
        """train() is over: what has it done?"""
        gradients, policy = self.detach(), self._model.policy
        full = self._level >= Level.FULL
        with listening(policy) if full else nullcontext() as heard:
            new, log_prob = judge_or_nan(policy, self.rollout, self.old)
        return Update(
            step=Step(self.old, new, log_prob - self.log_prob),
            rollout=self.rollout,
            behaviour_log_ratio=self.log_prob - given(self.rollout.log_probs),
            probe=self._probe(),
            gradients=gradients,
            path=self._kl_path(),
            activations=heard,
            old_parameters=self.parameters,
            new_parameters=flat(list(policy.parameters())),
            optimizer=moments(policy.optimizer),
            limits=self.limits,
            logged=_logged(self._model),
        )

    def broken(self) -> list[Finding]:
        """train() raised: was a number not finite before it did?"""
        _, log_prob = judge_or_nan(self._model.policy, self.rollout, self.old)
        return NonFinite.in_update(
            self.rollout,
            self.detach(),
            flat(list(self._model.policy.parameters())),
            policy_is_bad=bool(np.isnan(log_prob).any()),
        )

    def _probe(self) -> Step | None:
        if self._held_out is None or self._held_out_old is None:
            return None
        old, log_prob = self._held_out_old
        new, new_log_prob = judge_or_nan(self._model.policy, self._held_out, old)
        return Step(old, new, new_log_prob - log_prob)

    def _kl_path(self) -> KLPath | None:
        recorder, policy = self._path, self._model.policy
        if recorder is None or not recorder.copies:
            return None
        some = self.rollout.some(HELD_OUT)

        def kl_mean(vector: Tensor) -> float:
            with borrowed(policy, vector):
                new, log_prob = judge_or_nan(policy, some, old)
            return float(Step(old, new, log_prob).kl.mean())

        with borrowed(policy, self.parameters):
            old, _ = judge(policy, some)
        return KLPath(recorder.steps, recorder.total, lambda i: kl_mean(recorder.copies[i]))


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
