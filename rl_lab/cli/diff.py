"""diff: from which update on do two runs differ, and why?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl_lab.cli import show
from rl_lab.cli.work import JsonOption

if TYPE_CHECKING:
    from rl_lab.report.difference import Difference, First

DIFFERENT = 3


def diff(
    run_a: Annotated[Path, typer.Argument(help="A run directory.")],
    run_b: Annotated[Path, typer.Argument(help="Another one.")],
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 if an update that both have differs.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Compare two runs to the bit: the first update that differs, what in it differs first, and what that means.

    Example:  rl-lab diff runs/first runs/again
    """
    from rl_lab.report.difference import compare, document

    found = compare(run_a, run_b)
    if as_json:
        show.document(document(found))
    else:
        _tell(found)
    return DIFFERENT if strict and found.first is not None else 0


def _tell(found: "Difference") -> None:
    show.facts((name, _described(run)) for name, run in (("A", found.a), ("B", found.b)))
    for note in found.notes:
        show.line(f"* {note}")
    if found.settings:
        show.line()
        rows = [(s.key, _cell(s.a), _cell(s.b)) for s in found.settings]
        show.table(("made differently", "A", "B"), rows)
    show.line()
    show.line(found.verdict)
    if found.first is not None:
        _tell_parts(found.first)
        _tell_gaps(found)
    _tell_events(found)


def _tell_parts(first: "First") -> None:
    from rl_lab.monitor.measure.parts import PARTS

    show.line()
    rows = [(part, a, b, "" if a == b else "differs", PARTS[part]) for part, (a, b) in first.digests.items()]
    show.table((f"update {first.update}", "A", "B", "", "which is"), rows)


def _tell_gaps(found: "Difference") -> None:
    from rl_lab.report.parting import shown
    from rl_lab.report.words import amount

    chosen = shown(found.gaps)
    names = list(dict.fromkeys(name for gap in chosen for name in gap.columns))
    if not names:
        return
    show.line()
    rows = [
        (
            f"{gap.update} (+{gap.after})",
            *(amount(gap.columns[name].relative) if name in gap.columns else "–" for name in names),
        )
        for gap in chosen
    ]
    show.table(("relative difference at update", *names), rows)
    if found.parting:
        show.line(found.parting)


def _tell_events(found: "Difference") -> None:
    rows = [
        (name, str(event["update"]), str(event["event"]), str(event["message"]))
        for name, events in (("A", found.only_a), ("B", found.only_b))
        for event in events
    ]
    if rows:
        show.line()
        show.table(("only in", "update", "event", ""), rows)


def _described(run: Any) -> str:
    manifest = run.manifest
    agent, env = manifest.get("agent") or {}, manifest.get("env") or {}
    return (
        f"{run.path}: {agent.get('name')} on {env.get('id')}, seed {manifest.get('seed')}, "
        f"{len(run.updates)} updates, {run.status}"
    )


def _cell(value: Any) -> str:
    return "–" if value is None else str(value)
