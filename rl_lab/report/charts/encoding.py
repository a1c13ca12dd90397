"""What all charts share: size, colour of an agent, shape of an event, tooltips, the panel without data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from rl_lab.report.curves import Row
from rl_lab.report.look import GREY, dashes

Colours = Mapping[str, str]
Spec = dict[str, Any]

WIDTH, HEIGHT = 440, 270

BELOW = "KL below the axis"
DIVERGED = "run diverged"
_X = "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z"
_STAR = "M0,-1L.29,-.4L.95,-.31L.48,.15L.59,.81L0,.5L-.59,.81L-.48,.15L-.95,-.31L-.29,-.4Z"
SHAPES = {
    "nonfinite": _X,
    DIVERGED: _X,
    "performance_collapse": "square",
    "recovery": "triangle-up",
    "kl_spike": "circle",
    "ratio_break": "diamond",
    "invariant_break": _STAR,
    "entropy_collapse": "triangle-left",
    "value_divergence": "triangle-right",
    "rank_collapse": "wedge",
    "exponential_growth": "arrow",
    "gradient_explosion": "cross",
    BELOW: "triangle-down",
}
"""Form of a mark by event, in the order of all legends."""
OTHER = "stroke"
"""Form of an event that this version does not know."""

_WORDS = {"agent", "seed", "run", "status", "event", "message", "label", "of", "incident"}
_WHOLE = {"update", "env_steps", "runs", "updates"}


@dataclass(frozen=True)
class Drawing:
    """A chart and the rows it names. Rows stay outside altair, which would copy and check every number."""

    chart: Any
    rows: Mapping[str, list[Row]]
    turns: tuple[str, ...] = ()
    """Axes, x or y, that a reader may turn from linear to logarithmic and back."""
    moves: bool = True
    """Whether a reader may move and zoom its axes."""

    def spec(self) -> Spec:
        """The Vega-Lite definition, rows included."""
        return {**self.chart.to_dict(), "datasets": dict(self.rows)}

    def still(self) -> Spec:
        """The same for a picture, which nobody can ask for a single run among many: rows marked `many` stay out."""
        rows = {name: [row for row in rows if not row.get("many")] for name, rows in self.rows.items()}
        return {**self.chart.to_dict(), "datasets": rows}


class Sheet:
    """The rows of one panel, by name, while its layers are drawn."""

    def __init__(self, panel: str) -> None:
        self.panel = panel
        self.rows: dict[str, list[Row]] = {}

    def on(self, kind: str, rows: Sequence[Row]) -> alt.Chart:
        """A chart on these rows."""
        name = f"{kind} of {self.panel}"
        self.rows[name] = list(rows)
        return alt.Chart(alt.NamedData(name=name))

    def layer(
        self,
        layers: Sequence[alt.Chart],
        title: str,
        turns: tuple[str, ...] = (),
        moves: bool = True,
        **size: Any,
    ) -> Drawing:
        """Layers of one panel, first at the back."""
        chart = alt.layer(*layers).properties(**{"title": title, "width": WIDTH, "height": HEIGHT, **size})
        return Drawing(chart, self.rows, turns, moves)

    def nothing(self, title: str, why: str) -> Drawing:
        """A panel without data says so instead of showing an empty frame."""
        text = self.on("nothing", [{"why": why}]).mark_text(fontSize=14, color=GREY)
        middle = {"x": alt.value({"expr": "width / 2"}), "y": alt.value({"expr": "height / 2"})}
        return self.layer([text.encode(**middle, text="why:N")], title)


def colour(colours: Colours, shown: bool = True) -> alt.Color:
    """The agent's colour, the same in every chart; `shown` puts it into the legend."""
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    legend = (
        alt.Legend(symbolType="stroke", symbolOpacity=1, symbolSize=260, columns=_columns(colours))
        if shown
        else None
    )
    return alt.Color("agent:N", scale=scale, legend=legend)


def stroke(colours: Colours) -> dict[str, alt.StrokeDash]:
    """The encoding of an arm's stroke, where arms share a colour; the legend shows it with the colour."""
    strokes = dashes(colours)
    if len(set(strokes.values())) < 2:
        return {}
    scale = alt.Scale(domain=list(strokes), range=[list(one) for one in strokes.values()])
    legend = alt.Legend(symbolType="stroke", symbolOpacity=1, symbolSize=260, columns=_columns(colours))
    return {"strokeDash": alt.StrokeDash("agent:N", scale=scale, legend=legend)}


def _columns(agents: Colours) -> int:
    """As many legend entries in a row as fit (a symbol and some 7 units per letter each), at least two."""
    return max(2, min(len(agents), WIDTH // (42 + 7 * max(map(len, agents), default=0))))


def shape(events: Sequence[str]) -> alt.Shape:
    """The event's shape; `events` are those the legend names."""
    scale = alt.Scale(domain=list(events), range=[SHAPES.get(event, OTHER) for event in events])
    return alt.Shape("event:N", scale=scale, legend=alt.Legend(symbolFillColor=GREY, symbolStrokeWidth=0))


def tips(**titles: str) -> list[alt.Tooltip]:
    """Tooltips as field=title; measured numbers with four significant digits."""
    return [_tip(field, title) for field, title in titles.items()]


def _tip(field: str, title: str) -> alt.Tooltip:
    if field in _WORDS:
        return alt.Tooltip(f"{field}:N", title=title)
    return alt.Tooltip(f"{field}:Q", title=title, format=",d" if field in _WHOLE else ".4~g")
