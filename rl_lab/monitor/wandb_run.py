"""The same numbers in Weights & Biases: online, offline, or in a run that somebody else has started."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args

from rl_lab.monitor.event import Event
from rl_lab.monitor.run_directory import encode

Mode = Literal["online", "offline", "disabled"]
Wish = bool | Literal["online", "offline"] | None
"""What a user wants of W&B; see DivergenceMonitor."""
PROJECT = "rl-lab"
FLUSH_SECONDS = 1.0
"""wandb's own default loses up to 15 s of records, alerts included, when a process is killed."""
ONLINE_TIMEOUT = 20.0
FINISH_TIMEOUT = 60.0


def active_run() -> Any | None:
    """The run that the user's script has started, if any; does not import wandb by itself."""
    module = sys.modules.get("wandb")
    return getattr(module, "run", None) if module else None


def open_run(wish: Wish, directory: Path, manifest: Mapping[str, Any]) -> "WandbRun | None":
    """The run to log to, according to the wish: the user's, one of our own, or none."""
    if wish is None:
        active = active_run()
        return WandbRun(active, owned=False) if active is not None else None
    if wish is False:
        return None
    return WandbRun.start(directory, manifest, None if wish is True else wish)


def mode_from_environment() -> Mode:
    """WANDB_MODE if the user has set it; else online if an API key is at hand, else offline. Never asks."""
    said = os.environ.get("WANDB_MODE")
    for mode in get_args(Mode):
        if said == mode:
            return cast(Mode, mode)
    return "online" if _logged_in() else "offline"


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    import wandb
    from wandb.sdk.lib import wbauth

    try:
        return wbauth.read_netrc_auth(host=wbauth.HostUrl(wandb.Settings().base_url)) is not None
    except Exception:  # an unreadable netrc is not a login, and not this program's business to judge
        return False


def keep_inside(directory: Path) -> None:
    """Point wandb's staging, cache and settings into the directory, unless the user has placed them.

    wandb also greets a module named `agents` with advice about another company's package; it is told to
    be silent.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    for variable, name in (
        ("WANDB_DATA_DIR", "data"),
        ("WANDB_CACHE_DIR", "cache"),
        ("WANDB_CONFIG_DIR", "config"),
        ("WANDB_ARTIFACT_DIR", "artifacts"),
    ):
        os.environ.setdefault(variable, str(directory / "wandb" / name))


class WandbRun:
    """Writes updates and events to one W&B run.

    No call passes `step=` (wandb drops rows whose step goes back); every row carries env_steps and
    update, and env_steps is declared as the horizontal axis of what the monitor writes.
    """

    def __init__(self, run: Any, *, owned: bool) -> None:
        self._run = run
        self._owned = owned
        self._largest: dict[str, float] = {}
        self._nonfinite = 0
        self._events: dict[str, int] = {}
        self._declared: set[str] = set()

    @classmethod
    def start(cls, directory: Path, manifest: Mapping[str, Any], mode: Mode | None = None) -> "WandbRun":
        """Begin a run of our own inside the run directory; online falls back to offline with a sentence."""
        keep_inside(directory)
        import wandb

        mode = mode or mode_from_environment()
        env, agent = manifest["env"]["id"], manifest["agent"]["label"]
        arguments: dict[str, Any] = {
            "project": os.environ.get("WANDB_PROJECT", PROJECT),
            "id": _run_id(manifest),
            "name": manifest["run_id"],
            "group": f"{env} {agent}",
            "job_type": "train",
            "tags": [env[:64], agent[:64]],
            "config": encode(
                {key: manifest[key] for key in ("env", "agent", "seed", "steps", "run_id", "study")}
            ),
            "dir": str(directory),
            "reinit": "create_new",
        }
        settings = wandb.Settings(
            x_transaction_log_flush_interval=FLUSH_SECONDS,
            x_disable_stats=True,
            disable_git=True,
            disable_code=True,
            console="off",
            silent=True,
            init_timeout=ONLINE_TIMEOUT,
            finish_timeout=FINISH_TIMEOUT,
        )
        try:
            run = wandb.init(**arguments, mode=mode, settings=settings)
        except wandb.Error as error:
            if mode != "online":
                raise
            print(f"rl-lab: W&B is not reachable ({_first_line(error)}); logging offline", file=sys.stderr)
            run = wandb.init(**arguments, mode="offline", settings=settings)
        return cls(run, owned=True)

    def describe(self, directory: Path) -> dict[str, Any]:
        """Where the run is: {"mode", "id", "dir", "url"}; mode is `yours` for a run the user started.

        `dir` is what `wandb sync` takes, relative to the run directory if it lies inside.
        """
        offline = bool(getattr(self._run, "offline", False))
        mode = ("offline" if offline else "online") if self._owned else "yours"
        folder = Path(self._run.dir).parent  # run.dir is the folder "files" in it
        if folder.is_relative_to(directory):
            folder = folder.relative_to(directory)
        url = None if offline else getattr(self._run, "url", None)
        return {"mode": mode, "id": self._run.id, "dir": str(folder), "url": url}

    def update(self, row: Mapping[str, Any]) -> None:
        """Log one update under the keys of updates.jsonl; missing values are left out."""
        present = {key: value for key, value in row.items() if value is not None}
        self._declare(present)
        for key, value in present.items():
            if isinstance(value, float):
                if value - value == 0:
                    self._largest[key] = max(value, self._largest.get(key, value))
                else:
                    self._nonfinite += 1
        self._run.log(present)

    def event(self, event: Event) -> None:
        """Log the event, count it in the summary, and alert on the 1st, 10th, 100th ... of its kind."""
        count = self._events[event.event] = self._events.get(event.event, 0) + 1
        row = {
            "event": event.event,
            "event/value": event.value,
            "event/threshold": event.threshold,
            "event/message": event.message,
            "event/id": event.id,
            "update": event.update,
            "env_steps": event.env_steps,
        }
        self._declare(row)
        self._run.log({key: value for key, value in row.items() if value is not None})
        self._run.summary[f"events/{event.event}"] = count
        if str(count).strip("0") == "1":
            level = "INFO" if event.event == "recovery" else "WARN"
            many = f" (number {count} of this kind)" if count > 1 else ""
            self._run.alert(title=event.event, text=event.sentence() + many, level=level)

    def finish(self, status: str, summary: Mapping[str, Any]) -> None:
        """Write the outcome; end the run if the lab started it."""
        values = {
            f"largest/{key}": v for key, v in self._largest.items() if key.startswith(("kl", "ratio", "grad"))
        }
        self._run.summary.update({**values, **summary, "status": status, "nonfinite_count": self._nonfinite})
        if self._owned:
            self._run.finish(exit_code={"done": 0, "diverged": 0, "interrupted": 130}.get(status, 1))

    def _declare(self, row: Mapping[str, Any]) -> None:
        """Give every new key env_steps as its axis; only ours, a user's other metrics stay as they are."""
        for key in row.keys() - self._declared:
            self._declared.add(key)
            if key in ("env_steps", "update"):
                self._run.define_metric(key, hidden=True)
            else:
                self._run.define_metric(key, step_metric="env_steps")


def _run_id(manifest: Mapping[str, Any]) -> str:
    """W&B run ids name directories and are listed by viewers, so they say what ran, and when."""
    started = "".join(c for c in str(manifest["started"]) if c.isdigit())[:14]
    text = f"{manifest['env']['id']}-{manifest['agent']['label']}-s{manifest['seed']}-{started}"
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
