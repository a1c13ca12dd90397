"""The three panels of a task's picture: attractor, one episode with and without control, neighbours that part."""

from collections.abc import Sequence
from math import log10
from typing import Any

import altair as alt
import numpy as np

from rl_lab.report.charts.encoding import Drawing, Sheet
from rl_lab.report.curves import Row
from rl_lab.report.look import GREY, PALETTE

BLUE, ORANGE, GREEN = PALETTE[:3]
WIDTH, HEIGHT = 340, 300
FREE, HELD, TARGET = "uncontrolled", "controlled", "target"
PAIR, MEAN, FIT, REFERENCE = "pairs", "mean", "fit", "reference"
CLOUD = "#9fb0c3"


def paint(named: dict[str, str]) -> alt.Color:
    """Colour by name, with a legend."""
    return alt.Color(
        "name:N",
        scale=alt.Scale(domain=list(named), range=list(named.values())),
        legend=alt.Legend(symbolType="stroke", symbolOpacity=1, symbolSize=200, columns=4),
    )


def attractor(
    names: tuple[str, str], points: Any, path: Any, target: Any, joined: bool, title: Sequence[str]
) -> Drawing:
    """Points [M, 2] of the attractor, an episode's path [T, 2] and the target [K, 2] on two states.

    `joined`: the points are an orbit in order, drawn as a line.
    """
    sheet = Sheet("attractor")
    x = alt.X("x:Q", title=names[0], scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=6))
    y = alt.Y("y:Q", title=names[1], scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=6))
    legend = {FREE: CLOUD} | ({HELD: BLUE} if len(path) else {}) | ({TARGET: GREEN} if len(target) else {})
    colour = paint(legend)

    def orbit(name: str, rows: Any, lined: bool, width: float, size: float) -> Any:
        made = sheet.on(name, _rows(rows, name))
        line = (
            made.mark_line(strokeWidth=width, opacity=0.8)
            if lined
            else made.mark_circle(size=size, opacity=0.8)
        )
        return line.encode(x=x, y=y, color=colour, **({"order": "n:Q"} if lined else {}))

    layers = [orbit(FREE, points, joined, 0.7, 5)]
    if len(path):
        layers.append(orbit(HELD, path, joined, 1.5, 26))
    if len(target):
        size, width, shape = (150, 2.5, "circle") if len(target) < 9 else (14, 2.0, "circle")
        mark = sheet.on(TARGET, _rows(target, TARGET)).mark_point(
            opacity=1, filled=False, size=size, strokeWidth=width, shape=shape
        )
        layers.append(mark.encode(x=x, y=y, color=colour))
    return sheet.layer(layers, title, width=WIDTH, height=HEIGHT)  # type: ignore[arg-type]


def space_time(
    times: Any, values: Any, place: str, length: float, unit: str, title: Sequence[str]
) -> Drawing:
    """A field [T, sites] as colours, time downwards."""
    sheet = Sheet("attractor")
    sites, gap = values.shape[1], length / values.shape[1]
    tick = float(times[1] - times[0])
    rows = [
        {"x": i * gap, "x2": (i + 1) * gap, "t": float(t), "t2": float(t) + tick, "u": float(values[k, i])}
        for k, t in enumerate(times)
        for i in range(sites)
    ]
    reach = float(np.abs(values - _white(values)).max())
    scale = alt.Scale(
        scheme="blueorange", domain=[_white(values) - reach, _white(values) + reach], nice=False
    )
    rect = sheet.on("field", rows).mark_rect()
    drawn = rect.encode(
        x=alt.X("x:Q", title=place, scale=alt.Scale(domain=[0, length], nice=False)),
        x2="x2:Q",
        y=alt.Y("t:Q", title=unit, scale=alt.Scale(reverse=True, nice=False)),
        y2="t2:Q",
        color=alt.Color(
            "u:Q", scale=scale, legend=alt.Legend(title="state", gradientLength=150, direction="horizontal")
        ),
    )
    return sheet.layer([drawn], title, width=WIDTH, height=HEIGHT)  # type: ignore[arg-type]


def _white(values: Any) -> float:
    low, high = float(values.min()), float(values.max())
    return 0.0 if low < 0 < high else (low + high) / 2


