"""Fields, lattices and delay systems: space across, time downwards; in the plane, the present state."""

from functools import lru_cache
from math import isqrt

import numpy as np

from envs.render.canvas import GREY, TARGET, Board, Box, Pixels, diverging, number, ticks
from envs.render.scene import Scene, clock, paper, pushes, targets
from envs.system import Floats, System

MAP: Box = (58, 40, 436, 380)
ROWS = 128
"""Control intervals that a map shows."""
_STRIP: Box = (58, 384, 436, 396)
_LEGEND: Box = (452, 40, 464, 380)


def history(scene: Scene, recent: Floats, push: Floats, step: int | None) -> Pixels:
    """The last ROWS states as rows, the present one lowest, the target below them."""
    board, middle, reach = _ground(scene)
    board = board.copy()
    shown = recent[-ROWS:]
    values = (component(scene.system, shown) - middle) / reach
    rows = np.full((ROWS, values.shape[1], 3), 255, dtype=np.uint8)
    rows[: len(values)] = diverging(values)
    board.array(rows, MAP)
    board.frame(MAP)
    _times(board, scene, len(shown), step)
    pushes(board, scene, push)
    if step is not None:
        clock(board, scene, step)
    return board.pixels()


def present(scene: Scene, recent: Floats, push: Floats, step: int | None) -> Pixels:
    """The present state of a field in the plane, its first component."""
    board, middle, reach = _ground(scene, flat=True)
    board = board.copy()
    values = (component(scene.system, recent[-1:])[0] - middle) / reach
    board.array(diverging(values.reshape(_plane(scene.system, values.size))), _SQUARE)
    board.frame(_SQUARE)
    pushes(board, scene, push)
    if step is not None:
        clock(board, scene, step)
    return board.pixels()


_SQUARE: Box = (78, 40, 418, 380)


def component(system: System, states: Floats) -> Floats:
    """The first of the fields a state is made of, [T, D] -> [T, sites]."""
    return states[:, : len(system.states) // max(len(system.components), 1)]


def _plane(system: System, sites: int) -> tuple[int, int]:
    """Rows and columns: the last two of the system's `grid`, else a square."""
    grid: tuple[int, ...] = tuple(getattr(system, "grid", ())) if system.kind == "field" else ()
    return (int(grid[-2]), int(grid[-1])) if len(grid) >= 2 else (isqrt(sites), isqrt(sites))


@lru_cache(maxsize=8)
def _ground(scene: Scene, flat: bool = False) -> tuple[Board, float, float]:
    """What does not move; the value that is white and the distance from it that is dark."""
    system = scene.system
    known = component(system, scene.initial_states)
    low, high = np.percentile(known, (0.2, 99.8))
    middle = 0.0 if low < 0 < high else (low + high) / 2
    reach = max(high - middle, middle - low) or 1.0
    board = paper(scene)
    box = _SQUARE if flat else MAP
    _legend(board, system, middle, reach)
    held = component(system, targets(scene))
    if len(held) == 1 and not flat:
        board.array(diverging((held - middle) / reach), _STRIP)
        board.frame(_STRIP)
        board.text(_STRIP[0] - 6, (_STRIP[1] + _STRIP[3]) / 2, "target", "rm", 11, TARGET)
    _places(board, system, _plane(system, known.shape[1])[1] if flat else known.shape[1], box)
    return board, float(middle), float(reach)


def _legend(board: Board, system: System, middle: float, reach: float) -> None:
    board.array(diverging(np.linspace(1, -1, 170)[:, None]), _LEGEND)
    board.frame(_LEGEND)
    for value in ticks(middle - reach, middle + reach, 5):
        y = _LEGEND[1] + (middle + reach - value) / (2 * reach) * (_LEGEND[3] - _LEGEND[1])
        board.text(_LEGEND[2] + 5, y, number(value), "lm", 11, GREY)
    board.text(_LEGEND[0] - 2, _LEGEND[3] + 8, system.states[0].rstrip("0123456789"), "la", 13)


def _places(board: Board, system: System, sites: int, box: Box) -> None:
    """Numbers and name of the axis along the sites."""
    name, reach = length(system, sites)
    below = 18 if box is MAP else 4
    for value in ticks(0, reach, 6):
        x = box[0] + value / reach * (box[2] - box[0])
        board.text(x, box[3] + below, number(value), "ma", 11, GREY)
    board.text((box[0] + box[2]) / 2, box[3] + below + 14, name, "ma", 13)


def length(system: System, sites: int) -> tuple[str, float]:
    """What the axis is called and where it ends."""
    if system.kind == "delay":
        return "time before now", (sites - 1) * system.dt
    if system.kind == "field" and hasattr(system, "L"):
        return "position", float(system.L)
    return "site", float(sites)


def _times(board: Board, scene: Scene, rows: int, step: int | None) -> None:
    """Numbers down the side: time since the reset, or before the present where the step is not known."""
    last = 0 if step is None else step
    first = last - rows + 1
    height = (MAP[3] - MAP[1]) / ROWS
    unit = scene.control_interval
    for value in ticks(first * unit, (first + ROWS) * unit, 6):
        y = MAP[1] + (value / unit - first + 0.5) * height
        if MAP[1] <= y <= MAP[3] and value / unit <= last + 1e-9:
            board.text(MAP[0] - 6, y, number(value), "rm", 11, GREY)
    board.upright(11, (MAP[1] + MAP[3]) / 2, "iteration" if scene.system.kind == "map" else "time")
