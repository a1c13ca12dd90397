"""Return against environment steps."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from rl_lab.report.charts.encoding import DIVERGED, Colours, Drawing, Sheet, colour, shape, stroke, tips
from rl_lab.report.curves import Panel
from rl_lab.report.look import GREY

_STEPS = alt.X(
    "env_steps:Q",
    title="environment steps",
    scale=alt.Scale(zero=True),
    axis=alt.Axis(format="~s", tickCount=6, grid=False),
)
_SCALE = alt.Scale(zero=False, padding=8)
_DASH = alt.Scale(domain=[False, True], range=[[1, 0], [4, 3]])
_TITLE = "return (mean of the last 20 episodes)"


def learning_curves(panel: Panel, colours: Colours, events: Sequence[str] = (DIVERGED,)) -> Drawing:
    """IQM and band over the runs, single runs thin (unfinished ones dashed), the random policy as reference.

    `events` are those of the whole picture where charts share one legend.
    """
    title = f"{panel.task}: return"
    sheet = Sheet(panel.task)
    if not panel.middle and not panel.seeds:
        return sheet.nothing(title, "no episode has ended yet")
    layers: list[Any] = []
    if any("low" in row for row in panel.middle):
        layers.append(_band(sheet, panel, colours))
    if panel.seeds:
        layers.append(_seeds(sheet, panel, colours))
    if panel.random_return is not None:
        layers += _reference(sheet, panel.random_return)
    if panel.middle:
        layers.append(_middle(sheet, panel, colours))
    if panel.ends:
        layers.append(_ends(sheet, panel, colours, events))
    return sheet.layer(layers, title, turns=("x",))


def _band(sheet: Sheet, panel: Panel, colours: Colours) -> Any:
    area = sheet.on("middle", panel.middle).mark_area(opacity=0.16)
    return area.encode(x=_STEPS, y=alt.Y("low:Q", scale=_SCALE), y2="high:Q", color=colour(colours))


def _middle(sheet: Sheet, panel: Panel, colours: Colours) -> Any:
    told = tips(agent="agent", env_steps="environment steps", iqm="IQM", low="low", high="high", runs="runs")
    line = sheet.on("middle", panel.middle).mark_line(strokeWidth=2.6)
    y = alt.Y("iqm:Q", title=_TITLE, scale=_SCALE)
    return line.encode(x=_STEPS, y=y, color=colour(colours), tooltip=told, **stroke(colours))


def _seeds(sheet: Sheet, panel: Panel, colours: Colours) -> Any:
    line = sheet.on("runs", panel.seeds).mark_line(strokeWidth=1.1, opacity=0.55)
    return line.encode(
        x=_STEPS,
        y=alt.Y("return:Q", title=_TITLE, scale=_SCALE),
        detail="run:N",
        color=colour(colours),
        strokeDash=alt.StrokeDash("unfinished:N", scale=_DASH, legend=None),
        tooltip=tips(run="run", status="status", env_steps="environment steps", **{"return": "return"}),
    )


def _ends(sheet: Sheet, panel: Panel, colours: Colours, events: Sequence[str]) -> Any:
    rows = [{**row, "event": DIVERGED} for row in panel.ends]
    point = sheet.on("ends", rows).mark_point(filled=True, size=70, opacity=1)
    told = tips(run="run", status="status", env_steps="environment steps", **{"return": "last return"})
    y = alt.Y("return:Q", scale=_SCALE)
    return point.encode(x=_STEPS, y=y, color=colour(colours), shape=shape(events), tooltip=told)


def _reference(sheet: Sheet, value: float) -> list[Any]:
    here = sheet.on("reference", [{"value": value, "name": "random policy"}])
    line = here.mark_rule(strokeDash=[6, 4], color=GREY, strokeWidth=1.4).encode(y="value:Q")
    word = here.mark_text(align="right", baseline="bottom", dx=-2, dy=-3, color=GREY)
    return [line, word.encode(x=alt.value("width"), y="value:Q", text="name:N")]
