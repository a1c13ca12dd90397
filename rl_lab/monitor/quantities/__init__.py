"""The columns of updates.jsonl: one public function each, found by looking into this folder.

A quantity takes an update `u` and returns a float; its name is the column, its docstring the legend with the
unit. It asks for the parts of the update that it needs with `given`. All of a file are measured from its `LEVEL`
on; a file without one, from the level `standard`.
"""

from enum import IntEnum
from typing import TypeVar

from rl_lab.errors import did_you_mean

Part = TypeVar("Part")


class Level(IntEnum):
    """How much is measured: what each costs is measured by benchmarks/monitor_overhead.py."""

    LIGHT = 0
    """The policies before and after, on the states of the rollout."""
    STANDARD = 1
    """Also gradients, a fixed set of held-out states, and the parameters after every gradient step."""
    FULL = 2
    """Also the KL after every gradient step, and what the units of the networks do."""


class NotApplicable(Exception):  # noqa: N818 - it is an answer, not an error
    """Raised by a quantity that has no meaning for this policy or algorithm; recorded as missing."""


def given(part: Part | None) -> Part:
    """The part of an update, or NotApplicable where this algorithm or level has none."""
    if part is None:
        raise NotApplicable
    return part


def level_named(name: str) -> Level:
    """The level of this name; ValueError with the nearest valid one."""
    levels = {level.name.lower(): level for level in Level}
    if name not in levels:
        raise ValueError(
            f"{name!r} is not a level.{did_you_mean(str(name), levels)} (levels: {', '.join(levels)})"
        )
    return levels[name]
