"""The way through parameter space inside one update: copies after every optimizer step, judged when asked."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rl_lab.monitor.distributions import Floats

BYTES = 64 * 2**20
"""Memory for the copies of one update; beyond it every second one is dropped, and every second step skipped."""


class KLPath:
    """Mean KL(pi_old || pi_i) over the rollout's states after gradient step i, for the steps that were kept."""

    def __init__(self, steps: Sequence[int], total: int, evaluate: Callable[[int], float]) -> None:
        self.steps = tuple(steps)
        """Numbers of the gradient steps that were kept, from 1."""
        self.total = total
        """Gradient steps in all."""
        self._evaluate = evaluate

    @cached_property
    def kl_mean(self) -> Floats:
        """Shape [len(steps)], nats; computed on first use."""
        return np.array([self._evaluate(i) for i in range(len(self.steps))])

    def first_beyond(self, limit: float) -> int | None:
        """Number of the first gradient step whose KL is above the limit, or is no number."""
        beyond = ~(self.kl_mean <= limit)
        return self.steps[int(beyond.argmax())] if beyond.any() else None


class PathRecorder:
    """Copies all parameters after every step of the optimizer between attach() and detach()."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, budget: int = BYTES) -> None:
        self._parameters = list(module.parameters())
        self._optimizer = optimizer
        size = sum(p.numel() * p.element_size() for p in self._parameters)
        self._most = max(2, budget // max(size, 1))
        self._handle: RemovableHandle | None = None

    def attach(self) -> None:
        """Start listening."""
        self.detach()
        self.total, self._every = 0, 1
        self.steps: list[int] = []
        self.copies: list[Tensor] = []
        self._handle = self._optimizer.register_step_post_hook(self._stepped)

    def detach(self) -> None:
        """Stop listening, leave no hook behind."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _stepped(self, *_: Any) -> None:
        self.total += 1
        if self.total % self._every:
            return
        self.steps.append(self.total)
        self.copies.append(flat(self._parameters))
        if len(self.copies) > self._most:
            self._every *= 2
            kept = [i for i, step in enumerate(self.steps) if step % self._every == 0]
            self.steps, self.copies = [self.steps[i] for i in kept], [self.copies[i] for i in kept]


def flat(parameters: Sequence[Tensor]) -> Tensor:
    """One vector of copies."""
    return torch.cat([p.detach().reshape(-1) for p in parameters])


@contextmanager
def borrowed(module: nn.Module, vector: Tensor) -> Iterator[None]:
    """The module with these parameters, and its own, to the bit, afterwards."""
    parameters = list(module.parameters())
    own = flat(parameters)
    try:
        write(parameters, vector)
        yield
    finally:
        write(parameters, own)


def write(parameters: Sequence[Tensor], vector: Tensor) -> None:
    """Copy a flat vector into the parameters."""
    pieces = torch.split(vector, [p.numel() for p in parameters])
    with torch.no_grad():
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.copy_(piece.view_as(parameter))
