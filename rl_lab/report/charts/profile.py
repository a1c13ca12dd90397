"""Performance profile: which share of an agent's runs, over all tasks, scores above a level."""

from collections.abc import Mapping

import altair as alt

from rl_lab.report.aggregate import Profile
from rl_lab.report.charts.encoding import Colours, Drawing, Sheet, colour, stroke, tips
from rl_lab.report.curves import Row


def performance_profile(profiles: Mapping[str, Profile], colours: Colours) -> Drawing:
    """One falling line an agent with its 95 % band: the higher and the further right, the better."""
    title, sheet = "performance profile", Sheet("all tasks")
    rows: list[Row] = [
        {"agent": agent, "score": float(tau), "share": float(share), "low": float(low), "high": float(high)}
        for agent, one in profiles.items()
        for tau, share, low, high in zip(one.taus, one.share, one.low, one.high, strict=True)
    ]
    if not rows:
        return sheet.nothing(title, "no task has a scale of scores")
    x = alt.X(
        "score:Q",
        title="score (0: random policy, 1: best agent)",
        scale=alt.Scale(nice=False),
        axis=alt.Axis(tickCount=6, grid=False),
    )
    scale = alt.Scale(domain=[0, 1])
    y = alt.Y("share:Q", title="share of runs above it", scale=scale, axis=alt.Axis(format="%", tickCount=5))
    told = tips(agent="agent", score="score", share="share of runs above", low="low", high="high")
    here = sheet.on("profile", rows)
    band = here.mark_area(opacity=0.12).encode(
        x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q", color=colour(colours)
    )
    line = here.mark_line(strokeWidth=2.2).encode(
        x=x, y=y, color=colour(colours), tooltip=told, **stroke(colours)
    )
    return sheet.layer([band, line], title)
