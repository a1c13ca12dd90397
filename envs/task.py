"""A task: system, actuator, observation, goal, horizon and escape, with every number resolved."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import inf, isfinite
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from envs import derive, orbits, registry
from envs.goals import Goal, added, goals
from envs.registry import nearest
from envs.system import Floats, System

Box = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Task:
    """`aim` is paid for what `system` does under pushes in ±`push`, each held for `control_interval`.

    An episode has `steps` intervals and ends early by escape: a state `escape` half-ranges from its centre (or
    not finite). Escape pays at once what the worst reward inside the bounds would add up to for the rest of
    the episode: leaving early never pays.
    """

    system: System
    aim: Goal
    id: str
    push: float | tuple[float, ...]
    """Bound of the actuator, or one for each."""
    control_interval: float
    steps: int
    reward_scale: float | tuple[float, ...]
    """Distance that costs 1, or one for each state; inf where a state does not count."""
    escape: float
    dtype: Literal["float32", "float64"] = "float32"
    levels: int = 0
    """0: continuous actions; else each push takes one of so many values evenly from -push to push."""
    sensors: tuple[str, ...] = ()
    """States that are observed; empty: all."""
    units: Literal["scaled", "raw"] = "scaled"
    """Of the observation: half-ranges from the centre (angles as cosine and sine), or the states' own."""
    observe_rates: bool = False
    """Whether the rate of every observed state follows the states."""
    observation_noise: float = 0.0
    """Standard deviation of what is added to every observation, in its units."""
    observation_delay: int = 0
    """Control intervals by which observations come late."""
    process_noise: float = 0.0
    """Standard deviation of the random walk added to every state, in half-ranges per square root of time."""
    start_box: Box | None = None
    """Corners (low, high) of the box in which episodes begin; None: on the attractor."""

    @property
    def goal(self) -> str:
        """One phrase for listings."""
        return self.aim.phrase(self)

    @property
    def substeps(self) -> int:
        """Fixed steps per control interval."""
        return round(self.control_interval / self.system.dt)

    @property
    def horizon(self) -> float:
        """Length of an episode in time units or iterations."""
        return self.steps * self.control_interval

    @property
    def bounds(self) -> tuple[float, ...]:
        """One bound per push."""
        return self.push if isinstance(self.push, tuple) else (self.push,) * self.system.n_pushes

    @cached_property
    def target(self) -> Floats:
        """State to hold, [D]; ValueError for a goal without one."""
        found = self.aim.target(self.system)
        if found is None:
            raise ValueError(f"{self.id}: the goal {self.aim.name} has no target")
        return found

    @property
    def ruler(self) -> tuple[Floats, Floats]:
        """Centre and scale [D] of the observation; constants of the system's structure."""
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
        return np.where(self.turning, 0.0, np.abs(states - centre) / scale)

    @cached_property
    def turning(self) -> npt.NDArray[np.bool_]:
        """Which states are angles, [D]."""
        return np.isin(self.system.states, self.system.angles)

    @cached_property
    def bounding_box(self) -> tuple[Floats, Floats]:
        """Lowest and highest states inside the escape bounds, [D] each; angles are not bounded."""
        centre, scale = self.ruler
        half = np.where(self.turning, inf, self.escape * scale)
        return centre - half, centre + half

    # ---- distances, for goals ----

    @cached_property
    def weights(self) -> Floats:
        """Weight of each squared difference, 1 / reward_scale^2, [D]."""
        return np.asarray(np.broadcast_to(self.reward_scale, (len(self.system.states),)) ** -2.0)

    def shortened(self, difference: Floats) -> Floats:
        """Differences [D, N] with those of angles in [-pi, pi)."""
        return orbits.wrapped(self.system, difference)

    def length(self, difference: Floats) -> Floats:
        """Length of differences [D, N] in units of reward_scale, [N]; angles by chord, 2 - 2 cos."""
        turns = self.turning[:, None]
        square = difference**2
        if turns.any():
            square = np.where(turns, 2 - 2 * np.cos(np.where(turns, difference, 0.0)), square)
        return np.sqrt(added(self.weights[:, None] * square))

    def inner(self, first: Floats, second: Floats) -> Floats:
        """Inner product of differences [D, N] in the same units, [N]."""
        return added(self.weights[:, None] * (first * second))

    def distance(self, states: Floats, point: Floats) -> Floats:
        """Length of states [D, N] minus one point [D], [N]."""
        return self.length(states - point[:, None])

    def farthest(self, point: Floats) -> float:
        """Largest distance from a point [D] inside the escape bounds."""
        centre, scale = self.ruler
        away = np.abs(centre - point) + self.escape * scale
        return float(np.sqrt(self.weights @ np.where(self.turning, 2.0, away) ** 2))

    @property
    def scale_text(self) -> str:
        """`reward_scale` for sentences."""
        scale = self.reward_scale
        if isinstance(scale, float):
            return f"{scale:g}"
        return "(" + ", ".join(f"{s:g}" for s in scale[:6]) + (", ...)" if len(scale) > 6 else ")")

    @cached_property
    def worst(self) -> float:
        """Largest price of a step inside the escape bounds: minus the smallest reward."""
        return -self.aim.worst(self)

    # ---- what the kernels and the spaces need ----

    @property
    def compiled(self) -> bool:
        """Whether the generated kernel knows the whole step: it moves, pays and observes in one call."""
        known = self.aim.compiled and self.units == "scaled" and not self.observe_rates
        return known and not self.process_noise and self.system.compiled

    @cached_property
    def constants(self) -> Floats:
        """Everything the compiled kernels need, in the order envs/interval.py states."""
        centre, scale = self.ruler
        head = [*self.system.parameter_vector, self.system.dt, self.escape, self.worst]
        return np.concatenate([head, self.bounds, centre, 1 / scale, self.target, self.weights])

    @cached_property
    def columns(self) -> tuple[int, ...] | None:
        """Which entries of the full scaled observation are seen, or None: all."""
        if not self.sensors:
            return None
        at, places = 0, {}
        for name, turns in zip(self.system.states, self.turning, strict=True):
            width = 2 if turns and self.units == "scaled" else 1
            places[name] = range(at, at + width)
            at += width
        return tuple(column for name in self.sensors for column in places[name])

    def action_space(self) -> "spaces.Space[Any]":
        """[-1, 1] per push, scaled to ±push by the task; with levels, Discrete or MultiDiscrete."""
        count = self.system.n_pushes
        if not self.levels:
            return spaces.Box(-1.0, 1.0, (count,), np.float32)
        return spaces.Discrete(self.levels) if count == 1 else spaces.MultiDiscrete([self.levels] * count)

    def observation_space(self) -> "spaces.Box":
        """±escape per scaled state, ±1 for the cosine and sine of an angle; raw states and rates by their box."""
        scaled: list[float] = []
        for turns in self.turning:
            scaled += [1.0, 1.0] if turns else [self.escape]
        if self.units == "scaled" and not self.observe_rates:
            high = np.array(scaled, dtype=self.dtype)
            high = high[list(self.columns)] if self.columns is not None else high
            return spaces.Box(-high, high, dtype=high.dtype.type)
        low, high = (bound.astype(self.dtype) for bound in self.bounding_box)
        if self.units == "scaled":
            high = np.array(scaled, dtype=self.dtype)
            low = -high
        if self.columns is not None:
            low, high = low[list(self.columns)], high[list(self.columns)]
        if self.observe_rates:
            unbounded = np.full(len(self.sensors or self.system.states), inf, dtype=self.dtype)
            low, high = np.append(low, -unbounded), np.append(high, unbounded)
        return spaces.Box(low, high, dtype=high.dtype.type)

    def observed(self, states: Floats, push: Floats) -> Floats:
        """What an agent sees of states [D, N], without noise and delay, [N, O]."""
        if self.units == "raw":
            seen = states
        else:
            centre, scale = self.ruler
            seen = (states - centre[:, None]) * (1 / scale)[:, None]
            if self.turning.any():
                rows = [
                    np.stack([np.cos(row), np.sin(row)]) if turns else plain[None]
                    for row, plain, turns in zip(states, seen, self.turning, strict=True)
                ]
                seen = np.concatenate(rows)
        if self.columns is not None:
            seen = seen[list(self.columns)]
        if self.observe_rates:
            rates = self.system.rates(states, push)
            rates = rates if self.units == "raw" else rates * (1 / self.ruler[1])[:, None]
            wanted = [self.system.states.index(name) for name in self.sensors or self.system.states]
            seen = np.concatenate([seen, rates[wanted]])
        return np.ascontiguousarray(seen.T)


