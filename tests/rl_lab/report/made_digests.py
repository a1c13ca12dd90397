"""Runs as the report sees them, made by hand."""

from typing import Any

import numpy as np

from rl_lab.report.digest import Digest


def made(seed: int | None = 0, returns: Any = (), env_steps: Any = None, **facts: Any) -> Digest:
    """A finished run of ppo on Pendulum-v1 with these smoothed returns, 100 steps apart; `facts` replace the rest."""
    column = np.asarray(returns, dtype=np.float64)
    count = len(column)
    plain = {
        "run_id": f"run-{seed}", "task": "Pendulum-v1", "env": "Pendulum-v1", "agent": "ppo", "rule": "ppo",
        "trust_region": None, "agent_settings": {}, "seed": seed, "steps": 100 * count, "started": "2026-01-01",
        "status": "done", "reason": None, "problems": (), "manifest": {}, "update": np.arange(1.0, count + 1),
        "env_steps": 100 * np.arange(1.0, count + 1) if env_steps is None else np.asarray(env_steps, dtype=float),
        "returns": column, "kl_mean": np.full(count, 0.01), "kl_max": np.full(count, 0.02), "events": (),
        "kl_measured": True, "random_return": 0.0, "random_stderr": 0.5,
        "return_final": float(column[-1]) if count else None, "updates": count,
    }  # fmt: skip
    return Digest(**(plain | facts))


def collapse(env_steps: float | None, update: int | None = None) -> dict[str, Any]:
    return {"event": "performance_collapse", "env_steps": env_steps, "update": update}
