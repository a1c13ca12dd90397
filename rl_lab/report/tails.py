"""How often an update's KL goes beyond a value: the tail, where spikes live and a mean is blind."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rl_lab.report.digest import Digest
from rl_lab.report.statistics import Floats

TAILS = ("kl_mean", "kl_max")
TAIL_POINTS = 160
"""Most points of one curve; the rarest updates keep one each."""


def exceedance(members: Sequence[Digest], quantity: str) -> list[dict[str, Any]]:
    """Share of the updates of all these runs whose KL is at least `kl` nats: one row a point.

    An update that came out non-finite went beyond every value: it counts in the share and has no point of its own.
    Updates of one run are not independent, so the curve describes these runs and carries no interval.
    """
    finite, lost = _measured(members, quantity)
    total = len(finite) + lost
    if not len(finite):
        return []
    values = np.sort(finite)
    rank = np.unique(
        np.round(len(values) - np.geomspace(1, len(values), min(TAIL_POINTS, len(values)))).astype(int)
    )
    return [
        {
            "agent": members[0].agent,
            "of": quantity,
            "kl": float(values[i]),
            "share": (len(values) - int(np.searchsorted(values, values[i])) + lost) / total,
            "updates": total,
        }
        for i in rank
    ]


def quantiles(members: Sequence[Digest], quantity: str, shares: Sequence[float]) -> list[float | None] | None:
    """KL that the given shares of updates stay below or reach; None without a measured update.

    The inverse of the empirical distribution, an update that came out non-finite counting as infinite.
    """
    finite, lost = _measured(members, quantity)
    if not len(finite) + lost:
        return None
    values = np.sort(np.concatenate([finite, np.full(lost, np.inf)]))
    return [float(value) for value in np.quantile(values, shares, method="inverted_cdf")]


def _measured(members: Sequence[Digest], quantity: str) -> tuple[Floats, int]:
    """All finite values, and how many updates went beyond all bounds."""
    if not any(one.kl_measured for one in members):
        return np.empty(0), 0
    columns: list[Floats] = [getattr(one, quantity) for one in members]
    joined = np.concatenate([np.empty(0), *columns])
    lost = sum(one.lost_updates for one in members)
    return joined[np.isfinite(joined)], lost
