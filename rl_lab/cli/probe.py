"""probe: how sensitive is it?"""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rl_lab.cli import show
from rl_lab.cli.catalogue import SetOption, settings_from
from rl_lab.cli.work import JsonOption
from rl_lab.errors import UserError, did_you_mean
from rl_lab.monitor.record.run_directory import encode

app = typer.Typer(
    no_args_is_help=True, help="How sensitive is it?\n\nExample:  rl-lab probe lyapunov chaos/Lorenz-v0"
)
METHODS = ("spectrum", "two-trajectory", "finite-time", "escape")
LONG = 30.0
"""Time scale of --long: errors 5.5 times smaller, an hour or two for everything."""


@app.callback()
def probe() -> None:
    """How sensitive is it?"""


@app.command()
def lyapunov(
    env_id: Annotated[
        str | None, typer.Argument(metavar="[ENV]", help="A chaotic task; `rl-lab envs list` shows all.")
    ] = None,
    vectors: Annotated[int | None, typer.Option(help="How many exponents.", min=1)] = None,
    time: Annotated[
        float | None, typer.Option(help="Time units or iterations to average over.", min=0.0)
    ] = None,
    method: Annotated[str, typer.Option(help=", ".join(METHODS) + ".")] = METHODS[0],
    seed: Annotated[int, typer.Option(help="Draws starts and frames.", min=0)] = 0,
    set_: SetOption = None,
    all_: Annotated[bool, typer.Option("--all", help="Measure the whole catalogue again.")] = False,
    dysts: Annotated[bool, typer.Option("--dysts", help="With --all: the catalogue of dysts.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="With --all: this system; repeatable.")] = None,
    time_scale: Annotated[float | None, typer.Option(help="With --all: times longer or shorter.")] = None,
    long: Annotated[bool, typer.Option("--long", help=f"With --all: --time-scale {LONG:g}.")] = False,
    jobs: Annotated[int, typer.Option(help="With --all: processes.", min=1)] = 1,
    markdown: Annotated[Path | None, typer.Option(help="With --all: write the table there.")] = None,
    out: Annotated[Path | None, typer.Option(help="With --all: write the JSON document there.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Lyapunov exponents of the uncontrolled system, with standard errors, beside the reference.

    Example:  rl-lab probe lyapunov chaos/Lorenz-v0 --json
    """
    of_all = {
        "--dysts": dysts,
        "--only": only or None,
        "--time-scale": time_scale,
        "--long": long,
        "--markdown": markdown,
    }
    of_all |= {"--out": out, "--jobs": jobs > 1}
    of_one = {
        "--vectors": vectors,
        "--time": time,
        "--set": set_,
        "ENV": env_id,
        "--method": method != METHODS[0],
    }
    for name, given in (of_one if all_ else of_all).items():
        if given is not None and given is not False and given != []:
            raise UserError(f"{name} does not go {'with' if all_ else 'without'} --all")
    if all_:
        return _all(dysts, only or [], _scale(time_scale, long), seed, jobs, markdown, out, as_json)
    if env_id is None:
        raise UserError("name a chaotic task (rl-lab envs list shows all) or say --all")
    if method not in METHODS:
        raise UserError(
            f"--method {method}: must be one of {', '.join(METHODS)}.{did_you_mean(method, METHODS)}"
        )
    if time is not None and not 0 < time < 1e15:
        raise UserError(f"--time must be a positive number of time units or iterations, got {time:g}")
    from rl_lab.study.tasks import chaotic

    system = chaotic(env_id, settings_from(set_))
    try:
        if method != METHODS[0]:
            return _other(env_id, system, method, vectors, time, seed, as_json)
        from rl_lab.probes.lyapunov import spectrum

        found = spectrum(system, time=time, vectors=vectors, seed=seed)
    except ValueError as error:
        raise UserError(f"{env_id}: {error}") from error
    if as_json:
        show.document(found.document(env_id))
    else:
        _print(found)
    return 0


def _print(found: Any) -> None:
    known = found.reference or {"exponents": (), "stderr": (), "source": None}
    off = found.deviations or ()
    rows = []
    for n, (value, error) in enumerate(zip(found.exponents, found.stderr, strict=True)):
        stated = n < len(known["exponents"])
        told = f"{known['exponents'][n]:.5f} ± {known['stderr'][n]:.5f}" if stated else "-"
        away = f"{off[n]:+.1f}" if n < len(off) else "-"
        rows.append((str(n + 1), f"{value:.5f} ± {error:.5f}", told, away))
    show.table(("", f"exponent, {found.unit}", "reference", "apart in standard errors"), rows)
    show.line()
    first, clock = found.exponents[0], "iterations" if found.system.kind == "map" else "time units"
    pairs = [
        ("Kaplan-Yorke dimension", f"{found.kaplan_yorke:.4f} ± {found.kaplan_yorke_stderr:.4f}"),
        (
            "Lyapunov time",
            f"{1 / first:.4g} {clock}"
            if found.significant[0] > 0
            else "none: neighbours do not part measurably",
        ),
        ("averaged over", f"{found.time:,.6g} {clock}"),
        ("source of the reference", known["source"] or "none for these parameters"),
    ]
    if found.note:
        pairs.append(("note", found.note))
    show.facts(pairs)


def _other(
    env_id: str, system: Any, method: str, vectors: int | None, time: float | None, seed: int, as_json: bool
) -> int:
    """The methods whose result is a document of its own."""
    if vectors is not None and method != "escape":
        raise UserError(f"--vectors does not go with --method {method}, which measures one exponent")
    if method == "two-trajectory":
        from rl_lab.probes.two_trajectory import EVERY, RENORMALISATIONS, largest

        every = EVERY.get(system.kind, 10)
        turns = RENORMALISATIONS if time is None else round(time / system.dt / every)
        if turns < 20:
            raise UserError(
                f"--time must be at least {20 * every * system.dt:g} for this method, got {time:g}"
            )
        document = largest(system, scan=True, renormalisations=turns, seed=seed).document()
    elif method == "finite-time":
        from rl_lab.probes.finite_time import finite_time

        steps = 100 if time is None else max(1, round(time / system.dt))
        document = finite_time(system, steps=steps, seed=seed).document()
    else:
        from rl_lab.probes.escape import survive

        document = survive(system, vectors=vectors, longest=time, seed=seed).document()
    if as_json:
        show.document({"env": env_id, "method": method, **document})
    else:
        show.facts(_flat(document))
    return 0


def _flat(document: dict[str, Any]) -> list[tuple[str, str]]:
    """A document as name and value, one line each."""
    pairs = []
    for key, value in document.items():
        name = key.replace("_", " ")
        if isinstance(value, dict):
            pairs += [(f"{name}, {inner}", text) for inner, text in _flat(value)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            pairs += [
                (f"{name} {n}", ", ".join(f"{k} {v}" for k, v in _flat(row)))
                for n, row in enumerate(value, 1)
            ]
        elif value is not None:
            numbers = value if isinstance(value, list) else [value]
            pairs.append((name, ", ".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in numbers)))
    return pairs


def _scale(time_scale: float | None, long: bool) -> float:
    if time_scale is not None and long:
        raise UserError("give --time-scale or --long, not both")
    if time_scale is not None and not 0 < time_scale < 1e6:
        raise UserError(f"--time-scale must be a positive number, got {time_scale}")
    return LONG if long else time_scale or 1.0


def _all(
    dysts: bool,
    only: list[str],
    scale: float,
    seed: int,
    workers: int,
    markdown: Path | None,
    out: Path | None,
    as_json: bool,
) -> int:
    from rl_lab.study.checkout import room

    room("envs")
    from rl_lab.report import exponents

    told = ["--dysts"] if dysts else []
    told += [f"--only {name}" for name in only] + ([f"--time-scale {scale:g}"] if scale != 1 else [])
    told += [f"--seed {seed}"] if seed else []
    command = " ".join([exponents.COMMAND, *told])
    if out is not None and out == markdown:
        raise UserError(f"--out and --markdown name the same file: {out}")
    for path in (markdown, out):
        if path is not None:
            exponents.refuse(path)
    todo = _jobs(dysts, only, scale, seed)

    def say(count: int, row: Any) -> None:
        first = ", ".join(exponents.pairs(row.exponents, row.stderr)[:1])
        print(
            f"[{count}/{len(todo)}] {row.system} ({row.parameters}): {first} {row.verdict}", file=sys.stderr
        )

    with contextlib.redirect_stdout(sys.stderr):
        rows = exponents.measured(todo, workers, say)
    document = exponents.document(rows, command)
    if markdown is not None:
        exponents.write(markdown, exponents.markdown(rows, command))
    if out is not None:
        exponents.write(out, exponents.text(encode(document)))
    if as_json:
        show.document(document)
    else:
        _print_all(rows)
    return 0 if all(row.verdict in (exponents.AGREES, exponents.UNKNOWN) for row in rows) else 3


def _jobs(dysts: bool, only: list[str], scale: float, seed: int) -> Any:
    from rl_lab.report import exponents

    try:
        return exponents.jobs("dysts" if dysts else "chaos", only, scale, seed)
    except ImportError as error:
        raise UserError(f"--dysts: {error}") from error


def _print_all(rows: Any) -> None:
    from rl_lab.report import exponents

    cells = [
        (
            row.system,
            row.parameters,
            *exponents.sides(row, "\n"),
            "-" if row.farthest is None else f"{row.farthest:+.1f}",
            row.verdict,
        )
        for row in rows
    ]
    show.table(("system", "parameters", "measured", "reference", "off", "verdict"), cells)
