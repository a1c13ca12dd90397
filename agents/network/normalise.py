"""What keeps the sums that enter a nonlinearity in its range, whatever the weights grow to."""

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import batch_norm


class BatchNorm(nn.BatchNorm1d):
    """Each unit to mean 0 and variance 1: over the minibatch while learning, over the past while acting.

    y = (x - mean) / sqrt(variance + 1e-5) * scale + shift. In training mode mean and variance [F] are those of
    the minibatch [B, F]; in evaluation mode they are running averages of them (momentum 0.1). A policy
    therefore learns as another function than the one that acted: the first minibatch of an update does not read
    ratio 1 and KL 0, and a clipped objective may begin outside its band. That is the trouble with it here, and
    the reason to have it as a choice. Rules that look at the policy only as it acts (trpo, npg) never move its
    running averages; its BatchNorm stays the affine map it began as, and only the value function's normalises.

    A minibatch of one sample has no variance and is treated as while acting, without being averaged in.

    Source: Ioffe and Szegedy (arXiv:1502.03167).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, shape [B, F] -> [B, F]."""
        if self.training and len(x) < 2:
            return batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)


def normaliser(kind: Literal["none", "layer", "rms", "batch"], width: int) -> list[nn.Module]:
    """Return what stands between a layer's sums [B, width] and its nonlinearity: nothing, or one module.

    layer   (x - mean) / sqrt(variance + 1e-5), over the units of one sample: Ba et al. (arXiv:1607.06450)
    rms     x / sqrt(mean x² + eps), likewise: Zhang and Sennrich (arXiv:1910.07467)
    batch   see BatchNorm

    Each is followed by a scale and (not rms) a shift per unit that are learned and begin at 1 and 0.
    """
    match kind:
        case "layer":
            return [nn.LayerNorm(width)]
        case "rms":
            return [nn.RMSNorm(width)]
        case "batch":
            return [BatchNorm(width)]
        case "none":
            return []
