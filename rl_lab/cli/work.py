"""train, study, report: the commands that do the work."""

import contextlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rl_lab.cli import show, told
from rl_lab.errors import UserError

if TYPE_CHECKING:
    from rl_lab.study.monitor import Watch
    from rl_lab.study.plan import RunPlan

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Exit with 3 if a run diverges, not only if it fails.")
]
WandbOption = Annotated[
    str | None, typer.Option("--wandb", help="online, offline or off; default: online if you are logged in.")
]
StudySetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A key of the study, as if it stood in the file: seeds=5, settings.gamma=0.9; repeatable.",
    ),
]


def train(
    env: Annotated[
        str, typer.Argument(help="Gymnasium id, also from your own package: your_pkg:YourEnv-v0.")
    ],
    agent: Annotated[
        str,
        typer.Argument(
            help="Agent by name (`rl-lab agents list` shows all), or a file: configs/agents/*.yaml."
        ),
    ],
    steps: Annotated[int, typer.Option(help="Environment steps.", min=1)] = 60_000,
    seed: Annotated[int, typer.Option(help="Seed of everything.", min=0, max=2**31 - 1)] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the agent, or env.KEY of the task; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory; default runs/<time>-<env>-<agent>-s<seed>.")
    ] = None,
    level: Annotated[
        str, typer.Option(help="How much is measured of every update: light, standard or full.")
    ] = "standard",
    guard: Annotated[
        list[str] | None,
        typer.Option(
            help="What is done about events: alert, checkpoint, stop, rollback or shrink, or none; with settings as "
            '"{name: rollback, factor: 0.3}"; repeatable, they act in this order. Default: alert.'
        ),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            help="Updates from one checkpoint to the next; default: every 10 s, or 100 times what one takes.",
            min=1,
        ),
    ] = None,
    wandb: WandbOption = None,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> int:
    """Train one agent on one task and watch every update.

    Example:  rl-lab train chaos/Lorenz-v0 ppo-noclip --steps 60000 --set learning_rate=1e-3 --guard rollback
    """
    from rl_lab.monitor.record.run_directory import refuse_existing
    from rl_lab.study.agents import read_agent
    from rl_lab.study.plan import Env, plan_run
    from rl_lab.study.settings import check_settings

    mode = _wandb_mode(wandb)
    own, of_task = _read_settings(set_ or [])
    arm = read_agent(agent)
    arm = replace(arm, settings={**arm.settings, **check_settings(arm.name, own, "--set ")})
    task = Env(env, env, of_task, steps)
    watch = replace(_read_watch(level, guard), checkpoint_every=checkpoint_every)
    plan = plan_run(task, arm, seed, steps, {}, watch)
    if out is not None:
        refuse_existing(out)
    return carry_out(plan, out, mode, strict=strict, as_json=as_json)


def carry_out(
    plan: "RunPlan",
    out: Path | None,
    mode: Any,
    *,
    strict: bool,
    as_json: bool,
    of_study: str | None = None,
    resume: bool = False,
) -> int:
    """Check, train and record one run in this process, and print how it ended; the exit code.

    resume: the run in `out`, which has been checked, goes on with the random policy's return that it knows.
    """
    from rl_lab.study import tasks
    from rl_lab.study.board import Board, Line, Progress
    from rl_lab.study.execute import execute

    # Somebody's environment may print; standard output is for the result.
    with contextlib.redirect_stdout(sys.stderr), Board() as board:
        chance = None
        if not resume:
            tasks.check(plan.env, [plan.agent])
            chance = tasks.chance(plan.env)

        def watched(progress: Progress) -> None:
            board.show(Line.of_progress(plan.run_id, progress, plan.steps))

        run = execute(
            plan,
            out,
            wandb=mode,
            random_return=chance,
            study=of_study,
            told=watched,
            say=board.say,
            resume=resume,
        )
        board.show(Line.of_run(plan.run_id, run, plan.steps))
    result = _result(run)
    if as_json:
        show.document(result)
    else:
        told.print_result(result, run.manifest.get("reason"))
    return _exit_code([run.status], strict)


