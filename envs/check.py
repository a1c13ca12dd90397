"""Does an environment keep its promises? Gymnasium's checker and ours, each verdict with a sentence."""

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env

from envs.adapters import dysts
from envs.registry import NAMESPACE
from envs.single import ChaosEnv

STEPS = 64


@dataclass(frozen=True)
class Check:
    """One promise and whether it was kept."""

    name: str
    passed: bool
    sentence: str


def check(env_id: str, **settings: Any) -> list[Check]:
    """Verdicts about any Gymnasium id; chaotic tasks have to keep two promises more."""
    checks: list[tuple[str, Callable[..., str]]] = [
        ("gymnasium", _gymnasium),
        ("same seed, same bits", _same_bits),
        ("finite", _finite),
        ("spaces", _spaces),
    ]
    if env_id.startswith((f"{NAMESPACE}/", f"{dysts.NAMESPACE}/")):
        checks += [("get_state and set_state", _exact_state), ("vector equals single", _vector)]
    return [_verdict(name, promise, env_id, settings) for name, promise in checks]


def _verdict(name: str, promise: Callable[..., str], env_id: str, settings: dict[str, Any]) -> Check:
    try:
        return Check(name, True, promise(env_id, settings))
    except Exception as error:  # whatever somebody's environment raises is the finding
        return Check(name, False, _plain(f"{type(error).__name__}: {error}"))


def _make(env_id: str, settings: dict[str, Any]) -> Any:
    return gymnasium.make(env_id, disable_env_checker=True, **settings)


def _gymnasium(env_id: str, settings: dict[str, Any]) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(_make(env_id, settings).unwrapped, skip_render_check=True)
    said = sorted({_plain(str(w.message)) for w in caught})
    return "Gymnasium's checker passes" + (f" and remarks: {'; '.join(said)}" if said else "")


def _episodes(env_id: str, settings: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """STEPS steps with random actions, every outcome as (env, observation, reward, ended)."""
    env = _make(env_id, settings)
    env.action_space.seed(0)
    yield env, env.reset(seed=0)[0], 0.0, False
    for _ in range(STEPS):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        yield env, observation, reward, terminated or truncated
        if terminated or truncated:
            yield env, env.reset()[0], 0.0, False
    env.close()


def _plain(text: str) -> str:
    """One line, without the colours and the word that Gymnasium's logger puts around its remarks."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split()).removeprefix("WARN: ")


def _same_bits(env_id: str, settings: dict[str, Any]) -> str:
    pairs = zip(_episodes(env_id, settings), _episodes(env_id, settings), strict=True)
    for step, ((_, seen, reward, _), (_, again, paid, _)) in enumerate(pairs):
        if _bits(seen) != _bits(again) or _bits(reward) != _bits(paid):
            raise AssertionError(f"two runs with seed 0 differ at step {step}")
    return f"two runs with seed 0 are equal to the last bit over {STEPS} steps"


def _bits(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bits(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_bits(part) for part in value)
    return np.asarray(value).tobytes()


def _finite(env_id: str, settings: dict[str, Any]) -> str:
    for step, (_, seen, reward, _) in enumerate(_episodes(env_id, settings)):
        for name, value in (("observation", seen), ("reward", reward)):
            array = np.asarray(value)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise AssertionError(f"the {name} at step {step} is {value!r}")
    return f"observations and rewards are finite over {STEPS} steps with random actions"


def _spaces(env_id: str, settings: dict[str, Any]) -> str:
    for step, (env, seen, _, _) in enumerate(_episodes(env_id, settings)):
        if not env.observation_space.contains(seen):
            raise AssertionError(
                f"the observation at step {step} is outside {env.observation_space}: {seen!r}"
            )
    return f"observations stay inside {env.observation_space}"


def _exact_state(env_id: str, settings: dict[str, Any]) -> str:
    env = _make(env_id, settings).unwrapped
    assert isinstance(env, ChaosEnv)
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(5):
        if any(env.step(env.action_space.sample())[2:4]):
            env.reset()
    saved, other = env.get_state(), _make(env_id, settings).unwrapped
    other.reset(seed=1)
    other.set_state(saved)
    for step in range(STEPS):
        action = env.action_space.sample()
        here, there = env.step(action), other.step(action)
        if any(_bits(a) != _bits(b) for a, b in zip(here[:4], there[:4], strict=True)):
            raise AssertionError(f"a restored environment differs at step {step}")
        if (here[2] or here[3]) and _bits(env.reset()[0]) != _bits(other.reset()[0]):
            raise AssertionError("a restored environment starts its next episode elsewhere")
    return f"a restored environment is equal to the last bit over {STEPS} steps"


def _vector(env_id: str, settings: dict[str, Any]) -> str:
    lanes = 3
    batch = gymnasium.make_vec(env_id, num_envs=lanes, **settings)
    singles = [_make(env_id, settings).unwrapped for _ in range(lanes)]
    batch.action_space.seed(0)
    seen = batch.reset(seed=7)[0]
    first = [env.reset(seed=7 + i)[0] for i, env in enumerate(singles)]
    for step in range(STEPS):
        for lane in range(lanes):
            if _bits(seen[lane]) != _bits(first[lane]):
                raise AssertionError(f"lane {lane} differs from the single environment at step {step}")
        actions = batch.action_space.sample()
        seen, *ends = batch.step(actions)[:4]
        for lane, env in enumerate(singles):
            first[lane], reward, terminated, truncated, _ = env.step(actions[lane])
            if [reward, terminated, truncated] != [end[lane] for end in ends]:
                raise AssertionError(
                    f"lane {lane} is paid or ends otherwise than the single environment at step {step}"
                )
            if terminated or truncated:
                first[lane] = env.reset()[0]
    return f"{lanes} lanes are equal to {lanes} single environments to the last bit over {STEPS} steps"
