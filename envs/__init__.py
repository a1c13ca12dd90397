"""The world: chaotic systems written once as equations, posed as Gymnasium tasks.

Importing this package registers `chaos/<Name>-v<n>` for every file under `envs/systems/` and `envs/published/`, and
`dysts/...` and `controlgym/...`, which need those packages when they are made.
"""

from typing import Any

import gymnasium as _gymnasium

from envs import adapters as _adapters
from envs import registry as _registry
from envs.card import card, summary
from envs.check import Check, check
from envs.system import ContractError, Flow, Map, Reference, System, TaskDefaults
from envs.task import resolve as _resolve

__all__ = [
    "Check",
    "ContractError",
    "Flow",
    "Map",
    "Reference",
    "System",
    "TaskDefaults",
    "adapted",
    "card",
    "check",
    "ids",
    "knows",
    "summary",
    "system_of",
    "systems",
]

# Importing the folder envs/systems binds the name `systems` here; the function below must come after it.
_registry.systems()


def systems() -> dict[str, type[System]]:
    """Class name -> system class."""
    return dict(_registry.systems())


def ids() -> list[str]:
    """Gymnasium ids of all chaotic tasks: one of every system, then those of the literature."""
    return list(_registry.entries())


def adapted() -> list[str]:
    """Gymnasium ids of the tasks that need somebody else's package: dysts/..., controlgym/..."""
    return _adapters.ids()


def knows(id: str) -> bool:
    """Whether an id is a task whose equations are known here: all but other people's environments."""
    return id in _registry.entries() or id in _adapters.dysts.ids()


def system_of(id: str, **settings: Any) -> System:
    """The system behind a task, with the parameters among its settings applied."""
    return _resolve(id, settings).system


for _id in (*ids(), *_adapters.dysts.ids()):
    _gymnasium.register(
        _id,
        entry_point="envs.single:ChaosEnv",
        vector_entry_point="envs.vectorised:ChaosVectorEnv",
        kwargs={"system": _id},
    )
_adapters.controlgym.register()
