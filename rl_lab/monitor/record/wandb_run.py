"""The same numbers in Weights & Biases: online, offline, or in a run that somebody else has started."""

import math
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from rl_lab.monitor.event import Event
from rl_lab.monitor.record.run_directory import encode

Mode = Literal["online", "offline", "disabled"]
_SPELLINGS: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "disabled": "disabled",
}
Wish = bool | Literal["online", "offline"] | None
"""What a user wants of W&B; see DivergenceMonitor."""
PROJECT = "rl-lab"
CONFIG = ("env", "agent", "seed", "steps", "run_id", "study", "level", "guards")
"""Entries of the manifest by which W&B can group and filter runs."""
FLUSH_SECONDS = 0.5
"""wandb's own default loses up to 15 s of records, alerts included, when a process is killed. Half of the second that
may be lost, because a record also takes some time to the process that writes the file."""
WORD = 64
"""Characters of a text that is a name, not a document."""
CALM = ("recovery", "guard_")
"""How the names of events begin that are no reason to worry."""
ONLINE_TIMEOUT = 20.0
FINISH_TIMEOUT = 60.0


def active_run() -> Any | None:
    """The run that the user's script has started, if any; does not import wandb by itself."""
    module = sys.modules.get("wandb")
    return getattr(module, "run", None) if module else None


def open_run(
    wish: Wish, directory: Path, manifest: Mapping[str, Any], before: "WandbRun | None" = None
) -> "WandbRun | None":
    """The run to log to, according to the wish: the user's, one of our own, or none.

    `before` is what the same training logged to in an earlier learn(); its counts go on.
    """
    if wish is None:
        active = active_run()
        return WandbRun(active, owned=False, before=before) if active is not None else None
    if wish is False:
        return None
    variables = keep_inside(directory)  # before anything of wandb starts, or it writes elsewhere
    mode = mode_from_environment() if wish is True else wish
    if mode == "disabled":
        _put_back(variables)
        return None
    return WandbRun.start(directory, manifest, mode, variables, before)


def mode_from_environment() -> Mode:
    """WANDB_MODE if the user has set it; else online if an API key is at hand, else offline. Never asks."""
    said = os.environ.get("WANDB_MODE")
    if said:
        # A word that nobody knows must never mean "upload".
        return _SPELLINGS.get(said, "offline")
    return "online" if _logged_in() else "offline"


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    import wandb
    from wandb.sdk.lib import wbauth

    try:
        return wbauth.read_netrc_auth(host=wbauth.HostUrl(wandb.setup().settings.base_url)) is not None
    except Exception:  # an unreadable netrc is not a login, and not this program's business to judge
        return False


def keep_inside(directory: Path) -> dict[str, str]:
    """Point wandb's staging and cache into the directory, unless the user has placed them.

    Its settings stay where they are: they say which server is the user's. wandb also greets a module named
    `agents` with advice about another company's package; it is told to be silent.
    """
    ours = {"WANDB_SILENT": "true"}
    for variable, name in (("DATA", "data"), ("CACHE", "cache"), ("ARTIFACT", "artifacts")):
        ours[f"WANDB_{variable}_DIR"] = str(directory / "wandb" / name)
    ours = {variable: value for variable, value in ours.items() if variable not in os.environ}
    os.environ.update(ours)
    return ours


def _put_back(variables: Mapping[str, str]) -> None:
    """Take out of the environment what keep_inside put there: later runs in this process are the user's own."""
    for variable, value in variables.items():
        if os.environ.get(variable) == value:
            del os.environ[variable]


