"""A few numbers about many, fast on the few samples of a small rollout, where numpy's own take most of the time."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def float64(tensor: Tensor) -> NDArray[np.float64]:
    """The tensor's numbers, without its graph, off its device."""
    return np.asarray(tensor.detach().cpu().double().numpy())  # in this order: not every device has float64


def percentile(values: NDArray[Any], q: float) -> float:
    """The smallest of the values that at least q % of the others do not exceed; NaN where one of them is NaN.

    An order statistic, because interpolation would turn inf - inf into NaN: numpy's percentile(method="higher"),
    which takes ten times as long on the few samples of an A2C rollout.
    """
    last = len(values) - 1
    ordered = np.partition(values, (math.ceil(last * (q / 100)), last))
    return math.nan if np.isnan(ordered[last]) else float(ordered[math.ceil(last * (q / 100))])


def rms(values: NDArray[Any]) -> float:
    """Root mean square, in float64."""
    numbers = np.asarray(values, dtype=np.float64).ravel()
    return math.sqrt(numbers @ numbers / len(numbers))


def length(vector: Tensor) -> float:
    """L2 norm, in float64: squares of large float32 numbers overflow."""
    numbers = vector.detach().cpu()  # first, because not every device has float64
    return float(
        torch.linalg.vector_norm(
            numbers if numbers.is_floating_point() else numbers.double(), dtype=torch.float64
        )
    )


def variance(values: NDArray[Any]) -> float:
    """Mean square deviation from the mean, in float64."""
    numbers = np.array(values, dtype=np.float64).ravel()
    numbers -= numbers.mean()
    return float(numbers @ numbers) / len(numbers)
