"""A state taken apart into JSON and tensors, and put together again without trusting whoever wrote it.

Numbers, words, lists and mappings are JSON as they are. Whatever else a state is made of is a mapping with one mark:

    {"tensor": name}                                  a tensor, under that name in the safetensors file beside it
    {"!array": name, "dtype": "<f8", "shape": [3]}    an array of numpy, as bytes under that name
    {"!number": 0.5, "dtype": "<f4"}                  one number of numpy's
    {"!float": "nan"}                                 a number that JSON lacks
    {"!tuple": [...]}, {"!set": [...]}, {"!deque": [...], "maxlen": 20}, {"!map": [[key, value], ...]}
    {"!generator": {...}}, {"!random_state": {...}}, {"!random": [...]}    random generators of numpy and Python
    {"!object": "Mean", "state": {...}}               an object of a class that the reader knows by this name

A name that a file holds is looked up among those the reader gives; nothing is imported, called or unpickled for it.
"""

import math
import random
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Known = Mapping[str, type]
"""By name the classes whose objects may be stored: all that they are is in their attributes, or they are tuples."""
NOBODY: Known = {}
DTYPE = re.compile(r"[<>|][biufcSU]\d+")
"""Kinds of numbers and words; never objects."""
BIT_GENERATORS: Mapping[str, Callable[[], Any]] = {
    kind.__name__: kind
    for kind in (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64)
}


class UnstorableError(TypeError):
    """There is something in a state that JSON and tensors cannot hold; the message says where and what."""


def by_name(classes: Iterable[type]) -> dict[str, type]:
    """Classes as `Known`."""
    return {kind.__name__: kind for kind in classes}


def take_apart(value: Any, tensors: dict[str, Tensor], known: Known = NOBODY, place: str = "") -> Any:
    """The value as JSON; its tensors and arrays go under the names of their places into `tensors`.

    Tensors are referenced, not copied. UnstorableError: the value, or a part of it, is of a kind that has no mark.
    """

    def part(item: Any, name: object) -> Any:
        return take_apart(item, tensors, known, f"{place}/{name}" if place else str(name))

    def parts(items: Iterable[Any]) -> list[Any]:
        return [part(item, number) for number, item in enumerate(items)]

    kind: Any = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"!float": str(value)}
    if isinstance(value, Tensor):
        tensors[place] = value
        return {"tensor": place}
    if kind is np.ndarray:
        return _array(value, tensors, place)
    if isinstance(value, np.generic):
        return {"!number": part(value.item(), "item"), "dtype": _dtype(value.dtype, place)}
    if kind is dict and all(_is_plain(key) for key in value):
        return {key: part(item, key) for key, item in value.items()}
    if kind in (dict, OrderedDict):
        # By number: 1 and "1" are two keys, and would be one place.
        pairs = [[part(key, "key"), part(item, number)] for number, (key, item) in enumerate(value.items())]
        return {"!map": pairs, "ordered": kind is OrderedDict}
    if kind is list:
        return parts(value)
    if kind is tuple:
        return {"!tuple": parts(value)}
    if kind in (set, frozenset):
        return {"!set": parts(sorted(value, key=repr)), "frozen": kind is frozenset}
    if kind is deque:
        return {"!deque": parts(value), "maxlen": value.maxlen}
    if kind is np.random.Generator and type(value.bit_generator).__name__ in BIT_GENERATORS:
        return {"!generator": part(value.bit_generator.state, "state")}
    if kind is np.random.RandomState:
        return {"!random_state": part(value.get_state(legacy=False), "state")}
    if kind is random.Random:
        return {"!random": part(value.getstate(), "state")}
    name: str = kind.__name__
    if known.get(name) is kind:
        inside = list(value) if isinstance(value, tuple) else vars(value)
        return {"!object": name, "state": part(inside, name)}
    raise UnstorableError(f"{place or 'the state'} is a {kind.__module__}.{kind.__qualname__}")


def put_together(written: Any, tensors: Mapping[str, Tensor], known: Known = NOBODY) -> Any:
    """What `take_apart` took apart. ValueError, KeyError, TypeError: it was written by something else."""

    def whole(item: Any) -> Any:
        return put_together(item, tensors, known)

    if isinstance(written, list):
        return [whole(item) for item in written]
    if not isinstance(written, dict):
        return written
    if written.keys() == {"tensor"}:
        return tensors[written["tensor"]].clone()
    mark = next(iter(written), "")
    if not mark.startswith("!"):
        return {key: whole(item) for key, item in written.items()}
    inside = written[mark]
    match mark:
        case "!float":
            return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[inside]
        case "!array":
            flat = np.frombuffer(tensors[inside].numpy().tobytes(), dtype=_numbers(written["dtype"]))
            return flat.reshape(written["shape"]).copy()
        case "!number":
            return _numbers(written["dtype"]).type(whole(inside))
        case "!map":
            kind: Any = OrderedDict if written["ordered"] else dict
            return kind((whole(key), whole(item)) for key, item in inside)
        case "!tuple":
            return tuple(whole(inside))
        case "!set":
            return frozenset(whole(inside)) if written["frozen"] else set(whole(inside))
        case "!deque":
            return deque(whole(inside), written["maxlen"])
        case "!generator":
            state = whole(inside)
            generator = np.random.Generator(BIT_GENERATORS[state["bit_generator"]]())
            generator.bit_generator.state = state
            return generator
        case "!random_state":
            old = np.random.RandomState()
            old.set_state(whole(inside))
            return old
        case "!random":
            plain = random.Random()
            plain.setstate(whole(inside))
            return plain
        case "!object":
            return _object(known[inside], whole(written["state"]))
    raise ValueError(f"{mark} is no mark of a state")


def _object(kind: Any, state: Any) -> Any:
    if issubclass(kind, tuple):
        return kind(*state)
    made = object.__new__(
        kind
    )  # its attributes are all it is: whatever it does when it is made has been done
    vars(made).update(state)
    return made


def _is_plain(key: Any) -> bool:
    """Whether a mapping with this key cannot be taken for a mark."""
    return isinstance(key, str) and key != "tensor" and not key.startswith("!")


def _array(value: Any, tensors: dict[str, Tensor], place: str) -> dict[str, Any]:
    dtype = _dtype(value.dtype, place)
    tensors[place] = torch.frombuffer(bytearray(value.tobytes()), dtype=torch.uint8) if value.size else _EMPTY
    return {"!array": place, "dtype": dtype, "shape": list(value.shape)}


_EMPTY = torch.zeros(0, dtype=torch.uint8)


def _dtype(dtype: Any, place: str) -> str:
    if DTYPE.fullmatch(dtype.str) is None:
        raise UnstorableError(f"{place or 'the state'} is an array of {dtype}")
    return str(dtype.str)


def _numbers(dtype: str) -> Any:
    if DTYPE.fullmatch(dtype) is None:
        raise ValueError(f"{dtype} is no kind of number")
    return np.dtype(dtype)
