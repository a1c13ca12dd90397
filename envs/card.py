"""The card of a task: everything a reader or a table needs, as plain values."""

import re
from math import exp
from typing import Any

from envs.registry import class_of
from envs.system import System
from envs.task import Task, resolve


def card(env_id: str, **settings: Any) -> dict[str, Any]:
    """Facts about a chaotic task, ready for JSON.

    `lyapunov_times` is the difficulty: the horizon times the largest published exponent, null where there is
    no reference (other parameters included).
    """
    task = resolve(env_id, settings)
    system = task.system
    return {
        "id": task.id,
        "system": type(system).__name__,
        "kind": system.kind,
        "state_dim": len(system.states),
        "action_dim": system.n_pushes,
        "goal": task.goal,
        "dt": system.dt,
        "reference": reference(system),
        "source": source(class_of(env_id)),
        "lyapunov_times": _lyapunov_times(task),
        **_extras(task),
    }


def reference(system: System) -> dict[str, Any] | None:
    """Published exponents, if these are the parameters they are about."""
    known = system.published
    if known is None:
        return None
    return {"exponents": list(known.exponents), "stderr": list(known.stderrs), "source": known.source}


def source(cls: type[System]) -> str:
    """What follows 'Source:' in the docstring."""
    stated = re.search(r"Source:\s*(.+?)(?:\n\s*\n|\Z)", cls.__doc__ or "", re.DOTALL)
    return " ".join(stated[1].split()) if stated else ""


def _lyapunov_times(task: Task) -> float | None:
    known = reference(task.system)
    return round(task.horizon * max(known["exponents"]), 2) if known else None


def _extras(task: Task) -> dict[str, Any]:
    system = task.system
    centre, scale = task.ruler
    known = reference(system)
    growth = max(known["exponents"]) * task.control_interval if known else None
    return {
        "description": " ".join((type(system).__doc__ or "").split("Source:")[0].split()),
        "latex": system.latex,
        "states": list(system.states),
        "angles": list(system.angles),
        "parameters": system.parameters,
        "push": task.push,
        "control_interval": task.control_interval,
        "steps": task.steps,
        "reward": _reward(task),
        "reward_scale": list(task.reward_scale)
        if isinstance(task.reward_scale, tuple)
        else task.reward_scale,
        "escape": task.escape,
        "target": task.target.tolist(),
        "observation": {
            "centre": centre.tolist(),
            "half_range": scale.tolist(),
            "size": len(task.observation_space().high),
            "dtype": task.dtype,
        },
        "growth_per_step": growth,
        # For gamma above this, -log(gamma) < growth: errors outgrow the discount, the value function of the
        # uncontrolled task is no longer Lipschitz (arXiv:2310.15418).
        "smooth_below_gamma": None if growth is None else exp(-growth),
    }


def _reward(task: Task) -> str:
    scale = task.reward_scale
    units = f"{scale:g}" if isinstance(scale, float) else "(" + ", ".join(f"{s:g}" for s in scale) + ")"
    return f"minus the distance to the target over {units}; escape pays -{task.worst:.3g} for every step left"
