"""Small multiples: one little panel an arm, its single runs against the middles of all the others."""

from typing import Any

import altair as alt

from rl_lab.report.charts.encoding import DIVERGED, SHAPES, Colours, Drawing, Sheet, colour, tips
from rl_lab.report.curves import Panel, Row
from rl_lab.report.look import GREY

SIDE, COLUMNS = (150, 105), 5
"""Width and height of one panel; panels in a row of a picture."""


def run_multiples(panel: Panel, colours: Colours) -> Drawing:
    """Return of every run, by arm; grey: the interquartile means of the other arms; all panels share both axes."""
    title = f"{panel.task}: every run"
    sheet = Sheet(panel.task)
    if not panel.seeds:
        return sheet.nothing(title, "no episode has ended yet")
    arms = [arm for arm in colours if any(row["agent"] == arm for row in panel.seeds)]
    axis = alt.Axis(format="~s", tickCount=3, grid=False)
    x = alt.X("env_steps:Q", title="environment steps", axis=axis, scale=alt.Scale(zero=True))
    y = alt.Y("value:Q", title="return", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4))
    rows = [_row(row, "run", row["return"]) for row in panel.seeds]
    rows += [_row(row, "middle", row["iqm"]) for row in panel.middle]
    rows += [_row(row, "end", row["return"]) for row in panel.ends]
    partitioned = sheet.on("every run", rows).data
    others = [{**_row(row, "middle", row["iqm"]), "other": row["agent"]} for row in panel.middle]
    painted = colour(colours, shown=False)
    told = tips(run="run", env_steps="environment steps", value="return")
    behind = sheet.on("the others", others).mark_line(strokeWidth=1, opacity=0.45, color=GREY)
    runs, middle, ends = (
        alt.Chart().transform_filter(f"datum.kind == '{kind}'") for kind in ("run", "middle", "end")
    )
    cross = ends.mark_point(filled=True, size=46, opacity=1, shape=SHAPES[DIVERGED])
    layers = [
        behind.encode(x=x, y=y, detail="other:N"),  # rows of its own: all of them in every panel
        runs.mark_line(strokeWidth=1, opacity=0.6).encode(
            x=x, y=y, detail="run:N", color=painted, tooltip=told
        ),
        middle.mark_line(strokeWidth=2.4).encode(x=x, y=y, color=painted),
    ]
    if panel.ends:
        layers.append(cross.encode(x=x, y=y, color=painted, tooltip=told))
    one = alt.layer(*layers).properties(width=SIDE[0], height=SIDE[1])
    header = alt.Header(title=None, labelFontSize=12, labelLimit=SIDE[0], labelColor=GREY)
    facet = alt.Facet("agent:N", header=header, sort=arms)
    chart = one.facet(facet=facet, data=partitioned, columns=COLUMNS, spacing=18)
    return Drawing(chart.properties(title=alt.Title(title, offset=2)), sheet.rows)


def _row(row: Row, kind: str, value: float) -> Row:
    columns: tuple[str, ...] = ("agent", "seed", "run", "env_steps")
    kept: dict[str, Any] = {key: row[key] for key in columns if key in row}
    return {**kept, "kind": kind, "value": value}
