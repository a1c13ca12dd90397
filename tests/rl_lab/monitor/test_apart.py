"""A state in JSON and tensors: every bit comes back, and nothing that a file names is ever run."""

import json
import math
import random
from collections import OrderedDict, deque
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from rl_lab.monitor.record.apart import UnstorableError, by_name, put_together, take_apart


@dataclass(frozen=True)
class Pair:
    left: object
    right: object


KNOWN = by_name([Pair])
VALUES = {
    "nothing": None,
    "numbers": [0, -0.0, 5e-324, 0.1, math.inf, -math.inf, 2**200, True],
    "words": ["", "NaN", "!float", "ä"],
    "number of numpy's": [np.float32(0.1), np.int64(-3), np.float64(-0.0), np.bool_(True)],
    "tuple": (1, (2.0, [3])),
    "keys of all kinds": {1: "a", "1": "b", None: "c", (1, 2): "d"},
    "what looks like a mark": {"!tuple": [1], "tensor": "x", "state": 1},
    "ordered": OrderedDict([("b", 1), ("a", np.arange(3))]),
    "set": [{3, 1}, frozenset("ab")],
    "deque": deque([1, 2, 3], maxlen=3),
    "arrays": [
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.array(2.5),
        np.zeros((0, 4)),
        np.array([True, False]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(["ab", "c"]),
        np.random.RandomState(0).get_state()[1],
    ],
    "tensors": [torch.arange(3), torch.tensor(1.5, dtype=torch.bfloat16), torch.zeros(2, 0)],
    "object": Pair({"a": (1,)}, Pair(np.float32(2), deque())),
}


def there_and_back(value):
    tensors = {}
    written = json.loads(json.dumps(take_apart(value, tensors, KNOWN), allow_nan=False))
    return put_together(written, tensors, KNOWN)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray | np.generic):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, Pair):
        return same(vars(a), vars(b))
    if isinstance(a, dict):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple | deque):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and repr(a) == repr(b)


@pytest.mark.parametrize("what", VALUES)
def test_every_bit_and_every_type_comes_back(what):
    assert same(VALUES[what], there_and_back(VALUES[what]))
    deques = deque([1], maxlen=2)
    assert there_and_back(deques).maxlen == 2


def test_nan_is_nan():
    assert math.isnan(there_and_back(math.nan))
    assert math.isnan(there_and_back(np.float32("nan")))


@pytest.mark.parametrize(
    "made",
    [
        *(lambda kind=kind: np.random.Generator(kind(5)) for kind in (np.random.PCG64, np.random.Philox)),
        lambda: np.random.Generator(np.random.SFC64(5)),
        lambda: np.random.RandomState(5),
    ],
)
def test_generators_draw_on(made):
    generator = made()
    generator.standard_normal(3)
    again = there_and_back(generator)
    assert again.standard_normal(7).tobytes() == generator.standard_normal(7).tobytes()


def test_python_generators_draw_on():
    generator = random.Random(5)
    generator.gauss(0, 1)
    again = there_and_back(generator)
    assert [again.gauss(0, 1) for _ in range(5)] == [generator.gauss(0, 1) for _ in range(5)]


@pytest.mark.parametrize(
    "value",
    [object(), print, np.array([object()]), Pair, type("Pair", (), {})(), lambda: 1, {1: {2: iter(())}}],
)
def test_what_is_made_of_something_else_is_refused(value):
    with pytest.raises(UnstorableError):
        take_apart({"there": [value]}, {}, KNOWN)


@pytest.mark.parametrize(
    "written",
    [
        {"!object": "system", "state": ["true"]},
        {"!object": "os.system", "state": {}},
        {"!pickle": "cos"},
        {"!array": "x", "dtype": "|O8", "shape": [1]},
        {"!array": "x", "dtype": "object", "shape": [1]},
        {"!generator": {"bit_generator": "os"}},
        {"tensor": "nowhere"},
    ],
)
def test_a_name_that_is_not_known_is_not_looked_for(written):
    with pytest.raises((ValueError, KeyError, TypeError)):
        put_together(written, {"x": torch.zeros(8, dtype=torch.uint8)}, KNOWN)
