"""What a policy is worth: the return of a number of episodes, the same ones for every policy that is compared.

Every policy gets the same episode seeds and, as far as its actions allow, the same noise: the difference between two of
them is then less noisy than either. Actions are drawn as in training.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib.common.maskable.utils import get_action_masks
from scipy.stats import t
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rl_lab.errors import UserError
from rl_lab.monitor.measure.generators import generators_kept
from rl_lab.replay import allowed
from rl_lab.replay.incident import Incident
from rl_lab.study import tasks
from rl_lab.study.checkout import room
from rl_lab.study.plan import Env

AT_ONCE = 64
"""Environments that are stepped together at most."""
LONGEST = 10_000
"""Steps after which an episode that has not ended is given up."""
SEED = 20_000
"""Seed of the first episode; far from those that training uses."""
LEVEL = 0.95

Returns = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with Student's 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Worth:
    """What the episodes say of one policy."""

    returns: Returns
    """[N], NaN where an episode did not end."""
    value: Interval | None
    """None: fewer than two episodes ended."""
    gain: Interval | None
    """Against the policy before the update, episode by episode."""


def interval(values: Returns) -> Interval | None:
    """mean ± t_{n-1} s / sqrt(n) of the values that are numbers; None for fewer than two."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return None
    mean, error = float(known.mean()), float(known.std(ddof=1) / math.sqrt(len(known)))
    half = float(t.ppf((1 + LEVEL) / 2, len(known) - 1)) * error
    return Interval(mean, mean - half, mean + half)


def task_of(incident: Incident, named: str | None = None) -> Env:
    """The environment of the incident, or the one that the user names instead. UserError: there is none to make."""
    written = incident.document.get("env")
    env = written if isinstance(written, dict) else {}
    settings = dict(env.get("settings") or {})
    if named is not None:
        return Env(named, named, settings)
    name = env.get("id")
    if not isinstance(name, str) or name == "unknown":
        raise UserError(
            f"{incident.path} does not say in which environment it happened, so there is nothing to evaluate in; "
            "name it with --env"
        )
    if ":" in name:
        raise UserError(
            f"the incident asks for the environment {name}, for which somebody's package would be imported; "
            f"if you trust it, say so with --env {name}"
        )
    return Env(name, name, settings)


def evaluate(
    incident: Incident, task: Env, models: Mapping[str, Any], episodes: int
) -> dict[str, Worth | None]:
    """The worth of every policy by name, each against that of the first one; None: it cannot act.

    UserError: the environment cannot be made, or is not the one that the policy was trained in.
    """
    check_task(incident, task)
    found: dict[str, Returns | None] = {name: None for name in models}
    for name, model in models.items():
        if all(bool(torch.isfinite(value).all()) for value in model.policy.parameters()):
            found[name] = _returns(incident, task, model, episodes)
    before = next(iter(found.values()))
    return {
        name: None if paid is None else Worth(
            paid, interval(paid), None if before is None or paid is before else interval(paid - before)
        )
        for name, paid in found.items()
    }  # fmt: skip


def check_task(incident: Incident, task: Env) -> None:
    """UserError: the environment cannot be made, or has other spaces than the policy."""
    try:
        tasks.make(task).close()
    except UserError as error:
        if ":" in task.id or task.id in gym.registry:
            raise
        hint = "an environment of your own package is named with --env PACKAGE:ID"
        raise UserError(f"--evaluate: {error}; {hint}") from error
    with _environments(incident, task, 1, SEED):
        pass


def _returns(incident: Incident, task: Env, model: Any, episodes: int) -> Returns | None:
    paid = np.full(episodes, np.nan)
    try:
        for first in range(0, episodes, AT_ONCE):
            count = min(AT_ONCE, episodes - first)
            with generators_kept(), _environments(incident, task, count, SEED + first) as envs:
                # torch's for the actions, the others for environments that use them
                set_random_seed(SEED + first)
                paid[first : first + count] = _first_episodes(model, envs)
    except ValueError as error:
        if "to satisfy the constraint" not in str(error):
            raise
        return None  # torch refuses to build a distribution from what this policy says
    return paid


def _first_episodes(model: Any, envs: VecEnv) -> Returns:
    """Return of the first episode of every environment; NaN for those that do not end."""
    paid, running = np.full(envs.num_envs, np.nan), np.ones(envs.num_envs, dtype=bool)
    observations, state = envs.reset(), None
    starts = np.ones(envs.num_envs, dtype=bool)
    if model.use_sde:
        model.policy.reset_noise(envs.num_envs)
    masked = hasattr(model.rollout_buffer, "action_masks")
    for _ in range(LONGEST):
        more = {"action_masks": get_action_masks(envs)} if masked else {}
        actions, state = model.predict(observations, state, starts, deterministic=False, **more)
        observations, _, starts, infos = envs.step(actions)
        for index in np.flatnonzero(starts & running):
            paid[index] = infos[index]["episode"]["r"]
        running &= ~starts
        if not running.any():
            break
    return paid


@contextmanager
def _environments(incident: Incident, task: Env, count: int, seed: int) -> Iterator[VecEnv]:
    made: VecEnv = room("agents").vectorize(task.id, count, seed, task.settings)
    try:
        envs = _normalised(incident, made)
        _check(incident, task, envs)
        envs.seed(seed)
        yield envs
    finally:
        made.close()


def _check(incident: Incident, task: Env, envs: VecEnv) -> None:
    for kind, here in (("observation", envs.observation_space), ("action", envs.action_space)):
        there = allowed.space(incident.algorithm[f"{kind}_space"])
        same = here.shape == there.shape and type(here) is type(there)
        if not same and not (kind == "observation" and _is_transposed(here.shape, there.shape)):
            raise UserError(
                f"--evaluate: {task.id} has the {kind} space {_line(here)}, but the policy was trained with "
                f"{_line(there)}; it was wrapped in something that the incident does not know"
            )


def _is_transposed(here: Sequence[int] | None, there: Sequence[int] | None) -> bool:
    """Whether stable-baselines3 has put the channels of an image first."""
    return here is not None and there is not None and len(here) == 3 and (here[2], *here[:2]) == tuple(there)


def _normalised(incident: Incident, envs: VecEnv) -> VecEnv:
    """Behind the normalisation that the policy saw, standing still; rewards stay as they are paid."""
    written = incident.document.get("normalizer")
    if written is None or not written["settings"]["norm_obs"]:
        return envs
    settings, counts = written["settings"], written["counts"]
    new = VecNormalize(
        envs, training=False, norm_reward=False, clip_obs=settings["clip_obs"], epsilon=settings["epsilon"],
        norm_obs_keys=settings["norm_obs_keys"],
    )  # fmt: skip
    statistics = incident.part("normalizer")

    def read(name: str) -> RunningMeanStd:
        kept = RunningMeanStd(shape=())
        kept.mean, kept.var = (statistics[f"{name}/{what}"].numpy() for what in ("mean", "var"))
        kept.count = counts[name]
        return kept

    parts: Any = new
    seen = parts.obs_rms
    parts.obs_rms = {key: read(f"obs.{key}") for key in seen} if isinstance(seen, dict) else read("obs")
    return new


def _line(space: Any) -> str:
    return " ".join(str(space).split())