def episode(
    times: Any, free: Any, held: Any, what: str, unit: str, log: bool, title: Sequence[str]
) -> Drawing:
    """One number against time, without control and, where there is one, with it."""
    sheet = Sheet("episode")
    legend = {FREE: ORANGE} | ({HELD: BLUE} if held is not None else {})
    rows = [_line(times, free, FREE)] + ([_line(times, held, HELD)] if held is not None else [])
    scale = alt.Scale(type="log", nice=True) if log else alt.Scale(zero=True)
    seen = [row["y"] for part in rows for row in part]
    axis = decades(seen) if log else alt.Axis(format="~g", tickCount=6)
    line = sheet.on("lines", [row for part in rows for row in part]).mark_line(strokeWidth=1.6)
    drawn = line.encode(
        x=alt.X("x:Q", title=unit, axis=alt.Axis(grid=False, tickCount=6)),
        y=alt.Y("y:Q", title=what, scale=scale, axis=axis),
        color=paint(legend),
        order="x:Q",
    )
    return sheet.layer([drawn], title, width=WIDTH, height=HEIGHT)  # type: ignore[arg-type]


def neighbours(
    times: Any, pairs: Any, fit: Any | None, reference: Any | None, unit: str, title: Sequence[str]
) -> Drawing:
    """Distances [T, N] of pairs on a log axis, their geometric mean, the fitted line and the reference's slope.

    `fit` and `reference` are rows (time, distance) of the ends of a straight line.
    """
    sheet = Sheet("neighbours")
    legend = {PAIR: "#b9c6d3", MEAN: BLUE}
    thin = [
        {**row, "pair": n} for n in range(min(pairs.shape[1], 12)) for row in _line(times, pairs[:, n], PAIR)
    ]
    x = alt.X("x:Q", title=unit, axis=alt.Axis(grid=False, tickCount=6))
    y = alt.Y(
        "y:Q",
        title="distance of two neighbours, half-ranges",
        scale=alt.Scale(type="log", nice=True),
        axis=decades([row["y"] for row in thin]),
    )
    straight: list[Row] = []
    for name, ends, tint in ((FIT, fit, ORANGE), (REFERENCE, reference, GREEN)):
        if ends is not None:
            legend[name] = tint
            straight += [{"x": float(a), "y": float(b), "name": name} for a, b in ends]
    middle = _line(times, np.exp(np.log(pairs).mean(axis=1)), MEAN)
    layers = [
        sheet.on("pairs", thin)
        .mark_line(strokeWidth=0.8)
        .encode(x=x, y=y, detail="pair:N", color=paint(legend)),
        sheet.on("mean", middle).mark_line(strokeWidth=2.4).encode(x=x, y=y, color=paint(legend)),
    ]
    if straight:
        line = sheet.on("straight", straight).mark_line(strokeWidth=2.2, strokeDash=[6, 4], clip=True)
        layers.append(line.encode(x=x, y=y, color=paint(legend)))
    return sheet.layer(layers, title, width=WIDTH, height=HEIGHT)  # type: ignore[arg-type]


def decades(values: Sequence[float]) -> alt.Axis:
    """An axis with grid lines at powers of ten only, seven at most."""
    low, high = (round(log10(end)) for end in (min(values, default=0.1), max(values, default=1.0)))
    stride = max(1, -(-(high - low) // 7))
    return alt.Axis(
        format=".0e", values=[10.0**power for power in range(low - stride, high + stride, stride)]
    )


def side_by_side(parts: Sequence[Drawing], title: str, subtitle: Sequence[str]) -> Drawing:
    """Panels in a row under one heading."""
    heading = alt.Title(
        title, subtitle=list(subtitle), fontSize=19, subtitleFontSize=13, subtitleColor=GREY, offset=18
    )
    chart = alt.concat(*(part.chart for part in parts), columns=len(parts), spacing=64, title=heading)
    apart = chart.resolve_scale(color="independent", x="independent", y="independent")
    return Drawing(apart, {name: rows for part in parts for name, rows in part.rows.items()})


def _rows(points: Any, name: str) -> list[Row]:
    return [{"x": float(x), "y": float(y), "n": n, "name": name} for n, (x, y) in enumerate(points)]


def _line(times: Any, values: Any, name: str) -> list[Row]:
    return [
        {"x": float(t), "y": float(v), "name": name}
        for t, v in zip(times, values, strict=True)
        if np.isfinite(v)
    ]
