"""train, study, report: the commands that do the work."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rl_lab.cli import show
from rl_lab.errors import UserError

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Exit with 3 if a run diverges, not only if it fails.")
]
WandbOption = Annotated[
    str | None, typer.Option("--wandb", help="online, offline or off; default: online if you are logged in.")
]


def train(
    env: Annotated[
        str, typer.Argument(help="Gymnasium id, also from your own package: your_pkg:YourEnv-v0.")
    ],
    agent: Annotated[str, typer.Argument(help="Agent by name; `rl-lab agents list` shows all.")],
    steps: Annotated[int, typer.Option(help="Environment steps.", min=1)] = 60_000,
    seed: Annotated[int, typer.Option(help="Seed of everything.", min=0, max=2**31 - 1)] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the agent, or env.KEY of the task; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory; default runs/<time>-<env>-<agent>-s<seed>.")
    ] = None,
    wandb: WandbOption = None,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> int:
    """Train one agent on one task and watch every update.

    Example:  rl-lab train chaos/Lorenz-v0 ppo-noclip --steps 60000 --set learning_rate=1e-3
    """
    from rl_lab.monitor.run_directory import refuse_existing
    from rl_lab.study import tasks
    from rl_lab.study.board import Board, Line, Progress
    from rl_lab.study.config import Agent, Env, check_settings, plan_run
    from rl_lab.study.execute import execute

    mode = _wandb_mode(wandb)
    own, of_task = _read_settings(set_ or [])
    arm = Agent(agent, agent, check_settings(agent, own, "--set "))
    task = Env(env, env, of_task, steps)
    plan = plan_run(task, arm, seed, steps, {})
    if out is not None:
        refuse_existing(out)
    # Somebody's environment may print; standard output is for the result.
    with contextlib.redirect_stdout(sys.stderr), Board() as board:
        tasks.check(task, [arm])

        def told(progress: Progress) -> None:
            board.show(Line.of_progress(plan.run_id, progress, steps))

        run = execute(plan, out, wandb=mode, random_return=tasks.chance(task), told=told, say=board.say)
        board.show(Line.of_run(plan.run_id, run, steps))
    result = _result(run)
    if as_json:
        show.document(result)
    else:
        _print_result(result, run.manifest.get("reason"))
    return _exit_code([run.status], strict)


def study(
    config: Annotated[Path, typer.Argument(help="The study's YAML.")],
    jobs: Annotated[int | None, typer.Option(help="Runs at a time; default: one per core.", min=1)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Study directory; default runs/<name of the YAML>.")
    ] = None,
    wandb: WandbOption = None,
    strict: StrictOption = False,
    as_json: JsonOption = False,
) -> int:
    """Run every task x agent x seed of a study, each in its own process, and report.

    Started again it continues where it stood; what is finished is never repeated.

    Example:  rl-lab study configs/quickstart.yaml --jobs 2
    """
    from rl_lab.report import build
    from rl_lab.study import config as configs
    from rl_lab.study.board import Board
    from rl_lab.study.supervisor import run_study
    from rl_lab.study.yaml import read_mapping

    name = configs.default_name(config)
    planned = configs.read_study(read_mapping(config), name, str(config))
    directory = out or Path("runs") / name
    mode = _wandb_mode(wandb)
    with contextlib.redirect_stdout(sys.stderr):
        runs = run_study(
            planned, directory, jobs=jobs or os.cpu_count() or 1, wandb=mode, board=Board(), where=str(config)
        )
    _print_report(build(directory), directory, as_json)
    return _exit_code([run.status for run in runs], strict)


def report(
    directory: Annotated[Path, typer.Argument(help="A study, a run, or a folder of runs.")],
    out: Annotated[Path | None, typer.Option(help="Where the page goes; default DIRECTORY/report.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Build the page and the pictures of what has been run so far.

    Example:  rl-lab report runs/quickstart
    """
    from rl_lab.report import build

    _print_report(build(directory, out), directory, as_json)
    return 0


def _print_report(built: Any, directory: Path, as_json: bool) -> None:
    from rl_lab.report import document
    from rl_lab.report.table import table_rows

    if as_json:
        show.document(document(built))
        return
    headers, rows, notes = table_rows(built.arms)
    show.line()
    show.table(headers, rows)
    for note in notes:
        show.line(note)
    show.line()
    for finding in built.findings:
        show.line(f"* {finding}")
    show.line()
    show.facts(
        [
            ("report page", str(built.page)),
            ("picture", str(built.overview)),
            ("W&B", _wandb_place(directory)),
        ]
    )


def _wandb_place(directory: Path) -> str:
    """Where the W&B runs are: their page, or the folders that `wandb sync` takes."""
    from rl_lab.study.store import find_runs

    told = [w for run in find_runs(directory) if (w := run.manifest.get("wandb"))]
    urls = [str(w["url"]) for w in told if w.get("url")]
    if urls:
        return urls[0].rpartition("/runs/")[0] or urls[0]
    if not told:
        return "no W&B runs"
    pattern = "runs/*/wandb/offline-run-*" if (directory / "runs").is_dir() else "wandb/offline-run-*"
    return f"{directory}/{pattern}  (upload: wandb sync {directory}/{pattern})"


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


def _wandb_mode(text: str | None) -> Any:
    modes = {None: True, "online": "online", "offline": "offline", "off": False}
    if text not in modes:
        raise UserError(f"--wandb {text}: must be online, offline or off")
    return modes[text]


def _result(run: Any) -> dict[str, Any]:
    manifest = run.manifest
    keys = ("status", "updates", "env_steps", "events", "return_final")
    return {"run_dir": str(run.path), **{key: manifest.get(key) for key in keys}}


def _print_result(result: dict[str, Any], reason: str | None) -> None:
    events = ", ".join(f"{count} {name}" for name, count in result["events"].items()) or "none"
    final = result["return_final"]
    show.facts(
        [
            ("status", result["status"] + (f": {reason}" if reason else "")),
            ("updates", f"{result['updates']} ({result['env_steps']:,} env steps)"),
            ("events", events),
            (
                "return",
                "no episode ended" if final is None else f"{final:.4g} (mean of the last 20 episodes)",
            ),
            ("run directory", result["run_dir"]),
            ("next", f"rl-lab report {result['run_dir']}"),
        ]
    )


def _exit_code(statuses: list[str], strict: bool) -> int:
    bad = {"failed", "diverged"} if strict else {"failed"}
    return 3 if bad & set(statuses) else 0
