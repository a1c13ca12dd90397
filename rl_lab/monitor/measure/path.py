"""The way through parameter space inside one update: copies after every optimizer step, judged when asked."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from rl_lab.monitor.measure.distributions import Change, Distribution, Floats

BYTES = 64 * 2**20
"""Memory for the copies of one update; beyond it every second one is dropped, and every second step skipped."""
SKETCH = 64
"""Steps of the path that a sketch looks at: all 320 of a PPO update would cost a fifth of its training."""


class KLPath:
    """Mean KL(pi_old || pi_i) after gradient step i, over a part of the rollout's states, for the steps that were kept.

    Each is a forward pass, made when it is first asked for and remembered.

    Args:
        steps: numbers of the gradient steps that were kept, from 1.
        total: gradient steps in all.
        evaluate: from the place in `steps` to the mean KL [nats].
        steps_per_epoch: gradient steps in one pass over the rollout; None where that is not known.
    """

    def __init__(
        self,
        steps: Sequence[int],
        total: int,
        evaluate: Callable[[int], float],
        steps_per_epoch: int | None = None,
    ) -> None:
        self.steps = tuple(steps)
        """Numbers of the gradient steps that were kept, from 1."""
        self.total = total
        """Gradient steps in all."""
        self.steps_per_epoch = steps_per_epoch
        """Gradient steps in one pass over the rollout; None where that is not known."""
        self._evaluate = evaluate
        self._known: dict[int, float] = {}

    @cached_property
    def kl_mean(self) -> Floats:
        """Shape [len(steps)], nats: all that were kept."""
        return np.array([self.at(i) for i in range(len(self.steps))])

    @cached_property
    def sketch(self) -> tuple[NDArray[np.int64], Floats]:
        """Numbers of at most 64 of the steps, the first and the last kept and others evenly between, and their KL."""
        last = len(self.steps) - 1
        places = sorted({round(i) for i in np.linspace(0, last, min(SKETCH, last + 1)).tolist()})
        steps = np.array([self.steps[i] for i in places], dtype=np.int64)
        return steps, np.array([self.at(i) for i in places], dtype=np.float64)

    def first_beyond(self, limit: float) -> int | None:
        """Number of the first gradient step whose KL is above the limit, or is no number; of those that were kept.

        It walks along the path, and stops there.
        """
        return next((step for i, step in enumerate(self.steps) if not self.at(i) <= limit), None)

    def epoch_of(self, step: int) -> int | None:
        """The pass over the rollout, from 0, that a gradient step (from 1) belongs to; None where it is not known."""
        return None if self.steps_per_epoch is None else (step - 1) // self.steps_per_epoch

    def at(self, place: int) -> float:
        """Mean KL after the step at this place of `steps` [nats]."""
        if place not in self._known:
            self._known[place] = self._evaluate(place)
        return self._known[place]


class PathRecorder:
    """Copies the parameters after every step of the optimizer between attach() and detach().

    parameters: which of the module's; None: all.
    """

    start: Tensor
    """A copy from before the first step."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        budget: int = BYTES,
        parameters: Sequence[Tensor] | None = None,
    ) -> None:
        self.parameters = list(module.parameters()) if parameters is None else list(parameters)
        """Those that are copied, in the order of the copies."""
        self._optimizer = optimizer
        size = sum(p.numel() * p.element_size() for p in self.parameters)
        self._most = max(2, budget // max(size, 1))
        self._handle: RemovableHandle | None = None
        self._places: list[int] = []
        self._views: list[Tensor] = []
        self._forget()

    def attach(self) -> None:
        """Start listening."""
        self.detach()
        self._forget()
        self.start = torch.cat(self._pieces())
        self._handle = self._optimizer.register_step_post_hook(self._stepped)

    def detach(self) -> None:
        """Stop listening, leave no hook behind."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _forget(self) -> None:
        self.total, self._every = 0, 1
        self.steps: list[int] = []
        self.copies: list[Tensor] = []

    def _stepped(self, *_: Any) -> None:
        self.total += 1
        if self.total % self._every and self.total > 1:
            return
        self.steps.append(self.total)
        self.copies.append(torch.cat(self._pieces()))
        if len(self.copies) > self._most:
            self._every *= 2
            # The first one stays, because it is the only one that was made from an unbroken invariant.
            kept = [i for i, step in enumerate(self.steps) if step == 1 or step % self._every == 0]
            self.steps, self.copies = [self.steps[i] for i in kept], [self.copies[i] for i in kept]

    def _pieces(self) -> list[Tensor]:
        """The parameters as vectors, which takes longer to make than to copy: made anew where one lives elsewhere."""
        places = [p.data_ptr() for p in self.parameters]
        if places != self._places:
            self._places, self._views = places, [p.detach().reshape(-1) for p in self.parameters]
        return self._views


def recorded_path(
    recorder: PathRecorder,
    ask: Callable[[Distribution | None], Distribution],
    steps_per_epoch: int | None = None,
) -> KLPath:
    """The KL after each step that was recorded.

    Running averages, as of BatchNorm, are no parameters: they are those after the update for all of the path.

    ask: what the policy says now of some states; all NaN in the shape of what it is given, if its outputs are broken.
    """

    @cache
    def old() -> Distribution:
        # Asked in the same way as the others, so that what has not moved reads exactly 0.
        with borrowed(recorder.parameters, recorder.start):
            return ask(None)

    def kl_mean(place: int) -> float:
        like = old()
        with borrowed(recorder.parameters, recorder.copies[place]):
            return float(Change(like, ask(like)).kl.mean())

    return KLPath(recorder.steps, recorder.total, kl_mean, steps_per_epoch)


def flat(parameters: Sequence[Tensor]) -> Tensor:
    """One vector of copies."""
    with torch.no_grad():
        return torch.cat([p.reshape(-1) for p in parameters])


@contextmanager
def borrowed(module: nn.Module | Sequence[Tensor], vector: Tensor) -> Iterator[None]:
    """The module (or the parameters) with these numbers, and with its own, to the bit, afterwards."""
    parameters = list(module.parameters()) if isinstance(module, nn.Module) else module
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
