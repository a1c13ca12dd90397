"""The orbit's trail in front of the attractor, in two states or in three seen from the side."""

from functools import lru_cache
from math import cos, radians, sin

import numpy as np

from envs.render.canvas import (
    CLOUD,
    FAINT,
    GREY,
    PAPER,
    PATH,
    PRESENT,
    TARGET,
    Board,
    Box,
    Pixels,
    blend,
    number,
    ticks,
)
from envs.render.scene import PLOT, Scene, clock, paper, pushes, targets
from envs.system import Floats, System

AZIMUTH, ELEVATION = radians(-58), radians(22)
"""Of the eye, for three states."""
MARGIN = 0.08
"""Room around the attractor, as a share of its range."""


def view(system: System) -> tuple[int, ...]:
    """Indices of the states that are drawn: those the system's `view` names, else all of three, else two.

    Two are a leader and its follower, or the first two states that are no angles, so that a forced oscillator
    shows position and velocity; a system of one state shows it against its value one frame before: (0, 0).
    """
    wished = system.view
    if wished:
        return tuple(system.states.index(name) for name in wished)
    if system.pairs:
        return tuple(system.states.index(name) for name in system.pairs[0])
    plain = [i for i, name in enumerate(system.states) if name not in system.angles]
    if len(system.states) == 3 and len(plain) == 3:
        return (0, 1, 2)
    drawn = (plain + [i for i in range(len(system.states)) if i not in plain])[:2]
    return (min(drawn), max(drawn))


def draw(scene: Scene, trail: Floats, push: Floats, step: int | None) -> Pixels:
    """Attractor, target, trail and present state."""
    ground, lens = _ground(scene)
    board = ground.copy()
    plot = board.cut(PLOT)
    _trail(plot, lens, trail)
    board.paste(plot, PLOT)
    board.frame(PLOT)
    pushes(board, scene, push)
    if step is not None:
        clock(board, scene, step)
    return board.pixels()


class Lens:
    """From states [M, D] to pixels [M, 2] of the plot's own board."""

    def __init__(self, system: System, points: Floats, box: Box) -> None:
        self.system = system
        self.drawn = view(system)
        self.width, self.height = box[2] - box[0], box[3] - box[1]
        shown = self._select(points)
        reach = np.maximum(shown.max(axis=0) - shown.min(axis=0), 1e-9)
        for axis, index in enumerate(self.drawn):
            if system.states[index] in system.angles:
                shown = np.vstack([shown, shown[:1], shown[:1]])
                shown[-2:, axis] = -np.pi, np.pi
        self.low = shown.min(axis=0) - MARGIN * reach
        self.high = shown.max(axis=0) + MARGIN * reach

    def _select(self, states: Floats) -> Floats:
        if self.returns:
            return np.column_stack([states[:-1, self.drawn[0]], states[1:, self.drawn[0]]])
        chosen = states[:, list(self.drawn)]
        turning = [self.system.states[i] in self.system.angles for i in self.drawn]
        return np.where(turning, (chosen + np.pi) % (2 * np.pi) - np.pi, chosen)

    @property
    def returns(self) -> bool:
        """Whether a state is drawn against its own past."""
        return self.drawn == (0, 0)

    @property
    def solid(self) -> bool:
        """Whether three states are drawn."""
        return len(self.drawn) == 3

    def __call__(self, states: Floats) -> Floats:
        """Pixels of states."""
        return self.place(self._select(states))

    def place(self, shown: Floats) -> Floats:
        """Pixels of the drawn states [M, 2 or 3]."""
        unit = 2 * (shown - self.low) / (self.high - self.low) - 1
        if self.solid:
            unit = unit @ _EYE / _ROOM
        return np.asarray((unit * (1, -1) + 1) / 2 * (self.width, self.height))


_EYE = np.array(
    [
        [-sin(AZIMUTH), -sin(ELEVATION) * cos(AZIMUTH)],
        [cos(AZIMUTH), -sin(ELEVATION) * sin(AZIMUTH)],
        [0.0, cos(ELEVATION)],
    ]
)
"""Unit vectors to the right and upwards on the retina, as columns."""
_CORNERS = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
_ROOM = np.abs(_CORNERS @ _EYE).max(axis=0) * (1.16, 1.14)
"""Half the extent of the box around the attractor, and room for its labels."""


@lru_cache(maxsize=8)
def _ground(scene: Scene) -> tuple[Board, Lens]:
    """What does not move, drawn once per task."""
    points, held = scene.initial_states, targets(scene)
    lens = Lens(scene.system, _known(points, held, scene.system), PLOT)
    board = paper(scene)
    plot = board.cut(PLOT)
    if lens.solid:
        _cage(plot, lens)
    else:
        _grid(board, plot, lens)
    plot.specks(lens.place(images(scene)) if lens.returns else lens(points), CLOUD)
    if lens.returns or scene.system.pairs:
        plot.line([tuple(lens.place(np.full((1, 2), end))[0]) for end in (lens.low[0], lens.high[0])], FAINT)
        held = np.repeat(held, 2, axis=0) if len(held) == 1 else held
    marks = lens(held) if len(held) > lens.returns else np.empty((0, 2))
    if 0 < len(marks) <= 8:
        for x, y in marks:
            plot.ring(x, y, 6, TARGET)
    elif len(marks):
        plot.line([(x, y) for x, y in marks], TARGET, 1.5)
    board.paste(plot, PLOT)
    if len(marks):
        board.ring(PLOT[0] + 14, PLOT[1] + 15, 5, TARGET)
        board.text(PLOT[0] + 28, PLOT[1] + 15, "target", "lm", 12, TARGET)
    return board, lens


