"""A task: system, actuator, observation, goal, horizon and escape, with every number resolved."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import isfinite
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from envs import derive
from envs.registry import class_of, id_of, nearest
from envs.system import Floats, System


@dataclass(frozen=True)
class Task:
    """Hold `system` at its target with a push in ±`push`, held for `control_interval`, for `steps` steps.

    reward = -distance(state, target), each state's difference divided by its `reward_scale`, angles by chord.
    Escape (a state `escape` half-ranges from the centre, or not finite) terminates and pays at once what the
    farthest state inside these bounds would have cost for the rest of the episode: leaving early never pays.
    """

    system: System
    push: float
    control_interval: float
    steps: int
    reward_scale: float | tuple[float, ...]
    escape: float
    dtype: Literal["float32", "float64"] = "float32"

    @property
    def id(self) -> str:
        """Gymnasium id."""
        return id_of(type(self.system))

    @property
    def goal(self) -> str:
        """One phrase for listings."""
        point = ", ".join(f"{value:.4g}" for value in self.target)
        return self.system.task.goal or f"hold the fixed point ({point})"

    @property
    def substeps(self) -> int:
        """Fixed steps per control interval."""
        return round(self.control_interval / self.system.dt)

    @property
    def horizon(self) -> float:
        """Length of an episode in time units or iterations."""
        return self.steps * self.control_interval

    @property
    def target(self) -> Floats:
        """State to hold, [D]."""
        return derive.target(self.system)

    @property
    def ruler(self) -> tuple[Floats, Floats]:
        """Centre and scale [D] of the observation; constants of the system's class."""
        return derive.ruler(self.system)

    @cached_property
    def initial_states(self) -> Floats:
        """Settled points of the uncontrolled orbit, [M, D]; an episode starts at one of them."""
        points = derive.attractor(self.system).points
        reach = float(np.max(self.off_centre(points)))
        if reach > self.escape:
            raise ValueError(
                f"{self.id}: at {self.system} the uncontrolled orbit itself escapes: it reaches {reach:.2g} "
                f"half-ranges and escape is {self.escape:g}; make escape larger"
            )
        return points

    def off_centre(self, states: Floats) -> Floats:
        """How far states [..., D] are from the centre in half-ranges; angles are nowhere far."""
        centre, scale = self.ruler
        return np.where(np.isin(self.system.states, self.system.angles), 0.0, np.abs(states - centre) / scale)

    @cached_property
    def worst(self) -> float:
        """Largest distance from the target inside the escape bounds."""
        centre, scale = self.ruler
        farthest = np.abs(centre - self.target) + self.escape * scale
        chord = np.isin(self.system.states, self.system.angles)
        return float(np.linalg.norm(np.where(chord, 2.0, farthest) / self.reward_scale))

    @cached_property
    def constants(self) -> Floats:
        """Everything the compiled kernels need, in the order of `codegen.layout`."""
        centre, scale = self.ruler
        count = len(self.system.states)
        weight = np.broadcast_to(self.reward_scale, (count,)).astype(np.float64) ** -2.0
        head = [*self.system.parameter_vector, self.system.dt, self.escape, self.worst]
        return np.concatenate(
            [head, [self.push] * self.system.n_pushes, centre, 1 / scale, self.target, weight]
        )

    def action_space(self) -> "spaces.Box":
        """[-1, 1] per push, scaled to ±push by the task."""
        return spaces.Box(-1.0, 1.0, (self.system.n_pushes,), np.float32)

    def observation_space(self) -> "spaces.Box":
        """±escape per normalised state, ±1 for the cosine and sine of an angle."""
        bounds: list[float] = []
        for name in self.system.states:
            bounds += [1.0, 1.0] if name in self.system.angles else [self.escape]
        high = np.array(bounds, dtype=self.dtype)
        return spaces.Box(-high, high, dtype=high.dtype.type)


KNOBS = tuple(f.name for f in fields(Task) if f.name != "system")


def resolve(env_id: str, settings: dict[str, Any]) -> Task:
    """The task behind an id, with settings for the task and parameters of the system in one mapping.

    ValueError names an unknown setting with the nearest known one, or a value with what is allowed.
    """
    cls = class_of(env_id)
    known = (*cls.parameter_names(), *KNOBS)
    for name in settings:
        if name not in known:
            hint = " It is called steps here." if name == "max_episode_steps" else nearest(name, known)
            raise ValueError(f"{id_of(cls)}: {name} is not a setting of this task.{hint}")
    parameters = {n: _number(cls, n, settings[n]) for n in cls.parameter_names() if n in settings}
    system = replace(cls(), **parameters)
    return _checked(replace(_default(system), **{k: v for k, v in settings.items() if k in KNOBS}))


def _default(system: System) -> Task:
    wish = system.task
    return Task(
        system,
        push=wish.push or derive.push(system),
        control_interval=wish.control_interval or derive.control_interval(system),
        steps=wish.steps or 200,
        reward_scale=wish.reward_scale or derive.reward_scale(system),
        escape=wish.escape,
    )


def _checked(task: Task) -> Task:
    cls = type(task.system)
    for name in ("push", "control_interval", "escape"):
        if _number(cls, name, getattr(task, name)) <= 0:
            raise ValueError(f"{task.id}: {name} must be positive, got {getattr(task, name)!r}")
    if not _is_integer(task.steps) or task.steps < 1:
        raise ValueError(f"{task.id}: steps must be a whole number, at least 1, got {task.steps!r}")
    ratio = task.control_interval / task.system.dt
    if round(ratio) < 1 or abs(ratio - round(ratio)) > 1e-6:
        raise ValueError(
            f"{task.id}: control_interval must be a multiple of dt = {task.system.dt:g}, "
            f"got {task.control_interval!r}"
        )
    if task.dtype not in ("float32", "float64"):
        raise ValueError(f"{task.id}: dtype must be 'float32' or 'float64', got {task.dtype!r}")
    scales = task.reward_scale if isinstance(task.reward_scale, tuple | list) else (task.reward_scale,)
    if len(scales) not in (1, len(task.system.states)):
        raise ValueError(
            f"{task.id}: reward_scale must be one number or one per state, got {task.reward_scale!r}"
        )
    if any(_number(cls, "reward_scale", scale) <= 0 for scale in scales):
        raise ValueError(f"{task.id}: reward_scale must be positive, got {task.reward_scale!r}")
    return replace(task, reward_scale=tuple(scales) if len(scales) > 1 else float(scales[0]))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _number(cls: type[System], name: str, value: Any) -> float:
    if not (_is_integer(value) or isinstance(value, float | np.floating)) or not isfinite(value):
        raise ValueError(f"{id_of(cls)}: {name} must be a finite number, got {value!r}")
    return float(value)
