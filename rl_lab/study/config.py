"""A study's YAML, checked: tasks x agents x seeds, every setting known and in range before anything runs."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rl_lab.errors import UserError, did_you_mean
from rl_lab.study.agents import read_agent
from rl_lab.study.monitor import read_watch
from rl_lab.study.plan import Contrasts, Env, Study, slug
from rl_lab.study.settings import a_mapping, a_word, check_settings, first_problem, pop_label, refuse_unknown

Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
KEYS = ("envs", "agents", "seeds", "steps", "settings", "contrasts", "monitor")
"""What a study's YAML may hold; settings are those of every agent, monitor says how every run is watched."""


class _Numbers(BaseModel):
    """The keys of a study that are plain numbers."""

    model_config = ConfigDict(extra="forbid", strict=True)
    seeds: Positive | Annotated[list[Seed], Field(min_length=1)]
    steps: Positive


def read_study(content: Mapping[str, Any], name: str, where: str) -> Study:
    """Check a study's mapping; `where` (the file) opens every message, and files it names lie beside it."""
    refuse_unknown(content, KEYS, f"{where}: ", "key", "a study")
    for key in KEYS[:4]:
        if content.get(key) in (None, [], {}):
            raise UserError(f"{where}: {key} is missing; a study needs envs, agents, seeds and steps")
    try:
        numbers = _Numbers.model_validate({"seeds": content["seeds"], "steps": content["steps"]})
    except ValidationError as error:
        raise UserError(f"{where}: {first_problem(error)}") from error
    seeds = tuple(range(numbers.seeds)) if isinstance(numbers.seeds, int) else tuple(numbers.seeds)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{where}: seeds has a number twice: {list(seeds)}")
    agents = tuple(
        read_agent(entry, Path(where).parent, f"{where}: agents[{i}]")
        for i, entry in enumerate(_list(content, "agents", where))
    )
    common = a_mapping(content.get("settings"), f"{where}: settings")
    names = list(dict.fromkeys(agent.name for agent in agents))
    for agent_name in names:
        common = check_settings(agent_name, common, f"{where}: settings.")
    labels = [agent.label for agent in agents]
    _refuse_repeats(labels, f"{where}: agents")
    envs: list[Env] = []
    without: dict[str, tuple[str, ...]] = {}
    for i, entry in enumerate(_list(content, "envs", where)):
        place = f"{where}: envs[{i}]"
        settings = {"id": entry} if isinstance(entry, str) else a_mapping(entry, place)
        absent = _read_absent(settings.pop("without", []), labels, f"{place}.without")
        envs.append(_read_env(settings, numbers.steps, names, place))
        without |= {envs[-1].label: absent} if absent else {}
    _refuse_repeats([env.label for env in envs], f"{where}: envs")
    present = [[label for label in labels if label not in without.get(env.label, ())] for env in envs]
    contrasts = _read_contrasts(content.get("contrasts"), labels, present, f"{where}: contrasts")
    monitor = read_watch(content.get("monitor"), f"{where}: monitor")
    study = Study(name, tuple(envs), agents, seeds, common, without, contrasts, monitor)
    _refuse_bad_names([run.run_id for run in study.runs()], where)
    return study


def _refuse_bad_names(run_ids: Sequence[str], where: str) -> None:
    """Labels become directory names, where `a/b` and `a-b` are the same and 300 characters are too many."""
    for run_id, count in Counter(run_ids).items():
        if count > 1:
            raise UserError(
                f"{where}: two runs would both be called {run_id}; give one of them another `label`"
            )
        if len(run_id) > 200:
            raise UserError(f"{where}: the run name {run_id[:40]}... is too long; give a shorter `label`")


def _list(content: Mapping[str, Any], key: str, where: str) -> Sequence[Any]:
    if not isinstance(content[key], list):
        raise UserError(f"{where}: {key} must be a list, for example `{key}: [{_EXAMPLE[key]}]`")
    return list(content[key])


