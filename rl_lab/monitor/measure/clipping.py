"""Gradient norms where the algorithm computes them anyway: inside clip_grad_norm_.

An extra pass over all gradients costs a few percent of a training of small networks. So, while somebody listens,
torch.nn.utils.clip_grad_norm_ is replaced by the same operations in the same order, which show the norms of the
tensors to the listeners. What was there before is put back when the last listener leaves; if that was not torch's
own function, it is called, and the norms are computed for it to be seen.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rl_lab.monitor.measure.gradients import Gradients, Pass, no_clock

_torchs = torch.nn.utils.clip_grad_norm_


class ClipListener:
    """Hears the norms of one module's gradients, before clipping, between attach() and detach().

    clock: counts the steps of the optimizer, so that an algorithm may clip parts of its gradient one by one, or the
    whole of it again: all before the same step make one gradient, each norm as it was first.
    """

    def __init__(self, module: nn.Module, clock: Callable[[], int | None] = no_clock) -> None:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self._names = tuple(name for name, _ in named)
        self._column = {id(p): column for column, (_, p) in enumerate(named)}
        self._clock = clock
        self._passes: list[Pass] = []
        self._shown: _Shown | None = None

    def attach(self) -> None:
        """Start listening."""
        self.detach()
        self._passes = []
        here: Any = torch.nn.utils.clip_grad_norm_
        self._shown = here if isinstance(here, _Shown) else _Shown(here)
        self._shown.listeners.add(self)
        torch.nn.utils.clip_grad_norm_ = self._shown

    def detach(self) -> Gradients:
        """Stop listening and return what was heard."""
        if self._shown is not None:
            self._shown.listeners.discard(self)
            self._shown.leave()
            self._shown = None
        return Gradients.of(self._passes, self._names)

    def hear(self, parameters: list[Tensor], norms: Tensor) -> None:
        """Keep the norms, if the parameters are all of this module."""
        columns = tuple(self._column.get(id(p), -1) for p in parameters)
        if -1 not in columns:
            self._passes.append(Pass(self._clock(), columns, norms))


class _Shown:
    """clip_grad_norm_ that shows its norms; each knows what it replaced, so that one that somebody has wrapped in the
    meantime goes on being called without calling itself."""

    def __init__(self, found: Any) -> None:
        self.found = found
        self.listeners: weakref.WeakSet[ClipListener] = weakref.WeakSet()

    def __call__(self, parameters: Tensor | Iterable[Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """What it replaced, to the last bit."""
        listeners = list(self.listeners)
        if not listeners:
            self.leave()
            return self._clip(parameters, *args, **kwargs)
        several = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        reached = [p for p in several if p.grad is not None]
        if not reached:
            return self._clip(several, *args, **kwargs)
        gradients = [p.grad for p in reached if p.grad is not None]
        first = gradients[0]
        alike = all(g.dtype is first.dtype and g.device == first.device for g in gradients)
        with torch.no_grad():
            each = torch._foreach_norm(gradients)
            norms = torch.stack(each if alike else [norm.to(first) for norm in each])
            for listener in listeners:
                listener.hear(reached, norms)
            if alike and self.found is _torchs and len(args) == 1 and not kwargs:
                total: Tensor = torch.linalg.vector_norm(norms)
                torch.nn.utils.clip_grads_with_norm_(several, args[0], total)
                return total
        return self._clip(several, *args, **kwargs)

    def leave(self) -> None:
        """Put back what was there before, if nobody listens any more and nobody has put something over it."""
        if not self.listeners and torch.nn.utils.clip_grad_norm_ is self:
            torch.nn.utils.clip_grad_norm_ = self.found

    def _clip(self, *args: Any, **kwargs: Any) -> Tensor:
        clipped: Tensor = self.found(*args, **kwargs)
        return clipped
