"""KL of every update on a log axis, with the events on it."""

import math
from collections.abc import Iterable, Sequence

import altair as alt

from rl_lab.report.charts.encoding import BELOW, SHAPES, Colours, Drawing, Sheet, colour, shape, stroke, tips
from rl_lab.report.curves import Panel, Row

LOWEST_KL = 1e-7
"""Below this many nats an update changed nothing that a float32 policy can resolve."""

_UPDATE = alt.X("update:Q", title="update", axis=alt.Axis(tickMinStep=1, format="~s", grid=False))
LABELS = (
    "datum.value >= 0.001 && datum.value < 100000 ? format(datum.value, ',~f')"
    " : '1e' + format(log(datum.value) / LN10, '.0f')"
)
"""How a power of ten is written on a logarithmic axis."""


def kl_per_update(panel: Panel, colours: Colours, events: Sequence[str] = ()) -> Drawing:
    """kl_mean, one thin line a run; kl_spike on its line, what is not finite at the top, zero at the bottom.

    `events` are those of the whole picture where charts share one legend.
    """
    title = f"{panel.task}: KL per update"
    sheet = Sheet(panel.task)
    if not panel.kl and not panel.marks:
        return sheet.nothing(title, "no update has been measured yet")
    low, high = kl_axis([row["kl_mean"] for row in panel.kl])
    y = alt.Y(
        "y:Q",
        title="mean KL(old || new) of the update, nats",
        scale=alt.Scale(type="log", domain=[low, high], nice=False, clamp=True),
        axis=alt.Axis(values=decades(low, high), labelExpr=LABELS),
    )
    rows = [row for row in panel.kl if row["kl_mean"] >= low]
    told = tips(run="run", update="update", kl_mean="kl_mean", kl_max="kl_max")
    line = sheet.on("kl", rows).mark_line(strokeWidth=1.3, opacity=0.7)
    painted = {"color": colour(colours), **stroke(colours)}
    along = y.copy()
    along["shorthand"] = "kl_mean:Q"
    layers = [line.encode(x=_UPDATE, y=along, detail="run:N", tooltip=told, **painted)]
    if marks := kl_marks(panel):
        told = tips(event="event", run="run", update="update", kl_mean="kl_mean", message="message")
        points = sheet.on("marks", marks).mark_point(
            filled=True, size=48, opacity=1, stroke="white", strokeWidth=0.7
        )
        named = shape(events or in_legend_order(row["event"] for row in marks))
        layers.append(points.encode(x=_UPDATE, y=y, color=colour(colours), shape=named, tooltip=told))
    return sheet.layer(layers, title, turns=("x", "y"))


def kl_axis(values: Sequence[float]) -> tuple[float, float]:
    """Whole decades around the positive values, at least two of them, none below LOWEST_KL."""
    seen = [value for value in values if value >= LOWEST_KL]
    low = 10.0 ** math.floor(math.log10(min(seen, default=1e-3)))
    high = 10.0 ** math.ceil(math.log10(max(seen, default=1e-1) * 1.05))
    return low, max(high, 100 * low)


def kl_marks(panel: Panel) -> list[Row]:
    """Points and their height y: events on their line or at the top, zero and tiny KL at the bottom."""
    low, high = kl_axis([row["kl_mean"] for row in panel.kl])
    tiny = [{**row, "event": BELOW, "message": "", "y": low} for row in panel.kl if row["kl_mean"] < low]
    return tiny + [{**row, "y": _height(row["kl_mean"], low, high)} for row in panel.marks]


def _height(kl: float | None, low: float, high: float) -> float:
    return high if kl is None else min(max(kl, low), high)


def in_legend_order(events: Iterable[str]) -> list[str]:
    """Each event once, in the one order all legends have."""
    seen = set(events)
    return [name for name in SHAPES if name in seen] + sorted(seen - set(SHAPES))


def decades(low: float, high: float) -> list[float]:
    """Powers of ten from low to high, nine at most."""
    first, last = round(math.log10(low)), round(math.log10(high))
    stride = max(1, math.ceil((last - first) / 8))
    return [10.0**power for power in range(first, last + 1, stride)]
