"""Gradient norms before clipping, read where backward() leaves them, without touching anyone's train()."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import Variable
from torch.utils.hooks import RemovableHandle

VALUE_PARTS = ("value_net", "vf_features_extractor", "lstm_critic", "critic")
"""Names by which stable-baselines3 and sb3-contrib call what only the value function uses."""


@dataclass(frozen=True)
class Gradients:
    """Norms of one update's gradients: one row per backward pass, one column per parameter tensor."""

    norms: NDArray[np.float64]
    """Shape [minibatches, parameters]; -inf where a backward pass did not reach a parameter."""
    names: tuple[str, ...]

    @classmethod
    def of(
        cls, rows: Sequence[tuple[tuple[int, ...], tuple[Tensor, ...]]], names: tuple[str, ...]
    ) -> "Gradients":
        """Each backward pass by the columns it reached and their norms, still on the device."""
        norms = np.full((len(rows), len(names)), -np.inf)
        if rows:
            # One transfer for the whole update; a stack per backward pass would cost as much as the norms.
            values = torch.stack([norm for _, row in rows for norm in row]).cpu().double().numpy()
            numbers = [number for number, (reached, _) in enumerate(rows) for _ in reached]
            norms[numbers, [column for reached, _ in rows for column in reached]] = values
        return cls(norms, names)

    def total(self, part: str = "all") -> NDArray[np.float64]:
        """Norm over the parameters of "policy", "value" or "all", per minibatch that reached any of them."""
        is_value = np.array([any(v in name for v in VALUE_PARTS) for name in self.names], dtype=bool)
        columns = {"all": np.ones_like(is_value), "value": is_value, "policy": ~is_value}[part]
        chosen = self.norms[:, columns]
        reached = ~np.isneginf(chosen)
        # A norm of -inf marks "not reached"; it must not hide a NaN that really was in a gradient.
        squares = np.where(reached, chosen, 0.0) ** 2
        return np.asarray(np.sqrt(squares.sum(axis=1))[reached.any(axis=1)])

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
    """

    def __init__(self, module: nn.Module) -> None:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self._names = tuple(name for name, _ in named)
        self._parameters = [p for _, p in named]
        self._handles: list[RemovableHandle] = []
        self._reached: list[int] = []
        self._rows: list[tuple[tuple[int, ...], tuple[Tensor, ...]]] = []

    def attach(self) -> None:
        """Start listening."""
        self.detach()
        self._rows, self._reached = [], []
        for index, parameter in enumerate(self._parameters):
            handle = parameter.register_post_accumulate_grad_hook(self._hook(index))  # type: ignore[no-untyped-call]
            self._handles.append(handle)

    def detach(self) -> Gradients:
        """Stop listening, leave no hook behind, and return what was heard."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        return Gradients.of(self._rows, self._names)

    def _hook(self, index: int) -> Callable[[Tensor], None]:
        mine = weakref.ref(self)  # a hook that outlives its recorder must not keep it, or grow it

        def heard(_: Tensor) -> None:
            recorder = mine()
            if recorder is None:
                return
            if not recorder._reached:
                Variable._execution_engine.queue_callback(recorder._complete)
            recorder._reached.append(index)

        return heard

    def _complete(self) -> None:
        reached, self._reached = tuple(self._reached), []
        gradients = [g for i in reached if (g := self._parameters[i].grad) is not None]
        with torch.no_grad():
            self._rows.append((reached, tuple(torch._foreach_norm(gradients))))
