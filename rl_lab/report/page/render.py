"""Content into HTML."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from string import Template

from rl_lab.report.charts import Drawing, collapse_rates, kl_per_update, learning_curves
from rl_lab.report.contrasts import contrast_rows
from rl_lab.report.curves import MARKS, POINTS, Panel
from rl_lab.report.page.content import Content, agent_rows, compared
from rl_lab.report.page.frame import chart, framed, text
from rl_lab.report.page.tables import events_table, html_table, runs_table, table
from rl_lab.report.statistics import RESAMPLES, coverage_of_range, exact_interval
from rl_lab.report.table import Table, table_rows
from rl_lab.report.words import enumeration, percent, plural


def render(content: Content) -> str:
    """The whole page."""
    return framed(
        "page.html",
        kicker="report",
        title=content.title,
        lead=_lead(content),
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
    )


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
    return "\n".join(
        chart(f"{name}-{i}", draw(panel, content.colours)) for i, panel in enumerate(content.panels)
    )


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
