"""Which share of an arm's runs has not collapsed yet: Kaplan-Meier steps, and how many runs they rest on."""

from collections.abc import Sequence

import altair as alt

from rl_lab.report.charts.encoding import HEIGHT, Colours, Drawing, Sheet, colour, stroke, tips
from rl_lab.report.curves import Panel
from rl_lab.report.look import GREY

_X = alt.X(
    "env_steps:Q",
    title="environment steps",
    scale=alt.Scale(zero=True, nice=False),
    axis=alt.Axis(format="~s", tickCount=6, grid=False),
)
_SCALE = alt.Scale(domain=[0, 1])
_BELOW, _ROW = 62, 15
"""Pixels from the axis to the first line of numbers at risk, and from one to the next."""


def survival_curves(panel: Panel, colours: Colours) -> Drawing:
    """Steps with their 95 % band, a stroke where a run was last seen alive; below, the runs still at risk."""
    title = f"{panel.task}: survival"
    sheet = Sheet(panel.task)
    if not panel.survival:
        return sheet.nothing(title, "no run has a recorded update")
    arms = [arm for arm in colours if any(row["agent"] == arm for row in panel.survival)]
    painted = {"color": colour(colours), **stroke(colours)}
    steps = sheet.on("survival", panel.survival)
    told = tips(
        agent="agent", env_steps="environment steps", alive="not collapsed", low="low", high="high",
        at_risk="at risk",
    )  # fmt: skip
    y = alt.Y("alive:Q", title="runs not yet collapsed", scale=_SCALE, axis=alt.Axis(format="%", tickCount=5))
    band = steps.mark_area(interpolate="step-after", opacity=0.12)
    line = steps.mark_line(interpolate="step-after", strokeWidth=2.2)
    layers = [
        band.encode(x=_X, y=alt.Y("low:Q", scale=_SCALE), y2="high:Q", color=colour(colours)),
        line.encode(x=_X, y=y, tooltip=told, **painted),
    ]
    if panel.censored:
        seen = sheet.on("last seen", panel.censored).mark_point(
            shape="stroke", angle=90, size=60, opacity=0.9
        )
        told = tips(agent="agent", env_steps="last seen at")
        layers.append(seen.encode(x=_X, y=y, color=colour(colours), tooltip=told))
    return sheet.layer([*layers, *_at_risk(sheet, panel, arms, colours)], title, moves=False)


def _at_risk(sheet: Sheet, panel: Panel, arms: Sequence[str], colours: Colours) -> list[alt.Chart]:
    """A line of numbers an arm, under the axis; its name stands left of them, shortened where it is long."""
    layers = []
    for place, arm in enumerate(arms):
        rows = [row for row in panel.at_risk if row["agent"] == arm]
        y = alt.value(HEIGHT + _BELOW + _ROW * place)
        number = sheet.on(f"at risk, {place}", rows).mark_text(fontSize=11)
        layers.append(number.encode(x=_X, y=y, text="at_risk:Q", color=colour(colours)))
        name = sheet.on(f"name, {place}", rows[:1]).mark_text(align="right", dx=-14, fontSize=11, limit=110)
        layers.append(name.encode(x=alt.value(0), y=y, text="agent:N", color=colour(colours)))
    head = sheet.on("head", [{"name": "runs at risk"}])
    word = head.mark_text(align="left", fontSize=11, color=GREY)
    layers.append(word.encode(x=alt.value(0), y=alt.value(HEIGHT + _BELOW - _ROW), text="name:N"))
    return layers
