"""Non-finite numbers: which quantity was first, in the order in which one makes the next."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rl_lab.monitor.detector import Detector, Seen
from rl_lab.monitor.event import Finding
from rl_lab.monitor.measure.rollout import Rollout
from rl_lab.monitor.measure.update import Update
from rl_lab.monitor.quantities import given

ORDER = ("obs", "value", "reward", "return", "advantage", "gradient", "loss", "parameter", "policy")
"""Causal order inside an update: a NaN in one of them makes those after it NaN too.

A reward that the environment itself paid as NaN is caught when it is paid (`in_step`). In the buffer
stable-baselines3 has added values to the rewards of truncated episodes, so there values come first. Of
gradient and loss, seen from outside, only the gradient has a minibatch, so it is asked first. `policy` is
an output that overflows although every parameter is finite.
"""

COLUMNS: Mapping[str, Sequence[str]] = {
    "obs": ("observation_scale", "observation_max"),
    "value": ("value_scale",),
    "reward": ("paid_scale", "reward_scale", "reward_max"),
    "return": ("return_scale",),
    "advantage": ("advantage_scale",),
    "gradient": ("gradient_norm_policy_max", "gradient_norm_value_max", "gradient_norm_max"),
    "loss": (
        "train/loss",
        "train/actor_loss",
        "train/critic_loss",
        "train/policy_gradient_loss",
        "train/value_loss",
    ),
    "parameter": ("weight_norm", "step_norm"),
}
"""What a recorded run shows of them."""
OUTPUTS = ("kl_mean", "probe_kl_mean", "entropy")


OUTLIER = 1e3
"""Multiple of the 99 % quantile of |x| beyond which a finite number may well be why a later one is not finite."""


def first_nonfinite(array: Any) -> int | None:
    """Flat index of the first NaN or infinity; None if all is finite or the array holds integers."""
    values = np.asarray(array)
    if values.dtype.kind != "f":
        return None
    # It is asked after every step: a sum of squares takes half the time, and is finite only if all numbers are.
    if math.isfinite(np.vdot(values, values)) or np.isfinite(values).all():
        return None
    return int((~np.isfinite(values)).ravel().argmax())


class NonFinite(Detector):
    """Names the first non-finite quantity of an update in causal order."""

    name = "nonfinite"

    def observe(self, seen: Seen) -> list[Finding]:
        """At most one finding an update; what follows from it is not repeated."""
        loss = seen.row.get("train/loss")
        loss_is_bad = seen.row.get("outcome") == "NOT_FINITE" or (
            loss is not None and not math.isfinite(loss)
        )
        update = seen.update
        if update is None or update.rollout is None or update.step is None:
            return self.in_row(seen.row)
        return self.in_update(update, loss_is_bad=loss_is_bad)

    @staticmethod
    def in_row(row: Mapping[str, Any]) -> list[Finding]:
        """The first column in causal order that is no finite number, where the update itself is not at hand."""
        for quantity, columns in COLUMNS.items():
            for column in columns:
                value = row.get(column)
                if isinstance(value, float) and not math.isfinite(value):
                    return [_finding(quantity, f"{column} is {value:g}")]
            if quantity == "loss" and row.get("outcome") == "NOT_FINITE":
                return [_finding(quantity, "the update's outcome is NOT_FINITE")]
        # A divergence that is infinite is very large; one that is no number comes of a policy that is none.
        if any(isinstance(v := row.get(column), float) and math.isnan(v) for column in OUTPUTS):
            return [_finding("policy", "the policy's output, though all parameters are finite")]
        return []

    @staticmethod
    def in_step(observations: Any, rewards: Any) -> Finding | None:
        """What an environment just returned; called on every step, before anyone computes with it."""
        parts = observations if isinstance(observations, dict) else {"": observations}
        for key, part in parts.items():
            index = first_nonfinite(part)
            if index is not None:
                env, dimension = divmod(index, max(1, int(np.prod(np.shape(part)[1:]))))
                words = f"observation {key}".strip()
                what = f"{words} returned by environment {env}, dimension {dimension}"
                return _finding("obs", what, place={"env": env, "dimension": dimension, "by": "environment"})
        index = first_nonfinite(rewards)
        if index is None:
            return None
        what = f"reward returned by environment {index}"
        return _finding("reward", what, place={"env": index, "dimension": 0, "by": "environment"})

    @staticmethod
    def in_terminal(infos: Sequence[Mapping[str, Any]], dones: NDArray[np.bool_]) -> Finding | None:
        """The last observations of episodes that just ended: stable-baselines3 bootstraps values from them."""
        for env in np.flatnonzero(dones).tolist():
            last = infos[env].get("terminal_observation")
            parts = last.values() if isinstance(last, dict) else [] if last is None else [last]
            for part in parts:
                index = first_nonfinite(part)
                if index is not None:
                    what = f"last observation of an episode returned by environment {env}, dimension {index}"
                    return _finding("obs", what, place={"env": env, "dimension": index, "by": "environment"})
        return None

    @staticmethod
    def in_update(update: Update, *, loss_is_bad: bool = False) -> list[Finding]:
        """The first non-finite quantity of an update with a rollout, which need not have come to its end."""
        rollout = given(update.rollout)
        finding = _in_rollout(rollout)
        if finding is not None:
            return [finding]
        finding = _after_rollout(update, loss_is_bad=loss_is_bad)
        return [] if finding is None else [_with_outlier(finding, rollout)]

    @staticmethod
    def in_output(parameters: Tensor | None) -> Finding:
        """The policy's output, where no parameter is to blame."""
        words = "the policy's output"
        if parameters is not None:
            largest = float(parameters.detach().abs().max())
            words += f", though all parameters are finite (the largest is {largest:.3g})"
        return _finding("policy", words)

    @staticmethod
    def in_parameter(name: str) -> Finding:
        """A parameter of an off-policy algorithm, whose losses are not seen."""
        return _finding("parameter", f"parameter {name} after a gradient step")


