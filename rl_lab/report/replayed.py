"""A replay as a table, a picture and a page; all of them are made from its document."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rl_lab.errors import UserError
from rl_lab.monitor.record.run_directory import encode, untaken
from rl_lab.report.charts.encoding import Drawing
from rl_lab.report.charts.replay import kl_along, ratio_tails, step_lengths, together, worth_of_each
from rl_lab.report.look import PALETTE
from rl_lab.report.page.frame import chart, framed
from rl_lab.report.page.tables import table
from rl_lab.report.publish import png, replace_file
from rl_lab.report.table import Table
from rl_lab.report.words import UNKNOWN, amount

PAGE, PICTURE, DOCUMENT = "index.html", "replay.png", "replay.json"
COLUMNS = {
    "kl_mean": "KL mean",
    "kl_p99": "KL 99 %",
    "kl_max": "KL max",
    "reverse_kl_mean": "reverse KL",
    "ratio_p99": "ratio 99 %",
    "ratio_max": "ratio max",
    "step_norm": "step",
}
"""The measured columns of the table."""


def replay_rows(document: Mapping[str, Any]) -> Table:
    """The rules, the original first, and the policy before the update where returns are compared."""
    evaluated = bool(document["episodes"])
    headers = ["rule", "outcome", *COLUMNS.values(), *(("return", "gain") if evaluated else ())]
    rows = [_row(one, evaluated) for one in document["rules"]]
    if evaluated:
        before = [UNKNOWN] * (len(COLUMNS) + 1)
        rows.insert(0, ["before the update", *before, *_returns(document["before"])])
    return Table(headers, rows, list(document["notes"]))


def refuse_taken(out: Path) -> None:
    """UserError where the files cannot go: nothing on the disk is overwritten."""
    taken = [name for name in (PAGE, PICTURE, DOCUMENT) if (out / name).exists()]
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; --out needs a directory")
    if taken:
        raise UserError(f"{out} holds {taken[0]} already; nothing was changed, choose another --out")


def default_place(document: Mapping[str, Any]) -> Path:
    """replays/<run>-<incident> in the working directory; a number follows where that is taken."""
    name = f"{document.get('run') or 'run'}-{Path(document['incident']).name}".replace("/", "-").replace(
        ":", "-"
    )
    return untaken(Path("replays") / name)


def write_replay(document: Mapping[str, Any], out: Path) -> dict[str, str]:
    """Write page, picture and document; their places by name. UserError: that cannot be done."""
    refuse_taken(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        drawings = panels(document)
        replace_file(
            out / PICTURE, png(together(drawings, heading(document), document["event"]["message"] or ""))
        )
        replace_file(out / DOCUMENT, (json.dumps(encode(document), indent=1) + "\n").encode())
        replace_file(out / PAGE, page(document, drawings).encode())
    except OSError as error:
        raise UserError(f"{out}: cannot write there ({error.strerror}); choose another --out") from error
    return {"page": str(out / PAGE), "picture": str(out / PICTURE), "document": str(out / DOCUMENT)}


def panels(document: Mapping[str, Any]) -> list[Drawing]:
    """The four panels: KL along the way, ratio tails, step, return."""
    rules = document["rules"]
    colours = {one["rule"]: PALETTE[i % len(PALETTE)] for i, one in enumerate(rules)}
    worth = {"before": document["before"], **{one["rule"]: one["return"] for one in rules}}
    return [
        kl_along(rules, colours),
        ratio_tails(rules, colours),
        step_lengths(rules, colours),
        worth_of_each(worth, document["episodes"], colours),
    ]


def heading(document: Mapping[str, Any]) -> str:
    """Which update it is."""
    event, run = document["event"], document.get("run") or "a run"
    return f"{event['event']} in {run}: update {document['update']} again"


def page(document: Mapping[str, Any], drawings: Sequence[Drawing]) -> str:
    """One HTML page that needs nothing but a browser."""
    cells = replay_rows(document)
    numeric = tuple(range(2, len(cells.headers)))
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in cells.notes)
    return framed(
        "replay.html",
        kicker="replay",
        title=heading(document),
        lead=str(document["event"]["message"] or ""),
        findings=f"<ul><li>{escape(document['original'])}: {escape(document['verdict'])}.</li></ul>",
        summary=table(cells.headers, cells.rows, numeric),
        charts="\n".join(chart(f"replay-{i}", drawing) for i, drawing in enumerate(drawings)),
        notes=notes,
    )


def _row(one: Mapping[str, Any], evaluated: bool) -> list[str]:
    name = f"{one['rule']} (original)" if one["original"] else str(one["rule"])
    measured = [_number(one.get(column)) for column in COLUMNS]
    return [name, str(one["outcome"]), *measured, *(_returns(one["return"]) if evaluated else ())]


def _returns(worth: Mapping[str, Any] | None) -> list[str]:
    if worth is None:
        return ["cannot act", UNKNOWN]
    return [_with_interval(worth), _with_interval(worth["gain"])]


def _with_interval(value: Mapping[str, Any] | None) -> str:
    if value is None or value["mean"] is None:
        return UNKNOWN
    return f"{amount(value['mean'])} [{amount(value['low'])}, {amount(value['high'])}]"


def _number(value: Any) -> str:
    return UNKNOWN if value is None else "NaN" if value != value else f"{value:.3g}"
