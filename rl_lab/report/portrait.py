"""A task in one picture: its attractor, an episode with and without control, and neighbours that part.

Everything in it is computed from the task when it is drawn; nothing is read from a run.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.goals import Interval
from envs.render import drawing
from envs.render.scene import targets
from envs.render.spacetime import component, length
from envs.render.trail import view
from envs.system import Floats, System
from envs.task import Task
from rl_lab.probes.feedback import Episodes, Feedback, distance, episodes, regulator
from rl_lab.report.charts import portrait as charts
from rl_lab.report.charts.encoding import Drawing
from rl_lab.report.exponents import measured_text

APART = 1e-9
"""First distance of neighbours, in half-ranges: far above rounding, far below the attractor."""
TIMES = 24.0
"""Lyapunov times for which neighbours are followed: 21 would take them across the attractor."""
NUDGE = 1e-6
"""What makes starts on one orbit independent, in half-ranges: small enough to keep an energy."""
SETTLED, SMALL = 1e-8, 1e-3
"""Mean distances between which the rate is fitted: directions are forgotten, the law is still linear."""
POINTS = 240
"""Instants at which distances are noted."""


@dataclass(frozen=True)
class Parting:
    """How N pairs of neighbours part: the mean of the logarithm of their distances."""

    times: Floats
    """[T], time units or iterations."""
    logs: Floats
    """Natural logarithm of each pair's distance in half-ranges, [T, N]."""
    first: int
    last: int
    """Instants between which the rate is fitted."""
    rate: float | None
    """Nats per time unit or iteration; None where the neighbours did not part far enough for a fit."""
    stderr: float | None
    """Standard error of the rate, from the scatter among pairs."""


@dataclass(frozen=True)
class Portrait:
    """What the picture shows."""

    task: Task
    free: Episodes
    held: Episodes | None
    law: Feedback | None
    why_free: str
    """Why there is no controlled episode, or nothing."""
    caught: tuple[int, int]
    """Of how many starts the feedback brought the state to the target and kept it there."""
    parting: Parting

    def document(self) -> dict[str, Any]:
        """The numbers of the picture."""
        known = self.task.system.published
        caught, of = self.caught
        return {
            "rate": self.parting.rate,
            "stderr": self.parting.stderr,
            "unit": "nats per iteration" if self.task.system.kind == "map" else "nats per time unit",
            "reference": None
            if known is None
            else {"exponent": known.exponents[0], "stderr": known.stderrs[0], "source": known.source},
            "control": self.why_free or self.law_text,
            "held": None if self.law is None else {"caught": caught, "of": of},
        }

    @property
    def law_text(self) -> str:
        """What pushes, in one phrase."""
        if self.law is None:
            return "none"
        return "linear feedback of the full state" + (
            "" if np.isinf(self.law.patience) else ", waiting until near"
        )


