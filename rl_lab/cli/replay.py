"""replay: the same update again, under its own rule and under others."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rl_lab.cli import show
from rl_lab.cli.work import JsonOption
from rl_lab.errors import UserError

NOT_IDENTICAL = 3
MOST = 100_000
"""Episodes that can be asked for."""


def replay(
    incident: Annotated[
        Path, typer.Argument(help="An incident's directory, or a run's: then its newest incident.")
    ],
    rules: Annotated[
        str | None,
        typer.Option(
            help="Other rules, by comma (`rl-lab agents list`); none: the original alone. "
            "Default: ppo,ppo-noclip,trpo,spo."
        ),
    ] = None,
    evaluate: Annotated[
        int,
        typer.Option(help="Episodes in which the outcome of each rule is tried; 0: none.", min=0, max=MOST),
    ] = 0,
    env: Annotated[
        str | None, typer.Option(help="Evaluate in this environment, not in the one that the incident names.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Where page, picture and document go; default replays/<run>-<incident>."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 if the original replay is not bit-identical.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Redo the very same update: same batch, same minibatches, same optimizer state, under several rules.

    Example:  rl-lab replay runs/mine/incidents/3-kl_spike --rules ppo,ppo-noclip,trpo,spo --evaluate 20
    """
    from rl_lab.replay import find, read
    from rl_lab.replay import replay as redo
    from rl_lab.report.replayed import default_place, refuse_taken, write_replay

    if env is not None and not evaluate:
        raise UserError("--env says where to evaluate, and does not go without --evaluate")
    path, others = find(incident)
    _refuse_inside(out)
    if out is not None:
        refuse_taken(out)
    # Somebody's environment may print; standard output is for the result.
    with contextlib.redirect_stdout(sys.stderr):
        redone = redo(read(path), _names(rules), episodes=evaluate, env=env, told=_progress)
        document = redone.document()
        if others:
            newest = f"{path.name} is the newest of {len(others) + 1} incidents; the others: "
            document["notes"].insert(0, newest + ", ".join(other.name for other in others))
        files = write_replay(document, out or default_place(document))
    if as_json:
        show.document({**document, "files": files})
    else:
        _tell(document, files)
    return NOT_IDENTICAL if strict and not redone.verdict.identical else 0


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"--rules {text!r}: name rules separated by commas, as ppo,trpo, or say none")
    return [] if names == ["none"] else names


def _refuse_inside(out: Path | None) -> None:
    from rl_lab.monitor.record.incident_files import DOCUMENT

    if out is not None and any((place / DOCUMENT).exists() for place in (out, *out.resolve().parents)):
        raise UserError(f"--out {out}: nothing is written inside an incident; choose another place")


def _progress(text: str) -> None:
    print(f"rl-lab: {text}", file=sys.stderr, flush=True)


def _tell(document: dict[str, Any], files: dict[str, str]) -> None:
    from rl_lab.report.replayed import replay_rows

    event = document["event"]
    show.facts(
        [
            ("incident", document["incident"]),
            ("event", f"{event['event']} at update {event['update']}: {event['message']}"),
            ("original", f"{document['original']}, {document['verdict']}"),
        ]
    )
    cells = replay_rows(document)
    show.line()
    show.table(cells.headers, cells.rows)
    show.line()
    for note in cells.notes:
        show.line(f"* {note}")
    show.line()
    show.facts(list(files.items()))
