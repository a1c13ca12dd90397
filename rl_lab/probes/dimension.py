"""Kaplan-Yorke dimension and entropy: what a spectrum says about an attractor, with errors."""

from collections.abc import Sequence

import numpy as np

from envs.system import Floats
from rl_lab.probes.blocks import block_stderr, jackknife, leave_one_out


def kaplan_yorke(exponents: Sequence[float]) -> float:
    """j + (l_1 + ... + l_j) / |l_{j+1}| with j the largest number of exponents whose sum is not negative.

    0 if all are negative, their number if all together do not contract. Source: Kaplan and Yorke, Lecture
    Notes in Mathematics 730, 204 (1979).

    >>> round(kaplan_yorke([0.9, 0.0, -14.5]), 4)
    2.0621
    """
    falling = sorted(exponents, reverse=True)
    sums = np.cumsum(falling)
    kept = int(np.sum(np.logical_and.accumulate(sums >= 0)))
    if kept == 0 or kept == len(falling):
        return float(kept)
    return float(kept + sums[kept - 1] / abs(falling[kept]))


def kaplan_yorke_stderr(rates: Floats) -> float:
    """Its standard error from block means [blocks, k]: the jackknife, which keeps their correlations."""
    return jackknife(np.array([kaplan_yorke(row) for row in leave_one_out(rates).tolist()]))


def entropy(rates: Floats) -> tuple[float, float]:
    """Sum of the positive exponents and its standard error, from block means [blocks, k].

    Equal to the metric entropy for attractors with a smooth measure along their unstable directions (Pesin),
    an upper bound for others (Ruelle).
    """
    positive = rates[:, rates.mean(axis=0) > 0].sum(axis=1, keepdims=True)
    return float(positive.mean()), float(block_stderr(positive)[0])
