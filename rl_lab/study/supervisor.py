"""Runs a study's runs as processes, several at a time, and continues a study where it stood."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

from rl_lab.errors import UserError
from rl_lab.monitor.record.run_directory import FINISHED, SCHEMA, Run, glance, read_run, write_json
from rl_lab.study import tasks
from rl_lab.study.board import Board, Line
from rl_lab.study.plan import RunPlan, Study
from rl_lab.study.store import read_study_document

POLL_SECONDS = 0.25
GRACE_SECONDS = 20.0
"""Time a worker gets to close its files after being told to stop."""


_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@dataclass
class _Worker:
    plan: RunPlan
    path: Path
    process: subprocess.Popen[bytes]
    log: TextIO
    begun: float = field(default_factory=time.monotonic)


def run_study(
    study: Study,
    out: Path,
    *,
    jobs: int,
    wandb: bool | Literal["online", "offline"],
    board: Board,
    where: str,
) -> list[Run]:
    """Do what is not done yet and return all runs of the study.

    Raises KeyboardInterrupt after Ctrl-C, with every worker stopped and everything written.
    """
    _refuse_other_study(study, out)
    check_tasks(study, where)
    try:
        (out / "runs").mkdir(parents=True, exist_ok=True)
        (out / "logs").mkdir(exist_ok=True)
        lock = (out / "lock").open("a")
    except OSError as error:
        raise UserError(f"{out}: cannot write there ({error.strerror}); choose another --out") from error
    with lock, _alone(lock, out):
        chance = _write_document(study, out, where)
        _Supervisor(study, out, jobs, wandb, board, chance).work()
    return [read_run(out / "runs" / plan.run_id) for plan in study.runs()]


def check_tasks(study: Study, where: str) -> None:
    """Raise if a task cannot be made, or one of its agents cannot be made for it with its settings there."""
    first = [run for run in study.runs() if run.seed == study.seeds[0]]
    for index, env in enumerate(study.envs):
        agents = [run.agent for run in first if run.env.label == env.label]
        tasks.check(env, agents, f"{where}: envs[{index}]")


def _refuse_other_study(study: Study, out: Path) -> None:
    try:
        if out.exists() and not out.is_dir():
            raise UserError(f"{out} is a file; --out needs a directory")
    except OSError as error:
        raise UserError(f"{out}: cannot be used as a directory ({error.strerror})") from error
    document = read_study_document(out)
    if document is not None and document.get("hash") != study.hash():
        # What an older study.json does not know was empty then.
        theirs = {key: document.get("config", {}).get(key, {}) for key in study.document()}
        ours = json.loads(json.dumps(study.document(), default=str))
        differ = ", ".join(key for key in ours if ours[key] != theirs[key]) or "the agents' defaults"
        raise UserError(
            f"{out} already holds another study (it differs in: {differ}); nothing was changed, choose another --out"
        )
    if document is None and out.is_dir() and any(not _is_ours(p.name) for p in out.iterdir()):
        raise UserError(
            f"{out} exists, is not empty and holds no study; nothing was changed, choose another --out"
        )


def _is_ours(name: str) -> bool:
    """What a study leaves that was killed before its study.json was written."""
    return name in ("lock", "logs", "runs") or name.startswith(".study.json.")


@contextmanager
def _alone(lock: TextIO, out: Path) -> Iterator[None]:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise UserError(
            f"{out}: another rl-lab is working on this study; wait for it or stop it first"
        ) from error
    yield


def _write_document(study: Study, out: Path, where: str) -> dict[str, Any]:
    """study.json, with the random policy's return of every task, measured once, and with what is to be compared."""
    document = read_study_document(out) or {}
    chance = document.get("random_returns") or {env.label: tasks.chance(env) for env in study.envs}
    document = {
        "schema": SCHEMA,
        "name": study.name,
        "hash": study.hash(),
        "file": where,
        "cores": os.cpu_count(),
        "runs": study.size()["runs"],
        "config": study.document(),
        "contrasts": study.contrasts,
        "primary": study.primary,
        "random_returns": chance,
    }
    write_json(out / "study.json", document)
    return chance


