"""Two runs to the bit: from which update on they differ, in what first, and how fast they part."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rl_lab.errors import UserError
from rl_lab.monitor.measure.parts import PARTS, PREFIX
from rl_lab.monitor.record.run_directory import Run, read_run
from rl_lab.report.causes import IN_WORDS, cause
from rl_lab.report.parting import Gap, Growth, Row, gaps, growth, parted, shown
from rl_lab.report.words import UNKNOWN, amount, enumeration, plural, span

DECISIVE = ("env", "agent", "seed", "steps", "level", "guards", "versions", "machine", "git")
"""Entries of a manifest that may decide numbers."""
WORDS_ONLY = ("env.label", "agent.label", "agent.source", "agent.file", "agent.trust_region")
"""What is in them and decides nothing."""
NAMED = 4
"""Settings that the verdict names; all are listed."""


@dataclass(frozen=True)
class Setting:
    """An entry of the manifests that is not the same; None where one of them has none."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True)
class First:
    """The first update that differs."""

    update: int
    part: str
    """The first part of it, in causal order, that differs."""
    digests: Mapping[str, tuple[str, str]]
    """The digests of both runs by part, as far as both have them."""
    cause: str

    @property
    def different(self) -> tuple[str, ...]:
        """All parts that differ in this update."""
        return tuple(part for part, (a, b) in self.digests.items() if a != b)


@dataclass(frozen=True)
class Difference:
    """What two runs have in common, and from where on they differ."""

    a: Run
    b: Run
    settings: list[Setting]
    compared: int
    """Updates that both have."""
    first: First | None
    gaps: list[Gap] = field(default_factory=list)
    """All updates from the first different one on."""
    only_a: list[Row] = field(default_factory=list)
    """Events that the other run has not had in the same update."""
    only_b: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def growth(self) -> Growth | None:
        """The rate at which they part."""
        return growth(self.gaps)

    @property
    def verdict(self) -> str:
        """One sentence: identical, or where and in what they differ first, and why that is so."""
        if self.first is None:
            return self._identical()
        first = self.first
        same = first.update - min(_by_update(self.a))
        begin = (
            f"{_updates(same, self.a)} identical to the bit; at update {first.update} they differ"
            if same
            else f"they differ from update {first.update} on,"
        )
        return f"{begin} first in {IN_WORDS[first.part]}: {first.cause}; {self._reasons()}"

    def _identical(self) -> str:
        lengths = len(_by_update(self.a)), len(_by_update(self.b))
        if lengths[0] == lengths[1]:
            return f"all {plural(self.compared, 'update')} are identical to the bit"
        longer, more = ("A", lengths[0]) if lengths[0] > lengths[1] else ("B", lengths[1])
        return (
            f"the {plural(self.compared, 'update')} that both have are identical to the bit; "
            f"{longer} has {more - self.compared} more"
        )

    def _reasons(self) -> str:
        if not self.settings:
            return "the manifests give no reason: settings, seed, versions and machine are the same"
        told = [f"{s.key} ({_short(s.a)} | {_short(s.b)})" for s in self.settings[:NAMED]]
        if len(self.settings) > NAMED:
            told.append(f"{len(self.settings) - NAMED} more")
        return f"the manifests differ in {enumeration(told)}"

    @property
    def parting(self) -> str | None:
        """One sentence on how the difference went on."""
        if self.first is None:
            return None
        end, fitted = parted(self.gaps), self.growth
        sentences = []
        if fitted is not None:
            sentences.append(
                f"the relative difference grows {amount(math.exp(fitted.rate))}-fold per update "
                f"(rate {amount(fitted.rate)}, 95 % interval {span(fitted.interval)}, "
                f"from updates {fitted.first}-{fitted.last})"
                if fitted.is_exponential
                else f"no steady growth: rate {amount(fitted.rate)} per update, 95 % interval {span(fitted.interval)}"
            )
        if end is not None:
            after = end - self.first.update
            sentences.append(
                f"it reaches 10 % at update {end}, {after} after the first"
                if after
                else "they are more than 10 % apart at once"
            )
        return "; ".join(sentences) or None


def compare(a: Path, b: Path) -> Difference:
    """Compare two run directories.

    UserError: one is no run directory, holds no updates, or has no digests to compare by.
    """
    runs = _load(a), _load(b)
    rows = [_by_update(run) for run in runs]
    both = sorted(rows[0].keys() & rows[1].keys())
    pairs = [(rows[0][update], rows[1][update]) for update in both]
    if not pairs:
        raise UserError(f"{a} and {b} have no update in common: they end and begin at different ones")
    if not any(_digests(*pair) for pair in pairs):
        raise UserError(f"{a} and {b} have no digest of the same part of an update; they cannot be compared")
    first = _first(pairs)
    later = [pair for pair in pairs if first is not None and pair[0]["update"] >= first.update]
    settings = settings_that_differ(runs[0].manifest, runs[1].manifest)
    return Difference(
        *runs,
        settings=settings,
        compared=len(both),
        first=first,
        gaps=gaps(later),
        only_a=_events_without(runs[0], runs[1], both[-1]),
        only_b=_events_without(runs[1], runs[0], both[-1]),
        notes=_notes(*runs, settings),
    )


