"""How often an update's KL goes beyond a value, both axes logarithmic."""

import math

import altair as alt

from rl_lab.report.charts.encoding import Colours, Drawing, Sheet, colour, tips
from rl_lab.report.charts.kl import LABELS, LOWEST_KL, decades, kl_axis
from rl_lab.report.curves import Panel

_OF = alt.Scale(domain=["kl_mean", "kl_max"], range=[[1, 0], [4, 3]])


def kl_tails(panel: Panel, colours: Colours) -> Drawing:
    """Share of updates with at least that KL: whole lines kl_mean, dashed kl_max, the worst state of the rollout."""
    title = f"{panel.task}: tails of the KL"
    sheet = Sheet(panel.task)
    rows = [row for row in panel.tails if row["kl"] >= LOWEST_KL]
    if not rows:
        return sheet.nothing(title, "no update has a finite KL above zero")
    low, high = kl_axis([row["kl"] for row in rows])
    x = alt.X(
        "kl:Q",
        title="KL(old || new) of an update, nats",
        scale=alt.Scale(type="log", domain=[low, high], nice=False, clamp=True),
        axis=alt.Axis(values=decades(low, high), labelExpr=LABELS, grid=False, labelSeparation=8),
    )
    least = 10.0 ** math.floor(math.log10(min(row["share"] for row in rows)))
    y = alt.Y(
        "share:Q",
        title="share of updates with at least this KL",
        scale=alt.Scale(type="log", domain=[least, 1], nice=False, clamp=True),
        axis=alt.Axis(values=decades(least, 1.0), format="~%"),
    )
    legend = alt.Legend(symbolType="stroke", symbolStrokeColor="#808080", symbolSize=260)
    told = tips(agent="agent", of="quantity", kl="nats", share="share of updates", updates="updates")
    line = sheet.on("tails", rows).mark_line(strokeWidth=1.8, interpolate="step-before")
    drawn = line.encode(
        x=x, y=y, color=colour(colours), tooltip=told,
        strokeDash=alt.StrokeDash("of:N", scale=_OF, legend=legend), detail="agent:N",
    )  # fmt: skip
    return sheet.layer([drawn], title, turns=("x", "y"))
