"""Before anything runs: does the task exist, can the agents be made for it, what does chance achieve?"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rl_lab.errors import UserError, did_you_mean, one_line
from rl_lab.monitor.measure.reference import random_return
from rl_lab.study.checkout import room
from rl_lab.study.plan import Agent, Env


def make(env: Env, where: str = "") -> "gym.Env[Any, Any]":
    """Make the environment, or say in one sentence why that cannot be."""
    with _told_in_a_sentence(env, where):
        made = gym.make(env.id, **env.settings)
    return made


@contextmanager
def _told_in_a_sentence(env: Env, where: str) -> Iterator[None]:
    """Around the making of environments: no warnings, and a UserError for whatever is raised."""
    room("envs")  # registers chaos/*
    prefix = f"{where}: " if where else ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Gymnasium's advice about newer versions of an id
            yield
    except gym.error.UnregisteredEnv as error:
        chaotic_ids = [name for name in gym.registry if name.startswith("chaos/")]
        near = did_you_mean(f"chaos/{env.id}-v0", chaotic_ids) if "/" not in env.id else ""
        near = near or did_you_mean(env.id, gym.registry)
        raise UserError(f"{prefix}no environment {env.id} is registered.{near}") from error
    except ModuleNotFoundError as error:
        if env.id.startswith(("dysts/", "controlgym/")):  # our adapters name the command that installs theirs
            raise UserError(f"{prefix}{env.id}: {error}") from error
        module = error.name or env.id.partition(":")[0]
        raise UserError(f"{prefix}{env.id} needs the module {module}, which is not installed") from error
    except Exception as error:  # whatever somebody's constructor raises is about these settings
        if str(error).startswith(f"{env.id}: "):  # our own tasks say it in a sentence
            raise UserError(f"{prefix}{error}") from error
        said = one_line(error)
        settings = ", ".join(f"{k}={v!r}" for k, v in env.settings.items()) or "no settings"
        raise UserError(f"{prefix}{env.id} cannot be made with {settings} ({said})") from error


def check(env: Env, agents: Sequence[Agent], where: str = "") -> None:
    """Raise if the task cannot be made, or one of the agents (all settings resolved) cannot be made for it."""
    place = f"{where}: {env.id}" if where else env.id
    with ExitStack() as opened:
        made = make(env, where)
        opened.callback(made.close)
        for agent in agents:
            refusal = room("agents").refusal(agent.name, made.action_space, made.observation_space)
            if refusal:
                raise UserError(f"{place}: {refusal}")
        several: dict[int, VecEnv] = {}
        for agent in agents:
            n_envs = agent.settings["n_envs"]
            if n_envs not in several:
                with _told_in_a_sentence(env, where):
                    several[n_envs] = room("agents").vectorize(env.id, n_envs, None, env.settings)
                opened.callback(several[n_envs].close)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # they are in the log of every run
                    make_agent(agent, several[n_envs], None)
            except UserError as error:
                raise UserError(f"{place}: {error}") from error


def make_agent(agent: Agent, vec_env: VecEnv, seed: int | None) -> BaseAlgorithm:
    """The learner that runs, or one sentence why these settings make none."""
    try:
        made: BaseAlgorithm = room("agents").make(agent.name, vec_env, seed, agent.settings)
    except (ValueError, AssertionError, RuntimeError, MemoryError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{agent.label} cannot be made with these settings: {said}") from error
    return made


def chance(env: Env) -> dict[str, Any] | None:
    """The random policy's return, None where the environment breaks or never ends an episode."""
    try:
        return random_return(lambda: make(env))
    except UserError:
        raise
    except Exception:  # an environment that fails here will fail in its runs, where it is recorded
        return None


def chaotic(env_id: str, settings: dict[str, Any]) -> Any:
    """The system behind a chaotic task, with the parameters among the settings applied."""
    envs = room("envs")
    if not envs.knows(env_id):
        make(Env(env_id, env_id, settings)).close()  # says so if there is no such environment at all
        raise UserError(
            f"{env_id} is no chaotic task, its equations are not known here (`rl-lab envs list` shows all that are)"
        )
    try:
        return envs.system_of(env_id, **settings)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
