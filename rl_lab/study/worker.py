"""One run in a process of its own: `python -m rl_lab.study.worker`, the plan as JSON in the first argument.

The process ends when its supervisor does: standard input is a pipe that nobody writes to, and its end
means that the supervisor is gone.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from rl_lab.errors import UserError
from rl_lab.study.execute import execute
from rl_lab.study.resume.checkpoint import plan_of


def main() -> int:
    """Run the plan; exit code 0 whenever the manifest says how the run ended, 130 if it was stopped."""
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_die_with_the_supervisor, daemon=True).start()
    order = json.loads(sys.argv[1])
    plan = plan_of(order["plan"])
    try:
        execute(
            plan,
            Path(order["out"]),
            wandb=order["wandb"],
            random_return=order["random_return"],
            study=order["study"],
            resume=order.get("resume", False),
        )
    except KeyboardInterrupt:
        return 130
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _interrupt(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough; closing must not be cut short
    raise KeyboardInterrupt


def _die_with_the_supervisor() -> None:
    # os.read, not sys.stdin: a buffered reader holds a lock that stops the interpreter from exiting.
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