def portrait(task: Task, seed: int = 0) -> Portrait:
    """Compute everything; `seed` draws the starts and the neighbours. A few seconds."""
    rng = np.random.default_rng(seed)
    lanes = int(np.clip(4096 // len(task.system.states), 2, 64))
    starts = task.initial_states[rng.permutation(len(task.initial_states))[:lanes]]
    held, law, why = None, None, ""
    try:
        laws = [regulator(task, patience) for patience in (np.inf, 1.0)]
        tried = [episodes(task, starts, law) for law in laws]
        best = int(np.argmax([_caught(task, one, law).sum() for one, law in zip(tried, laws, strict=True)]))
        held, law = tried[best], laws[best]
    except ValueError as error:
        why = str(error)
    won = np.zeros(lanes, dtype=np.bool_) if law is None or held is None else _caught(task, held, law)
    shown = int(np.argmax(won))
    return Portrait(
        task,
        _lane(episodes(task, starts[shown : shown + 1], None), 0),
        None if held is None else _lane(held, shown),
        law,
        why,
        (int(won.sum()), lanes),
        parting(task, starts, rng),
    )


def _caught(task: Task, ran: Episodes, law: Feedback) -> npt.NDArray[np.bool_]:
    """Which lanes spent the last tenth of the episode within a fiftieth of the attractor of the target, [N]."""
    last = max(1, task.steps // 10)
    near = np.all(distance(task, ran.states[-last:], law.target) < 0.02 * np.sqrt(len(law.target)), axis=0)
    return np.asarray(near & ~ran.lost[-1])


def _lane(ran: Episodes, lane: int) -> Episodes:
    return Episodes(ran.states[:, :, lane : lane + 1], ran.lost[:, lane : lane + 1])


def price(task: Task, ran: Episodes, target: Floats | None) -> Floats:
    """What the middle panel shows of one episode, [steps + 1] or [steps]: a distance, or minus the reward."""
    if target is not None:
        return np.asarray(distance(task, ran.states, target)[:, 0])
    memory = np.zeros((task.aim.memory, 1))
    paid = []
    for n in range(1, len(ran.states)):
        push, clock = np.zeros((task.system.n_pushes, 1)), np.array([n])
        interval = Interval(ran.states[n - 1], ran.states[n], push, clock, memory)
        paid.append(float(task.aim.reward(task, interval)[0][0]))
    return np.array(paid)


def parting(task: Task, starts: Floats, rng: np.random.Generator) -> Parting:
    """Follow pairs from each start [N, D]; their first separation points anywhere.

    The starts lie on one orbit, whose neighbours see the same stretch of it. A nudge, and as much time again,
    makes them independent; without it the standard error would be too small.
    """
    system, scale = task.system, task.ruler[1][:, None]
    count = len(starts)
    steps = min(_steps(task), 4e6 / count)
    every, noted = max(1, round(steps / POINTS)), min(POINTS, round(steps))
    still = np.zeros((system.n_pushes, 2 * count))
    if system.transient:  # waiting would let them leave
        one = system.scatter(rng, count)
    else:
        nudged = starts.T + NUDGE * scale * rng.normal(size=starts.T.shape)
        one = system.advance(nudged, still[:, :count], every * noted)
    aside = rng.normal(size=one.shape)
    pair = np.hstack([one, one + APART * scale * aside / np.linalg.norm(aside, axis=0)])
    logs = []
    for n in range(noted + 1):
        if n:
            pair = system.advance(pair, still, every)
        apart = np.linalg.norm(task.shortened(pair[:, count:] - pair[:, :count]) / scale, axis=0)
        logs.append(np.log(np.maximum(apart, 1e-16)))
    bad = system.decayed(pair) | ~np.isfinite(pair).all(axis=0)
    alive = ~(bad[:count] | bad[count:])
    times = np.arange(noted + 1, dtype=np.float64) * (every * system.dt)
    return fitted(
        times, np.array(logs)[:, alive if alive.sum() >= 2 else slice(None)], bool(alive.sum() >= 2)
    )


def _steps(task: Task) -> float:
    """For TIMES Lyapunov times; where nobody knows the exponent, for twenty episodes."""
    known = task.system.published
    if known is not None and known.exponents[0] > 0:
        return TIMES / known.exponents[0] / task.system.dt
    return 20.0 * task.steps * task.substeps


def fitted(times: Floats, logs: Floats, chaotic: bool = True) -> Parting:
    """Straight line through the mean logarithm while it grows from SETTLED to SMALL.

    The error is that of the mean of the pairs' own slopes between the same two instants. `chaotic` False: too
    few pairs are left in a chaos that ends, nothing is fitted.
    """
    if not chaotic:
        return Parting(times, logs, 0, len(times) - 1, None, None)
    mean = logs.mean(axis=1)
    over = np.flatnonzero(mean > np.log(SMALL))
    last = int(over[0]) if len(over) else len(mean) - 1
    under = np.flatnonzero(mean[:last] < np.log(SETTLED))
    first = int(under[-1]) + 1 if len(under) else 0
    if not len(over) or last - first < 8:
        return Parting(times, logs, first, last, None, None)
    window = times[first : last + 1] - times[first : last + 1].mean()
    slopes = window @ logs[first : last + 1] / (window @ window)
    return Parting(
        times, logs, first, last, float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(len(slopes)))
    )


def draw(one: Portrait) -> Drawing:
    """The picture."""
    task = one.task
    title = f"{task.id}: {task.goal}"
    return charts.side_by_side([_where(one), _when(one), _apart(one)], title, [str(task.system)])


def _where(one: Portrait) -> Drawing:
    """The attractor: a shadow on two states, or the field in space and time."""
    task, system = one.task, one.task.system
    if drawing(system) in ("field", "image"):
        still = np.zeros((system.n_pushes, 1))
        states = [task.initial_states[0][:, None]]
        while len(states) < 100:
            states.append(system.advance(states[-1], still, task.substeps))
        values = component(system, np.hstack(states).T)
        if drawing(system) == "image":  # one row of the plane
            values = values[:, : int(np.sqrt(values.shape[1]))]
        values = values[:, :: max(1, values.shape[1] // 96)]
        place, reach = length(system, values.shape[1])
        times = np.arange(len(values)) * task.control_interval
        name = (system.components or (system.states[0].rstrip("0123456789"),))[0]
        return charts.space_time(
            times, values, place, reach, _clock(system), f"{name} in space and time, without control"
        )
    index = plane(system, task.initial_states)
    path = np.empty((0, len(system.states))) if one.held is None else wrapped(task, _alive(one.held)[:, :, 0])
    joined = system.kind == "flow" and not any(system.states[i] in system.angles for i in index)
    every = max(1, task.substeps // 4) if joined else system.sample_every
    if index[0] == index[1]:
        every = task.substeps
    orbit = wrapped(task, system.orbit(task.initial_states[0], ORBIT, every))
    named = [system.states[i] for i in index]
    names = (f"{named[0]} before", f"{named[1]} now") if index[0] == index[1] else (named[0], named[1])
    heading = ["uncontrolled orbit" if system.hamiltonian or system.transient else "attractor", ""]
    if len(path):
        heading[1] = "and the path of one controlled episode"
    marks = _shadow(np.repeat(targets(task), 2, axis=0), index)[::2]
    return charts.attractor(names, _shadow(orbit, index), _shadow(path, index), marks, joined, heading)


ORBIT = 2400
"""Points of the uncontrolled orbit that are drawn."""


def _shadow(states: Floats, index: tuple[int, int]) -> Floats:
    """Two states [T, 2] of [T, D]; one state twice means: against its value one point before."""
    if index[0] != index[1] or not len(states):
        return states[:, list(index)]
    return np.column_stack([states[:-1, index[0]], states[1:, index[0]]])


def wrapped(task: Task, states: Floats) -> Floats:
    """States [T, D] with angles in [-pi, pi)."""
    return np.asarray(np.where(task.turning, (states + np.pi) % (2 * np.pi) - np.pi, states))


def _alive(ran: Episodes) -> Floats:
    """The states [T, D, 1] until the escape."""
    return ran.states[~ran.lost[:, 0]]


def _when(one: Portrait) -> Drawing:
    """The distance from the target, or what is paid, while an episode lasts."""
    task = one.task
    target = task.target if task.aim.steers else None
    free = price(task, one.free, target)
    held = None if one.held is None else price(task, one.held, target)
    times = np.arange(len(one.free.states) - len(free), len(one.free.states)) * task.control_interval
    for ran, values in ((one.free, free), (one.held, held)):
        if ran is not None and values is not None:
            values[ran.lost[len(ran.lost) - len(values) :, 0]] = np.nan
            if target is not None:
                values[values < FLOOR] = FLOOR
    what = "distance from the target, half-ranges" if target is not None else "reward per step"
    caught, of = one.caught
    title = (
        [one.law_text, f"holds {caught} of {of} starts"] if one.law else ["no control shown:", one.why_free]
    )
    return charts.episode(times, free, held, what, _clock(task.system), target is not None, title)


FLOOR = 1e-12
"""Distances below this are rounding."""


def _apart(one: Portrait) -> Drawing:
    """Neighbours, over Lyapunov times where the exponent is known."""
    found, system = one.parting, one.task.system
    known = system.published
    exponent = known.exponents[0] if known is not None and known.exponents[0] > 0 else None
    unit = exponent or 1.0
    pairs = np.exp(found.logs)
    middle = (found.first + found.last) // 2
    anchor = float(found.logs[middle].mean())
    title, fit, slope = ["neighbours do not part far enough", "for a rate to be fitted"], None, None
    ends = found.times[[found.first, found.last]]
    if found.rate is not None:
        fit = [(t * unit, np.exp(anchor + found.rate * (t - found.times[middle]))) for t in ends]
        per = "iteration" if system.kind == "map" else "time unit"
        title = [
            f"fitted rate {found.rate:.3g} ± {found.stderr:.1g} per {per}",
            "no reference at these parameters",
        ]
    if exponent is not None and known is not None:
        slope = [(t * unit, 10 * np.exp(anchor + exponent * (t - found.times[middle]))) for t in ends]
        title[1] = f"reference {measured_text(exponent, known.stderrs[0])}"
    clock = "time, Lyapunov times" if exponent is not None else _clock(system)
    return charts.neighbours(found.times * unit, pairs, fit, slope, clock, title)


def _clock(system: System) -> str:
    return "iterations" if system.kind == "map" else "time, time units"


def plane(system: System, points: Floats) -> tuple[int, int]:
    """The two drawn states: of three (envs.render.trail), the first pair whose shadow covers much."""
    drawn = view(system)
    if len(drawn) == 2:
        return drawn[0], drawn[1]
    pairs = [(drawn[i], drawn[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    covers = [_cover(points[:, list(pair)]) for pair in pairs]
    return next(pair for pair, cover in zip(pairs, covers, strict=True) if cover >= 0.75 * max(covers))


def _cover(points: Floats) -> int:
    low, high = points.min(axis=0), points.max(axis=0)
    cells = np.floor(31.999 * (points - low) / np.maximum(high - low, 1e-12)).astype(np.intp)
    return len(np.unique(cells[:, 0] * 32 + cells[:, 1]))
