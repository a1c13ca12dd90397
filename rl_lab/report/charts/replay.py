"""The same update under several rules: KL along the way, tails of the ratio, length of the step, return."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from rl_lab.report.charts.encoding import Colours, Drawing, Sheet, colour, tips
from rl_lab.report.charts.kl import LABELS, LOWEST_KL, decades, kl_axis
from rl_lab.report.curves import Row
from rl_lab.report.look import GREY

BEFORE = "before"
_STEP = alt.X("step:Q", title="gradient step", axis=alt.Axis(tickMinStep=1, format="~s", grid=False))
_SIDE = alt.Axis(labelLimit=220, ticks=False, domain=False, labelPadding=12, grid=False)


def kl_along(rules: Sequence[Mapping[str, Any]], colours: Colours) -> Drawing:
    """Mean KL(pi_old || pi_i) after gradient step i, a line for each rule; dashed: the limit that it promises."""
    title, sheet = "KL along the update", Sheet("path")
    points = _points(rules)
    if not points:
        return sheet.nothing(title, "no rule moved the policy")
    limits = [{"agent": one["rule"], "limit": one["limit"]} for one in rules if one["limit"] is not None]
    low, high = kl_axis([row["kl"] for row in points] + [row["limit"] for row in limits])
    y = alt.Y(
        "y:Q",
        title="mean KL(old || step i), nats",
        scale=alt.Scale(type="log", domain=[low, high], nice=False, clamp=True),
        axis=alt.Axis(values=decades(low, high), labelExpr=LABELS),
    )
    rows = [{**row, "y": max(row["kl"], low)} for row in points]
    told = tips(agent="rule", step="gradient step", kl="mean KL")
    line = sheet.on("lines", rows).mark_line(strokeWidth=1.8, clip=True)
    ends = {row["agent"]: row for row in rows}  # the last point of each line stays
    dot = sheet.on("ends", list(ends.values())).mark_point(filled=True, size=52, opacity=1)
    layers = [
        line.encode(x=_STEP, y=y, color=colour(colours), tooltip=told),
        dot.encode(x=_STEP, y=y, color=colour(colours), tooltip=told),
    ]
    if limits:
        here = sheet.on("limits", [{**row, "y": row["limit"]} for row in limits])
        rule = here.mark_rule(strokeDash=[5, 4], strokeWidth=1.3, clip=True)
        layers.append(rule.encode(y=y, color=colour(colours), tooltip=tips(agent="rule", limit="its limit")))
    return sheet.layer(layers, title)


def ratio_tails(rules: Sequence[Mapping[str, Any]], colours: Colours) -> Drawing:
    """Where the largest ratios lie: from the 99th percentile to the maximum."""
    title, sheet = "ratio of the actions taken: 99 % and largest", Sheet("ratio")
    rows = [
        {"agent": one["rule"], "p99": one["ratio_p99"], "largest": one["ratio_max"]}
        for one in rules
        if _positive(one.get("ratio_p99")) and _positive(one.get("ratio_max"))
    ]
    if not rows:
        return sheet.nothing(title, "no ratio is a finite number")
    low, high = kl_axis([1.0, *(row[end] for row in rows for end in ("p99", "largest"))])
    x = alt.X(
        "largest:Q",
        title="pi_new(a|s) / pi_old(a|s)",
        scale=alt.Scale(type="log", domain=[low, high], nice=False, clamp=True),
        axis=alt.Axis(values=decades(low, high), labelExpr=LABELS),
    )
    y, painted = _side(colours), colour(colours, shown=False)
    told = tips(agent="rule", p99="99 % are below", largest="largest")
    here = sheet.on("tails", rows)
    one = sheet.on("one", [{"largest": 1.0}]).mark_rule(color=GREY, strokeDash=[5, 4]).encode(x=x)
    bar = here.mark_rule(strokeWidth=5, opacity=0.35, strokeCap="round")
    layers = [
        one,
        bar.encode(x=alt.X("p99:Q"), x2="largest:Q", y=y, color=painted),
        here.mark_point(filled=True, size=70, opacity=1).encode(x=x, y=y, color=painted, tooltip=told),
    ]
    return sheet.layer(layers, title, height=40 * len(rows))


def step_lengths(rules: Sequence[Mapping[str, Any]], colours: Colours) -> Drawing:
    """How far each rule went in parameter space, value function included."""
    title, sheet = "length of the step", Sheet("step")
    rows = [
        {"agent": one["rule"], "length": one["step_norm"]}
        for one in rules
        if one.get("step_norm") is not None and one["step_norm"] < float("inf")
    ]
    if not rows:
        return sheet.nothing(title, "no step is a finite number")
    bar = sheet.on("lengths", rows).mark_bar(size=16, opacity=0.85)
    x = alt.X("length:Q", title="|theta_new - theta_old|, all parameters", scale=alt.Scale(zero=True))
    drawn = bar.encode(
        x=x, y=_side(colours), color=colour(colours, shown=False), tooltip=tips(agent="rule", length="length")
    )
    return sheet.layer([drawn], title, height=40 * len(rows))


def worth_of_each(worth: Mapping[str, Any], episodes: int, colours: Colours) -> Drawing:
    """Mean return of the same episodes with its interval, and that of the policy before the update."""
    title, sheet = "return", Sheet("return")
    rows = [{"agent": name, **value} for name, value in worth.items() if value and value["mean"] is not None]
    if not rows:
        return sheet.nothing(
            title, "not evaluated: --evaluate N does" if not episodes else "no episode ended"
        )
    shown = {**colours, BEFORE: GREY}
    painted = colour(shown, shown=False)
    y = alt.Y("agent:N", title=None, sort=[BEFORE, *colours], axis=_SIDE)
    scale = alt.Scale(zero=False, nice=True)
    x = alt.X("mean:Q", title=f"mean of {episodes} episodes, 95 % interval", scale=scale)
    here = sheet.on("returns", rows)
    bar = here.mark_rule(strokeWidth=6, opacity=0.35, strokeCap="round")
    told = tips(agent="rule", mean="mean", low="low", high="high")
    layers = [
        bar.encode(x=alt.X("low:Q", scale=scale), x2="high:Q", y=y, color=painted),
        here.mark_point(filled=True, size=90, opacity=1).encode(x=x, y=y, color=painted, tooltip=told),
    ]
    return sheet.layer(layers, title, height=40 * len(rows))


def together(parts: Sequence[Drawing], title: str, subtitle: str) -> Drawing:
    """Two panels in a row under one heading."""
    heading = alt.Title(
        title, subtitle=subtitle, fontSize=18, subtitleFontSize=13, subtitleColor=GREY, offset=16
    )
    chart = alt.concat(*(part.chart for part in parts), columns=2, spacing=64, title=heading)
    apart = chart.resolve_scale(color="independent", x="independent", y="independent")
    return Drawing(apart, {name: rows for part in parts for name, rows in part.rows.items()})


def _points(rules: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Finite points of the paths; one of zero lies at the bottom of the axis."""
    return [
        {"agent": one["rule"], "step": step, "kl": kl if kl >= LOWEST_KL else 0.0}
        for one in rules
        if one["path"] is not None
        for step, kl in zip(one["path"]["steps"], one["path"]["kl_mean"], strict=True)
        if 0 <= kl < float("inf")
    ]


def _side(colours: Colours) -> alt.Y:
    return alt.Y("agent:N", title=None, sort=list(colours), axis=_SIDE)


def _positive(value: Any) -> bool:
    return value is not None and 0 < value < float("inf")
