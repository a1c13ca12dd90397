"""Gradient norms where the algorithm computes them anyway: inside clip_grad_norm_.

An extra pass over all gradients costs a few percent of a training of small networks. So, while somebody listens,
torch.nn.utils.clip_grad_norm_ is replaced by the same operations in the same order, which show the norms of the
tensors to the listeners. What was there before is put back when the last listener leaves; if that was not torch's
own function, it is called, and the norms are computed for it to be seen.
"""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rl_lab.monitor.gradients import Gradients

_torchs = _found = torch.nn.utils.clip_grad_norm_
_listeners: "weakref.WeakSet[ClipListener]" = weakref.WeakSet()


class ClipListener:
    """Hears the norms of one module's gradients, before clipping, between attach() and detach()."""

    def __init__(self, module: nn.Module) -> None:
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self._names = tuple(name for name, _ in named)
        self._column = {id(p): column for column, (_, p) in enumerate(named)}
        self._rows: list[tuple[tuple[int, ...], tuple[Tensor, ...]]] = []

    def attach(self) -> None:
        """Start listening."""
        global _found
        self._rows = []
        if torch.nn.utils.clip_grad_norm_ is not _shown:
            _found = torch.nn.utils.clip_grad_norm_
        _listeners.add(self)
        torch.nn.utils.clip_grad_norm_ = _shown

    def detach(self) -> Gradients:
        """Stop listening and return what was heard."""
        _listeners.discard(self)
        if not _listeners and torch.nn.utils.clip_grad_norm_ is _shown:
            torch.nn.utils.clip_grad_norm_ = _found
        return Gradients.of(self._rows, self._names)

    def hear(self, parameters: list[Tensor], norms: tuple[Tensor, ...]) -> None:
        """Keep the norms, if the parameters are all of this module."""
        columns = tuple(self._column.get(id(p), -1) for p in parameters)
        if -1 not in columns:
            self._rows.append((columns, norms))


def _shown(
    parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, *args: Any, **kwargs: Any
) -> Tensor:
    several = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    reached = [p for p in several if p.grad is not None]
    gradients = [p.grad for p in reached if p.grad is not None]
    alike = len({(g.device, g.dtype) for g in gradients}) == 1
    if not _listeners or not alike or norm_type != 2.0 or args or kwargs or _found is not _torchs:
        if gradients and _listeners:
            _tell(reached, tuple(torch._foreach_norm(gradients)))
        clipped: Tensor = _found(several, max_norm, norm_type, *args, **kwargs)
        return clipped
    norms = tuple(torch._foreach_norm(gradients))
    total: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    torch.nn.utils.clip_grads_with_norm_(several, max_norm, total)
    _tell(reached, norms)
    return total


def _tell(reached: list[Tensor], norms: tuple[Tensor, ...]) -> None:
    for listener in list(_listeners):
        listener.hear(reached, norms)