def study(
    config: Annotated[Path, typer.Argument(help="The study's YAML.")],
    set_: StudySetOption = None,
    jobs: Annotated[int | None, typer.Option(help="Runs at a time; default: one per core.", min=1)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Study directory; default runs/<name of the YAML>.")
    ] = None,
    wandb: WandbOption = None,
    strict: StrictOption = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything, say how much it is and what it can show, run nothing."
        ),
    ] = False,
    no_calibrate: Annotated[
        bool,
        typer.Option(
            "--no-calibrate", help="With --dry-run: do not train a few updates to estimate the time."
        ),
    ] = False,
    write_sweep: Annotated[
        Path | None,
        typer.Option(help="Write these runs as a W&B sweep into this file and run nothing."),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Run every task x agent x seed of a study, each in its own process, and report.

    Started again it continues where it stood; what is finished is never repeated. `extends: other.yaml` begins with
    another study: mappings are merged key by key, lists and numbers replace; --set comes last.

    Example:  rl-lab study configs/quickstart.yaml --jobs 2
    """
    from rl_lab.report import build
    from rl_lab.study import config as configs
    from rl_lab.study import sweep
    from rl_lab.study.board import Board
    from rl_lab.study.calibrate import calibrate
    from rl_lab.study.supervisor import check_tasks, run_study

    planned = configs.open_study(config, set_ or [])
    at_a_time = jobs or os.cpu_count() or 1
    if write_sweep is not None:
        with contextlib.redirect_stdout(sys.stderr):
            check_tasks(planned, str(config))
        sweep.write_sweep(planned, write_sweep, config, set_ or [])
        told.print_sweep(write_sweep, planned.size()["runs"], as_json)
        return 0
    if dry_run:
        with contextlib.redirect_stdout(sys.stderr), Board() as board:
            check_tasks(planned, str(config))
            cost = None if no_calibrate else calibrate(planned, at_a_time, board.say)
        told.print_plan(planned, cost, as_json)
        return 0
    directory = out or Path("runs") / planned.name
    mode = _wandb_mode(wandb)
    with contextlib.redirect_stdout(sys.stderr):
        runs = run_study(planned, directory, jobs=at_a_time, wandb=mode, board=Board(), where=str(config))
    told.print_report(build(directory), directory, as_json)
    return _exit_code([run.status for run in runs], strict)


def run_one(
    config: Annotated[Path, typer.Argument(help="The study's YAML.")],
    which: Annotated[list[str], typer.Argument(help="task=LABEL arm=LABEL seed=NUMBER, in any order.")],
    set_: StudySetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory; default runs/<time>-<env>-<agent>-s<seed>.")
    ] = None,
    wandb: WandbOption = None,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> int:
    """Train one run of a study by itself, as `rl-lab train` does: what the agent of a W&B sweep calls.

    Example:  rl-lab run-one configs/quickstart.yaml task=Pendulum-v1 arm=ppo seed=0
    """
    from rl_lab.monitor.record.run_directory import refuse_existing
    from rl_lab.study import config as configs
    from rl_lab.study.sweep import pick

    mode = _wandb_mode(wandb)
    planned = configs.open_study(config, set_ or [])
    plan = pick(planned, which, str(config))
    if out is not None:
        refuse_existing(out)
    return carry_out(plan, out, mode, strict=strict, as_json=as_json, of_study=planned.name)


def report(
    directories: Annotated[
        list[Path],
        typer.Argument(
            help="A study, a run, or a folder of runs; several are compared.", metavar="DIRECTORY..."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where the page goes; default DIRECTORY/report, of several runs/<name>-and-<name>."
        ),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write what every agent reached as a table into this file.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Build the page and the pictures of what has been run so far.

    Of several studies every arm is named after its study, and the same agents are compared, paired by seed.

    Example:  rl-lab report runs/quickstart
    """
    from rl_lab.report import build, refuse_foreign, write_table

    if markdown is not None:
        refuse_foreign(markdown)
    built = build(directories, out)
    if markdown is not None:
        named = " ".join(str(directory) for directory in directories)
        write_table(markdown, built, f"rl-lab report {named} --markdown {markdown}")
    told.print_report(built, directories, as_json)
    return 0


def _read_settings(texts: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """--set pairs, split into the agent's and the task's (env.KEY)."""
    from rl_lab.study.yaml import read_setting

    own: dict[str, Any] = {}
    of_task: dict[str, Any] = {}
    for text in texts:
        key, value = read_setting(text)
        into = of_task if key.startswith("env.") else own
        name = key.removeprefix("env.")
        if name in into:
            raise UserError(f"--set {key} is given twice; keep one")
        into[name] = value
    return own, of_task


def _read_watch(level: str, guards: list[str] | None) -> "Watch":
    """--level and --guard; the texts of guards are YAML."""
    from rl_lab.study.monitor import Watch, read_guard, read_level
    from rl_lab.study.yaml import read_value

    measured = read_level(level, "--level")
    if guards is None:
        return Watch(measured)
    texts = [] if guards == ["none"] else guards
    return Watch(
        measured, tuple(read_guard(read_value(text, f"--guard {text}"), f"--guard {text}") for text in texts)
    )


def _wandb_mode(text: str | None) -> Any:
    modes = {None: True, "online": "online", "offline": "offline", "off": False}
    if text not in modes:
        raise UserError(f"--wandb {text}: must be online, offline or off")
    return modes[text]


def _result(run: Any) -> dict[str, Any]:
    manifest = run.manifest
    keys = ("status", "updates", "env_steps", "events", "return_final")
    return {"run_dir": str(run.path), **{key: manifest.get(key) for key in keys}}


def _exit_code(statuses: list[str], strict: bool) -> int:
    bad = {"failed", "diverged"} if strict else {"failed"}
    return 3 if bad & set(statuses) else 0
