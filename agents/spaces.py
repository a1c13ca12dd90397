"""Which spaces an agent can work with, in one sentence where it cannot."""

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first

Space = spaces.Space[Any]

SMALLEST_IMAGE = 36
"""Side in pixels below which the convolutions of SB3's NatureCNN have nothing left to see."""


def action_complaint(space: Space, allowed: tuple[type[Space], ...]) -> str | None:
    """Return what is wrong with this action space, or None."""
    if not isinstance(space, allowed):
        return f"it acts in {_names(allowed)} only, and the action space is {_name(space)}"
    match space:
        case spaces.Box() if not np.issubdtype(space.dtype, np.floating):
            return f"its continuous actions are floats, and the action space is a Box of {space.dtype}"
        case spaces.Box() if not np.all(np.isfinite(space.low) & np.isfinite(space.high)):
            return f"it needs finite bounds, and the action space is {_line(space)}"
    return _integer_complaint(space, "action")


def observation_complaint(space: Space) -> str | None:
    """Return what is wrong with this observation space, or None."""
    if isinstance(space, spaces.Dict):
        if not space.spaces:
            return "it needs something to see, and the observation space is an empty Dict"
        parts = {name: _part_complaint(part) for name, part in space.spaces.items()}
        return next((f"in observation {name!r} {text}" for name, text in parts.items() if text), None)
    return _part_complaint(space)


def policy_name(space: Space) -> str:
    """Return SB3's name of the policy that reads these observations."""
    if isinstance(space, spaces.Dict):
        return "MultiInputPolicy"
    if isinstance(space, spaces.Box) and is_image_space(space):
        height, width = space.shape[1:] if is_image_space_channels_first(space) else space.shape[:2]
        if min(height, width) >= SMALLEST_IMAGE:
            return "CnnPolicy"
    return "MlpPolicy"


def float_parts(space: Space) -> list[str]:
    """Return the names of the parts of a Dict that are floats; of a space without parts, [""] if it is one."""
    parts = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    return [
        name
        for name, part in parts.items()
        if isinstance(part, spaces.Box) and np.issubdtype(part.dtype, np.floating)
    ]


def _part_complaint(space: Space) -> str | None:
    allowed = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    if not isinstance(space, allowed):
        seen = _names((*allowed, spaces.Dict))
        return f"it sees {seen} (not nested), and the observation space is {_name(space)}"
    return _integer_complaint(space, "observation")


def _integer_complaint(space: Space, role: str) -> str | None:
    match space:
        case spaces.Discrete() if space.start != 0:
            return f"it counts from 0, and the {role} space is {_line(space)}"
        case spaces.MultiDiscrete() if space.nvec.ndim != 1 or np.any(space.start != 0):
            return f"it needs a flat MultiDiscrete that counts from 0, and the {role} space is {_line(space)}"
        case spaces.MultiBinary() if role == "action" and not isinstance(space.n, int):
            return f"it needs a flat MultiBinary, and the {role} space is {_line(space)}"
    return None


def _line(space: Space) -> str:
    return " ".join(str(space).split())  # bounds are printed as arrays, over several lines


def _name(space: Space) -> str:
    return type(space).__name__


def _names(kinds: tuple[type[Space], ...]) -> str:
    *most, last = (kind.__name__ for kind in kinds)
    return f"{', '.join(most)} or {last}" if most else last
