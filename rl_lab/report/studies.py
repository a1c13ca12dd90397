"""One study, or several side by side: their runs, with arms that tell where they come from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rl_lab.errors import UserError
from rl_lab.report.arms import grouped
from rl_lab.report.census import digests
from rl_lab.report.digest import Digest
from rl_lab.report.look import colours
from rl_lab.report.words import enumeration
from rl_lab.study.store import find_runs, read_study_document


@dataclass(frozen=True, kw_only=True)
class Studies:
    """What the report is of."""

    title: str
    directory: str
    found: Sequence[Digest]
    study: Mapping[str, Any]
    """study.json; of several studies what they hold together, each of them under `studies`."""
    colours: Mapping[str, str]


def read_studies(directories: Sequence[Path]) -> Studies:
    """Read every run there. UserError: a directory without runs, or one that is given twice."""
    places = [path.resolve() for path in directories]
    twice = next((path for path, count in Counter(places).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{twice} is given twice; name each study once")
    read = [(path, digests(find_runs(path)), read_study_document(path) or {}) for path in directories]
    empty = next((path for path, found, _ in read if not found), None)
    if empty is not None:
        raise UserError(f"{empty}: no run has been started there yet, so there is nothing to report")
    if len(read) == 1:
        (path, found, study) = read[0]
        painted = colours(one.agent for one in found)
        return Studies(
            title=_name(path, study), directory=str(path), found=found, study=study, colours=painted
        )
    return _side_by_side(read)


def _side_by_side(read: Sequence[tuple[Path, list[Digest], dict[str, Any]]]) -> Studies:
    """Arms get their study's name as a prefix; an agent keeps its colour in all studies and changes its stroke."""
    names = _names([(path, study) for path, _, study in read])
    found = [
        replace(one, agent=f"{name}: {one.agent}")
        for name, (_, runs, _) in zip(names, read, strict=True)
        for one in runs
    ]
    of = [dict.fromkeys(sorted({one.agent for one in runs})) for _, runs, _ in read]
    painted = colours(agent for agents in of for agent in agents)
    study = {
        "name": enumeration(names),
        "studies": {name: study or {"name": name} for name, (_, _, study) in zip(names, read, strict=True)},
        "runs": sum(int(study.get("runs") or 0) for _, _, study in read),
        "contrasts": _contrasts(names, of, found),
        "question": _question(names),
    }
    return Studies(
        title=enumeration(names),
        directory="; ".join(str(path) for path, _, _ in read),
        found=found,
        study=study,
        colours={
            f"{name}: {agent}": painted[agent]
            for name, agents in zip(names, of, strict=True)
            for agent in agents
        },
    )


def _question(names: Sequence[str]) -> str:
    return f"Do the arms of {enumeration(names)} differ, agent by agent and paired by seed?"


def _contrasts(
    names: Sequence[str], of: Sequence[Mapping[str, None]], found: Sequence[Digest]
) -> dict[str, list[list[str]]]:
    """Every agent of the first study against the same agent of each other one, where a task has both."""
    tasks: dict[str, set[str]] = {}
    for task, agent in grouped(found):
        tasks.setdefault(agent, set()).add(task)
    made = {}
    for name, agents in zip(names[1:], of[1:], strict=True):
        pairs = [[f"{names[0]}: {agent}", f"{name}: {agent}"] for agent in of[0] if agent in agents]
        pairs = [pair for pair in pairs if tasks[pair[0]] & tasks[pair[1]]]
        if pairs:
            made[f"{names[0]} − {name}"] = pairs
    return made


def _names(studies: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[str]:
    """The studies' own names, of those that share one the directory's, and where these are the same the whole path."""
    for name in (_name, lambda path, _: path.resolve().name, lambda path, _: str(path)):
        names = [name(path, study) for path, study in studies]
        if len(set(names)) == len(names):
            break
    return names


def _name(path: Path, study: Mapping[str, Any]) -> str:
    return str(study.get("name") or path.resolve().name)
