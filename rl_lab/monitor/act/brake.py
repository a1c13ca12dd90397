"""A brake on a training: shorter steps for the rest of this run, and everything as it was after it."""

from dataclasses import replace
from typing import Any

STEERED = "learning_rate"
"""The entry of a rule's memory in which a learning rate lives that the rule itself steers."""


class Scaled:
    """A schedule of stable-baselines3, multiplied; a class, because model.save() pickles schedules."""

    def __init__(self, own: Any, factor: float) -> None:
        self.own, self.factor = own, factor

    def __call__(self, progress_remaining: float) -> float:
        """The learning rate where this share of training remains."""
        return self.factor * float(self.own(progress_remaining))


class Brake:
    """Multiplies what sets the length of a stable-baselines3 algorithm's steps, until released.

    That is the learning rate, in the schedule that train() asks in every update or in the rule of an algorithm
    that has one. Where a KL limit sets the length of a natural-gradient step, as in TRPO, it is the limit too, by
    the square of the factor, because KL grows with the square of the step.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        while isinstance(schedule := getattr(model, "lr_schedule", None), Scaled):
            model.lr_schedule = schedule.own  # of a brake that was never released: its learn() was cut off
        self._share = 1.0
        self._own: dict[str, Any] = {}
        """Attributes of the model as they were before the first cut."""

    def cut(self, factor: float, least: float) -> str:
        """Multiply by the factor, down to the share `least` of the beginning; what it was and is, in one clause."""
        before, was = self._share, self._settings()
        self._share = max(before * factor, min(least, before))
        self._steer(self._share / before)
        self._scale()
        told = [f"{name} {was[name]:.3g} -> {now:.3g}" for name, now in self._settings().items()]
        return ", ".join(told) + ("" if self._share < before else " (already the least)")

    @property
    def share(self) -> float:
        """What is left of the length of the steps, of 1."""
        return self._share

    def go_on_from(self, share: float) -> None:
        """Brake as another process did; a rule that steers its own learning rate has it in its memory."""
        if share < 1.0:
            self._share = share
            self._scale()

    def release(self) -> None:
        """Put everything back. What a rule has remembered, like a learning rate that it steers itself, is its own."""
        for name, own in self._own.items():
            if own is not None:
                setattr(self._model, name, own)
        self._own, self._share = {}, 1.0

    def _scale(self) -> None:
        for name in ("rule",) if hasattr(self._model, "rule") else ("lr_schedule", "target_kl"):
            own = self._own.setdefault(name, getattr(self._model, name, None))
            scaled = _scaled(self._model, name, own, self._share)
            if scaled is not None:
                setattr(self._model, name, scaled)

    def _steer(self, factor: float) -> None:
        memory, rule = getattr(self._model, "memory", {}), getattr(self._model, "rule", None)
        if STEERED in memory:
            least = getattr(rule, "min_learning_rate", 0.0)
            memory[STEERED] = (memory[STEERED] * factor).clamp(min=least)

    def _settings(self) -> dict[str, float]:
        """What sets the length of steps now, by name."""
        model, rule = self._model, getattr(self._model, "rule", None)
        if rule is None:
            rate = float(model.lr_schedule(model._current_progress_remaining))
            return {"learning_rate": rate, **({"target_kl": model.target_kl} if _is_trpo(model) else {})}
        if STEERED in model.memory:
            return {"learning_rate": float(model.memory[STEERED])}
        found = {"learning_rate": float(rule.learning_rate)}
        return {**found, "max_kl": float(rule.max_kl)} if _is_natural(rule) else found


def _scaled(model: Any, name: str, own: Any, share: float) -> Any:
    """The attribute's value at this share of the step length; None: it has nothing to do with it."""
    if name == "lr_schedule":
        return Scaled(own, share)
    if name == "target_kl":
        return own * share**2 if _is_trpo(model) else None
    if STEERED in model.memory:  # the rule's own is only where that began
        return None
    limit = {"max_kl": own.max_kl * share**2} if _is_natural(own) else {}
    return replace(own, learning_rate=own.learning_rate * share, **limit)


def _is_trpo(model: Any) -> bool:
    """sb3-contrib's TRPO; elsewhere target_kl ends an update and does not set its length."""
    return hasattr(model, "cg_max_steps")


def _is_natural(rule: Any) -> bool:
    """A rule whose step is as long as max_kl allows; elsewhere max_kl only ends what the learning rate does."""
    return hasattr(rule, "cg_iterations")
