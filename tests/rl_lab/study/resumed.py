"""Short runs, whole ones and ones whose process was killed."""

import json
import shutil
from pathlib import Path

from rl_lab.monitor.event import Finding
from rl_lab.monitor.record.run_directory import read_run
from rl_lab.study.execute import execute
from rl_lab.study.monitor import Watch
from rl_lab.study.plan import Agent, Env, plan_run

UPDATES, EVERY = 5, 2
CHANCE = {"mean": 0.0, "stderr": 1.0, "episodes": 20, "how": "given"}
TINY = {"n_envs": 2, "n_steps": 24}
CLOCKS = ("seconds",)


def plan_for(env, agent, updates=UPDATES, every=EVERY, guards=(), task=None, **settings):
    settings = {**TINY, **settings}
    steps = updates * settings["n_envs"] * settings["n_steps"]
    watch = Watch(guards=tuple(guards), checkpoint_every=every)
    return plan_run(Env(env, env, task or {}), Agent(agent, agent, settings), 3, steps, {}, watch)


def run(plan, out, **keywords):
    keywords = {"wandb": False, "random_return": CHANCE, "say": lambda text: None, **keywords}
    return execute(plan, out, **keywords)


def killed(whole: Path, to: Path, checkpoint: int = EVERY) -> Path:
    """What a run leaves that has written all updates of `whole`, but no checkpoint after this one, and is killed."""
    shutil.copytree(whole, to)
    for path in to.glob("checkpoints/update-*"):
        if int(path.stem.partition("-")[2]) > checkpoint:
            path.unlink()
    (to / "checkpoints" / "final.safetensors").unlink()
    manifest = json.loads((to / "manifest.json").read_text())
    gone = {**manifest["process"], "pid": 2**22 + 1}
    manifest.update(status="running", ended=None, process=gone)
    (to / "manifest.json").write_text(json.dumps(manifest))
    return to


def lines(path: Path) -> list[dict]:
    """Updates without what a clock has written."""
    rows = read_run(path).updates
    return [{name: repr(value) for name, value in row.items() if name not in CLOCKS} for row in rows]


def chain(path: Path) -> list[str]:
    return [row["digest_chain"] for row in read_run(path).updates]


def spikes(monkeypatch, *updates):
    """The detectors find nothing but a kl_spike in these; returns the updates that each one was judged against."""
    judged = {}

    def found(detectors, seen):
        update = seen.row["update"]
        judged[update] = [row["update"] for row in seen.history]
        if update not in updates:
            return []
        return [Finding(event="kl_spike", value=seen.row["kl_mean"], threshold=0.05, message="injected")]

    monkeypatch.setattr("rl_lab.monitor.observer.observe_all", found)
    return judged