def images(scene: Scene) -> Floats:
    """Of a system of one state: points of its attractor and where they are one control interval later, [M, 2]."""
    points = np.ascontiguousarray(scene.initial_states.T)
    still = np.zeros((scene.system.n_pushes, points.shape[1]))
    after = scene.system.advance(points, still, max(1, round(scene.control_interval / scene.system.dt)))
    return np.column_stack([points[0], after[0]])


def _known(points: Floats, held: Floats, system: System) -> Floats:
    """The points that must fit into the picture; a target counts twice, as a return needs a past."""
    return (
        np.vstack([points, np.repeat(held, 2, axis=0)])
        if len(system.states) == 1
        else np.vstack([points, held])
    )


def _trail(plot: Board, lens: Lens, trail: Floats) -> None:
    """Segments of a flow, dots of a map; the older, the fainter."""
    pixels = lens(trail)
    count = len(pixels)
    if count == 0:
        return
    age = np.linspace(0.08, 1.0, count)
    if lens.system.kind == "map":
        for (x, y), share in zip(pixels[:-1], age, strict=False):
            plot.dot(x, y, 2.2, blend(PATH, share))
    else:
        jumps = np.abs(np.diff(pixels, axis=0)).max(axis=1, initial=0) > 0.5 * lens.width
        for n in np.flatnonzero(~jumps | (not lens.system.angles)):
            piece = _bent(pixels, int(n)) if not jumps.any() else pixels[n : n + 2]
            plot.line([(x, y) for x, y in piece], blend(PATH, age[n + 1]), 1 + age[n + 1])
    x, y = np.clip(pixels[-1], 6, (lens.width - 6, lens.height - 6))
    plot.dot(x, y, 6, PRESENT, PAPER)


def _bent(pixels: Floats, n: int) -> Floats:
    """From point n to the next along Catmull and Rom's curve: through all points, without corners."""
    before, here, there, after = (pixels[min(max(n + k, 0), len(pixels) - 1)] for k in (-1, 0, 1, 2))
    t = np.linspace(0, 1, 5)[:, None]
    bend = 2 * before - 5 * here + 4 * there - after
    twist = 3 * (here - there) + after - before
    return np.asarray(here + t / 2 * (there - before + t * (bend + t * twist)))


def _grid(board: Board, plot: Board, lens: Lens) -> None:
    """Thin lines at round numbers, numbers and names of two states."""
    system, (first, second) = lens.system, lens.drawn
    across, up = system.states[first], system.states[second]
    if lens.returns:
        across, up = f"{across} before", f"{up} now"
    for value in ticks(lens.low[0], lens.high[0]):
        x = lens.place(np.array([[value, lens.low[1]]]))[0, 0]
        plot.line([(x, 0), (x, lens.height)], FAINT)
        board.text(PLOT[0] + x, PLOT[3] + 5, number(value), "ma", 11, GREY)
    for value in ticks(lens.low[1], lens.high[1]):
        y = lens.place(np.array([[lens.low[0], value]]))[0, 1]
        plot.line([(0, y), (lens.width, y)], FAINT)
        board.text(PLOT[0] - 6, PLOT[1] + y, number(value), "rm", 11, GREY)
    board.text((PLOT[0] + PLOT[2]) / 2, PLOT[3] + 22, across, "ma", 13)
    board.upright(11, (PLOT[1] + PLOT[3]) / 2, up)


def _cage(plot: Board, lens: Lens) -> None:
    """The far edges of the box around the attractor, with the ends of each axis and its name."""
    middle, half = (lens.low + lens.high) / 2, (lens.high - lens.low) / 2
    near = np.argmin(_CORNERS @ _TOWARDS)
    for corner in _CORNERS:
        for axis in range(3):
            other = corner.copy()
            other[axis] *= -1
            hidden = not np.array_equal(corner, _CORNERS[7 - near]) and not np.array_equal(
                other, _CORNERS[7 - near]
            )
            if corner[axis] < 0 and hidden:
                ends = lens.place(np.array([middle + half * corner, middle + half * other]))
                plot.line([tuple(ends[0]), tuple(ends[1])], FAINT)
    # The three edges whose labels lie outside the picture of the box.
    for axis, at in enumerate(((0, -1, -1), (1, 0, -1), (-1, -1, 0))):
        _edge(plot, lens, axis, np.array(at, dtype=np.float64), middle, half)


_TOWARDS = np.array([cos(ELEVATION) * cos(AZIMUTH), cos(ELEVATION) * sin(AZIMUTH), sin(ELEVATION)])
"""Unit vector to the eye."""


def _edge(plot: Board, lens: Lens, axis: int, at: Floats, middle: Floats, half: Floats) -> None:
    out, anchor = (((0, 12), "ma"), ((10, 8), "la"), ((-8, 0), "rm"))[axis]
    shown = ticks(lens.low[axis], lens.high[axis], 5)
    for value in (shown[0], shown[-1]):
        point = middle + half * at
        point[axis] = value
        x, y = lens.place(point[None])[0]
        plot.dot(x, y, 1.6, GREY)
        plot.text(x + out[0], y + out[1] - (6 if axis < 2 else 0), number(value), anchor, 11, GREY)
    x, y = lens.place((middle + half * at)[None])[0]
    plot.text(
        x + 1.6 * out[0],
        y + 1.4 * out[1] - (4 if axis < 2 else 0),
        lens.system.states[lens.drawn[axis]],
        anchor,
        14,
    )
