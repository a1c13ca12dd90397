"""Pictures of a task while it runs, as arrays: no window, no display, the same bytes for the same states."""

from collections.abc import Callable

import numpy as np

from envs.render import pendulum, spacetime, trail
from envs.render.canvas import Pixels
from envs.render.scene import Scene
from envs.system import Floats, System

TRAIL = 160
"""Recent states worth keeping: older ones are not drawn."""

_DRAWINGS: dict[str, Callable[[Scene, Floats, Floats, int | None], Pixels]] = {
    "trail": trail.draw,
    "field": spacetime.history,
    "image": spacetime.present,
    "pendulum": pendulum.draw,
}


def frame(scene: Scene, recent: Floats, push: Floats, step: int | None = None) -> Pixels:
    """One picture, uint8 [480, 512, 3].

    `scene` is the task; `recent` [T, D] are the states after the last control intervals, the present one
    last; `push` [n_pushes] is what acts, in the unit the equations give it; `step` counts control intervals.
    The system's `drawing` chooses: "trail" (the orbit in front of its attractor), "field" (a space-time map,
    time downwards), "image" (the present state of a field in the plane), "pendulum" (rods and bobs).
    """
    states = np.asarray(recent, dtype=np.float64)[-TRAIL:]
    count = len(scene.system.states)
    if states.ndim != 2 or states.shape[1] != count or not len(states):
        raise ValueError(f"{scene.id}: a picture needs states [T, {count}], got {states.shape}")
    held = np.broadcast_to(np.asarray(push, dtype=np.float64), (scene.system.n_pushes,))
    return _DRAWINGS[drawing(scene.system)](scene, states, held, step)


def drawing(system: System) -> str:
    """How a system is drawn: its own `drawing`, else what its kind and its states suggest.

    A field in the plane is an image; other fields, delay systems and lattices are space-time maps; a flow with
    an angle theta is a pendulum.
    """
    chosen = system.drawing
    if chosen is not None:
        return str(chosen)
    if system.kind == "field" and len(getattr(system, "grid", ())) > 1:
        return "image"
    if system.kind in ("field", "delay") or system.components:
        return "field"
    pendulum_like = system.kind == "flow" and any(name.startswith("theta") for name in system.angles)
    return "pendulum" if pendulum_like else "trail"
