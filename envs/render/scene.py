"""What a picture needs to know of a task, and what all pictures have around their middle."""

from typing import Protocol

import numpy as np

from envs.goals import Goal
from envs.goals.orbit import Orbit
from envs.orbits import periodic_orbit
from envs.render.canvas import FAINT, GREY, INK, PRESENT, Board, Box, number
from envs.system import Floats, System

PLOT: Box = (58, 40, 496, 392)
"""Where the axes are."""
_SLOTS = (58, 448, 496, 464)


class Scene(Protocol):
    """What is read of a task: a task of this room has it all."""

    def __hash__(self) -> int:
        """What does not move is drawn once per task."""

    @property
    def id(self) -> str:
        """Gymnasium id."""

    @property
    def system(self) -> System:
        """The system that moves."""

    @property
    def bounds(self) -> tuple[float, ...]:
        """Bound of each push."""

    @property
    def control_interval(self) -> float:
        """Time between two frames."""

    @property
    def steps(self) -> int:
        """Length of an episode."""

    @property
    def initial_states(self) -> Floats:
        """Points of the uncontrolled attractor, [M, D]."""

    @property
    def aim(self) -> Goal:
        """What the task pays for."""

    @property
    def target(self) -> Floats:
        """State to hold, [D], where the goal steers to one."""


def targets(scene: Scene) -> Floats:
    """The states to mark, [K, D]: the target, the points of a periodic orbit, or none."""
    if scene.aim.steers:
        return np.atleast_2d(scene.target)
    if isinstance(scene.aim, Orbit):
        points = periodic_orbit(scene.system, scene.aim.period).points
        return points if scene.system.kind == "map" else np.vstack([points, points[:1]])
    return np.empty((0, len(scene.system.states)))


def paper(scene: Scene) -> Board:
    """A board with the task's name and the outlines of the push bars."""
    board = Board.empty()
    board.text(PLOT[0], 20, scene.id, "lm", 15)
    for left, right in _slots(scene.system.n_pushes):
        board.bar((left, _SLOTS[1], right, _SLOTS[3]), FAINT)
        board.bar(((left + right) / 2 - 0.5, _SLOTS[1] - 3, (left + right) / 2 + 0.5, _SLOTS[3] + 3), GREY)
    board.text(_SLOTS[0] - 8, (_SLOTS[1] + _SLOTS[3]) / 2, "push", "rm", 12)
    for name, (left, right) in zip(scene.system.actuator, _slots(scene.system.n_pushes), strict=False):
        board.text((left + right) / 2, _SLOTS[3] + 2, name, "ma", 10, GREY)
    if scene.system.n_pushes == 1:
        bound = scene.bounds[0]
        for x, words, anchor in ((_SLOTS[0], number(-bound), "la"), (_SLOTS[2], number(bound), "ra")):
            board.text(x, _SLOTS[3] + 2, words, anchor, 10, GREY)
    return board


def clock(board: Board, scene: Scene, step: int) -> None:
    """Steps and time since the reset, at the upper right."""
    words = f"step {step} / {scene.steps}"
    if scene.system.kind != "map":
        words += f"   t = {step * scene.control_interval:.{_decimals(scene.control_interval)}f}"
    board.text(PLOT[2], 20, words, "rm", 13, INK)


def _decimals(interval: float) -> int:
    """As many as the clock needs to move by one interval, at most four."""
    return next((d for d in range(4) if abs(round(interval, d) - interval) < 1e-9), 4)


def pushes(board: Board, scene: Scene, push: Floats) -> None:
    """One bar each, from the middle of its slot: full at the bound."""
    shares = np.clip(np.asarray(push, dtype=np.float64) / scene.bounds, -1, 1)
    for (left, right), share in zip(_slots(scene.system.n_pushes), shares, strict=True):
        middle, end = (left + right) / 2, (left + right) / 2 + share * (right - left) / 2
        board.bar((min(middle, end), _SLOTS[1], max(middle, end), _SLOTS[3]), PRESENT)


def _slots(count: int) -> list[tuple[float, float]]:
    gap = 6.0 if count <= 16 else 1.0
    width = (_SLOTS[2] - _SLOTS[0] + gap) / max(count, 1)
    return [(_SLOTS[0] + n * width, _SLOTS[0] + (n + 1) * width - gap) for n in range(count)]