OWN = ("system", "aim", "id")
KNOBS = (*(f.name for f in fields(Task) if f.name not in OWN), "goal", "lyapunov_times")


def resolve(env_id: str, settings: Mapping[str, Any]) -> Task:
    """The task behind an id, with settings for task, goal and system in one mapping.

    ValueError names an unknown setting with the nearest known one, or a value with what is allowed.
    """
    entry = registry.entry(env_id)
    asked, settings = settings, {**_published(entry, settings), **settings}
    system_names = [f.name for f in fields(entry.system)]
    aim = _goal_class(entry, settings)
    goal_names = [f.name for f in fields(aim)]
    known = (*system_names, *KNOBS, *goal_names)
    for name in settings:
        if name not in known:
            hint = " It is called steps here." if name == "max_episode_steps" else nearest(name, known)
            raise ValueError(f"{entry.id}: {name} is not a setting of this task.{hint}")
    system = _system(entry, {n: settings[n] for n in system_names if n in settings})
    default = aim()
    goal = aim(
        **{n: _like(entry.id, n, settings[n], getattr(default, n)) for n in goal_names if n in settings}
    )
    if why := goal.unfit(system):
        fitting = ", ".join(name for name, other in goals().items() if not _unfit(other, system))
        raise ValueError(
            f"{entry.id}: the goal {aim.name} is not for {type(system).__name__}: {why} (goals for it: {fitting})"
        )
    chosen = {k: _plain(v) for k, v in settings.items() if k in KNOBS and k not in ("goal", "lyapunov_times")}
    try:
        goal.check()
        goal.prepare(system)
        task = _checked(replace(_default(entry.id, system, goal), **chosen))
        task = _lasting(task, asked)
        if goal.steers:
            _ = task.target  # says what is wrong with it
    except ArithmeticError as error:
        raise ValueError(f"{entry.id}: these parameters make no sense together ({error}): {system}") from None
    except ValueError as error:
        named = str(error).startswith(entry.id)
        raise error if named else ValueError(f"{entry.id}: {error}") from None
    return task