class _Supervisor:
    def __init__(
        self, study: Study, out: Path, jobs: int, wandb: bool | str, board: Board, chance: dict[str, Any]
    ) -> None:
        self._study, self._out, self._jobs, self._wandb = study, out, jobs, wandb
        self._board, self._chance = board, chance
        self._working: list[_Worker] = []

    def work(self) -> None:
        """Start, watch, reap, until nothing is left."""
        waiting = [plan for plan in self._study.runs() if not self._finished(plan)]
        try:
            with self._board:
                while waiting or self._working:
                    while waiting and len(self._working) < self._jobs:
                        self._working.append(self._start(waiting.pop(0)))
                    time.sleep(POLL_SECONDS)
                    for worker in list(self._working):
                        self._look_at(worker)
        except BaseException:
            self._stop_all()
            raise

    def _finished(self, plan: RunPlan) -> bool:
        path = self._out / "runs" / plan.run_id
        if not path.exists():
            self._board.show(Line(plan.run_id, "waiting", steps=plan.steps))
            return False
        run = _wait_for_orphan(path)
        if run.status in FINISHED:
            self._show(plan, run)
            return True
        kept = _set_aside(path, self._out / "attempts")
        self._board.say(f"{plan.run_id}: was {run.status}, begins again (the old files are in {kept})")
        self._board.show(Line(plan.run_id, "waiting", steps=plan.steps))
        return False

    def _start(self, plan: RunPlan) -> _Worker:
        path = self._out / "runs" / plan.run_id
        order = {
            "plan": asdict(plan),
            "out": str(path.absolute()),
            "wandb": self._wandb,
            "random_return": self._chance.get(plan.env.label),
            "study": self._study.name,
        }
        log = self._log_path(plan).open("a")
        process = subprocess.Popen(
            # -P and our own sys.path: a worker finds the same packages as we do, not those of this directory.
            [sys.executable, "-P", "-m", "rl_lab.study.worker", json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # the terminal's Ctrl-C is for us; we tell the workers
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._board.show(Line(plan.run_id, "starting", steps=plan.steps))
        return _Worker(plan, path, process, log)

    def _look_at(self, worker: _Worker) -> None:
        code = worker.process.poll()
        if code is None:
            if (worker.path / "manifest.json").exists():
                self._show(worker.plan, glance(worker.path), seconds=time.monotonic() - worker.begun)
            return
        self._working.remove(worker)
        self._close(worker)
        if not (worker.path / "manifest.json").exists():
            _write_stillborn(worker, code, self._log_path(worker.plan))
        run = read_run(worker.path)
        if run.manifest.get("status") == "running":
            run = _write_killed(run, code)
        self._show(worker.plan, run)

    def _show(self, plan: RunPlan, run: Run, seconds: float | None = None) -> None:
        self._board.show(Line.of_run(plan.run_id, run, plan.steps, seconds))

    def _log_path(self, plan: RunPlan) -> Path:
        return self._out / "logs" / f"{plan.run_id}.log"

    def _stop_all(self) -> None:
        for worker in self._working:
            worker.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in self._working:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            self._close(worker)
        self._working = []

    @staticmethod
    def _close(worker: _Worker) -> None:
        if worker.process.stdin is not None:
            worker.process.stdin.close()
        worker.log.close()


def _wait_for_orphan(path: Path) -> Run:
    """The run there; if its process still lives (its supervisor was killed a moment ago), once that has ended."""
    deadline = time.monotonic() + GRACE_SECONDS
    while (run := read_run(path)).status == "running":
        if time.monotonic() > deadline:
            raise UserError(f"{path}: process {run.manifest['process']['pid']} is still working on this run")
        time.sleep(POLL_SECONDS)
    return run


def _set_aside(path: Path, attempts: Path) -> Path:
    """Move an unfinished run out of the way; nothing is ever deleted."""
    attempts.mkdir(exist_ok=True)
    number = 1
    while (kept := attempts / f"{path.name}-{number}").exists():
        number += 1
    path.rename(kept)
    return kept


def _write_killed(run: Run, code: int) -> Run:
    """A worker that could not write its own end: killed, or crashed in native code."""
    manifest = {
        **run.manifest,
        "status": "failed",
        "reason": _death(code),
        "updates": len(run.updates),
        "env_steps": run.last.get("env_steps", 0),
        "return_final": run.last.get("return_smooth"),
        "events": dict(Counter(event["event"] for event in run.events)),
    }
    write_json(run.path / "manifest.json", manifest)
    return read_run(run.path)


def _write_stillborn(worker: _Worker, code: int, log: Path) -> None:
    """A worker that ended before its run began: its log's last line is the reason."""
    lines = log.read_text(errors="replace").strip().splitlines()
    reason = lines[-1] if code > 0 and lines else _death(code)
    manifest = {"schema": SCHEMA, **worker.plan.described(), "status": "failed", "reason": reason}
    worker.path.mkdir(parents=True, exist_ok=True)
    write_json(worker.path / "manifest.json", manifest)


def _death(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; SIGKILL often means that memory ran out" if name == "SIGKILL" else ""
        return f"the process was killed by {name}{hint}"
    return f"the process ended with exit code {code} without saying why"