class WandbRun:
    """Writes updates and events to one W&B run.

    No call passes `step=` (wandb drops rows whose step goes back); every row carries env_steps and
    update, and env_steps is declared as the horizontal axis of what the monitor writes. Every row moves
    wandb's own step on, so in a run of the user's his rows should not count steps by hand (`step=`) either.

    The files of the run directory are the truth: where W&B raises, that is said once and training goes on.
    """

    def __init__(
        self,
        run: Any,
        *,
        owned: bool,
        before: "WandbRun | None" = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._run = run
        self._owned = owned
        self._variables = variables or {}
        self._works = True
        self._largest: dict[str, float] = before._largest if before else {}
        self._nonfinite: int = before._nonfinite if before else 0
        self._declared: set[str] = set()

    @classmethod
    def start(
        cls,
        directory: Path,
        manifest: Mapping[str, Any],
        mode: Mode,
        variables: Mapping[str, str],
        before: "WandbRun | None" = None,
    ) -> "WandbRun":
        """Begin a run of our own inside the run directory; online falls back to offline with a sentence."""
        import wandb

        env, agent = _task(manifest), manifest["agent"]["label"]
        arguments: dict[str, Any] = {
            "project": os.environ.get("WANDB_PROJECT", PROJECT),
            "id": before._run.id if before else _own_id(manifest) or _run_id(manifest),
            "resume": "allow",
            "name": manifest["run_id"],
            "group": f"{env} {agent}",
            "job_type": "train",
            "tags": [env[:64], agent[:64]],
            "config": encode({key: manifest.get(key) for key in CONFIG}),
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
        return cls(run, owned=True, before=before, variables=variables)

    def counts(self) -> dict[str, Any]:
        """What the summary is going to say of all updates so far."""
        return {"largest": dict(self._largest), "nonfinite": self._nonfinite}

    def go_on_from(self, counts: Mapping[str, Any]) -> None:
        """Count on from what `counts` returned in another process."""
        self._largest, self._nonfinite = dict(counts["largest"]), counts["nonfinite"]

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
        """Log one update under the keys of updates.jsonl: numbers and names.

        What is missing is left out, and so are lists and digests, which are no charts.
        """
        present = {key: value for key, value in row.items() if _is_shown(key, value)}
        for key, value in present.items():
            if isinstance(value, float):
                if math.isfinite(value):
                    self._largest[key] = max(value, self._largest.get(key, value))
                else:
                    self._nonfinite += 1
        self._tell(lambda: self._log(present))

    def event(self, event: Event, count: int) -> None:
        """Log the event, and in the summary that there have been so many of its name."""
        row = {
            "event": event.event,
            "event/value": event.value,
            "event/threshold": event.threshold,
            "event/message": event.message,
            "event/precursors": ", ".join(f"{p.quantity} {p.lead} ahead" for p in event.precursors) or None,
            "event/id": event.id,
            "update": event.update,
            "env_steps": event.env_steps,
        }
        self._tell(lambda: self._log({key: value for key, value in row.items() if value is not None}))
        self._tell(lambda: self._run.summary.update({f"events/{event.event}": count}))

    def alert(self, event: Event, text: str) -> bool:
        """Alert under the event's name; what is good news, or what a guard did, is no warning. False: W&B is gone."""
        level = "INFO" if event.event.startswith(CALM) else "WARN"
        self._tell(lambda: self._run.alert(title=event.event, text=text, level=level))
        return self._works

    def finish(self, status: str, summary: Mapping[str, Any]) -> None:
        """Write the outcome; end the run if the lab started it."""
        values: dict[str, Any] = {
            f"largest/{key}": v for key, v in self._largest.items() if key.startswith(("kl", "ratio", "grad"))
        }
        values = {**values, **summary, "status": status, "nonfinite_count": self._nonfinite}
        self._tell(lambda: self._run.summary.update(values))
        if self._owned:
            code = {"done": 0, "diverged": 0, "interrupted": 130}.get(status, 1)
            self._tell(lambda: self._run.finish(exit_code=code))
            _put_back(self._variables)

    def _tell(self, do: Callable[[], Any]) -> None:
        if not self._works:
            return
        try:
            do()
        except Exception as error:  # a lost server or a run that the user has finished is no reason to stop
            self._works = False
            print(
                f"rl-lab: W&B no longer takes the numbers ({_first_line(error)}); the files do",
                file=sys.stderr,
            )

    def _log(self, row: Mapping[str, Any]) -> None:
        self._declare(row)
        self._run.log(dict(row))

    def _declare(self, row: Mapping[str, Any]) -> None:
        """Give every new key env_steps as its axis; only ours, a user's other metrics stay as they are."""
        for key in row.keys() - self._declared:
            self._declared.add(key)
            if key in ("env_steps", "update"):
                self._run.define_metric(key, hidden=True)
            else:
                self._run.define_metric(key, step_metric="env_steps")


def _is_shown(key: str, value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= WORD and not key.startswith("digest")
    return value is not None and not isinstance(value, list | tuple | Mapping)


def _own_id(manifest: Mapping[str, Any]) -> str | None:
    """Of a run that goes on, the id under which its earlier part lies in W&B; None: there is no such part of ours."""
    told = manifest.get("wandb") or {}
    return str(told["id"]) if told.get("mode") in ("online", "offline") else None


def _run_id(manifest: Mapping[str, Any]) -> str:
    """W&B run ids name directories and are listed by viewers, so they say what ran, and when."""
    started = "".join(c for c in str(manifest["started"]) if c.isdigit())[:14]
    # The ending keeps two runs apart that began in the same second; it is no number of the experiment.
    ending = secrets.token_hex(2)
    text = f"{_task(manifest)}-{manifest['agent']['label']}-s{manifest['seed']}-{started}-{ending}"
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in text)


def _task(manifest: Mapping[str, Any]) -> str:
    env = manifest["env"]
    return str(env.get("label") or env["id"])


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