def _published(entry: "registry.Entry", asked: Mapping[str, Any]) -> dict[str, Any]:
    """The entry's settings, less what makes no sense beside what is asked for."""
    settings = dict(entry.settings)
    if "lyapunov_times" in asked:
        settings.pop("steps", None)
    if asked.get("goal", settings.get("goal")) != settings.get("goal"):
        own = {f.name for f in fields(goals()[settings["goal"]])} if "goal" in settings else set()
        settings = {name: value for name, value in settings.items() if name not in own}
    return settings


def _unfit(aim: type[Goal], system: System) -> bool:
    return aim().unfit(system) is not None


def _goal_class(entry: "registry.Entry", settings: Mapping[str, Any]) -> type[Goal]:
    wanted = settings.get("goal", entry.system.task.aim)
    if not isinstance(wanted, str) or wanted not in goals():
        raise ValueError(f"{entry.id}: {wanted!r} is no goal.{nearest(str(wanted), goals())}")
    return goals()[wanted]


def _system(entry: "registry.Entry", settings: Mapping[str, Any]) -> System:
    """The system with parameters and structure as asked for; its own checks speak for themselves."""
    plain = entry.system()
    values = {n: _like(entry.id, n, v, getattr(plain, n)) for n, v in settings.items()}
    try:
        system = replace(plain, **values)
        _check_actuator(system)
        _ = system.states, system.start
    except ArithmeticError as error:
        raise ValueError(f"{entry.id}: these parameters make no sense together ({error})") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{entry.id}: {error}") from None
    return system


