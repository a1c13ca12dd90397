"""Content into HTML."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import vl_convert

from rl_lab.report.charts import Drawing, collapse_rates, kl_per_update, learning_curves
from rl_lab.report.contrasts import contrast_rows
from rl_lab.report.curves import MARKS, POINTS, Panel
from rl_lab.report.look import DARK, LIGHT
from rl_lab.report.page.content import Content, agent_rows, compared
from rl_lab.report.page.live import live
from rl_lab.report.page.tables import events_table, html_table, runs_table, table
from rl_lab.report.statistics import RESAMPLES, coverage_of_range, exact_interval
from rl_lab.report.table import Table, table_rows
from rl_lab.report.words import enumeration, percent, plural


def render(content: Content) -> str:
    """The whole page."""
    return Template(text("page.html")).substitute(  # one pass: a $ inside a value stays a $
        title=escape(content.title),
        lead=_lead(content),
        style=text("page.css"),
        findings=_list(content.findings),
        compared=_compared(content),
        summary=_summary(content),
        contrasts=_contrasts(content),
        learning=_charts(content, learning_curves, "learning"),
        kl=_charts(content, kl_per_update, "kl"),
        rates=_charts(content, collapse_rates, "rates"),
        events=events_table(content.runs),
        runs=runs_table(content.runs),
        method=_method(),
        bundle=bundle(),
        themes=script_json({"light": LIGHT, "dark": DARK}),
        script=text("page.js"),
    )


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element: no `<` may end it or open a comment."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _lead(content: Content) -> str:
    agents = len({arm.agent for arm in content.arms})
    tasks = len({arm.task for arm in content.arms})
    return f"{plural(agents, 'agent')} on {plural(tasks, 'task')}, {plural(len(content.runs), 'run')}."


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_spaced(sentence)}</li>" for sentence in sentences) + "</ul>"


def _spaced(text: str) -> str:
    """Escaped, and no line break before a percent sign."""
    return escape(text).replace(" %", "&#8239;%")


def _compared(content: Content) -> str:
    facts = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in compared(content))
    agents = table(("agent", "rule", "trust region", "settings of its own", "in"), agent_rows(content))
    return f'{agents}<div class="scroll"><table class="facts"><tbody>{facts}</tbody></table></div>'


def _summary(content: Content) -> str:
    return _cells(table_rows(content.arms), numeric=(2, 3, 4, 5, 6, 7, 8))


def _contrasts(content: Content) -> str:
    """A section of its own, if the study names any."""
    if not content.contrasts:
        return ""
    body = _cells(contrast_rows(content.contrasts), numeric=(2, 4, 5))
    return f'<section id="contrasts"><h2>Contrasts</h2>\n{body}\n</section>'


def _cells(cells: Table, numeric: Sequence[int]) -> str:
    notes = "".join(f'<p class="note">{_spaced(note)}</p>' for note in cells.notes)
    return html_table(cells.headers, [[_spaced(cell) for cell in row] for row in cells.rows], numeric) + notes


def _charts(content: Content, draw: Callable[[Panel, Mapping[str, str]], Drawing], name: str) -> str:
    def place(index: int, panel: Panel) -> str:
        spec = script_json(live(draw(panel, content.colours).spec()))
        return (
            f'<div><div class="chart" id="{name}-{index}"></div>'
            f'<script type="application/json">{spec}</script></div>'
        )

    return "\n".join(place(i, panel) for i, panel in enumerate(content.panels))


def _method() -> str:
    bounds = [exact_interval(0, n) for n in (3, 5, 10, 20)]
    return Template(text("method.html")).substitute(
        resamples=f"{RESAMPLES:,}",
        points=POINTS,
        marks=MARKS,
        two=f"{100 * coverage_of_range(2):.0f}",
        three=f"{100 * coverage_of_range(3):.0f}",
        four=f"{100 * coverage_of_range(4):.1f}",
        bounds=enumeration([percent(bound.high) for bound in bounds if bound]),
    )


@cache
def bundle() -> str:
    """vega, vega-lite and vega-embed as one script, without the letters that would end it early."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script")


def text(name: str) -> str:
    """A file of this folder."""
    return files("rl_lab.report.page").joinpath(name).read_text(encoding="utf-8")
