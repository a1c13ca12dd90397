"""The table of the catalogue: every published spectrum, measured again, and how far the two are apart."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from math import floor, isfinite, log10
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from scipy.stats import norm

from envs.card import reference as reference_of
from envs.system import Reference, System
from rl_lab.errors import UserError, did_you_mean
from rl_lab.probes.lyapunov import default_steps, spectrum

CHANCE = 0.0027
"""Chance of calling a right row wrong: that of one exponent being 3 standard errors off."""
AGREES, DIFFERS, UNKNOWN, FAILED = "agrees", "differs", "no reference", "failed"
COMMAND = "rl-lab probe lyapunov --all"
SHOWN = 4
"""Exponents of a row that the Markdown table prints; the JSON document has all."""


@dataclass(frozen=True)
class Job:
    """One row to measure: a system of a catalogue at one set of parameters."""

    catalogue: str
    """"chaos" for the room's own systems, "dysts" for that package's."""
    name: str
    at: Mapping[str, Any]
    time_scale: float
    seed: int = 0

    @property
    def system(self) -> System:
        """The system at these parameters."""
        return replace(systems(self.catalogue)[self.name](), **self.at)


@dataclass(frozen=True)
class Row:
    """What was measured and what it was compared with; plain values."""

    system: str
    at: Mapping[str, Any]
    kind: str
    unit: str
    exponents: tuple[float, ...]
    stderr: tuple[float, ...]
    kaplan_yorke: float | None
    time: float
    reference: dict[str, Any] | None
    deviations: tuple[float, ...] | None
    """Measured minus reference in combined standard errors, per exponent that both have."""
    verdict: str
    note: str | None

    @property
    def farthest(self) -> float | None:
        """The deviation that is farthest from 0."""
        return max(self.deviations, key=abs) if self.deviations else None

    @property
    def parameters(self) -> str:
        """For listings."""
        return ", ".join(f"{name}={value}" for name, value in self.at.items()) or "default"


def systems(catalogue: str) -> dict[str, type[System]]:
    """Name -> class of every system of a catalogue."""
    if catalogue == "dysts":
        from envs.adapters import dysts

        return dict(dysts.systems())
    import envs

    return envs.systems()


def jobs(catalogue: str, only: Sequence[str], time_scale: float, seed: int = 0) -> list[Job]:
    """A row for every published set of parameters; one row at the defaults where nothing is published.

    UserError names what is not in the catalogue.
    """
    known = systems(catalogue)
    wanted = [name.removeprefix("chaos/").rpartition("-v")[0] or name for name in only]
    for name in wanted:
        if name not in known:
            near = did_you_mean(name, known)
            raise UserError(f"--only {name}: there is no such system.{near} (There are: {', '.join(known)})")
    return [
        Job(catalogue, name, dict(reference.at) if reference else {}, time_scale, seed)
        for name, system in known.items()
        if not wanted or name in wanted
        for reference in _published(system)
    ]


def _published(system: type[System]) -> Iterable[Reference | None]:
    known = [r for r in (system.reference, *system.other_references) if r is not None]
    return known or [None]


def measure(job: Job) -> Row:
    """Measure one row; what cannot be measured is a row that says why."""
    system = job.system
    unit = "nats per iteration" if system.kind == "map" else "nats per time unit"
    known = reference_of(system)
    try:
        count = len(known["exponents"]) if known else None
        found = spectrum(system, time=_time(system, count, job.time_scale), vectors=count, seed=job.seed)
    except ValueError as error:
        said = f"{FAILED}: {error}"
        return Row(job.name, job.at, system.kind, unit, (), (), None, 0.0, known, None, said, None)
    complete = len(found.exponents) == len(system.states) or sum(found.exponents) < 0
    return Row(
        job.name,
        job.at,
        system.kind,
        unit,
        found.exponents,
        found.stderr,
        found.kaplan_yorke if complete else None,
        found.time,
        known,
        found.deviations,
        verdict(found.deviations),
        found.note,
    )


def _time(system: System, count: int | None, scale: float) -> float | None:
    """The probe's own time, scaled; None leaves it to the probe."""
    if scale == 1.0 or system.transient:
        return None
    vectors = count or min(len(system.states), 4)
    return default_steps(system, vectors) * system.dt * scale


def verdict(deviations: Sequence[float] | None) -> str:
    """Whether the whole row agrees: k exponents have k chances to be off, which the limit allows for.

    >>> verdict([2.9]), verdict([3.1]), verdict([3.1, 0.0, 0.0]), verdict(None)
    ('agrees', 'differs', 'agrees', 'no reference')
    """
    if not deviations:
        return UNKNOWN
    return AGREES if max(map(abs, deviations)) <= limit(len(deviations)) else DIFFERS


