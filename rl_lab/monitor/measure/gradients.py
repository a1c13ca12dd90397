"""Gradient norms before clipping, read where backward() leaves them, without touching anyone's train()."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import Variable
from torch.utils.hooks import RemovableHandle

VALUE_PARTS = ("value_net", "vf_features_extractor", "lstm_critic", "critic")
"""Names by which stable-baselines3 and sb3-contrib call what only the value function uses."""


def is_of_value(name: str) -> bool:
    """Whether a module or parameter of this name is the value function's own."""
    return any(part in VALUE_PARTS for part in name.split("."))


class Pass(NamedTuple):
    """What one complete backward pass, or one clipping, showed; the norms still on the device."""

    clock: int | None
    """Steps that the optimizer had taken by then; None where nobody counts."""
    columns: tuple[int, ...]
    """The parameters that it reached."""
    norms: Tensor | tuple[Tensor, ...]
    """Of those parameters, in one tensor or one each."""


def no_clock() -> None:
    """Nobody counts the steps of the optimizer: every pass is a gradient of its own."""


@dataclass(frozen=True)
class Gradients:
    """Norms of one update's gradients: one row per gradient, one column per parameter tensor."""

    norms: NDArray[np.float64]
    """Shape [minibatches, parameters]; -inf where a backward pass did not reach a parameter."""
    names: tuple[str, ...]

    @classmethod
    def of(cls, passes: Sequence[Pass], names: tuple[str, ...], *, last: bool = False) -> "Gradients":
        """One row per pass, or, where there is a clock, per step of the optimizer.

        A parameter that was reached several times before one step has the norm it had at first (or last).
        """
        if not passes:
            return cls(np.full((0, len(names)), -np.inf), names)
        # One transfer for the whole update; a stack in every backward pass would cost as much as the norms.
        each = [p.norms if isinstance(p.norms, Tensor) else torch.stack(p.norms) for p in passes]
        values = torch.cat(each).cpu().double().numpy()
        rows = _rows([p.clock for p in passes])
        numbers = np.repeat(rows, [len(p.columns) for p in passes])
        columns = np.fromiter(chain.from_iterable(p.columns for p in passes), dtype=np.int64)
        norms = np.full((rows[-1] + 1, len(names)), -np.inf)
        # Of several assignments to one place the last one stays, if the arrays lie in order.
        if not last:
            numbers, columns, values = (np.ascontiguousarray(a[::-1]) for a in (numbers, columns, values))
        norms[numbers, columns] = values
        return cls(norms, names)

    def total(self, part: str = "all") -> NDArray[np.float64]:
        """Norm over the parameters of "policy", "value" or "all", per minibatch that reached any of them."""
        return self._totals[part]

    @cached_property
    def _totals(self) -> dict[str, NDArray[np.float64]]:
        reached = ~np.isneginf(self.norms)
        # A norm of -inf marks "not reached"; it must not hide a NaN that really was in a gradient.
        squares = np.where(reached, self.norms, 0.0) ** 2
        is_value = np.array([is_of_value(name) for name in self.names], dtype=bool)
        parts: dict[str, NDArray[np.bool_]] = {
            "all": np.ones_like(is_value),
            "value": is_value,
            "policy": ~is_value,
        }
        return {part: np.sqrt(squares @ columns)[(reached @ columns)] for part, columns in parts.items()}

    def first_nonfinite(self) -> tuple[int, str] | None:
        """Minibatch (from 0) and name of the first gradient that is NaN or infinite."""
        bad = np.isnan(self.norms) | np.isposinf(self.norms)
        if not bad.any():
            return None
        minibatch = int(bad.any(axis=1).argmax())
        return minibatch, self.names[int(bad[minibatch].argmax())]


class GradientRecorder:
    """Listens to every backward() between attach() and detach().

    Each parameter gets a post-accumulate hook; the first one of a backward pass asks autograd to call
    back when the pass is complete, and one fused kernel then takes all norms. This runs before any
    clipping, because clipping needs the complete gradients too.

    clock: counts the steps of the optimizer, so that the passes of one gradient that is added up from several, or
    made of several losses, make one row: a gradient's norm is that of its last pass.
    """

    def __init__(self, module: nn.Module, clock: Callable[[], int | None] = no_clock) -> None:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self._names = tuple(name for name, _ in named)
        self._parameters = [p for _, p in named]
        self._handles: list[RemovableHandle] = []
        self._reached: list[int] = []
        self._clock = clock
        self._passes: list[Pass] = []

    def attach(self) -> None:
        """Start listening."""
        self.detach()
        self._passes, self._reached = [], []
        for index, parameter in enumerate(self._parameters):
            handle = parameter.register_post_accumulate_grad_hook(self._hook(index))  # type: ignore[no-untyped-call]
            self._handles.append(handle)

    def detach(self) -> Gradients:
        """Stop listening, leave no hook behind, and return what was heard."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        passes = self._passes
        # A clock that has not moved counts the steps of another optimizer than this one.
        if self._clock() == 0:
            passes = [each._replace(clock=None) for each in passes]
        return Gradients.of(passes, self._names, last=True)

    def _hook(self, index: int) -> Callable[[Tensor], None]:
        mine = weakref.ref(self)  # a hook that outlives its recorder must not keep it, or grow it

        def heard(_: Tensor) -> None:
            recorder = mine()
            if recorder is None:
                return
            if index in recorder._reached:  # of a pass that raised and never came to its end
                recorder._reached = []
            if not recorder._reached:
                Variable._execution_engine.queue_callback(recorder._complete)
            recorder._reached.append(index)

        return heard

    def _complete(self) -> None:
        heard, self._reached = self._reached, []
        # An optimizer that steps inside backward() has taken the gradients of some away already.
        found = [(i, g) for i in heard if (g := self._parameters[i].grad) is not None]
        if not found:
            return
        reached, gradients = zip(*found, strict=True)
        with torch.no_grad():
            norms = tuple(torch._foreach_norm(gradients))
        self._passes.append(Pass(self._clock(), reached, norms))


def _rows(clocks: Sequence[int | None]) -> list[int]:
    """The row of each pass: the next one whenever the clock has moved, or there is none."""
    rows: list[int] = []
    for number, clock in enumerate(clocks):
        same = number > 0 and clock is not None and clock == clocks[number - 1]
        rows.append(rows[-1] + (not same) if rows else 0)
    return rows
