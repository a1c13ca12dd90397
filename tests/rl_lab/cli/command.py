"""Calling `rl-lab` as a user does: a process, its exit code, its two streams."""

import json
import os
import subprocess
import sys

# A suite that a shell runs in the background hands an ignored Ctrl-C on to its children; a user's shell does not.
LISTEN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
PROGRAM = [sys.executable, "-c", f"{LISTEN}; from rl_lab.cli import main; main()"]


def environment(**changes):
    variables = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    return {**variables, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", **changes}


def rl_lab(*words, cwd=None, timeout=300, **changes):
    """Run `rl-lab words...` and wait for it."""
    return subprocess.run(
        [*PROGRAM, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        env=environment(**changes),
    )


def document(done):
    """Standard output as the one JSON document it must be."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
