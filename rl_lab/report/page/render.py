"""Content into HTML."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from rl_lab.report.charts import (
    Drawing,
    collapse_rates,
    events_timeline,
    kl_per_update,
    kl_tails,
    learning_curves,
    performance_profile,
    run_multiples,
    survival_curves,
)
from rl_lab.report.contrasts import contrast_rows
from rl_lab.report.curves import MARKS, POINTS, Panel
from rl_lab.report.look import DASHES, dashes
from rl_lab.report.outcomes import (
    improvement_table,
    logrank_table,
    risk_table,
    scores_table,
    survival_table,
)
from rl_lab.report.page.content import Content, agent_rows, compared, configuration, link
from rl_lab.report.page.frame import chart, framed, script_json, text
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
        links='<a href="#risk">Risk</a><a href="#together">All tasks</a>',
        switches=script_json(_switches(content)),
        question=f'<p class="question">{_spaced(content.question)}</p>',
        findings=_list([sentence for sentence in (content.verdict, *content.findings) if sentence]),
        compared=_compared(content),
        summary=_summary(content),
        contrasts=_contrasts(content),
        learning=_charts(content, learning_curves, "learning"),
        kl=_charts(content, kl_per_update, "kl"),
        tails=_grid(_charts(content, kl_tails, "tails")),
        rates=_charts(content, collapse_rates, "rates"),
        survival=_survival(content),
        timeline=_timelines(content),
        events=events_table(content.runs, lambda target: link(content, target)),
        risk=_risk(content),
        multiples=_charts(content, run_multiples, "multiples"),
        runs=runs_table(content.runs),
        method=_method(),
    )


def _switches(content: Content) -> dict[str, Any]:
    """Arms and seeds that the page can switch off, as the rows of its charts name them."""
    strokes = dashes(content.colours)
    seeds = {one.seed for one in content.runs}
    known = sorted(seed for seed in seeds if seed is not None)
    return {
        "arms": [
            {"value": arm, "label": arm, "colour": colour, "dash": strokes[arm] != DASHES[0]}
            for arm, colour in content.colours.items()
        ],
        "seeds": [{"value": seed, "label": str(seed)} for seed in known]
        + ([{"value": None, "label": "unknown"}] if None in seeds else []),
    }


def _survival(content: Content) -> str:
    tests = logrank_table(content.outcomes)
    compared = _cells(tests, numeric=(2, 3, 4, 5)) if tests.rows else ""
    return (
        _grid(_charts(content, survival_curves, "survival"))
        + _cells(survival_table(content.outcomes), numeric=(2, 3, 4, 5))
        + compared
    )


def _risk(content: Content) -> str:
    """The risk table, and what all tasks together say."""
    outcomes = content.outcomes
    profile = chart("profile-0", performance_profile(outcomes.profiles, content.colours))
    better = improvement_table(outcomes)
    return Template(text("outcomes.html")).substitute(
        risk=_cells(risk_table(outcomes), numeric=range(4, 9)),
        tasks=escape("; ".join(outcomes.tasks) or "none"),
        profile=_grid(profile),
        scores=_cells(scores_table(outcomes), numeric=(1, 2, 3, 4)),
        improvement=_cells(better, numeric=(1,)) if better.rows else "",
    )


def _grid(charts: str) -> str:
    return f'<div class="charts">{charts}</div>'


def _timelines(content: Content) -> str:
    """Incidents become addresses here: what the rows hold is a place on this machine."""

    def linked(panel: Panel) -> Panel:
        events = [
            {**row, "incident": row["incident"] and f"{link(content, Path(row['incident']))}/"}
            for row in panel.events
        ]
        return replace(panel, events=events)

    here = replace(content, panels=[linked(panel) for panel in content.panels])
    return _charts(here, events_timeline, "timeline")


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
    config = configuration(content)
    stored = (
        f"<details><summary>the whole configuration</summary><pre>{escape(config)}</pre></details>"
        if config
        else ""
    )
    return f'{agents}<div class="scroll"><table class="facts"><tbody>{facts}</tbody></table></div>{stored}'


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