def _after_rollout(update: Update, *, loss_is_bad: bool) -> Finding | None:
    """The first non-finite quantity of the gradient steps, from a rollout that is finite."""
    gradient = update.gradients.first_nonfinite() if update.gradients is not None else None
    if gradient is not None:
        minibatch, name = gradient
        return _finding("gradient", f"gradient of {name} in minibatch {minibatch}", minibatch=minibatch)
    if loss_is_bad:
        return _finding("loss", "the loss of a minibatch, from finite inputs")
    parameters = update.new_parameters
    index = None if parameters is None else first_nonfinite(parameters.detach().cpu().numpy())
    if index is not None:
        return _finding("parameter", f"parameter number {index} after a step")
    policy_is_bad = update.step is not None and np.isnan(update.step.log_ratio).any()
    return NonFinite.in_output(parameters) if policy_is_bad else None


def _in_rollout(rollout: Rollout) -> Finding | None:
    for quantity, words, array in _columns(rollout):
        index = first_nonfinite(array)
        if index is not None:
            place, where = _place(rollout, index // _width(array))
            return _finding(quantity, f"{words} {where}", place=place)
    return None


def _with_outlier(finding: Finding, rollout: Rollout) -> Finding:
    """The finding, with the first number of the rollout, in causal order, that is finite but beyond all others."""
    for quantity, words, array in _columns(rollout):
        size = np.abs(array.astype(np.float64))
        largest, usual = float(size.max()), float(np.percentile(size, 99))
        if largest > OUTLIER * usual > 0:
            index, width = int(size.argmax()), _width(array)
            place, where = _place(rollout, index // width)
            dimension = f", dimension {index % width}," if width > 1 else ""
            beyond = f"the {words} {where}{dimension} is {largest:.3g} (99 % are within {usual:.3g})"
            outlier = {
                "quantity": quantity,
                **place,
                "dimension": index % width,
                "size": largest,
                "usual": usual,
            }
            return replace(
                finding,
                message=f"{finding.message}; but {beyond}",
                details={**finding.details, "outlier": outlier},
            )
    return finding


def _columns(rollout: Rollout) -> list[tuple[str, str, Any]]:
    """Name, words and array [N, ...] of what a rollout holds, in causal order."""
    seen = rollout.observations
    parts = seen if isinstance(seen, dict) else {"": seen}
    found: list[tuple[str, str, Any]] = [
        ("obs", f"observation {key}".strip(), part.cpu().numpy()) for key, part in parts.items()
    ]
    found += [
        ("value", "value prediction", rollout.values),
        ("reward", "reward", rollout.rewards),
        ("return", "return", rollout.returns),
        ("advantage", "advantage", rollout.advantages),
    ]
    return [(name, words, array) for name, words, array in found if array is not None]


def _width(array: Any) -> int:
    """Numbers of one row."""
    return max(1, int(np.prod(array.shape[1:])))


def _place(rollout: Rollout, row: int) -> tuple[dict[str, int], str]:
    place = rollout.place(row)
    if not place:
        return {"row": row}, f"in row {row}"
    return place, f"of environment {place['env']} at step {place['step']}"


def _finding(quantity: str, words: str, *, minibatch: int | None = None, place: Any = None) -> Finding:
    return Finding(
        event=NonFinite.name,
        value=math.nan,
        threshold=None,
        message=f"first non-finite quantity: {words}",
        minibatch=minibatch,
        details={"quantity": quantity, **(place or {})},
    )
