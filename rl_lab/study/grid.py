"""A grid of settings: every agent once for every combination of the values.

    grid:
      settings.learning_rate: [3e-4, 3e-3]      # for every agent
      agents.ppo.clip_range: [0.1, 0.2]         # for the agent with this label

makes the arms `ppo (learning_rate=0.0003, clip_range=0.1)`, ..., `trpo (learning_rate=0.003)`. A value of the grid is
the agent's own: it beats the study's and the task's settings. What a grid has for one agent beats what it has for all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from rl_lab.errors import UserError, did_you_mean
from rl_lab.study.compose import Written
from rl_lab.study.plan import Agent
from rl_lab.study.settings import check_settings

MOST_ARMS = 10_000
FORM = "write for example `{settings.learning_rate: [3e-4, 3e-3], agents.ppo.clip_range: [0.1, 0.2]}`"

Point = Mapping[str, Any]
"""By key of the grid the value that an arm has."""


@dataclass(frozen=True)
class Grid:
    """The agents of a study after its grid."""

    axes: Mapping[str, tuple[Any, ...]]
    """By key the values."""
    agents: tuple[Agent, ...]
    points: Mapping[str, Mapping[str, Point]]
    """By the label of an agent before the grid those of its arms and where they stand in the grid."""

    def names(self) -> list[str]:
        """Labels that a study may use: of arms, and of agents for all their arms."""
        return list(dict.fromkeys([*self.points, *(agent.label for agent in self.agents)]))

    def arms(self, name: str) -> Mapping[str, Point]:
        """The arms that a label stands for."""
        if name in self.points:
            return self.points[name]
        return next({name: arms[name]} for arms in self.points.values() if name in arms)

    def pairs(self, first: str, second: str) -> list[tuple[str, str]]:
        """Arms of the one and of the other that have the same values where the grid gives both a value.

        Two arms by their own labels are such a pair whatever their values.
        """
        if first not in self.points and second not in self.points:
            return [(first, second)]
        return [
            (a, b)
            for a, here in self.arms(first).items()
            for b, there in self.arms(second).items()
            if a != b and all(here[key] == there[key] for key in here.keys() & there.keys())
        ]


def read_grid(written: Written, agents: Sequence[Agent]) -> Grid:
    """Check what stands under `grid` and multiply the agents.

    UserError: a key that is none of the two forms, no agent or no setting; values that are no list, out of range or
    there twice; an agent with a value of its own for what the grid varies.
    """
    content = written.content.get("grid")
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UserError(f"{written.at('grid')} must be a mapping from settings to lists of values; {FORM}")
    axes: dict[str, tuple[Any, ...]] = {}
    of_agent: dict[str, dict[str, str]] = {agent.label: {} for agent in agents}
    for key in content:
        where = written.at("grid", key)
        owner, setting = _read_key(key, [agent.label for agent in agents], where)
        concerned = [agent for agent in agents if owner in (None, agent.label)]
        axes[key] = _read_values(content[key], setting, concerned, where)
        for agent in concerned:
            if owner is None and setting in agent.settings:
                raise UserError(
                    f"{where}: {agent.label} has a {setting} of its own; take it out there, "
                    f"or write agents.{agent.label}.{setting} in the grid"
                )
            if owner is not None or setting not in of_agent[agent.label]:
                of_agent[agent.label][setting] = key
    for label, found in of_agent.items():
        if (count := prod(len(axes[key]) for key in found.values())) > MOST_ARMS:
            raise UserError(
                f"{written.at('grid')} makes {count:,} arms of {label}; {MOST_ARMS:,} are the most that are allowed"
            )
    points = {agent.label: dict(_arms(agent.label, of_agent[agent.label], axes)) for agent in agents}
    multiplied = [
        replace(agent, label=label, settings={**agent.settings, **_settings(point, of_agent[agent.label])})
        for agent in agents
        for label, point in points[agent.label].items()
    ]
    return Grid(axes, tuple(multiplied), points)


def _read_key(key: Any, labels: Sequence[str], where: str) -> tuple[str | None, str]:
    """The agent that a key of the grid is about, None for all, and the setting."""
    kind, _, rest = str(key).partition(".")
    label, _, setting = rest.rpartition(".")
    if kind == "settings" and rest and not label:
        return None, setting
    if kind != "agents" or not label or not setting:
        raise UserError(f"{where} is neither settings.NAME nor agents.LABEL.NAME; {FORM}")
    if label not in labels:
        near = did_you_mean(label, labels)
        raise UserError(f"{where}: {label} is no agent of this study.{near} (there are: {', '.join(labels)})")
    return label, setting


def _read_values(values: Any, setting: str, agents: Sequence[Agent], where: str) -> tuple[Any, ...]:
    if not isinstance(values, list) or not values:
        raise UserError(f"{where} must be a list of values, for example [3e-4, 3e-3], got {values!r}")
    prefix = where.removesuffix(setting)
    checked = [check_settings(agent.name, {setting: v}, prefix)[setting] for agent in agents for v in values]
    found = tuple(checked[: len(values)])
    for n, value in enumerate(found):
        if value in found[:n]:
            raise UserError(f"{where} has {_written(value)} twice; keep one")
    return found


def _arms(
    label: str, keys: Mapping[str, str], axes: Mapping[str, tuple[Any, ...]]
) -> list[tuple[str, Point]]:
    """Labels and points of an agent's arms; an agent that the grid does not concern keeps its label."""
    made: list[tuple[str, Point]] = []
    for values in product(*(axes[key] for key in keys.values())):
        told = ", ".join(f"{name}={_written(value)}" for name, value in zip(keys, values, strict=True))
        made.append((f"{label} ({told})" if told else label, dict(zip(keys.values(), values, strict=True))))
    return made


def _settings(point: Point, keys: Mapping[str, str]) -> dict[str, Any]:
    return {setting: point[key] for setting, key in keys.items()}


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
