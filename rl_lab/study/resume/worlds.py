"""The state of environments: asked for where they know it, read off their attributes where they do not.

A native vector environment of ours gives its state itself. Others are walked through, wrapper by wrapper: whatever
attribute is made of numbers, words, arrays and random generators is their state, and everything else is taken for
constant (spaces, pictures, functions). Whether that is so is tried on two copies: one that has lived a while, and one
that has lived otherwise and is put into the state of the first, must go on alike, to the bit, past ends of episodes.
An environment that fails, as one whose state lies in a simulator written in C, begins its episode anew when its run
goes on.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper

from rl_lab.errors import one_line
from rl_lab.monitor.measure.generators import generators_kept
from rl_lab.monitor.record.apart import UnstorableError, put_together, take_apart
from rl_lab.monitor.stored import known

BEFORE, STEPS, SECONDS = 37, 200, 2.0
"""Steps that the first copy lives before its state is read, steps that both are compared for, and seconds at most."""
ENDS = 2
"""Ends of episodes after which both have been compared for long enough."""
INNER = ("env", "venv", "envs")
"""Attributes under which wrappers keep what they wrap."""
NO_STATE: Mapping[type, frozenset[str]] = {
    Monitor: frozenset({"t_start", "episode_returns", "episode_lengths", "episode_times"}),
    DummyVecEnv: frozenset({"buf_infos", "reset_infos", "actions"}),
}
"""Clocks, and what grows with a run and nobody looks at."""


def state_of(envs: VecEnv, *, whole: bool) -> list[dict[str, Any]]:
    """One entry for every layer, from the outermost wrapper to the last environment.

    If not `whole`, only of the wrappers around all environments together, such as what normalises them.
    """
    return [_layer_state(layer) for layer in _chosen(envs, whole)]


def put_back(envs: VecEnv, state: list[dict[str, Any]], *, whole: bool) -> None:
    """Go back to what state_of() returned, once they have been reset. ValueError: these are other environments."""
    layers = _chosen(envs, whole)
    if [_kind(layer) for layer in layers] != [written["kind"] for written in state]:
        raise ValueError("the environments are wrapped otherwise than when it was written")
    for layer, written in zip(layers, state, strict=True):
        _put_layer_back(layer, written)


def unkept(make: Callable[[], "gym.Env[Any, Any]"], envs: VecEnv) -> str | None:
    """Why the state of these environments cannot be kept, in one clause; None: it can.

    `make` makes a copy of one of them. No generator that anybody else draws from has moved afterwards.
    """
    try:
        if not any(isinstance(layer, gym.Env) for layer in _layers(envs)):
            take_apart(state_of(envs, whole=True), {}, known())
            return None  # one vector environment, which has told its state itself
        with generators_kept():
            return _tried(make)
    except Exception as error:  # somebody's environment: it need not even be possible to make it twice
        return one_line(error)


def _tried(make: Callable[[], "gym.Env[Any, Any]"]) -> str | None:
    first, second = make(), make()
    try:
        first.action_space.seed(1)
        second.action_space.seed(2)
        _live(first, seed=1, steps=BEFORE)
        _live(second, seed=2, steps=BEFORE // 2)
        tensors: dict[str, Any] = {}
        written = take_apart([_layer_state(layer) for layer in _layers(first)], tensors, known())
        for layer, state in zip(_layers(second), put_together(written, tensors, known()), strict=True):
            _put_layer_back(layer, state)
        end, ends = time.monotonic() + SECONDS, 0
        for step in range(STEPS):
            action = first.action_space.sample()
            told = first.step(action)
            if not _same(told[:4], second.step(action)[:4]):
                return f"a copy that was put into its state went another way, {step + 1} steps later"
            if told[2] or told[3]:
                ends += 1
                if not _same(first.reset()[0], second.reset()[0]):
                    return "a copy that was put into its state began another episode"
            if ends >= ENDS or time.monotonic() > end:
                break
    finally:
        first.close()
        second.close()
    return None


def _live(env: "gym.Env[Any, Any]", seed: int, steps: int) -> None:
    env.reset(seed=seed)
    for _ in range(steps):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()


def _chosen(envs: VecEnv, whole: bool) -> list[Any]:
    return [layer for layer in _layers(envs) if whole or isinstance(layer, VecEnvWrapper)]


def _layers(env: Any) -> Iterator[Any]:
    yield env
    if _knows_itself(env):
        return
    for name in INNER:
        inner = vars(env).get(name)
        for one in inner if isinstance(inner, list) else [] if inner is None else [inner]:
            yield from _layers(one)


def _knows_itself(env: Any) -> bool:
    """Whether it has get_state() and set_state(state) of its own, and not by way of what it wraps."""
    return all(callable(getattr(type(env), name, None)) for name in ("get_state", "set_state"))


def _layer_state(layer: Any) -> dict[str, Any]:
    if _knows_itself(layer):
        return {"kind": _kind(layer), "own": layer.get_state()}
    left_out = {name for kind, names in NO_STATE.items() if isinstance(layer, kind) for name in names}
    attributes, random = {}, {}
    for name, value in vars(layer).items():
        if name in left_out or name in INNER:
            continue
        if isinstance(value, spaces.Space):
            random[name] = random_of(value)
            continue
        with suppress(UnstorableError):
            take_apart(value, {}, known())
            attributes[name] = value
    return {"kind": _kind(layer), "attributes": attributes, "spaces": random}


def _put_layer_back(layer: Any, written: Mapping[str, Any]) -> None:
    if "own" in written:
        layer.set_state(written["own"])
        return
    for name, value in written["attributes"].items():
        if name not in vars(layer):
            raise ValueError(f"{_kind(layer)} has no {name}")
        vars(layer)[name] = value
    for name, state in written["spaces"].items():
        set_random(vars(layer)[name], state)


def random_of(space: Any) -> list[Any]:
    """The generators of a space and of those it is made of; None for one that nobody has drawn from."""
    generator = getattr(space, "_np_random", None)
    return [generator, *(random_of(part) for part in _parts(space))]


def set_random(space: Any, state: list[Any]) -> None:
    """Let it draw on from what random_of() returned."""
    generator, *parts = state
    if generator is not None:
        space.np_random.bit_generator.state = generator.bit_generator.state
    for part, of_part in zip(_parts(space), parts, strict=True):
        set_random(part, of_part)


def _parts(space: Any) -> list[Any]:
    inside = getattr(space, "spaces", ())
    return list(inside.values() if isinstance(inside, Mapping) else inside)


def _kind(layer: Any) -> str:
    return f"{type(layer).__module__}.{type(layer).__qualname__}"


def _same(a: Any, b: Any) -> bool:
    """To the bit, whatever observations are made of."""
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    x, y = np.asarray(a), np.asarray(b)
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
