"""What the units of a policy's networks do on a set of states, heard by hooks that are gone afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

NONLINEARITIES = (
    nn.Tanh, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid,
    nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish,
)  # fmt: skip


@dataclass
class Activations:
    """Outputs of every nonlinearity, by the name of its module, in the order of the forward pass; [N, units]."""

    layers: dict[str, Tensor] = field(default_factory=dict)


@contextmanager
def listening(module: nn.Module) -> Iterator[Activations]:
    """Whatever the module computes inside is heard; the last forward pass counts."""
    heard = Activations()

    def listen(name: str) -> object:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            heard.layers[name] = output.detach().reshape(output.shape[0], -1)

        return hook

    handles = [
        part.register_forward_hook(listen(name))  # type: ignore[arg-type]
        for name, part in module.named_modules()
        if isinstance(part, NONLINEARITIES)
    ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()
