"""Standard errors of averages along an orbit, from the means of equally long blocks of it."""

from math import sqrt

import numpy as np

from envs.system import Floats


def block_stderr(rates: Floats) -> Floats:
    """Standard error of the mean of blocks, [blocks, k] -> [k]; right if the blocks are independent."""
    return np.asarray(rates.std(axis=0, ddof=1) / np.sqrt(len(rates)))


def correlation(rates: Floats) -> float:
    """Correlation of neighbouring blocks, [blocks] -> number; 0 ± 1 / sqrt(blocks) if they are independent.

    Blocks twice as long would have a standard error sqrt(1 + correlation) times as large.
    """
    away = rates - rates.mean()
    square = float(away @ away)
    return float(away[1:] @ away[:-1]) / square if square > 0 else 0.0


def correlation_note(rates: Floats) -> str | None:
    """A sentence, if neighbouring blocks are so alike (three standard deviations) that the error is too small."""
    found = correlation(rates)
    if len(rates) < 10 or found < 3 / sqrt(len(rates)):
        return None
    return (
        f"neighbouring blocks are correlated ({found:.2f}): blocks twice as long would raise the standard error "
        f"by {sqrt(1 + found) - 1:.0%}, so average over a longer time"
    )


def drift_note(rates: Floats) -> str | None:
    """A sentence, if the first quarter of the blocks is unlike the rest (six standard deviations)."""
    first = len(rates) // 4
    if first < 2:
        return None
    early, late = rates[:first, None], rates[first:, None]
    off = float(early.mean() - late.mean())
    if abs(off) <= 6 * float(np.hypot(block_stderr(early)[0], block_stderr(late)[0])) + 1e-9:
        return None
    return f"the first quarter of the average is {off:+.3g} off the rest: discard a longer beginning (settle)"


def jackknife(estimates: Floats) -> float:
    """Standard error of a function of the mean of B blocks, from its B values with one block left out."""
    count = len(estimates)
    return float(np.sqrt((count - 1) / count * np.sum((estimates - estimates.mean()) ** 2)))


def leave_one_out(rates: Floats) -> Floats:
    """Means over all blocks but one, [blocks, k] -> [blocks, k]."""
    return np.asarray((rates.sum(axis=0) - rates) / (len(rates) - 1))
