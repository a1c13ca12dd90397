"""probe: how sensitive is it?"""

from typing import Annotated

import typer

from rl_lab.cli import show
from rl_lab.cli.catalogue import SetOption, settings_from
from rl_lab.cli.work import JsonOption
from rl_lab.errors import UserError

app = typer.Typer(
    no_args_is_help=True, help="How sensitive is it?\n\nExample:  rl-lab probe lyapunov chaos/Lorenz-v0"
)


@app.callback()
def probe() -> None:
    """How sensitive is it?"""


@app.command()
def lyapunov(
    env_id: Annotated[
        str, typer.Argument(metavar="ENV", help="A chaotic task; `rl-lab envs list` shows all.")
    ],
    time: Annotated[
        float | None, typer.Option(help="Time units (flows) or iterations (maps) to average over.", min=0.0)
    ] = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Lyapunov spectrum of the uncontrolled system, with standard errors, beside the reference.

    Example:  rl-lab probe lyapunov chaos/Lorenz-v0 --json
    """
    from rl_lab.study.tasks import chaotic

    system = chaotic(env_id, settings_from(set_))
    from rl_lab.probes.lyapunov import spectrum

    try:
        found = spectrum(system, time=time)
    except ValueError as error:
        raise UserError(f"{env_id}: {error}") from error
    if as_json:
        show.document(found.document(env_id))
        return 0
    expected = (found.reference or {}).get("exponents") or [None] * len(found.exponents)
    errors = (found.reference or {}).get("stderr") or [None] * len(found.exponents)
    rows = [
        (str(i), f"{value:.5f} ± {error:.5f}", "-" if known is None else f"{known:.5f} ± {known_error:.5f}")
        for i, (value, error, known, known_error) in enumerate(
            zip(found.exponents, found.stderr, expected, errors, strict=True), start=1
        )
    ]
    show.table(("", f"exponent [{found.unit}]", "reference"), rows)
    show.line()
    first = found.exponents[0]
    pairs = [
        ("Kaplan-Yorke dimension", f"{found.kaplan_yorke:.4f}"),
        ("Lyapunov time", f"{1 / first:.4g}" if first > 0 else "none: neighbours do not part"),
        ("averaged over", f"{found.time:,.6g} {'iterations' if system.kind == 'map' else 'time units'}"),
        ("source of the reference", (found.reference or {}).get("source") or "none for these parameters"),
    ]
    if found.note:
        pairs.append(("note", found.note))
    show.facts(pairs)
    return 0
