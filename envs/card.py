"""The card of a task: everything a reader or a table needs, as plain values."""

import inspect
import re
from dataclasses import fields, replace
from math import exp, log
from typing import Any

from envs import registry
from envs.system import Reference, System
from envs.task import Task, interval, resolve

GAMMAS = (0.95, 0.99, 0.999)
"""Discounts at which the smoothness of the value function is told."""
NORMAL95 = 1.959963984540054
"""Half-width of a 95 % interval in standard errors."""


def card(env_id: str, **settings: Any) -> dict[str, Any]:
    """Facts about a chaotic task, ready for JSON.

    `lyapunov_times` is the difficulty: the horizon times the largest published exponent, null where there is
    no reference (other parameters included).
    """
    task = resolve(env_id, settings)
    system = task.system
    published = registry.entry(env_id).published
    return {
        "id": task.id,
        "system": type(system).__name__,
        "kind": system.kind,
        "state_dim": len(system.states),
        "action_dim": system.n_pushes,
        "goal": task.goal,
        "dt": system.dt,
        "reference": reference(system),
        "source": published.source if published else source(type(system)),
        "lyapunov_times": _lyapunov_times(task),
        "remarks": published.remarks if published else None,
        **_equations(system, own_task=published is None),
        **_task(task),
        **_chaos(task),
        "versions": versions(system),
    }


def summary(env_id: str) -> dict[str, Any]:
    """What listings show of a task, from what its files state: nothing is compiled or integrated."""
    entry = registry.entry(env_id)
    settings = dict(entry.settings)
    floats = {f.name for f in fields(entry.system)}
    system = replace(entry.system(), **{k: v for k, v in settings.items() if k in floats})
    known, told = system.published, entry.published
    steps = settings.get("steps", system.task.steps or 200)
    held = settings.get("control_interval") or interval(system)
    return {
        "id": entry.id,
        "system": type(system).__name__,
        "kind": system.kind,
        "state_dim": len(system.states),
        "action_dim": system.n_pushes,
        "goal": told.goal if told else system.task.goal or system.task.aim,
        "dt": system.dt,
        "reference": reference(system),
        "source": told.source if told else source(type(system)),
        "lyapunov_times": round(steps * held * max(known.exponents), 2) if known else None,
    }


def reference(system: System) -> dict[str, Any] | None:
    """Published exponents, if these are the parameters they are about."""
    return None if system.published is None else _reference(system.published)


def holder(growth: float, gamma: float) -> float:
    """Hölder exponent of value and return where nothing controls: min(1, -log(gamma) / growth).

    `growth` is the largest Lyapunov exponent per control step. Below 1 errors outgrow the discount and the
    gradient of the return need not exist. Source: Wang, Herbert, Gao, arXiv:2310.15418.

    >>> round(holder(0.0453, 0.99), 2), holder(-0.1, 0.99)
    (0.22, 1.0)
    """
    return 1.0 if growth <= 0 else min(1.0, -log(gamma) / growth)


def source(cls: type[System]) -> str:
    """What follows 'Source:' in the docstring."""
    stated = re.search(r"Source:\s*(.+?)(?:\n\s*\n|\Z)", cls.__doc__ or "", re.DOTALL)
    return " ".join(stated[1].split()) if stated else ""


def versions(system: System) -> list[dict[str, Any]]:
    """What changed in each version of the task, oldest first."""
    told = system.versions
    return [
        {"version": n, "change": told.get(n, "initial version" if n == 0 else "not told")}
        for n in range(system.version + 1)
    ]


def _reference(known: Reference) -> dict[str, Any]:
    values, errors = known.exponents, known.stderrs
    return {
        "exponents": list(values),
        "stderr": list(errors),
        "source": known.source,
        "interval": [[v - NORMAL95 * e, v + NORMAL95 * e] for v, e in zip(values, errors, strict=True)],
        "at": dict(known.at),
        "survivors": known.survivors,
    }


def _lyapunov_times(task: Task) -> float | None:
    known = task.system.published
    return round(task.horizon * max(known.exponents), 2) if known else None


def _equations(system: System, own_task: bool) -> dict[str, Any]:
    """`own_task`: whether what the system's file says of its own task is about this one."""
    text = inspect.cleandoc(type(system).__doc__ or "").split("Source:")[0]
    if not own_task:
        text = "\n\n".join(p for p in text.split("\n\n") if not p.startswith("The task:"))
    return {
        "description": " ".join(text.split()),
        "paragraphs": [" ".join(part.split()) for part in text.split("\n\n") if part.strip()],
        "latex": system.latex,
        "states": list(system.states),
        "angles": list(system.angles),
        "parameters": system.parameters,
        "structure": _structure(system),
    }


def _structure(system: System) -> dict[str, Any]:
    """Fields that are no parameters of the equations: sizes, numbers of actuators, switches."""
    own = (f.name for f in fields(system) if f.name not in (*system.parameters, "actuator"))
    return {name: getattr(system, name) for name in own}


def _task(task: Task) -> dict[str, Any]:
    centre, scale = task.ruler
    space = task.observation_space()
    return {
        "push": list(task.push) if isinstance(task.push, tuple) else task.push,
        "actuator": list(task.system.actuator),
        "control_interval": task.control_interval,
        "steps": task.steps,
        "reward": f"{task.aim.sentence(task)}; escape pays {-task.worst:.3g} for every step left",
        "reward_best": task.aim.best(task),
        "reward_worst": -task.worst - task.aim.forfeit(task),
        "escape_reward": -task.worst * task.steps - task.aim.forfeit(task),
        "reward_scale": list(task.reward_scale)
        if isinstance(task.reward_scale, tuple)
        else task.reward_scale,
        "escape": task.escape,
        "target": task.target.tolist() if task.aim.steers else None,
        "observation": {
            "centre": centre.tolist(),
            "half_range": scale.tolist(),
            "size": len(space.high),
            "dtype": task.dtype,
            "units": task.units,
            "sensors": list(task.sensors),
            "rates": task.observe_rates,
            "noise": task.observation_noise,
            "delay": task.observation_delay,
        },
        "levels": task.levels,
        "process_noise": task.process_noise,
    }


def _chaos(task: Task) -> dict[str, Any]:
    system = task.system
    known = system.published
    largest = max(known.exponents) if known else None
    growth = None if largest is None else largest * task.control_interval
    others = [r for r in (system.reference, *system.other_references) if r is not None and r is not known]
    return {
        "unit": "nats per iteration" if system.kind == "map" else "nats per time unit",
        "lyapunov_time": 1 / largest if largest is not None and largest > 0 else None,
        "growth_per_step": growth,
        # For gamma above this, -log(gamma) < growth: errors outgrow the discount, the value function of the
        # uncontrolled task is no longer Lipschitz (arXiv:2310.15418).
        "smooth_below_gamma": None if growth is None else exp(-growth),
        "holder": None if growth is None else {f"{gamma:g}": holder(growth, gamma) for gamma in GAMMAS},
        "other_references": [_reference(r) for r in others],
        "transient": system.transient,
        "hamiltonian": system.hamiltonian,
    }
