"""Every run as a lane along its environment steps, every event on it."""

import json
from itertools import groupby

import altair as alt

from rl_lab.report.charts.encoding import Colours, Drawing, Sheet, colour, shape, tips
from rl_lab.report.charts.kl import in_legend_order
from rl_lab.report.curves import Panel
from rl_lab.report.look import GREY

LANE, LEAST = 14, 5
"""Height of a lane in pixels, where there are few runs and where there are many."""
TALL = 420
"""From this height on lanes get narrower."""

_TITLE = "environment steps"
_STEPS = alt.X("env_steps:Q", title=_TITLE, axis=alt.Axis(format="~s", tickCount=6, grid=False))


def events_timeline(panel: Panel, colours: Colours) -> Drawing:
    """A line from the start of each run to its end; events where they happened, those of an incident lead to it."""
    title = f"{panel.task}: events"
    sheet = Sheet(panel.task)
    if not panel.lanes:
        return sheet.nothing(title, "no run has been started yet")
    count = len(panel.lanes)
    lane = max(LEAST, min(LANE, TALL // count))
    axis = _names(panel)
    scale = alt.Scale(domain=[-0.8, count - 0.2], reverse=True, nice=False, zero=False)
    y = alt.Y("lane:Q", title=None, scale=scale, axis=axis)
    told = tips(run="run", status="status", env_steps="environment steps")
    ran = sheet.on("lanes", [{**row, "from": 0} for row in panel.lanes])
    line = ran.mark_rule(strokeWidth=max(1.0, lane / 5), opacity=0.3)
    layers = [
        line.encode(
            x=alt.X("from:Q", title=_TITLE), x2="env_steps:Q", y=y, color=colour(colours), tooltip=told
        )
    ]
    if panel.events:
        told = tips(
            event="event", run="run", env_steps="environment steps", update="update", message="message",
            incident="incident",
        )  # fmt: skip
        found = sheet.on("events", panel.events)
        mark = found.mark_point(filled=True, size=lane * 4.2, opacity=0.9, stroke="white", strokeWidth=0.4)
        named = shape(in_legend_order(row["event"] for row in panel.events))
        layers.append(
            mark.encode(x=_STEPS, y=y, color=colour(colours), shape=named, href="incident:N", tooltip=told)
        )
    else:
        word = sheet.on("none", [{"why": "no event in any of these runs"}]).mark_text(color=GREY, fontSize=13)
        middle = {"x": alt.value({"expr": "width / 2"}), "y": alt.value(-6)}
        layers.append(word.encode(**middle, text="why:N"))
    return sheet.layer(layers, title, turns=(), height=max(60, lane * count))


def _names(panel: Panel) -> alt.Axis:
    """One label an arm, at the middle of its lanes."""
    middles, names = [], []
    for name, lanes in groupby(panel.lanes, key=lambda row: str(row["agent"])):
        held = [row["lane"] for row in lanes]
        middles.append(sum(held) / len(held))
        names.append(name)
    label = f"{json.dumps(names)}[indexof({json.dumps(middles)}, datum.value)]"
    return alt.Axis(
        values=middles, labelExpr=label, labelLimit=150, labelPadding=8, grid=False, ticks=False, domain=False,
        labelOverlap=False,
    )  # fmt: skip
