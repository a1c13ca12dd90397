"""Pendulums as they are: rods, bobs, the path of the last bob, the torque at the pivot."""

from math import pi

import numpy as np

from envs.render.canvas import FAINT, GREY, INK, PAPER, PATH, PRESENT, TARGET, Board, Pixels, blend
from envs.render.scene import PLOT, Scene, clock, paper, pushes, targets
from envs.system import Floats, System

_MIDDLE = np.array([(PLOT[0] + PLOT[2]) / 2, (PLOT[1] + PLOT[3]) / 2 + 6])
_REACH = 166
"""Pixels of the stretched pendulum."""


def draw(scene: Scene, recent: Floats, push: Floats, step: int | None) -> Pixels:
    """The pendulum, hanging downwards where its angles are zero."""
    system, board = scene.system, paper(scene)
    around = np.linspace(0, 2 * pi, 121)
    rim = _MIDDLE + _REACH * np.column_stack([np.sin(around), np.cos(around)])
    board.line([(x, y) for x, y in rim], FAINT)
    for held in targets(scene)[:1]:
        ghost = joints(system, held)
        board.line([(x, y) for x, y in ghost], blend(TARGET, 0.45), 3)
        for x, y in ghost[1:]:
            board.dot(x, y, 8, blend(TARGET, 0.45))
        board.text(PLOT[0], PLOT[1] + 4, "target", "la", 12, TARGET)
    path = np.array([joints(system, state)[-1] for state in recent])
    for n, share in enumerate(np.linspace(0.06, 0.8, max(len(path) - 1, 0))):
        board.line([tuple(path[n]), tuple(path[n + 1])], blend(PATH, float(share)), 1.5)
    places = joints(system, recent[-1])
    board.line([(x, y) for x, y in places], INK, 4)
    board.dot(places[0, 0], places[0, 1], 5, GREY)
    for x, y in places[1:-1]:
        board.dot(x, y, 9, PATH, PAPER)
    board.dot(places[-1, 0], places[-1, 1], 10, PRESENT, PAPER)
    _values(board, system, recent[-1])
    pushes(board, scene, push)
    if step is not None:
        clock(board, scene, step)
    return board.pixels()


def rods(system: System) -> tuple[list[int], Floats]:
    """Indices of the rods' angles and their lengths as shares of the whole.

    The angles are those called theta..., else the first angle; lengths are the parameters l1, l2, ..., else
    equal.
    """
    named = [n for n, name in enumerate(system.states) if name.startswith("theta") and name in system.angles]
    chosen = named or [system.states.index(system.angles[0])]
    lengths = np.array([system.parameters.get(f"l{n}", 1.0) for n in range(1, len(chosen) + 1)])
    return chosen, lengths / lengths.sum()


def joints(system: System, state: Floats) -> Floats:
    """Pixels of the pivot and of every bob, [1 + rods, 2]."""
    chosen, lengths = rods(system)
    angles = state[chosen]
    steps = (_REACH * lengths)[:, None] * np.column_stack([np.sin(angles), np.cos(angles)])
    return np.vstack([_MIDDLE, _MIDDLE + np.cumsum(steps, axis=0)])


def _values(board: Board, system: System, state: Floats) -> None:
    """Angles in degrees, every other state as it is, in one line below."""
    words = [
        f"{name} {np.degrees((value + pi) % (2 * pi) - pi):.0f} deg"
        if name in system.angles
        else f"{name} {value:.2f}"
        for name, value in zip(system.states, state, strict=True)
    ]
    board.text((PLOT[0] + PLOT[2]) / 2, PLOT[3] + 24, "   ".join(words), "ma", 12, GREY)
