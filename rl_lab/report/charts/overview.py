"""Charts put together for pictures."""

from collections.abc import Sequence

import altair as alt

from rl_lab.report.charts.encoding import DIVERGED, Colours, Drawing
from rl_lab.report.charts.kl import in_legend_order, kl_marks, kl_per_update
from rl_lab.report.charts.learning import learning_curves
from rl_lab.report.charts.rates import collapse_rates
from rl_lab.report.charts.survival import survival_curves
from rl_lab.report.curves import Panel, Row


def overview(panels: Sequence[Panel], colours: Colours) -> Drawing:
    """Learning curves beside KL, one row per task, one legend for all."""
    events = in_legend_order(
        [row["event"] for panel in panels for row in kl_marks(panel)]
        + [DIVERGED for panel in panels if panel.ends]
    )
    parts = [draw(p, colours, events) for p in panels for draw in (learning_curves, kl_per_update)]
    gaps = {"row": 96, "column": 90}
    chart = alt.concat(*(part.chart for part in parts), columns=2, align="all", bounds="flush", spacing=gaps)
    return Drawing(chart.resolve_scale(color="shared", shape="shared"), _all_rows(parts))


def learning_column(panels: Sequence[Panel], colours: Colours) -> Drawing:
    """Learning curves of all tasks below each other."""
    return _column([learning_curves(panel, colours) for panel in panels])


def kl_column(panels: Sequence[Panel], colours: Colours) -> Drawing:
    """KL of all tasks below each other."""
    events = in_legend_order(row["event"] for panel in panels for row in kl_marks(panel))
    return _column([kl_per_update(panel, colours, events) for panel in panels])


def rates_column(panels: Sequence[Panel], colours: Colours) -> Drawing:
    """Collapse rates of all tasks below each other."""
    return _column([collapse_rates(panel, colours) for panel in panels])


def survival_column(panels: Sequence[Panel], colours: Colours) -> Drawing:
    """Survival of all tasks below each other."""
    return _column([survival_curves(panel, colours) for panel in panels])


def _column(parts: Sequence[Drawing]) -> Drawing:
    chart = alt.vconcat(*(part.chart for part in parts))
    return Drawing(chart.resolve_scale(color="shared", shape="shared"), _all_rows(parts))


def _all_rows(parts: Sequence[Drawing]) -> dict[str, list[Row]]:
    return {name: rows for part in parts for name, rows in part.rows.items()}
