"""The classes that an incident may name: a name is looked up here, and nothing is ever imported because of a file."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable import buffers as maskable_buffers
from sb3_contrib.common.maskable import policies as maskable
from sb3_contrib.common.recurrent import buffers as recurrent_buffers
from sb3_contrib.common.recurrent import policies as recurrent
from stable_baselines3.common import buffers, policies, torch_layers
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import nn, optim

from rl_lab.errors import UserError
from rl_lab.monitor.record.recipe import full_name
from rl_lab.study.checkout import room

RULE_ALGORITHM = "agents.host.RuleAlgorithm"
"""The algorithm that has an update rule of the room agents."""


def named(classes: Iterable[type]) -> dict[str, type]:
    """Classes by their full names."""
    return {full_name(kind): kind for kind in classes}


ALGORITHMS: dict[str, type[OnPolicyAlgorithm]] = {
    full_name(kind): kind
    for kind in (
        stable_baselines3.PPO,
        stable_baselines3.A2C,
        sb3_contrib.TRPO,
        sb3_contrib.RecurrentPPO,
        sb3_contrib.MaskablePPO,
    )
}
POLICIES = named(
    [
        policies.ActorCriticPolicy,
        policies.ActorCriticCnnPolicy,
        policies.MultiInputActorCriticPolicy,
        recurrent.RecurrentActorCriticPolicy,
        recurrent.RecurrentActorCriticCnnPolicy,
        recurrent.RecurrentMultiInputActorCriticPolicy,
        maskable.MaskableActorCriticPolicy,
        maskable.MaskableActorCriticCnnPolicy,
        maskable.MaskableMultiInputActorCriticPolicy,
    ]
)
BUFFERS = named(
    [
        buffers.RolloutBuffer,
        buffers.DictRolloutBuffer,
        recurrent_buffers.RecurrentRolloutBuffer,
        recurrent_buffers.RecurrentDictRolloutBuffer,
        maskable_buffers.MaskableRolloutBuffer,
        maskable_buffers.MaskableDictRolloutBuffer,
    ]
)
ACTIVATIONS = [
    kind
    for kind in vars(nn.modules.activation).values()
    if isinstance(kind, type) and issubclass(kind, nn.Module) and kind is not nn.Module
]
OPTIMIZERS = [
    kind for kind in vars(optim).values() if isinstance(kind, type) and issubclass(kind, optim.Optimizer)
]
IN_SETTINGS = named(
    [
        *ACTIVATIONS,
        nn.Identity,
        *OPTIMIZERS,
        RMSpropTFLike,
        torch_layers.FlattenExtractor,
        torch_layers.NatureCNN,
        torch_layers.CombinedExtractor,
    ]
)
"""What a policy's keywords may name."""
OURS = ("agents.policy.LabPolicy", "agents.stock.recurrent.GRUPolicy")


def policy_class(name: str) -> Any:
    """The policy of this name; those of the room agents need the checkout."""
    if name in OURS:
        room("agents")
        from agents.policy import LabPolicy
        from agents.stock.recurrent import GRUPolicy

        return {full_name(LabPolicy): LabPolicy, full_name(GRUPolicy): GRUPolicy}[name]
    return looked_up(name, POLICIES, "the policy")


def looked_up(name: Any, known: dict[str, Any], what: str) -> Any:
    """The class of this name. UserError: nobody knows it here."""
    if not isinstance(name, str) or name not in known:
        raise UserError(
            f"{what} is a {name}, which replay does not know; it builds those of stable-baselines3, sb3-contrib "
            "and this checkout only, because an incident may come from anybody"
        )
    return known[name]


def value(written: Any, what: str) -> Any:
    """A value as rl_lab.monitor.record.recipe.plain wrote it; lists stay lists."""
    if isinstance(written, list):
        return [value(item, what) for item in written]
    if not isinstance(written, dict):
        return written
    for mark, read in READERS.items():
        if mark in written:
            return read(written, what)
    return {key: value(item, f"{what}.{key}") for key, item in written.items()}


def _class(written: dict[str, Any], what: str) -> Any:
    return looked_up(written["!class"], IN_SETTINGS, what)


def _dataclass(written: dict[str, Any], what: str) -> Any:
    room("agents")
    from agents.host import HostSettings
    from agents.network import NetworkSettings
    from agents.stabilisers import Stabilisers

    kind = looked_up(written["!dataclass"], named([HostSettings, NetworkSettings, Stabilisers]), what)
    return kind(**fields(written))


def _partial(written: dict[str, Any], what: str) -> Any:
    room("agents")
    from agents.stabilisers.value import CategoricalValue

    kind = looked_up(written["!partial"], named([CategoricalValue]), what)
    return partial(kind, **value(written["keywords"], what))


def _other(written: dict[str, Any], what: str) -> Any:
    raise UserError(f"{what} is a {written['!other']}, which no file can hold, so it cannot be built again")


READERS: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "!class": _class,
    "!dataclass": _dataclass,
    "!partial": _partial,
    "!other": _other,
}


def fields(written: dict[str, Any]) -> dict[str, Any]:
    """Fields of a dataclass of ours; JSON makes lists of its tuples."""
    return {name: _tuples(item) for name, item in written["fields"].items()}


def _tuples(item: Any) -> Any:
    return tuple(map(_tuples, item)) if isinstance(item, list) else item


def space(written: dict[str, Any]) -> spaces.Space[Any]:
    """A space as rl_lab.monitor.record.recipe.plain_space wrote it."""
    match written["kind"]:
        case "Box":
            dtype: Any = np.dtype(written["dtype"])
            shape = tuple(written["shape"])
            low, high = (np.broadcast_to(np.asarray(written[end], dtype), shape) for end in ("low", "high"))
            return spaces.Box(low.copy(), high.copy(), shape, dtype)
        case "Discrete":
            return spaces.Discrete(written["n"], start=written["start"])
        case "MultiDiscrete":
            return spaces.MultiDiscrete(written["nvec"], start=written["start"])
        case "MultiBinary":
            return spaces.MultiBinary(written["n"])
        case "Dict":
            return spaces.Dict({key: space(part) for key, part in written["spaces"].items()})
    raise UserError(f"a space of the kind {written['kind']} cannot be built again")


def device(written: str) -> torch.device:
    """The device that was used, or the CPU where there is no such one."""
    wished = torch.device(written)
    if (
        wished.type == "cuda"
        and torch.cuda.is_available()
        and (wished.index or 0) < torch.cuda.device_count()
    ):
        return wished
    return torch.device("cpu")