_EXAMPLE = {"envs": "chaos/Lorenz-v0", "agents": "ppo, trpo"}


def _read_env(settings: dict[str, Any], steps: int, agents: Sequence[str], where: str) -> Env:
    env_id = settings.pop("id", None)
    if not isinstance(env_id, str):
        raise UserError(f"{where}: id is missing; write for example `{{id: chaos/Lorenz-v0, steps: 30000}}`")
    label = pop_label(settings, env_id, f"{where}.")
    own = settings.pop("steps", steps)
    if not isinstance(own, int) or isinstance(own, bool) or own <= 0:
        raise UserError(f"{where}.steps must be a whole number greater than 0, got {own!r}")
    agent = a_mapping(settings.pop("agent", None), f"{where}.agent")
    for name in agents:
        agent = check_settings(name, agent, f"{where}.agent.")
    for key, value in settings.items():
        # A run's settings travel to its process and into its manifest as JSON.
        if not _survives_json(value):
            raise UserError(
                f"{where}.{key} must be made of numbers, words, lists and mappings, got {value!r}"
            )
    return Env(env_id, label, settings, own, agent)


def _read_absent(labels: Any, known: Sequence[str], where: str) -> tuple[str, ...]:
    """The agents that are left out of a task."""
    if not isinstance(labels, list):
        raise UserError(
            f"{where} must be a list of agents, for example `without: [{known[0]}]`, got {labels!r}"
        )
    for i, label in enumerate(labels):
        _refuse_stranger(label, known, f"{where}[{i}]")
        if label in labels[:i]:
            raise UserError(f"{where}[{i}]: {label} stands there twice; keep one")
    if set(labels) >= set(known):
        raise UserError(f"{where} leaves no agent in this task; leave the task out instead")
    return tuple(labels)


def _read_contrasts(
    content: Any, labels: Sequence[str], present: Sequence[Sequence[str]], where: str
) -> Contrasts:
    """Pairs of labels by name; every label stands among the agents, and one task has all those of a contrast.

    `present` holds for every task the labels that take part in it.
    """
    if content is None:
        return {}
    form = "write for example `{AAI: [[ppo, trpo-plus], [ppo-m, trpo]]}`"
    if not isinstance(content, dict):
        raise UserError(f"{where} must be a mapping from names to pairs of agents; {form}")
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for name, pairs in content.items():
        a_word(name, f"{where}: a name of a contrast")
        if not isinstance(pairs, list) or not pairs:
            raise UserError(f"{where}.{name} must be a list of pairs of agents; {form}")
        for i, pair in enumerate(pairs):
            place = f"{where}.{name}[{i}]"
            if not isinstance(pair, list) or len(pair) != 2 or pair[0] == pair[1]:
                raise UserError(f"{place} must be a pair of two different agents, got {pair!r}; {form}")
            for label in pair:
                _refuse_stranger(label, labels, place)
            if set(pair) in [set(other) for other in pairs[:i]]:
                raise UserError(f"{place}: {pair[0]} and {pair[1]} stand there twice; keep one of the pairs")
        arms = list(dict.fromkeys(label for pair in pairs for label in pair))
        if not any(set(arms) <= set(those) for those in present):
            raise UserError(
                f"{where}.{name} compares {', '.join(arms)}, and `without` leaves no task with all of them"
            )
        found[name] = tuple((first, second) for first, second in pairs)
    return found


def _refuse_stranger(label: Any, labels: Sequence[str], where: str) -> None:
    if label not in labels:
        near = did_you_mean(str(label), labels)
        raise UserError(f"{where}: {label} is no agent of this study.{near} (there are: {', '.join(labels)})")


def _survives_json(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError):
        return False


def _refuse_repeats(labels: Sequence[str], where: str) -> None:
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"{where}: {label} stands there twice; give one of them another `label`")


def default_name(path: Path) -> str:
    """A study is called what its file is called."""
    return slug(path.stem)
