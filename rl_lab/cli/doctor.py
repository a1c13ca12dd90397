"""doctor: is this machine ready?"""

import importlib.util
import os
import platform
import sys
import tempfile
from pathlib import Path

from rl_lab.cli import show
from rl_lab.cli.work import JsonOption
from rl_lab.errors import UserError, one_line


def doctor(as_json: JsonOption = False) -> int:
    """Check that everything the laboratory needs is here and works.

    Example:  rl-lab doctor
    """
    results = [check() for check in (_python, _packages, _rooms, _compiler, _writing, _wandb)]
    if as_json:
        show.document([{"name": n, "ok": ok, "sentence": s} for n, ok, s in results])
    else:
        show.table(("", "", ""), [(name, "ok" if ok else "PROBLEM", text) for name, ok, text in results])
    return 0 if all(ok for _, ok, _ in results) else 3


Result = tuple[str, bool, str]


def _python() -> Result:
    return "python", sys.version_info >= (3, 11), f"{platform.python_version()}, {os.cpu_count()} cores"


def _packages() -> Result:
    from rl_lab.monitor.record.provenance import PACKAGES, versions

    found = versions()
    missing = [package for package in PACKAGES if package not in found]
    if missing:
        return "packages", False, f"not installed: {', '.join(missing)}; run `make setup`"
    return (
        "packages",
        True,
        ", ".join(f"{name} {number}" for name, number in found.items() if name != "python"),
    )


def _rooms() -> Result:
    from rl_lab.study.checkout import room

    try:
        tasks, agents = room("envs").ids(), room("agents").catalogue()
    except UserError as error:
        return "checkout", False, str(error)
    return "checkout", True, f"{len(tasks)} chaotic tasks, {len(agents)} agents"


def _compiler() -> Result:
    """Step a chaotic task: generates, compiles and caches what is missing."""
    import gymnasium as gym

    from rl_lab.study.checkout import room

    try:
        room("envs")
        env = gym.make("chaos/Lorenz-v0")
        env.reset(seed=0)
        env.step(env.action_space.sample())
    except Exception as error:  # the point of this check is to say what went wrong, whatever it was
        return (
            "compiler",
            False,
            f"chaos/Lorenz-v0 does not step: {one_line(error)}",
        )
    return "compiler", True, "chaos/Lorenz-v0 compiles and steps"


def _writing() -> Result:
    try:
        with tempfile.TemporaryDirectory(dir=Path.cwd()):
            pass
    except OSError as error:
        return "output", False, f"cannot write in {Path.cwd()} ({error.strerror}); use --out"
    return "output", True, f"{Path.cwd()} is writable"


def _wandb() -> Result:
    if importlib.util.find_spec("wandb") is None:
        return "W&B", False, "wandb is not installed; run `make setup`"
    from rl_lab.monitor.record.wandb_run import mode_from_environment

    mode = mode_from_environment()
    why = "you are logged in" if mode == "online" else "no login found; `wandb login` changes that"
    if os.environ.get("WANDB_MODE"):
        why = "WANDB_MODE says so"
    return "W&B", True, f"runs will be logged {mode} ({why})"
