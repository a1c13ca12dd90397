"""Share of collapsed runs with its exact interval."""

import altair as alt

from rl_lab.report.charts.encoding import Colours, Drawing, Sheet, colour, tips
from rl_lab.report.curves import Panel

_RATE = alt.X(
    "rate:Q",
    title="collapsed runs (bar: exact 95 % interval of the rate)",
    scale=alt.Scale(domain=[0, 1]),
    axis=alt.Axis(format="%", tickCount=5, labelSeparation=8),
)


def collapse_rates(panel: Panel, colours: Colours) -> Drawing:
    """One line per agent: a dot at the observed rate, a bar for its interval, the counts at the end."""
    title = f"{panel.task}: collapse rate"
    sheet = Sheet(panel.task)
    if not any(row["rate"] is not None for row in panel.rates):
        return sheet.nothing(title, "no run has ended yet")
    side = alt.Axis(labelLimit=220, ticks=False, domain=False, labelPadding=12, grid=False)
    y = alt.Y("agent:N", title=None, sort=list(colours), axis=side)
    painted = colour(colours, shown=False)
    told = tips(agent="agent", label="collapsed", low="low", high="high")
    rows = sheet.on("rates", panel.rates)
    measured = sheet.on("measured rates", [row for row in panel.rates if row["rate"] is not None])
    bar = measured.mark_rule(strokeWidth=6, opacity=0.35, strokeCap="round")
    dot = measured.mark_point(filled=True, size=120, opacity=1)
    word = rows.mark_text(align="left", dx=10)
    layers = [
        bar.encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=painted),
        dot.encode(x=_RATE, y=y, color=painted, tooltip=told),
        word.encode(x=alt.value("width"), y=y, text="label:N"),
    ]
    return sheet.layer(layers, title, height=40 * len(panel.rates))
