"""resume: an interrupted run or study goes on, as if nothing had happened."""

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl_lab.cli import told
from rl_lab.cli.work import JsonOption, StrictOption, WandbOption, _exit_code, _wandb_mode, carry_out
from rl_lab.errors import UserError

if TYPE_CHECKING:
    from rl_lab.study.plan import RunPlan, Study


def resume(
    directory: Annotated[Path, typer.Argument(help="A run directory, or a study.")],
    jobs: Annotated[
        int | None, typer.Option(help="Of a study, runs at a time; default: one per core.", min=1)
    ] = None,
    trust: Annotated[
        str | None,
        typer.Option(
            help="The module of an environment's id, their_pkg of their_pkg:Env-v0, that may be imported."
        ),
    ] = None,
    wandb: WandbOption = None,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> int:
    """Go on with an interrupted run from its newest checkpoint, or with a study where it stood.

    A run goes on to the last bit as if it had not been interrupted; what it had still written after the checkpoint
    lies in set_aside/ of its directory. Nothing in the directory is executed or imported.

    Example:  rl-lab resume runs/20260101-120000-CartPole-v1-ppo-s0
    """
    from rl_lab.study.store import read_study_document

    if not directory.is_dir():
        raise UserError(f"{directory}: there is no such directory")
    document = read_study_document(directory)
    if document is None:
        return _run(directory, trust, wandb, strict, as_json)
    return _study(directory, document, jobs, wandb, strict, as_json)


def _run(directory: Path, trust: str | None, wandb: str | None, strict: bool, as_json: bool) -> int:
    from rl_lab.study.resume import newest

    if not (directory / "manifest.json").is_file():
        raise UserError(
            f"{directory} is neither a run nor a study: it has no manifest.json and no study.json"
        )
    saved = newest(directory)
    if saved is None:
        raise UserError(_why_not(directory))
    plan = saved.plan()
    _check(plan, trust, saved.path)
    mode: Any = saved.document.get("wandb") if wandb is None else _wandb_mode(wandb)
    if mode not in (True, False, "online", "offline"):
        raise UserError(f"{saved.path} does not say how W&B was used; give --wandb")
    study = saved.document.get("study")
    return carry_out(plan, directory, mode, strict=strict, as_json=as_json, of_study=study, resume=True)


def _why_not(directory: Path) -> str:
    from rl_lab.monitor.record.run_directory import FINISHED, read_run
    from rl_lab.study.resume.checkpoint import checkpoints

    run = read_run(directory)
    if run.status in FINISHED:
        return f"{directory}: the run is {run.status}; there is nothing to go on with"
    if checkpoints(directory):
        return f"{directory}: no checkpoint in it is whole and fits its record, so the run cannot go on; begin it again"
    return (
        f"{directory} has no checkpoint, so the run cannot go on; begin it again. (Checkpoints are written by "
        "`rl-lab train` and `rl-lab study` with on-policy agents; a replay buffer, as of sac, td3 and dqn, is not kept)"
    )


def _check(plan: "RunPlan", trust: str | None, where: Path) -> None:
    """What a file says is run only if it names what is known here."""
    from rl_lab.study import tasks
    from rl_lab.study.agents import read_agent
    from rl_lab.study.settings import check_settings

    module = plan.env.id.rpartition(":")[0]
    if module and module != trust:
        raise UserError(
            f"{where}: the environment {plan.env.id} imports the module {module}; if you trust it, say --trust {module}"
        )
    known = read_agent(plan.agent.name, Path(), str(where))
    check_settings(known.name, plan.agent.settings, f"{where}: ")
    tasks.check(plan.env, [plan.agent])


def _study(
    directory: Path,
    document: dict[str, Any],
    jobs: int | None,
    wandb: str | None,
    strict: bool,
    as_json: bool,
) -> int:
    from rl_lab.report import build
    from rl_lab.study.board import Board
    from rl_lab.study.supervisor import run_study

    planned, where = _planned(directory, document)
    with contextlib.redirect_stdout(sys.stderr):
        runs = run_study(
            planned,
            directory,
            jobs=jobs or os.cpu_count() or 1,
            wandb=_wandb_mode(wandb),
            board=Board(),
            where=where,
        )
    told.print_report(build(directory), directory, as_json)
    return _exit_code([run.status for run in runs], strict)


def _planned(directory: Path, document: dict[str, Any]) -> "tuple[Study, str]":
    """The study from its own YAML, as long as that still says the same."""
    from rl_lab.study import config as configs

    file = Path(str(document.get("file")))
    if not file.is_file():
        raise UserError(
            f"{directory} was made from {file}, which is not there; `rl-lab study YAML --out {directory}` goes on "
            "with a copy of it"
        )
    planned = configs.open_study(file)
    if planned.hash() != document.get("hash"):
        raise UserError(
            f"{file} has changed since {directory} was made from it, or --set was used then; nothing was changed. Put "
            f"it back, or start the study as before: rl-lab study {file} --set ... --out {directory}"
        )
    return planned, str(file)