def settings_that_differ(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Setting]:
    """Entries of two manifests that may decide numbers and are not the same."""
    flat_a, flat_b = ({k: v for key in DECISIVE for k, v in _flat(key, m.get(key))} for m in (a, b))
    return [
        Setting(key, flat_a.get(key), flat_b.get(key))
        for key in dict.fromkeys([*flat_a, *flat_b])
        if key not in WORDS_ONLY and flat_a.get(key) != flat_b.get(key)
    ]


def document(found: Difference) -> dict[str, Any]:
    """The comparison as plain values for JSON."""
    first, fitted = found.first, found.growth
    return {
        "a": _described(found.a),
        "b": _described(found.b),
        "identical": first is None,
        "verdict": found.verdict,
        "compared": found.compared,
        "settings": [vars(setting) for setting in found.settings],
        "first": first
        and {
            "update": first.update,
            "part": first.part,
            "different": first.different,
            "digests": {part: {"a": x, "b": y} for part, (x, y) in first.digests.items()},
            "cause": first.cause,
        },
        "gaps": [
            {
                "update": gap.update,
                "after": gap.after,
                **{n: {"a": p.a, "b": p.b, "relative": p.relative} for n, p in gap.columns.items()},
            }
            for gap in shown(found.gaps)
        ],
        "growth": fitted
        and {
            "rate": fitted.rate,
            "interval": [fitted.interval.low, fitted.interval.high],
            "updates": [fitted.first, fitted.last],
        },
        "parted": parted(found.gaps),
        "events": {"only_a": found.only_a, "only_b": found.only_b},
        "notes": found.notes,
    }


def _load(path: Path) -> Run:
    try:
        there, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # a name that is too long, a directory that is closed to us
        text = str(path)
        raise UserError(f"{text if len(text) <= 200 else text[:200] + '...'}: {error.strerror}") from error
    if is_file:
        raise UserError(f"{path} is a file; name the run's directory")
    if not there:
        raise UserError(f"{path}: there is no such directory")
    if not (path / "manifest.json").exists():
        inside = sorted(path.glob("*/manifest.json")) + sorted(path.glob("runs/*/manifest.json"))
        hint = f"; did you mean {inside[0].parent}?" if inside else ""
        raise UserError(f"{path} is not a run directory: it has no manifest.json{hint}")
    run = read_run(path)
    if not run.updates:
        raise UserError(f"{path} holds no updates: there is nothing to compare")
    if not any(row.get(PREFIX + part) for row in run.updates for part in PARTS):
        raise UserError(
            f"{path} has no digests: it was recorded by an earlier version of rl-lab; record it again"
        )
    return run


def _by_update(run: Run) -> dict[int, Row]:
    return {row["update"]: row for row in run.updates if isinstance(row.get("update"), int)}


def _digests(a: Row, b: Row) -> dict[str, tuple[str, str]]:
    """Digests of the parts that both have, in causal order."""
    both = {part: (a.get(PREFIX + part), b.get(PREFIX + part)) for part in PARTS}
    return {p: (x, y) for p, (x, y) in both.items() if isinstance(x, str) and isinstance(y, str)}


def _first(pairs: list[tuple[Row, Row]]) -> First | None:
    for a, b in pairs:
        digests = _digests(a, b)
        different = [part for part, (x, y) in digests.items() if x != y]
        if different:
            update = int(a["update"])
            return First(update, different[0], digests, cause(update, different[0], digests))
    return None


def _events_without(run: Run, other: Run, last: int) -> list[Row]:
    """Events of a run, up to the last update that both have, which the other has not had in the same update."""
    had = Counter((event.get("event"), event.get("update")) for event in other.events)
    missing: list[Row] = []
    for event in run.events:
        key = event.get("event"), event.get("update")
        had[key] -= 1
        if had[key] < 0 and (key[1] or 0) <= last:
            missing.append({name: event.get(name) for name in ("event", "update", "env_steps", "message")})
    return missing


def _notes(a: Run, b: Run, settings: list[Setting]) -> list[str]:
    notes = []
    if a.path.resolve() == b.path.resolve():
        notes.append("A and B are the same directory")
    if any(setting.key == "agent.name" for setting in settings):
        names = (run.manifest.get("agent", {}).get("name") for run in (a, b))
        notes.append(f"these are different algorithms: {' and '.join(map(str, names))}")
    for name, run in (("A", a), ("B", b)):
        if run.status == "running":
            notes.append(f"{name} is still running: what it has written so far was compared")
    return notes + list(dict.fromkeys([*a.problems, *b.problems]))


def _described(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "run_dir": str(run.path),
        "status": run.status,
        "updates": len(_by_update(run)),
        "env": (manifest.get("env") or {}).get("id"),
        "agent": (manifest.get("agent") or {}).get("name"),
        "seed": manifest.get("seed"),
    }


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield key, value
        return
    for name, part in value.items():
        yield from _flat(f"{key}.{name}", part)


def _updates(count: int, run: Run) -> str:
    start = min(_by_update(run))
    return f"update {start} is" if count == 1 else f"updates {start}-{start + count - 1} are"


def _short(value: Any) -> str:
    text = UNKNOWN if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:10]}…{text[-10:]}"
