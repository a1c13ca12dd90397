"""The command line: every command of the laboratory, its errors in one sentence, its exit codes.

0 done; 2 the input is wrong; 3 a run failed, or diverged under --strict; 130 interrupted, everything saved.
"""

import os
import sys

import typer
from typer.exceptions import TyperException

from rl_lab.cli import catalogue, diff, doctor, probe, replay, resume, work
from rl_lab.errors import UserError

WRONG_INPUT, FAILED, INTERRUPTED = 2, 3, 130

app = typer.Typer(
    name="rl-lab",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="A stability laboratory for reinforcement learning.\n\nExample:  rl-lab train chaos/Lorenz-v0 ppo",
)
app.command()(work.train)
app.command()(work.study)
app.command("run-one")(work.run_one)
app.command()(resume.resume)
app.command()(work.report)
app.command()(diff.diff)
app.command()(replay.replay)
app.add_typer(catalogue.envs_app, name="envs")
app.add_typer(catalogue.agents_app, name="agents")
app.add_typer(probe.app, name="probe")
app.command()(doctor.doctor)


def main() -> None:
    """Entry point of `rl-lab`."""
    sys.path.append(os.getcwd())  # at the end: your_pkg:YourEnv-v0 is found here, nothing of ours is shadowed
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except UserError as error:
        code = _complain(str(error))
    except TyperException as error:
        sentence = error.format_message() if hasattr(error, "format_message") else str(error)
        code = (
            _complain(sentence) if sentence else WRONG_INPUT
        )  # empty: the help was asked for by saying nothing
    except (KeyboardInterrupt, typer.Abort):
        print("rl-lab: interrupted; what was done is saved", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output, `head` for instance, has seen enough; Python would try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _complain(sentence: str) -> int:
    print(f"rl-lab: {' '.join(sentence.split())}", file=sys.stderr)
    return WRONG_INPUT