def _check_actuator(system: System) -> None:
    places = system.actuator
    known = (*system.states, *system.parameter_names())
    if not isinstance(places, tuple) or len(set(places)) != len(places):
        raise ValueError(f"actuator must name different states or parameters, got {places!r}")
    for name in places:
        if name not in known:
            raise ValueError(f"actuator: {name} is no state or parameter.{nearest(str(name), known)}")


def interval(system: System) -> float:
    """The default control interval: the stated or derived one in whole steps of the system at hand."""
    wanted = system.task.control_interval or derive.control_interval(system)
    return max(1, round(wanted / system.dt)) * system.dt


def _default(env_id: str, system: System, aim: Goal) -> Task:
    wish = system.task
    own = not system.actuator  # the file's bound is about the file's actuator
    return Task(
        system,
        aim,
        env_id,
        push=(own and wish.push) or derive.push(system),
        control_interval=interval(system),
        steps=wish.steps or 200,
        reward_scale=wish.reward_scale or derive.reward_scale(system, aim),
        escape=wish.escape,
        start_box=aim.start_box(system),
    )


def _checked(task: Task) -> Task:
    for name in ("control_interval", "escape"):
        if _number(task.id, name, getattr(task, name)) <= 0:
            raise ValueError(f"{name} must be positive, got {getattr(task, name)!r}")
    for name in ("observation_noise", "process_noise"):
        if _number(task.id, name, getattr(task, name)) < 0:
            raise ValueError(f"{name} must be at least 0, got {getattr(task, name)!r}")
    for name, least in (("steps", 1), ("observation_delay", 0), ("levels", 0)):
        if not _is_integer(getattr(task, name)) or getattr(task, name) < least:
            raise ValueError(f"{name} must be a whole number, at least {least}, got {getattr(task, name)!r}")
    if task.levels == 1:
        raise ValueError("levels must be 0 (continuous) or at least 2, got 1")
    ratio = task.control_interval / task.system.dt
    if round(ratio) < 1 or abs(ratio - round(ratio)) > 1e-6:
        raise ValueError(
            f"control_interval must be a multiple of dt = {task.system.dt:g}, got {task.control_interval!r}"
        )
    for name, allowed in (("dtype", ("float32", "float64")), ("units", ("scaled", "raw"))):
        if getattr(task, name) not in allowed:
            raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}, got {getattr(task, name)!r}")
    if not isinstance(task.observe_rates, bool):
        raise ValueError(f"observe_rates must be true or false, got {task.observe_rates!r}")
    for name in ("observe_rates", "process_noise"):
        if getattr(task, name) and task.system.kind == "delay":
            raise ValueError(f"{name} is not for delay systems: their state is a history")
    return replace(
        task,
        steps=int(task.steps),
        levels=int(task.levels),
        observation_delay=int(task.observation_delay),
        control_interval=float(task.control_interval),
        escape=float(task.escape),
        observation_noise=float(task.observation_noise),
        process_noise=float(task.process_noise),
        push=_one_or_each(task, "push", task.push, task.system.n_pushes, "actuator"),
        reward_scale=_one_or_each(
            task, "reward_scale", task.reward_scale, len(task.system.states), "state", most=inf
        ),
        sensors=_sensors(task),
        start_box=_start_box(task),
    )


