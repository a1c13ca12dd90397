"""What the report needs of one run, read once from its files and judged in one place."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rl_lab.monitor.record.run_directory import FINISHED, Run
from rl_lab.report.statistics import Floats

UNKNOWN_TASK = "unknown task"


@dataclass(frozen=True, kw_only=True)
class Digest:
    """One run. Arrays have one entry per recorded update; a missing number is NaN."""

    run_id: str
    task: str
    env: str
    agent: str
    rule: str
    trust_region: str | None
    agent_settings: Mapping[str, Any]
    seed: int | None
    steps: int | None
    started: str
    status: str
    reason: str | None
    problems: tuple[str, ...]
    manifest: Mapping[str, Any]
    update: Floats
    env_steps: Floats
    returns: Floats
    kl_mean: Floats
    kl_max: Floats
    events: tuple[Mapping[str, Any], ...]
    kl_measured: bool | None
    """Whether its updates have a KL at all, which those of an off-policy algorithm have not; None without updates."""
    random_return: float | None
    random_stderr: float | None
    return_final: float | None
    updates: int
    path: Path | None = None
    """The run's directory."""
    lost_updates: int = 0
    """Updates whose KL is beyond all bounds: they came out non-finite."""
    repeat: bool = False
    """Another run of the same arm with the same seed counts instead of this one."""

    @property
    def diverged(self) -> bool:
        """Ended non-finite."""
        final = self.return_final
        return self.status == "diverged" or (final is not None and not math.isfinite(final))

    @property
    def counts(self) -> bool:
        """Enters final returns and collapse rates: it ended, and no other run stands for its seed."""
        return self.status in FINISHED and not self.repeat

    @property
    def collapsed(self) -> bool:
        """Lost its performance at least once, or ended non-finite."""
        return self.diverged or bool(self.named("performance_collapse"))

    @property
    def recovered(self) -> bool:
        """Did not diverge, and the newest of its collapses and recoveries is a recovery."""
        last = [e["event"] for e in self.events if e.get("event") in ("performance_collapse", "recovery")][
            -1:
        ]
        return not self.diverged and last == ["recovery"]

    @property
    def last_return(self) -> float | None:
        """Newest finite smoothed return."""
        finite = self.returns[np.isfinite(self.returns)]
        return float(finite[-1]) if finite.size else None

    @property
    def settled_return(self) -> float | None:
        """The return this run enters comparisons with.

        A diverged run gets that of the random policy, or its own last finite return where that is lower:
        ending non-finite must not look better than what came before. None where this is unknown.
        """
        if not self.diverged:
            return self.return_final
        if self.random_return is None or self.last_return is None:
            return self.random_return
        return min(self.random_return, self.last_return)

    @property
    def peak_kl(self) -> float | None:
        """Largest finite kl_mean of its updates, nats."""
        return largest(self.kl_mean)

    def named(self, event: str) -> list[Mapping[str, Any]]:
        """All events of one name."""
        return [e for e in self.events if e.get("event") == event]


def largest(values: Floats) -> float | None:
    """Largest finite value, None if there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else None


def number(value: Any) -> float:
    """A float from what a file may hold: a number, null, or one of the words NaN, Infinity, -Infinity."""
    if value is None or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def settings_text(settings: Mapping[str, Any]) -> str:
    """The settings as `name=value, name=value`."""
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def digest(run: Run) -> Digest:
    """Read one run; whatever its files lack is missing here too, and nothing is made up."""
    manifest = run.manifest
    env, agent = manifest.get("env") or {}, manifest.get("agent") or {}
    chance = manifest.get("random_return") or {}
    final = manifest.get("return_final")
    update = _column(run.updates, "update")
    return Digest(
        run_id=str(manifest.get("run_id", run.path.name)),
        task=task_name(env),
        env=str(env.get("id", UNKNOWN_TASK)),
        agent=str(agent.get("label") or agent.get("name") or "unknown agent"),
        rule=str(agent.get("name", "unknown agent")),
        trust_region=str(region) if (region := agent.get("trust_region")) else None,
        agent_settings=agent.get("settings") or {},
        seed=manifest.get("seed"),
        steps=manifest.get("steps"),
        started=str(manifest.get("started") or ""),
        status=run.status,
        reason=manifest.get("reason"),
        problems=tuple(run.problems),
        manifest=manifest,
        update=update,
        env_steps=_column(run.updates, "env_steps"),
        kl_mean=_kl(run.updates, "kl_mean"),
        kl_max=_kl(run.updates, "kl_max"),
        returns=_returns(run.updates),
        events=tuple(run.events),
        kl_measured=any(row.get("kl_mean") is not None for row in run.updates) if run.updates else None,
        random_return=_known(chance.get("mean")),
        random_stderr=_known(chance.get("stderr")),
        return_final=None if final is None else number(final),
        path=run.path,
        lost_updates=sum(_lost(row) for row in run.updates),
        updates=int(max(largest(update) or 0, len(run.updates), number(manifest.get("updates") or 0))),
    )


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> Floats:
    return np.array([number(row.get(key)) for row in rows], dtype=np.float64)


def _kl(rows: Sequence[Mapping[str, Any]], key: str) -> Floats:
    """Missing where an update came out non-finite: the policy was put back, so the 0 recorded there is no KL of it."""
    undone = np.array([row.get("outcome") == "NOT_FINITE" for row in rows], dtype=bool)
    return np.where(undone, np.nan, _column(rows, key))


def _lost(row: Mapping[str, Any]) -> bool:
    kl = row.get("kl_mean")
    return row.get("outcome") == "NOT_FINITE" or (isinstance(kl, float) and not math.isfinite(kl))


def _known(value: Any) -> float | None:
    return found if math.isfinite(found := number(value)) else None


def _returns(rows: Sequence[Mapping[str, Any]]) -> Floats:
    smooth = _column(rows, "return_smooth")
    return np.where(np.isnan(smooth), _column(rows, "return_mean"), smooth)


def task_name(env: Mapping[str, Any]) -> str:
    """The label a study gave the task, else its id with the settings it was made with."""
    name, label, settings = str(env.get("id", UNKNOWN_TASK)), env.get("label"), env.get("settings") or {}
    if label and label != name:
        return str(label)
    return f"{name} ({settings_text(settings)})" if settings else name
