"""Run directories as the monitor writes them, with every fate a run can meet."""

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(
    0, str(Path(__file__).parents[3] / "benchmarks")
)  # browser.py, which the size benchmark drives too

from rl_lab.monitor.record.run_directory import encode, process_identity
from rl_lab.report import Report, build

TASKS = {"chaos/Lorenz-v0": (-110.0, -28.0), "Pendulum-v1": (-1250.0, -180.0)}
AGENTS = {"ppo": "clipping: 1 ± clip_range", "ppo-noclip": "none", "trpo": "mean KL at most target_kl"}
Row = dict[str, Any]


def lines(rows: list[Row]) -> str:
    return "".join(json.dumps(encode(row), allow_nan=False) + "\n" for row in rows)


def write_run(
    folder: Path, *, env: str = "chaos/Lorenz-v0", agent: str = "ppo", seed: int | None = 0,
    updates: list[Row] | None = None, events: list[Row] | None = None, **manifest: Any,
) -> Path:  # fmt: skip
    """One run directory; keyword arguments replace entries of a plain finished run's manifest."""
    run_id = f"{env.replace('/', '-')}-{agent}-s{seed}"
    updates, events = updates or [], events or []
    record = {
        "schema": 1, "run_id": run_id, "env": {"id": env, "settings": {}},
        "agent": {
            "name": agent, "label": agent, "trust_region": AGENTS.get(agent),
            "settings": {"learning_rate": 0.003, "n_steps": 256, "n_envs": 8, "gamma": 0.98},
        },
        "seed": seed, "steps": 60000, "status": "done", "reason": None,
        "started": f"2026-11-22T10:00:{seed or 0:02d}+00:00", "ended": "2026-11-22T10:01:00+00:00", "pid": 1,
        "git": {"revision": "0123456789abcdef", "dirty": False}, "versions": {"torch": "2.13.0"},
        "random_return": {"mean": TASKS[env][0], "stderr": 1.5, "episodes": 20, "how": "uniform actions"},
        "best_return": None, "return_final": updates[-1].get("return_smooth") if updates else None,
        "updates": len(updates), "env_steps": 2048 * len(updates), "events": {},
        "wandb": {"mode": "offline", "id": run_id, "dir": "wandb", "url": None},
    }  # fmt: skip
    for key in ("env", "agent"):
        record[key] = manifest.pop(f"{key}_record", record[key])
    target = folder / str(manifest.pop("run_id", run_id))
    target.mkdir(parents=True)
    record |= {"run_id": target.name} | manifest
    (target / "manifest.json").write_text(json.dumps(encode(record), indent=1))
    (target / "updates.jsonl").write_text(lines(updates))
    (target / "events.jsonl").write_text(lines(events))
    return target


def trajectory(env: str, agent: str, seed: int, count: int = 30) -> tuple[list[Row], list[Row]]:
    """Clipping stays near 0.02 nats, without it KL climbs over decades, TRPO stays below its limit."""
    rng = np.random.default_rng([seed, len(env), len(agent)])
    floor, top = TASKS[env]
    updates, events = [], []
    for n in range(1, count + 1):
        t = n / count
        wild = agent == "ppo-noclip"
        kl = {
            "ppo": 0.02 * rng.lognormal(0, 0.4),
            "ppo-noclip": 0.02 * 10 ** (3.5 * t * rng.uniform(0.3, 1)),
            "trpo": 0.0 if rng.uniform() < 0.08 else 0.045 * rng.uniform(0.6, 1),
        }[agent]
        reached = (1 - math.exp(-3 * t)) * (math.exp(-3 * max(0, t - 0.35)) if wild else 1)
        value = floor + (top - floor) * reached + rng.normal(0, 0.03) * (top - floor)
        early = n == 1 and env == "Pendulum-v1"
        updates.append({
            "update": n, "env_steps": 2048 * n, "seconds": 1.5 * n, "outcome": None, "kl_mean": kl,
            "kl_max": 6 * kl, "return_mean": None if early else value,
            "return_smooth": None if early else value, "episodes": 8,
        })  # fmt: skip
        if kl > 0.8:
            events.append({
                "id": len(events) + 1, "event": "kl_spike", "run": "r", "update": n, "epoch": None,
                "minibatch": None, "env_steps": 2048 * n, "value": kl, "threshold": 0.8, "details": {},
                "message": f"kl_spike: mean KL {kl:.3g} nats at update {n}, limit 0.8",
            })  # fmt: skip
    if agent == "ppo-noclip":
        events.append({
            "id": len(events) + 1, "event": "performance_collapse", "run": "r", "update": count - 4,
            "epoch": None, "minibatch": None, "env_steps": 2048 * (count - 4), "value": 0.7, "threshold": 0.5,
            "details": {}, "message": "lost 70 % of what was gained over the random policy",
        })  # fmt: skip
    return updates, events


@pytest.fixture
def run_writer() -> Callable[..., Path]:
    return write_run


def write_study(root: Path) -> Path:
    """2 tasks x 3 agents x 3 seeds; on Lorenz one run diverged, one failed, one runs, one file is cut off."""
    study = root / "study"
    runs = study / "runs"
    for env in TASKS:
        for agent in AGENTS:
            for seed in range(3):
                updates, events = trajectory(env, agent, seed)
                fate: Row = {}
                if env.startswith("chaos") and seed == 2:
                    fate, updates, events = _fate(agent, updates, events)
                path = write_run(
                    runs, env=env, agent=agent, seed=seed, updates=updates, events=events, **fate
                )
                if (env, agent, seed) == ("Pendulum-v1", "trpo", 2):
                    file = path / "updates.jsonl"
                    file.write_text(file.read_text()[:-40])
    config = {
        "envs": [{"id": env, "settings": {}, "steps": None, "agent": {}} for env in TASKS],
        "agents": [{"name": a, "label": a, "settings": {}} for a in AGENTS],
        "seeds": [0, 1, 2], "steps": 60000,
    }  # fmt: skip
    (study / "study.json").write_text(
        json.dumps({"schema": 1, "name": "trust regions", "hash": "abc123", "config": config})
    )
    return study


def _fate(agent: str, updates: list[Row], events: list[Row]) -> tuple[Row, list[Row], list[Row]]:
    if agent == "ppo":
        return (
            {
                "status": "running",
                "process": process_identity(os.getpid()),
                "ended": None,
                "return_final": None,
            },
            updates[:14],
            events,
        )
    if agent == "trpo":
        return (
            {"status": "failed", "reason": "the environment raised <ValueError>", "return_final": None},
            [],
            [],
        )
    broken = {**updates[17], "kl_mean": float("nan"), "kl_max": float("inf"), "outcome": "NOT_FINITE"}
    event = {
        "id": 99, "event": "nonfinite", "run": "r", "update": 18, "epoch": 3, "minibatch": 5,
        "env_steps": 36864, "value": float("nan"), "threshold": None, "details": {},
        "message": "first non-finite quantity: gradient of <log_std>",
    }  # fmt: skip
    kept = [e for e in events if e["update"] < 18]
    fate = {"status": "diverged", "reason": "gradient not finite at update 18", "return_final": None}
    return fate, [*updates[:17], broken], [*kept, event]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The realistic study, for tests that only read it."""
    return write_study(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def built(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Its report, built once."""
    return build(study, tmp_path_factory.mktemp("page"))