def _one_or_each(
    task: Task, name: str, value: Any, count: int, of: str, most: float = 0.0
) -> float | tuple[float, ...]:
    """One positive number, or one for each of `count`; `most` inf allows inf, though not everywhere."""
    values = value if isinstance(value, tuple) else (value,)
    if len(values) not in (1, count):
        raise ValueError(f"{name} must be one number or one per {of} ({count}), got {value!r}")
    for number in values:
        if number == inf and most == inf:
            continue
        if _number(task.id, name, number) <= 0:
            raise ValueError(f"{name} must be positive, got {value!r}")
    if all(number == inf for number in values):
        raise ValueError(f"{name} must be finite for one {of} at least, got {value!r}")
    return tuple(map(float, values)) if len(set(values)) > 1 else float(values[0])


def _sensors(task: Task) -> tuple[str, ...]:
    wanted = (task.sensors,) if isinstance(task.sensors, str) else task.sensors
    if not isinstance(wanted, tuple):
        raise ValueError(f"sensors must name states, got {wanted!r}")
    for name in wanted:
        if name not in task.system.states:
            raise ValueError(f"sensors: {name} is no state.{nearest(str(name), task.system.states)}")
    if len(set(wanted)) != len(wanted):
        raise ValueError(f"sensors must name different states, got {wanted!r}")
    return wanted


def _start_box(task: Task) -> Box | None:
    if task.start_box is None:
        return None
    try:
        low, high = (np.array(corner, dtype=np.float64) for corner in task.start_box)
        fits = low.shape == high.shape == (len(task.system.states),) and bool(np.all(low <= high))
    except (TypeError, ValueError):
        fits = False
    if not fits or not np.isfinite([low, high]).all():
        raise ValueError(
            f"start_box must be (low, high) with {len(task.system.states)} numbers each, got {task.start_box!r}"
        )
    if max(task.off_centre(low).max(), task.off_centre(high).max()) > task.escape:
        raise ValueError(f"start_box reaches outside the escape bounds, got {task.start_box!r}")
    return tuple(low.tolist()), tuple(high.tolist())


def _lasting(task: Task, settings: Mapping[str, Any]) -> Task:
    """With `lyapunov_times` in place of `steps`."""
    if "lyapunov_times" not in settings:
        return task
    wanted = _number(task.id, "lyapunov_times", settings["lyapunov_times"])
    known = task.system.published
    if "steps" in settings:
        raise ValueError("give steps or lyapunov_times, not both")
    if wanted <= 0:
        raise ValueError(f"lyapunov_times must be positive, got {wanted:g}")
    if known is None or max(known.exponents) <= 0:
        raise ValueError("lyapunov_times needs a published positive exponent at these parameters; give steps")
    return replace(task, steps=max(1, round(wanted / max(known.exponents) / task.control_interval)))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _number(env_id: str, name: str, value: Any) -> float:
    if not (_is_integer(value) or isinstance(value, float | np.floating)) or not isfinite(value):
        raise ValueError(f"{env_id}: {name} must be a finite number, got {value!r}")
    return float(value)


def _like(env_id: str, name: str, value: Any, default: Any) -> Any:
    """A parameter or a piece of structure, of the kind its default is."""
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{env_id}: {name} must be true or false, got {value!r}")
        return value
    if isinstance(default, float):
        infinite = isinstance(value, float) and abs(value) == inf and abs(default) == inf
        return value if infinite else _number(env_id, name, value)
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ValueError(f"{env_id}: {name} must be a name, got {value!r}")
        return value
    if isinstance(default, int):
        if not _is_integer(value):
            raise ValueError(f"{env_id}: {name} must be a whole number, got {value!r}")
        return int(value)
    return _plain(value)


def _plain(value: Any) -> Any:
    """Lists, from YAML or JSON, and arrays as tuples: settings are hashable values."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return tuple(_plain(v) for v in value) if isinstance(value, list | tuple) else value