def limit(count: int) -> float:
    """Standard errors that the farthest of `count` exponents exceeds with a chance of CHANCE."""
    return float(norm.isf(CHANCE / 2 / count))


def measured(todo: Sequence[Job], workers: int, told: Callable[[int, Row], None]) -> list[Row]:
    """All rows in order; `told` hears of each when it is done. Processes of their own if there are several."""
    if workers == 1 or len(todo) == 1:
        rows = []
        for n, job in enumerate(todo, 1):
            rows.append(measure(job))
            told(n, rows[-1])
        return rows
    done: dict[int, Row] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(measure, job): n for n, job in enumerate(todo)}
        try:
            for count, future in enumerate(as_completed(waiting), 1):
                done[waiting[future]] = future.result()
                told(count, done[waiting[future]])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [done[n] for n in range(len(todo))]


def document(rows: Sequence[Row], command: str) -> dict[str, Any]:
    """The data file."""
    return {"written_by": command, "rows": [asdict(row) | {"farthest": row.farthest} for row in rows]}


def text(document: Mapping[str, Any]) -> str:
    """The data file as JSON, a line for each row."""
    rows = ",\n".join(" " + json.dumps(row, ensure_ascii=False) for row in document["rows"])
    head = [f'"{key}": {json.dumps(value)}' for key, value in document.items() if key != "rows"]
    return "{" + ",\n".join([*head, f'"rows": [\n{rows}\n]']) + "}\n"


def markdown(rows: Sequence[Row], command: str) -> str:
    """The page of the docs."""
    tally = {
        word: sum(row.verdict.startswith(word) for row in rows) for word in (AGREES, DIFFERS, UNKNOWN, FAILED)
    }
    counts = ", ".join(f"{count} {word}" for word, count in tally.items() if count)
    head = [
        f"<!-- Written by `{command}`. Do not edit: run it again. -->",
        "# Lyapunov exponents of the catalogue",
        "",
        f"Measured by `{command}`: {len(rows)} sets of parameters, {counts}.",
        "",
        f"Nats per time unit, of maps per iteration; the largest {SHOWN} of the exponents that are compared, with one",
        "standard error. *Off* is the exponent farthest from the reference, in combined standard errors. A row",
        f"agrees if that is at most 3.0 for one exponent, {limit(3):.1f} for three, {limit(10):.1f} for ten: the limit "
        f"that chance exceeds in {CHANCE:.2%} of",
        "right rows. The exponents of a transient are those of orbits that are still in it.",
        "",
        "| system | parameters | measured | reference | off | verdict |",
        "| --- | --- | --- | --- | ---: | --- |",
    ]
    notes = [f"[^{n}]: {row.note}" for n, row in _noted(rows)]
    return "\n".join([*head, *_lines(rows), *([""] if notes else []), *notes]) + "\n"


def _noted(rows: Sequence[Row]) -> list[tuple[int, Row]]:
    return list(enumerate((row for row in rows if row.note), 1))


def _lines(rows: Sequence[Row]) -> list[str]:
    number = {id(row): n for n, row in _noted(rows)}
    lines = []
    for row in rows:
        mark = f" [^{number[id(row)]}]" if id(row) in number else ""
        off = "" if row.farthest is None else f"{row.farthest:+.1f}"
        cells = (row.system + mark, row.parameters, *sides(row, "<br>"), off, row.verdict)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def sides(row: Row, between: str) -> tuple[str, str]:
    """Measured and published exponents of a row, each with its error."""
    known = row.reference or {"exponents": (), "stderr": ()}
    return (
        between.join(pairs(row.exponents, row.stderr)[:SHOWN]),
        between.join(pairs(known["exponents"], known["stderr"])[:SHOWN]),
    )


def pairs(values: Sequence[float], errors: Sequence[float]) -> list[str]:
    """Values with their standard errors."""
    return [measured_text(value, error) for value, error in zip(values, errors, strict=True)]


def measured_text(value: float, error: float | None) -> str:
    """A value with as many digits as its standard error allows, which has two.

    >>> measured_text(0.90581, 0.00026), measured_text(0.887249, 0.010579), measured_text(1.5, 0.0)
    ('0.90581 ± 0.00026', '0.887 ± 0.011', '1.5 ± 0')
    """
    if not error or not isfinite(error):
        return f"{value:.6g} ± {error or 0:g}"
    digits = min(12, max(0, 1 - floor(log10(error))))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def refuse(path: Path) -> None:
    """UserError if a file cannot go there: only one that says we wrote it is ever replaced."""
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no directory {path.parent}")
    if path.exists() and not (path.is_file() and COMMAND.encode() in path.read_bytes()[:200]):
        raise UserError(f"{path} was not written by `{COMMAND}` and is left as it is; choose another file")


def write(path: Path, text: str) -> None:
    """Write a generated file, all of it or nothing."""
    refuse(path)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error
