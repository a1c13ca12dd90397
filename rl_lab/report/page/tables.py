"""Tables of the page. Every text that comes from a file goes through `html.escape`."""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rl_lab.report.digest import Digest, number
from rl_lab.report.timeline import incident_of, severity
from rl_lab.report.words import UNKNOWN, amount

CAP = 100
"""Most events the page lists; the files hold them all."""

_EVENT_HEADERS = (
    "event",
    "task",
    "agent",
    "seed",
    "update",
    "epoch / minibatch",
    "env steps",
    "value",
    "threshold",
    "what happened",
    "incident",
)
_RUN_HEADERS = ("run", "status", "task", "agent", "seed", "updates", "final return", "remarks", "W&B")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """An HTML table of plain cells, escaped here; `numeric` columns are set right."""
    return html_table(headers, [[escape(cell) for cell in row] for row in rows], numeric)


def html_table(headers: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """As `table`, with cells that are HTML already."""

    def cells(kind: str, row: Sequence[str]) -> str:
        sides = (' class="number"' if i in numeric else "" for i in range(len(row)))
        return "".join(f"<{kind}{side}>{cell}</{kind}>" for side, cell in zip(sides, row, strict=True))

    head = cells("th", [escape(header) for header in headers])
    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def events_table(runs: Sequence[Digest], link: Callable[[Path], str]) -> str:
    """The most severe events first: non-finite, then collapses, then KL spikes, each by size."""
    found = [(one, event) for one in runs for event in one.events]
    if not found:
        return "<p>No event: the monitor saw nothing out of the ordinary in these runs.</p>"
    found.sort(key=lambda pair: severity(pair[1]))
    rows = [[*map(escape, _event_row(*pair)), _incident(*pair, link)] for pair in found[:CAP]]
    shown = html_table(_EVENT_HEADERS, rows, numeric=(3, 4, 5, 6, 7, 8))
    if len(found) > CAP:
        count = f"The {CAP} most severe of {len(found):,} events; events.jsonl of each run holds all."
        shown = f"<p>{count}</p>{shown}"
    return shown


def _event_row(one: Digest, event: Any) -> list[str]:
    place = [str(event[key]) for key in ("epoch", "minibatch") if event.get(key) is not None]
    return [
        str(event.get("event", UNKNOWN)),
        one.task,
        one.agent,
        _whole(one.seed),
        _whole(event.get("update")),
        " / ".join(place) or UNKNOWN,
        _whole(event.get("env_steps")),
        _measured(event.get("value")),
        _measured(event.get("threshold")),
        str(event.get("message") or ""),
    ]


def _incident(one: Digest, event: Any, link: Callable[[Path], str]) -> str:
    kept = incident_of(one, event)
    if kept is None:
        return UNKNOWN
    return f'<a href="{escape(link(kept))}/">{escape(kept.name)}</a>'


def runs_table(runs: Sequence[Digest]) -> str:
    """Every run that was found, counted or not."""
    return html_table(_RUN_HEADERS, [_run_row(one) for one in runs], numeric=(4, 5, 6))


def _run_row(one: Digest) -> list[str]:
    remarks = [one.reason or "", *one.problems, "a newer run has this seed" if one.repeat else ""]
    cells = [
        one.run_id, one.status, one.task, one.agent, _whole(one.seed), f"{one.updates:,}",
        _measured(one.return_final), "; ".join(filter(None, remarks)),
    ]  # fmt: skip
    return [*map(escape, cells), _wandb(one.manifest.get("wandb") or {})]


def _wandb(run: Any) -> str:
    name, url = escape(str(run.get("id") or UNKNOWN)), str(run.get("url") or "")
    if not url.startswith(("https://", "http://")):
        return name
    return f'<a href="{escape(url)}" rel="noopener noreferrer">{name}</a>'


def _whole(value: Any) -> str:
    return UNKNOWN if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _measured(value: Any) -> str:
    if value is None:
        return UNKNOWN
    as_number = number(value)
    return "not a number" if as_number != as_number else amount(as_number)
