"""What the units of a policy's networks do on a set of states, heard by hooks that are gone afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rl_lab.monitor.measure.gradients import is_of_value

NONLINEARITIES = (
    nn.Tanh, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid,
    nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish,
)  # fmt: skip


@dataclass(kw_only=True)
class Activations:
    """What was heard, [N, units]; of a convolution the channels are the units, and N counts its places too.

    Which map is the last one is found by listening, not by name, so that ways around a layer, memories and heads of
    any make are no obstacle: the features are what entered the linear map that was called last.
    """

    layers: dict[str, Tensor] = field(default_factory=dict)
    """Outputs of every nonlinearity, by the name of its module, in the order of the forward pass."""
    features: Tensor | None = None
    """What entered the last linear map of the policy: its last hidden layer."""
    preactivations: Tensor | None = None
    """What entered the last nonlinearity of the policy."""
    value_features: Tensor | None = None
    """What entered the last linear map of the value function."""

    def with_value(self, heard: "Activations") -> "Activations":
        """These of the policy, together with those of a forward pass of its value function."""
        return Activations(
            layers={**heard.layers, **self.layers},
            features=self.features,
            preactivations=self.preactivations,
            value_features=heard.value_features,
        )


class _Ear:
    """Keeps what entered and left some modules; one that is called several times, as for a rollout that is judged in
    pieces, adds rows."""

    def __init__(self) -> None:
        self.entered: dict[str, list[Tensor]] = {}
        self.left: dict[str, list[Tensor]] = {}

    def into(self, name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs and isinstance(inputs[0], Tensor):
                # Taken out and put in again, so that the one that was called last stands last.
                self.entered[name] = [*self.entered.pop(name, []), _rows(inputs[0])]

        return hook

    def out_of(self, name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            self.left.setdefault(name, []).append(_rows(output))

        return hook

    def last(self, passes: int, *, value: bool) -> Tensor | None:
        """What entered the module that was called last, of those that are the value function's own or of the rest."""
        names = [name for name in self.entered if is_of_value(name) is value]
        return list(_by_call(names[-1], self.entered[names[-1]], passes).values())[-1] if names else None


@contextmanager
def listening(module: nn.Module) -> Iterator[Activations]:
    """Whatever the module computes inside is heard; the activations are there when the block has ended."""
    heard, linear, nonlinear = Activations(), _Ear(), _Ear()
    handles = []
    for name, part in module.named_modules():
        if isinstance(part, NONLINEARITIES):
            handles.append(part.register_forward_hook(nonlinear.out_of(name)))
            if not getattr(part, "inplace", False):  # the input of one that works in place is its output
                handles.append(part.register_forward_pre_hook(nonlinear.into(name)))
        elif isinstance(part, nn.Linear):
            handles.append(part.register_forward_pre_hook(linear.into(name)))
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()
        # The module that was called least says how many pieces of the rollout there were.
        passes = min(
            (len(each) for ear in (linear.entered, nonlinear.left) for each in ear.values()), default=1
        )
        for name, pieces in nonlinear.left.items():
            heard.layers.update(_by_call(name, pieces, passes))
        heard.features = linear.last(passes, value=False)
        heard.value_features = linear.last(passes, value=True)
        heard.preactivations = nonlinear.last(passes, value=False)


def _by_call(name: str, pieces: list[Tensor], passes: int) -> dict[str, Tensor]:
    """What one module had in each of its calls within a forward pass, all passes joined.

    A network may use one module after several layers.
    """
    calls, odd = divmod(len(pieces), passes)
    if odd:  # not as often in every pass: only the last call is surely of the last layer
        return {name: pieces[-1]}
    return {name if i == 0 else f"{name} #{i + 1}": torch.cat(pieces[i::calls]) for i in range(calls)}


def _rows(tensor: Tensor) -> Tensor:
    found = tensor.detach()
    if found.ndim == 4:  # [N, channels, height, width]
        found = found.movedim(1, -1)
    return found.reshape(-1, found.shape[-1])
