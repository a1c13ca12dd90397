"""Who is here: every rule in our host and the stock algorithms, with their settings; and how to get one."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from agents import stabilisers
from agents.discovery import BrokenRuleError, RuleFile, find_rules
from agents.host import HostSettings, host
from agents.rule import Rule
from agents.settings import Setting, did_you_mean, reject_unknown, settings_of
from agents.spaces import Space, action_complaint, observation_complaint
from agents.stock import SHARED, STOCK, Stock

OWN, EQUAL_TERMS, HOST, STABILISERS = (
    "its own",
    "equal terms of every rule",
    "data and networks",
    "stabilisers",
)
"""What a setting belongs to, in the order in which settings are listed."""

Build = Callable[[VecEnv, int | None, Mapping[str, Any]], BaseAlgorithm]


@dataclass(frozen=True)
class Agent:
    """A way to train: a rule in our host, or a stock algorithm."""

    name: str
    trust_region: str
    """What bounds the step, in one phrase."""
    summary: str
    """One line."""
    formula: str
    """What is done, as the docstring of its class says it."""
    source: str
    fields: dict[str, Setting]
    """Settings by name, those of one group together: what is its own first."""
    action_spaces: tuple[type[Space], ...]
    build: Build


def catalogue() -> dict[str, Agent]:
    """Return all agents by name; the folder of rules is read anew at every call.

    BrokenRuleError: a file there is not a rule; the message names file and fault.
    """
    rules = find_rules()
    if taken := sorted(rules.keys() & STOCK.keys()):
        raise BrokenRuleError(f"agents/rules: {taken[0]} is the name of a stock algorithm")
    agents = [_rule_agent(name, found) for name, found in rules.items()]
    agents += [_stock_agent(name, settings) for name, settings in STOCK.items()]
    return {agent.name: agent for agent in agents}


def make(name: str, vec_env: VecEnv, seed: int | None, settings: Mapping[str, Any]) -> BaseAlgorithm:
    """Build an agent for these environments; what `settings` leaves out keeps its default.

    The agent seeds vec_env with `seed` for the next reset, as every SB3 algorithm does. TypeError: unknown
    setting. ValueError: unknown agent, spaces it cannot use, or an n_envs that vec_env has not.
    """
    agent = _agent(name)
    complaint = _complaint(agent, vec_env.action_space, vec_env.observation_space)
    if complaint is not None:
        raise ValueError(complaint)
    reject_unknown(name, settings, agent.fields)
    if settings.get("n_envs", vec_env.num_envs) != vec_env.num_envs:
        raise ValueError(f"{name}: n_envs is {settings['n_envs']}, found {vec_env.num_envs} environments")
    return agent.build(vec_env, seed, {**settings, "n_envs": vec_env.num_envs})


def refusal(name: str, action_space: Space, observation_space: Space) -> str | None:
    """Return one sentence why this agent cannot use these spaces, or None. ValueError: unknown agent."""
    return _complaint(_agent(name), action_space, observation_space)


def _agent(name: str) -> Agent:
    agents = catalogue()
    if name not in agents:
        guess = did_you_mean(name, agents)
        raise ValueError(f"{name} is not an agent.{guess} (there are: {', '.join(agents)})")
    return agents[name]


def _complaint(agent: Agent, action_space: Space, observation_space: Space) -> str | None:
    complaint = action_complaint(action_space, agent.action_spaces) or observation_complaint(
        observation_space
    )
    return None if complaint is None else f"{agent.name} cannot be used here: {complaint}."


def _rule_agent(name: str, found: RuleFile) -> Agent:
    rule = found.rule
    hosts = {
        key: replace(setting, default=rule.host_defaults.get(key, setting.default))
        for key, setting in settings_of(HostSettings, _group_of_host).items()
    }

    def build(env: VecEnv, seed: int | None, settings: Mapping[str, Any]) -> BaseAlgorithm:
        chosen = {**rule.host_defaults, **settings}
        ours = {key: chosen.pop(key) for key in list(chosen) if key in hosts}
        return host(rule(**chosen), HostSettings(**ours), env, seed)

    return Agent(
        name,
        rule.trust_region,
        found.summary,
        found.formula,
        found.source,
        _in_order({**settings_of(rule, _group_of_rule), **hosts}),
        rule.action_spaces,
        build,
    )


def _stock_agent(name: str, settings: type[Stock]) -> Agent:
    def build(env: VecEnv, seed: int | None, chosen: Mapping[str, Any]) -> BaseAlgorithm:
        return settings(**chosen).build(env, seed)

    summary, _, formula = inspect.cleandoc(settings.__doc__ or "").partition("\n\n")
    return Agent(
        name,
        settings.trust_region,
        summary,
        formula,
        settings.source,
        _in_order(settings_of(settings, _group_of_stock)),
        settings.action_spaces,
        build,
    )


def _group_of_rule(introducer: type) -> str:
    return EQUAL_TERMS if introducer is Rule else OWN


def _group_of_host(introducer: type) -> str:
    return STABILISERS if introducer.__module__.startswith(stabilisers.__name__) else HOST


def _group_of_stock(introducer: type) -> str:
    return HOST if introducer in SHARED else OWN


def _in_order(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    groups = [OWN, EQUAL_TERMS, HOST, STABILISERS]
    return dict(sorted(settings.items(), key=lambda item: groups.index(item[1].group)))
