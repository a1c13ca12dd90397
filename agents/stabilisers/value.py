"""What the value function descends: squares, squares with straight ends, or a cross-entropy over bins."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn
from torch.nn.functional import huber_loss, mse_loss

from agents.batch import Batch


@dataclass(frozen=True, kw_only=True)
class ValueSettings:
    """The loss of the value function."""

    value_loss: Literal["mse", "huber", "hl_gauss"] = "mse"
    """`mse`: squared error. `huber`: the same up to huber_delta and straight beyond. `hl_gauss`: the value is the
    mean of a categorical distribution, which learns by cross-entropy (Farebrother et al., arXiv:2403.03950)."""
    huber_delta: Annotated[float, Gt(0)] = 1.0
    """Error at which the squared error turns straight, in units of the return."""
    value_bins: Annotated[int, Ge(2)] = 51
    """Bins of hl_gauss."""
    value_min: float = -10.0
    """Lower end of the lowest bin of hl_gauss, in units of the return; returns below count as it, and the log says
    their share (returns_beyond_bins). The default fits normalised rewards."""
    value_max: float = 10.0
    """Upper end of the highest bin of hl_gauss."""
    value_sigma: Annotated[float, Gt(0)] = 0.75
    """Deviation of hl_gauss's targets in units of the width of a bin."""
    clip_range_vf: Annotated[float, Gt(0)] | None = None
    """PPO's value clipping: no gradient beyond this distance from the old value, in units of the return. None:
    none."""


def head(settings: ValueSettings) -> Callable[[int], nn.Module] | None:
    """Return what builds the last layer of the value function from the number of features; None: SB3's.

    ValueError: settings that contradict each other.
    """
    if settings.value_loss != "hl_gauss":
        return None
    if settings.clip_range_vf is not None:
        raise ValueError(
            "clip_range_vf clips a value, and hl_gauss learns a distribution: choose one of them"
        )
    if not settings.value_min < settings.value_max:
        raise ValueError(
            f"value_min must be below value_max, got {settings.value_min} and {settings.value_max}"
        )
    width = (settings.value_max - settings.value_min) / settings.value_bins
    return partial(
        CategoricalValue,
        bins=settings.value_bins,
        low=settings.value_min,
        high=settings.value_max,
        sigma=settings.value_sigma * width,
    )


def loss(settings: ValueSettings, policy: ActorCriticPolicy, values: Tensor, batch: Batch) -> Tensor:
    """Mean loss of the values [B] that the policy has just given for the states of this batch."""
    if settings.value_loss == "hl_gauss":
        last: object = policy.value_net  # SB3's annotation knows Linear only
        if not isinstance(last, CategoricalValue):
            raise TypeError(f"hl_gauss needs a policy with its value head, found {type(last).__name__}")
        return last.loss(batch.returns)
    if settings.clip_range_vf is not None:
        values = clipped(values, batch.values, settings.clip_range_vf)
    if settings.value_loss == "huber":
        # torch's is half a square in the middle; twice that is the squared error it replaces.
        return 2 * huber_loss(values, batch.returns, delta=settings.huber_delta)
    return mse_loss(batch.returns, values)


def share_beyond(settings: ValueSettings, returns: Tensor) -> Tensor | None:
    """Share of the returns [B] that the bins of hl_gauss cannot represent; None under another loss."""
    if settings.value_loss != "hl_gauss":
        return None
    return ((returns < settings.value_min) | (returns > settings.value_max)).double().mean()


def clipped(values: Tensor, old_values: Tensor, clip_range: float) -> Tensor:
    """old + clip(new - old, ±clip_range), so that a value further away than that has no gradient.

    Source: the PPO of OpenAI's Baselines, without the maximum it takes with the loss that is not clipped; so
    does stable-baselines3.
    """
    return old_values + torch.clamp(values - old_values, -clip_range, clip_range)


class CategoricalValue(nn.Module):
    """V(s) = sum_i softmax(W features + b)_i centre_i over equal bins from low to high.

    Source: Farebrother et al., Stop Regressing (arXiv:2403.03950), appendix A; bins and sigma as in Hyper++
    (arXiv:2512.14202).
    """

    edges: Tensor

    def __init__(self, features: int, *, bins: int, low: float, high: float, sigma: float) -> None:
        super().__init__()
        self.linear = nn.Linear(features, bins)
        self.sigma = sigma
        self.register_buffer("edges", torch.linspace(low, high, bins + 1))
        self._logits: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Return values [B, 1] of features [B, F], and keep the logits for the loss."""
        logits: Tensor = self.linear(features)
        self._logits = logits
        centres = (self.edges[1:] + self.edges[:-1]) / 2
        return (logits.softmax(-1) @ centres).unsqueeze(-1)

    def loss(self, returns: Tensor) -> Tensor:
        """Mean cross-entropy between targets at these returns [B] and the logits of the last states seen.

        They serve once: logits that have been learnt from are never taken for those of other states.
        """
        logits, self._logits = self._logits, None
        if logits is None or len(logits) != len(returns):
            raise RuntimeError("the value function has not seen the states of these returns just before")
        targets = gaussian_bins(returns, self.edges, self.sigma)
        return -(targets * logits.log_softmax(-1)).sum(-1).mean()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_logits": None}  # a tensor with a graph can be neither copied nor pickled


def gaussian_bins(returns: Tensor, edges: Tensor, sigma: float) -> Tensor:
    """p_i = [Phi((e_i+1 - y)/sigma) - Phi((e_i - y)/sigma)] / (the same from the first edge to the last).

    Shapes: returns [B], edges [K+1] -> [B, K]. A return beyond the edges counts as the nearest of them; one that
    is not finite gives NaN.
    """
    nearest = returns.clamp(edges[0], edges[-1]).where(returns.isfinite(), torch.nan)
    below: Tensor = torch.special.ndtr((edges - nearest.unsqueeze(-1)) / sigma)
    return below.diff(dim=-1) / (below[:, -1:] - below[:, :1])
